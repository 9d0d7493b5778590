"""Both sides of an equation as - and + lines, with carets below what changed."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from symcompile.diff.formats.figures import plain
from symcompile.diff.result import EquationDiff

Spans = Sequence[tuple[int, int]]
# Shows a piece of an equation: its sign, the text, and whether that is a change.
Paint = Callable[[str, str, bool], str]

# An equation on more lines is shown in parts: its ends, and what changed.
LINES = 12
_INDENT = "  "
_MARK = "^"


class EquationLine(NamedTuple):
    """A part of an equation, and as many characters below it: ^ where it changed, else a blank."""

    text: str
    mask: str = ""


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
            if paint is None:
                yield f"{sign} {indent}{line.text}"
                yield from [f"  {indent}{carets(line)}"] * (_MARK in line.mask)
                continue
            pieces = groupby(zip(line.text, line.mask, strict=False), key=itemgetter(1))
            yield paint(sign, f"{sign} {indent}", False) + "".join(
                paint(sign, "".join(character for character, _ in piece), mark == _MARK)
                for mark, piece in pieces
            )


def inside_of(text: str, marks: Spans) -> Spans:
    """The marks inside of the text, ascending and apart; none if they'd mark all of it."""
    inside: list[tuple[int, int]] = []
    for start, end in sorted(marks):
        start, end = max(start, inside[-1][1] if inside else 0), min(end, len(text))
        if start < end:
            inside.append((start, end))
    size = len(text) - text.count(" ")
    marked = sum(end - start - text.count(" ", start, end) for start, end in inside)
    return [] if marked >= size else inside


def wrapped(text: str, marks: Spans, width: int) -> list[EquationLine]:
    """The text on lines of at most `width` characters, without the blanks they are broken at."""
    mask = [" "] * len(text)
    for start, end in marks:
        mask[start:end] = _MARK * (end - start)
    lines: list[EquationLine] = []
    start = 0
    while start < len(text) or not lines:
        end = _break(text, start, width)
        line = text[start:end].rstrip(" ")
        lines.append(EquationLine(line, "".join(mask[start : start + len(line)])))
        start = end
    return lines


def _break(text: str, start: int, width: int) -> int:
    """Where the line from `start` ends: behind a blank, else an operator, else anywhere."""
    end, half = start + width, start + width // 2
    if end >= len(text):
        return len(text)
    blank = text.rfind(" ", half, end + 1)
    if blank >= 0:
        return blank + 1
    return max(text.rfind(sign, half, end) for sign in "*/,(") + 1 or end


def excerpt(lines: Sequence[EquationLine]) -> Iterator[tuple[int, EquationLine]]:
    """The lines by number, those in the middle that say nothing new left out of a long equation."""
    changed = [k for k, line in enumerate(lines) if _MARK in line.mask]
    shown = {0, len(lines) - 1, *changed[: LINES - 2]}
    last = -1
    for k in sorted(shown) if len(lines) > LINES else range(len(lines)):
        if k > last + 1:
            text = (
                f"... {sum(len(line.text) for line in lines[last + 1 : k]):,} more characters ..."
            )
            yield k, EquationLine(text, " " * len(text))
        yield k, lines[k]
        last = k


def carets(line: EquationLine) -> str:
    """A line to stand below it on a terminal, on which some characters are wide."""
    return "".join(
        mark
        * (unicodedata.combining(character) == 0)
        * (1 + (unicodedata.east_asian_width(character) in "WF"))
        for character, mark in zip(line.text, line.mask, strict=True)
    ).rstrip()
