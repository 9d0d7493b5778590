"""Codecs: how values are written as plain JSON and read back without loss.

A codec is a pair of functions; those of records are put together from those of their fields. NaN is
written as null, infinities as "inf" and "-inf". Whatever does not fit raises ArtifactError that
names the place; nothing that is read is ever run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from symcompile.aten.values import decode_value, encode_value
from symcompile.errors import ArtifactError, SymCompileError, shown
from symcompile.target import is_name

MAX_DEPTH = 32
MAX_RANK = 32
MAX_TEXT = 1_000_000  # characters
_LARGEST = np.finfo(np.float64).max


@dataclass(frozen=True)
class Codec:
    """How a value is written as JSON and read back."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def wrong(data: Any, expected: str) -> ArtifactError:
    return ArtifactError(f"found {data if data in ({}, []) else shown(data)}, expected {expected}")


# --- leaves ----------------------------------------------------------------------------------


def _plain(kind: type, expected: str) -> Codec:
    def read(data: Any) -> Any:
        if type(data) is not kind:
            raise wrong(data, expected)
        return data

    return Codec(kind, read)


def _write_number(value: float) -> Any:
    value = float(value)
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def _read_number(data: Any) -> float:
    if data is None:
        return math.nan
    if type(data) is str and data in ("inf", "-inf"):
        return float(data)
    return _read_finite(data, "a number")


def _read_finite(data: Any, expected: str = "a finite number") -> float:
    if type(data) in (int, float) and abs(data) <= _LARGEST:
        return float(data)
    raise wrong(data, expected)


def _read_text(data: Any) -> str:
    if type(data) is not str:
        raise wrong(data, "text")
    if len(data) > MAX_TEXT:
        raise ArtifactError(f"found a text of {len(data)} characters, at most {MAX_TEXT}")
    return data


def whole(low: int, high: int = 2**63 - 1) -> Codec:
    """Whole numbers from `low` to `high`."""

    def read(data: Any) -> Any:
        if type(data) is not int or not low <= data <= high:
            raise wrong(data, f"a whole number from {low} to {high}")
        return data

    return Codec(int, read)


def number(low: float, high: float = math.inf) -> Codec:
    """Numbers from `low` to `high`, and NaN for what was not measured."""

    def read(data: Any) -> float:
        found = _read_number(data)
        if found < low or found > high:
            raise wrong(data, f"a number from {low:g} to {high:g}")
        return found

    return Codec(_write_number, read)


def one_of(*known: str) -> Codec:
    """One of a few words."""

    def read(data: Any) -> str:
        if type(data) is not str or data not in known:
            raise wrong(data, f"one of {', '.join(map(repr, known))}")
        return data

    return Codec(str, read)


TEXT = Codec(str, _read_text)
COUNT = whole(0)
FLAG = _plain(bool, "true or false")
NUMBER = Codec(_write_number, _read_number)
FINITE = Codec(_write_number, _read_finite)


