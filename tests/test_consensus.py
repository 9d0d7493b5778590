"""Searches of one fit end when enough of them agree, whoever finishes first."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from children import forks
from fitting import distill

from symcompile.errors import EngineError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed.laws import Computed
from symcompile.regression.consensus import Named, form_chosen, searches_needed
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import SearchProgress
from symcompile.regression.fit import Fit, named_task, search_task
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.journal import Journal

OPERATORS = OperatorSet.of(["+", "*", "sin"])
NAMES = ("a", "b")
A, B = sympy.symbols("a b")
X = np.random.default_rng(0).uniform(0.5, 2.0, (200, 2))
MAIN = 2.5 * np.sin(1.7 * X[:, 0] * X[:, 1])
Y = MAIN + 0.1 * np.sin(5.0 * X[:, 0]) + np.random.default_rng(1).normal(0, 0.02, 200)
# Searches that began, by their number. Forms that they find: "p" is the law, "w" a poor one.
BEGUN: list[int] = []
WAVE = 2.4 * sympy.sin(1.6 * A * B)
FORMS = {
    "p": WAVE + 0.2 * sympy.sin(4.9 * A),
    "q": WAVE + 0.1 * A,
    "r": WAVE + 0.1 * B,
    "s": WAVE + 0.1 * A * B,
    "w": 1.1 * A + 1.3 * B,
}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    BEGUN.clear()


def equation(expr: sympy.Expr, loss: float = 1.0) -> Equation:
    return Equation.of(expr, NAMES, OPERATORS, loss)


@dataclass(frozen=True)
class Scripted:
    """An engine whose searches find the forms of these letters, or fail at "!", or hang at "~".

    The seconds are what each search takes, so that later ones may end before.
    """

    script: str
    seconds: tuple[float, ...] = ()
    max_complexity: int = 30
    name: str = "scripted"
    operators: OperatorSet = OPERATORS

    @property
    def restarts(self) -> int:
        return len(self.script)

    def fit(
        self, X: np.ndarray, y: np.ndarray, *, seed: int = 0, progress: Any = None, **options: Any
    ) -> ParetoFront:
        restart = seed // 1_000_003
        BEGUN.append(restart)
        if self.seconds:
            time.sleep(self.seconds[restart])
        letter = self.script[restart]
        if letter == "!":
            raise ValueError("no luck")
        while letter == "~":
            progress(SearchProgress(0.5))
            time.sleep(0.001)
        return ParetoFront((equation(FORMS[letter]),), 1.0)

    def describe(self) -> dict[str, Any]:
        return {"script": self.script}


def fit(engine: Any, **options: Any) -> Fit:
    halves = Dataset(X[:150], Y[:150]), Dataset(X[150:], Y[150:])
    return Fit("y", *halves, NAMES, engine, **{"compute": False, **options})


def searched(script: str, workers: int = 1, **options: Any) -> ParetoFront:
    with ThreadPoolExecutor(workers) as executor:
        return distill([fit(Scripted(script, **options))], executor=executor)["y"]


# --- the form that a search names --------------------------------------------------------------


def test_the_shortest_description_is_named_whatever_constants_it_came_with() -> None:
    law, longer = equation(FORMS["p"], 9.0), equation(FORMS["p"] + 0.001 * B, 1e-9)
    assert form_chosen(fit(Scripted("p")), [longer, law]) == (law.tree[0], 1.0)


def test_what_nobody_has_measured_is_measured() -> None:
    law = equation(FORMS["p"], np.nan)
    assert form_chosen(fit(Scripted("p")), [equation(FORMS["q"]), law]) == (law.tree[0], 1.0)


def test_rows_without_weight_are_not_looked_at() -> None:
    weights = np.where(np.arange(1500) < 1200, 0.0, 1.0)
    rows = np.resize(X, (1500, 2))
    y = np.where(weights > 0, 2.0 * rows[:, 0], 3.0 * rows[:, 1])
    one = replace(fit(Scripted("p")), data=Dataset(rows, y, weights))
    forms = [equation(1.0 * A), equation(1.0 * B)]
    assert form_chosen(one, forms) == (forms[0].tree[0], 1.0)


def test_of_nothing_finite_nothing_is_named() -> None:
    infinite = Equation.of(sympy.exp(1e4 * A), NAMES, OperatorSet.of(["+", "*", "exp"]))
    assert form_chosen(fit(Scripted("p")), [infinite]) is None
    assert form_chosen(fit(Scripted("p")), []) is None


def test_a_poor_form_counts_for_half() -> None:
    """It is but the best that there is so far."""
    one, poor, law = fit(Scripted("p")), equation(FORMS["w"]), equation(FORMS["q"])
    assert form_chosen(one, [poor]) == (poor.tree[0], 0.5)
    assert form_chosen(one, [poor, law]) == (law.tree[0], 1.0)
    searched("wwwwww")
    assert BEGUN == [0, 1, 2, 3]


def test_what_was_computed_is_named_where_a_search_finds_nothing_better() -> None:
    computed = Computed((equation(FORMS["p"]),))
    one = fit(Scripted("qqq"))
    assert search_task(one, 0, computed).named == (computed.equations[0].tree[0], 1.0)
    assert search_task(one, 0, Computed()).named == (equation(FORMS["q"]).tree[0], 1.0)
    better = named_task(one, Computed((equation(FORMS["q"]),)), [equation(FORMS["p"])])
    assert better.named == (equation(FORMS["p"]).tree[0], 1.0)


def test_under_a_budget_and_of_a_few_searches_nothing_is_named() -> None:
    assert search_task(fit(Scripted("qqq"), budget=1.0), 0, Computed()).named is None
    assert search_task(fit(Scripted("qq")), 0, Computed()).named is None


@pytest.mark.parametrize(
    ("named", "needed"),
    [
        ("", None),
        ("pq", None),
        ("pp", 2),
        ("pqrq", 4),
        ("pqrqp", 4),
        ("www", None),
        ("wwww", 4),
        ("wpwqww", 6),
        ("wpwp", 4),
    ],
)
def test_how_many_searches_are_needed(named: str, needed: int | None) -> None:
    """A poor one counts for half."""
    forms = {letter: equation(expr).tree[0] for letter, expr in FORMS.items()}
    counts = (Named(forms[letter], 0.5 if letter == "w" else 1.0) for letter in named)
    assert searches_needed(counts) == needed


def test_searches_that_name_nothing_agree_in_nothing() -> None:
    assert searches_needed([None, None, None]) is None


# --- searches end --------------------------------------------------------------------------------


def test_one_worker_searches_until_two_agree() -> None:
    for script, begun in (("ppqr", 2), ("qpspr", 4), ("pqrs", 4)):
        BEGUN.clear()
        searched(script)
        assert list(range(begun)) == BEGUN


def test_what_is_chosen_does_not_depend_on_the_number_of_workers() -> None:
    """Later searches end first, and find more: what is beyond the first that agree counts for
    nothing."""
    waits = tuple(0.05 * (6 - k) for k in range(6))
    alone = searched("qrqpps")
    assert len(BEGUN) == 3
    for workers in (2, 3, 6):
        BEGUN.clear()
        assert searched("qrqpps", workers, seconds=waits) == alone
        assert len(BEGUN) > 3
    assert not [e for e in alone if e.tree[0] == equation(FORMS["p"]).tree[0]]


@pytest.fixture
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(3, mp_context=forks()) as pool:
        yield pool


def test_processes_find_the_same(processes: Executor) -> None:
    for script in ("qrqpps", "prsq"):
        fits = [replace(fit(Scripted(script)), key=str(k)) for k in range(2)]
        assert distill(fits, executor=processes) == distill(fits)


def test_a_search_that_became_needless_is_stopped() -> None:
    before = threading.active_count()
    searched("pp~~", 4)
    assert threading.active_count() == before


def test_a_needless_search_may_fail() -> None:
    waits = (0.1, 0.1, 0.0, 0.0)
    assert searched("pp!!", 4, seconds=waits) == searched("ppqr")


@pytest.mark.parametrize("workers", [1, 4])
def test_a_needed_search_may_not(workers: int) -> None:
    with pytest.raises(EngineError, match="its search failed: ValueError: no luck"):
        searched("pq!p", workers)


def test_under_a_budget_all_searches_run() -> None:
    with ThreadPoolExecutor(4) as executor:
        distill([fit(Scripted("pppp"), budget=20.0)], executor=executor)
    assert sorted(BEGUN) == [0, 1, 2, 3]


def test_needed_searches_come_before_needless_ones() -> None:
    """Of several fits none goes ahead while another waits."""
    fits = [replace(fit(Scripted("ppqr", (0.02,) * 4)), key=str(k)) for k in range(3)]
    with ThreadPoolExecutor(2) as executor:
        distill(fits, executor=executor)
    assert sorted(BEGUN[:6]) == [0, 0, 0, 1, 1, 1]


def test_progress_ends_at_one() -> None:
    told: list[float] = []
    with ThreadPoolExecutor(3) as executor:
        distill([fit(Scripted("ppqr"))], executor=executor, progress=lambda *t: told.append(t[1]))
    assert told[-1] == 1.0
    assert max(told) == 1.0


# --- the journal ---------------------------------------------------------------------------------


def test_a_resumed_run_finds_the_same(tmp_path: Path) -> None:
    """The journal knows all searches but one of those that are needed, those beyond as well."""
    one, journal = fit(Scripted("qrqpps")), Journal(tmp_path)
    whole = searched("qrqpps")
    for restart in (0, 2, 3, 4, 5):
        journal.keep_search(one, restart, search_task(one, restart, Computed()).equations)
    BEGUN.clear()
    with ThreadPoolExecutor(3) as executor:
        assert distill([one], executor=executor, run_dir=tmp_path)["y"] == whole
    assert BEGUN == [1]
