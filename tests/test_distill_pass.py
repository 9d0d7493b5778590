"""The distillation pass: executors, restarts, journal, errors, interruption."""

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from fitting import distill

from symcompile.errors import ChoiceError, EngineError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed import Computed
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import SearchProgress, create
from symcompile.regression.fit import Fit
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.progress import ProgressBar
from symcompile.regression.refine import Refine
from symcompile.storage.journal import fingerprint

OPERATORS = OperatorSet.of(["+", "*"])


@dataclass(frozen=True)
class Proposer:
    """An engine that proposes a line at once, or fails, or runs until it is stopped."""

    behaviour: str = "line"
    restarts: int = 2
    max_complexity: int = 30
    name: str = "proposer"
    operators: OperatorSet = OPERATORS

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        weights: np.ndarray | None = None,
        names: Sequence[str],
        seed: int = 0,
        budget: float | None = None,
        progress: Any = None,
    ) -> ParetoFront:
        CALLS.append((seed, budget))
        if self.behaviour == "fail" or (self.behaviour == "fail first" and seed == 0):
            raise ValueError("no luck")
        while self.behaviour in ("forever", "fail first"):
            progress(SearchProgress(0.5))
        expr = sympy.Float(1.1) * sympy.Symbol(names[0]) + sympy.Float(0.1 + seed * 1e-9)
        return ParetoFront((Equation.of(expr, names, self.operators, 1.0),), 1.0)

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name, "behaviour": self.behaviour}


CALLS: list[tuple[int, float | None]] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


def fit(key: str = "edge[0]", engine: Any = None, slope: float = 2.5, **options: Any) -> Fit:
    X = np.random.default_rng(0).uniform(0, 1, (120, 2))
    y = slope * X[:, 0] + 1.25
    halves = Dataset(X[:90], y[:90]), Dataset(X[90:], y[90:])
    return Fit(key, *halves, ("a", "b"), engine or Proposer(), **{"compute": False} | options)


def test_every_fit_gets_its_front_in_order() -> None:
    fronts = distill([fit("two", slope=2.7), fit("one", slope=-1.3)])
    assert list(fronts) == ["two", "one"]
    assert max(fronts["two"].best.predict(np.eye(2))) == pytest.approx(2.7 + 1.25)
    assert fronts["one"].best.holdout_loss < 1e-20
    assert len(CALLS) == 4


def test_the_front_does_not_depend_on_the_executor() -> None:
    small = {"population": 100, "generations": 4, "max_rows": 80, "restarts": 3}
    engine = create("operon", options=small)
    fronts = []
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as executor:
            fronts.append(distill([fit(engine=engine)], executor=executor)["edge[0]"])
    assert fronts[0] == fronts[1]


