"""Bytes that are no ONNX file, or one that would take far more memory than it looks."""

from __future__ import annotations

import random
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from symcompile.diff.onnx.parsing import (
    MAX_FIELDS,
    MAX_NODES,
    MAX_PACKED,
    check_size,
    parse,
)
from symcompile.diff.readers import onnx_file
from symcompile.errors import ArtifactError


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def model(graph: bytes) -> bytes:
    """Version, graph and one opset of a model."""
    return b"\x08\x0a" + field(7, graph) + field(8, b"\x10\x12")


def nested(depth: int, inner: bytes = b"") -> bytes:
    """Graphs in attributes of nodes of graphs."""
    for _ in range(depth):
        inner = field(1, field(5, field(6, inner)))
    return inner


NODES, TENSORS, NAME, DIMENSIONS = 1, 5, 8, 1

HOSTILE = {
    "nothing": (b"", "or ONNX file"),
    "zeros": (bytes(1000), "or ONNX file"),
    "text": (b"import os\n" * 100, "or ONNX file"),
    "a long text": (b"x = 1\n" * 10**5, "or ONNX file"),
    "JSON": (b'{"graph": {}}', "or ONNX file"),
    "XML": (b"<model/>", "or ONNX file"),
    "a zip": (b"PK\x03\x04" + bytes(100), "or ONNX file"),
    "no graph": (b"\x08\x0a", "no ONNX model"),
    "no opset": (b"\x08\x0a" + field(7, b""), "no ONNX model"),
    "no version": (field(7, b"") + field(8, b""), "no ONNX model"),
    "a length beyond the end": (b"\x08\x0a" + b"\x3a\xff\xff\xff\xff\x07", "or ONNX file"),
    "a length of 2**70": (b"\x3a" + b"\xff" * 10 + b"\x01", "or ONNX file"),
    "a million groups": (b"\x83\x06" * 10**6, "or ONNX file"),
    "graphs 200 deep": (model(nested(200)), "or ONNX file"),
    "graphs 50,000 deep": (model(nested(2000, bytes(10**6))), "or ONNX file"),
    "a million nodes": (model(field(NODES, b"") * 10**6), f"more than {MAX_NODES} nodes"),
    "empty tensors": (model(field(TENSORS, b"") * MAX_FIELDS), f"more than {MAX_FIELDS} values"),
    "empty strings": (
        model(field(NODES, field(1, b"") * MAX_FIELDS)),
        f"more than {MAX_FIELDS} values",
    ),
    "packed sizes": (
        model(field(TENSORS, field(DIMENSIONS, b"\x01" * (MAX_PACKED + 1)))),
        f"more than {MAX_FIELDS} values",
    ),
    "a name that is no text": (model(field(TENSORS, field(NAME, b"\xff\xfe"))), "or ONNX file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused(name: str) -> None:
    data, says = HOSTILE[name]
    with pytest.raises(ArtifactError, match=says):
        parse(data)


def test_random_bytes_are_refused() -> None:
    source = random.Random(0)
    for _ in range(500):
        with pytest.raises(ArtifactError):
            parse(source.randbytes(source.randrange(300)))


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"x = 1\n" * 100)
    with pytest.raises(ArtifactError, match=r"can't read '.*bad.onnx': it is no artifact, "):
        onnx_file.read(str(path))
    with pytest.raises(ArtifactError, match=r"there is no file '.*missing.onnx'"):
        onnx_file.read(str(tmp_path / "missing.onnx"))
    with pytest.raises(ArtifactError, match="regular file"):
        onnx_file.read(str(tmp_path))


def test_what_is_within_the_limits_is_parsed() -> None:
    nodes = [helper.make_node("Neg", [f"v{k}"], [f"v{k + 1}"]) for k in range(2000)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("v0", "v2000")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], doc_string="é" * 1000)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    proto.graph.initializer.append(
        onnx.TensorProto(name="w", data_type=1, dims=[2], raw_data=bytes(8))
    )
    data = proto.SerializeToString()
    check_size(data)
    assert parse(data) == proto
    # Ten graphs inside of each other are more than anyone writes.
    assert parse(model(nested(10))).HasField("graph")
