"""Questions: in what other variables could a problem be written, with fewer of them?

Each answer is a symmetry: the core stays the same, or is multiplied by a power, when variables are
scaled, shifted or turned together. Laws have many: units can be chosen freely (Buckingham's
theorem), and only differences of places, times and phases matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
import sympy

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


@dataclass(frozen=True)
class Hypothesis:
    """A problem in fewer variables that may be the same as another, and in words what it says."""

    reduced: Problem
    kind: str
    subject: tuple[Variable, ...]


def hypotheses(problem: Problem, terms: int) -> Iterator[Hypothesis]:
    """All that are asked of a problem, those with arguments outside of numbers left out.

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
        if len(problem.variables) > 2:
            yield from _of_all(problem)


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


def _of_all(problem: Problem) -> Iterator[Hypothesis]:
    """The core is homogeneous: measured in units of one variable, there is one less."""
    for k, unit in enumerate(problem.variables):
        if not unit.column.has_sign:
            continue
        inverse = unit.power(sympy.Integer(-1))
        rest = [v.times(inverse) for j, v in enumerate(problem.variables) if j != k]
        for exponent in (sympy.Integer(0), *_WHOLE):
            factor = unit.power(exponent)
            yield Hypothesis(problem.on(*rest).over(factor), "scaling", (factor, *rest))