def _write_array(value: Any) -> Any:
    array = np.asarray(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ArtifactError("can't store an array that is not finite")
    return {"shape": list(array.shape), "values": array.ravel().tolist()}


def _read_array(data: Any) -> Any:
    try:
        shape, values = data["shape"], [_read_finite(value) for value in data["values"]]
        sound = len(shape) <= MAX_RANK and all(type(size) is int and size >= 0 for size in shape)
        if not sound or math.prod(shape) != len(values):
            raise wrong(shape, f"the shape of {len(values)} values")
        return np.array(values, dtype=np.float64).reshape(shape)
    except (KeyError, TypeError) as error:
        raise wrong(data, "an array") from error


ARRAY = Codec(_write_array, _read_array)


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


def _read_data(data: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ArtifactError(f"nested more than {MAX_DEPTH} deep")
    if type(data) is dict:
        return {key: _read_data(item, depth + 1) for key, item in data.items()}
    return [_read_data(item, depth + 1) for item in data] if type(data) is list else data


DATA = Codec(_write_data, _read_data)


def _write_structure(value: Any) -> Any:
    """What a region returns: numbers of outputs in nested tuples, lists and dicts."""
    if isinstance(value, Mapping):
        return {"dict": [[key, _write_structure(item)] for key, item in value.items()]}
    if isinstance(value, (tuple, list)):
        items = [_write_structure(item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    return value


def _read_structure(data: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ArtifactError(f"nested more than {MAX_DEPTH} deep")
    if data is None or type(data) is int:
        return data
    if type(data) is list:
        return [_read_structure(item, depth + 1) for item in data]
    if type(data) is dict and set(data) == {"tuple"} and type(data["tuple"]) is list:
        return tuple(_read_structure(item, depth + 1) for item in data["tuple"])
    if type(data) is dict and set(data) == {"dict"}:
        pairs = many(pair(KEY, Codec(_write_structure, lambda d: _read_structure(d, depth + 1))))
        return dict(pairs.read(data["dict"]))
    raise wrong(data, "the structure of an output")


def _read_key(data: Any) -> Any:
    if type(data) is int:
        return whole(-(2**63)).read(data)
    if type(data) is not str:
        raise wrong(data, "a key")
    return data


def _read_literal(data: Any) -> Any:
    if data is None or type(data) in (bool, int, float, str):
        return data
    raise wrong(data, "a plain value")


def _read_identifier(data: Any) -> str:
    if type(data) is not str or not data.isidentifier() or len(data) > 200:
        raise wrong(data, "an identifier")
    return data


def _read_parameter(data: Any) -> str:
    """As a signature has it, with its stars: torch.fx writes it into source."""
    plain = data.lstrip("*") if type(data) is str else ""
    if not is_name(plain) or plain == "self" or data not in (plain, "*" + plain, "**" + plain):
        raise wrong(data, "the name of a parameter")
    return str(data)


def _no_leaf(value: Any) -> Any:
    return NotImplemented


# Arguments of a block that are no tensors.
SETTING = Codec(
    lambda value: encode_value(value, _no_leaf),
    lambda data: decode_value(data, _no_leaf, torch.device("cpu")),
)
STRUCTURE = Codec(_write_structure, _read_structure)
KEY = Codec(lambda key: key, _read_key)
LITERAL = Codec(lambda value: value, _read_literal)
IDENTIFIER = Codec(str, _read_identifier)
PARAMETER = Codec(str, _read_parameter)


# --- composition -------------------------------------------------------------------------------


def optional(inner: Codec) -> Codec:
    return Codec(
        lambda value: None if value is None else inner.write(value),
        lambda data: None if data is None else inner.read(data),
    )


def many(inner: Codec) -> Codec:
    """A tuple of any length."""

    def read(data: Any) -> Any:
        if type(data) is not list:
            raise wrong(data, "a list")
        return tuple(inner.read(item) for item in data)

    return Codec(lambda values: [inner.write(value) for value in values], read)


def pair(first: Codec, second: Codec) -> Codec:
    def read(data: Any) -> Any:
        if type(data) is not list or len(data) != 2:
            raise wrong(data, "a pair")
        return first.read(data[0]), second.read(data[1])

    return Codec(lambda value: [first.write(value[0]), second.write(value[1])], read)


def ordered(inner: Codec) -> Codec:
    """A mapping whose order means something, by name."""
    pairs = many(pair(IDENTIFIER, inner))
    return Codec(lambda value: pairs.write(value.items()), lambda data: dict(pairs.read(data)))


def by_name(inner: Codec) -> Codec:
    def read(data: Any) -> Any:
        if type(data) is not dict:
            raise wrong(data, "an object")
        return {name: inner.read(item) for name, item in data.items()}

    return Codec(lambda value: {name: inner.write(item) for name, item in value.items()}, read)


def by_number(inner: Codec) -> Codec:
    """A mapping from whole numbers, in ascending order."""

    def read(data: Any) -> Any:
        if type(data) is not dict or not all(map(_is_number_of, data)):
            raise wrong(data, "an object with whole numbers as keys")
        return {int(key): inner.read(data[key]) for key in sorted(data, key=int)}

    return Codec(lambda value: {str(k): inner.write(value[k]) for k in sorted(value)}, read)


def _is_number_of(key: str) -> bool:
    """As Python writes it: no signs, no leading zeros, no digits of other scripts."""
    return key.isascii() and key.isdecimal() and len(key) < 10 and str(int(key)) == key


def record(kind: type, later: Sequence[str] = (), **fields: Codec) -> Codec:
    """A dataclass; the names of the codecs are those of its fields.

    Files that are older than a field of `later` lack it: it has its default then.
    """

    def write(value: Any) -> Any:
        return {name: codec.write(getattr(value, name)) for name, codec in fields.items()}

    def read(data: Any) -> Any:
        if type(data) is not dict or not set(fields) - set(later) <= set(data) <= set(fields):
            raise wrong(data, f"an object with {', '.join(fields)}")
        values = {}
        for name, codec in fields.items():
            if name not in data:
                continue
            try:
                values[name] = codec.read(data[name])
            except SymCompileError as error:
                raise ArtifactError(f"{name}: {error}") from error
        try:
            return kind(**values)
        except SymCompileError as error:
            raise ArtifactError(str(error)) from error

    return Codec(write, read)
