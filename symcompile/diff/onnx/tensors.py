"""Tensors of an ONNX file: types, shapes and digests, each checked against what is really there.

onnx_ir knows how every type is stored; what it is given has been measured before. Weights may lie
in other files. Those are read only where they are plain files in the folder of the model or below
it, in pieces, and never kept.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from symcompile.errors import ArtifactError, shown
from symcompile.expressions.evaluation import Array
from symcompile.storage.codecs import printable
from symcompile.storage.files import without_waiting
from symcompile.storage.schema import Tensor

_CHUNK = 2**20
_EXTERNAL = 1  # onnx.TensorProto.EXTERNAL
_MOST_ELEMENTS = 2**48
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def dtype_of(number: int) -> str:
    """Name of a type as torch writes it; numbers of other types stand for themselves."""
    kind = _kind(number)
    if kind is None:
        return f"type {number}"
    return "string" if kind.name == "STRING" else str(kind.numpy().name)


def _kind(number: int) -> Any:
    """The onnx_ir.DataType; None where there is none."""
    from onnx_ir import DataType

    try:
        return DataType(number) if number else None
    except ValueError:
        return None


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
    kind = _kind(tensor.data_type)
    if is_external(tensor) or kind is None or kind.name == "STRING" or elements(tensor) > limit:
        return None
    dtype, shape = kind.numpy(), tuple(tensor.dims)
    if kind.name == "BFLOAT16":
        return np.frombuffer(_content(tensor), dtype).astype(np.float32).reshape(shape)
    if dtype.isbuiltin != 1 or dtype.kind not in "fiub":
        return None
    if dtype.kind == "b":
        return (np.frombuffer(_content(tensor), "u1") != 0).reshape(shape)
    return np.frombuffer(_content(tensor), dtype.newbyteorder("<")).reshape(shape)


def _content(tensor: Any) -> bytes:
    """Elements that stand in the model's own file, little-endian, checked to be all of them."""
    from onnx_ir.serde import TensorProtoTensor

    kind, count = _kind(tensor.data_type), elements(tensor)
    if kind is None:
        return bytes(tensor.raw_data)
    text = kind.name == "STRING"
    size = count if text else -(-count * kind.bitwidth // 8)
    if tensor.HasField("raw_data") and not text:
        held, expected, what = len(tensor.raw_data), size, "bytes"
    else:
        held, what = sum(len(getattr(tensor, field)) for field in _FIELDS), "values"
        expected = size if not text and kind.bitwidth < 6 else count
        expected *= 2 if kind.name.startswith("COMPLEX") else 1
    if held != expected:
        problem = f"has the shape {_sizes(tensor)} and {held} {what}, expected {expected}"
        raise _wrong(tensor, problem)
    if text:
        return b"".join(b"%d:%b" % (len(value), value) for value in tensor.string_data)
    try:
        data = TensorProtoTensor(tensor).tobytes()
    except (AssertionError, ValueError) as error:
        raise _wrong(tensor, f"is no {dtype_of(kind)}") from error
    if len(data) != size:
        raise _wrong(tensor, f"is no {dtype_of(kind)}: it has {len(data)} bytes, expected {size}")
    return bytes(data)


class Tensors:
    """Describes the tensors of one model, in its own file or beside it."""

    def __init__(self, path: str) -> None:
        self.folder = os.path.realpath(os.path.dirname(path) or ".")
        self.digests: dict[tuple[str, int, int], str] = {}
        self.read: dict[str, int] = {}

    def describe(self, tensor: Any) -> Tensor:
        """Dtype, shape and digest; ArtifactError where the data is not what the shape says."""
        digest = self._outside(tensor) if is_external(tensor) else _digest(_content(tensor))
        return Tensor(dtype_of(tensor.data_type), tuple(tensor.dims), digest)

    def describe_sparse(self, sparse: Any) -> Tensor:
        """The same for a SparseTensorProto: the digest is that of its values and their places."""
        parts = (self.describe(sparse.values), self.describe(sparse.indices))
        shape = tuple(sparse.dims)
        text = f"{shape}" + "".join(f"{part.dtype}{part.shape}{part.digest}" for part in parts)
        return Tensor(parts[0].dtype, shape, _digest(text.encode()))

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
                start, length = _extent(tensor, entries)
                if start + length > status.st_size:
                    end = f"byte {start + length}, the file has {status.st_size}"
                    raise _wrong(tensor, f"lies in {shown(location)} up to {end}")
                return self._hashed(tensor, file, (place, start, length), status.st_size)
        except OSError as error:
            reason = error.strerror or str(error)
            raise _wrong(tensor, f"lies in {shown(location)}: {reason}") from error

    def _place(self, tensor: Any, location: str) -> str:
        path = Path(location)
        if not location or "\0" in location or path.is_absolute() or ".." in path.parts:
            raise _wrong(tensor, f"lies in {shown(location)}, outside of the model's folder")
        if "\\" in location or ":" in location:  # drives and folders of other systems
            raise _wrong(tensor, f"lies in {shown(location)}, which is no plain relative path")
        place = os.path.realpath(os.path.join(self.folder, location))
        if os.path.commonpath([place, self.folder]) != self.folder:
            raise _wrong(tensor, f"lies in {shown(location)}, a link that leaves the folder")
        return place

    def _hashed(self, tensor: Any, file: Any, extent: tuple[str, int, int], available: int) -> str:
        if extent in self.digests:
            return self.digests[extent]
        place, start, length = extent
        self.read[place] = self.read.get(place, 0) + length
        if self.read[place] > available:  # one piece of a file for a thousand tensors
            raise _wrong(tensor, "overlaps others of its file")
        total = hashlib.sha256()
        file.seek(start)
        while length > 0 and (chunk := file.read(min(length, _CHUNK))):
            total.update(chunk)
            length -= len(chunk)
        self.digests[extent] = total.hexdigest()[:16]
        return self.digests[extent]


def _extent(tensor: Any, entries: dict[str, str]) -> tuple[int, int]:
    """First byte and length of a tensor in its file."""
    kind, count = _kind(tensor.data_type), elements(tensor)
    start = _number(tensor, entries.get("offset", "0"))
    if kind is None or kind.name == "STRING":
        raise _wrong(tensor, f"is of {dtype_of(tensor.data_type)} and lies in another file")
    size = -(-count * kind.bitwidth // 8)
    length = _number(tensor, entries.get("length", str(size)))
    if length != size:
        raise _wrong(tensor, f"has the shape {_sizes(tensor)} and {length} bytes of data")
    return start, length


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _number(tensor: Any, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise _wrong(tensor, f"has {shown(text)} as a place in a file")
    return int(text)


def _sizes(tensor: Any) -> str:
    sizes = ", ".join(map(str, tensor.dims[:8]))
    return f"[{sizes}{', ...' * (len(tensor.dims) > 8)}]"


def _wrong(tensor: Any, problem: str) -> ArtifactError:
    return ArtifactError(f"tensor {printable(repr(tensor.name), 100)} {problem}")
