"""What differs between two texts of arguments, in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SHOWN = 60  # characters of an argument
_MOST = 4
_KEYWORD = re.compile(r"[A-Za-z_]\w*=")
# In these texts % stands for the next node and @ for the next weight that are read.
_SIGNS = {"%": "a node", "@": "a weight"}
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
# Whole texts, brackets and separators: everything else is passed over.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][(){}]|[,;] ')


def argument_changes(old: str, new: str) -> Iterator[str]:
    """Each argument that differs, or came or went at the end; else the two texts as they are."""
    before, after = arguments(old), arguments(new)
    other = [k for k, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]]
    if len(before) != len(after) and other:
        yield f"arguments ({shortened(new)}) instead of ({shortened(old)})"
        return
    found = [_changed(k, before[k], after[k]) for k in other]
    found += [f"{_called(k, after[k])} is new" for k in range(len(before), len(after))]
    found += [f"{_called(k, before[k])} is gone" for k in range(len(after), len(before))]
    yield from found[:_MOST]
    if len(found) > _MOST:
        yield f"{len(found) - _MOST:,} more arguments differ"


def arguments(text: str) -> list[str]:
    """The arguments one by one: what ", " or "; " separates outside of brackets and quotes."""
    found, start, depth = [], 0, 0
    for token in _TOKEN.finditer(text):
        depth += _BRACKETS.get(token[0], 0)
        if depth <= 0 and token[0] in (", ", "; "):
            found.append(text[start : token.start()])
            start = token.end()
    return [*found, text[start:]] if text else []


def shortened(text: str) -> str:
    """Text of a bounded length."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _changed(place: int, old: str, new: str) -> str:
    before, after = (shortened(_SIGNS.get(one, one)) for one in (old, new))
    named = _KEYWORD.match(old)
    if named and new.startswith(named[0]):
        return f"{after} instead of {before}"
    return f"argument {place + 1} is {after} instead of {before}"


def _called(place: int, argument: str) -> str:
    if _KEYWORD.match(argument):
        return shortened(argument)
    return f"argument {place + 1} ({shortened(_SIGNS.get(argument, argument))})"
