"""The run of a distillation: interrupts, executors that fail, searches that hang."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from children import Child, forks, wait_until
from fitting import distill

from symcompile.errors import EngineError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression import scheduler, tasks
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import SearchProgress
from symcompile.regression.fit import Fit
from symcompile.regression.pareto import ParetoFront

OPERATORS = OperatorSet.of(["+", "*"])


class UnreadableError(Exception):
    """It can be sent to another process, and not be read there."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


@dataclass(frozen=True)
class Engine:
    """An engine that finds a line, or does what `behaviour` says where the output starts above 0.

    `folder` holds a file for each search that was begun.
    """

    behaviour: str = ""
    folder: str = ""
    one_thread: bool = False
    restarts: int = 1
    max_complexity: int = 30
    name: str = "line"
    operators: OperatorSet = OPERATORS

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        names: Sequence[str],
        seed: int = 0,
        progress: Any = None,
        **options: Any,
    ) -> ParetoFront:
        if self.folder:
            begun = len(os.listdir(self.folder))
            Path(self.folder, f"{os.getpid()}-{begun}-{time.monotonic_ns()}").touch()
        if y[0] > 0 and self.behaviour:
            getattr(self, self.behaviour)(progress)
        expr = sympy.Float(1.1) * sympy.Symbol(names[0])
        return ParetoFront((Equation.of(expr, names, self.operators, 1.0),), 1.0)

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name}

    def waits(self, progress: Any) -> None:
        threading.Event().wait()

    def sleeps(self, progress: Any) -> None:
        time.sleep(1000)

    def computes(self, progress: Any) -> None:
        while True:
            pass

    def tells(self, progress: Any) -> None:
        while True:
            progress(SearchProgress(0.5))

    def hears_nothing(self, progress: Any) -> None:
        while True:
            try:
                progress(SearchProgress(0.5))
            except BaseException:
                time.sleep(0.01)

    def interrupts(self, progress: Any) -> None:
        raise KeyboardInterrupt

    def exits(self, progress: Any) -> None:
        raise SystemExit(3)

    def raises(self, progress: Any) -> None:
        raise UnreadableError("out of luck", "and of reach")

    def dies(self, progress: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dies_once(self, progress: Any) -> None:
        died = Path(self.folder).with_suffix(".died")
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def fit(key: str, engine: Engine, bad: bool = False, **options: Any) -> Fit:
    """With `bad` the engine does what its behaviour says."""
    X = np.random.default_rng(0).uniform(0, 1, (120, 2))
    y = (2.5 * X[:, 0] + 1.25) * (1 if bad else -1)
    halves = Dataset(X[:90], y[:90]), Dataset(X[90:], y[90:])
    return Fit(key, *halves, ("a", "b"), engine, compute=False, **options)


def some(engine: Engine, **options: Any) -> list[Fit]:
    """Of four the second is bad."""
    return [fit(f"f{k}", engine, bad=k == 1, **options) for k in range(4)]


# --- interrupts --------------------------------------------------------------------------------

RUN = """
import sys, time
from pathlib import Path
from test_distill_run import Engine, some
from fitting import distill
engine = Engine(sys.argv[1], sys.argv[2], one_thread=sys.argv[3] == "one")
try:
    distill(some(engine), run_dir=sys.argv[4])
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
"""


HANGS = ("waits", "computes", "hears_nothing")


@pytest.mark.parametrize(
    ("behaviour", "threads"),
    [*((one, "many") for one in HANGS), ("sleeps", "one"), ("tells", "one")],
)
def test_an_interrupt_ends_whatever_an_engine_does(
    tmp_path: Path, behaviour: str, threads: str
) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    fronts = tmp_path / "run" / "fronts"
    finished = 3 if threads == "many" else 1
    with Child(RUN, behaviour, str(begun), threads, str(tmp_path / "run")) as process:
        wait_until(lambda: fronts.exists() and len(list(fronts.glob("*.json"))) == finished)
        wait_until(lambda: len(list(begun.iterdir())) == finished + 1)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        done = process.finished()
    assert (done.returncode, done.stderr) == (0, "")
    ended = time.monotonic()
    assert float(done.stdout) - sent < 3.0 + 2.0  # on a busy machine
    assert ended - sent < 3.0 + 4.0
    assert len(list(fronts.glob("*.json"))) == finished
    assert not list(tmp_path.rglob("*.part"))


def test_an_interrupt_in_a_worker_is_the_users(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        distill(some(Engine("interrupts")), run_dir=tmp_path)


def test_what_was_finished_at_an_interrupt_is_kept(tmp_path: Path) -> None:
    """Both are finished when the first is looked at."""

    def interrupted(key: str, done: float, best: str) -> None:
        wait_until(lambda: len(begun) == 2)
        raise KeyboardInterrupt

    begun: list[int] = []
    executor = Odd(lambda call, future: begun.append(call))
    with pytest.raises(KeyboardInterrupt):
        distill(some(Engine())[:2], executor=executor, progress=interrupted, run_dir=tmp_path)
    assert len(list((tmp_path / "searches").iterdir())) == 2


def test_the_progress_of_what_was_left_alone_is_not_shown() -> None:
    watch = tasks.Watch(lambda progress: pytest.fail("told"))
    halted: list[BaseException] = []
    watch.on_stop(halted.append)
    watch.stop()
    with pytest.raises(tasks.Stopped):
        watch(SearchProgress(0.5))
    watch.on_stop(halted.append)
    assert len(halted) == 2


# --- searches that fail --------------------------------------------------------------------------


@pytest.fixture
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=forks()) as pool:
        yield pool


def check(fronts: dict[str, ParetoFront], reason: str) -> None:
    """The second is refused with this reason, and the others have their line."""
    assert list(fronts) == ["f0", "f1", "f2", "f3"]
    assert reason in fronts["f1"].reason
    assert not fronts["f1"].equations
    for key in ("f0", "f2", "f3"):
        assert fronts[key].best.holdout_loss < 1e-20


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("exits", "SystemExit: 3"), ("raises", "UnreadableError: out of luck")],
)
def test_a_failed_search_refuses_its_output_in_threads(behaviour: str, reason: str) -> None:
    check(distill(some(Engine(behaviour))), reason)
    check(distill(some(Engine(behaviour, one_thread=True))), reason)


