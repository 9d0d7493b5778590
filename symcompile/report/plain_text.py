"""Plain text laid out: words, lines and columns of a given width."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def wrapped(text: str, first: str = "", rest: str = "", *, width: int) -> list[str]:
    """Lines of at most `width`, the first and all others behind their indents."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """A line for each row, cells below each other: at the left in these columns, else right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
