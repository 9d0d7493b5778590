"""Questions: in what other variables could a problem be written, with fewer of them?

Each answer is a symmetry: the core stays the same, or is multiplied by a power, when variables are
scaled, shifted or turned together. Laws have many: units can be chosen freely (Buckingham's
theorem), and only differences of places, times and phases matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations, product

import numpy as np
import sympy

from symcompile.expressions.evaluation import Array
from symcompile.regression.structure.problem import Problem, Variable
from symcompile.regression.structure.surrogate import basis, orthonormal

# Powers in which a factor, and a variable of a homogeneous pair, are tried: dimensions have small
# ones, and halves come in by roots.
_POWERS = tuple(
    map(sympy.Rational, ("1", "-1", "2", "-2", "1/2", "-1/2", "3", "-3", "3/2", "-3/2", "4", "-4"))
)
# A coefficient counts that is more than so many standard errors, and than rounding.
_SURE, _ROUNDING = 3.0, 1e-12
_WHOLE = tuple(map(sympy.Integer, (1, -1, 2, -2, 3, -3)))
# Of the ways to scale many variables together so many are tried.
_LIKELIEST = 12


@dataclass(frozen=True)
class Hypothesis:
    """A problem in fewer variables that may be the same as another, and in words what it says."""

    reduced: Problem
    kind: str
    subject: tuple[Variable, ...]


def hypotheses(problem: Problem, terms: int) -> Iterator[Hypothesis]:
    """What is asked of each variable and of each two.

    `terms`: of the surrogate that finds coefficients.
    """
    with np.errstate(all="ignore"):
        for k, variable in enumerate(problem.variables):
            rest = problem.variables[:k] + problem.variables[k + 1 :]
            yield from _of_one(problem, variable, rest, terms)
        for pair in combinations(range(len(problem.variables)), 2):
            rest = tuple(v for k, v in enumerate(problem.variables) if k not in pair)
            a, b = (problem.variables[k] for k in pair)
            yield from _of_two(problem, a, b, rest)


def _of_one(
    problem: Problem, variable: Variable, rest: tuple[Variable, ...], terms: int
) -> Iterator[Hypothesis]:
    """It does not matter; it is a factor; a multiple of it is added."""
    yield Hypothesis(problem.on(*rest), "irrelevant", (variable,))
    for exponent in _POWERS:
        if variable.column.is_positive or (exponent.is_Integer and variable.column.has_sign):
            factor = variable.power(exponent)
            yield Hypothesis(problem.on(*rest).over(factor), "factor", (factor,))
    if rest:
        coefficient = _coefficient(problem, variable, rest, terms)
        if not coefficient:
            return
        yield Hypothesis(problem.on(*rest).less(variable, coefficient), "term", (variable,))


def _coefficient(
    problem: Problem, variable: Variable, rest: tuple[Variable, ...], terms: int
) -> float:
    """Of the variable, beside any function of the rest; zero for one that may be chance."""
    weight = problem.weight
    Q = orthonormal(basis([v.column for v in rest], terms) * weight[:, None])
    parts = (part * weight for part in (variable.values, problem.core))
    x, y = (part - Q @ (Q.T @ part) for part in parts)
    size = max(float(x @ x), 1e-300)
    coefficient = float(x @ y) / size
    left = float(np.linalg.norm(y - coefficient * x)) / max(len(y) - Q.shape[1], 1) ** 0.5
    rounding = _ROUNDING * float(np.linalg.norm(problem.core * weight))
    return coefficient if abs(coefficient) * size**0.5 > max(_SURE * left, rounding) else 0.0


def _of_two(
    problem: Problem, a: Variable, b: Variable, rest: tuple[Variable, ...]
) -> Iterator[Hypothesis]:
    """They matter through a product of powers, a sum or difference, or of their squares, alone; or
    so but for a power of one of them."""
    groups = [a.plus(b), a.plus(b, -1)]
    squares = a.power(sympy.Integer(2)), b.power(sympy.Integer(2))
    groups += [squares[0].plus(squares[1]), squares[0].plus(squares[1], -1), a.times(b)]
    for first, second in permutations((a, b)):
        exponents = (2, -2) if second.column.has_sign else (2,)
        groups += [first.times(second.power(sympy.Integer(e))) for e in exponents]
    ratio = _ratio(a, b)
    groups += [] if ratio is None else [ratio]
    for group in groups:
        yield Hypothesis(problem.on(*rest, group), "group", (group,))
    scaled = [group for group in (a.times(b), ratio) if group is not None]
    for group in scaled:
        for unit in (a, b):
            for exponent in _WHOLE if unit.column.has_sign else ():
                factor = unit.power(exponent)
                reduced = problem.on(*rest, group).over(factor)
                yield Hypothesis(reduced, "scaling", (factor, group))


def _ratio(a: Variable, b: Variable) -> Variable | None:
    """Of the two, the one that changes its sign above; None where both do."""
    for above, below in ((a, b), (b, a)):
        if below.column.has_sign:
            return above.times(below.power(sympy.Integer(-1)))
    return None


def scalings(problem: Problem, terms: int, logarithmic: bool = False) -> Iterator[Hypothesis]:
    """Three variables or more are scaled together, by a factor, its inverse or its square, and the
    core by a power of it: measured in units of one of them, there is one less. Those that the
    slopes of a surrogate speak for most."""
    if len(problem.variables) < 3:
        return
    weight = problem.weight
    changes = problem.elasticities(terms, logarithmic) * weight[:, None]
    core = problem.core * weight
    size, gram, along = float(core @ core), changes.T @ changes, changes.T @ core
    powers = _patterns(len(along))
    core_powers = np.round(powers @ along / size)
    left = np.sum(powers @ gram * powers, axis=1)
    left += core_powers * (core_powers * size - 2.0 * powers @ along)
    ranked = np.argsort(left / (powers**2 @ np.diag(gram)), kind="stable")
    with np.errstate(all="ignore"):
        for k in ranked[:_LIKELIEST]:
            hypothesis = _scaled(problem, powers[k].astype(int).tolist(), int(core_powers[k]))
            if hypothesis is not None:
                yield hypothesis


@lru_cache(maxsize=8)
def _patterns(n: int) -> Array:
    """Powers of a factor, three or more of them not zero, the first of these above it."""
    grid = np.array(list(product((0, 1, -1, 2, -2), repeat=n)), dtype=float)
    first = grid[np.arange(len(grid)), np.argmax(grid != 0, axis=1)]
    return grid[((grid != 0).sum(axis=1) > 2) & (first > 0) & (np.abs(grid) == 1).any(axis=1)]


def _scaled(problem: Problem, powers: list[int], core_power: int) -> Hypothesis | None:
    """In units of the variable that varies least of those with a power of one; None where each of
    them changes its sign."""
    variables = problem.variables
    units = [k for k, p in enumerate(powers) if abs(p) == 1 and variables[k].column.has_sign]
    if not units:
        return None
    u = min(units, key=lambda k: variables[k].column.span)
    unit, rest = variables[u], []
    for k, variable in enumerate(variables):
        if k != u:
            exponent = sympy.Integer(-powers[k] * powers[u])
            rest.append(variable.times(unit.power(exponent)) if powers[k] else variable)
    factor = unit.power(sympy.Integer(core_power * powers[u]))
    return Hypothesis(problem.on(*rest).over(factor), "scaling", (factor, *rest))
