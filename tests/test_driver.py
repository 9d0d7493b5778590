"""`distill` of callables and arrays, and what the driver refuses before it starts."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from torch import nn

import symcompile as package
from symcompile import ParetoFront, SymCompileError, Target, distill, symcompile
from symcompile.errors import ChoiceError, DataError, EngineError, TargetError
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.engines.operon import OperonEngine
from symcompile.regression.engines.operon_search import SearchOptions

QUICK: dict[str, Any] = {
    "operators": ["+", "*"],
    "max_complexity": 12,
    "engine": "operon",
    "engine_options": {"restarts": 1, "population": 200, "generations": 15},
    "progress": False,
}
X = np.random.default_rng(0).normal(size=(300, 2))


def product(values: Any) -> Any:
    return 3.0 * values[:, 0] * values[:, 1]


def test_public_names() -> None:
    assert sorted(package.__all__) == [
        "Compiled",
        "Engine",
        "Equation",
        "Explanation",
        "PCA",
        "ParetoFront",
        "Products",
        "Recording",
        "ReducedRank",
        "Selection",
        "SymCompileError",
        "Target",
        "__version__",
        "diff",
        "distill",
        "explain",
        "load",
        "record",
        "symcompile",
    ]
    assert all(hasattr(package, name) for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))


def test_names_that_load_with_their_first_use() -> None:
    """In a process that has used none of them yet."""
    code = """
import symcompile as package
assert package.exporters.manifest.__name__ == "manifest"
assert package.Target is package.target.Target
assert not hasattr(package, "typo")
assert not hasattr(package, "_typo")
from symcompile import *
assert Target is package.Target
try:
    from symcompile import typo
except ImportError as error:
    print(error)
"""
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert finished.stderr == ""
    assert "cannot import name 'typo' from 'symcompile'" in finished.stdout


@pytest.mark.parametrize("inputs", [X, torch.from_numpy(X), torch.from_numpy(X).float()])
def test_distills_a_callable(inputs: Any) -> None:
    fronts = distill(product, inputs, **QUICK)
    assert list(fronts) == [0]
    assert isinstance(fronts[0], ParetoFront)
    x0, x1 = sympy.symbols("x0 x1")
    assert float(fronts[0].best.sympy.coeff(x0 * x1)) == pytest.approx(3.0, rel=1e-5)


def test_distills_arrays_with_names_and_several_outputs() -> None:
    Y = np.stack([X[:, 0] + 2 * X[:, 1], X[:, 0] ** 2], axis=1)
    fronts = distill(X, Y, names=["a", "b"], **QUICK)
    assert list(fronts) == [0, 1]
    assert {s.name for s in fronts[0].best.sympy.free_symbols} == {"a", "b"}
    assert fronts[1].r2(fronts[1].best) > 0.9999


def test_weights_count() -> None:
    """Samples without weight can't pull an equation."""
    y = 3.0 * X[:, 0]
    y[::2] = 100.0
    weights = np.ones(len(X))
    weights[::2] = 0.0
    fronts = distill(X, y, weights=weights, **QUICK)
    np.testing.assert_allclose(fronts[0].best.predict(X)[1::2], y[1::2], atol=1e-6)


@pytest.mark.usefixtures("every_table")
def test_processes_find_the_same_as_threads() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = distill(X, product(X), executor=pool, **QUICK)
    assert there == distill(X, product(X), **QUICK)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((X, X[:10, 0]), "300 samples and Y 10"),
        ((X * np.nan, X[:, 0]), "NaN"),
        ((X[:0], X[:0, 0]), "shape"),
        ((X[:1], X[:1, 0]), "1 samples"),
        ((np.ones((50, 2)), np.ones(50)), "never change"),
        ((X[None], X[:, 0]), "shape"),
        (([["a"]], [1]), "X holds text: expected numbers"),
    ],
)
def test_bad_arrays_are_named(arguments: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        distill(*arguments, **QUICK)


def test_bad_options_are_named() -> None:
    for options, error, match in (
        ({"names": ["a"]}, DataError, "1 names"),
        ({"weights": [1.0]}, DataError, "weights"),
        ({"operators": ["+", "sine"]}, EngineError, "unknown operator 'sine'"),
        ({"engine": "operom"}, EngineError, "choose from auto, operon, pysr"),
        ({"engine_options": {"populatoin": 3}}, EngineError, "no option 'populatoin'"),
    ):
        with pytest.raises(error, match=match):
            distill(X, X[:, 0], **(QUICK | options))


def test_model_must_be_a_module() -> None:
    with pytest.raises(TargetError, match=r"distill\(fn, X\)"):
        symcompile(product, ".", X)  # type: ignore[arg-type]
    for options in ({"holdout": 1.5}, {"n_samples": 3}, {"tolerance": -1.0}, {"max_complexity": 0}):
        with pytest.raises(SymCompileError, match=next(iter(options))):
            symcompile(nn.Linear(2, 1), ".", torch.randn(50, 2), **options)  # type: ignore[arg-type]


def test_targets_have_operators_of_their_own() -> None:
    model = nn.Linear(2, 1)
    target = Target(".", operators=["+", "*", "sin"], max_complexity=7)
    compiled = symcompile(model, target, torch.randn(200, 2), **QUICK)
    assert max(compiled.fronts["."][0].complexities) <= 7
    engine = compiled.outcomes["."].provenance["engine"]
    assert "sin" in engine["operators"]


@dataclass(frozen=True)
class Failing(OperonEngine):
    """Fails where the output has a positive mean."""

    restarts: int = 1
    search: SearchOptions = SearchOptions(population=50, generations=2)  # noqa: RUF009

    def candidates(self, X: Any, y: Any, **options: Any) -> Any:
        if y.mean() > 0:
            raise RuntimeError("lost the thread")
        return super().candidates(X, y, **options)


def test_an_output_whose_search_fails_has_an_empty_front_that_says_why() -> None:
    noise = np.random.default_rng(3).normal(size=len(X))  # which no law leaves nothing of
    Y = np.column_stack([product(X) - 5.0, product(X) + 5.0]) + noise[:, None]
    engine = Failing(OperatorSet.of(["+", "*"]))
    fronts = distill(X, Y, engine=engine, progress=False)
    assert fronts[0].equations
    assert not fronts[1].equations
    with pytest.raises(ChoiceError, match=r"its search failed: RuntimeError: lost the thread"):
        _ = fronts[1].best
    with pytest.raises(EngineError, match=r"'output\[0\]' failed: .*lost the thread"):
        distill(X, Y[:, 1], engine=engine, progress=False)


def test_a_target_whose_search_fails_is_refused_with_the_reason() -> None:
    class Shifted(nn.Module):
        """With a wave that is too fast to be computed."""

        def __init__(self, shift: float, wave: float = 0.0) -> None:
            super().__init__()
            self.shift, self.wave = nn.Parameter(torch.tensor(shift)), wave

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :1] * x[:, 1:] + self.wave * torch.sin(1e4 * x[:, :1]) + self.shift

    model = nn.Sequential()
    model.add_module("low", Shifted(-5.0))
    model.add_module("wide", nn.Linear(1, 2))
    model.add_module("high", Shifted(50.0, 10.0))
    batch = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    engine = Failing(OperatorSet.of(["+", "*"]))
    compiled = symcompile(model, ["low", "high"], batch, engine=engine, progress=False)
    assert list(compiled.equations) == ["low"]
    reason = compiled.outcomes["high"].reason  # type: ignore[union-attr]
    assert reason == "no equation for output 0: its search failed: RuntimeError: lost the thread"
    assert "lost the thread" in str(compiled.report)