def test_a_failed_search_refuses_its_output_in_processes(processes: ProcessPoolExecutor) -> None:
    check(distill(some(Engine("exits")), executor=processes), "SystemExit: 3")
    check(distill(some(Engine("raises")), executor=processes), "UnreadableError: out of luck")


def test_a_worker_that_dies_twice_refuses_its_output(
    tmp_path: Path, processes: ProcessPoolExecutor
) -> None:
    (tmp_path / "begun").mkdir()
    engine = Engine("dies", str(tmp_path / "begun"))
    check(distill(some(engine), executor=processes), "the worker of its search died twice")
    # In the pool, and then alone, and of the others at most one that the pool took along.
    assert len(list((tmp_path / "begun").iterdir())) in (5, 6)


def test_a_worker_that_dies_once_is_forgiven(
    tmp_path: Path, processes: ProcessPoolExecutor
) -> None:
    (tmp_path / "begun").mkdir()
    engine = Engine("dies_once", str(tmp_path / "begun"))
    fronts = distill(some(engine), executor=processes)
    assert all(front.best.holdout_loss < 1e-20 for front in fronts.values())


def test_an_engine_that_finds_something_else_is_told(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Odd(Engine):
        def candidates(self, *arguments: Any, **options: Any) -> Any:
            return ["x0"]

    with pytest.raises(EngineError, match="engine 'line' found 'x0': expected an Equation in a, b"):
        distill(some(Odd()))


def test_a_failed_fit_is_searched_again(tmp_path: Path) -> None:
    check(distill(some(Engine("raises")), run_dir=tmp_path), "out of luck")
    fronts = distill(some(Engine()), run_dir=tmp_path)
    assert all(front.best.holdout_loss < 1e-20 for front in fronts.values())


# --- executors that fail -------------------------------------------------------------------------


class Odd(Executor):
    """Does what is handed to it, unless its function says otherwise."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.calls = 0

    def submit(self, fn: Any, /, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        future: Future[Any] = Future()
        other = self.function(self.calls, future)
        if other is not None:
            return other
        if not future.done():
            future.set_result(fn(*arguments, **options))
        return future


def test_an_executor_that_is_shut_down_is_named() -> None:
    for pool in (ThreadPoolExecutor(2), ProcessPoolExecutor(2)):
        pool.shutdown()
        with pytest.raises(EngineError, match=r"takes no more searches .*after shutdown.*is open"):
            distill(some(Engine()), executor=pool)


def test_a_pool_that_was_broken_before_is_named(processes: ProcessPoolExecutor) -> None:
    with pytest.raises(BrokenExecutor):
        processes.submit(os._exit, 1).result()
    with pytest.raises(EngineError, match=r"takes no more searches .*terminated abruptly"):
        distill(some(Engine()), executor=processes)


def test_what_runs_at_a_shut_down_is_kept(tmp_path: Path) -> None:
    pool = ThreadPoolExecutor(2)

    def shut(key: str, done: float, best: str) -> None:
        pool.shutdown(wait=False)

    with pytest.raises(EngineError, match=r"takes no more searches"):
        distill(some(Engine()), executor=pool, run_dir=tmp_path, progress=shut)
    assert len(list((tmp_path / "searches").iterdir())) == 2


def test_threads_that_can_not_start_are_named(caplog: pytest.LogCaptureFixture) -> None:
    def initializer() -> None:
        raise ValueError("no licence")

    caplog.set_level(logging.CRITICAL, logger="concurrent.futures")
    pool = ThreadPoolExecutor(2, initializer=initializer)
    with pytest.raises(EngineError, match=r"takes no more searches .*initializer failed"):
        distill(some(Engine()), executor=pool)


def test_an_executor_that_fails_is_named() -> None:
    def fails(call: int, future: Future[Any]) -> None:
        raise OSError("no route to the cluster")

    with pytest.raises(EngineError, match=r"takes no more searches .no route to the cluster"):
        distill(some(Engine()), executor=Odd(fails))


def test_another_kind_of_future_is_named() -> None:
    with pytest.raises(EngineError, match=r"gave a str: expected a concurrent\.futures\.Future"):
        distill(some(Engine()), executor=Odd(lambda call, future: "later"))


def test_a_broken_executor_that_goes_on_gets_the_task_again() -> None:
    def breaks(call: int, future: Future[Any]) -> None:
        if call == 2:
            future.set_exception(BrokenExecutor("a node went away"))
        if call == 3:
            future.cancel()
            future.set_running_or_notify_cancel()

    fronts = distill(some(Engine()), executor=Odd(breaks))
    assert all(front.best.holdout_loss < 1e-20 for front in fronts.values())


def test_what_an_executor_cancels_twice_is_refused() -> None:
    def cancels(call: int, future: Future[Any]) -> None:
        if call in (2, 6):  # of four searches the second, and again after a refinement
            future.cancel()
            future.set_running_or_notify_cancel()

    check(distill(some(Engine()), executor=Odd(cancels)), "the worker of its search died twice")


# --- fits of one block ---------------------------------------------------------------------------


def blocks() -> list[Fit]:
    """Two outputs of one block, one of another, one on its own, each of another form."""
    X = np.random.default_rng(0).uniform(0, 1, (120, 2))
    a, b = X.T
    outputs = {"f0": a, "f1": a * b, "f2": a * a, "f3": b * b}
    names = {"f0": "one", "f1": "one", "f2": "two", "f3": ""}
    return [
        Fit(
            key,
            Dataset(X[:90], y[:90]),
            Dataset(X[90:], y[90:]),
            ("a", "b"),
            Engine(),
            compute=False,
            block=names[key],
        )
        for key, y in outputs.items()
    ]


class Told(Odd):
    """Keeps what was asked for, in turn."""

    def __init__(self, function: Any = lambda call, future: None) -> None:
        super().__init__(function)
        self.asked: list[tuple[str, str]] = []

    def submit(self, fn: Any, /, *arguments: Any, **options: Any) -> Any:
        work, fit, *_ = arguments
        self.asked.append((work.__name__, fit.key))
        return super().submit(fn, *arguments, **options)


def test_a_block_waits_for_all_of_its_fits_and_for_no_other() -> None:
    executor = Told()
    distill(blocks(), executor=executor)
    asked = [(name, key) for name, key in executor.asked if name != "search_task"]
    assert [key for name, key in asked if name == "refine_task"] == ["f0", "f1", "f2", "f3"]
    for name in ("share_task", "complete_task"):
        assert [key for other, key in asked if other == name] == ["f0", "f1"]
    stages = [name for name, key in asked if key in ("f0", "f1")]
    assert stages == [f"{name}_task" for name in ("refine", "share", "complete") for _ in "ab"]


def test_a_failed_fit_keeps_no_other_of_its_block_waiting() -> None:
    fits = [replace(fit, block="one") for fit in some(Engine("raises"))]
    check(distill(fits), "out of luck")


def test_a_front_stays_where_the_trial_of_others_forms_fails() -> None:
    def dies(call: int, future: Future[Any]) -> None:
        if executor.asked[-1] == ("share_task", "f1"):
            future.set_exception(BrokenExecutor("a node went away"))

    executor = Told(dies)
    with pytest.warns(
        UserWarning, match="f1: the worker of the trial of other outputs' forms died"
    ):
        fronts = distill(blocks(), executor=executor)
    assert executor.asked.count(("share_task", "f1")) == 2
    assert all(front.best.holdout_loss < 1e-20 for front in fronts.values())


# --- searches that never end ---------------------------------------------------------------------


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_PATIENCE", 0.2)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("behaviour", ["tells", "hears_nothing"])
def test_a_search_that_ignores_its_budget_is_given_up(behaviour: str) -> None:
    fronts = distill(some(Engine(behaviour), budget=0.5))
    check(fronts, "its search was given up after")
    assert "with a budget of 0.5 s" in fronts["f1"].reason


@pytest.mark.usefixtures("no_patience")
def test_a_future_that_never_ends_is_given_up() -> None:
    lost: Future[Any] = Future()
    executor = Odd(lambda call, future: lost if call == 2 else None)
    check(distill(some(Engine(), budget=0.5), executor=executor), "its search was given up")
    assert lost.cancelled()


@pytest.mark.usefixtures("no_patience")
def test_workers_that_all_hang_end_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(Engine, "waits", lambda *_: release.wait())
    with ThreadPoolExecutor(1) as executor:
        fronts = distill(some(Engine("waits"), budget=0.5), executor=executor)
        release.set()
    assert fronts["f0"].equations
    assert "its search was given up" in fronts["f1"].reason
    for key in ("f2", "f3"):
        assert fronts[key].reason == "every worker is busy with a search that ignores its budget"
