"""Tensors of a safetensors file, from bytes that anyone may have written.

The header is measured and checked before any tensor is made, and no memory is asked for that the
file does not fill.
"""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import torch

from symcompile.errors import ArtifactError, shown
from symcompile.storage.codecs import MAX_RANK
from symcompile.storage.reading import at, from_json

MAX_TENSORS = 100_000

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_METADATA = "__metadata__"


def read_tensors(file: BinaryIO, size: int) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of an open file of `size` bytes.

    Raises ArtifactError naming the tensor whose row in the header is none.
    """
    header, start = _header(file, size)
    metadata = header.pop(_METADATA, {})
    if type(metadata) is not dict or not all(type(text) is str for text in metadata.values()):
        raise ArtifactError("its metadata is not text by name")
    if len(header) > MAX_TENSORS:
        raise ArtifactError(f"it holds {len(header)} tensors, at most {MAX_TENSORS}")
    rows = {name: _row(name, header[name]) for name in header}
    end = 0
    tensors: dict[str, torch.Tensor] = {}
    for name in sorted(rows, key=lambda name: rows[name][2:]):
        dtype, shape, first, last = rows[name]
        if first != end or last > size - start:
            raise ArtifactError(f"tensor {shown(name)} is not where the one before it ends")
        tensors[name], end = _tensor(file, dtype, shape, last - first), last
    if end != size - start:
        raise ArtifactError(f"{size - start - end} bytes at its end belong to no tensor")
    return {name: tensors[name] for name in rows}, metadata


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """What stands before the tensors, and where that ends."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= size - 8:
        raise ArtifactError("it is no safetensors file, or only the beginning of one")
    with at("its header"):
        header = from_json(file.read(length))
    if type(header) is not dict:
        raise ArtifactError("its header is not an object")
    return header, 8 + length


def _row(name: str, data: Any) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    where = f"tensor {shown(name)}"
    if type(data) is not dict or set(data) != {"dtype", "shape", "data_offsets"}:
        raise ArtifactError(f"{where} is not described by dtype, shape and data_offsets")
    dtype = DTYPES.get(data["dtype"]) if type(data["dtype"]) is str else None
    if dtype is None:
        raise ArtifactError(f"{where} has dtype {shown(data['dtype'])}")
    shape, ends = data["shape"], data["data_offsets"]
    for sizes in (shape, ends):
        if type(sizes) is not list or not all(type(n) is int and 0 <= n < 2**63 for n in sizes):
            raise ArtifactError(f"{where} has {shown(sizes)} in the place of sizes")
    if len(shape) > MAX_RANK or len(ends) != 2:
        raise ArtifactError(f"{where} has {len(shape)} dimensions and {len(ends)} ends")
    if ends[1] - ends[0] != math.prod(shape) * dtype.itemsize:
        raise ArtifactError(f"{where} has the shape {shape} and {ends[1] - ends[0]} bytes")
    return dtype, tuple(shape), ends[0], ends[1]


def _tensor(
    file: BinaryIO, dtype: torch.dtype, shape: tuple[int, ...], length: int
) -> torch.Tensor:
    if not length:
        return torch.empty(shape, dtype=dtype)
    data = bytearray(length)
    if file.readinto(data) != length:  # type: ignore[attr-defined]
        raise ArtifactError("it ends before its last tensor does")
    return torch.frombuffer(data, dtype=dtype).reshape(shape)
