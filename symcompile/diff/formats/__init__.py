"""A comparison as text, Markdown, JSON, GitHub annotations or HTML: one format a file.

They import what was found (`diff.result`), pictures (`diff.drawing`) and what `report` shows alike.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symcompile.diff.result import GraphDiff

# The function of each format; its file is read when the format is asked for.
FORMATS = {
    "text": ("text", "to_text"),
    "md": ("markdown", "to_markdown"),
    "json": ("json", "to_json"),
    "github": ("github", "to_annotations"),
    "html": ("html", "to_html"),
}


def render(diff: GraphDiff, format: str, **options: Any) -> str:
    """A comparison in a format of FORMATS; options are those of its function."""
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}: expected one of {', '.join(FORMATS)}")
    module, name = FORMATS[format]
    function: Callable[..., str] = getattr(import_module(f"{__name__}.{module}"), name)
    return function(diff, **options)


__all__ = ["FORMATS", "render"]
