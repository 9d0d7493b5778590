"""Text of a file that anyone may have written, for a terminal or a page."""

from __future__ import annotations


def one_line(text: str, limit: int | None = None) -> str:
    """One line of at most `limit` characters, "?" in the place of every control character."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 3] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