class Pickling(ThreadPoolExecutor):
    """Sends tasks and results through pickle, as process pools and clusters do."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        import pickle

        def run() -> Any:
            task, arguments = pickle.loads(sent)
            return pickle.loads(pickle.dumps(task(*arguments)))

        sent = pickle.dumps((fn, args))
        return super().submit(run)


def test_tasks_and_results_can_be_pickled() -> None:
    small = {"population": 60, "generations": 3, "max_rows": 80, "restarts": 2}
    engine = create("operon", options=small)

    class Remote:
        """Not a thread pool to the pass, so that no live callback is sent along."""

        def __init__(self) -> None:
            self.pool = Pickling(1)

        def submit(self, *arguments: Any) -> Future[Any]:
            return self.pool.submit(*arguments)

    fits = [fit(engine=engine), fit("computed", engine=engine, compute=True)]
    fronts = distill(fits, executor=Remote())  # type: ignore[arg-type]
    assert all(front.best.holdout_loss < 1e-6 for front in fronts.values())


def test_a_budget_gives_idle_workers_a_search_each() -> None:
    with ThreadPoolExecutor(4) as executor:
        distill([fit(budget=3.0)], executor=executor)
    assert len(CALLS) == 4
    assert all(budget is not None and 1 < budget < 3 for _, budget in CALLS)
    CALLS.clear()
    with ThreadPoolExecutor(2) as executor:
        distill([fit(str(i), budget=3.0) for i in range(4)], executor=executor)
    assert len(CALLS) == 4


def dear(count: int) -> list[Equation]:
    """Forms of one kind that are worth little, and the law in the middle of them."""
    a, b = sympy.symbols("a b")
    found = []
    for n in range(count):
        form = a + sympy.Float(1.01 + n / 999) * b
        for k in range(n % 5):
            form = form**2 + sympy.Float(0.3 + k / 7) * (a * b + sympy.Float(0.1 + n / 99))
        found.append(Equation.of(form, ("a", "b"), OPERATORS, 1.0 + n))
    law = Equation.of(sympy.Float(2.4) * a + sympy.Float(1.2), ("a", "b"), OPERATORS, 0.01)
    return [*found[: count // 2], law, *found[count // 2 :]]


@dataclass(frozen=True)
class Flooding(Proposer):
    """An engine that keeps its budget and hands back more than can be looked at in it."""

    restarts: int = 1
    hands: tuple[Equation, ...] = ()

    def candidates(self, *_: Any, **__: Any) -> list[Equation]:
        return list(self.hands)


@pytest.mark.parametrize("budget", [0.5, 2.0])
def test_a_budget_holds_whatever_an_engine_hands_back(budget: float) -> None:
    engine = Flooding(hands=tuple(dear(400)))
    start = time.monotonic()
    front = distill([fit(engine=engine, budget=budget)])["edge[0]"]
    # Without a deadline minutes; 3 s of what comes to its end, and as much for a busy machine.
    assert time.monotonic() - start < 1.2 * budget + 6.0
    assert front.best.holdout_loss < 1e-6  # the best of each complexity was looked at first


def test_a_failed_search_refuses_its_own_output_only() -> None:
    fronts = distill([fit("bad", Proposer("fail")), fit("fine")])
    assert len(fronts["fine"]) > 0
    assert not fronts["bad"].equations
    assert fronts["bad"].reason == "its search failed: ValueError: no luck"
    with pytest.raises(ChoiceError, match="no luck"):
        _ = fronts["bad"].best


def test_where_all_fail_an_error_names_the_first() -> None:
    with pytest.raises(EngineError, match=r"'edge\[0\]' failed: .*no luck .and so did 1 more"):
        distill([fit(engine=Proposer("fail")), fit("other", engine=Proposer("fail"))])


def test_a_failed_search_stops_the_others_of_its_fit() -> None:
    """The first restart fails; the second would go on forever."""
    with ThreadPoolExecutor(3) as executor, pytest.raises(EngineError, match="no luck"):
        distill([fit(engine=Proposer("fail first"))], executor=executor)


def test_an_interrupt_stops_the_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    from symcompile.regression import scheduler as module

    def interrupted(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "wait", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        distill([fit(engine=Proposer("forever", 2))])
    assert threading.active_count() == before


def test_without_a_search_there_is_what_needs_none() -> None:
    front = distill([fit(engine=Proposer(restarts=0))])["edge[0]"]
    assert front.best.holdout_loss < 1e-20
    assert not CALLS


# --- what is computed before anything is searched ---------------------------------------------


@dataclass(frozen=True)
class Asked(Proposer):
    """It keeps what it is given to start from."""

    def fit(
        self, X: np.ndarray, y: np.ndarray, *, guesses: Any = (), **options: Any
    ) -> ParetoFront:
        GUESSES.append(tuple(guesses))
        return super().fit(X, y, **options)


GUESSES: list[tuple[Equation, ...]] = []


def noisy(**options: Any) -> Fit:
    """Half of the output is noise, of which no law leaves nothing."""
    one = fit(compute=True, **options)
    rng = np.random.default_rng(3)
    y = one.data.y + rng.normal(size=len(one.data.y))
    return replace(one, data=replace(one.data, y=y))


def test_what_is_computed_is_not_searched_for() -> None:
    fronts = distill([fit("two", slope=2.7, compute=True), fit("one", compute=True)])
    assert list(fronts) == ["two", "one"]
    assert max(fronts["two"].best.predict(np.eye(2))) == pytest.approx(2.7 + 1.25)
    assert fronts["one"].best.holdout_loss < 1e-20
    assert not CALLS


def test_what_is_not_is_searched_from_what_was_computed() -> None:
    GUESSES.clear()
    distill([noisy(engine=Asked())])
    assert len(CALLS) == 2
    assert all(GUESSES)
    assert {guess.symbols for guess in GUESSES[0]} == {("a", "b")}
    GUESSES.clear()
    distill([replace(noisy(engine=Asked()), compute=False)])
    assert GUESSES == [(), ()]


def test_computing_is_given_a_part_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds: list[float] = []

    def computed(data: Dataset, names: Any, limits: Any, threads: int) -> Computed:
        seconds.append(limits.seconds)
        return Computed()

    monkeypatch.setattr("symcompile.regression.fit.computed_laws", computed)
    with ThreadPoolExecutor(1) as executor:
        distill([noisy(budget=3.0), noisy(key="free")], executor=executor)
    assert 0.3 < seconds[0] < 1.5
    assert seconds[1] == float("inf")


def test_computing_that_fails_takes_its_own_fit_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any) -> Computed:
        raise ZeroDivisionError("of no use")

    monkeypatch.setattr("symcompile.regression.fit.computed_laws", fails)
    fronts = distill([fit("searched"), fit("computed", compute=True)])
    assert fronts["searched"].equations
    assert fronts["computed"].reason == (
        "what needs no search failed: ZeroDivisionError: of no use"
    )


def test_equal_keys_are_refused() -> None:
    with pytest.raises(EngineError, match="different keys"):
        distill([fit(), fit()])


def test_the_journal_is_found_again(tmp_path: Path) -> None:
    first = distill([fit(), fit("other")], run_dir=tmp_path)
    assert len(CALLS) == 4
    again = distill([fit(), fit("other"), fit("new")], run_dir=tmp_path)
    assert len(CALLS) == 6
    assert again["edge[0]"] == first["edge[0]"]
    assert not list(tmp_path.rglob("*.part"))


def test_a_damaged_journal_counts_as_none(tmp_path: Path) -> None:
    distill([fit()], run_dir=tmp_path)
    for file in tmp_path.rglob("*.json"):
        file.write_text(json.dumps({"front": {"equations": 3}}))
    assert len(distill([fit()], run_dir=tmp_path)["edge[0]"]) > 0
    assert len(CALLS) == 4


def test_whatever_determines_a_front_is_in_the_fingerprint() -> None:
    base = fit()
    other_y = base.data.y.copy()
    other_y[3] += 1e-12
    changed = [
        replace(base, key="x"),
        replace(base, seed=1),
        replace(base, data=replace(base.data, y=other_y)),
        replace(base, data=replace(base.data, weights=np.ones(90))),
        replace(base, names=("a", "c")),
        replace(base, engine=Proposer("other")),
        replace(base, budget=1.0),
        replace(base, compute=True),
        replace(base, refine=Refine(snap=False)),
    ]
    prints = {fingerprint(each) for each in [base, *changed]}
    assert len(prints) == len(changed) + 1
    assert fingerprint(fit()) == fingerprint(base)


def test_progress_reaches_one_with_an_equation() -> None:
    told: list[tuple[str, float, str]] = []
    distill([fit()], progress=lambda *row: told.append(row))
    assert told[-1][:2] == ("edge[0]", 1.0)
    assert "a" in told[-1][2]
    shares = [row[1] for row in told]
    assert shares == sorted(shares)


def test_the_bar_is_silent_where_stderr_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(2) as bar:
        distill([fit()], progress=bar)
    with ProgressBar(2, enabled=False) as bar:
        bar("edge[0]", 0.5, "")
    assert capfd.readouterr() == ("", "")
