"""Distill and refine: a front of equations for each recorded output, over any executor.

Plain arrays in, fronts out: no torch here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from symcompile.errors import EngineError
from symcompile.regression.executors import InThisThread, Threads, WorkerPool, available_cores
from symcompile.regression.fit import Fit
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.scale import Units, out_of_range
from symcompile.regression.scheduler import Checkpoints, Progress, Scheduler, shown
from symcompile.regression.tasks import one_thread


@dataclass(frozen=True)
class Searches:
    """Searches of fits, not started yet: `refined` runs them.

    Attributes:
        fits: each with a key of its own.
        journal: of finished searches and fronts; what it holds for the same data, options and seed
            is taken from there.
        executor: runs the searches; None for one thread a core, or for this thread where an engine
            says `one_thread`.

    Raises EngineError if two fits share a key.
    """

    fits: Sequence[Fit]
    journal: Checkpoints
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
        fronts = self._run(scaled, progress or (lambda key, done, best: None))
        return {
            fit.key: _finished(units[fit.key].restored(fronts[fit.key], fit), fit)
            if fit.key in fronts
            else ParetoFront((), math.nan, reason=refused[fit.key])
            for fit in self.fits
        }

    def _run(self, fits: Sequence[Fit], progress: Progress) -> dict[str, ParetoFront]:
        """The front of each fit, from the journal or found now."""
        find = self.journal.find_front
        known = {fit.key: front for fit in fits if (front := find(fit)) is not None}
        for key, front in known.items():
            progress(key, 1.0, shown(front))
        if len(known) < len(fits):
            self.journal.check_writable()
        alone = any(getattr(fit.engine, "one_thread", False) for fit in fits)
        own = InThisThread() if alone else Threads(available_cores())
        # Threads that run tasks take what this one sets.
        with (
            one_thread(),
            own if self.executor is None else nullcontext(self.executor) as workers,
        ):
            pool = WorkerPool(workers)
            return Scheduler(fits, known, pool, self.journal, progress).fronts()


def _finished(front: ParetoFront, fit: Fit) -> ParetoFront:
    """As it is handed out: in operators that everybody knows, with the rule that is to choose."""
    equations = tuple(equation.written_out() for equation in front)
    with np.errstate(all="ignore"):
        return fit.confirmed(replace(front, equations=equations, rule=fit.rule))
