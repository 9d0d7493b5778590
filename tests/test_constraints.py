"""Limits on what operators may be applied to: on trees, on fronts, in files."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from test_driver import QUICK
from torch import nn

from symcompile import Target, distill, load, symcompile
from symcompile.errors import EngineError, SymCompileError, TargetError
from symcompile.expressions.complexity import complexity, spellable
from symcompile.expressions.operator_set import LIMITS, OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.parser import parse
from symcompile.expressions.slots import slot
from symcompile.expressions.tree import tree_of
from symcompile.regression.engines.operon import OperonEngine

x, y = sympy.symbols("x y")
OPERATORS = ["+", "-", "*", "/", "pow", "min", "inv", "square", "sqrt", "exp", "sin", "cos"]


def kept(text: str, operators: list[str] = OPERATORS, **limits: Any) -> bool:
    expr = parse(text, ["x", "y", "z"])
    assert spellable(expr, OperatorSet.of(operators))
    return spellable(expr, OperatorSet.of(operators, **limits))


def drawn(rng: random.Random, depth: int) -> sympy.Expr:
    """A random expression of every kind of node that a search makes."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice([x, y, x, y, slot(0), slot(1), sympy.Integer(-1), sympy.Integer(2)])
    a, b = drawn(rng, depth - 1), drawn(rng, depth - 1)
    exponents = [2, 3, 4, 5, 7, -1, -2, slot(2), *map(sympy.Rational, ("1/2", "3/2", "-1/2"))]
    makes = [a + b, a * b, a - b, a / (b + 3), sympy.sin(a), a ** rng.choice(exponents), -a]
    return rng.choice(makes)


def test_the_tree_costs_what_the_complexity_counts() -> None:
    rng, names, compared = random.Random(0), list(VOCABULARY), 0
    for _ in range(160):
        costs = {name: rng.choice([1, 1, 2, 3]) for name in rng.sample(names, rng.randrange(9, 40))}
        leaves = {"complexity_of_variables": rng.choice([None, 2, {"x": 3}])}
        operators = OperatorSet.of(costs, complexity_of_constants=rng.choice([None, 2]), **leaves)
        expr = drawn(rng, 4)
        if expr.has(sympy.zoo, sympy.nan, sympy.I) or not spellable(expr, operators):
            continue
        compared += 1
        tree = tree_of(expr, operators)
        assert tree.cost(operators) == complexity(expr, operators), (expr, costs)
    assert compared > 25


@pytest.mark.parametrize(
    ("text", "limits", "expected"),
    [
        ("sin(x*y + 1)", {"sin": 5}, True),
        ("sin(x*y + 1)", {"sin": 4}, False),
        ("exp(sin(x*y + 1))", {"exp": -1, "sin": 4}, False),
        ("(x + y)**2.5", {"pow": (-1, 1)}, True),
        ("2.5**(x + y)", {"pow": (-1, 1)}, False),
        ("(x + y)*sin(x)", {"*": (3, 4)}, True),
        ("sin(x)*(x + y)", {"*": (3, 4)}, True),
        ("sin(x)*(x + y)", {"*": (3, 3)}, False),
        ("(x + y)/sin(x)", {"/": (3, 4)}, True),
        ("sin(x)/(x + y)", {"/": (3, 4)}, False),
        # (x + y) + (z + 2), but not ((x + y) + z) + 2.
        ("x + y + z + 2", {"+": (3, 3)}, True),
        ("x + y + z + 2", {"+": (2, 2)}, False),
        ("x + y + z + 2", {"+": (-1, 1)}, True),
        ("x - y - z", {"-": (3, 1)}, True),
        ("x - y - z", {"-": (2, 1)}, False),
        ("(x + y)**2", {"square": 2}, False),
        ("sqrt(x + y)", {"sqrt": 3}, True),
    ],
)
def test_constraints(text: str, limits: dict[str, Any], expected: bool) -> None:
    assert kept(text, constraints=limits) is expected


@pytest.mark.parametrize(
    ("text", "limits", "expected"),
    [
        ("sin(sin(x))", {"sin": {"sin": 0}}, False),
        ("sin(sin(x))", {"sin": {"sin": 1}}, True),
        ("sin(sin(sin(x)))", {"sin": {"sin": 1}}, False),
        ("sin(x*cos(y)) + cos(x)", {"sin": {"cos": 0}}, False),
        ("cos(sin(x)) + sin(x)*cos(y)", {"sin": {"cos": 0}}, True),
        # Ways down, not nodes: two cosines beside each other are one deep.
        ("sin(cos(x) + cos(y))", {"sin": {"cos": 1}}, True),
        ("exp(1/(x + 1/y))", {"exp": {"inv": 1}}, False),
        ("(x + (x*y + 1)**2)**2", {"square": {"square": 0}}, False),
    ],
)
def test_nested_constraints(text: str, limits: dict[str, Any], expected: bool) -> None:
    assert kept(text, nested_constraints=limits) is expected


