"""Codecs: how values are written as plain JSON and read back without loss.

A codec is a pair of functions; those of records are put together from those of their fields.
Whatever does not fit raises ArtifactError that names the place; nothing that is read is ever run.
Numbers that are not finite stay so in what a codec writes: `without_nan` puts in their places what
a file has there.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, astuple, dataclass, fields, replace
from typing import Any, get_type_hints

import numpy as np

from symcompile.errors import ArtifactError, SymCompileError, one_line, shown
from symcompile.storage.reading import MisfitError, placed
from symcompile.target import is_name

MAX_DEPTH = 32
MAX_RANK = 32
MAX_TEXT = 1_000_000  # characters
MAX_LINE, MAX_NAME = 100_000, 1_000  # of what people are shown
MAX_ITEMS = 200_000
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Codec:
    """How a value is written as JSON and read back.

    `keys` is the way to it in the object of its record, where that is not the name of its field.
    """

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    keys: tuple[str, ...] | None = None


def wrong(data: Any, expected: str) -> MisfitError:
    return MisfitError(f"is {shown(data)}, expected {expected}")


def printable(text: str, limit: int = MAX_NAME) -> str:
    """One line, and never longer than a name may be if nothing else is said."""
    return one_line(text, limit)


def without_nan(data: Any, *, infinite: bool = False) -> Any:
    """Plain data with null for NaN, and for what is infinite, unless that becomes "inf"."""
    if isinstance(data, dict):
        return {key: without_nan(item, infinite=infinite) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [without_nan(item, infinite=infinite) for item in data]
    if isinstance(data, float) and not math.isfinite(data):
        return str(data) if infinite and math.isinf(data) else None
    return data


# --- leaves ----------------------------------------------------------------------------------


def _leaf(
    sound: Callable[[Any], bool], expected: str, write: Callable[[Any], Any] = lambda value: value
) -> Codec:
    """What is read as it stands, if it is sound."""

    def read(data: Any) -> Any:
        if not sound(data):
            raise wrong(data, expected)
        return data

    return Codec(write, read)


def number(low: float = -math.inf, high: float = math.inf, *, finite: bool = False) -> Codec:
    """Numbers from `low` to `high`, and NaN for what was not measured unless they are `finite`."""
    expected = "a finite number" if finite else "a number"
    expected += f" from {low:g}" * math.isfinite(low) + f" up to {high:g}" * math.isfinite(high)

    def read(data: Any) -> float:
        if not finite and (data is None or (type(data) is str and data in ("inf", "-inf"))):
            value = math.nan if data is None else float(data)
        elif type(data) in (int, float) and abs(data) <= _LARGEST:
            value = float(data)
        else:
            raise wrong(data, expected)
        if value < low or value > high:
            raise wrong(data, expected)
        return value

    return Codec(float, read)


def integer(low: int, high: int = 2**63 - 1) -> Codec:
    """Whole numbers from `low` to `high`."""
    return _leaf(
        lambda data: type(data) is int and low <= data <= high,
        f"a whole number from {low}" + f" to {high}" * (high < 2**63 - 1),
        int,
    )


def one_of(*words: str) -> Codec:
    """One of a few words."""
    expected = " or ".join(words) if "" not in words else f"one of {', '.join(map(repr, words))}"
    return _leaf(lambda data: type(data) is str and data in words, expected, str)


def _text(limit: int, expected: str = "text", *, printable: bool) -> Codec:
    def read(data: Any) -> str:
        if type(data) is not str or (expected != "text" and not data):
            raise wrong(data, expected)
        if len(data) > limit:
            raise MisfitError(f"is a text of {len(data)} characters, at most {limit}")
        return one_line(data) if printable else data

    return Codec(str, read)


def _is_parameter(data: Any) -> bool:
    """As a signature has it, with its stars: torch.fx writes it into source."""
    plain = data.lstrip("*") if type(data) is str else ""
    spellings = (plain, "*" + plain, "**" + plain)
    return is_name(plain) and plain != "self" and data in spellings


TEXT = _text(MAX_TEXT, printable=False)
LINE = _text(MAX_LINE, printable=True)
NAME = _text(MAX_NAME, "a name", printable=True)
COUNT = integer(0)
FLAG = _leaf(lambda data: type(data) is bool, "true or false", bool)
NUMBER, FINITE = number(), number(finite=True)
KEY = _leaf(lambda data: type(data) is str or (type(data) is int and abs(data) < 2**63), "a key")
LITERAL = _leaf(lambda data: data is None or type(data) in (bool, int, float, str), "a plain value")
IDENTIFIER = _leaf(
    lambda data: type(data) is str and data.isidentifier() and len(data) <= 200, "an identifier"
)
PARAMETER = _leaf(_is_parameter, "the name of a parameter", str)


def _write_data(value: Any) -> Any:
    """Plain data of any form; tuples become lists."""
    if isinstance(value, Mapping):
        return {str(key): _write_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        return [_write_data(item) for item in items]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    raise ArtifactError(f"can't store {value!r} of type {type(value).__name__}")


def _read_data(data: Any, depth: int = MAX_DEPTH) -> Any:
    if depth < 0:
        raise MisfitError("is nested too deeply")
    if type(data) is dict:
        return {key: _read_data(item, depth - 1) for key, item in data.items()}
    return [_read_data(item, depth - 1) for item in data] if type(data) is list else data


DATA = Codec(_write_data, _read_data)


# --- composition -------------------------------------------------------------------------------


def listed(data: Any, limit: int = MAX_ITEMS) -> list[Any]:
    if type(data) is not list:
        raise wrong(data, "a list")
    if len(data) > limit:
        raise MisfitError(f"has {len(data)} entries, at most {limit}")
    return data


def mapping(data: Any, limit: int = MAX_ITEMS) -> dict[str, Any]:
    if type(data) is not dict:
        raise wrong(data, "an object")
    if len(data) > limit:
        raise MisfitError(f"has {len(data)} entries, at most {limit}")
    return data


def unique(names: Sequence[str]) -> None:
    """MisfitError naming the first name that stands twice."""
    if len(set(names)) != len(names):
        raise MisfitError(f"names {shown(Counter(names).most_common(1)[0][0])} twice")


def optional(inner: Codec) -> Codec:
    return Codec(
        lambda value: None if value is None else inner.write(value),
        lambda data: None if data is None else inner.read(data),
    )


def many(inner: Codec, limit: int = MAX_ITEMS) -> Codec:
    """A tuple of any length."""

    def read(data: Any) -> Any:
        return tuple(_each(inner, enumerate(listed(data, limit)), "[{}]"))

    return Codec(lambda values: [inner.write(value) for value in values], read)


def _each(inner: Codec, items: Iterable[tuple[Any, Any]], place: str) -> Iterator[Any]:
    for key, item in items:
        try:
            yield inner.read(item)
        except SymCompileError as error:
            raise placed(place.format(shown(key)), error) from error


def row(expected: str, *columns: Codec, kind: type | None = None) -> Codec:
    """A list of one value for each column: a tuple, or the fields of a dataclass in order."""

    def write(value: Any) -> Any:
        values = value if kind is None else astuple(value)
        return [codec.write(item) for codec, item in zip(columns, values, strict=True)]

    def read(data: Any) -> Any:
        if type(data) is not list or len(data) != len(columns):
            raise wrong(data, expected)
        values = tuple(codec.read(item) for codec, item in zip(columns, data, strict=True))
        return values if kind is None else kind(*values)

    return Codec(write, read)


def pair(first: Codec, second: Codec) -> Codec:
    return row("a pair", first, second)


def ordered(inner: Codec) -> Codec:
    """A mapping whose order means something, by name."""
    pairs = many(pair(IDENTIFIER, inner))
    return Codec(lambda value: pairs.write(value.items()), lambda data: dict(pairs.read(data)))


def by_name(
    inner: Codec, names: Codec = TEXT, *, place: str = "{}", limit: int = MAX_ITEMS
) -> Codec:
    """A mapping from texts; `place` is how a message speaks of an entry."""

    def read(data: Any) -> Any:
        entries = mapping(data, limit)
        keys = [names.read(key) for key in entries]
        unique(keys)
        return dict(zip(keys, _each(inner, entries.items(), place), strict=True))

    return Codec(lambda value: {name: inner.write(item) for name, item in value.items()}, read)


def by_number(inner: Codec, place: str = "{}") -> Codec:
    """A mapping from whole numbers, in ascending order."""

    def read(data: Any) -> Any:
        rows = mapping(data)
        for key in rows:
            # As Python writes it: no signs, no leading zeros, no digits of other scripts.
            digits = key.isascii() and key.isdecimal() and len(key) < 10
            if not digits or str(int(key)) != key:
                expected = "expected whole numbers as keys"
                raise MisfitError(f"has {shown(key)} among its keys, {expected}")
        pairs = {int(key): rows[key] for key in sorted(rows, key=int)}
        return dict(zip(pairs, _each(inner, pairs.items(), place), strict=True))

    return Codec(lambda value: {str(k): inner.write(value[k]) for k in sorted(value)}, read)


# --- records -------------------------------------------------------------------------------------


ERROR = number(0.0)
# By how a field's type is spelled; records that were made are here by the name of their class.
_BY_TYPE = {"bool": FLAG, "float": ERROR, "int": COUNT, "str": TEXT}
_CONTAINERS = {
    r"(.*) \| None": optional,
    r"tuple\[(.*), \.\.\.\]": many,
    r"Mapping\[str, (.*)\]": by_name,
    r"Mapping\[int, (.*)\]": by_number,
}


def _by_type(spelled: str) -> Codec:
    """What follows from the type of a field."""
    for pattern, container in _CONTAINERS.items():
        inner = re.fullmatch(pattern, spelled)
        if inner is not None:
            return container(_by_type(inner[1]))  # type: ignore[operator]
    return _BY_TYPE[spelled]


def record(kind: type, /, later: Sequence[str] = (), **special: Codec) -> Codec:
    """A dataclass as an object of exactly its fields; `special` are codecs of those whose type does
    not say all.

    Files that are older than a field of `later` lack it: it has its default then.
    """
    spelled = kind.__annotations__.items()
    codecs = {name: special.get(name) or _by_type(of) for name, of in spelled}

    def write(value: Any) -> Any:
        return {name: codec.write(getattr(value, name)) for name, codec in codecs.items()}

    def read(data: Any) -> Any:
        if type(data) is not dict or not set(codecs) - set(later) <= set(data) <= set(codecs):
            raise wrong(data, f"an object with {', '.join(codecs)}")
        return _made(kind, {name: (codecs[name], item) for name, item in data.items()})

    _BY_TYPE[kind.__name__] = Codec(write, read)
    return _BY_TYPE[kind.__name__]


def shared(kind: type, /, **codecs: Codec) -> Codec:
    """A dataclass as part of an object: what is None is left out, what is missing or null has its
    default, and what else is there is passed over.

    Without `codecs` they are what its fields are annotated with; those without one are no part.
    """
    if not codecs:
        hints = get_type_hints(kind, include_extras=True).items()
        codecs = {name: of.__metadata__[0] for name, of in hints if hasattr(of, "__metadata__")}
    required = {f.name for f in fields(kind) if f.default is f.default_factory is MISSING}
    ways = {
        name: codec.keys if codec.keys is not None else (name,) for name, codec in codecs.items()
    }

    def write(value: Any) -> Any:
        data: dict[str, Any] = {}
        for name, codec in codecs.items():
            content = getattr(value, name)
            written = None if content is None else codec.write(content)
            if written is not None:
                _put(data, ways[name], written)
        return data

    def read(data: Any) -> Any:
        members = {name: (codec, _at(data, ways[name])) for name, codec in codecs.items()}
        present = {k: row for k, row in members.items() if row[1] is not None or k in required}
        return _made(kind, present)

    _BY_TYPE[kind.__name__] = Codec(write, read)
    return _BY_TYPE[kind.__name__]


def _put(data: dict[str, Any], way: Sequence[str], content: Any) -> None:
    for key in way[:-1]:
        data = data.setdefault(key, {})
    data.update({way[-1]: content} if way else content)


def _at(data: Any, way: Sequence[str]) -> Any:
    for key in way:
        data = mapping(data).get(key)
        if data is None:
            return None
    return mapping(data) if not way else data


def _made(kind: type, members: Mapping[str, tuple[Codec, Any]]) -> Any:
    values, name = {}, ""
    try:
        for name, (codec, data) in members.items():
            values[name] = codec.read(data)
    except SymCompileError as error:
        if codec.keys == ():
            raise
        raise placed("".join((codec.keys or (name,))[-1:]), error) from error
    try:
        return kind(**values)
    except SymCompileError as error:
        raise ArtifactError(str(error)) from error


def inside(codec: Codec, *keys: str) -> Codec:
    """A field that stands elsewhere than under its name; without keys its own fields stand beside
    the others of the record."""
    return replace(codec, keys=keys)
