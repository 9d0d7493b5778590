"""Inner constants: laws whose rates and frequencies are no inputs, `a*exp(-k*t)*cos(w*t + p)`.

For each variable there are waves and exponentials of constants from a grid, and products of two of
them; the best sum of two such products is a linear fit, like that of any forms. It need only be
near: least squares move all constants at once from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import sympy

from symcompile.expressions.dimensions import FREE, Dimensions
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed.pairs import best_sums
from symcompile.regression.computed.solutions import ROWS
from symcompile.regression.least_squares import linear
from symcompile.regression.structure.problem import Problem, Variable

# Rates of growth over the range of a variable, each also as one of decay.
_RATES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# Frequencies, in radians over the range: those of less than a turn, and the strongest beyond.
_SLOW, _FASTEST, _STRONGEST = (1.0, 2.0, 3.2, 4.8), 120.0, 3
# The other inputs are cut into so many parts, each with a spectrum of its own: a wave in one may
# have no mean over the others.
_PARTS = 4
# Sums that are tried, and variables of which all products are made.
_TRIED, _MOST_VARIABLES = 6, 3


@dataclass(frozen=True)
class Atom:
    """A wave or an exponential of one variable: a name, the variable and its constant."""

    name: str
    variable: Variable
    constant: float

    @property
    def values(self) -> Array:
        return np.asarray(getattr(np, self.name)(self.constant * self.variable.values))

    def expr(self, phase: float = 0.0) -> sympy.Expr:
        argument = sympy.Float(self.constant) * self.variable.expr
        argument += sympy.Float(phase) if phase else 0
        return getattr(sympy, self.name)(argument)


Product = tuple[Atom, ...]


def with_inner_constants(problem: Problem, operators: OperatorSet) -> Iterator[sympy.Expr]:
    """Laws of the core or of its inverse, `1/(a*exp(k*t) + b)`, their constants near the right
    ones."""
    yield from _sums(problem, operators)
    if problem.has_sign and ("/" in operators or "inv" in operators):
        squares = np.square(problem.core)
        inverse = replace(problem, core=1.0 / problem.core, weight=problem.weight * squares)
        if inverse.is_finite:
            yield from (1 / expr for expr in _sums(inverse, operators))


def _sums(problem: Problem, operators: OperatorSet) -> Iterator[sympy.Expr]:
    if not 0 < len(problem.variables) <= _MOST_VARIABLES or "*" not in operators:
        return
    variables = [v for v in problem.variables if _takes_a_rate(v, problem.dimensions)]
    atoms = [atom for v in variables for atom in _atoms(problem, v, operators)]
    if not atoms:
        return
    products: list[Product] = [(atom,) for atom in atoms]
    products += [
        (a, b)
        for a, b in combinations(atoms, 2)
        if a.variable is not b.variable or (a.name == "exp") != (b.name == "exp")
    ]
    if not products:
        return
    rows = np.random.default_rng(0).permutation(len(problem.core))[:ROWS]
    known = {atom: atom.values[rows] for atom in atoms}
    with np.errstate(all="ignore"):
        values = [math.prod(known[atom] for atom in p) for p in products]
    sizes = np.array([len(p) for p in products])
    target, weight = problem.core[rows], problem.weight[rows]
    for found in best_sums(np.array(values), sizes, target, weight, _TRIED).values():
        for sum_ in found[:_TRIED]:
            chosen = [products[place] for place in sum_.places]
            yield from _exprs(problem, chosen, operators)


def _takes_a_rate(variable: Variable, rules: Dimensions) -> bool:
    """Whether a multiple of it may be a pure number, and a multiple of one the output."""
    of = rules.combine("*", rules.of_constant, variable.dimension or FREE)
    wave = None if of is None else rules.combine("exp", of)
    multiple = None if wave is None else rules.combine("*", rules.of_constant, wave)
    return multiple is not None and rules.fits(multiple)


def _atoms(problem: Problem, variable: Variable, operators: OperatorSet) -> Iterator[Atom]:
    width = float(np.ptp(variable.values))
    if "exp" in operators:
        for rate in _RATES:
            yield Atom("exp", variable, rate / width)
            yield Atom("exp", variable, -rate / width)
    waves = [name for name in ("sin", "cos") if name in operators]
    if waves:
        for frequency in (*_SLOW, *_strongest(problem, variable, width)):
            for name in ("sin", "cos"):
                yield Atom(name, variable, frequency / width)


def _strongest(problem: Problem, variable: Variable, width: float) -> list[float]:
    """Frequencies at which the spectra of the core have their highest peaks."""
    grid = np.arange(_SLOW[-1], _FASTEST, 0.4)
    power = np.zeros(len(grid))
    for part in _parts(problem, variable):
        x = variable.values[part] * (1.0 / width)
        y = problem.core[part] * problem.weight[part]
        y = y - y.mean()
        power += np.abs(np.exp(1j * np.outer(grid, x)) @ y) ** 2
    peaks = np.flatnonzero((power >= np.roll(power, 1)) & (power >= np.roll(power, -1)))
    return grid[peaks[np.argsort(-power[peaks])[:_STRONGEST]]].tolist()


def _parts(problem: Problem, variable: Variable) -> list[Array]:
    """Rows by the size of another variable."""
    others = [v for v in problem.variables if v is not variable]
    rows = np.arange(len(problem.core))
    if not others:
        return [rows]
    return [part for v in others for part in np.array_split(np.argsort(v.values), _PARTS)]


def _exprs(
    problem: Problem, products: Sequence[Product], operators: OperatorSet
) -> Iterator[sympy.Expr]:
    """Their sum; two that are a sine and a cosine of one frequency as a wave with a phase, of which
    one of the two operators is enough."""
    spelled = all(atom.name in operators for product in products for atom in product)
    columns = [math.prod(atom.values for atom in product) for product in products]
    for constant in (False, True):
        basis = np.column_stack([*columns, *([np.ones(len(problem.core))] * constant)])
        factors = linear(basis, problem.core, problem.weight**2, equilibrate=True).tolist()
        terms = [
            sympy.Float(factor) * sympy.Mul(*(atom.expr() for atom in product))
            for factor, product in zip(factors, products, strict=False)
        ]
        rest = sympy.Float(factors[-1]) if constant else sympy.S.Zero
        if spelled:
            yield sympy.Add(*terms) + rest
        wave = _wave(products, factors, "cos" in operators)
        if wave is not None:
            yield wave + rest


def _wave(
    products: Sequence[Product], factors: Sequence[float], as_cosine: bool
) -> sympy.Expr | None:
    if len(products) != 2:
        return None
    first, second = map(set, products)
    turned = sorted(first ^ second, key=lambda atom: atom.name)
    if len(turned) != 2 or [atom.name for atom in turned] != ["cos", "sin"]:
        return None
    cosine, sine = turned
    if cosine.variable is not sine.variable or cosine.constant != sine.constant:
        return None
    a, b = factors[:2] if cosine in first else (factors[1], factors[0])
    # a cos(u) + b sin(u) = r cos(u - p) = r sin(u + pi/2 - p)
    size, phase = math.hypot(a, b), math.atan2(b, a)
    envelope = sympy.Mul(*(atom.expr() for atom in first & second))
    turned_by = cosine.expr(-phase) if as_cosine else sine.expr(0.5 * math.pi - phase)
    return sympy.Float(size) * envelope * turned_by
