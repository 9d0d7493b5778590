"""A trace stands for a model only where it trains as the model does, under every grad mode."""

import copy
import warnings
from pathlib import Path

import pytest
import torch
from grad_modes import FORWARDS, Layers, own_backward
from hybrids import Fake, FakeHybrid, hybrid_of
from searches import QUICK
from torch import nn

from symcompile import load, symcompile
from symcompile.aten.decode import decode
from symcompile.aten.document import encode
from symcompile.errors import ArtifactError
from symcompile.exporters import graph_module
from symcompile.lowering.block import trainable
from symcompile.modules.agreement import same_gradients
from symcompile.modules.calling import Batch
from symcompile.passes.capture import BOUNDARIES, FX, capture
from symcompile.storage.verification import differences

X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
BATCH = Batch((X,), {})
EQUATIONS = {"backbone": ["sin(x0) + 0.5*x1", "x0*x1"], "head": ["1.5*sin(x0)*x1"]}


def hybrid(name: str, target: str) -> tuple[nn.Module, FakeHybrid]:
    """A model, and what its capture becomes with equations in the target's place."""
    model = Layers(FORWARDS[name][0])
    captured = capture(model, [target], BATCH)
    fake = Fake(EQUATIONS[target], 2)
    return model, hybrid_of(copy.deepcopy(captured.root), {target: fake}, BATCH)


def trained(module: nn.Module, x: torch.Tensor) -> set[str]:
    """Names of the parameters and inputs that get a gradient."""
    module.zero_grad(set_to_none=True)
    result = module(x)
    if result.requires_grad:
        result.sum().backward()
    found = {name for name, p in module.named_parameters() if p.grad is not None}
    return found | ({"input"} if x.grad is not None else set())


def outside(names: set[str], target: str) -> set[str]:
    return {name for name in names if not name.startswith(target)}


@pytest.mark.parametrize("name", FORWARDS)
def test_what_fx_loses_is_captured_at_module_boundaries(name: str) -> None:
    model, kept = Layers(FORWARDS[name][0]), FORWARDS[name][1]
    found = capture(model, ["head"], BATCH)
    assert found.kind == (FX if kept else BOUNDARIES)
    assert kept or "the traced graph" in found.note


@pytest.mark.parametrize("target", EQUATIONS)
@pytest.mark.parametrize("name", FORWARDS)
def test_the_hybrid_trains_what_the_original_trains(name: str, target: str) -> None:
    model, found = hybrid(name, target)
    # With constants that train there is a path through the equations, as there was in the block.
    trainable(found.module.get_submodule(target), True)
    for training in (False, True):
        for wanted in (False, True):
            sets = [
                trained(one.train(training), X.clone().requires_grad_(wanted))
                for one in (model, found.module)
            ]
            assert outside(sets[0], target) == outside(sets[1], target)
            if target == "head":
                assert any(n.startswith(target) for n in sets[0]) == any(
                    n.startswith(target) for n in sets[1]
                )
        with torch.no_grad():
            ours, theirs = model(X.clone()), found.module(X.clone())
        assert ours.requires_grad == theirs.requires_grad


@pytest.mark.parametrize("target", EQUATIONS)
@pytest.mark.parametrize("name", FORWARDS)
def test_a_stored_graph_trains_alike_or_says_that_it_does_not(name: str, target: str) -> None:
    _, found = hybrid(name, target)
    regions = {target: found.outcomes[target].region}
    trainable(found.module.get_submodule(target), True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stored = encode(found.module, BATCH, regions.values())
        except ArtifactError:
            assert name in ("autocast", "force", "force_in_training")

            return
    said = differences(found.module, stored, regions, BATCH)
    loaded = decode(stored, {target: found.module.get_submodule(target)})
    if not said:
        for wanted in (False, True):
            ours, theirs = (
                trained(one, X.clone().requires_grad_(wanted)) for one in (found.module, loaded)
            )
            assert ours == theirs
    if name in ("plain", "no_grad", "set_grad_enabled", "checkpointed", "straight_through"):
        assert said == []


def test_a_frozen_backbone_stays_frozen_in_the_hybrid(tmp_path: Path) -> None:
    model = Layers(FORWARDS["no_grad"][0])
    x = torch.randn(100, 2)
    compiled = symcompile(model, "head", x, **QUICK)
    compiled.choose("head", "x0 + 2.5*x1")
    compiled.trainable_constants(True)
    assert compiled.capture == BOUNDARIES
    assert "torch.no_grad" in compiled.recording.note
    loaded = load(compiled.save(tmp_path / "m.symc"))
    for module in (compiled.module, loaded.module):
        assert not any(name.startswith("backbone") for name in trained(module, x))


def test_a_forward_that_differentiates_runs_under_both_grad_modes() -> None:
    compiled = symcompile(Layers(FORWARDS["force"][0]), "head", torch.randn(100, 2), **QUICK)
    compiled.choose("head", "x0**2*x1")
    with torch.no_grad():
        quiet = compiled.module(X)
    torch.testing.assert_close(quiet, compiled.module(X).detach())


def test_a_frozen_block_among_several_stays_traced() -> None:
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(3)])
    model[1].requires_grad_(False)
    found = capture(model, ["0"], BATCH)
    assert found.kind == FX
    assert trained(found.root, X) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_a_model_without_parameters_or_gradients_is_traced() -> None:
    class Signs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sign(self.block(x)).long()

    assert capture(Signs(), ["block"], BATCH).kind == FX


def test_gradients_of_the_model_and_the_data_are_left_alone() -> None:
    model = Layers(FORWARDS["plain"][0])
    x = X.clone().requires_grad_()
    model(x).sum().backward()
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    kept = x.grad
    capture(model, ["head"], Batch((x,), {}))
    assert x.grad is kept
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, before[name])


def test_rounding_is_measured_by_the_largest_gradient() -> None:
    one = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([1e-9])}
    assert same_gradients(one, {**one, "b": torch.tensor([-1e-9])})
    assert not same_gradients(one, {**one, "a": torch.tensor([1.0, 0.01])})
    assert not same_gradients(one, {"a": one["a"]})


def test_an_exported_graph_module_warns_of_a_backward_that_it_lost() -> None:
    found = FakeHybrid(Layers(own_backward), {}, BATCH)
    with pytest.warns(UserWarning, match="trains otherwise than the model"):
        graph = graph_module(found)
    assert graph.meta["symcompile"]["capture"] == "torch.export"
    assert "trains otherwise" in graph.meta["symcompile"]["note"]


def test_an_exported_graph_module_keeps_no_grad() -> None:
    graph = graph_module(FakeHybrid(Layers(FORWARDS["no_grad"][0]), {}, BATCH))
    assert graph.meta["symcompile"]["capture"] == "torch.export"
    assert {name for name in trained(graph, X) if "backbone" in name} == set()
