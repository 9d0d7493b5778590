"""Record: targets of every kind become regions, under their names."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import Branching, Net, Stack, state_of
from torch import nn

from symcompile.errors import CaptureError, DataError, ExpressionError, TargetError
from symcompile.modules.samples import NO_BATCHES
from symcompile.options import Options
from symcompile.passes import recording_passes
from symcompile.pipeline import Request
from symcompile.storage.recording import Recording
from symcompile.target import Target, as_targets

X = torch.randn(120, 2, generator=torch.Generator().manual_seed(0))


def record(model: nn.Module, *targets: str | Target, data: Any = X) -> Recording:
    options = Options(n_samples=100, holdout=0.2, seed=0)
    state, _ = recording_passes(options).run(Request(model, as_targets(targets), data))
    return state.recording


def test_regions_know_what_they_replace() -> None:
    model = Net(nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)))
    found = record(model, Target("block", names=("u", "v"), features={"r": "u**2 + v**2"}))
    region = found.regions["block"]
    assert (region.names, region.variables) == (("u", "v"), ("r",))
    assert (region.parameters, region.calls, region.dtype) == (21, 1, "float32")
    assert (found.capture, found.note, found.batches_are) == ("fx", "", "held-out rows")
    assert found["block"].X.shape == (100, 2)
    found.check(model)


def test_a_glob_gives_a_region_each() -> None:
    found = record(Stack(), "layers.*.mlp", "head", data=torch.randn(40, 3))
    assert list(found.regions) == [*(f"layers.{k}.mlp" for k in range(3)), "head"]
    assert found.regions["layers.1.mlp"].target.path == "layers.*.mlp"


def test_a_node_range_gets_a_path_and_the_model_keeps_its_parts() -> None:
    model = Net()
    before = state_of(model)
    found = record(model, "tanh:mul")
    assert list(found.regions) == ["tanh__mul"]
    torch.testing.assert_close(
        torch.from_numpy(found["tanh__mul"].Y), torch.from_numpy(found["tanh__mul"].X).tanh() * 2
    )
    assert state_of(model) == before


def test_the_whole_model() -> None:
    found = record(Branching(), ".")
    assert list(found.regions | found.refused) == ["."]
    assert found.capture == "whole model"


def test_refused_regions_are_listed_with_the_reason() -> None:
    class Unused(Net):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Linear(2, 2)

    found = record(Unused(), "spare", "block")
    assert list(found.regions) == ["block"]
    assert "never called" in found.refused["spare"]
    assert found.capture == "module boundaries"
    assert found.note == "CaptureError: spare is not called as a module"
    with pytest.raises(DataError, match="no recording of 'spare': there are block"):
        found["spare"]


def test_regions_that_are_sampled_on_their_own() -> None:
    target = Target("block", domain={"a": (0, 1), "b": (0, 1)})
    found = record(Net(), target, data=None)
    assert (found.batches, found.batches_are) == ((), NO_BATCHES)


WRONG: dict[str, tuple[Callable[[], nn.Module], list[str | Target], type[Exception], str]] = {
    "names": (Net, [Target("block", names=("u",))], TargetError, r"1 names \(u\) for 2 input"),
    "outputs": (Net, [Target("block", outputs=(0, 3))], TargetError, r"outputs \[3\] do not exist"),
    "feature": (
        Net,
        [Target("block", features={"r": "x0 + x7"})],
        ExpressionError,
        "target 'block', feature 'r'.*unknown name 'x7'",
    ),
    "range": (Branching, ["a:b"], CaptureError, "torch.fx can't trace this model"),
    "node": (Net, ["tanhh:mul"], TargetError, "no node 'tanhh'; near misses: tanh"),
    "ranges overlap": (Net, ["before:tanh", "tanh:mul"], TargetError, "overlap"),
    "range and module overlap": (Net, ["block", "mul:after"], TargetError, "overlap"),
    "meta": (lambda: Net().to("meta"), ["block"], DataError, "'before.weight' is on the meta"),
    "lazy": (
        lambda: Net(nn.LazyLinear(1)),
        ["block"],
        DataError,
        "'block.weight' has no shape yet",
    ),
}


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_targets(name: str) -> None:
    make, targets, kind, message = WRONG[name]
    model = make()
    modes = [(part.training, len(part._forward_hooks)) for part in model.modules()]
    with pytest.raises(kind, match=message):
        record(model, *targets)
    assert [(part.training, len(part._forward_hooks)) for part in model.modules()] == modes
