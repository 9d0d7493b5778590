"""How trees are built: `add`, `mul`, `power` and `function`, each of which gives the one shape.

Numbers are real: (x**3)**(1/2) is x**(3/2), and log(exp(x)) is x. Where a rule makes a function
known where it was not, as sqrt(x)**2 of a negative number, it is one of sympy's as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from operator import is_

import numpy as np

from symcompile.expressions.evaluation import VALUES
from symcompile.expressions.light_tree import (
    HALF,
    MINUS_ONE,
    ONE,
    ZERO,
    E,
    Exact,
    LightTree,
    number,
    order,
    parts,
)
from symcompile.expressions.operators import OPERATORS

# Powers of exact numbers are computed up to so many digits.
_MOST_DIGITS = 300


def rebuilt(op: str, args: tuple[LightTree, ...]) -> LightTree:
    """An operation of a program on arguments, in its one shape."""
    build = _BUILDERS.get(op)
    return function(op, args) if build is None else build(args)


def with_args(tree: LightTree, args: Iterable[LightTree]) -> LightTree:
    """The same operation on these; itself where they are its own."""
    new = tuple(args)
    if all(map(is_, new, tree.args)):
        return tree
    if tree.value is not None:
        return LightTree(tree.op, new, tree.value)
    return rebuilt(tree.op, new)


def negative(tree: LightTree) -> LightTree:
    return mul((MINUS_ONE, tree))


def inverse(tree: LightTree) -> LightTree:
    return power(tree, MINUS_ONE)


# --- sums and products -------------------------------------------------------------------------


def add(terms: Iterable[LightTree]) -> LightTree:
    """A sum: flat, like terms merged as far as their factors are exact."""
    total: Exact = 0
    found: dict[LightTree, LightTree] = {}
    again: dict[LightTree, Exact] = {}
    for arg in terms:
        for term in arg.args if arg.op == "add" else (arg,):
            count, rest = coefficient(term)
            if rest is ONE:
                total += count
            elif rest in found:
                again[rest] = again.get(rest, coefficient(found[rest])[0]) + count
            else:
                found[rest] = term
    for rest, count in again.items():
        if count:
            found[rest] = rest if count == 1 else _times(count, rest)
        else:
            del found[rest]
    ordered = [found[rest] for rest in sorted(found, key=order)]
    if total:
        ordered.insert(0, number(total))
    return some("add", ordered)


def coefficient(term: LightTree) -> tuple[Exact, LightTree]:
    """The exact factor of a term, and the rest of it."""
    if term.op == "number":
        return (1, term) if type(term.value) is str else (term.value, ONE)
    if term.op == "mul" and (first := term.args[0].rational) is not None:
        return first, some("mul", term.args[1:])
    return 1, term


def _times(count: Exact, rest: LightTree) -> LightTree:
    """A number, neither 0 nor 1, times what has no exact factor."""
    if rest.op == "add":
        return add([mul((number(count), term)) for term in rest.args])
    return LightTree("mul", (number(count), *parts("mul", rest)))


def mul(factors: Iterable[LightTree]) -> LightTree:
    """A product: flat, powers of one base merged. A number times one sum is multiplied in."""
    count: Exact = 1
    found: dict[LightTree, LightTree] = {}
    again: dict[LightTree, list[LightTree]] = {}
    for arg in factors:
        for factor in arg.args if arg.op == "mul" else (arg,):
            op = factor.op
            if op == "number" and type(factor.value) is not str:
                count *= factor.value
                continue
            base = factor.args[0] if op == "pow" else E if op == "exp" else factor
            if base in found:
                again.setdefault(base, []).append(factor)
            else:
                found[base] = factor
    if count == 0:
        return ZERO
    for base, powers in again.items():
        found[base] = power(base, add(map(_exponent, (found[base], *powers))))
    if any(found[base].op in ("number", "mul") for base in again):
        return mul([number(count), *found.values()])  # sqrt(x*y)**2, or sqrt(2)**2
    return _product(count, list(found.values()))


def _product(count: Exact, found: list[LightTree]) -> LightTree:
    if len(found) < 2:
        if not found or count == 1:
            return found[0] if found else number(count)
        return _times(count, found[0])
    found.sort(key=order)
    return LightTree("mul", tuple(found) if count == 1 else (number(count), *found))


def _exponent(factor: LightTree) -> LightTree:
    if factor.op == "pow":
        return factor.args[1]
    return factor.args[0] if factor.op == "exp" else ONE


def times(constant: LightTree, rest: LightTree) -> LightTree:
    """A slot or number times what has no constant factor, as `mul` gives it."""
    if constant is ONE:
        return rest
    if constant.op != "slot" or not rest.args:
        return mul((constant, rest))
    return LightTree("mul", (constant, *parts("mul", rest)))


def some(op: str, args: Sequence[LightTree]) -> LightTree:
    """Of the terms of a sum or the factors of a product, in their order, the sum or product."""
    if len(args) > 1:
        return LightTree(op, tuple(args))
    return args[0] if args else ONE if op == "mul" else ZERO


# --- powers ------------------------------------------------------------------------------------


def power(base: LightTree, exponent: LightTree) -> LightTree:
    """A power; ZeroDivisionError for a negative one of zero."""
    if exponent is ONE or base is ONE:
        return base
    if exponent is ZERO:
        return ONE
    if base.value == "e":
        return function("exp", (exponent,))
    if base.op == "exp" and exponent.is_constant:
        return function("exp", (mul((exponent, base.args[0])),))
    exact = exponent.rational
    if exact is None:
        return LightTree("pow", (base, exponent))
    if base.op == "number" and base.rational is not None:
        return _power_of_number(base.value, exact)
    if base.op == "pow" and _joins(base.args[1].rational, exact):
        return power(base.args[0], mul((base.args[1], exponent)))
    if base.op == "abs" and type(exact) is int and exact % 2 == 0:
        return power(base.args[0], exponent)
    if base.op == "mul":
        return _power_of_product(base, exact)
    if base.op == "add" and type(exact) is int and exact % 2 == 0 and _is_minus(base):
        base = negative(base)
    return LightTree("pow", (base, exponent))


def _joins(inner: Exact | None, outer: Exact) -> bool:
    """Whether (b**inner)**outer is b**(inner*outer): an even power is no way back from b < 0."""
    if type(outer) is int:
        return True
    return inner is not None and (type(inner) is not int or inner % 2 == 1)


def _power_of_product(base: LightTree, exact: Exact) -> LightTree:
    exponent = number(exact)
    if type(exact) is int:
        return mul([power(factor, exponent) for factor in base.args])
    count, rest = coefficient(base)
    if count in (1, -1):
        return LightTree("pow", (base, exponent))
    rest = rest if count > 0 else negative(rest)
    return mul((power(number(_size(count)), exponent), power(rest, exponent)))


def _size(count: Exact) -> Exact:
    return -count if count < 0 else count


def _power_of_number(base: Exact, exponent: Exact) -> LightTree:
    if type(exponent) is int:
        digits = abs(exponent) * max(len(str(base)), 1)
        if digits <= _MOST_DIGITS or base in (0, 1, -1):
            return number(Fraction(base) ** exponent)
    elif base > 0:
        fraction = Fraction(base)
        roots = [_root(part, exponent.denominator) for part in fraction.as_integer_ratio()]
        if None not in roots:
            return _power_of_number(Fraction(*roots), exponent.numerator)  # type: ignore[arg-type]
    return LightTree("pow", (number(base), number(exponent)))


def _root(value: int, degree: int) -> int | None:
    """The whole number of which this is that power."""
    if value.bit_length() > 1000:
        return None
    guess = round(value ** (1.0 / degree))
    return guess if guess**degree == value else None


# --- functions ---------------------------------------------------------------------------------

_ODD = frozenset(op for op, row in OPERATORS.items() if row.odd)
_EVEN = frozenset(("cos", "cosh", "abs"))
_INVERSES = {
    "exp": "log", "log": "exp", "sin": "asin", "cos": "acos", "tan": "atan", "sinh": "asinh",
    "cosh": "acosh", "tanh": "atanh",
}  # fmt: skip
_EXTREMES = frozenset(("min", "max"))
_NOT_NEGATIVE = frozenset(("abs", "exp", "cosh", "sigmoid", "softplus", "gauss", "relu", "hypot"))


def function(op: str, args: tuple[LightTree, ...]) -> LightTree:
    """A function of the table: minus signs out of it, its own inverse undone."""
    if op in _EXTREMES:
        return _extreme(op, args)
    if all(arg.rational is not None for arg in args) and (value := _known(op, args)) is not None:
        return value
    if len(args) == 1:
        (inner,) = args
        if inner.op == _INVERSES.get(op):
            return inner.args[0]
        if op == "exp" and (log := _logarithm(inner)) is not None:
            return log
        if op == "abs":
            return _absolute(inner)
        if (op in _ODD or op in _EVEN) and _is_minus(inner):
            positive = function(op, (negative(inner),))
            return positive if op in _EVEN else negative(positive)
    elif OPERATORS[op].nary:
        args = tuple(sorted({part: None for arg in args for part in parts(op, arg)}, key=order))
        if len(args) == 1:
            return args[0]
    return LightTree(op, args)


def _is_minus(tree: LightTree) -> bool:
    """Whether the first varying term has a negative exact factor."""
    for term in parts("add", tree):
        if not term.is_constant or tree.is_constant:
            return coefficient(term)[0] < 0
    return False


def _logarithm(inner: LightTree) -> LightTree | None:
    """exp(2*log(a)) as a**2."""
    count, rest = coefficient(inner)
    return power(rest.args[0], number(count)) if rest.op == "log" else None


def _absolute(inner: LightTree) -> LightTree:
    count, rest = coefficient(inner)
    if rest is ONE:
        return number(_size(count))
    exponent = rest.args[1].rational if rest.op == "pow" else None
    sure = rest.op in _NOT_NEGATIVE or (
        exponent is not None and (type(exponent) is not int or exponent % 2 == 0)
    )
    if not sure and _is_minus(rest):
        rest = negative(rest)
    return mul((number(_size(count)), rest if sure else LightTree("abs", (rest,))))


def _extreme(op: str, args: Iterable[LightTree]) -> LightTree:
    found: dict[LightTree, None] = {part: None for arg in args for part in parts(op, arg)}
    exact = [tree.rational for tree in found if tree.rational is not None]
    if len(exact) > 1:
        known = number(min(exact) if op == "min" else max(exact))
        found = {tree: None for tree in found if tree.rational is None} | {known: None}
    ordered = sorted(found, key=order)
    return ordered[0] if len(ordered) == 1 else LightTree(op, tuple(ordered))


# Of any whole numbers these are whole, of others at 0 and 1 only: cos(0), log(1).
_WHOLE, _LARGE = frozenset(("floor", "ceil", "round", "sign", "abs", "relu", "mod")), 1e9


def _known(op: str, args: tuple[LightTree, ...]) -> LightTree | None:
    """The whole number that a function of exact numbers is."""
    values = [arg.value for arg in args]
    simple = all(value in (0, 1) for value in values)
    if OPERATORS[op].truth or not (simple or (op in _WHOLE and max(map(abs, values)) < _LARGE)):
        return None
    with np.errstate(all="ignore"):
        value = float(VALUES[op](*map(np.float64, values)))
    return number(int(value)) if abs(value) < _LARGE and value == round(value) else None


_BUILDERS: dict[str, Callable[[tuple[LightTree, ...]], LightTree]] = {
    "add": add,
    "mul": mul,
    "pow": lambda args: power(*args),
    "sub": lambda args: add((args[0], negative(args[1]))),
    "div": lambda args: mul((args[0], inverse(args[1]))),
    "neg": lambda args: negative(args[0]),
    "sqrt": lambda args: power(args[0], HALF),
}
