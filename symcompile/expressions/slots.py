"""Numbered slots: the places of an equation where a fitted constant sits.

A slot is a sympy symbol whose name no identifier can have, so it never collides with an input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

import sympy

from symcompile.errors import ExpressionError

# Whole numbers beyond this, and fractions of other denominators, are not read as exact.
_LARGEST = 1000
_DENOMINATORS = (1, 2, 3, 4, 5, 6, 8, 9, 12)

# Whole exponents up to this are exact; what is beyond overflows whatever it is.
_LARGEST_EXPONENT = 10_000

_NAME = re.compile(r"c\[(\d+)\]\Z")


def slot(index: int) -> sympy.Symbol:
    """The slot with this number, printed as `c[0]`."""
    return sympy.Symbol(f"c[{index}]")


@lru_cache(maxsize=1 << 12)
def slot_index(symbol: sympy.Basic) -> int | None:
    """The number of a slot, None for every other symbol."""
    match = _NAME.match(symbol.name) if isinstance(symbol, sympy.Symbol) else None
    return int(match.group(1)) if match else None


@lru_cache(maxsize=1 << 16)
def is_constant(expr: sympy.Basic) -> bool:
    """Whether an expression holds numbers and slots only."""
    return all(slot_index(symbol) is not None for symbol in expr.free_symbols)


def slots_of(expr: sympy.Basic) -> list[int]:
    """Numbers of the slots in an expression, ascending."""
    indices = (slot_index(symbol) for symbol in expr.free_symbols)
    return sorted(index for index in indices if index is not None)


def as_sympy(value: object) -> sympy.Basic:
    """An expression or a number as sympy has it. Of anything else, text above all, sympy would make
    one by evaluating it: ExpressionError."""
    try:
        return sympy.sympify(value, strict=True)
    except sympy.SympifyError:
        raise ExpressionError(
            f"a {type(value).__name__} is no sympy expression: expected one, or a number; text is"
            " read by symcompile.expressions.parser.parse"
        ) from None


def fill(expr: sympy.Expr, constants: Sequence[float]) -> sympy.Expr:
    """The expression with its constants written in, those that are exact as exact numbers.

    Raises ExpressionError where sympy finds out by them that it is not real: a Min of sqrt(-1).
    """
    try:
        return real(expr.xreplace({slot(i): exact(value) for i, value in enumerate(constants)}))
    except Exception as error:  # sympy raises what it likes
        raise ExpressionError(f"{expr} is no real number with these constants: {error}") from None


def real(expr: sympy.Expr) -> sympy.Expr:
    """The expression without real and imaginary parts of what is real: everything here is.

    sympy can't know it of plain symbols, and writes abs(exp(sin(x))) with sin(x)*cosh(im(x)).
    """
    if not expr.has(sympy.re, sympy.im, sympy.conjugate):
        return expr
    for part in (sympy.re, sympy.conjugate):
        expr = expr.replace(part, lambda inner: inner)
    return expr.replace(sympy.im, lambda inner: sympy.S.Zero)


def is_finite(expr: sympy.Basic) -> bool:
    """Whether all numbers in an expression are finite and real, in float64."""
    if expr.has(sympy.nan, sympy.zoo, sympy.oo, sympy.S.NegativeInfinity, sympy.I):
        return False
    return all(_is_held(number) for number in expr.atoms(sympy.Number))


def _is_held(number: sympy.Number) -> bool:
    """By a float64: sympy takes a whole number of any size out of a floor."""
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def exact(value: float) -> sympy.Expr:
    """The whole number, fraction or multiple of pi that a constant is to the last bit, else itself.

    A fitted or trained constant meets none of these bit by bit; one that was snapped does, so a
    slot stays trainable and still reads as `pi` until training moves it. One that training has
    driven out of the numbers is a symbol, `nan` or `inf`: sympy's own would swallow what is around.
    """
    if not math.isfinite(value):
        symbol = sympy.Symbol("nan" if math.isnan(value) else "inf")
        return -symbol if value < 0 else symbol
    if abs(value) > _LARGEST:
        return sympy.Float(value)
    if value == round(value):
        return sympy.Integer(round(value))
    for unit, symbol in ((1.0, sympy.S.One), (math.pi, sympy.pi)):
        for q in _DENOMINATORS:
            p = round(value / unit * q)
            # 0.5 and 2.4 read better as decimals.
            plain = symbol is sympy.S.One and q % 3
            if p and not plain and math.gcd(p, q) == 1 and value == p * unit / q:
                return sympy.Rational(p, q) * symbol
    return sympy.Float(value)


def walk(expr: sympy.Basic) -> Iterator[sympy.Basic]:
    """Every node, parents first, in the order of `args`.

    sympy's preorder_traversal takes the arguments of Min, Max, And and Or from a set: their order,
    and so the numbers of slots, would depend on the hash seed of the process.
    """
    pending = [expr]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed(node.args)


def exact_exponents(expr: sympy.Expr, constants: Sequence[float] = ()) -> sympy.Expr:
    """The expression with exponents that are whole, or one half, as exact numbers.

    They belong to the form: a float in the place of the 2 in x**2 could be trained, and its
    derivative is NaN wherever x is negative.

    Args:
        constants: value of each slot; slots keep their numbers, also where one is not used any
            more.
    """
    try:
        return _with_exact_exponents(expr, constants)
    except Exception:  # sympy raises what it likes: it finds a Min of sqrt(-1)
        return expr


def _with_exact_exponents(expr: sympy.Expr, constants: Sequence[float]) -> sympy.Expr:
    if not any(node.is_Pow and _is_inexact(node.exp) for node in walk(expr)):
        return expr
    args = [
        _with_exact_exponents(arg, constants) if isinstance(arg, sympy.Expr) else arg
        for arg in expr.args
    ]
    if not (expr.is_Pow and _is_inexact(expr.exp)):
        return rebuilt(expr, args)
    return sympy.Pow(args[0], exact_exponent(expr.exp, constants))


def exact_exponent(exponent: sympy.Expr, constants: Sequence[float] = ()) -> sympy.Expr:
    """An exponent of numbers and slots as the whole number or half that it is, else itself."""
    values = {slot(k): sympy.Float(value) for k, value in enumerate(constants)}
    try:
        value = whole_or_half(float(exponent.xreplace(values)))
    except (TypeError, ValueError, OverflowError):  # a slot whose value is not known
        return exponent
    return exponent if value is None else sympy.Rational(value)


def whole_or_half(value: float) -> int | Fraction | None:
    """The whole number or half that an exponent is, if it is one."""
    if abs(value) == 0.5:
        return Fraction(round(2 * value), 2)
    is_whole = abs(value) <= _LARGEST_EXPONENT and value == round(value)
    return round(value) if is_whole else None


def _is_inexact(exponent: sympy.Expr) -> bool:
    """Whether it is constant, with a float or a slot in it."""
    return is_constant(exponent) and (bool(exponent.free_symbols) or exponent.has(sympy.Float))


def rebuilt(expr: sympy.Basic, args: Sequence[sympy.Basic]) -> sympy.Basic:
    """The expression with these arguments; itself where they are its own, since sympy compares each
    two arguments of a Min or Max again whenever one is built."""
    return expr if tuple(args) == expr.args else expr.func(*args)


def extract(expr: sympy.Expr) -> tuple[sympy.Expr, tuple[float, ...]]:
    """Replace every floating-point number of `expr` by a slot, in the order of a walk.

    Whole numbers, fractions, pi and E are exact and stay in the form; so do exponents that are
    whole, see `exact_exponents`. Raises ExpressionError for an expression that has slots already,
    since their values are not known here, and for numbers that no float64 holds.
    """
    if slots_of(expr):
        raise ExpressionError(f"{expr} has open constants: write their values in first")
    if not is_finite(expr):
        raise ExpressionError(f"{expr} holds a number that is not finite and real in float64")
    expr = exact_exponents(real(expr))
    floats = dict.fromkeys(node for node in walk(expr) if node.is_Float)
    form = expr.xreplace({value: slot(index) for index, value in enumerate(floats)})
    return form, tuple(float(value) for value in floats)


def renumber(expr: sympy.Expr, constants: Sequence[float]) -> tuple[sympy.Expr, tuple[float, ...]]:
    """Number the slots 0, 1, ... in the order of a walk, and drop constants that no slot uses."""
    indices = map(slot_index, walk(expr))
    order = list(dict.fromkeys(index for index in indices if index is not None))
    form = expr.xreplace({slot(old): slot(new) for new, old in enumerate(order)})
    return form, tuple(float(constants[old]) for old in order)


def skeleton(expr: sympy.Expr) -> sympy.Expr:
    """The terms of a form without the constants that scale them; those that shift them are 1.

    `1.01*exp(-2*t)*cos(20*t - 0.1)` and `exp(-2*t)*cos(20*t + 0.3)` have the same skeleton,
    `exp(t)*cos(t + 1)`.
    """
    if is_constant(expr):
        return sympy.S.One
    if isinstance(expr, sympy.Add):
        return expr.func(*{skeleton(arg) for arg in expr.args})
    if isinstance(expr, sympy.Mul):
        return expr.func(*(skeleton(arg) for arg in expr.args if not is_constant(arg)))
    if isinstance(expr, sympy.Pow) and expr.exp.is_number:
        return sympy.Pow(skeleton(expr.base), expr.exp)
    if isinstance(expr, sympy.Piecewise) or not expr.args:
        return expr
    return expr.func(*(skeleton(arg) for arg in expr.args))
