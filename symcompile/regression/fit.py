"""A fit: one output to be explained, and the two tasks that it takes, searching and refining.

Tasks are functions of a module, so that threads, processes and Dask's `client.get_executor()` all
run them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from symcompile.errors import EngineError
from symcompile.expressions.equation import Equation
from symcompile.regression.choice import knee
from symcompile.regression.computed.laws import Computed, computed_laws
from symcompile.regression.consensus import ENOUGH, Named, form_chosen
from symcompile.regression.dataset import Dataset
from symcompile.regression.description import Comparison
from symcompile.regression.engines import Engine, ProgressCallback
from symcompile.regression.engines.guesses import takes_guesses
from symcompile.regression.groups import WAYS, all_grouped, grouped
from symcompile.regression.limits import Limits
from symcompile.regression.linear_map import LinearMap
from symcompile.regression.losses import loss_for
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.refine import Refine, refine
from symcompile.regression.sparse import without_search
from symcompile.regression.structure.statement import borne_out
from symcompile.regression.transformed import Quiet, transformed

# Shares of a budget that are kept back: to refine what was found, and for what fits of a block have
# of each other. Of the first, to fit what needs no search, and to try forms before the front has to
# be brought to its end, which takes as long again. A search gets what is left of the rest when what
# laws there are have been computed.
_REFINE_SHARE, _UNSEARCHED_SHARE, _PRUNE_SHARE = 0.32, 0.08, 0.12
_BLOCK_SHARE, _COMPUTE_SHARE, _LEAST_SHARE = 0.08, 0.4, 0.1
_SEED_STEP = 1_000_003


@dataclass(frozen=True)
class Fit:
    """One output to be explained.

    Attributes:
        key: what errors, progress and the journal call it, such as "edge[0]"; unique in one call.
        data: what equations are fitted to.
        holdout: what they are ranked on.
        names: one name for each column.
        engine: the search.
        seed: same seed, same machine, same front, unless `budget` ends the search.
        budget: seconds for this fit, search and refine, or None for the engine's amount of work.
        refine: options of the refine pass.
        loss: the name of what equations are fitted and ranked by, see `regression.losses`. Both
            samples get it, scaled by the outputs that equations are fitted to.
        compute: whether what needs no search is tried before anything is searched, and ends the fit
            where it leaves nothing to be gained.
        monomials: whether sums of monomials are among what needs no search; with ten inputs they
            take as long as a short search.
        block: fits of one block try each other's forms; they have the same columns. Empty for a fit
            on its own.
        guesses: equations to start from, see `guesses`.
        rule: what chooses from the finished front, see `choice.RULES`; "" leaves that to the front.
            No search knows it, so that a journal serves any.
    """

    key: str
    data: Dataset
    holdout: Dataset
    names: tuple[str, ...]
    engine: Engine
    seed: int = 0
    budget: float | None = None
    refine: Refine = field(default_factory=Refine)
    loss: str = "squared"
    compute: bool = True
    monomials: bool = True
    block: str = ""
    rule: str = ""
    guesses: tuple[Equation, ...] = ()

    def __post_init__(self) -> None:
        loss = loss_for(self.loss, self.data.y)
        object.__setattr__(self, "data", replace(self.data, loss=loss))
        object.__setattr__(self, "holdout", replace(self.holdout, loss=loss))

    def limits(self, share: float) -> Limits:
        """What equations may be, and a share of the budget to find them in, from now on."""
        seconds = math.inf if self.budget is None else self.budget * share
        return Limits(self.engine.operators, self.engine.max_complexity).within(seconds)

    def seconds_to_search(self, computed: Computed) -> float | None:
        """What a search may take of the budget after laws were computed."""
        if self.budget is None:
            return None
        left = self.budget * (1.0 - _REFINE_SHARE - (_BLOCK_SHARE if self.block else 0.0))
        return max(left - computed.seconds, self.budget * _LEAST_SHARE)

    def refined(
        self, candidates: Iterable[Equation], share: float, options: Refine | None = None
    ) -> ParetoFront:
        """The front that candidates come to, in this share of the budget."""
        limits = self.limits(share)
        front = refine(candidates, self.data, self.holdout, limits, options or self.refine)
        return self.chosen(front)

    def chosen(self, front: ParetoFront, first: int = 0) -> ParetoFront:
        """The front with what its equations are behind the shortest description of the data, of
        those that a linear map is not better than; none before number `first` may be chosen.

        Under a robust loss the sharpest corner of the front is chosen in its place: rows that every
        equation misses make up most of what is left, and its spectrum is that of these.
        """
        if not front.equations:
            return front
        linear = LinearMap.of(self.data, self.holdout)
        numbers = [k for k in linear.not_better_than(front.equations) if k >= first]
        numbers = numbers or list(range(first, len(front)))
        if self.data.loss.is_squared:
            return front.described(Comparison.of(front.equations, self.data).among(numbers))
        corner = front.equations.index(front.pareto[knee(front.pareto)])
        choice = next((k for k in numbers if k >= corner), numbers[-1])
        return front.described(0.0 if k == choice else math.inf for k in range(len(front)))

    def confirmed(self, front: ParetoFront) -> ParetoFront:
        """The front with those of its findings that its choice does not refute."""
        if not front.equations or not front.findings:
            return replace(front, findings=())
        law, X, y = front.best, self.data.X, self.data.y
        spread = float(y.std())
        error = float(np.sqrt(np.mean(np.square(law.predict(X) - y)))) / max(spread, 1e-300)
        found = borne_out(front.findings, X, law.predict, error, spread)
        return replace(front, findings=found)


class Searched(NamedTuple):
    """What a search found, and what it names, which is chosen of that and of what was computed;
    None where that is of no account, see `named_task`."""

    equations: list[Equation]
    named: Named | None = None


def search_task(
    fit: Fit, restart: int, computed: Computed, progress: ProgressCallback | None = None
) -> Searched:
    """One search of one fit, and the form that it names."""
    return named_task(fit, computed, searched(fit, restart, computed, progress))


def named_task(fit: Fit, computed: Computed, equations: list[Equation]) -> Searched:
    """What a search found with the form that it names, for searches that may make others needless:
    under a budget all of them run at once."""
    if fit.budget is not None or fit.engine.restarts <= ENOUGH:
        return Searched(equations)
    return Searched(equations, form_chosen(fit, [*computed.equations, *equations]))


@np.errstate(all="ignore")
def searched(
    fit: Fit, restart: int, computed: Computed, progress: ProgressCallback | None = None
) -> list[Equation]:
    """What one search finds, from the user's guesses and what was computed: the engine's candidates
    if it offers them, else its front.

    Where units leave a smaller problem, see `groups`, every other search is of that; under a budget
    each is of both, and where constants have no dimension all are of that alone.
    """
    fit = replace(fit, guesses=(*fit.guesses, *computed.equations))
    smaller, seconds = grouped(fit, restart // 2), fit.seconds_to_search(computed)
    if smaller is None:
        return _searched(fit, restart, seconds, progress)
    dimensions, found = fit.engine.operators.dimensions, list[Equation]()
    alone = dimensions is not None and dimensions.dimensionless_constants
    both = seconds is not None and not alone
    seconds = seconds and seconds / (1 + both)
    if alone or both or restart % 2:
        found += smaller.restored(_searched(smaller.reduced(), restart, seconds, progress))
    if both or not (alone or restart % 2):
        found += _searched(fit, restart, seconds, progress)
    return found


def _searched(
    fit: Fit, restart: int, seconds: float | None, progress: ProgressCallback | None
) -> list[Equation]:
    """What a search for the output finds, or in its turn one for what it is a function of, see
    `transformed`."""
    other = transformed(fit, restart)
    if other is None:
        return _bred(fit, restart, seconds, progress)
    quiet = progress and Quiet(progress)
    return other.restored(_bred(other.reduced(), restart, seconds, quiet))


def _bred(
    fit: Fit, restart: int, seconds: float | None, progress: ProgressCallback | None
) -> list[Equation]:
    varied = getattr(fit.engine, "varied", None)
    engine = fit.engine if varied is None else varied(restart)
    search = getattr(engine, "candidates", engine.fit)
    started: dict[str, Any] = {}
    if fit.guesses and takes_guesses(search):
        started["guesses"] = fit.guesses
    equations = search(
        fit.data.X,
        fit.data.y,
        weights=fit.data.search_weights,
        names=fit.names,
        seed=fit.seed + restart * _SEED_STEP,
        budget=seconds,
        progress=progress,
        **started,
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
def compute_task(fit: Fit, threads: int = 1) -> Computed:
    """The laws of one fit that need no search."""
    start = time.monotonic()
    computed = computed_laws(fit.data, fit.names, fit.limits(_COMPUTE_SHARE), threads)
    return replace(computed, seconds=time.monotonic() - start)


def unsearched(fit: Fit, complete: bool) -> list[Equation]:
    """Sums that need no search, also of what units leave; where a computed law leaves nothing to be
    gained, or constants have no dimension, of that alone."""
    smaller, dimensions = all_grouped(fit), fit.engine.operators.dimensions
    alone = dimensions is not None and dimensions.dimensionless_constants
    found: list[Equation] = []
    if not smaller or not (alone or complete):
        limits = fit.limits(_UNSEARCHED_SHARE)
        found += without_search(fit.data, fit.names, limits, monomials=fit.monomials)
    for one in smaller[:1] if complete else smaller:
        of = one.reduced()
        limits = of.limits(_UNSEARCHED_SHARE / WAYS)
        found += one.restored(without_search(of.data, of.names, limits))
    return found


@np.errstate(all="ignore")
def refine_task(fit: Fit, computed: Computed, searched: list[Equation]) -> ParetoFront:
    """The front that all of a fit's equations come to."""
    candidates = [*fit.guesses, *computed.equations, *searched]
    if not computed.exact:
        candidates += unsearched(fit, computed.complete)
    return replace(fit.refined(candidates, _PRUNE_SHARE), findings=computed.findings)
