"""Questions: in what other variables could a problem be written, with fewer of them?

Each answer is a symmetry: the core stays the same, or is multiplied by a power, when variables are
scaled, shifted or turned together. Laws have many: units can be chosen freely (Buckingham's
theorem), and only differences of places, times and phases matter. Where units are known, only what
is of one dimension is added, and what they leave of a problem is one question more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import combinations, permutations, product

import numpy as np
import sympy

from symcompile.expressions.evaluation import Array
from symcompile.regression.structure.powers import Powers, products
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
# Of the simplest products that have the output's unit so many, those that vary least.
_UNITS, _WAYS = 6, 2


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


def sums(problem: Problem, terms: int) -> Iterator[Hypothesis]:
    """What is asked of each variable and of each two in the units that they have: what is no
    question any more once variables are measured in units of each other."""
    with np.errstate(all="ignore"):
        for k, variable in enumerate(problem.variables):
            rest = problem.variables[:k] + problem.variables[k + 1 :]
            if variable.dimension == problem.dimensions.output:
                yield from _term(problem, variable, rest, terms)
        for pair in combinations(range(len(problem.variables)), 2):
            rest = tuple(v for k, v in enumerate(problem.variables) if k not in pair)
            a, b = (problem.variables[k] for k in pair)
            if a.dimension == b.dimension:
                yield from _grouped(problem, _sums(a, b), rest)


def in_groups(problem: Problem) -> Iterator[Hypothesis]:
    """The core is a product of powers that has its unit, times a function of products that have
    none: so it is if constants have none. None where units leave all of the problem.

    What comes near zero is divided by only where there is nothing else.
    """
    rules = problem.dimensions
    variables = sorted(problem.variables, key=lambda v: -_decades(v))
    vectors = tuple(v.dimension for v in variables if v.dimension is not None)
    if rules.output is None or len(vectors) < len(variables):
        return
    zero = tuple(bool((v.values == 0).any()) for v in variables)
    scales, groups = products(vectors, rules.output, zero)
    if len(groups) >= len(variables):
        return
    with np.errstate(all="ignore"):
        pure = [_product(variables, powers) for powers in groups]
        if scales and not any(scales[0]):
            yield Hypothesis(problem.on(*pure), "scaling", tuple(pure))
            return
        units = [(_product(variables, powers), powers) for powers in scales[:_UNITS]]
        for unit, _ in sorted(units, key=lambda one: _rank(*one))[:_WAYS]:
            yield Hypothesis(problem.on(*pure).over(unit), "scaling", (unit, *pure))


def _rank(unit: Variable, powers: Powers) -> tuple[float, ...]:
    """What varies over fewer decades first, then what is simple."""
    return _decades(unit), sum(map(bool, powers)), sum(map(abs, powers)), unit.column.span


def _decades(variable: Variable) -> int:
    return int(np.log10(variable.column.span))


def _product(variables: Sequence[Variable], powers: Powers) -> Variable:
    factors = [v.power(sympy.Integer(p)) for v, p in zip(variables, powers, strict=True) if p]
    return reduce(Variable.times, factors)


def _of_one(
    problem: Problem, variable: Variable, rest: tuple[Variable, ...], terms: int
) -> Iterator[Hypothesis]:
    """It does not matter; it is a factor; a multiple of it is added."""
    yield Hypothesis(problem.on(*rest), "irrelevant", (variable,))
    for exponent in _POWERS:
        if variable.column.is_positive or (exponent.is_Integer and variable.column.has_sign):
            factor = variable.power(exponent)
            if factor.dimension is not None:
                yield Hypothesis(problem.on(*rest).over(factor), "factor", (factor,))
    yield from _term(problem, variable, rest, terms)


def _term(
    problem: Problem, variable: Variable, rest: tuple[Variable, ...], terms: int
) -> Iterator[Hypothesis]:
    """A multiple of it is added."""
    if not rest or not problem.may_hold(variable):
        return
    coefficient = _coefficient(problem, variable, rest, terms)
    if coefficient:
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
    groups = [*_sums(a, b), a.times(b)]
    for first, second in permutations((a, b)):
        exponents = (2, -2) if second.column.has_sign else (2,)
        groups += [first.times(second.power(sympy.Integer(e))) for e in exponents]
    ratio = _ratio(a, b)
    groups += [] if ratio is None else [ratio]
    yield from _grouped(problem, groups, rest)
    scaled = [group for group in (a.times(b), ratio) if group is not None]
    for group in scaled:
        for unit in (a, b):
            for exponent in _WHOLE if unit.column.has_sign else ():
                factor = unit.power(exponent)
                reduced = problem.on(*rest, group).over(factor)
                yield Hypothesis(reduced, "scaling", (factor, group))


def _sums(a: Variable, b: Variable) -> list[Variable]:
    squares = a.power(sympy.Integer(2)), b.power(sympy.Integer(2))
    return [sum_ for x, y in ((a, b), squares) for sum_ in (x.plus(y), x.plus(y, -1))]


def _grouped(
    problem: Problem, groups: Iterable[Variable], rest: tuple[Variable, ...]
) -> Iterator[Hypothesis]:
    for group in groups:
        if group.dimension is not None:
            yield Hypothesis(problem.on(*rest, group), "group", (group,))


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
