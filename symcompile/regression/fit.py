"""A fit: one output to be explained, and the two tasks that it takes, searching and refining.

Tasks are functions of a module, so that threads, processes and Dask's `client.get_executor()` all
run them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from symcompile.errors import EngineError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import Engine, ProgressCallback
from symcompile.regression.losses import Loss, loss_for
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.refine import Refine, refine
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

    def seconds(self, share: float) -> float | None:
        """A share of the budget; None where there is none."""
        return None if self.budget is None else self.budget * share

    def refined(
        self, candidates: Iterable[Equation], share: float, options: Refine | None = None
    ) -> ParetoFront:
        """The front that candidates come to, in this share of the budget."""
        return refine(
            candidates,
            *self.samples,
            operators=self.engine.operators,
            max_complexity=self.engine.max_complexity,
            options=options or self.refine,
            seconds=self.seconds(share),
        )


@np.errstate(all="ignore")
def search_task(fit: Fit, restart: int, progress: ProgressCallback | None = None) -> list[Equation]:
    """One search of one fit: the engine's candidates if it offers them, else its front."""
    search = getattr(fit.engine, "candidates", fit.engine.fit)
    equations = search(
        fit.X_fit,
        fit.y_fit,
        weights=fit.samples[0].search_weights,
        names=fit.names,
        seed=fit.seed + restart * _SEED_STEP,
        budget=fit.seconds(1.0 - _REFINE_SHARE),
        progress=progress,
    )
    equations = list(equations)
    for equation in equations:
        if not isinstance(equation, Equation) or equation.symbols != fit.names:
            raise EngineError(
                f"engine {fit.engine.name!r} found {equation!r}: expected an Equation in"
                f" {', '.join(fit.names)}"
            )
    # No loss is like any other that is none: what the journal gives back is the same.
    return [e if math.isfinite(e.loss) else replace(e, loss=math.nan) for e in equations]


@np.errstate(all="ignore")
def refine_task(fit: Fit, candidates: list[Equation]) -> ParetoFront:
    """The front that all searches of one fit come to."""
    limits = fit.engine.operators, fit.engine.max_complexity
    seconds = fit.seconds(_UNSEARCHED_SHARE)
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    found = without_search(fit.samples[0], fit.names, *limits, deadline)
    return fit.refined(candidates + found, _PRUNE_SHARE)
