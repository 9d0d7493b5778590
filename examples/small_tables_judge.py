"""Whether an equation that was found in a small table has the form of its law.

The constants of a small noisy table are never those of the law. So the constants of the equation
are fitted to exact values of the law, over the range of the rows and half a range beyond: the right
form comes to agree with them, another does not. It has to be the law and no more: where a term, a
function or an input can be left out and the rest agrees as well, the equation is overgrown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import sympy
from small_tables_data import Array, Table

from symcompile import Equation
from symcompile.expressions.canonical import UNUSABLE
from symcompile.expressions.slots import is_constant, renumber, skeleton
from symcompile.regression.dataset import Dataset
from symcompile.regression.least_squares import fit_constants

# Error that is agreement, as a share of the spread of the law. The right form can meet exact values
# exactly; six constants in another come within 1e-3 of many a smooth curve.
SAME = 1e-5
# So many constants more than the law: where it has whole numbers, or the same constant twice.
MORE = 2
# Starts of a fit, and how far they are apart: factors exp(normal * SPREAD).
STARTS, SPREAD = 6, 1.0


@dataclass(frozen=True)
class Judge:
    """Knows the law of one table."""

    table: Table

    @cached_property
    def truth(self) -> Dataset:
        """Exact values of the law where it is defined."""
        law = self.law
        X = self.table.wide()
        with np.errstate(all="ignore"):
            y = law.predict(X)
        defined = np.isfinite(y)
        return Dataset(X[defined], y[defined])

    @property
    def law(self) -> Equation:
        """The law; that of measured rows with the constants that fit them."""
        law = self.table.equation
        if self.table.rows is None:
            return law
        fitted = fit_constants(law, Dataset(*self.table.samples(0.0, 0)), 200)
        return replace(law, constants=fitted.constants)

    def is_right(self, equation: Equation) -> bool:
        """Whether an equation has the form of the law and nothing beside it."""
        if not equation.uses:
            return not self.table.equation.uses
        few = len(equation.constants) <= len(self.table.equation.constants) + MORE
        if not self.table.equation.uses or not few or not self.agrees(equation):
            return False
        return not any(self.agrees(shorter) for shorter in _shorter(equation))

    def agrees(self, equation: Equation) -> bool:
        """Whether some constants make it the law."""
        y = self.truth.y
        limit = SAME * max(float(np.linalg.norm(y - y.mean())), 1e-300)
        try:
            with np.errstate(all="ignore"):
                return any(_distance(start, self.truth) <= limit for start in _starts(equation))
        except UNUSABLE:
            return False


def _distance(equation: Equation, truth: Dataset) -> float:
    """Norm of the error that is left after a fit; infinite if it is nowhere defined."""
    fitted = fit_constants(equation, truth, 100, rtol=1e-12)
    error: Array = replace(equation, constants=fitted.constants).predict(truth.X) - truth.y
    norm = float(np.linalg.norm(error))
    return norm if np.isfinite(norm) else np.inf


def _starts(equation: Equation) -> Iterator[Equation]:
    """The equation, and others of its form."""
    yield equation
    rng = np.random.default_rng(0)
    for _ in range(STARTS - 1 if equation.constants else 0):
        factors = np.exp(SPREAD * rng.normal(size=len(equation.constants)))
        yield equation.with_constants((np.array(equation.constants) * factors).tolist())


def _shorter(equation: Equation) -> Iterator[Equation]:
    """The equation without one of its parts and the constants in there. Constant factors stay: a
    law may have a 1 there. What has as many constants is another spelling, not less."""
    whole = skeleton(equation.form)
    for form in _reductions(equation.form):
        if skeleton(form) != whole and not form.has(sympy.nan, sympy.zoo):
            shorter, constants = renumber(form, equation.constants)
            if len(constants) < len(equation.constants):
                yield replace(equation, form=shorter, constants=constants)


def _reductions(expr: sympy.Expr) -> Iterator[sympy.Expr]:
    """The expression without one term of a sum, one factor of a product or one power, anywhere."""
    if expr.is_Atom or is_constant(expr):
        return
    if expr.is_Add or expr.is_Mul:
        for position in range(len(expr.args)):
            yield expr.func(*expr.args[:position], *expr.args[position + 1 :])
    if expr.is_Pow and expr.exp.is_Number:
        yield expr.base
    for position, arg in enumerate(expr.args):
        for smaller in _reductions(arg):
            yield expr.func(*expr.args[:position], smaller, *expr.args[position + 1 :])
