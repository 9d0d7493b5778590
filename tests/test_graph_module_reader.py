"""Traced modules as snapshots: their structure, without running them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import Net
from torch import fx, nn

from symcompile import diff
from symcompile.diff.readers import graph_module, read
from symcompile.diff.snapshot import Snapshot
from symcompile.storage.model_rows import tensor_digest
from symcompile.storage.schema import Node, Tensor


class Tied(nn.Module):
    """Two layers with one weight, a plain tensor, a default argument and results in a dict."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
        self.b.weight = self.a.weight
        self.plain = torch.tensor([1.5, 2.5])
        self.register_buffer("shift", torch.tensor(0.5))

    def forward(self, x: torch.Tensor, y: Any = None) -> Any:
        hidden = self.a(x) * self.plain + self.shift
        return {"p": self.b(hidden), "q": (hidden, x)}


@pytest.fixture
def tied() -> tuple[fx.GraphModule, Snapshot]:
    module = fx.symbolic_trace(Tied())
    return module, graph_module.read(module)


def test_a_traced_module_is_structure_only(tied: tuple[fx.GraphModule, Snapshot]) -> None:
    _, found = tied
    assert found.kind == "GraphModule"
    assert (found.level, found.family, found.model) == ("fx", "torch", "Tied")
    assert not found.equations_known
    assert found.blocks == {}
    assert found.notes == (graph_module.NOTE,)
    assert found.parameters == 8
    assert list(found.inputs) == ["x", "y"]
    assert list(found.outputs) == ["['p']", "['q'][0]", "['q'][1]"]
    assert set(found.inputs.values()) | set(found.outputs.values()) == {Tensor("", ())}


def test_weights_stand_with_the_nodes_that_read_them(
    tied: tuple[fx.GraphModule, Snapshot],
) -> None:
    module, found = tied
    # A tied weight stands once, under its first name.
    assert list(found.weights) == ["a.bias", "a.weight", "b.bias", "plain", "shift"]
    expected = Tensor("float32", (2, 2), tensor_digest(module.a.weight))
    assert found.weights["a.weight"] == expected
    nodes = {node.name: node for node in found.nodes}
    assert nodes["mul"] == Node("mul", "_operator.mul", ("a",), ("plain",), "%, @")
    assert nodes["a"].weights == ("a.weight", "a.bias")
    assert nodes["output"] == Node(
        "output", "output", ("b", "add", "x"), (), "{'p': %, 'q': (%, %)}"
    )
    assert [node.operator for node in found.nodes if not node.inputs] == ["input", "input"]


def test_what_a_tracer_has_noted_is_known() -> None:
    batch = torch.export.Dim("rows")
    exported = torch.export.export(
        Net(), (torch.randn(4, 2),), dynamic_shapes=({0: batch},)
    ).module()
    assert isinstance(exported, fx.GraphModule)
    found = graph_module.read(exported)
    (given,), (returned,) = found.inputs.values(), found.outputs.values()
    assert given.dtype == returned.dtype == "float32"
    assert isinstance(given.shape[0], str)
    assert given.shape[1:] == (2,)
    assert returned.shape == (given.shape[0], 1)
    assert "aten.tanh.default" in {node.operator for node in found.nodes}


def test_a_changed_weight_changes_its_digest_only() -> None:
    old, new = Net(), Net()
    with torch.no_grad():
        new.before.weight[0, 0] += 1e-6
    a, b = (graph_module.read(fx.symbolic_trace(one)) for one in (old, new))
    assert a.nodes == b.nodes
    assert {name for name in a.weights if a.weights[name] != b.weights[name]} == {"before.weight"}


class Explosive(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


def test_reading_runs_nothing_and_changes_nothing() -> None:
    module = fx.symbolic_trace(Explosive())
    module.forward = None  # type: ignore[assignment]
    code = module.code
    assert read(module).nodes[1].operator == "Tensor.exp"
    assert module.code == code


def test_what_nobody_has_noted_is_no_difference() -> None:
    module = fx.symbolic_trace(Net())
    batch = torch.export.Dim("rows")
    exported = torch.export.export(Net(), (torch.randn(4, 2),), dynamic_shapes=({0: batch},))
    found = diff(module, exported.module(), fail_on="signature")
    assert found.model.signature == ()
    assert found.same
