"""Text of a file that anyone may have written, for a terminal or a page."""

from __future__ import annotations


def one_line(text: str, limit: int | None = None) -> str:
    """One line of at most `limit` characters, "?" in the place of every control character.

    Those that turn the direction of writing, move the cursor, or stand for half a character are
    control characters too.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 3] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def shown(data: object, limit: int = 60) -> str:
    """A value of a file for a message: short, whatever its size, and on one line."""
    if isinstance(data, (list, tuple, dict)):
        return f"{'an object' if isinstance(data, dict) else 'a list'} of {len(data)}"
    if isinstance(data, str):
        return one_line(repr(data[:limit]) + "..." * (len(data) > limit))
    if type(data) is int and data.bit_length() > 200:
        return f"a number of {data.bit_length()} bits"
    return "null" if data is None else one_line(repr(data), 10 * limit)
