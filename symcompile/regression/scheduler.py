"""The scheduler of a distillation: which task goes to the workers next, what becomes of its result.

A fit's first task computes what laws it can; where none of them is complete, each search is one
task; then refining all that was found is one more. When all fits of a block are refined each takes
up forms of the others, and when all have, terms of theirs. Only as many tasks as there are workers
are under way, and what finishes a fit goes first: so fronts are complete one after the other, and
the journal has all that is finished.

Searches of a fit are taken in the order of their numbers, and end when enough of them agree, see
`consensus`. Those that it takes in any case are sent for first. Workers that would have nothing
else to do go ahead: if the ones before agree, such a search is stopped, and whatever it has found
or failed at is as if it had not been. So a front is the same for any number of workers.

A search that fails takes its own fit along, and no other. A worker that dies gets a second chance:
its task is tried once more, in a process of its own where the whole pool died with it.
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from contextlib import suppress
from typing import Any, Protocol

from symcompile.errors import EngineError
from symcompile.expressions.equation import Equation
from symcompile.regression.consensus import ENOUGH, searches_needed
from symcompile.regression.engines import SearchProgress
from symcompile.regression.executors import WorkerPool
from symcompile.regression.fit import (
    Fit,
    Searched,
    compute_task,
    named_task,
    refine_task,
    search_task,
)
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.share import complete_task, forms_for, share_task, terms_for
from symcompile.regression.stages import Block, FitState
from symcompile.regression.tasks import (
    Failure,
    Task,
    Watch,
    attempt,
    attempt_elsewhere,
    failure_reason,
)

# Seconds between two looks at the clock while nothing finishes.
_TICK = 0.5
# A task is given up after twice the budget of its fit and these seconds: compiling, starting a
# process and a machine with other work to do are no reason to lose what it finds.
_PATIENCE = 10.0
# Share of a fit's work that its searches are, for whoever watches.
_SEARCH_SHARE = 0.65


# What fits of a block have for each other at a stage.
_OFFERS = {"share": forms_for, "complete": terms_for}

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
    def find_shared(
        self, fit: Fit, front: ParetoFront, others: Sequence[Equation]
    ) -> ParetoFront | None: ...
    def keep_shared(
        self, fit: Fit, front: ParetoFront, others: Sequence[Equation], shared: ParetoFront
    ) -> None: ...


class Scheduler:
    """Searches and refinements of fits, from the first to the last.

    Args:
        fits: what is to be done, each with another key.
        known: fronts by key, refined before.
        pool: who does it; closed in the end.
    """

    def __init__(
        self,
        fits: Sequence[Fit],
        known: Mapping[str, ParetoFront],
        pool: WorkerPool,
        journal: Checkpoints,
        progress: Progress,
    ) -> None:
        self.fits = {fit.key: FitState(fit, front=known.get(fit.key)) for fit in fits}
        self.pool, self.journal, self.progress = pool, journal, progress
        self.n_new = len(fits) - len(known)
        self.blocks: dict[str, Block] = defaultdict(Block)
        self.watches: dict[Task, Watch] = {}
        self.refused: EngineError | None = None
        self.repeated: set[Task] = set()
        # Each task with the `time.monotonic()` at which it was submitted.
        self.under_way: dict[Future[Any], tuple[Task, float]] = {}
        self.heard = time.monotonic()
        self.urgent: deque[Task] = deque()
        self.waiting = deque(Task(fit.key, "compute") for fit in fits if fit.key not in known)
        for fit in fits:
            if fit.block:
                self.blocks[fit.block].keys.append(fit.key)
                self.blocks[fit.block].open |= {fit.key} - {*known}

    def fronts(self) -> dict[str, ParetoFront]:
        """The front of each fit; an empty one, with the reason, where its search failed.

        Raises EngineError if all of them failed, or the executor takes no more work.
        """
        try:
            for block in self.blocks.values():
                self.go_on_together(block)
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
        if failures and len(failures) == self.n_new:
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
        return max(1, self.pool.searches // len(self.fits))

    # --- there -------------------------------------------------------------------------------

    def send(self) -> bool:
        """Give the workers what they have room for; whether there is anything to wait for."""
        while len(self.under_way) < self.pool.room and (task := self.next()) is not None:
            self.start(task)
        if not self.under_way:
            for task in (*self.urgent, *self.waiting):
                self.fail(task.key, "every worker is busy with a search that ignores its budget")
            self.empty()
        return bool(self.under_way)

    def next(self) -> Task | None:
        """What finishes a fit, else what is needed, else a search that others may make needless."""
        if queue := self.urgent or self.waiting:
            return queue.popleft()
        for key, state in self.fits.items():
            if state.sent < state.searches and self.refused is None:
                state.sent += 1
                return Task(key, "search", state.sent - 1)
        return None

    def start(self, task: Task) -> None:
        """Submit it, unless it is of no more use or the journal knows what it finds."""
        state, (key, stage, restart) = self.fits[task.key], task
        if state.failure or (stage == "search" and restart >= state.searches):
            return
        call: tuple[Any, ...]
        if stage == "compute" and not state.fit.compute:
            self.computed(key)
            return
        if stage == "compute":
            call = compute_task, state.fit, self.pool.threads(len(self.fits))
        elif stage == "refine":
            searches = state.in_order[: state.searches]
            found = [equation for search in searches for equation in search.equations]
            call = refine_task, state.fit, state.computed, found
        elif stage == "complete":
            call = complete_task, state.fit, *state.asked
        elif stage == "share":
            if (front := self.journal.find_shared(state.fit, *state.asked)) is not None:
                self.through(state, front)
                return
            call = share_task, state.fit, *state.asked
        elif (equations := self.journal.find_search(state.fit, restart)) is not None:
            self.ended(task, attempt(named_task, state.fit, state.computed, equations))
            return
        else:
            watch = [self.watch(key, restart)] if self.pool.shares_memory else []
            call = search_task, state.fit, restart, state.computed, *watch
        since = time.monotonic()
        try:
            run = attempt if self.pool.shares_memory else attempt_elsewhere
            self.under_way[self.pool.submit(run, *call)] = task, since
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
            if future in self.under_way:  # it may have become needless since
                self.take(self.under_way.pop(future)[0], future)

    def take(self, task: Task, future: Future[Any]) -> None:
        self.watches.pop(task, None)
        state = self.fits[task.key]
        try:
            result = future.result()
        except (BrokenExecutor, CancelledError) as error:
            if task in self.repeated:
                self.failed(task, f"the worker of {task} died twice: {failure_reason(error)}")
            else:  # another may have taken it along
                self.repeated.add(task)
                self.urgent.append(task)
            return
        except Exception as error:  # of the way there or back
            result = Failure(failure_reason(error))
        if isinstance(result, Searched):
            self.journal.keep_search(state.fit, task.restart, result.equations)
        self.ended(task, result)

    def ended(self, task: Task, result: Any) -> None:
        state = self.fits[task.key]
        if isinstance(result, Failure):
            self.failed(task, f"{task} failed: {result.reason}")
        elif task.stage == "compute":
            state.computed = result
            self.computed(task.key)
        elif task.stage == "search":
            self.searched(task.key, task.restart, result)
        else:
            if task.stage == "refine":
                self.journal.keep_front(state.fit, result)
            elif task.stage == "share":
                self.journal.keep_shared(state.fit, *state.asked, result)
            self.through(state, result)

    def computed(self, key: str) -> None:
        """Search, unless there is nothing to be gained or nobody to search."""
        state = self.fits[key]
        state.searches = 0 if state.computed.complete else self.restarts(state.fit)
        self.go_on(key)

    def searched(self, key: str, restart: int, result: Searched) -> None:
        state = self.fits[key]
        if restart < state.searches:
            state.found[restart] = result
            self.advance(key, restart, 1.0, "")
            self.go_on(key)

    def failed(self, task: Task, reason: str) -> None:
        """A search that fails counts once those before it have not been enough."""
        state = self.fits[task.key]
        if task.stage != "search":
            self.fail(task.key, reason)
        elif task.restart < state.searches:
            state.failures[task.restart] = reason
            self.go_on(task.key)

    def go_on(self, key: str) -> None:
        """Send for what a fit needs next: searches, or once they agree or all have ended, its
        refinement."""
        state = self.fits[key]
        done = state.in_order
        needed = searches_needed(search.named for search in done)
        if needed is None and (reason := state.failures.get(len(done))):
            self.fail(key, reason)
        elif needed is not None or len(done) == state.searches:
            self.end_searches(key, len(done) if needed is None else needed)
            self.urgent.append(Task(key, "refine"))
        else:
            # Under a budget all of them end at the same time.
            few = state.fit.budget is None
            last = min(max(ENOUGH, len(done) + 1), state.searches) if few else state.searches
            numbers = range(state.sent, last)
            self.waiting.extendleft(Task(key, "search", number) for number in reversed(numbers))
            state.sent = max(state.sent, last)

    def end_searches(self, key: str, wanted: int) -> None:
        """Leave those alone that are not wanted."""
        self.fits[key].searches = wanted
        for future, (task, _) in list(self.under_way.items()):
            if task.key == key and task.stage == "search" and task.restart >= wanted:
                del self.under_way[future]
                self.pool.give_up(future)
                if (watch := self.watches.pop(task, None)) is not None:
                    watch.stop()

    def through(self, state: FitState, front: ParetoFront | None) -> None:
        """A fit has come to the end of a stage that others of its block may wait for."""
        state.front = front
        if front is not None:
            self.progress(state.fit.key, 1.0, shown(front))
        if state.fit.block:
            block = self.blocks[state.fit.block]
            block.open.discard(state.fit.key)
            self.go_on_together(block)

    def go_on_together(self, block: Block) -> None:
        """To the next stage of a block at which there is anything to be done, if all of its fits
        are through with the one before."""
        while block.stages and not block.open:
            stage = block.stages.popleft()
            states = [self.fits[key] for key in block.keys]
            found = [(s.fit, s.front) for s in states if s.front is not None and s.front.equations]
            for key, others in _OFFERS[stage](found).items():
                self.fits[key].others = others
                block.open.add(key)
                self.urgent.append(Task(key, stage))

    def stop(self, *keys: str) -> None:
        for task, watch in self.watches.items():
            if task.key in keys:
                watch.stop()

    def fail(self, key: str, reason: str) -> None:
        """A fit has no front then; one that has keeps it as it is, and a warning says so."""
        state = self.fits[key]
        if state.failure:
            return
        if state.front is None:
            state.failure, state.searches = reason, 0
            self.stop(key)
            self.progress(key, 1.0, "")
        else:
            warnings.warn(f"{key}: {reason}; its equations are those from before", stacklevel=2)
        self.through(state, state.front)

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
