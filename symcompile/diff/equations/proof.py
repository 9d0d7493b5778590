"""Prove that two laws are the same function, or find that they are one law once expanded.

Each step writes both sides anew and compares them term by term, coefficients up to rounding. Before
sympy sees a constant it is rounded to fourteen digits and made a fraction, so that the same number
computed in two ways is the same number. What takes too long, or is too large to begin with, is not
proven; that is not an error, and neither is anything that sympy raises on the way.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterator
from typing import Any

import sympy

from symcompile.diff.equations.deadline import Deadline, OutOfTime
from symcompile.diff.equations.equivalence import SAME, Law
from symcompile.diff.equations.pairing import Pairing, pair
from symcompile.diff.equations.shape import constant_value, shape
from symcompile.expressions.canonical import canonical
from symcompile.expressions.expansion import expanded
from symcompile.expressions.operators import VOCABULARY, OperatorSet
from symcompile.expressions.slots import is_constant, slot

PROVEN, NOT_PROVEN = "proven symbolically", "not proven"

# Nodes of an equation, terms of an expanded one, and exponents beyond which sympy is not asked.
_NODES = 400
_TERMS = 1_000
_EXPONENT = 64
_DIGITS = 14
# For multiplying out, which is over at once for what is small enough.
_SECONDS = 2.0

_OPERATORS = OperatorSet.of(list(VOCABULARY))

Pair = tuple[sympy.Expr, sympy.Expr]


def prove(old: Law, new: Law, seconds: float) -> str:
    """PROVEN, or NOT_PROVEN with the reason if that is size or time."""
    if not (_is_small(old) and _is_small(new)):
        return f"{NOT_PROVEN}: too large"
    try:
        with Deadline(seconds) as deadline:
            for step in _STEPS:
                deadline.check()
                if _says_yes(step, old, new):
                    return PROVEN
    except OutOfTime:
        return f"{NOT_PROVEN} in time"
    return NOT_PROVEN


def drifted_when_expanded(old: Law, new: Law) -> Pairing | None:
    """The constants of two laws that are one form once products are multiplied out: 2.5*(x + y)
    and 2.6*x + 2.6*y. None unless that is unambiguous, with as many constants on both sides."""
    if len(set(old.constants)) != len(set(new.constants)):
        return None
    if not (_is_small(old) and _is_small(new)):
        return None
    try:
        with Deadline(_SECONDS):
            found = pair(shape(_multiplied_out(old)), shape(_multiplied_out(new)))
    except OutOfTime:
        return None
    except Exception:  # sympy raises what it likes
        return None
    if found is None or found.ambiguous or found.largest <= SAME:
        return None
    fitted_alike = all(one.old.exact == one.new.exact for one in found.pairs)
    return found if fitted_alike else None


# --- what sympy may be asked ---------------------------------------------------------------------


def _is_small(law: Law) -> bool:
    """Whether sympy can be let near it: no large tree, no long number."""
    if len(law.program.instructions) > _NODES or not all(map(_is_plain, law.constants)):
        return False
    try:
        nodes = list(_nodes(law.form))
        return len(nodes) <= _NODES and all(_is_low(node, law) for node in nodes)
    except RecursionError:
        return False


def _nodes(expr: sympy.Basic) -> Iterator[sympy.Basic]:
    """Every node, up to one more than allowed."""
    pending, count = [expr], 0
    while pending and count <= _NODES:
        count += 1
        node = pending.pop()
        yield node
        pending += node.args


def _is_plain(value: float) -> bool:
    return value == 0.0 or 1e-100 < abs(value) < 1e100


def _is_low(node: sympy.Basic, law: Law) -> bool:
    """Whether a power has a low exponent: 9.0**1e9 has a billion digits as a fraction."""
    if not (node.is_Pow and is_constant(node.exp)):
        return True
    return abs(constant_value(node.exp, law.constants)) <= _EXPONENT


def _multiplied_out(law: Law) -> sympy.Expr:
    filled = law.form.xreplace({slot(k): sympy.Float(v) for k, v in enumerate(law.constants)})
    return _expand(filled, power_exp=False, power_base=False, log=False)


# --- proofs --------------------------------------------------------------------------------------


def _says_yes(step: Callable[[Law, Law], bool], old: Law, new: Law) -> bool:
    try:
        return step(old, new)
    except Exception:  # sympy raises what it likes, RecursionError and MemoryError among it
        return False


def _canonical(old: Law, new: Law) -> bool:
    forms = [canonical(law.form, law.constants, _OPERATORS) for law in (old, new)]
    if not all(value and math.isfinite(value) for _, values in forms for value in values):
        return False  # constants that were merged beyond the range of float64
    found = pair(*(shape(form, values) for form, values in forms))
    return found is not None and found.largest <= SAME


def _expanded(old: Law, new: Law) -> bool:
    return _same_terms(*map(_expand, _exactly(old, new)))


def _trigonometric(old: Law, new: Law) -> bool:
    return _same_terms(*(_expand(sympy.expand_trig(one)) for one in _exactly(old, new)))


def _exponential(old: Law, new: Law) -> bool:
    """As fractions of exponentials, cross-multiplied."""
    fractions = [sympy.fraction(sympy.together(_in_exp(one))) for one in _exactly(old, new)]
    (p, q), (r, s) = fractions
    return _same_terms(_expand(p * s), _expand(r * q))


def _simplified(old: Law, new: Law) -> bool:
    a, b = _exactly(old, new)
    rest = _coefficients(_expand(sympy.simplify(a - b)))
    return not any(rest.values())


_STEPS = (_canonical, _expanded, _trigonometric, _exponential, _simplified)


def _exactly(old: Law, new: Law) -> Pair:
    """Both with fractions for constants, over real symbols."""
    return _exact(old.form, old.constants), _exact(new.form, new.constants)


def _exact(expr: sympy.Basic, constants: tuple[float, ...]) -> Any:
    if isinstance(expr, sympy.Expr) and is_constant(expr):
        if not expr.free_symbols and not expr.has(sympy.Float):
            return expr
        return sympy.Rational(f"{constant_value(expr, constants):.{_DIGITS}g}")
    if expr.is_Symbol:
        return sympy.Symbol(expr.name, real=True)
    return expr.func(*(_exact(arg, constants) for arg in expr.args)) if expr.args else expr


def _in_exp(expr: sympy.Expr) -> sympy.Expr:
    return _expand(expr.rewrite(sympy.exp))


def _expand(expr: sympy.Expr, **hints: bool) -> sympy.Expr:
    found = expanded(expr, _TERMS, **hints)
    if found is None:
        raise ArithmeticError("too many terms")
    return found


def _same_terms(a: sympy.Expr, b: sympy.Expr) -> bool:
    """Whether two sums have the same terms, up to rounding of their coefficients. What cancels has
    to cancel exactly: there is no telling beside which other term it would be small."""
    ours, theirs = _coefficients(a), _coefficients(b)
    return all(_close(ours.get(term, 0.0), theirs.get(term, 0.0)) for term in {*ours, *theirs})


def _close(a: complex, b: complex) -> bool:
    return abs(a - b) <= SAME * max(abs(a), abs(b))


def _coefficients(expr: sympy.Expr) -> dict[sympy.Expr, complex]:
    """The constant factor of each term, by the rest of the term; ArithmeticError if one is beyond
    the range of float64."""
    found: dict[sympy.Expr, complex] = {}
    for term in sympy.Add.make_args(expr):
        number, rest = term.as_independent(*expr.free_symbols, as_Add=False)
        exact = number.evalf(20)
        value = complex(exact)
        if not cmath.isfinite(value) or (value == 0.0) != (exact == 0):
            raise ArithmeticError(f"coefficient {exact}")
        found[rest] = found.get(rest, 0.0) + value
    return found
