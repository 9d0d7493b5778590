"""Which regions are replaced, by what the whole model loses."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from symcompile import Compiled, Products, Selection, Target, load, symcompile
from symcompile.errors import DataError, TargetError
from symcompile.fidelity.outcome import Refusal, Rewrite
from symcompile.modules.samples import Samples

D = 6


class Block(nn.Module):
    """A gated block; `strength` says how much of it is no linear map."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.gate, self.up, self.down = nn.Linear(D, 12), nn.Linear(D, 12), nn.Linear(12, D)

    def forward(self, x):
        return self.down(self.up(x) + self.strength * torch.sin(6.0 * self.gate(x)))


class Model(nn.Module):
    """Residual blocks that are harder and harder to replace."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(s) for s in (3.0, 0.1, 1.0, 0.3)])

    def forward(self, x):
        for layer in self.layers:
            x = x + 0.5 * layer(x)
        return x


def model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


def inputs(n: int = 400, seed: int = 1) -> torch.Tensor:
    return torch.randn((n, D), generator=torch.Generator().manual_seed(seed))


def batches() -> Iterator[torch.Tensor]:
    """To be had once, as from a file."""
    yield from inputs(1200).split(200)


def metric_of(original: nn.Module):
    x = inputs(500, seed=2)
    with torch.no_grad():
        expected = original(x)

    @torch.no_grad()
    def metric(made: nn.Module) -> float:
        return float((made(x) - expected).square().mean().sqrt())

    return metric


TARGET = Target("layers.*", reduce=Products(3, steps=60), affine=D)


def made(one: nn.Module, **options) -> Compiled:
    selection = Selection(metric_of(one), **{"at_once": 3, **options})
    return symcompile(one, TARGET, batches(), progress=False, select=selection)


@pytest.fixture(scope="module")
def two() -> tuple[Model, Compiled]:
    one = model()
    before = {name: value.clone() for name, value in one.state_dict().items()}
    found = made(one, max_regions=2)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    return one, found


def test_the_least_harmful_are_replaced(two) -> None:
    _, found = two
    ranking = found.selection
    assert [one.path for one in ranking.tried] == [f"layers.{k}" for k in (1, 3, 2, 0)]
    assert [one.selected for one in ranking.tried] == [True, True, False, False]
    kinds = {path: type(outcome) for path, outcome in found.outcomes.items()}
    assert [path for path, kind in kinds.items() if kind is Rewrite] == ["layers.1", "layers.3"]
    assert sum(kind is Refusal for kind in kinds.values()) == 2
    alone = [one.alone for one in ranking.tried]
    assert ranking.baseline == 0.0 < alone[0] < alone[1] < alone[2] < alone[3]


def test_figures_are_those_of_the_hybrid(two) -> None:
    original, found = two
    together = found.selection.tried[1].together
    assert metric_of(original)(found.module) == pytest.approx(together, rel=1e-4)
    assert math.isnan(found.selection.tried[2].together)


def test_what_stays_neural_says_why(two) -> None:
    _, found = two
    reason = found.outcomes["layers.0"].reason
    assert reason.startswith("not selected: number 4 of 4 by harm (the metric is ")
    text = str(found.selection)
    assert "layers.0" in text
    assert text.count("not selected") == 2
    assert "layers.2: stays neural" in str(found.report)


def test_neural_blocks_that_stay_are_the_originals(two) -> None:
    original, found = two
    kept = found.module.get_submodule("layers.0").state_dict()
    for name, value in original.layers[0].state_dict().items():
        torch.testing.assert_close(kept[name], value)
    assert not any("layers.1.gate" in name for name in found.module.state_dict())


def test_it_saves_and_loads(two, tmp_path) -> None:
    _, found = two
    found.save(tmp_path / "a.symc")
    x = inputs(20, seed=3)
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "a.symc").module(x), found.module(x))
    found.restore("layers.1")
    assert isinstance(found.outcomes["layers.1"], Refusal)


def test_a_tolerated_rise_ends_it() -> None:
    one = model()
    every = made(one, refit=False)
    together = [tried.together for tried in every.selection.tried]
    assert all(tried.selected for tried in every.selection.tried)
    bound = (together[1] + together[2]) / 2
    some = made(one, tolerance=bound, refit=False)
    assert [tried.selected for tried in some.selection.tried] == [True, True, False, False]
    assert some.selection.tried[2].together == pytest.approx(together[2], rel=1e-4)
    assert "with it and those before it" in some.outcomes["layers.2"].reason


def test_nothing_is_selected_where_nothing_is_tolerated() -> None:
    found = made(model(), tolerance=0.0)
    assert not any(tried.selected for tried in found.selection.tried)
    assert all(isinstance(outcome, Refusal) for outcome in found.outcomes.values())
    x = inputs(5)
    with torch.no_grad():
        torch.testing.assert_close(found.module(x), model()(x))


def test_fitting_again_serves_what_comes_before() -> None:
    """Layer 3 sees other inputs once layer 1 is replaced, and is fitted to these."""
    one = model()
    seen = [
        made(one, max_regions=2, refit=refit).recording.samples["layers.3"].X
        for refit in (False, True)
    ]
    assert not np.allclose(*seen)


def test_samples_are_thinned_in_proportion() -> None:
    X = np.arange(1000.0)[:, None]
    held = np.arange(1000) % 5 == 0
    thin = Samples(X, X, held, weights=X[:, 0]).thinned(100)
    assert len(thin.X) == len(thin.holdout) == len(thin.weights) == 100
    assert thin.holdout.sum() == 20
    assert np.all(np.diff(thin.X[:, 0]) > 0)
    few = Samples(X[:50], X[:50], held[:50])
    assert few.thinned(100) is few


@pytest.mark.parametrize(
    ("options", "error", "found"),
    [
        ({"metric": 3}, DataError, "metric is a int"),
        ({"max_regions": 0}, TargetError, "max_regions is 0"),
        ({"tolerance": -1.0}, TargetError, "tolerance of a Selection is -1.0"),
        ({"at_once": 2.0}, TargetError, "at_once is 2.0"),
    ],
)
def test_wrong_options(options, error, found) -> None:
    with pytest.raises(error, match=found):
        Selection(**{"metric": lambda made: 0.0, **options})


@pytest.mark.parametrize(
    ("metric", "found"),
    [
        (lambda made: float("nan"), "metric gives nan for the original"),
        (lambda made: "low", "metric gave a str"),
    ],
)
def test_a_metric_has_to_be_a_number(metric, found) -> None:
    with pytest.raises(DataError, match=found):
        symcompile(model(), TARGET, inputs(), select=Selection(metric), progress=False)


def test_other_mistakes() -> None:
    with pytest.raises(TargetError, match="select is a float: expected"):
        symcompile(model(), TARGET, inputs(), select=2.0)
    with pytest.raises(TargetError, match="is the whole model"):
        symcompile(model(), ".", inputs(), select=Selection(lambda made: 0.0))
