"""Tensors of an ONNX file: types, shapes and digests, each checked against what is really there.

Weights may lie in other files. Those are read only where they are plain files in the folder of the
model or below it, in pieces, and never kept.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from symcompile.diff.readers.checks import printable, shown
from symcompile.diff.snapshot import Tensor
from symcompile.errors import ArtifactError
from symcompile.expressions.evaluation import Array
from symcompile.storage.files import without_waiting

_CHUNK = 2**20
_EXTERNAL = 1  # onnx.TensorProto.EXTERNAL
_MOST_ELEMENTS = 2**48


class Kind(NamedTuple):
    """A type of tensors: its name in torch, bits of an element, and the field of a TensorProto
    that holds elements where `raw_data` does not."""

    name: str
    bits: int
    field: str


# By the numbers of onnx.TensorProto.DataType.
KINDS = {
    1: Kind("float32", 32, "float_data"),
    2: Kind("uint8", 8, "int32_data"),
    3: Kind("int8", 8, "int32_data"),
    4: Kind("uint16", 16, "int32_data"),
    5: Kind("int16", 16, "int32_data"),
    6: Kind("int32", 32, "int32_data"),
    7: Kind("int64", 64, "int64_data"),
    8: Kind("string", 0, "string_data"),
    9: Kind("bool", 8, "int32_data"),
    10: Kind("float16", 16, "int32_data"),
    11: Kind("float64", 64, "double_data"),
    12: Kind("uint32", 32, "uint64_data"),
    13: Kind("uint64", 64, "uint64_data"),
    14: Kind("complex64", 64, "float_data"),
    15: Kind("complex128", 128, "double_data"),
    16: Kind("bfloat16", 16, "int32_data"),
    17: Kind("float8_e4m3fn", 8, "int32_data"),
    18: Kind("float8_e4m3fnuz", 8, "int32_data"),
    19: Kind("float8_e5m2", 8, "int32_data"),
    20: Kind("float8_e5m2fnuz", 8, "int32_data"),
    21: Kind("uint4", 4, "int32_data"),
    22: Kind("int4", 4, "int32_data"),
    23: Kind("float4_e2m1fn", 4, "int32_data"),
    24: Kind("float8_e8m0fnu", 8, "int32_data"),
    25: Kind("uint2", 2, "int32_data"),
    26: Kind("int2", 2, "int32_data"),
    27: Kind("float6_e2m3fn", 6, "int32_data"),
    28: Kind("float6_e3m2fn", 6, "int32_data"),
}
DTYPES = {number: kind.name for number, kind in KINDS.items()}
_FIELDS = {
    "float_data": "<f4",
    "double_data": "<f8",
    "int32_data": "<i4",
    "int64_data": "<i8",
    "uint64_data": "<u8",
}
_NUMPY = {
    "float32": "<f4",
    "float64": "<f8",
    "float16": "<f2",
    "uint8": "u1",
    "int8": "i1",
    "uint16": "<u2",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint32": "<u4",
    "uint64": "<u8",
    "bool": "?",
}


def dtype_of(number: int) -> str:
    """Name of a type as torch writes it; numbers of other types stand for themselves."""
    return DTYPES.get(number, f"type {number}")


def elements(tensor: Any) -> int:
    """How many a TensorProto has by its shape; ArtifactError for sizes that no tensor has."""
    if len(tensor.dims) > 64 or any(size < 0 for size in tensor.dims):
        raise _wrong(tensor, f"has the shape {_sizes(tensor)}")
    count = math.prod(tensor.dims)
    if count > _MOST_ELEMENTS:
        raise _wrong(tensor, f"has the shape {_sizes(tensor)}, which no file holds")
    return count


def is_external(tensor: Any) -> bool:
    return bool(tensor.data_location == _EXTERNAL)


def small_array(tensor: Any, limit: int) -> Array | None:
    """Values of a tensor of up to `limit` elements; None where it is larger, in another file, or
    of a type without a counterpart in numpy."""
    name = dtype_of(tensor.data_type)
    if is_external(tensor) or (name not in _NUMPY and name != "bfloat16"):
        return None
    if elements(tensor) > limit:
        return None
    data = b"".join(_own_bytes(tensor))
    shape = tuple(tensor.dims)
    if name == "bfloat16":
        wide = np.frombuffer(data, "<u2").astype("<u4") << 16
        return wide.view("<f4").reshape(shape)
    if name == "bool":
        return (np.frombuffer(data, "u1") != 0).reshape(shape)
    return np.frombuffer(data, _NUMPY[name]).reshape(shape)


def _own_bytes(tensor: Any) -> Iterator[bytes]:
    """Elements that stand in the model's own file, little-endian, checked to be all of them."""
    kind, count = KINDS.get(tensor.data_type), elements(tensor)
    if kind is None:
        yield tensor.raw_data
        return
    size = -(-count * kind.bits // 8)
    if kind.name != "string" and tensor.HasField("raw_data"):
        if len(tensor.raw_data) != size:
            raise _wrong(
                tensor,
                f"has the shape {_sizes(tensor)} and {len(tensor.raw_data)} bytes, expected {size}",
            )
        yield tensor.raw_data
        return
    values = getattr(tensor, kind.field)
    expected = _stored(kind, count)
    if len(values) != expected:
        raise _wrong(
            tensor, f"has the shape {_sizes(tensor)} and {len(values)} values, expected {expected}"
        )
    if kind.name == "string":
        yield from (b"%d:%b" % (len(value), value) for value in values)
    else:
        yield _packed(np.array(values, dtype=_FIELDS[kind.field]), kind).tobytes()


def _stored(kind: Kind, count: int) -> int:
    """How many numbers stand for so many elements where they are not raw bytes."""
    if kind.name.startswith("complex"):
        return 2 * count
    return -(-count * kind.bits // 8) if kind.bits in (2, 4) else count


def _packed(array: Array, kind: Kind) -> Array:
    """Stored numbers as the raw bytes would have them."""
    if kind.name == "uint32":
        return array.astype("<u4")
    if kind.field != "int32_data" or kind.bits == 32:
        return array
    if kind.bits != 6:
        return array.astype("<u2" if kind.bits == 16 else "u1")
    bits = np.unpackbits(array.astype("u1")[:, None], axis=1, bitorder="little")[:, :6]
    return np.packbits(bits.reshape(-1), bitorder="little")


class Tensors:
    """Describes the tensors of one model, in its own file or beside it."""

    def __init__(self, path: str) -> None:
        self.folder = os.path.realpath(os.path.dirname(path) or ".")
        self.known: dict[tuple[str, int, int], str] = {}
        self.read: dict[str, int] = {}

    def describe(self, tensor: Any) -> Tensor:
        """Dtype, shape and digest; ArtifactError where the data is not what the shape says."""
        if is_external(tensor):
            digest = self._outside(tensor)
        else:
            total = hashlib.sha256()
            for part in _own_bytes(tensor):
                total.update(part)
            digest = total.hexdigest()[:16]
        return Tensor(dtype_of(tensor.data_type), tuple(tensor.dims), digest)

    def describe_sparse(self, sparse: Any) -> Tensor:
        """The same for a SparseTensorProto: the digest is that of its values and their places."""
        parts = (self.describe(sparse.values), self.describe(sparse.indices))
        shape = tuple(sparse.dims)
        text = f"{shape}" + "".join(f"{one.dtype}{one.shape}{one.digest}" for one in parts)
        return Tensor(parts[0].dtype, shape, hashlib.sha256(text.encode()).hexdigest()[:16])

    def _outside(self, tensor: Any) -> str:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if len(entries) != len(tensor.external_data):
            raise _wrong(tensor, "tells twice where its data lies")
        location = entries.get("location", "")
        place = self._place(tensor, location)
        try:
            with open(place, "rb", opener=without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise _wrong(tensor, f"lies in {shown(location)}, which is no plain file")
                start, length = self._extent(tensor, entries, location, status.st_size)
                return self._digest(tensor, file, (place, start, length), status.st_size)
        except OSError as error:
            reason = error.strerror or str(error)
            raise _wrong(tensor, f"lies in {shown(location)}: {reason}") from error

    def _place(self, tensor: Any, location: str) -> str:
        parts = Path(location).parts
        if not location or "\0" in location or Path(location).is_absolute() or ".." in parts:
            raise _wrong(tensor, f"lies in {shown(location)}, outside of the model's folder")
        if "\\" in location or ":" in location:  # drives and folders of other systems
            raise _wrong(tensor, f"lies in {shown(location)}, which is no plain relative path")
        place = os.path.realpath(os.path.join(self.folder, location))
        if os.path.commonpath([place, self.folder]) != self.folder:
            raise _wrong(tensor, f"lies in {shown(location)}, a link that leaves the folder")
        return place

    def _extent(
        self, tensor: Any, entries: dict[str, str], location: str, available: int
    ) -> tuple[int, int]:
        start = _number(tensor, entries.get("offset", "0"))
        kind, count = KINDS.get(tensor.data_type), elements(tensor)
        if kind is None or kind.name == "string":
            raise _wrong(tensor, f"is of {dtype_of(tensor.data_type)} and lies in another file")
        size = -(-count * kind.bits // 8)
        length = _number(tensor, entries.get("length", str(size)))
        if length != size:
            raise _wrong(tensor, f"has the shape {_sizes(tensor)} and {length} bytes of data")
        if start + length > available:
            raise _wrong(
                tensor,
                f"lies in {shown(location)} up to byte {start + length}, the file has {available}",
            )
        return start, length

    def _digest(self, tensor: Any, file: Any, extent: tuple[str, int, int], available: int) -> str:
        if extent in self.known:
            return self.known[extent]
        place, start, length = extent
        self.read[place] = self.read.get(place, 0) + length
        if self.read[place] > available:  # one piece of a file for a thousand tensors
            raise _wrong(tensor, "overlaps others of its file")
        total = hashlib.sha256()
        file.seek(start)
        while length > 0 and (part := file.read(min(length, _CHUNK))):
            total.update(part)
            length -= len(part)
        self.known[extent] = total.hexdigest()[:16]
        return self.known[extent]


def _number(tensor: Any, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise _wrong(tensor, f"has {shown(text)} as a place in a file")
    return int(text)


def _sizes(tensor: Any) -> str:
    sizes = ", ".join(map(str, tensor.dims[:8]))
    return f"[{sizes}{', ...' * (len(tensor.dims) > 8)}]"


def _wrong(tensor: Any, problem: str) -> ArtifactError:
    return ArtifactError(f"tensor {printable(repr(tensor.name), 100)} {problem}")
