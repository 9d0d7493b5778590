"""A trace stands for the model only where it was seen to agree with it."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import (
    Branching,
    Calling,
    Derivative,
    Dropping,
    Graph,
    Leftovers,
    Masked,
    Net,
    Sized,
    Stack,
    graph_batch,
    state_of,
)
from torch import fx, nn

from symcompile.errors import CaptureError
from symcompile.modules.calling import Batch, run, same
from symcompile.options import Options
from symcompile.passes import recording_passes
from symcompile.passes.capture import BOUNDARIES, FX, capture
from symcompile.pipeline import Request
from symcompile.target import Target

X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))


def batch(*args: Any, **kwargs: Any) -> Batch:
    return Batch(args, kwargs)


TRACED: dict[str, tuple[Callable[[], nn.Module], list[str], Batch]] = {
    "net": (Net, ["block"], batch(X)),
    "one sample": (Net, ["block"], batch(X[:1])),
    "by keyword": (Net, ["block"], batch(x=X)),
    "deep": (Stack, ["layers.0.mlp", "layers.2.mlp.0"], batch(torch.randn(4, 3))),
    "node range": (Net, [], batch(X)),
    "graph": (Graph, ["edge"], Batch((), graph_batch())),
    "differentiates": (Derivative, ["net"], batch(X)),
}

REFUSED: dict[str, tuple[Callable[[], nn.Module], list[str], Batch, str]] = {
    "optional argument": (Masked, ["block"], batch(X), "gives other values"),
    "optional argument given": (
        Masked,
        ["block"],
        batch(X, X),
        "optional argument 'mask' baked in",
    ),
    "optional keyword given": (Masked, ["block"], batch(X, mask=X), "argument 'mask' baked in"),
    "mode": (lambda: Dropping().eval(), ["block"], batch(X), "mode baked in"),
    "batch size": (Sized, ["block"], batch(torch.ones(8, 2)), "batch size baked in"),
    "branch": (Branching, ["block"], batch(X), "TraceError"),
    "model fails": (Net, ["block"], batch(torch.ones(3, 5)), "the model raises RuntimeError"),
    "past the hooks": (
        lambda: Calling(nn.Linear(2, 2), lambda block, x: block.forward(x)),
        ["block"],
        batch(X),
        "block is not called as a module",
    ),
}


def _uncopyable() -> nn.Module:
    block = nn.Linear(2, 2)
    block.lock = threading.Lock()  # type: ignore[assignment]
    return block


@pytest.mark.parametrize("name", TRACED)
def test_traces_what_can_be_traced(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, paths, example = TRACED[name]
    model = make()
    found = capture(model, paths, example)
    assert (found.kind, found.note) == (FX, "")
    assert same(run(found.root, example), run(model, example))
    for path in paths:
        assert found.root.get_submodule(path) is model.get_submodule(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", REFUSED)
def test_says_why_it_stays_at_module_boundaries(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make, paths, example, note = REFUSED[name]
    model = make()
    before, batch_before = state_of(model), copy.deepcopy(example)
    found = capture(model, paths, example)
    assert (found.root, found.kind) == (model, BOUNDARIES)
    assert note in found.note
    assert state_of(model) == before
    assert same(tuple(example), tuple(batch_before))
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_copied_is_traced() -> None:
    model = Calling(_uncopyable(), lambda block, x: block(x))
    assert capture(model, ["block"], batch(X)).kind == FX


def test_other_threads_call_modules_while_one_traces() -> None:
    """torch.fx patches nn.Module for all threads."""
    others: list[torch.Tensor] = []

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.other = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            thread = threading.Thread(target=lambda: others.append(elsewhere(X)))
            thread.start()
            thread.join()
            return self.block(x)

    elsewhere = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    found = capture(Slow(), ["block"], batch(X))
    assert found.kind == FX
    assert len(others) > 1
    for one in others:
        torch.testing.assert_close(one, elsewhere(X))


def test_no_data_no_trace() -> None:
    found = capture(Net(), ["block"], None)
    assert (found.kind, found.note) == (BOUNDARIES, "no sample data to compare a trace with")
    request = Request(Net(), (Target("a:b", domain={"x": (0, 1)}),), None)
    with pytest.raises(CaptureError, match=r"'a:b' is a range.*no sample data"):
        recording_passes(Options()).run(request)


def test_the_second_try_enters_only_the_parents_of_targets() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branching = Branching()
            self.net = Net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(self.branching(x))

    found = capture(Outer(), ["net.block"], batch(X))
    assert found.kind == FX
    assert isinstance(found.root, fx.GraphModule)
    called = [n.target for n in found.root.graph.nodes if n.op == "call_module"]
    assert called == ["branching", "net.before", "net.block", "net.after"]


def test_the_model_keeps_modes_keys_and_attributes() -> None:
    model = Leftovers()
    model.train()
    model.spare.eval()
    before = state_of(model)
    found = capture(Calling(model, lambda block, x: block(x)), ["block"], batch(X))
    assert found.kind == FX
    assert state_of(model) == before


def test_constants_of_a_forward_belong_to_the_trace_alone() -> None:
    model = Calling(nn.Linear(2, 2), lambda block, x: block(x) + torch.tensor([1.0, 2.0]))
    before = state_of(model)
    found = capture(model, ["block"], batch(X))
    assert found.kind == FX
    assert state_of(model) == before
    assert found.root.state_dict().keys() == model.state_dict().keys()
    assert same(copy.deepcopy(found.root)(X), model(X))


def test_what_the_graph_does_not_use_is_carried_over() -> None:
    class Unused(Net):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
            self.unused = nn.Parameter(torch.ones(2))
            self.register_buffer("table", torch.ones(2))
            self.register_buffer("hidden", torch.ones(2), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x * self.hidden)

    model = Unused()
    model.train()
    model.spare[1].eval()
    found = capture(model, ["block"], batch(X))
    assert found.kind == FX
    assert found.root.state_dict().keys() == model.state_dict().keys()
    assert state_of(found.root)["values"] == state_of(model)["values"]
    assert {n: p.training for n, p in found.root.named_modules()} == {
        n: p.training for n, p in model.named_modules()
    }
    found.root.load_state_dict(model.state_dict())


def test_a_target_under_its_second_name() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
            self.second = self.first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x))

    model = Twice()
    found = capture(model, ["second"], batch(X))
    assert found.kind == FX
    assert found.root.get_submodule("second") is found.root.get_submodule("first")
    assert isinstance(found.root, fx.GraphModule)
    assert [n.op for n in found.root.graph.nodes].count("call_module") == 2


def test_random_state_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    capture(Dropping(), ["block"], batch(X))
    model = Dropping()  # its weights draw from the same state
    torch.manual_seed(7)
    capture(model, ["block"], batch(X))
    assert torch.equal(torch.rand(3), expected)
