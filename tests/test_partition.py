"""A range of graph nodes becomes one submodule, and the model computes what it did."""

import copy

import pytest
import torch
from models import state_of
from torch import fx, nn

from symcompile.errors import TargetError
from symcompile.modules.state import match_persistence
from symcompile.passes.partition import partition, refuse_overlap


class Model(nn.Module):
    """Modules, parameters, a hidden buffer, and a module whose weight is also read on its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 4)
        self.gain = nn.Parameter(torch.randn(4))
        self.register_buffer("shift", torch.randn(4), persistent=False)
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        h = torch.tanh(h) * self.gain + self.shift
        h = h + nn.functional.linear(x, self.first.weight)
        return self.last(h)


X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


def traced() -> tuple[Model, fx.GraphModule]:
    model = Model()
    root = fx.symbolic_trace(model)
    match_persistence(root, model)
    return model, root


@pytest.mark.parametrize(
    ("node_range", "path", "inputs"),
    [
        ("tanh:add_1", "tanh__add_1", ["first", "x"]),
        ("tanh:mul", "tanh__mul", ["first"]),
        (" mul : add ", "mul__add", ["tanh"]),
        ("tanh:tanh", "tanh__tanh", ["first"]),
        ("x:last", "first__last", ["x"]),
        ("first:output", "first__last", ["x"]),
    ],
)
def test_ranges(node_range: str, path: str, inputs: list[str]) -> None:
    model, root = traced()
    before, expected = state_of(model), model(X)
    assert partition(root, node_range) == path
    torch.testing.assert_close(root(X), expected, rtol=0, atol=0)
    call = next(n for n in root.graph.nodes if n.target == path)
    assert [n.name for n in call.all_input_nodes] == inputs
    assert state_of(model) == before
    torch.testing.assert_close(model(X), expected, rtol=0, atol=0)


def test_the_nodes_and_what_only_they_use_move() -> None:
    model, root = traced()
    path = partition(root, "tanh:add")
    names = [n.name for n in root.graph.nodes]
    assert "tanh" not in names
    assert "gain" not in root.state_dict()
    assert set(root.get_submodule(path).state_dict()) == {"gain"}  # shift is not persistent
    assert root.get_submodule(path).gain is model.gain


def test_gradients_are_those_of_the_model() -> None:
    model, root = traced()
    partition(root, "tanh:add_1")
    expected = torch.autograd.grad(model(X).sum(), list(model.parameters()))
    found = torch.autograd.grad(root(X).sum(), list(model.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_several_results_and_modes() -> None:
    _, root = traced()
    root.eval()
    path = partition(root, "first:tanh")
    assert root.get_submodule(path).training is False
    two = fx.symbolic_trace(lambda x: (torch.sin(x), torch.cos(x)))
    path = partition(two, "sin:cos")
    assert isinstance(two.get_submodule(path)(X), tuple)
    torch.testing.assert_close(two(X), (torch.sin(X), torch.cos(X)))


def test_a_taken_name_gets_a_number() -> None:
    _, root = traced()
    root.add_module("tanh__mul", nn.Identity())
    assert partition(root, "tanh:mul") == "tanh__mul_1"


@pytest.mark.parametrize(
    ("node_range", "found"),
    [
        ("tahn:mul", "no node 'tahn'; near misses: tanh"),
        ("zzzzz:mul", "no node 'zzzzz'; its nodes: x, first"),
        ("mul:", "no node ''"),
        ("mul:tanh", "'tanh' stands before 'mul' in the graph; write 'tanh:mul'"),
        ("x:x", "nothing to replace"),
        ("gain:gain", "nothing to replace"),
    ],
)
def test_wrong_ranges(node_range: str, found: str) -> None:
    _, root = traced()
    with pytest.raises(TargetError, match=found):
        partition(root, node_range)


def test_results_that_nobody_uses() -> None:
    root = fx.symbolic_trace(lambda x: [torch.sin(x), x + 1][1])
    with pytest.raises(TargetError, match="nothing after it uses its results"):
        partition(root, "sin:sin")


def test_overlapping_ranges_are_refused() -> None:
    _, root = traced()
    code = root.code
    refuse_overlap(root, ["tanh:mul", "add:add"], ["first", "last"])
    for ranges, paths in (
        (["tanh:add", "mul:add_1"], []),
        (["first:tanh"], ["first"]),
        (["x:last"], ["last"]),
    ):
        with pytest.raises(TargetError, match="overlap"):
            refuse_overlap(root, ranges, paths)
    assert root.code == code


def test_a_partitioned_graph_can_be_copied() -> None:
    _, root = traced()
    partition(root, "tanh:add_1")
    torch.testing.assert_close(copy.deepcopy(root)(X), root(X))
