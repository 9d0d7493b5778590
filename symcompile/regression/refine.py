"""Refine: turn what a search found into a front of clean, well-fitted, held-out-tested equations.

An evolutionary search returns overgrown forms with `+ 0.0000*x7` and float32 constants. This pass
puts them into canonical form, fits all constants jointly in float64, tries every form with a term
or factor less, snaps constants to exact numbers where the data can't tell the difference, drops
what is not finite on a recorded sample, and ranks the rest on held-out samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from symcompile.expressions.canonical import UNUSABLE, Algebra
from symcompile.expressions.complexity import allowed, complexity, spellable
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.light_code import numbered, replaced
from symcompile.expressions.light_tree import MINUS_ONE, ONE, LightTree, slot
from symcompile.expressions.slots import renumber
from symcompile.regression.dataset import Dataset
from symcompile.regression.description import (
    Comparison,
    Directions,
    effective_sample_size,
    errors_of,
)
from symcompile.regression.forms import (
    candidate,
    exact_values,
    least_complexity,
    reductions,
    reopen,
    with_tree,
    without_dead_terms,
)
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.limits import Limits
from symcompile.regression.pareto import ParetoFront, layers

# Nats of log-loss that one unit of complexity is worth, when it is decided what to reduce next.
_PRICE = 0.3
# Under a time limit, the share of it that taking in candidates may use, and seconds past it in
# which constants are still snapped.
_OFFER_SHARE, _SNAP_SECONDS = 0.5, 0.2
# Two equations are one where they differ, on all rows, by less than these shares of the error and
# of the spread.
_SAME, _ROUNDING = 1e-3, 1e-9
# A constant this near to one, or minus one, may be no constant: whole numbers are ten times as far
# apart.
_NEAR_ONE = 0.1


@dataclass(frozen=True)
class Refine:
    """Options.

    Attributes:
        prune: try every form with one term or factor less.
        snap: replace constants by integers, simple fractions and multiples of pi within their
            confidence interval.
        snap_sigma: half width of that interval, in standard errors.
        max_fits: least-squares fits spent on one front.
        fit_rows: samples that a fit looks at while forms compete; the final front is fitted to all.
    """

    prune: bool = True
    snap: bool = True
    snap_sigma: float = 2.0
    max_fits: int = 200
    fit_rows: int = 1000


def refine(
    candidates: Iterable[Equation],
    fit: Dataset,
    holdout: Dataset,
    limits: Limits,
    options: Refine | None = None,
) -> ParetoFront:
    """The front that candidates, from any number of searches, come to.

    Args:
        candidates: equations over the same inputs; their losses are not relied on.
        fit: samples that constants are fitted to.
        holdout: samples that equations are ranked on.
        limits: after their deadline nothing new is tried, only the front brought to its end, which
            takes no longer than that again. Where there is one, the candidates that seem best by
            their own losses come first, since there may be no time for all.

    Returns:
        Equations within the limits, finite on every sample of both, each with a lower
        held-out loss than every simpler one. The constant mean is always among the candidates.
    """
    candidates = list(candidates)
    names = candidates[0].symbols if candidates else ()
    pool = _Pool(fit, holdout, limits, options or Refine())
    pool.offer(slot(0), pool.algebra([fit.centre], names), names)
    for equation in candidates if math.isinf(limits.deadline) else best_first(candidates):
        if time.monotonic() >= pool.full:
            break
        pool.take(equation)
    pool.fit_front()
    pool.prune()
    return ParetoFront.of(
        pool.finished(),
        holdout.variance,
        loss=holdout.loss,
        left_out=holdout.count if holdout.is_small else 0,
        constant_loss=None if holdout.loss.is_squared else holdout.constant_loss,
    )


def best_first(candidates: Iterable[Equation]) -> list[Equation]:
    """By their own losses, see `layers`. What nobody has measured may be the best."""
    return layers(candidates, lambda e: (e.complexity, -math.inf if math.isnan(e.loss) else e.loss))


@dataclass
class _Pool:
    """Forms that compete, each with its best constants so far."""

    fit: Dataset
    holdout: Dataset
    limits: Limits
    options: Refine

    def __post_init__(self) -> None:
        start, seconds = time.monotonic(), self.limits.seconds
        self.full, self.end = (start + seconds * share for share in (_OFFER_SHARE, 2.0))
        # The first rows: samples come in random order.
        self.sample = self.fit.rows(slice(self.options.fit_rows))
        self.floor = 1e-15 * max(self.fit.constant_loss, 1e-300)
        self.fits = 0
        self.equations: dict[LightTree, Equation] = {}

    def algebra(self, constants: Sequence[float], names: Sequence[str]) -> Algebra:
        return Algebra(constants, self.limits.operators, names)

    def take(self, equation: Equation) -> None:
        """Offer a candidate; of one whose form is there already, its constants."""
        try:
            tree, constants = equation.tree
        except UNUSABLE:
            return
        known = self.equations.get(tree)
        if known is None and equation.is_canonical:
            known = self.spelled(equation)
        if known is None:
            self.offer(tree, self.algebra(constants, equation.symbols), equation.symbols)
            return
        other = known.updated(constants=constants)
        loss = self.sample.loss_of(other)
        if loss < known.loss:
            self.equations[tree] = other.updated(loss=loss)

    def spelled(self, equation: Equation) -> Equation | None:
        """A canonical form that nothing is known of, if the operators can spell it as it is."""
        operators, (tree, _) = self.limits.operators, equation.tree
        if not spellable(tree, operators, equation.symbols):
            return None
        cost = complexity(tree, operators, equation.symbols)
        return equation.updated(complexity=cost, loss=math.inf)

    def offer(self, tree: LightTree, algebra: Algebra, names: tuple[str, ...]) -> Equation | None:
        """Take in canonical form; None where it is known, can't be spelled or is not finite."""
        equation = candidate(tree, algebra, names, self.sample)
        if equation is None:
            return None
        form, _ = equation.tree
        rival = self.equations.get(form)
        if rival is not None and rival.loss <= equation.loss:
            return None
        self.equations[form] = equation
        return equation

    def fitted(self, equation: Equation, data: Dataset, iterations: int) -> Equation:
        self.fits += 1
        fit = fit_constants(equation, data, iterations, deadline=self.end)
        return equation.updated(constants=fit.constants, loss=fit.loss)

    def fit_front(self) -> None:
        """A short fit for every candidate, since an engine may have fitted other samples or none;
        then a long one for what may come to be on the front."""
        self.fit_each(list(self.equations.values())[: self.options.max_fits], 3)
        self.fits = 0
        self.fit_each(self.front(0.5), 20)

    def fit_each(self, equations: Iterable[Equation], iterations: int) -> None:
        for equation in equations:
            if self.limits.late:
                return
            self.keep(self.fitted(equation, self.sample, iterations))

    def keep(self, equation: Equation) -> None:
        """In the place of what was known of its form."""
        form, _ = equation.tree
        self.equations[form] = equation

    @property
    def spent(self) -> bool:
        """Whether the fits or the time for trying new forms are used up."""
        return self.fits >= self.options.max_fits or self.limits.late

    def prune(self) -> None:
        """Reduce equations of the front, the most promising first, until none is left."""
        done: set[LightTree] = set()
        while self.options.prune and not self.spent:
            todo = [e for e in self.front(0.02) if e.tree[0] not in done]
            if not todo:
                return
            chosen = min(todo, key=lambda e: math.log(e.loss + self.floor) + _PRICE * e.complexity)
            done.add(chosen.tree[0])
            self.reduce(chosen)

    def reduce(self, equation: Equation) -> None:
        tree, constants = equation.tree
        algebra = self.algebra(constants, equation.symbols)
        for form in dict.fromkeys(reductions(tree)):
            if self.spent:
                return
            smaller = self.offer(form, algebra, equation.symbols)
            if smaller is None:
                continue
            smaller = self.fitted(smaller, self.sample, 4)
            rivals = [e for e in self.equations.values() if e.complexity <= smaller.complexity]
            if smaller.loss < 3.0 * min(rival.loss for rival in rivals):
                smaller = self.fitted(smaller, self.sample, 20)
            self.keep(smaller)

    def front(self, slack: float, limit: int | None = None) -> list[Equation]:
        """Equations that no simpler one matches within a share `slack` of the loss; those that may
        come to be within a limit, where there is one."""
        kept: list[Equation] = []
        best = math.inf
        for equation in sorted(self.equations.values(), key=lambda e: (e.complexity, e.loss)):
            if limit is not None and least_complexity(equation, _NEAR_ONE) > limit:
                continue
            if equation.loss < best * (1.0 + slack):
                kept.append(equation)
                best = min(best, equation.loss)
        return kept

    def finished(self) -> list[Equation]:
        """The front fitted to all rows, measured on held-out samples, constants snapped."""
        # Losses on n rows differ by chance by a factor exp(sqrt(2 / n)): more than the closest form
        # of each complexity has to be ranked, where rows are few or say as little as few.
        small = self.holdout.is_small
        slack = math.expm1(2.0 * math.sqrt(2.0 / self.effective_rows))
        result = []
        for equation in self.front(slack, self.limits.max_complexity):
            fitted = self.fitted(equation, self.fit, 30)
            measured = self.measured(without_dead_terms(fitted, self.sample, self.limits.operators))
            if measured is None:
                continue
            snapped = self.snapped(measured) if self.options.snap else measured
            result.append(snapped)
            if snapped.complexity < measured.complexity:
                result.append(measured)
        result = [e for e in result if e.complexity <= self.limits.max_complexity]
        operators = self.limits.operators
        shown = [e for e in map(self.shown, result) if allowed(e.form, operators)]
        return self.distinct(shown) if small else shown

    @property
    def effective_rows(self) -> float:
        """How many independent errors say as much as those of the best equation; all where units
        allow none."""
        if self.holdout.is_small or not self.fit.loss.is_squared or not self.equations:
            return self.holdout.count
        best = min(self.equations.values(), key=lambda equation: equation.loss)
        return effective_sample_size(self.directions, errors_of(best, self.sample))

    def distinct(self, equations: Iterable[Equation]) -> list[Equation]:
        """Without what no row can tell from a shorter one: it is another spelling."""
        kept: list[tuple[Equation, Array]] = []
        nothing = _ROUNDING * math.sqrt(self.fit.constant_loss)
        for equation in sorted(equations, key=lambda e: (e.complexity, e.loss)):
            values = equation.predict(self.fit.X)
            least = max(nothing, _SAME * math.sqrt(equation.loss))
            if all(float(np.abs(values - known).max()) > least for _, known in kept):
                kept.append((equation, values))
        return [equation for equation, _ in kept]

    def shown(self, equation: Equation) -> Equation:
        """As readers see it, its slots numbered in the order of its sympy form."""
        form, constants = renumber(equation.form, equation.constants)
        cost = complexity(form, self.limits.operators)
        return replace(equation, form=form, constants=constants, complexity=cost)

    def measured(self, equation: Equation) -> Equation | None:
        loss, (holdout, squares) = self.fit.loss_of(equation), self.holdout.losses_of(equation)
        if not (math.isfinite(loss) and math.isfinite(holdout)):
            return None
        return equation.updated(loss=loss, holdout_loss=holdout, holdout_mse=squares)

    def snapped(self, equation: Equation) -> Equation:
        """The equation with constants made exact one after the other, as far as the data agrees."""
        if self.past_snapping:
            return equation
        while (trial := self.snap_one(equation)) is not None:
            equation = trial
        return with_tree(equation, *reopen(*equation.tree), self.limits.operators)

    @property
    def past_snapping(self) -> bool:
        return time.monotonic() >= min(self.limits.deadline + _SNAP_SECONDS, self.end)

    def snap_one(self, equation: Equation) -> Equation | None:
        fit = fit_constants(equation, self.fit, 5, deadline=self.end)
        sigma = self.options.snap_sigma
        for index, (value, error) in enumerate(zip(fit.constants, fit.errors, strict=True)):
            near = [(exact, self.as_good) for exact in exact_values(value, sigma * error)]
            if abs(abs(value) - 1.0) < _NEAR_ONE:
                near.append((ONE if value > 0 else MINUS_ONE, self.as_likely))
            for exact, accepts in near:
                trial = None if self.past_snapping else self.with_exact(equation, index, exact)
                if trial is not None and accepts(trial, equation):
                    return trial
        return None

    def with_exact(self, equation: Equation, index: int, exact: LightTree) -> Equation | None:
        """The other constants fitted again; None where that is no equation."""
        tree, constants = equation.tree
        form, kept = numbered(replaced(tree, {slot(index): exact}), constants)
        operators = self.limits.operators
        if not spellable(form, operators, equation.symbols):
            return None
        trial = with_tree(equation, form, kept, operators)
        if trial.complexity > equation.complexity:
            return None
        try:
            return self.measured(self.fitted(trial, self.fit, 20))
        except UNUSABLE:
            return None

    def as_likely(self, trial: Equation, equation: Equation) -> bool:
        """Whether it takes no more to describe the outputs without a factor or term that is nearly
        one: what a network has learned differs from the law, smoothly, by more than chance."""
        if not self.fit.loss.is_squared:
            return False
        compared = Comparison.of([trial, equation], self.sample, directions=self.directions)
        return float(compared.savings[0, 1]) <= 0.0

    @cached_property
    def directions(self) -> Directions:
        return Directions.that_say(self.sample)

    def as_good(self, trial: Equation, equation: Equation) -> bool:
        """Whether held-out errors of the two differ by no more than their noise."""
        loss, residual = self.holdout.loss.of, self.holdout.residual
        worse = loss(residual(trial)) - loss(residual(equation))
        noise = 2.0 * float(worse.std()) / math.sqrt(len(worse))
        rounding = 1e-15 * self.holdout.constant_loss
        return float(np.average(worse, weights=self.holdout.weights)) <= noise + rounding
