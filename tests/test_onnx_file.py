"""ONNX files written tensor by tensor, with the weights in them or beside them."""

import io

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from hybrids import Fake, FakeHybrid, hybrid_of
from torch import nn

from symcompile import diff, exporters
from symcompile.errors import ExportError
from symcompile.exporters import onnx_file
from symcompile.exporters.onnx_file import set_aside, without_weights, write
from symcompile.modules.calling import Batch


def network() -> FakeHybrid:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 400), nn.Identity(), nn.Linear(400, 2))
    model.insert(1, nn.Linear(400, 2))
    model[3] = nn.Linear(2, 300)
    return hybrid_of(model, {"2": Fake(["x0*x1", "sin(x0)"], 2)}, Batch((torch.randn(9, 3),), {}))


@pytest.fixture
def model() -> onnx_ir.Model:
    """Large and small initializers in turn, of several types."""
    rng = np.random.default_rng(0)
    arrays = {
        "small": np.array([2, 3], dtype=np.int64),
        "large": rng.normal(size=(30, 40)).astype(np.float32),
        "half": rng.normal(size=(70, 9)).astype(np.float16),
        "long": np.arange(70_000, dtype=np.int64),
        "scalar": np.array(1.5),
    }
    tensors = {name: onnx_ir.tensor(array, name=name) for name, array in arrays.items()}
    values = {name: onnx_ir.val(name, const_value=one) for name, one in tensors.items()}
    nodes = [onnx_ir.node("Identity", [value]) for value in values.values()]
    for node, tensor in zip(nodes, tensors.values(), strict=True):
        node.outputs[0].type = onnx_ir.TensorType(tensor.dtype)
        node.outputs[0].shape = tensor.shape
    graph = onnx_ir.Graph(
        [],
        [node.outputs[0] for node in nodes],
        nodes=nodes,
        initializers=list(values.values()),
        opset_imports={"": 18},
        name="graph",
    )
    return onnx_ir.Model(graph, ir_version=10)


def test_the_file_is_the_message_that_protobuf_would_write(model, tmp_path) -> None:
    expected = onnx_ir.to_proto(model)
    weights = set_aside(model)
    assert set(weights) == {"large", "half", "long"}
    (path,) = write(onnx_ir.to_proto(model), weights, tmp_path / "a.onnx")
    found = onnx.load(path)
    assert {one.name for one in found.graph.initializer} == set(model.graph.initializers)
    for one in expected.graph.initializer:
        (same,) = (other for other in found.graph.initializer if other.name == one.name)
        assert (same.dims, same.data_type) == (one.dims, one.data_type)
        np.testing.assert_array_equal(*(onnx.numpy_helper.to_array(t) for t in (one, same)))
    for proto in (found, expected):
        del proto.graph.initializer[:]
    assert found == expected
    # Written by hand, read by protobuf, and written by it again: not a byte more or less.
    assert len(onnx.load(path).SerializeToString()) == path.stat().st_size


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31 - 1, 2**40])
def test_lengths_as_protobuf_writes_them(number) -> None:
    from google.protobuf.internal.encoder import _EncodeVarint

    expected = io.BytesIO()
    _EncodeVarint(expected.write, number)
    assert bytes(onnx_file._varint(number)) == expected.getvalue()


def test_the_graph_without_its_weights_is_complete(model) -> None:
    set_aside(model)
    proto = onnx_ir.to_proto(model)
    plain = without_weights(proto)
    onnx.checker.check_model(plain, full_check=True)
    assert [one.name for one in plain.graph.input] == ["large", "half", "long"]
    assert not proto.graph.input


def test_weights_beside_a_model_that_is_too_large_for_one_file(tmp_path, monkeypatch) -> None:
    hybrid = network()
    whole = exporters.onnx(hybrid, tmp_path / "whole.onnx")
    assert whole.weights is None
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 10_000)
    path = tmp_path / "a.onnx"
    file = exporters.onnx(hybrid, path)
    assert file.weights == tmp_path / "a.onnx.data"
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "a.onnx",
        "a.onnx.data",
        "whole.onnx",
    ]
    assert path.stat().st_size < 10_000
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = torch.randn(77, 3)
    (found,) = session.run(None, {"input": x.numpy()})
    np.testing.assert_allclose(found, hybrid.module(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    found = diff(whole, file)  # which reads the weights where they are
    assert (found.same, found.counts(), found.model.weights) == (True, {"identical": 1}, ())


def test_nothing_is_left_of_a_file_that_is_not_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 10_000)
    hybrid = network()
    hybrid.module.append(nn.Dropout(0.5).train())
    hybrid.module[-1].forward = lambda x: x + torch.rand_like(x)
    with pytest.raises(ExportError, match="differs by"):
        exporters.onnx(hybrid, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_parameters_are_shared_with_the_copy_that_is_exported(tmp_path, monkeypatch) -> None:
    from symcompile.exporters import onnx_model

    hybrid = network()
    copies = []

    def seen(module, *args):
        copies.append(module)
        return original(module, *args)

    original = onnx_model._for_inference
    monkeypatch.setattr(onnx_model, "_for_inference", seen)
    own = {id(p) for p in hybrid.module.parameters()}
    exporters.onnx(hybrid, tmp_path / "a.onnx", check=False)
    assert {id(p) for p in copies[0].parameters()} == own
    before = {name: p.clone() for name, p in hybrid.module.named_parameters()}
    exporters.onnx(hybrid, tmp_path / "a.onnx", dtype="float64", check=False)
    assert not {id(p) for p in copies[1].parameters()} & own
    for name, p in hybrid.module.named_parameters():
        assert p.dtype is torch.float32
        assert torch.equal(p, before[name])
