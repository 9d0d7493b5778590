"""Distill: fit one equation front to each recorded output, over any executor.

Plain arrays in, fronts out: no torch here. Each restart of each fit is one task, then refining a
fit's candidates is one more; tasks are module-level functions, so threads, processes and Dask's
`client.get_executor()` all run them.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from symcompile.engines.base import Engine, ProgressCallback, SearchProgress
from symcompile.equation import Equation
from symcompile.errors import EngineError
from symcompile.evaluation import Array
from symcompile.losses import Loss, loss_for
from symcompile.pareto import ParetoFront
from symcompile.passes.complete import complete
from symcompile.passes.journal import Journal
from symcompile.passes.refine import Refine, Samples, refine
from symcompile.passes.share import share
from symcompile.passes.unsearched import without_search

# Shares of a budget that are kept back: to refine what was found; of that, to fit what needs no
# search, and to try forms before the front has to be brought to its end, which takes as long again.
_REFINE_SHARE, _UNSEARCHED_SHARE, _PRUNE_SHARE = 0.35, 0.1, 0.15
_SEED_STEP = 1_000_003


@dataclass(frozen=True)
class Fit:
    """One output to be explained.

    Attributes:
        key: what errors, progress and the journal call it, such as "edge[0]"; unique in one call.
        X_fit, y_fit: samples that equations are fitted to, [n_samples, n_inputs] and [n_samples].
        X_holdout, y_holdout: samples that they are ranked on.
        names: one name for each column.
        engine: the search.
        seed: same seed, same machine, same front, unless `budget` ends the search.
        weights, holdout_weights: weights of the squared errors, or None for equal ones.
        budget: seconds for this fit, search and refine, or None for the engine's amount of work.
        refine: options of the refine pass.
        loss: what equations are fitted and ranked by, see `symcompile.losses`.
        block: fits of one block try each other's forms; they have the same columns. Empty for a fit
            on its own.
    """

    key: str
    X_fit: Array
    y_fit: Array
    X_holdout: Array
    y_holdout: Array
    names: tuple[str, ...]
    engine: Engine
    seed: int = 0
    weights: Array | None = None
    holdout_weights: Array | None = None
    budget: float | None = None
    refine: Refine = field(default_factory=Refine)
    loss: str = "squared"
    block: str = ""

    @property
    def measure(self) -> Loss:
        """The loss, scaled by the outputs that equations are fitted to."""
        return loss_for(self.loss, self.y_fit)

    @property
    def samples(self) -> tuple[Samples, Samples]:
        """What refine fits equations to, and what it ranks them on."""
        loss = self.measure
        return (
            Samples(self.X_fit, self.y_fit, self.weights, loss),
            Samples(self.X_holdout, self.y_holdout, self.holdout_weights, loss),
        )


class Progress(Protocol):
    """What the caller may watch. Called from the calling and from searching threads."""

    def __call__(self, key: str, done: float, best: str) -> None:
        """Fit `key` has done this share of its work; `best` is its best equation, or empty."""
        ...


def distill(
    fits: Sequence[Fit],
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    run_dir: str | Path | None = None,
) -> dict[str, ParetoFront]:
    """Run every fit and give its front by key, in the order of `fits`.

    Args:
        executor: runs the searches; None for one thread a core, or for this thread where an engine
            says `one_thread`.
        progress: told how far each fit is.
        run_dir: journal of finished fits; what it holds for the same data, options and seed is
            taken from there.

    Raises:
        EngineError: a search failed (the message names its key), or two fits share a key.
    """
    keys = [fit.key for fit in fits]
    if len(set(keys)) < len(keys):
        raise EngineError(f"fits must have different keys, got {keys}")
    journal = Journal(run_dir) if run_dir is not None else None
    fronts: dict[str, ParetoFront] = {}
    for fit in fits:
        known = journal.find(fit) if journal else None
        if known is not None:
            fronts[fit.key] = known
            _tell(progress, fit.key, 1.0, known)
    waiting = [fit for fit in fits if fit.key not in fronts]
    if waiting and executor is None:
        with _own_executor(waiting) as own:
            fronts |= _Run(waiting, own, progress, journal).fronts()
    elif waiting and executor is not None:
        fronts |= _Run(waiting, executor, progress, journal).fronts()
    return complete(fits, share(fits, {key: fronts[key] for key in keys}))


class InThisThread(Executor):
    """Runs each task as it is submitted: for engines that must not be called from a thread."""

    _max_workers = 1

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # KeyboardInterrupt goes on to the caller
            future.set_exception(error)
        return future


def _own_executor(fits: Sequence[Fit]) -> Executor:
    if any(getattr(fit.engine, "one_thread", False) for fit in fits):
        return InThisThread()
    return ThreadPoolExecutor(available_cores())


def available_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def search_task(
    fit: Fit, restart: int, budget: float | None, progress: ProgressCallback | None = None
) -> list[Equation]:
    """One search of one fit: the engine's candidates if it offers them, else its front."""
    search = getattr(fit.engine, "candidates", fit.engine.fit)
    found = search(
        fit.X_fit,
        fit.y_fit,
        weights=fit.samples[0].search_weights,
        names=fit.names,
        seed=fit.seed + restart * _SEED_STEP,
        budget=budget,
        progress=progress,
    )
    return list(found)


