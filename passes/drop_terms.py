"""The forms that have one term, one factor or one function less than a given one."""

from __future__ import annotations

from collections.abc import Iterator

import sympy

from symcompile.slots import is_constant


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
