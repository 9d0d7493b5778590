"""Constants of a stored graph as plain JSON, and the names that may stand in one.

| value | JSON |
|---|---|
| None, True, 3, 0.5, "mean" | itself |
| inf, -inf, nan | {"float": "inf"} |
| 1+2j, 1+inf*j | {"complex": [1.0, 2.0]}, {"complex": [1.0, {"float": "inf"}]} |
| [a, b] and (a, b) | [a, b] and {"tuple": [a, b]} |
| {"k": a} | {"dict": [["k", a]]} |
| a named tuple | {"named": "Point", "fields": [["x", a], ["y", b]]} |
| torch.float32 | {"dtype": "float32"} |
| torch.strided | {"layout": "strided"} |
| torch.contiguous_format | {"memory_format": "contiguous_format"} |
| torch.device("cuda:0") | {"device": "cuda:0"} |
"""

from __future__ import annotations

import collections
import dataclasses
import keyword
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Any

import torch

from symcompile.errors import ArtifactError
from symcompile.modules.calling import dtype_name

MAX_DEPTH = 32
MAX_FIELDS = 1_000  # of a named tuple, each of which Python compiles code for
_INT64 = 2**63

DTYPES: dict[str, torch.dtype] = {
    dtype_name(dtype): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
        *(torch.complex128, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
        *(torch.bool, torch.uint16, torch.uint32, torch.uint64),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
    )
}
_DEVICE = re.compile(r"[a-z]{2,20}(:\d{1,3})?\Z")
# Module names may be odd ("conv-1"), but never hold what could end a string literal: torch.fx
# writes them into source.
_SEGMENT = re.compile(r"[\w\- +:/@=,()<>]{1,200}\Z")
_FORMATS = ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
_TABLES: dict[str, Mapping[str, Any]] = {
    "dtype": DTYPES,
    "layout": {"strided": torch.strided},
    "memory_format": {name: getattr(torch, name) for name in _FORMATS},
    "float": {"inf": math.inf, "-inf": -math.inf, "nan": math.nan},
}

Leaf = Callable[[Any], Any]
Named = Callable[[str, list[str], list[Any]], Any]


def no_leaf(value: Any) -> Any:
    """A value that holds nothing but constants."""
    return NotImplemented


def encode_value(value: Any, encode_leaf: Leaf = no_leaf) -> Any:
    """A constant, or a structure of constants, as JSON.

    `encode_leaf` is asked first, for graph nodes and the like, and returns NotImplemented for
    everything else. Raises ArtifactError naming the type of what can't be stored.
    """

    def inner(item: Any) -> Any:
        return encode_value(item, encode_leaf)

    leaf = encode_leaf(value)
    if leaf is not NotImplemented:
        return leaf
    if _is_plain(value):
        return value
    if type(value) is float:
        return {"float": str(value)}
    if type(value) is complex:
        return {"complex": [inner(value.real), inner(value.imag)]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        fields = [[name, inner(getattr(value, name))] for name in value._fields]
        return {"named": type(value).__name__, "fields": fields}
    if isinstance(value, (list, tuple)):
        items = [inner(item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    if is_dataclass(value) and not isinstance(value, (type, Mapping)):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {"dict": [[_key(key), inner(item)] for key, item in value.items()]}
    return _encode_torch(value)


def _encode_torch(value: Any) -> Any:
    for kind, table in _TABLES.items():
        for name, constant in table.items():
            if value is constant:
                return {kind: name}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    raise ArtifactError(f"{value!r} of type {type(value).__name__} can't be stored in a .symc file")


def _key(key: object) -> object:
    if type(key) in (str, int):
        return key
    raise ArtifactError(
        f"a dict has key {key!r}: a .symc file holds text and whole numbers as keys"
    )


def _is_plain(value: Any) -> bool:
    """Whether JSON has the value itself."""
    if type(value) is int:
        return bool(-_INT64 <= value < _INT64)
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (bool, str)


def make_named(name: str, names: list[str], values: list[Any]) -> Any:
    """A named tuple with these fields."""
    return _named_class(name, *names)(*values)


@cache
def _named_class(name: str, *names: str) -> Any:
    return collections.namedtuple(name, names, rename=True)


def decode_value(
    data: Any, decode_leaf: Leaf, device: torch.device, named: Named = make_named, depth: int = 0
) -> Any:
    """The value again. Every device becomes `device`.

    `decode_leaf` gets each dict first and returns NotImplemented for what it does not know; `named`
    makes named tuples of checked names.
    Raises ArtifactError for anything that `encode_value` does not write.
    """

    def inner(item: Any) -> Any:
        return decode_value(item, decode_leaf, device, named, depth + 1)

    if depth > MAX_DEPTH:
        raise ArtifactError(f"a value is nested more than {MAX_DEPTH} deep")
    if _is_plain(data):
        return data
    if type(data) is list:
        return [inner(item) for item in data]
    if type(data) is dict:
        leaf = decode_leaf(data)
        return _decode_tagged(data, inner, device, named) if leaf is NotImplemented else leaf
    raise ArtifactError(f"{_shown(data)} is not a value")


def _decode_tagged(data: dict[str, Any], inner: Leaf, device: torch.device, named: Named) -> Any:
    if set(data) == {"named", "fields"}:
        names = [identifier(name) for name, _ in _pairs(data["fields"])]
        if len(names) > MAX_FIELDS or len(set(names)) < len(names):
            raise ArtifactError(f"{_shown(data)} is not a named tuple")
        return named(identifier(data["named"]), names, [inner(item) for _, item in data["fields"]])
    tag, content = next(iter(data.items())) if len(data) == 1 else ("", None)
    if tag == "tuple" and type(content) is list:
        return tuple(inner(item) for item in content)
    if tag == "dict":
        return {key: inner(item) for key, item in _pairs(content)}
    if tag == "device" and type(content) is str and _DEVICE.match(content):
        return device
    if tag == "complex" and type(content) is list and len(content) == 2:
        numbers = [inner(item) for item in content]
        if {*map(type, numbers)} <= {int, float}:
            return complex(*numbers)
    if type(content) is str and content in _TABLES.get(tag, {}):
        return _TABLES[tag][content]
    raise ArtifactError(f"{_shown(data)} is not a value")


def _pairs(data: Any) -> Sequence[tuple[Any, Any]]:
    sound = type(data) is list and all(
        type(pair) is list and len(pair) == 2 and type(pair[0]) in (str, int) for pair in data
    )
    if not sound:
        raise ArtifactError(f"{_shown(data)} is not a list of pairs")
    return data  # type: ignore[no-any-return]


# --- names -------------------------------------------------------------------------------------


def identifier(name: Any) -> str:
    """A name that may become a parameter or a field; ArtifactError for every other text."""
    usable = type(name) is str and name.isidentifier() and len(name) <= 200
    if not usable or keyword.iskeyword(name) or name.startswith("__"):
        raise ArtifactError(f"{_shown(name)} can't serve as a name")
    return str(name)


def qualified_name(name: Any) -> str:
    """A dotted name of a parameter or module; ArtifactError for every other text."""
    segments = name.split(".") if type(name) is str and len(name) <= 1000 else [""]
    for segment in segments:
        if not _SEGMENT.match(segment) or keyword.iskeyword(segment) or segment.startswith("__"):
            raise ArtifactError(f"{_shown(name)} can't serve as the name of a parameter or module")
    return str(name)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
