"""Tensors of a safetensors file come back, and no header makes more of them than there are."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from typing import Any

import pytest
import torch
from safetensors.torch import save

from symcompile.errors import ArtifactError
from symcompile.storage.tensors import DTYPES, read_tensors


def read(data: bytes) -> Any:
    return read_tensors(io.BytesIO(data), len(data))


def test_what_safetensors_writes_comes_back() -> None:
    tensors = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES.values()} | {
        "empty": torch.zeros(0, 3),
        "number": torch.tensor(7.5),
    }
    found, metadata = read(save(tensors, metadata={"a": "b"}))
    assert metadata == {"a": "b"}
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name].to(torch.complex64), tensor.to(torch.complex64))
        found[name].zero_()  # it is no view of what was read


def written(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def row(shape: Any, start: Any = 0, end: Any = 8, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "only the beginning"),
        (written({}, length=2**60), "only the beginning"),
        (written(b"[" * 1000 + b"]" * 1000), "header"),
        (written(b"[]"), "not an object"),
        (written(b'{"a": 1, "a": 2}'), "stands twice"),
        (written({"a": row([2])}), "where the one before it ends"),
        (written({"a": row([2**40], 0, 2**42)}), "where the one before"),
        (written({"a": row([2, 2])}, b"\0" * 8), "shape"),
        (written({"a": row([2.0])}, b"\0" * 8), "in the place of sizes"),
        (written({"a": row([-2, -1])}, b"\0" * 8), "in the place of sizes"),
        (written({"a": row([1] * 40 + [2])}, b"\0" * 8), "41 dimensions"),
        (written({"a": row([2], dtype="F128")}, b"\0" * 8), "dtype 'F128'"),
        (written({"a": row([2], dtype=["F32"])}, b"\0" * 8), "dtype a list"),
        (written({"a": row([2]), "b": row([2])}, b"\0" * 8), "where the one before it ends"),
        (written({"a": row([2], 8, 16)}, b"\0" * 16), "where the one before it ends"),
        (written({"a": row([2])}, b"\0" * 9), "1 bytes at its end"),
        (written({"a": row([2])} | {"__metadata__": {"a": 1}}, b"\0" * 8), "metadata"),
        (written({"a\x1b": 3}), r"tensor 'a\\x1b' is not described"),
    ],
)
def test_headers_of_strangers(data: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        read(data)


def test_a_million_empty_tensors_are_not_made() -> None:
    header = {f"{k}": row([0], 0, 0) for k in range(100_001)}
    data = written(header)
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match="at most 100000"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 15 * len(data)
    finally:
        tracemalloc.stop()
