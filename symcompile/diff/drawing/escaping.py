"""Text of strangers in a page: nothing of it is markup, and a long one is cut.

Names and equations come from files that anybody may have made.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html import escape

from symcompile.diff.formats.figures import plain

# Of one string, in characters; a longer one says how long it is.
LONGEST = 1500


def markup(text: str, most: int = LONGEST) -> str:
    """The text as HTML, also within a quoted attribute; of a longer one its first part.

    The result has about 2 * `most` bytes at most, whatever is escaped in it.
    """
    shown = text[:most]
    kept = escape(plain(shown))
    while size(kept) > 2 * most:
        shown = shown[: len(shown) // 2]
        kept = escape(plain(shown))
    return kept if len(shown) == len(text) else f"{kept}… ({len(text):,} characters)"


def facts_markup(facts: Iterable[str], most: int) -> str:
    """A fact a line, as many as there is room for, in bytes."""
    found: list[str] = []
    for fact in facts:
        line = markup(fact, most // 4)
        most -= size(line) + 1
        if most < 0:
            break
        found.append(line)
    return "\n".join(found)


def fitting(parts: Iterable[str], room: int) -> list[str]:
    """The first parts that there is room for, in bytes, but at least one."""
    found: list[str] = []
    for part in parts:
        room -= size(part)
        if room < 0 and found:
            break
        found.append(part)
    return found


def size(text: str) -> int:
    """Bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def clipped(text: str, columns: int, *, keep_end: bool = False) -> str:
    """At most so many columns of a fixed-width font, a wide character taking two; not escaped."""
    shown = plain(text[-columns - 1 :] if keep_end else text[: columns + 1])
    if columns_of(shown) <= columns:
        return shown
    kept, used = [], 1
    for one in reversed(shown) if keep_end else shown:
        used += _columns(one)
        if used > columns:
            break
        kept.append(one)
    return "…" + "".join(reversed(kept)) if keep_end else "".join(kept) + "…"


def columns_of(text: str) -> int:
    return sum(map(_columns, text))


def _columns(one: str) -> int:
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1
