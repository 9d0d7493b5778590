"""Distill and refine: a front of equations for each recorded output, over any executor.

Plain arrays in, fronts out: no torch here. Each restart of each fit is one task, then refining a
fit's candidates is one more; tasks are module-level functions, so threads, processes and Dask's
`client.get_executor()` all run them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from symcompile.errors import EngineError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import Engine, ProgressCallback
from symcompile.regression.executors import InThisThread, Threads, available_cores
from symcompile.regression.losses import Loss, loss_for
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.refine import Refine, refine
from symcompile.regression.run import Journal, Progress, Run, tell
from symcompile.regression.scale import Units, out_of_range
from symcompile.regression.share import complete, share
from symcompile.regression.sparse import without_search

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
        loss: what equations are fitted and ranked by, see `symcompile.regression.losses`.
        folds: fold of each row, where none are held out: rows to rank on are then those to fit to.
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
    folds: Array | None = None

    @property
    def measure(self) -> Loss:
        """The loss, scaled by the outputs that equations are fitted to."""
        return loss_for(self.loss, self.y_fit)

    @property
    def samples(self) -> tuple[Dataset, Dataset]:
        """What refine fits equations to, and what it ranks them on."""
        loss = self.measure
        return (
            Dataset(self.X_fit, self.y_fit, self.weights, loss),
            Dataset(self.X_holdout, self.y_holdout, self.holdout_weights, loss, self.folds),
        )


@dataclass(frozen=True)
class Searches:
    """Searches of fits, which run while `refined` asks for what they find.

    Attributes:
        fits: each with a key of its own.
        journal: of finished searches and fronts; what it holds for the same data, options and seed
            is taken from there.
        executor: runs the searches; None for one thread a core, or for this thread where an engine
            says `one_thread`.

    Raises EngineError if two fits share a key.
    """

    fits: Sequence[Fit]
    journal: Journal
    executor: Executor | None = None

    def __post_init__(self) -> None:
        if len(set(self.keys)) < len(self.keys):
            raise EngineError(f"fits must have different keys, got {self.keys}")

    @property
    def keys(self) -> list[str]:
        return [fit.key for fit in self.fits]

    def refined(self, progress: Progress | None = None) -> dict[str, ParetoFront]:
        """Run every search and give the front of each fit by its key, in the order of the fits.

        What the searches of one fit find is refined while others are still searched for. In the
        end outputs of one block try each other's forms and take up each other's terms.

        An interrupt (Ctrl-C) ends it within seconds, and what was finished is in the journal:
        threads of its own that do not stop by then are left alone. Those of an executor that was
        given are told to stop as well, but whoever closes it has to wait for them. An engine that
        says `one_thread` has to heed the interrupt, and its budget, by itself.

        Args:
            progress: told how far each fit is.

        Returns:
            A front for each fit. Where its search failed, ignored its budget by far, or took its
            worker down twice, the front is empty and `front.reason` says why; the others are not
            affected.

        Raises:
            EngineError: all searches failed (the message names the first), or the executor takes
                no more work.
            ArtifactError: the journal can't be written to.
        """
        units = {fit.key: Units.of(fit) for fit in self.fits}
        refused = {fit.key: reason for fit in self.fits if (reason := out_of_range(fit))}
        scaled = [units[fit.key].scaled(fit) for fit in self.fits if fit.key not in refused]
        fronts = self._run(scaled, progress)
        with np.errstate(all="ignore"):
            fronts = complete(scaled, share(scaled, fronts, self.journal.shared))
        return {
            fit.key: units[fit.key].restored(fronts[fit.key], fit)
            if fit.key in fronts
            else ParetoFront((), math.nan, reason=refused[fit.key])
            for fit in self.fits
        }

    def _run(self, fits: Sequence[Fit], progress: Progress | None) -> dict[str, ParetoFront]:
        """The front of each fit on its own, from the journal or found now."""
        find = self.journal.find_front
        fronts = {fit.key: front for fit in fits if (front := find(fit)) is not None}
        for key, front in fronts.items():
            tell(progress, key, front)
        waiting = [fit for fit in fits if fit.key not in fronts]
        if waiting:
            self.journal.check_writable()
            with _workers(waiting, self.executor) as workers:
                run = Run(
                    waiting,
                    workers,
                    search=search_task,
                    refine=refine_task,
                    journal=self.journal,
                    progress=progress,
                    n_fits=len(fits),
                )
                fronts |= run.fronts()
        return {fit.key: fronts[fit.key] for fit in fits}


@contextmanager
def _workers(fits: Sequence[Fit], given: Executor | None) -> Iterator[Executor]:
    """The executor given, which stays open, or one of our own."""
    if given is not None:
        yield given
        return
    one_thread = any(getattr(fit.engine, "one_thread", False) for fit in fits)
    with InThisThread() if one_thread else Threads(available_cores()) as own:
        yield own


@np.errstate(all="ignore")
def search_task(fit: Fit, restart: int, progress: ProgressCallback | None = None) -> list[Equation]:
    """One search of one fit: the engine's candidates if it offers them, else its front."""
    search = getattr(fit.engine, "candidates", fit.engine.fit)
    budget = None if fit.budget is None else fit.budget * (1.0 - _REFINE_SHARE)
    found = search(
        fit.X_fit,
        fit.y_fit,
        weights=fit.samples[0].search_weights,
        names=fit.names,
        seed=fit.seed + restart * _SEED_STEP,
        budget=budget,
        progress=progress,
    )
    found = list(found)
    for one in found:
        if not isinstance(one, Equation) or one.symbols != fit.names:
            raise EngineError(
                f"engine {fit.engine.name!r} found {one!r}: expected an Equation in"
                f" {', '.join(fit.names)}"
            )
    # No loss is like any other that is none: what the journal gives back is the same.
    return [e if math.isfinite(e.loss) else replace(e, loss=math.nan) for e in found]


@np.errstate(all="ignore")
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
