"""Both sides of an equation as - and + lines, with carets below what changed."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from symcompile.diff.formats.figures import plain
from symcompile.diff.result import EquationDiff

Spans = Sequence[tuple[int, int]]
# Shows a piece of an equation: its sign, the text, and whether that is a change.
Paint = Callable[[str, str, bool], str]

# An equation on more lines is shown in parts: its ends, and what changed.
LINES = 12
_INDENT = "  "


class Line(NamedTuple):
    """A part of an equation, and the marks in it."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()


def sides(equation: EquationDiff) -> Iterator[tuple[str, str, Spans]]:
    """Sign, text and marks of what is to be shown: - and +, or a blank for both."""
    old, new = equation.old, equation.new
    if old is not None and new is not None and old.text == new.text:
        yield " ", new.text, ()
        return
    # Where there is no other side, everything is new or gone.
    alone = old is None or new is None
    for sign, side in (("-", old), ("+", new)):
        if side is not None:
            yield sign, side.text, () if alone else inside_of(side.text, side.marks)


def equation_lines(equation: EquationDiff, width: int, paint: Paint | None = None) -> Iterator[str]:
    """Lines of at most `width` characters, in front of each -, + or a blank.

    With `paint` no carets: it shows the marks itself.
    """
    for sign, text, marks in sides(equation):
        inside = max(width - len(sign) - 1 - len(_INDENT), 16)
        for place, line in excerpt(wrapped(plain(text), marks, inside)):
            indent = _INDENT if place else ""
            if paint is not None:
                painted = (paint(sign, piece, marked) for piece, marked in pieces(line))
                yield paint(sign, f"{sign} {indent}", False) + "".join(painted)
                continue
            yield f"{sign} {indent}{line.text}"
            if line.marks:
                yield f"  {indent}{carets(line)}"


def inside_of(text: str, marks: Spans) -> Spans:
    """The marks inside of the text, ascending and apart; none if they'd mark all of it."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(marks):
        start, end = max(start, found[-1][1] if found else 0), min(end, len(text))
        if start < end:
            found.append((start, end))
    size = len(text) - text.count(" ")
    marked = sum(end - start - text.count(" ", start, end) for start, end in found)
    return [] if marked >= size else found


def wrapped(text: str, marks: Spans, width: int) -> list[Line]:
    """The text on lines of at most `width` characters, with the marks of each."""
    lines: list[Line] = []
    start = first = 0
    while start < len(text) or not lines:
        end = _break(text, start, width)
        while first < len(marks) and marks[first][1] <= start:
            first += 1
        inside = []
        for k in range(first, len(marks)):
            if marks[k][0] >= end:
                break
            inside.append((max(marks[k][0], start) - start, min(marks[k][1], end) - start))
        lines.append(_stripped(text[start:end], inside))
        start = end
    return lines


def _break(text: str, start: int, width: int) -> int:
    """Where the line from `start` ends: behind a blank, else an operator, else anywhere."""
    end = start + width
    if end >= len(text):
        return len(text)
    blank = text.rfind(" ", start + width // 2, end + 1)
    if blank >= 0:
        return blank + 1
    return (
        max((text.rfind(sign, start + width // 2, end) for sign in "*/,("), default=-1) + 1 or end
    )


def _stripped(text: str, marks: Spans) -> Line:
    """Without the blank that a line was broken at."""
    size = len(text.rstrip(" "))
    return Line(text[:size], tuple((a, min(b, size)) for a, b in marks if a < size))


def excerpt(lines: Sequence[Line]) -> Iterator[tuple[int, Line]]:
    """The lines by number, those in the middle that say nothing new left out of a long equation."""
    if len(lines) <= LINES:
        yield from enumerate(lines)
        return
    wanted = {0, len(lines) - 1, *[k for k, line in enumerate(lines) if line.marks][: LINES - 2]}
    last = -1
    for k in sorted(wanted):
        if k > last + 1:
            size = sum(len(line.text) for line in lines[last + 1 : k])
            yield k, Line(f"... {size:,} more characters ...")
        yield k, lines[k]
        last = k


def carets(line: Line) -> str:
    """A line to stand below it."""
    found, column = [], 0
    for start, end in line.marks:
        found.append(" " * _columns(line.text[column:start]) + "^" * _columns(line.text[start:end]))
        column = end
    return "".join(found)


def _columns(text: str) -> int:
    """How wide a text is on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def pieces(line: Line) -> Iterator[tuple[str, bool]]:
    """The text in order, what is marked apart from what is not."""
    column = 0
    for start, end in line.marks:
        if column < start:
            yield line.text[column:start], False
        yield line.text[start:end], True
        column = end
    if column < len(line.text):
        yield line.text[column:], False
