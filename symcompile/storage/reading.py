"""What is read with distrust: errors that name file and place, and JSON in bounded memory.

Readers check what they read, each field for itself. What no check has thought of ends at a wall:
whatever a file makes a reader raise is an error of ours. Ctrl-C and the end of the interpreter go
through.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from symcompile.errors import ArtifactError, SymCompileError, first_line, one_line
from symcompile.expressions.size_limits import allowance
from symcompile.storage.files import path_text

_LONGEST = 2_000  # characters of a message

MAX_JSON = 64 * 2**20  # bytes of one document
MAX_VALUES = 4_000_000  # numbers, texts and objects in one document
MAX_NUMBER = 100  # digits of a whole number: one with more than 308 is none in float64

_T = TypeVar("_T")


@contextmanager
def reading(source: str | os.PathLike[str], what: str = "") -> Iterator[None]:
    """Around everything that depends on what is in a file; `what` it is to be, for messages.

    Raises ArtifactError, one printable line that names the file. All equations inside share one
    allowance of work.
    """
    with wall("can't read", source, what=what), allowance():
        yield


@contextmanager
def wall(
    doing: str,
    *sources: str | os.PathLike[str],
    kind: type[SymCompileError] = ArtifactError,
    what: str = "",
) -> Iterator[None]:
    """Around what is done with the content of files.

    Raises an error of `kind`, one printable line which begins with what was being done to which
    file, and `what` that is. Errors of ours that name a file already keep their words, unless they
    have to say what it is.
    """
    names = [repr(path_text(source, kind, doing)) for source in sources]
    start = f"{doing} {what}{' ' * bool(what)}{' and '.join(names)}: "
    try:
        yield
    except SymCompileError as error:
        said_already = not what and any(name in str(error) for name in names)
        if said_already and str(error).isprintable():
            raise
        text = str(error) if said_already else start + str(error)
        raise (type(error) if said_already else kind)(one_line(text, _LONGEST)) from error
    except Exception as error:
        raise kind(one_line(start + said(error), _LONGEST)) from error


def or_none(read: Callable[[], _T]) -> _T | None:
    """What a file holds that may be damaged, or not be there: None then, whatever is wrong."""
    try:
        return read()
    except Exception:
        return None


def said(error: BaseException) -> str:
    """An error that is not ours, in a line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it takes too much memory"
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


# --- where something is wrong --------------------------------------------------------------------


class MisfitError(ArtifactError):
    """What is wrong with a value: the end of a sentence that begins with the value's place."""


def placed(place: str, error: Exception) -> ArtifactError:
    """The error of a value in the words of what holds it."""
    text = str(error) if isinstance(error, SymCompileError) else said(error)
    joint = " " if isinstance(error, MisfitError) else "" if text.startswith("[") else ": "
    return ArtifactError(one_line(f"{place}{joint}{text}", _LONGEST))


@contextmanager
def at(place: str) -> Iterator[None]:
    """Around a part of a file, so that errors inside name it."""
    try:
        yield
    except Exception as error:
        raise placed(place, error) from error


# --- JSON ----------------------------------------------------------------------------------------


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


def from_json(data: bytes, limit: int = MAX_VALUES) -> Any:
    """Parse JSON that anyone may have written, of bounded size; MisfitError says why it can't be.

    `limit` is the number of values that it may hold.
    """
    if len(data) > MAX_JSON:
        raise MisfitError(f"is {len(data)} bytes long, at most {MAX_JSON}")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > limit:
        raise MisfitError(f"holds more than {limit} values")
    try:
        return json.loads(
            data,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_short,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise MisfitError("is nested too deeply") from None
    except ValueError as error:
        raise MisfitError(f"is not JSON ({first_line(error)})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):  # people would read the first value, and a program the last
        name = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{name[:80]!r} stands twice in an object")
    return entries


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    """1e999 is a number by the rules of JSON, and infinity by those of float64."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:80]} is beyond what float64 can hold")
    return value


def _short(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise ValueError(f"a whole number has {len(text)} digits, at most {MAX_NUMBER}")
    return int(text)
