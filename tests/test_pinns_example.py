"""What `examples/pinns.py` counts as a hit, and how it trains equations in the network's place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from torch import nn

from symcompile import Equation, Target, symcompile
from symcompile.expressions.operator_set import OperatorSet
from symcompile.pinns import PROBLEMS, grid, train_pinn

EXAMPLES = Path(__file__).parents[1] / "examples"
X, T = sympy.symbols("x t")
NAMES = ("heat", "wave", "oscillator")
TRUTHS = {
    "heat": sympy.exp(-0.2 * np.pi**2 * T) * sympy.sin(np.pi * X),
    "wave": sympy.sin(np.pi * X) * sympy.cos(0.67 * np.pi * T),
    "oscillator": 1.0050378 * sympy.exp(-2.0 * T) * sympy.cos(19.8997487 * T - 0.1001674),
}


@pytest.fixture(scope="module")
def example() -> Iterator[SimpleNamespace]:
    """The modules of the example, imported as the script does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import pinns
        import pinns_judge
        import pinns_laws
        import pinns_training

        yield SimpleNamespace(
            script=pinns, judge=pinns_judge, laws=pinns_laws, training=pinns_training
        )


def equation(name: str, expr: sympy.Expr) -> Equation:
    operators = OperatorSet.of(["+", "*", "inv", "sin", "cos", "exp"])
    return Equation.of(expr, PROBLEMS[name].inputs, operators)


class Function(nn.Module):
    """A sympy expression as a network would be: points [n, n_inputs] to values [n, 1]."""

    def __init__(self, name: str, expr: sympy.Expr) -> None:
        super().__init__()
        symbols = [sympy.Symbol(i) for i in PROBLEMS[name].inputs]
        self.function = sympy.lambdify(symbols, expr, modules=[torch, "math"])

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.function(*points.T)[:, None]


def result(example: SimpleNamespace, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "problem": "oscillator",
        "seed": 0,
        "kind": "PINN",
        "equation": equation("oscillator", TRUTHS["oscillator"]),
        "right_form": True,
        "off": 1e-4,
        "constants": (2.0, 19.8997, 1.005, -0.1),
        "learned": None,
        "fitted": 19.9,
        "implied": 19.8997,
        "errors": (1e-6, 2e-6),
        "beyond": (1e-6, 1.0),
        "seconds": 8.0,
    }
    return example.judge.Result(**(values | changes))


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_has_the_right_form_and_implies_the_true_constant(
    example: SimpleNamespace, name: str
) -> None:
    family, points = example.laws.FAMILIES[name], grid(PROBLEMS[name], 30)
    right, found = example.judge.right_form(family, points, equation(name, TRUTHS[name]))
    assert right
    assert found[:2] == pytest.approx(family.truth[:2], rel=1e-5)
    coefficient = PROBLEMS[name].coefficient
    truth = np.sqrt(396.0) if coefficient is None else coefficient.truth
    assert family.constant(found) == pytest.approx(truth)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spurious", [0.001, 0.001 * T, 0.001 * sympy.sin(9 * T)])
def test_one_term_too_many_is_the_wrong_form(
    example: SimpleNamespace, name: str, spurious: sympy.Expr
) -> None:
    points = grid(PROBLEMS[name], 30)
    overgrown = equation(name, TRUTHS[name] + spurious)
    assert not example.judge.right_form(example.laws.FAMILIES[name], points, overgrown)[0]


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ({}, True),
        ({"right_form": False}, False),
        ({"errors": (3e-6, 2e-6)}, False),
        ({"constants": (2.0, 19.86, 1.005, -0.1)}, False),
        ({"constants": (2.0, 19.8997, 1.0, -0.1)}, False),
        ({"constants": (2.0, 19.8997, 1.005, 0.0)}, False),
        ({"problem": "heat", "constants": (2.0, 3.2, 1.0)}, True),
    ],
)
def test_what_was_to_be_reached(
    example: SimpleNamespace, changes: dict[str, Any], reached: bool
) -> None:
    assert result(example, **changes).reached is reached


