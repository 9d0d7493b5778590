"""JSON that anyone may have written: parsed in bounded memory, and every number is one.

What Python's reader lets through is refused here, for all files in the same way: NaN and what is
infinite in float64, whole numbers of a million digits, and two values under one key.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from symcompile.errors import ArtifactError, first_line

MAX_JSON = 64 * 2**20  # bytes of one document
MAX_VALUES = 4_000_000  # numbers, texts and objects in one document
MAX_NUMBER = 100  # digits of a whole number: one with more than 308 is none in float64


def to_json(value: Any, indent: int | None = None) -> bytes:
    """JSON without NaN; keys keep their order, which may mean something to the writer."""
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        text = json.dumps(
            value,
            indent=indent,
            separators=separators,
            ensure_ascii=False,
            allow_nan=False,
        )
        return (text + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtifactError(f"can't store this as JSON: {error}") from error


class NotJsonError(Exception):
    """Why bytes are not an acceptable document; continues a sentence that names the member."""


def from_json(data: bytes, limit: int = MAX_VALUES) -> Any:
    """Parse a document of bounded size, without NaN; NotJsonError says why it can't be.

    `limit` is the number of values that it may hold.
    """
    if len(data) > MAX_JSON:
        raise NotJsonError(f"is {len(data)} bytes long, at most {MAX_JSON}")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > limit:
        raise NotJsonError(f"holds more than {limit} values")
    try:
        return json.loads(
            data,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_short,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise NotJsonError("is nested too deeply") from None
    except ValueError as error:
        raise NotJsonError(f"is not JSON ({first_line(error)})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # people would read the first value, and a program the last
        name = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{name[:80]!r} stands twice in an object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    """1e999 is a number by the rules of JSON, and infinity by those of float64."""
    found = float(text)
    if math.isinf(found):
        raise ValueError(f"{text[:80]} is beyond what float64 can hold")
    return found


def _short(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise ValueError(f"a whole number has {len(text)} digits, at most {MAX_NUMBER}")
    return int(text)
