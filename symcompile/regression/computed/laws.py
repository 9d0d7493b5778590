"""Laws that are computed: what an output is found to be made of, solved, and put together again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import sympy

from symcompile.expressions.canonical import UNUSABLE, Algebra
from symcompile.expressions.dimensions import UNITLESS
from symcompile.expressions.equation import Equation
from symcompile.expressions.light_tree import LightTree
from symcompile.regression.computed.inner import with_inner_constants
from symcompile.regression.computed.rational import DEGREES, quotients
from symcompile.regression.computed.solutions import (
    EXACT,
    LARGE,
    SMALL,
    THREE,
    best_of_each_size,
    solutions,
)
from symcompile.regression.computed.transforms import applicable
from symcompile.regression.dataset import Dataset
from symcompile.regression.description import description_length
from symcompile.regression.forms import candidate, least_complexity
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.limits import Limits
from symcompile.regression.pareto import layers
from symcompile.regression.structure.findings import (
    ROWS,
    Structure,
    floor,
    structure,
)
from symcompile.regression.structure.problem import Problem
from symcompile.regression.structure.statement import Statement, statements

# Rows that laws are fitted to while they compete, and candidates that go on to be refined.
_FIT_ROWS, _KEPT, _EXACT_KEPT = 1000, 60, 3
# An equation is complete that errs by no more than this times what a surrogate does: losses on some
# hundred rows differ by as much by chance.
_COMPLETE = 1.1
# A constant that is one, but for noise.
_ONE = 0.01
# A surrogate that errs by more than this share of the spread is a poor one. It gets more rows.
POOR, _MORE_ROWS = 0.05, 2 * ROWS
# Fewer rows than this are no surrogate's: nothing is asked of them. What fewer than these answer is
# certain of nothing: surrogates have a term for each eight rows.
_LEAST, _SURE = 40, 200


@dataclass(frozen=True)
class Computed:
    """Equations, what was found of the output's structure, and whether one of them leaves nothing
    to be gained: it is exact, or errs no more than any smooth function of the same variables.

    `seconds`: that it took.
    """

    equations: tuple[Equation, ...] = ()
    findings: tuple[Statement, ...] = ()
    complete: bool = False
    exact: bool = False
    seconds: float = 0.0


def computed_laws(
    data: Dataset, names: Sequence[str], limits: Limits, threads: int = 1
) -> Computed:
    """Laws of an output, without a search, the same for any number of threads.

    Empty for an output that does not vary.
    """
    if data.weights is not None:
        data = data.rows(data.weights > 0)
    if not np.ptp(data.y) > 0:
        return Computed()
    contest = _Contest(names, limits, data.rows(slice(_FIT_ROWS)), threads)
    if data.count < _LEAST:
        return _of_few(contest)
    found, least = Structure((), (), 1.0), 0.0
    for found in _structures(data, names, limits):
        least = contest.solve(found)
        if contest.over:
            break
    # Of three terms many come near: only what leaves nothing is a reason not to search.
    for problem in {id(p): p for p in (found.core, found.problems[found.certain])}.values():
        contest.look_up(problem, THREE, 0.0, terms=3)
    contest.look_up(found.core, LARGE, least)
    told = statements(found, names)
    return Computed(tuple(contest.best()), told, contest.complete, contest.exact)


def _of_few(contest: _Contest) -> Computed:
    """Laws of rows that are too few to ask anything of."""
    problem = _problem(contest.sample, contest.names, contest.limits)
    if problem.variables:
        contest.enter(problem, _exprs(problem, contest.limits, 0.0))
        contest.judge(0.0)
    return Computed(tuple(contest.best()), (), contest.complete, contest.exact)


@dataclass
class _Contest:
    """Equations that compete, each fitted to a sample."""

    names: Sequence[str]
    limits: Limits
    sample: Dataset
    threads: int = 1

    def __post_init__(self) -> None:
        self.equations: dict[LightTree, Equation] = {}
        self.nothing = (10 * EXACT) ** 2 * self.sample.constant_loss
        self.complete = False

    @property
    def short(self) -> list[Equation]:
        """What a front can hold: a factor of one will be left out."""
        most = self.limits.max_complexity
        return [e for e in self.equations.values() if least_complexity(e, _ONE) <= most]

    @property
    def exact(self) -> bool:
        """Whether one leaves nothing, and it takes less to write it down than the outputs: as many
        constants as rows leave nothing either."""
        exact = [equation for equation in self.short if equation.loss <= self.nothing]
        return any(description_length(equation, self.sample) < 0.0 for equation in exact)

    @property
    def over(self) -> bool:
        return self.complete or self.limits.late

    def solve(self, found: Structure) -> float:
        """Enter laws of what is left, and as long as none is complete, of what was before the last
        finding that may not be so. The floor of what is left."""
        spread, deadline = found.problems[0].spread, self.limits.deadline
        floors = cache(lambda number: floor(found.problems[number], spread, deadline))
        certain = found.certain if self.sample.count >= _SURE else 0
        last = len(found.findings)
        # Noise that is known before a finding that may not be so is no more after it.
        noise = (floors(certain) or math.inf) if certain < last else math.inf
        for number in range(last, certain - 1, -1):
            if self.over:
                break
            problem, least = found.problems[number], min(floors(number), noise)
            self.enter(problem, _exprs(problem, self.limits, least))
            self.judge(least)
        return floors(last)

    def look_up(self, problem: Problem, sizes: Sequence[int], least: float, terms: int = 2) -> None:
        """Enter sums of so many terms from tables of such sizes, unless it is over."""
        if not self.over and problem.variables:
            operators, deadline = self.limits.operators, self.limits.deadline
            found = solutions(problem, operators, sizes, deadline, terms, self.threads)
            self.enter(problem, (solution.build() for solution in found))
            self.judge(least)

    def judge(self, least: float) -> None:
        """Whether nothing is to be gained over what no smooth function gets below, see `floor`."""
        enough = min(_COMPLETE * least, POOR) ** 2 * self.sample.constant_loss
        lowest = min((equation.loss for equation in self.short), default=math.inf)
        self.complete |= lowest <= enough or self.exact

    def enter(self, problem: Problem, exprs: Iterable[sympy.Expr]) -> None:
        """Equations of the output, for expressions of the core of a problem."""
        for expr in exprs:
            if self.limits.late:
                return
            equation = _fitted(problem.output(expr), self.names, self.limits, self.sample)
            if equation is None:
                continue
            form = equation.tree[0]
            known = self.equations.get(form)
            if known is None or equation.loss < known.loss:  # starts may lead to other minima
                self.equations[form] = equation

    def best(self) -> list[Equation]:
        """Those that no shorter one is better than beyond chance, see `best_of_each_size`; of exact
        ones a few."""
        chance = math.exp(2.0 * math.sqrt(2.0 / self.sample.count))
        kept: list[Equation] = []
        low, exact = math.inf, 0
        for equation in sorted(self.equations.values(), key=lambda e: (e.complexity, e.loss)):
            if equation.loss < chance * max(low, self.nothing) and exact < _EXACT_KEPT:
                kept.append(equation)
                low = min(low, equation.loss)
                exact += equation.loss <= self.nothing
        return layers(kept, lambda e: (e.complexity, e.loss))[:_KEPT]


def _problem(sample: Dataset, names: Sequence[str], limits: Limits) -> Problem:
    weights = sample.search_weights
    root = None if weights is None else np.sqrt(weights / weights.mean())
    return Problem.of(sample.X, sample.y, names, root, limits.operators.dimensions or UNITLESS)


def _structures(data: Dataset, names: Sequence[str], limits: Limits) -> Iterator[Structure]:
    """Of some rows, and where a surrogate of them is poor of more."""
    for rows in (ROWS, _MORE_ROWS):
        some = data.rows(slice(rows))
        found = structure(_problem(some, names, limits), limits.deadline)
        yield found
        if found.error < POOR or len(some.y) < rows:
            return


def _exprs(problem: Problem, limits: Limits, least: float) -> Iterator[sympy.Expr]:
    if not problem.variables:
        yield sympy.Float(float(np.average(problem.core, weights=problem.weight**2)))
        return
    low = math.inf
    for solution in solutions(problem, limits.operators, SMALL, limits.deadline):
        low = min(low, solution.error)
        yield solution.build()
    has = limits.operators.__contains__
    # Of one variable quotients are few, and among them may be the shorter way to say the same.
    quick = low > EXACT and len(problem.variables) == 1
    can_divide = has("+") and has("*") and (has("/") or has("inv"))
    if can_divide and (quick or low > max(least, EXACT)):
        found = list(quotients(problem, EXACT, deadline=limits.deadline))
        low = min((quotient.error for quotient in found), default=low)
        yield from (quotient.build() for quotient in best_of_each_size(found, len(problem.core)))
        if low > max(least, EXACT) and len(problem.variables) == 1:
            yield from _functions_of_quotients(problem, limits)
    if low > max(least, EXACT) and not limits.late:
        yield from with_inner_constants(problem, limits.operators)


def _functions_of_quotients(problem: Problem, limits: Limits) -> Iterator[sympy.Expr]:
    """Such as `exp(a - b/(x + c))`: small quotients for what the core is a function of."""
    for transform, sign, h, weight in applicable(problem.core, limits.operators):
        rules = problem.dimensions
        of = transform.dimension(rules.of_constant, True, rules)
        if transform.name in ("y", "1/y") or of is None or not rules.fits(of):  # quotients both
            continue
        of_core = replace(problem, core=h, weight=problem.weight * weight)
        found = list(quotients(of_core, EXACT, DEGREES[:3], limits.deadline))
        for quotient in best_of_each_size(found, len(h)):
            yield sign * transform.build(quotient.build())


def _fitted(
    expr: sympy.Expr, names: Sequence[str], limits: Limits, sample: Dataset
) -> Equation | None:
    try:
        tree, constants = Equation.of(expr, names, limits.operators).tree
        algebra = Algebra(constants, limits.operators, names)
        equation = candidate(tree, algebra, tuple(names), sample)
        if equation is None:
            return None
        fit = fit_constants(equation, sample, 20, deadline=limits.deadline)
    except UNUSABLE:
        return None
    if not math.isfinite(fit.loss):
        return None
    return equation.updated(constants=fit.constants, loss=fit.loss)
