"""HTML from jinja2 templates, which lie in the folder `pages` beside the code that fills them.

Everything that a template shows is escaped. This is imported when a page is asked for, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from symcompile.errors import one_line


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


def fragment(package: str, name: str, filters: dict[str, Any], values: dict[str, Any]) -> str:
    """A template filled as self-contained HTML for notebooks, with the style of reports.

    Args:
        package: that has it in its folder `pages`.
        filters, values: for the template, by name.
    """
    template = environment(package, one_line, **filters).get_template(name)
    # Lines of the template; whatever it shows is on one.
    lines = "".join(line.strip() for line in template.render(**values).split("\n"))
    style = asset(__package__, "report.css")
    return f'<div class="symcompile-report"><style>\n{style}</style>{lines}</div>'


def asset(package: str, name: str) -> str:
    """A style sheet or a script beside the templates."""
    return (files(package) / "pages" / name).read_text("utf-8")
