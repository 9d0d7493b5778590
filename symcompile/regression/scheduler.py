"""The scheduler of a distillation: which task goes to the workers next, what becomes of its result.

A fit's first task computes what laws it can; where none of them is exact, each search is one task;
then refining all that was found is one more. Only as many tasks as there are workers are under way,
and what finishes a fit goes first: so fronts are complete one after the other, and the journal has
all that is finished.

A search that fails takes its own fit along, and no other. A worker that dies gets a second chance:
its task is tried once more, in a process of its own where the whole pool died with it.
"""

from __future__ import annotations

import math
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from symcompile.errors import EngineError, SymCompileError
from symcompile.expressions.equation import Equation
from symcompile.regression.computed.laws import Computed
from symcompile.regression.engines import ProgressCallback, SearchProgress
from symcompile.regression.executors import WorkerPool
from symcompile.regression.fit import Fit, compute_task, refine_task, search_task
from symcompile.regression.pareto import ParetoFront

# Seconds between two looks at the clock while nothing finishes.
_TICK = 0.5
# A task is given up after twice the budget of its fit and these seconds: compiling, starting a
# process and a machine with other work to do are no reason to lose what it finds.
_PATIENCE = 10.0
# Share of a fit's work that its searches are, for whoever watches.
_SEARCH_SHARE = 0.65
# Characters of the reason for a failure.
_LONGEST = 300


# What the caller may watch: told the key of a fit, the share of its work that is done, and its best
# equation or "". Called from the calling and from searching threads.
Progress = Callable[[str, float, str], None]


class Checkpoints(Protocol):
    """What is finished, and what is known from a run before; see `symcompile.storage.journal`."""

    def check_writable(self) -> None: ...
    def find_search(self, fit: Fit, restart: int) -> list[Equation] | None: ...
    def keep_search(self, fit: Fit, restart: int, found: Sequence[Equation]) -> None: ...
    def find_front(self, fit: Fit) -> ParetoFront | None: ...
    def keep_front(self, fit: Fit, front: ParetoFront) -> None: ...
    def shared(
        self,
        fit: Fit,
        front: ParetoFront,
        others: Sequence[Equation],
        make: Callable[[Fit, ParetoFront, Sequence[Equation]], ParetoFront],
    ) -> ParetoFront: ...


class Task(NamedTuple):
    """Of the fit `key`: "compute", "search" number `restart`, or "refine"."""

    key: str
    stage: str
    restart: int = 0

    def __str__(self) -> str:
        return {"compute": "what needs no search", "refine": "its refinement"}.get(
            self.stage, "its search"
        )


@dataclass(frozen=True)
class Failure:
    """What a worker gives back in place of an exception, which may not survive the way back."""

    reason: str


class Stopped(BaseException):
    """Raised in searching threads whose result nobody waits for. No engine catches it as one of
    its own errors."""


class Watch:
    """What a search in this process tells its progress, and by what it is stopped."""

    def __init__(self, tell: ProgressCallback) -> None:
        self.tell = tell
        self.stopped = False
        self.halt: Callable[[BaseException], None] | None = None

    def __call__(self, progress: SearchProgress) -> None:
        if self.stopped:
            raise Stopped
        self.tell(progress)

    def on_stop(self, halt: Callable[[BaseException], None]) -> None:
        """See `Engine.fit`; the last one given counts."""
        self.halt = halt
        if self.stopped:
            halt(Stopped())

    def stop(self) -> None:
        self.stopped = True
        if self.halt is not None:
            with suppress(Exception):  # whatever an engine does
                self.halt(Stopped())


