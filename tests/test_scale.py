"""Samples of extreme magnitude: equations that are right in the given units, or none; silently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from symcompile import SymCompileError, Target, distill, symcompile
from symcompile.regression.pareto import ParetoFront

# Warnings are errors in this suite, those of numpy among them.
QUICK: dict[str, Any] = {
    "operators": ["+", "-", "*", "/", "square"],
    "engine_options": {"restarts": 1, "population": 50, "generations": 2},
    "progress": False,
}
U = np.random.default_rng(0).uniform(0.5, 3.0, (200, 2))


def front_of(size: float, unit: float, **options: Any) -> ParetoFront:
    """Of y = unit*(1.5*u**2 + v) in x = size*u and v."""
    y = unit * (1.5 * U[:, 0] ** 2 + U[:, 1])
    return distill(U * np.array([size, 1.0]), y, **QUICK, **options)[0]


def error(front: ParetoFront, size: float, unit: float) -> float:
    value = front.best.predict(U * np.array([size, 1.0])) / unit
    expected = 1.5 * U[:, 0] ** 2 + U[:, 1]
    return float(np.linalg.norm(value - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("size", [1e-100, 1e-30, 1e100])
@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_the_law_is_found_in_the_given_units(size: float, unit: float) -> None:
    front = front_of(size, unit)
    assert error(front, size, unit) < 1e-12
    assert front.r2(front.best) > 1 - 1e-12
    assert front.variance == pytest.approx(unit**2 * np.var(1.5 * U[:, 0] ** 2 + U[:, 1]), rel=0.5)
    assert front.complexities == tuple(sorted(set(front.complexities)))
    assert front.behind[front.equations.index(front.best)] == 0.0
    assert len(front.behind) == len(front)


@pytest.mark.parametrize("size", [1e-305, 1e200])
def test_what_has_no_constants_in_these_units_is_left_out(size: float) -> None:
    front = front_of(size, 1.0)  # the square of the constant before the input is no number
    assert all(np.isfinite(one.predict(U * np.array([size, 1.0]))).all() for one in front)
    assert 1.0 - front.r2(front.best) == pytest.approx(0.09, abs=0.05)


def test_inputs_of_mixed_magnitude() -> None:
    rng = np.random.default_rng(1)
    X = np.column_stack([10.0 ** rng.uniform(-300, 200, 200), rng.uniform(1, 2, 200)])
    best = distill(X, 2.5 * X[:, 1] - 0.5, **QUICK)[0].best
    assert best.predict(X) == pytest.approx(2.5 * X[:, 1] - 0.5)


@pytest.mark.parametrize("unit", [1e-200, 1e-150, 1e200])
def test_outputs_whose_squares_are_no_numbers_are_refused(unit: float) -> None:
    front = front_of(1.0, unit)
    assert not len(front)
    assert "their squares" in front.reason
    with pytest.raises(SymCompileError, match="scale the output to between"):
        _ = front.best


@pytest.mark.parametrize("loss", ["cauchy", "absolute"])
def test_robust_losses_keep_their_units(loss: str) -> None:
    front = front_of(1e60, 1e40, loss=loss)
    assert error(front, 1e60, 1e40) < 1e-9
    assert front.loss.scale == pytest.approx(1e40 * front_of(1.0, 1.0, loss=loss).loss.scale)


class Law(nn.Module):
    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = x[:, :1] / self.size
        return torch.cat([u**2 + x[:, 1:], 3.0 * u], dim=1)


@pytest.mark.parametrize("size", [1e-60, 1e60])
def test_a_block_with_such_inputs_is_replaced(size: float) -> None:
    rows = torch.tensor(U * np.array([size, 1.0]))
    model = nn.Sequential(Law(size)).double()
    compiled = symcompile(model, Target("0", names=("x", "v")), rows, **QUICK)
    torch.testing.assert_close(compiled.module(rows), model(rows))
    assert compiled.report is not None