def refine_task(fit: Fit, candidates: list[Equation]) -> ParetoFront:
    """The front that all searches of one fit come to."""
    samples, holdout = fit.samples
    limits = fit.engine.operators, fit.engine.max_complexity
    deadline = math.inf
    if fit.budget is not None:
        deadline = time.monotonic() + fit.budget * _UNSEARCHED_SHARE
    return refine(
        candidates + without_search(samples, fit.names, *limits, deadline),
        samples,
        holdout,
        operators=fit.engine.operators,
        max_complexity=fit.engine.max_complexity,
        options=fit.refine,
        seconds=None if fit.budget is None else fit.budget * _PRUNE_SHARE,
    )


class _StoppedError(Exception):
    """Raised in searching threads when the caller has given up."""


class _Run:
    """Searches and refinements in flight."""

    def __init__(
        self,
        fits: Sequence[Fit],
        executor: Executor,
        progress: Progress | None,
        journal: Journal | None,
    ) -> None:
        self.fits, self.executor, self.progress, self.journal = fits, executor, progress, journal
        self.threaded = isinstance(executor, (ThreadPoolExecutor, InThisThread))
        self.workers = int(getattr(executor, "_max_workers", 0) or available_cores())
        self.stop = threading.Event()
        self.found: dict[str, dict[int, list[Equation]]] = {fit.key: {} for fit in fits}
        self.share: dict[str, dict[int, float]] = {fit.key: {} for fit in fits}
        self.lowest: dict[str, float] = {}
        self.pending: dict[Future[Any], tuple[Fit, int]] = {}

    def fronts(self) -> dict[str, ParetoFront]:
        """Everything, or the first error after the others were told to stop."""
        done: dict[str, ParetoFront] = {}
        try:
            for fit in self.fits:
                for restart in range(self.restarts(fit)):
                    self.submit_search(fit, restart)
            while self.pending:
                finished, _ = wait(self.pending, return_when=FIRST_COMPLETED)
                for future in sorted(finished, key=lambda f: self.pending[f][1]):
                    self.collect(future, done)
        except BaseException:
            self.stop.set()
            for future in self.pending:
                future.cancel()
            raise
        return done

    def restarts(self, fit: Fit) -> int:
        """Searches of one fit: the engine's number, or with a budget one for each idle worker."""
        if fit.budget is None:
            return fit.engine.restarts
        return max(1, self.workers // len(self.fits))

    def submit_search(self, fit: Fit, restart: int) -> None:
        budget = None if fit.budget is None else fit.budget * (1.0 - _REFINE_SHARE)
        arguments: tuple[Any, ...] = (fit, restart, budget)
        if self.threaded:
            arguments += (self.watcher(fit, restart),)
        self.pending[self.executor.submit(search_task, *arguments)] = (fit, restart)

    def watcher(self, fit: Fit, restart: int) -> ProgressCallback:
        def watch(progress: SearchProgress) -> None:
            if self.stop.is_set():
                raise _StoppedError
            # Of several restarts, the one that is ahead is shown.
            ahead = progress.loss < self.lowest.get(fit.key, math.inf)
            if ahead:
                self.lowest[fit.key] = progress.loss
            self.advance(fit, restart, progress.done, progress.equation if ahead else "")

        return watch

    def advance(self, fit: Fit, restart: int, done: float, best: str) -> None:
        self.share[fit.key][restart] = done
        total = sum(self.share[fit.key].values()) / self.restarts(fit)
        if self.progress is not None:
            self.progress(fit.key, min(total, 1.0) * (1.0 - _REFINE_SHARE), best)

    def collect(self, future: Future[Any], done: dict[str, ParetoFront]) -> None:
        fit, restart = self.pending.pop(future)
        try:
            result = future.result()
        except Exception as error:
            raise EngineError(f"distilling {fit.key!r} failed: {error}") from error
        if restart < 0:
            done[fit.key] = result
            if self.journal:
                self.journal.keep(fit, result)
            _tell(self.progress, fit.key, 1.0, result)
            return
        found = self.found[fit.key]
        found[restart] = result
        self.advance(fit, restart, 1.0, "")
        if len(found) == self.restarts(fit):
            # In the order of restarts, so that the front does not depend on who finished first.
            merged = [equation for _, part in sorted(found.items()) for equation in part]
            self.pending[self.executor.submit(refine_task, fit, merged)] = (fit, -1)


def _tell(progress: Progress | None, key: str, done: float, front: ParetoFront) -> None:
    if progress is not None:
        progress(key, done, str(front.best) if front.equations else "")


__all__ = ["Fit", "Progress", "distill", "refine_task", "search_task"]
