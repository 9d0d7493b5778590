"""Nodes as rows: what they do, with the weights they read, whatever they are called."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import fx, nn

from symcompile.storage.graph_rows import fx_rows


class Net(nn.Module):
    def __init__(self, rate: float = 0.25) -> None:
        super().__init__()
        self.encoder, self.drop, self.law = nn.Linear(2, 3), nn.Dropout(rate), nn.Identity()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor, shift: float = 0.5) -> Any:
        hidden = self.drop(self.encoder(x)) * self.scale + shift
        hidden = torch.cat([hidden, hidden], dim=-1)
        return {"y": self.law(hidden)[..., 1:], "sum": hidden.sum(dim=0, dtype=torch.float64)}


def rows_of(module: nn.Module, *leaves: str, **regions: str) -> dict[str, list[Any]]:
    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            named = module_qualified_name in leaves
            return named or super().is_leaf_module(m, module_qualified_name)

    traced = fx.GraphModule(module, Tracer().trace(module))
    return {row[0]: row[1:] for row in fx_rows(traced, regions)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x", ["input", [], [], "x"]),
        ("shift", ["input", [], [], "shift=0.5"]),
        (
            "encoder",
            ["Linear", ["x"], ["encoder.weight", "encoder.bias"],
             "%; in_features=2, out_features=3, bias=True"],
        ),
        ("drop", ["Dropout", ["encoder"], [], "%; p=0.25, inplace=False"]),
        ("mul", ["_operator.mul", ["drop"], ["scale"], "%, @"]),
        ("cat", ["torch.cat", ["add", "add"], [], "[%, %], dim=-1"]),
        ("law", ["region:law", ["cat"], [], "%"]),
        ("getitem", ["_operator.getitem", ["law"], [], "%, (..., slice(1, null, null))"]),
        ("sum_1", ["Tensor.sum", ["cat"], [], "%, dim=0, dtype=dtype float64"]),
        ("output", ["output", ["getitem", "sum_1"], [], "{'y': %, 'sum': %}"]),
    ],
)  # fmt: skip
def test_a_row_says_what_a_node_does(name: str, expected: list[Any]) -> None:
    assert rows_of(Net(), law="law")[name] == expected


def test_every_input_stands_before_its_user() -> None:
    seen: set[str] = set()
    for name, (_, inputs, _, _) in rows_of(Net()).items():
        assert set(inputs) <= seen
        seen.add(name)


def test_an_exported_module_reads_its_weights_in_place() -> None:
    exported = torch.export.export(Net().eval(), (torch.ones(4, 2),)).module()
    assert isinstance(exported, fx.GraphModule)
    rows = {row[0]: row[1:] for row in fx_rows(exported)}
    assert rows["linear"] == [
        "aten.linear.default", ["x"], ["encoder.weight", "encoder.bias"], "%, @, @"
    ]  # fmt: skip


def test_the_graph_of_a_traced_submodule_counts() -> None:
    def outer(function: Any) -> dict[str, list[Any]]:
        model = nn.Module()
        model.inner = fx.symbolic_trace(lambda x: function(x))
        graph = fx.Graph()
        graph.output(graph.call_module("inner", (graph.placeholder("x"),)))
        return {row[0]: row[1:] for row in fx_rows(fx.GraphModule(model, graph))}

    assert outer(torch.sin)["inner"] == outer(torch.sin)["inner"]
    assert outer(torch.sin)["inner"] != outer(torch.cos)["inner"]


class Holder(nn.Module):
    def extra_repr(self) -> str:
        return f"inner={object()!r}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_rows_do_not_depend_on_where_an_object_lies() -> None:
    first, second = (rows_of(nn.Sequential(Holder()), "0") for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert "0x" not in json.dumps(first)


def test_arguments_that_no_file_holds_stand_as_their_type() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(torch.add, (x, 2**70), {"alpha": {1.5: x}}))
    rows = {row[0]: row[1:] for row in fx_rows(fx.GraphModule(nn.Module(), graph))}
    assert rows["add"] == ["torch.add", ["x", "x"], [], "%, int, alpha={'1.5': %}"]
