"""Forms of an equation: canonical, with a term, factor or function less, and with exact numbers in
the place of constants that are near them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import sympy

from symcompile.expressions.canonical import UNUSABLE, canonical
from symcompile.expressions.complexity import allowed, complexity, spellable
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import is_constant, renumber, slot
from symcompile.regression.choice import ROUNDING
from symcompile.regression.dataset import Dataset

# Numbers that are believed: multiples p/q of a unit, with the largest p for each q. Simple ones
# only: whatever the constant is, some 19*pi/3 lies near.
_SIMPLE = (
    (1.0, sympy.S.One, {1: 100, 2: 20, 3: 20, 4: 20, 5: 20}),
    (math.pi, sympy.pi, {1: 4, 2: 5, 3: 5, 4: 5}),
)
# float64 fits reproduce a constant to about this share of it, whatever their standard error says.
_ROUNDING = 1e-9
# A number is believed only if an interval of this many half widths holds no other of its kind.
_RARITY = 200.0


def candidate(
    expr: sympy.Expr,
    constants: Sequence[float],
    names: Sequence[str],
    operators: OperatorSet,
    data: Dataset,
) -> Equation | None:
    """An expression in canonical form with its loss; None where the operators can't spell it, or it
    is not finite on the data."""
    try:
        for form, values in _forms(expr, constants, operators):
            if spellable(form, operators):
                equation = Equation(form, tuple(names), values, complexity(form, operators))
                equation = replace(equation, loss=data.loss_of(equation))
                return equation if math.isfinite(equation.loss) else None
    except UNUSABLE:
        pass
    return None


def _forms(
    expr: sympy.Expr, constants: Sequence[float], operators: OperatorSet
) -> Iterator[tuple[sympy.Expr, tuple[float, ...]]]:
    """The canonical form, and what may go together where that does not in its dimensions.

    A constant that happens to be 1 is no factor of a canonical form, though it may have a
    dimension; and whatever finds forms adds a constant to them.
    """
    form, values = canonical(expr, constants, operators)
    yield form, values
    if operators.dimensions is not None:
        yield renumber(expr, constants)
        terms = sympy.Add.make_args(form)
        varying = [term for term in terms if not is_constant(term)]
        if 0 < len(varying) < len(terms):
            yield from _forms(sympy.Add(*varying), values, operators)


def reductions(expr: sympy.Expr) -> Iterator[sympy.Expr]:
    """Each expression that leaves out one term of a sum, one factor of a product or one function,
    anywhere."""
    if expr.is_Atom or is_constant(expr):
        return
    if expr.is_Add or expr.is_Mul:
        for position in range(len(expr.args)):
            yield expr.func(*expr.args[:position], *expr.args[position + 1 :])
    if expr.is_Pow and expr.exp.is_Number:
        yield expr.base
    for position, arg in enumerate(expr.args):
        if isinstance(arg, sympy.Expr):
            for smaller in reductions(arg):
                yield expr.func(*expr.args[:position], smaller, *expr.args[position + 1 :])


def without_dead_terms(equation: Equation, data: Dataset, operators: OperatorSet) -> Equation:
    """The equation without terms and factors that change nothing; itself where all count.

    A search and a fit leave such terms where they stand in for the digits of others: `- 4.2e-17*V`
    in a denominator, `cos(6e-9*t)`. A term is dead if without it no value changes by more than a
    loss that counts as rounding, though no other constant moves: none has to be fitted again then.
    """
    values, limit = equation.predict(data.X), ROUNDING * data.constant_loss
    for form in reductions(equation.form):
        try:
            change = replace(equation, form=form).predict(data.X) - values
            if not data.loss.mean(change, None) <= limit:
                continue
            shorter = [
                equation.with_form(*found, operators)
                for found in _forms(form, equation.constants, operators)
                if allowed(found[0], operators)
            ]
        except UNUSABLE:
            continue
        if shorter and shorter[0].complexity < equation.complexity:
            return without_dead_terms(shorter[0], data, operators)
    return equation


def exact_values(value: float, half_width: float) -> Iterator[sympy.Expr]:
    """Integers, fractions of small denominator and multiples of pi within `half_width`.

    A fraction with denominator q counts only if the interval is much narrower than the gap
    between such fractions: with a wide interval there is always one, which says nothing.
    """
    width = max(half_width, _ROUNDING * abs(value))
    if not math.isfinite(value) or not math.isfinite(width):
        return
    for unit, symbol, largest in _SIMPLE:
        for q, limit in largest.items():
            if abs(value) > (limit + 1) * unit / q:
                continue
            p = round(value / unit * q)
            if p == 0 or math.gcd(p, q) != 1 or abs(p) > limit:
                continue
            if abs(p * unit / q - value) <= width < unit / q / _RARITY:
                yield sympy.Rational(p, q) * symbol


def reopen(form: sympy.Expr, constants: Sequence[float]) -> tuple[sympy.Expr, tuple[float, ...]]:
    """Make exact factors and terms slots again, whose values are exact.

    A slot can be trained, and its value can drift without a change of form; it still reads as the
    exact number, see `slots.exact`. Factors of 1 and -1 and whole exponents belong to the form.
    """
    values = list(constants)

    def visit(expr: sympy.Expr) -> sympy.Expr:
        if expr.is_number:
            return opened(expr)
        if isinstance(expr, (sympy.Add, sympy.Mul)):
            numbers = [arg for arg in expr.args if arg.is_number]
            others = [visit(arg) for arg in expr.args if not arg.is_number]
            return expr.func(*([opened(expr.func(*numbers))] if numbers else []), *others)
        if isinstance(expr, sympy.Pow) and expr.exp.is_number:
            return sympy.Pow(visit(expr.base), expr.exp)
        if isinstance(expr, sympy.Piecewise) or not expr.args:
            return expr
        return expr.func(*(visit(arg) for arg in expr.args))

    def opened(number: sympy.Expr) -> sympy.Expr:
        if number in (sympy.S.One, sympy.S.NegativeOne) or not number.is_real:
            return number
        values.append(float(number))
        return slot(len(values) - 1)

    return renumber(visit(form), values)
