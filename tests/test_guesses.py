"""Guesses and earlier fronts: read, taken to the engines, and among what is compared."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import sympy
import torch
from test_custom import OPERATORS as WITH_OWN
from test_pysr_engine import data as pysr_data
from test_pysr_engine import fit, real_pysr, search
from torch import nn

from symcompile import ParetoFront, Target, distill, load, symcompile
from symcompile.errors import ExpressionError, TargetError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.parser import parse
from symcompile.regression.computed import Computed
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines.engine import Engine
from symcompile.regression.engines.guesses import spelled, takes_guesses
from symcompile.regression.engines.julia_text import guess as julia_guess
from symcompile.regression.engines.operon import OperonEngine, _node_types, _OperonFit
from symcompile.regression.engines.operon_search import OperonRun, SearchOptions
from symcompile.regression.engines.pysr import PySREngine
from symcompile.regression.fit import Fit, search_task
from symcompile.regression.guesses import check_fronts, check_guesses, read_guesses
from symcompile.regression.scale import Units

__all__ = ["real_pysr", "search"]

NAMES = ("a", "b", "c")
OPERATORS = OperatorSet.of(["+", "-", "*", "/", "sqrt", "square", "cube", "exp", "sin", "max"])
X = np.random.default_rng(0).uniform(1.0, 3.0, (300, 3))
LAW = "a*exp(-b**2)*sin(3*c + 0.5)/sqrt(1 + a)"
Y = X[:, 0] * np.exp(-(X[:, 1] ** 2)) * np.sin(3 * X[:, 2] + 0.5) / np.sqrt(1 + X[:, 0])
# A search that finds nothing of the kind.
SHORT: dict[str, Any] = {
    "operators": OPERATORS,
    "max_complexity": 24,
    "engine": "operon",
    "engine_options": {"restarts": 1, "population": 20, "generations": 1, "keep": 1},
    "progress": False,
    "names": NAMES,
}
NEAR = "2.1*a*exp(-b**2)*sin(3.1*c + 0.4)/sqrt(1.2 + a)"


def equation(text: str, operators: OperatorSet = OPERATORS) -> Equation:
    return Equation.of(parse(text, NAMES), NAMES, operators)


def best(front: ParetoFront) -> float:
    return min(front.losses) / front.variance


@pytest.mark.parametrize(
    "guesses",
    [NEAR, [NEAR], {0: [NEAR, "a"]}, [parse(NEAR, NAMES)], [equation(NEAR)], (NEAR,)],
    ids=["text", "list", "by output", "sympy", "equation", "tuple"],
)
def test_guesses_are_read(guesses: Any) -> None:
    check_guesses(guesses)
    read = read_guesses(guesses, None, ("output", 0), NAMES, OPERATORS)
    assert read[0] == equation(NEAR)
    assert [one.text() for one in read[1:]] == ["a"] * (len(read) - 1)
    if isinstance(guesses, dict):
        assert read_guesses(guesses, None, ("output", 1), NAMES, OPERATORS) == ()


def test_earlier_fronts_are_read() -> None:
    front = ParetoFront.of([equation("a"), equation(NEAR)], 1.0)
    front = replace(front, equations=(equation("a"), equation(NEAR)))

    class Model:
        fronts: ClassVar[Any] = {"net": {0: front}}

    for earlier in (front, {0: front}, {"net": {0: front}}, Model()):
        check_fronts(earlier)
        assert read_guesses(None, earlier, ("net", 0), NAMES, OPERATORS) == front.equations
    for earlier in ({1: front}, {"other": {0: front}}, {}):
        assert read_guesses(None, earlier, ("net", 0), NAMES, OPERATORS) == ()
    both = read_guesses(["b"], front, ("net", 0), NAMES, OPERATORS)
    assert both == (equation("b"), *front.equations)


def test_a_guess_is_fitted_and_competes(tmp_path: Path) -> None:
    """And a journal tells a search with it from one without."""
    without = distill(X, Y, **SHORT, run_dir=tmp_path)[0]
    with_guess = distill(X, Y, **SHORT, run_dir=tmp_path, guesses=[NEAR])[0]
    assert best(without) > 1e-3
    assert best(with_guess) < 1e-12
    assert distill(X, Y, **SHORT, run_dir=tmp_path)[0] == without
    again = distill(X, Y, **SHORT, run_dir=tmp_path, guesses=[NEAR])[0]
    assert again.complexities == with_guess.complexities
    assert len(list((tmp_path / "searches").iterdir())) == 2


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"guesses": ["sin(q)"]}, r"guess 'sin\(q\)': .*unknown name 'q'.* known are a, b, c"),
    ({"guesses": [sympy.Symbol("q")]}, "guess 'q': q uses q: the inputs are a, b, c"),
    ({"guesses": ["__import__('os')"]}, "calls unknown function '__import__'"),
    ({"guesses": 3}, r"guesses is 3: expected a list of equations, such as \['2.5\*sin"),
    ({"guesses": [3]}, "guesses holds a int: expected texts, sympy expressions or Equations"),
    (
        {"guesses": [Equation(sympy.Symbol("x"), ("x",), (), 1)]},
        "guess x is an equation in x: the inputs are a, b, c",
    ),
    ({"warm_start": 3}, "warm_start is a int: expected a Compiled, a ParetoFront, or"),
    (
        {"warm_start": ParetoFront.of([Equation(sympy.Symbol("x"), ("x",), (), 1, 1.0)], 1.0)},
        "warm_start: x is an equation in x: the inputs are a, b, c",
    ),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        distill(X, Y, **SHORT, **options)


def test_of_a_target(tmp_path: Path) -> None:
    """In its own names; and a compiled model is a start for the next."""

    class Law(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b, c = x[:, :1], x[:, 1:2], x[:, 2:]
            return a * torch.exp(-(b**2)) * torch.sin(3 * c + 0.5) / torch.sqrt(1 + a)

    options = {k: v for k, v in SHORT.items() if k != "names"}
    batch = torch.tensor(X, dtype=torch.float64)
    model = nn.Sequential(Law()).double()
    target = Target("0", names=NAMES, guesses=[NEAR])
    compiled = symcompile(model, target, batch, **options)
    assert best(compiled.fronts["0"][0]) < 1e-12
    compiled.save(tmp_path / "model.symc")
    loaded = load(tmp_path / "model.symc")
    assert loaded.recording.regions["0"].target == replace(target, guesses=None)
    again = symcompile(model, Target("0", names=NAMES), batch, **options, warm_start=loaded)
    assert best(again.fronts["0"][0]) < 1e-12
    with pytest.raises(TargetError, match="target '0': guesses holds a int"):
        Target("0", guesses=[3])
    with pytest.raises(ExpressionError, match=r"target '0': guess .*unknown name 'a'"):
        symcompile(model, Target("0", guesses=[NEAR]), batch, **options)


def test_in_scaled_units() -> None:
    """Inputs of 1e60 are searched for in other units, and so are guesses."""
    scale = np.array([1e60, 1.0, 1e-50])
    guess = "a*2.5*sin(c*1e50)"
    y = 3.0 * X[:, 0] * np.sin(X[:, 2]) * 1e60
    one = Fit(
        "y", Dataset(X * scale, y), Dataset(X * scale, y), NAMES,
        OperonEngine.create(OPERATORS, 20, {}), guesses=(equation(guess),),
    )  # fmt: skip
    units = Units.of(one)
    (scaled,) = units.scaled(one).guesses
    expected = np.ldexp(one.guesses[0].predict(X * scale), units.y)
    np.testing.assert_allclose(scaled.predict(np.ldexp(X * scale, units.X)), expected)


# --- engines -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """An engine that knows nothing of guesses."""

    operators: OperatorSet = OPERATORS
    max_complexity: int = 30
    restarts: int = 1
    name: str = "plain"

    def fit(
        self, X: Any, y: Any, *, weights: Any = None, names: Sequence[str], seed: int = 0,
        budget: float | None = None, progress: Any = None,
    ) -> ParetoFront:  # fmt: skip
        return ParetoFront.of([Equation.of(sympy.Float(1.0), names, self.operators, 1.0)], 1.0)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


def test_an_engine_that_takes_none_still_works() -> None:
    assert isinstance(Plain(), Engine)
    assert not takes_guesses(Plain().fit)
    assert takes_guesses(OperonEngine.create(OPERATORS, 20, {}).candidates)
    assert takes_guesses(OperonEngine.create(OPERATORS, 20, {}).fit)
    assert takes_guesses(PySREngine().fit)
    front = distill(X, Y, engine=Plain(), names=NAMES, progress=False, guesses=[NEAR])[0]
    assert best(front) < 1e-12
    one = Fit("y", Dataset(X, Y), Dataset(X, Y), NAMES, Plain(), guesses=(equation(NEAR),))
    assert len(search_task(one, 0, Computed()).equations) == 1


TREES = (LAW, "max(a, b, c) - 2.0*c", "a - b/c", "a**3 - b", "1/(a + b)", "-a*b + 2.5", "a*b*c")


@pytest.mark.parametrize("text", TREES)
def test_operon_plants_what_the_guess_computes(text: str) -> None:
    """Up to a factor and a constant, which operon fits: read back, the tree is the guess."""
    values = equation(text).predict(X)
    one = _OperonFit(OperonEngine.create(OPERATORS, 40, {}), Dataset(X, values), NAMES)
    types = _node_types(OPERATORS)
    (tree,) = replace(one, guesses=(equation(text),)).planted(types)
    found = one.from_tree(tree)
    assert found is not None
    np.testing.assert_allclose(found.predict(X), values, rtol=1e-9, atol=1e-9)
    run = OperonRun(np.column_stack([X, values]), types, 40, SearchOptions(), 0)
    assert run.copy(run.genotype(tree)) == tuple(
        node._replace(value=pytest.approx(node.value)) if not node.arity else node._replace(value=1)
        for node in tree
    )


def test_operon_starts_from_them() -> None:
    engine = OperonEngine.create(
        OPERATORS, 30, {"population": 200, "generations": 3, "restarts": 1}
    )
    options: dict[str, Any] = {"names": NAMES, "seed": 3}
    without = engine.candidates(X, Y, **options)
    started = engine.candidates(X, Y, **options, guesses=[equation(NEAR)])
    lowest = [min(one.loss for one in found) / Y.var() for found in (without, started)]
    assert lowest[0] > 1e-3
    assert lowest[1] < lowest[0] / 10
    assert engine.candidates(X, Y, **options, guesses=[equation(NEAR)]) == started
    # What it has no node for, is constant, or is of a column that does not vary, is left out.
    others = [equation("atan2(a, b)"), equation("2.5")]
    assert engine.candidates(X, Y, **options, guesses=others) == without
    still = np.column_stack([X[:, 0], np.ones(len(X)), X[:, 2]])
    engine.candidates(still, Y, **options, guesses=[equation("a*b")])


def test_operon_stops_though_it_plants() -> None:
    run = OperonRun(np.column_stack([X, Y]), ("Add", "Mul"), 20, SearchOptions(population=50), 1)
    run.planted = [one for one in [()] if one]
    run.halt(RuntimeError("enough"))
    with pytest.raises(RuntimeError, match="enough"):
        run.run(float("inf"), lambda done, trees: None)


def test_pysr_starts_from_them(search: Any) -> None:
    X2, y2 = pysr_data()
    names = ["u", "v"]
    operators = OperatorSet.of(["+", "*", "sin", "inv", "square"])
    texts = ["2.5*u*sin(v + 1.5) - v**2", "u/v", "exp(u)", "u**3 + v"]
    guesses = [Equation.of(parse(text, names), names, operators) for text in texts]
    fit(PySREngine(operators), X2, y2, names=names, guesses=guesses)
    (given,) = search.call["guesses"]
    columns = dict(zip(names, ["x0", "x1"], strict=True))
    for text, equation_ in zip(given, (guesses[0], guesses[1], guesses[3]), strict=True):
        read = parse(
            text, [*columns.values()], functions={"square": lambda a: a**2, "sin": sympy.sin,
                                                  "inv": lambda a: 1 / a},
        )  # fmt: skip
        values = sympy.lambdify([*columns.values()], read)(*X2.T)
        np.testing.assert_allclose(values, equation_.predict(X2))
    fit(PySREngine(operators), X2, y2, names=names)
    assert search.call["guesses"] is None


def test_guesses_in_operators_of_ones_own() -> None:
    law = equation("a/sqrt(1 - b**2/c**2)*2.5", WITH_OWN)
    (one,) = spelled([law], WITH_OWN, 20)
    inputs = {name: f"x{k}" for k, name in enumerate(NAMES)}
    assert julia_guess(one.tree, inputs, one.value) == "(((2.5) * x0) * own_lorentz((x1 / x2)))"


def test_every_operator_has_a_spelling_in_julia() -> None:
    every = OperatorSet.of(list(VOCABULARY))
    inputs = {"a": "x0", "b": "x1", "c": "x2"}
    symbols = list(map(sympy.Symbol, NAMES))
    for name, row in VOCABULARY.items():
        expr = row.build(*symbols[: row.arity])
        (one,) = spelled([Equation.of(expr, NAMES, every)], every, 20)
        text = julia_guess(one.tree, inputs, one.value)
        assert set(itertools.chain(text)) <= set("x012()+-*/^., _abcdefghijklmnopqrstuvwxyz"), name
