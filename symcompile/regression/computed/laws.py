"""Laws that are computed: what an output is found to be made of, solved, and put together again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import sympy

from symcompile.expressions.canonical import UNUSABLE
from symcompile.expressions.equation import Equation
from symcompile.regression.computed.rational import quotients
from symcompile.regression.computed.solutions import EXACT, best_of_each_size, solutions
from symcompile.regression.dataset import Dataset
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.limits import Limits
from symcompile.regression.pareto import layers
from symcompile.regression.structure.findings import ROWS, Finding, structure
from symcompile.regression.structure.problem import Problem

# Rows that laws are fitted to while they compete, and candidates that go on to be refined.
_FIT_ROWS, _KEPT, _EXACT_KEPT = 1000, 24, 3
# Fewer rows than this are no surrogate's.
_LEAST = 40


@dataclass(frozen=True)
class Computed:
    """Equations, what was found of the output's structure, and whether one of them is exact."""

    equations: tuple[Equation, ...] = ()
    findings: tuple[Finding, ...] = ()
    exact: bool = False


def computed_laws(data: Dataset, names: Sequence[str], limits: Limits) -> Computed:
    """Laws of an output, without a search.

    Empty for few rows, and for an output that does not vary.
    """
    if data.count < _LEAST or not np.ptp(data.y) > 0:
        return Computed()
    sample = data.rows(slice(_FIT_ROWS))
    some = data.rows(slice(ROWS))
    weights = some.search_weights
    root = None if weights is None else np.sqrt(weights / weights.mean())
    found = structure(Problem.of(some.X, some.y, names, root), limits.deadline)
    equations: dict[sympy.Expr, Equation] = {}
    exact = False
    nothing = (10 * EXACT) ** 2 * sample.constant_loss
    for problem, floor in _levels(found.problems, found.findings):
        for expr in _exprs(problem, limits, floor):
            equation = _fitted(problem.output(expr), names, limits, sample)
            if equation is not None:
                equations[equation.form] = equation
        losses = [equation.loss for equation in equations.values()]
        exact = min(losses, default=math.inf) <= nothing
        if exact or limits.late:
            break
    return Computed(tuple(_best(equations.values(), nothing)), found.findings, exact)


def _levels(
    problems: Sequence[Problem], findings: Sequence[Finding]
) -> Iterator[tuple[Problem, float]]:
    """Problems to be solved, with the error below which nothing is to be gained: what is certain
    first, then what may be so, the shortest first."""
    certain = 0
    while certain < len(findings) and findings[certain].certain:
        certain += 1
    order = [certain, *range(len(problems) - 1, certain, -1)]
    for level in order:
        yield problems[level], findings[level - 1].after if level else 0.0


def _exprs(problem: Problem, limits: Limits, floor: float) -> Iterator[sympy.Expr]:
    if not problem.variables:
        yield sympy.Float(float(np.average(problem.core, weights=problem.weight**2)))
        return
    low = math.inf
    for solution in solutions(problem, limits.operators, floor, limits.deadline):
        low = min(low, solution.error)
        yield solution.build()
    has = limits.operators.__contains__
    if low > max(floor, EXACT) and has("+") and has("*") and (has("/") or has("inv")):
        found = list(quotients(problem, EXACT, limits.deadline))
        yield from (quotient.build() for quotient in best_of_each_size(found))


def _fitted(
    expr: sympy.Expr, names: Sequence[str], limits: Limits, sample: Dataset
) -> Equation | None:
    try:
        equation = Equation.of(expr, names, limits.operators)
        fit = fit_constants(equation, sample, 10, deadline=limits.deadline)
    except UNUSABLE:
        return None
    if not math.isfinite(fit.loss):
        return None
    return replace(equation, constants=fit.constants, loss=fit.loss)


def _best(equations: Iterable[Equation], nothing: float) -> list[Equation]:
    """Those that no shorter one is better than, or nearly so; of exact ones the shortest few."""
    kept: list[Equation] = []
    low, exact = math.inf, 0
    for equation in sorted(equations, key=lambda e: (e.complexity, e.loss)):
        if equation.loss < 1.1 * max(low, nothing) and exact < _EXACT_KEPT:
            kept.append(equation)
            low = min(low, equation.loss)
            exact += equation.loss <= nothing
    return layers(kept, lambda e: (e.complexity, e.loss))[:_KEPT]