@pytest.mark.parametrize("name", NAMES)
def test_beyond_the_domain_only_time_moves(example: SimpleNamespace, name: str) -> None:
    problem = PROBLEMS[name]
    later, inside = example.judge.points_beyond(problem), grid(problem)
    time = problem.inputs.index("t")
    assert later[:, time].min() == 1.0
    assert later[:, time].max() == 2.0
    others = [i for i in range(inside.shape[1]) if i != time]
    assert np.array_equal(later[:, others], inside[:, others])


@pytest.mark.parametrize("name", NAMES)
def test_equations_are_trained_by_the_loss_that_trains_networks(
    example: SimpleNamespace, name: str
) -> None:
    problem, losses = PROBLEMS[name], []
    train_pinn(problem, seed=3, epochs=1, progress=lambda _, loss: losses.append(loss))
    untrained = train_pinn(problem, seed=3, epochs=0).double()
    start = None if untrained.coefficient is None else untrained.coefficient.detach()
    loss = example.training.objective(untrained, problem, 3, start)
    assert float(loss.detach()) == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_leaves_no_loss(example: SimpleNamespace, name: str) -> None:
    problem, truth = PROBLEMS[name], Function(name, TRUTHS[name])
    coefficient = problem.coefficient
    constant = torch.tensor(coefficient.truth) if coefficient is not None else None
    assert example.training.objective(truth, problem, 0, constant).item() < 1e-9
    wrong = Function(name, 1.1 * TRUTHS[name])
    assert example.training.objective(wrong, problem, 0, constant).item() > 1e-3


def test_a_value_that_ignores_an_input_has_no_slope_there(example: SimpleNamespace) -> None:
    points = torch.rand(7, 2, dtype=torch.float64)
    line = Function("heat", 3.0 * T + 1.0)
    parts = example.training.derivatives(line, PROBLEMS["heat"], points)
    assert torch.equal(parts["u_t"], torch.full((7,), 3.0, dtype=torch.float64))
    assert not any(parts[part].any() for part in ("u_x", "u_xx", "u_tt"))


def test_training_finds_the_truth_and_drops_what_lowers_no_loss(example: SimpleNamespace) -> None:
    problem, off = PROBLEMS["heat"], sympy.exp(-1.9 * T) * sympy.sin(3.1 * X)
    target = Target(".", domain=problem.domain, operators=("+", "*", "sin", "exp"))
    options = {"restarts": 1, "generations": 5, "population": 200}
    compiled = symcompile(
        Function("heat", off), target, engine="operon", engine_options=options, progress=False
    )
    candidates = [equation("heat", off + extra) for extra in (0.003 * T, 0, 0.02)]
    trained = example.training.train_and_choose(compiled, candidates, problem, seed=0)
    assert trained.constant == pytest.approx(0.2, rel=1e-6)
    points = grid(problem, 30)
    assert np.abs(trained.equation.predict(points) - problem.truth_at(points)).max() < 1e-6
    assert trained.equation.complexity == candidates[1].complexity
    assert compiled.equations["."][0].text() == trained.equation.text()
    near = example.training.around_choice(compiled)
    assert 1 <= len(near) <= len(compiled.fronts["."][0])
    assert max(one.complexity for one in near) <= trained.equation.complexity + 4


def test_table_and_json_hold_every_network(example: SimpleNamespace) -> None:
    heat = result(
        example,
        problem="heat",
        equation=equation("heat", TRUTHS["heat"]),
        constants=(2.0, 3.2, 1.0),
        learned=0.19,
        fitted=0.21,
        implied=0.2,
    )
    plain = replace(heat, kind="NN", right_form=False, implied=None)
    table = example.script.table([heat, plain])
    assert "1 of 1" in table
    assert "0 of 1" in table
    assert "0.1900" in table
    assert "5.00%" in table
    stored = json.loads(json.dumps([one.to_json() for one in (heat, plain)], allow_nan=False))
    assert stored[0]["constants"] == {"decay": 2.0, "wave number": 3.2, "amplitude": 1.0}
    assert stored[1]["constants"] is None
    assert [one["kind"] for one in stored] == ["PINN", "NN"]