def test_complexity_of_leaves() -> None:
    expr = parse("2.5*x*y + x/3.5", ["x", "y"])
    counted = {
        (1, None): complexity(expr, OperatorSet.of(["+", "*"])),
        (2, 3): complexity(
            expr,
            OperatorSet.of(["+", "*"], complexity_of_variables=2, complexity_of_constants=3),
        ),
    }
    assert counted == {(1, None): 9, (2, 3): 9 + 3 + 2 * 2}
    named = OperatorSet.of(["+", "*"], complexity_of_variables={"y": 5})
    assert complexity(expr, named) == 9 + 4
    assert complexity(slot(0), OperatorSet.of(None, complexity_of_constants=4)) == 4
    assert complexity(1 / x, OperatorSet.of(["/"], complexity_of_constants=4)) == 6


def test_reading_again() -> None:
    limits: dict[str, Any] = {
        "constraints": {"^": (-1, 1), "sin": 5},
        "nested_constraints": {"sin": {"sin": 0}},
        "complexity_of_variables": {"x": 2},
        "complexity_of_constants": 3,
    }
    operators = OperatorSet.of(OPERATORS, **limits)
    assert OperatorSet.of(operators) is operators
    assert OperatorSet.of(operators, complexity_of_constants=1).constraints == operators.constraints
    engine = OperonEngine.create(operators, 20, {})
    assert OperatorSet.described(engine.describe()) == operators
    assert set(engine.describe()["limits"]) == set(LIMITS)
    plain = OperonEngine.create(OperatorSet.of(OPERATORS), 20, {})
    assert "limits" not in plain.describe()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"constraints": {"sine": 3}}, "unknown operator 'sine': choose from"),
    ({"constraints": {"sin": (3, 3)}}, r"constraints of 'sin' is \(3, 3\): expected a complexity"),
    ({"constraints": {"*": 3}}, "constraints of '\\*' is 3: expected a pair of complexities, -1"),
    ({"constraints": {"*": (0, 3)}}, ".*expected a pair of complexities, -1 for no limit"),
    ({"constraints": [3]}, r"constraints is \[3\]: expected a mapping such as {'sin': 5"),
    ({"nested_constraints": {"sin": 0}}, "nested_constraints of 'sin' is 0: expected a mapping"),
    ({"nested_constraints": {"sin": {"cos": -1}}}, ".*'cos' in 'sin' is -1: expected how often"),
    ({"complexity_of_variables": 0}, "complexity_of_variables is 0: expected 1 or more"),
    ({"complexity_of_variables": {1: 2}}, "complexity_of_variables names 1: expected inputs"),
    ({"complexity_of_constants": "2"}, "complexity_of_constants is '2': expected a whole number"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        distill(X, Y, **options)
    with pytest.raises(TargetError, match="target 'net': " + message):
        Target("net", **options)


def test_an_engine_of_ones_own_has_its_own_limits() -> None:
    engine = OperonEngine.create(OperatorSet.of(None), 20, {})
    with pytest.raises(EngineError, match=r"give it to the operators of your Engine, OperatorSet"):
        distill(X, Y, engine=engine, constraints={"sin": 3})


X = np.random.default_rng(0).uniform(0.5, 2.0, (200, 2))
Y = (X[:, 0] + 2.0 * X[:, 1]) ** 2 * X[:, 0]


def test_no_front_breaks_them() -> None:
    """Whatever found it: the law is a product of sums, which needs no search."""
    options = QUICK | {"max_complexity": 20}
    free = distill(X, Y, **options, names=["a", "b"])[0]
    limits: dict[str, Any] = {
        "constraints": {"*": (3, 1)},
        "complexity_of_variables": {"b": 2},
        "complexity_of_constants": 2,
    }
    limited = distill(X, Y, **options, names=["a", "b"], **limits)[0]
    operators = OperatorSet.of(options["operators"], **limits)
    assert not all(spellable(equation.form, operators) for equation in free)
    assert len(limited) > 3
    for equation in limited:
        assert spellable(equation.form, operators)
        assert complexity(equation.form, operators) == equation.complexity <= 20
    with pytest.raises(EngineError, match="complexity_of_variables names 'q': the inputs are x0"):
        distill(X, Y, complexity_of_variables={"q": 2})


def test_a_compiled_model_keeps_them(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"constraints": {"*": (1, 3)}, "complexity_of_constants": 2}
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    target = Target("2", outputs=(0,), nested_constraints={"*": {"+": 0}}, names=[*"abcdefgh"])
    data = torch.tensor(X, dtype=torch.float32)
    compiled = symcompile(model, target, data, **QUICK, **limits)
    compiled.save(tmp_path / "model.symc")
    compiled.export(tmp_path / "model.json")
    loaded = load(tmp_path / "model.symc")
    operators = OperatorSet.of(QUICK["operators"], **limits, nested_constraints={"*": {"+": 0}})
    for one in (compiled, loaded):
        assert one._blocks["2"].operators == operators
        assert all(spellable(equation.form, operators) for equation in one.fronts["2"][0])
    again = loaded.recording.regions["2"].target
    assert again.nested_constraints == {"*": {"+": 0}}
    damaged = {"constraints": {"sin": [1, 2, 3]}}
    with pytest.raises(SymCompileError, match="constraints of 'sin'"):
        OperatorSet.described({"operators": {"+": 1}, "limits": damaged})
    with pytest.raises(SymCompileError, match="limits is 3: expected a mapping"):
        OperatorSet.described({"operators": {"+": 1}, "limits": 3})
