"""HTML from jinja2 templates, which lie in the folder `pages` beside the code that fills them.

Everything that a template shows is escaped. This is imported when a page is asked for, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def environment(package: str, shown: Callable[[str], str], **filters: Any) -> Environment:
    """The templates of a package; what one reads and was not given is an error.

    Args:
        shown: what becomes of every string before it is escaped: it may be a stranger's. Markup,
            such as a macro makes, stays as it is.
        filters: for the templates, by name.
    """

    def finalize(value: object) -> object:
        return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    templates = Environment(
        loader=PackageLoader(package, "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= filters
    return templates


def asset(package: str, name: str) -> str:
    """A style sheet or a script beside the templates."""
    return (files(package) / "pages" / name).read_text("utf-8")
