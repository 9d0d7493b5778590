"""The forms that have one term, one factor or one function less than a given one; and a form
without what is dead in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import sympy

from symcompile.expressions.canonical import UNUSABLE, canonical
from symcompile.expressions.complexity import complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.operators import OperatorSet
from symcompile.expressions.slots import is_constant


def reductions(expr: sympy.Expr) -> Iterator[sympy.Expr]:
    """Each expression that leaves out one term of a sum or one factor of a product, anywhere."""
    if expr.is_Atom or is_constant(expr):
        return
    if expr.is_Add or expr.is_Mul:
        for position in range(len(expr.args)):
            yield expr.func(*expr.args[:position], *expr.args[position + 1 :])
    if expr.is_Pow and expr.exp.is_Number:
        yield expr.base
    for position, arg in enumerate(expr.args):
        if not isinstance(arg, sympy.Expr):
            continue
        for smaller in reductions(arg):
            yield expr.func(*expr.args[:position], smaller, *expr.args[position + 1 :])


def without_dead_terms(
    equation: Equation,
    change: Callable[[Equation, Equation], float],
    rounding: float,
    operators: OperatorSet,
) -> Equation:
    """The equation without terms and factors that change nothing; itself where all count.

    A term is dead if the values are the same without it, up to `rounding`, though no other constant
    moves: `- 4.2e-17*V` in a denominator, `cos(6e-9*t)`. No constant needs to be fitted again then.

    Args:
        change: loss of the difference between two equations.
    """
    for form in reductions(equation.form):
        try:
            if not change(replace(equation, form=form), equation) <= rounding:
                continue
            form, constants = canonical(form, equation.constants, operators)
            cost = complexity(form, operators)
        except UNUSABLE:
            continue
        if cost < equation.complexity:
            shorter = replace(equation, form=form, constants=constants, complexity=cost)
            return without_dead_terms(shorter, change, rounding, operators)
    return equation