def attempt(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a worker runs: the result, or the Failure in its place."""
    try:
        return work(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: it is not for a search to end the program
        return Failure(failure_reason(error))


def failure_reason(error: BaseException) -> str:
    """An error in one line; errors of our family speak for themselves."""
    lines = traceback.format_exception_only(error)
    text = str(error) if isinstance(error, SymCompileError) else "".join(lines)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


@dataclass
class FitState:
    """How far a fit is.

    Attributes:
        computed: what needed no search.
        found: what each restart has found.
        shares: of the work of each restart, what is done.
        lowest: loss of the best equation that was shown.
        front: once it is refined.
        failure: why there is none; "" where there may still be one.
    """

    fit: Fit
    computed: Computed = field(default_factory=Computed)
    found: dict[int, list[Equation]] = field(default_factory=dict)
    shares: dict[int, float] = field(default_factory=dict)
    lowest: float = math.inf
    front: ParetoFront | None = None
    failure: str = ""


class Scheduler:
    """Searches and refinements of fits, from the first to the last.

    Args:
        fits: what is to be done, each with another key.
        pool: who does it; closed in the end.
        n_fits: how many fits share the workers, those that the journal had among them.
    """

    def __init__(
        self,
        fits: Sequence[Fit],
        pool: WorkerPool,
        journal: Checkpoints,
        progress: Progress,
        n_fits: int,
    ) -> None:
        self.fits = {fit.key: FitState(fit) for fit in fits}
        self.pool, self.journal, self.progress, self.n_fits = pool, journal, progress, n_fits
        self.watches: dict[Task, Watch] = {}
        self.refused: EngineError | None = None
        self.repeated: set[Task] = set()
        # Each task with the `time.monotonic()` at which it was submitted.
        self.under_way: dict[Future[Any], tuple[Task, float]] = {}
        self.heard = time.monotonic()
        self.urgent: deque[Task] = deque()
        self.waiting = deque(Task(fit.key, "compute") for fit in fits)

    def fronts(self) -> dict[str, ParetoFront]:
        """The front of each fit; an empty one, with the reason, where its search failed.

        Raises EngineError if all of them failed, or the executor takes no more work.
        """
        try:
            while self.send():
                self.receive()
                self.give_up_late()
        except BaseException:
            self.abandon()
            raise
        finally:
            self.pool.close()
        if self.refused is not None:
            raise self.refused
        failures = {key: state.failure for key, state in self.fits.items() if state.failure}
        if failures and len(failures) == len(self.fits):
            key, reason = next(iter(failures.items()))
            others = f" (and so did {len(failures) - 1} more)" if len(failures) > 1 else ""
            raise EngineError(f"distilling {key!r} failed: {reason}{others}")
        return {
            key: ParetoFront((), state.fit.holdout.variance, reason=state.failure)
            if state.front is None
            else state.front
            for key, state in self.fits.items()
        }

    def abandon(self) -> None:
        """End everything; what is finished is kept, so far as it can be."""
        self.stop(*self.fits)
        for future, (task, _) in list(self.under_way.items()):
            if not future.cancel() and future.done():
                with suppress(Exception):
                    self.take(task, future)

    def restarts(self, fit: Fit) -> int:
        """Searches of one fit: the engine's number, or with a budget one for each idle worker."""
        if fit.budget is None:
            return fit.engine.restarts
        return max(1, self.pool.searches // self.n_fits)

    # --- there -------------------------------------------------------------------------------

    def send(self) -> bool:
        """Give the workers what they have room for; whether there is anything to wait for."""
        while (queue := self.urgent or self.waiting) and len(self.under_way) < self.pool.room:
            self.start(queue.popleft())
        if queue and not self.under_way:
            for task in (*self.urgent, *self.waiting):
                self.fail(task.key, "every worker is busy with a search that ignores its budget")
            self.empty()
        return bool(self.under_way)

    def start(self, task: Task) -> None:
        """Submit it, unless it is of no more use or the journal knows what it finds."""
        state, (key, stage, restart) = self.fits[task.key], task
        if state.failure:
            return
        call: tuple[Any, ...]
        if stage == "compute" and not state.fit.compute:
            self.computed(key)
            return
        if stage == "compute":
            call = compute_task, state.fit
        elif stage == "refine":
            # In the order of restarts, so that the front does not depend on who finished first.
            searches = sorted(state.found.items())
            found = [equation for _, equations in searches for equation in equations]
            call = refine_task, state.fit, state.computed, found
        elif (equations := self.journal.find_search(state.fit, restart)) is not None:
            self.searched(key, restart, equations)
            return
        else:
            watch = [self.watch(key, restart)] if self.pool.shares_memory else []
            call = search_task, state.fit, restart, state.computed, *watch
        since = time.monotonic()
        try:
            self.under_way[self.pool.submit(attempt, *call)] = task, since
        except EngineError as error:  # what is under way is still waited for, and kept
            self.refused = error
            self.empty()

    def empty(self) -> None:
        self.urgent.clear()
        self.waiting.clear()

    def watch(self, key: str, restart: int) -> Watch:
        def tell(progress: SearchProgress) -> None:
            # Of several restarts, the one that is ahead is shown.
            ahead = progress.loss < self.fits[key].lowest
            if ahead:
                self.fits[key].lowest = progress.loss
            self.advance(key, restart, progress.done, progress.equation if ahead else "")

        return self.watches.setdefault(Task(key, "search", restart), Watch(tell))

    def advance(self, key: str, restart: int, done: float, best: str) -> None:
        state = self.fits[key]
        state.shares[restart] = done
        total = sum(state.shares.values()) / self.restarts(state.fit)
        self.progress(key, min(total, 1.0) * _SEARCH_SHARE, best)

    # --- and back ----------------------------------------------------------------------------

    def receive(self) -> None:
        finished, _ = wait(self.under_way, timeout=_TICK, return_when=FIRST_COMPLETED)
        for future in [future for future in self.under_way if future in finished]:
            self.heard = time.monotonic()
            self.take(self.under_way.pop(future)[0], future)

    def take(self, task: Task, future: Future[Any]) -> None:
        self.watches.pop(task, None)
        state = self.fits[task.key]
        try:
            result = future.result()
        except (BrokenExecutor, CancelledError) as error:
            if task in self.repeated:
                self.fail(task.key, f"the worker of {task} died twice: {failure_reason(error)}")
            else:  # another may have taken it along
                self.repeated.add(task)
                self.urgent.append(task)
            return
        except Exception as error:  # of the way there or back
            result = Failure(failure_reason(error))
        if isinstance(result, Failure):
            self.fail(task.key, f"{task} failed: {result.reason}")
        elif task.stage == "compute":
            state.computed = result
            self.computed(task.key)
        elif task.stage == "refine":
            state.front = result
            self.journal.keep_front(state.fit, result)
            self.progress(task.key, 1.0, shown(result))
        else:
            self.journal.keep_search(state.fit, task.restart, result)
            self.searched(task.key, task.restart, result)

    def computed(self, key: str) -> None:
        """Search, unless there is nothing to be gained or nobody to search."""
        state = self.fits[key]
        n = 0 if state.computed.complete else self.restarts(state.fit)
        if n:
            self.waiting.extendleft(Task(key, "search", restart) for restart in reversed(range(n)))
        else:
            self.urgent.append(Task(key, "refine"))

    def searched(self, key: str, restart: int, equations: list[Equation]) -> None:
        state = self.fits[key]
        if state.failure:
            return
        state.found[restart] = equations
        self.advance(key, restart, 1.0, "")
        if len(state.found) == self.restarts(state.fit):
            self.urgent.append(Task(key, "refine"))

    def stop(self, *keys: str) -> None:
        for task, watch in self.watches.items():
            if task.key in keys:
                watch.stop()

    def fail(self, key: str, reason: str) -> None:
        if not self.fits[key].failure:
            self.fits[key].failure = reason
            self.stop(key)
            self.progress(key, 1.0, "")

    def give_up_late(self) -> None:
        """Leave alone what has gone on for far more than its budget.

        A given executor may have other work before ours: there, a task counts as late once nothing
        has come back for as long.
        """
        now = time.monotonic()
        for future, (task, since) in list(self.under_way.items()):
            budget = self.fits[task.key].fit.budget
            taken = now - (since if self.pool.own else max(since, self.heard))
            if budget is not None and taken > 2.0 * budget + _PATIENCE:
                del self.under_way[future]
                self.pool.give_up(future)
                reason = f"was given up after {taken:.0f} s, with a budget of {budget:g} s"
                self.fail(task.key, f"{task} {reason}")


def shown(front: ParetoFront) -> str:
    """Its best equation, for whoever watches."""
    return str(front.best) if front.equations else ""
