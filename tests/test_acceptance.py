"""Refusal is the last resort: which equations of given fronts come to stand in a block's place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import installed
import numpy as np
import torch
from torch import nn

from symcompile import Target, load
from symcompile.compiled import Compiled
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.fidelity.outcome import Refusal, Rewrite
from symcompile.pipeline import Reduced
from symcompile.regression.pareto import ParetoFront

OPERATORS = OperatorSet.of(["+", "*", "inv", "sin", "exp"])
DATA = torch.linspace(-1, 2, 600, dtype=torch.float64).reshape(-1, 2)


class Law(nn.Module):
    """y0 = sin(2 x0) + x1, y1 = x0 - 3 x1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x[:, :1], x[:, 1:]
        return torch.cat([torch.sin(2 * a) + b, a - 3 * b], dim=1)


class Around(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.block(x)
        return found


class Slope(Around):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = self.block(x)
            return torch.autograd.grad(value.sum(), x)[0]


def recorded(model: nn.Module, target: Target | None = None, data: Any = DATA) -> Reduced:
    return installed.recorded(model, [target or Target("block")], data)


def front(state: Reduced, output: int, choice: int, *texts: str) -> ParetoFront:
    """Equations by ascending complexity; `choice` is the default one."""
    region, samples = state.recording.regions["block"], state.recording.samples["block"]
    X, Y = samples.X_holdout, samples.Y_holdout
    V, y = region.variable_values(X), region.equation_values(X, Y)
    found = []
    for text in texts:
        one = Equation.of(parse(text, region.variables), region.variables, OPERATORS)
        with np.errstate(all="ignore"):
            loss = float(np.mean((one.predict(V) - y[:, output]) ** 2))
        found.append(replace(one, loss=loss, holdout_loss=loss, holdout_mse=loss))
    assert [one.complexity for one in found] == sorted(one.complexity for one in found)
    behind = tuple(0.0 if place == choice else 9.0 for place in range(len(found)))
    return ParetoFront(tuple(found), float(y[:, output].var()), behind)


def built(state: Reduced, fronts: Mapping[int, ParetoFront], **options: Any) -> Compiled:
    engine = installed.ByHand(OPERATORS, {"name": "by hand"})
    return installed.built(state, {"block": fronts}, engine=engine, **options)


SINE = ("0.4", "x1 + 0.1", "sin(2*x0)", "1.1*sin(1.9*x0) + x1", "sin(2*x0) + x1 + 1e-3*x1*x0**2")
PLANE = ("-1.2", "-3.1*x1", "x0 - 3.01*x1", "1.0*x0 - 3.0*x1 + 1e-6*x0**2")


def both(state: Reduced, first: int, second: int) -> dict[int, ParetoFront]:
    return {
        0: front(state, 0, first, *SINE),
        1: front(state, 1, second, *PLANE),
    }


def texts(compiled: Compiled) -> list[str]:
    return [one.text() for one in compiled.equations["block"].values()]


def test_what_passes_by_default_stays() -> None:
    model = Around(Law())
    state = recorded(model)
    compiled = built(state, both(state, 4, 3), tolerance=0.3)
    assert [one.complexity for one in compiled.equations["block"].values()] == [
        compiled.fronts["block"][0][4].complexity,
        compiled.fronts["block"][1][3].complexity,
    ]
    assert "moved" not in compiled.outcomes["block"].provenance
    assert "the simplest that passes" not in str(compiled.report)


def test_under_a_tolerance_the_simplest_that_passes_is_taken_for_each_output() -> None:
    model = Around(Law())
    state = recorded(model)
    compiled = built(state, both(state, 2, 3), tolerance=0.3)
    assert texts(compiled)[0] == "x1 + 1.1*sin(1.9*x0)"
    assert compiled.equations["block"][1] == compiled.fronts["block"][1][3]
    text = " ".join(str(compiled.report).split())
    assert (
        "choice the simplest that passes, since of the default choice: Output 0: relative" in text
    )
    compiled.choose("block", complexity=1, output=1)
    assert "the simplest that passes" not in str(compiled.report)


def test_a_front_without_any_is_refused_with_the_best_that_it_has() -> None:
    model = Around(Law())
    state = recorded(model)
    compiled = built(state, both(state, 1, 1), tolerance=1e-4)
    outcome = compiled.outcomes["block"]
    assert isinstance(outcome, Refusal)
    assert "No other equation of the front passes: the lowest relative L2 is" in outcome.reason
    best = compiled.fronts["block"][0][4].complexity
    assert f"at complexity {best} for output 0" in outcome.reason
    assert "Tolerance is 0.0001" in outcome.reason
    assert outcome.fidelity is not None
    assert compiled.module.block.__class__ is Law


def test_an_equation_that_beats_the_linear_map_is_looked_for() -> None:
    model = Around(Law())
    state = recorded(model)
    found = both(state, 2, 3)
    del found[1]
    only = Target("block", outputs=[0])
    state = recorded(model, only)
    compiled = built(state, found, beat_linear=True)
    assert isinstance(compiled.outcomes["block"], Rewrite)
    assert compiled.equations["block"][0].complexity > found[0][2].complexity


def test_rounding_is_no_worse_than_a_linear_map() -> None:
    """Both are exact, and which of them rounds to fewer digits is chance."""
    layer = nn.Linear(2, 1)
    model = Around(layer)
    state = recorded(model, data=DATA.float())
    (a, b), c = layer.weight[0].tolist(), layer.bias.item()
    exact = front(state, 0, 1, "0.1", f"{a * (1 + 3e-8)}*x0 + {b}*x1 + {c}")
    compiled = built(state, {0: exact}, beat_linear=True)
    assert isinstance(compiled.outcomes["block"], Rewrite)
    assert compiled.equations["block"][0] == exact[1]


def test_an_equation_that_is_undefined_on_data_makes_room_for_the_next() -> None:
    model = Around(Law())
    state = recorded(model)
    hole = float(state.recording["block"].X[3, 0])
    fronts = both(state, 4, 2)
    fronts[1] = front(state, 1, 1, "-1.2", f"1/(x0 - {hole!r})", "x0 - 3.01*x1")
    compiled = built(state, fronts)
    assert texts(compiled)[1] == "-1.2"
    assert "undefined" in compiled.outcomes["block"].provenance["moved"]


def test_a_model_that_differentiates_the_block_gets_no_constant() -> None:
    model = Slope(Law())
    state = recorded(model)
    compiled = built(state, both(state, 0, 0))
    outcome = compiled.outcomes["block"]
    assert isinstance(outcome, Rewrite)
    assert "it differentiates the block" in outcome.provenance["moved"]
    assert all(one.uses for one in compiled.equations["block"].values())


def test_the_models_own_output_asks_for_more_accurate_equations() -> None:
    """The rest of the model takes most of the block's output away again, and an error stays."""

    class Rest(Around):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.block(x)
            return found - 0.97 * Law()(x)

    model = Rest(Law())
    state = recorded(model)
    fronts = both(state, 3, 2)
    assert texts(built(recorded(Around(Law())), fronts, tolerance=0.3)) == [
        "x1 + 1.1*sin(1.9*x0)",
        "x0 - 3.01*x1",
    ]
    compiled = built(state, fronts, tolerance=0.3)
    assert compiled.equations["block"] == {0: fronts[0][4], 1: fronts[1][3]}
    outcome = compiled.outcomes["block"]
    assert isinstance(outcome, Rewrite)
    assert outcome.fidelity.end_to_end is not None
    assert outcome.fidelity.end_to_end.equation < 0.3


def test_projected_outputs_count_together() -> None:
    """Components are made more accurate where that helps the real outputs most."""
    model = Around(Law())
    state = recorded(model, Target("block", reduce=(None, 2)))
    region = state.recording.regions["block"]
    projection = region.projection_out
    assert projection is not None
    (a, b), (p, q) = projection.components[0], projection.components[1]
    y0 = f"(sin(2*x0) + x1 - {projection.mean[0]})"
    y1 = f"(x0 - 3*x1 - {projection.mean[1]})"
    near = front(state, 0, 0, "0.01", f"{b}*(x0 - 3*x1)", f"{a}*{y0} + {b}*{y1}")
    fine = front(state, 1, 0, "0.0", f"{p}*{y0} + {q}*{y1}")
    compiled = built(state, {0: near, 1: fine}, tolerance=0.6)
    outcome = compiled.outcomes["block"]
    assert isinstance(outcome, Rewrite)
    assert outcome.fidelity.total is not None
    assert outcome.fidelity.total.equation.relative_l2 < 0.6
    assert compiled.equations["block"][1] == fine[0]
    exact = built(state, {0: near, 1: fine}, tolerance=1e-6)
    assert exact.equations["block"] == {0: near[2], 1: fine[1]}
    with_less = {0: front(state, 0, 0, "0.01", f"{b}*(x0 - 3*x1)"), 1: fine}
    refused = built(state, with_less, tolerance=1e-6).outcomes["block"]
    assert isinstance(refused, Refusal)
    assert "the closest of all have relative L2" in refused.reason
    assert "the projection of the outputs alone makes" in refused.reason


def test_why_the_choice_was_moved_is_saved(tmp_path: Path) -> None:
    model = Around(Law())
    state = recorded(model)
    compiled = built(state, both(state, 2, 3), tolerance=0.3)
    compiled.save(tmp_path / "moved.symc")
    loaded = load(tmp_path / "moved.symc")
    assert "the simplest that passes" in str(loaded.report)
    loaded.restore("block")
    loaded.choose("block", rule="accuracy")
    assert "the simplest that passes" not in str(loaded.report)
