"""Scale: samples of extreme magnitude are fitted in units in which their powers are numbers.

An input of 1e60 has a sixth power that no float64 holds; all powers of one of 1e-60 are zero. Such
columns are multiplied by a power of two, which changes no digit, and the equations that are found
are written in the given units again. Columns of ordinary size stay as they are, so that nothing
changes for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import sympy

from symcompile.expressions.canonical import UNUSABLE, canonical
from symcompile.expressions.complexity import allowed
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.slots import slot
from symcompile.regression.fit import Fit
from symcompile.regression.pareto import ParetoFront

# Squares of sixth powers of what is in here are numbers.
_LARGE, _SMALL = 1e20, 1e-20
# Share by which values in given units may differ from those in scaled ones, which are about one.
_SAME = 1e-9
# Losses are squares of outputs, and have to be told apart down to rounding (1e-14 of the variance).
_LARGEST, _SMALLEST = 1e150, 1e-140


@dataclass(frozen=True)
class Units:
    """Powers of two that the inputs and the output are multiplied by.

    Attributes:
        X: one exponent for each input.
        y: that of the output.
    """

    X: tuple[int, ...]
    y: int

    @classmethod
    def of(cls, fit: Fit) -> Units:
        return cls(tuple(map(_exponent, _inputs(fit).T)), _exponent(fit.data.y))

    @property
    def unchanged(self) -> bool:
        """Whether these are the units that the samples are in."""
        return not any((*self.X, self.y))

    def scaled(self, fit: Fit) -> Fit:
        """The fit in these units."""
        if self.unchanged:
            return fit
        data, holdout = (
            replace(samples, X=np.ldexp(samples.X, self.X), y=np.ldexp(samples.y, self.y))
            for samples in (fit.data, fit.holdout)
        )
        guesses = tuple(map(self.scaled_guess, fit.guesses))
        return replace(fit, data=data, holdout=holdout, guesses=guesses)

    def scaled_guess(self, guess: Equation) -> Equation:
        """An equation in the given units in these."""
        return self.rewritten(guess, [-power for power in self.X], self.y)

    @np.errstate(over="ignore")
    def restored(self, front: ParetoFront, fit: Fit) -> ParetoFront:
        """A front of the scaled fit in the units of the fit as it was given.

        What can't be written in them is left out: the constant before the square of an input of
        1e-200 is no number.
        """
        if self.unchanged:
            return front
        equations = [self.equation(equation, fit) for equation in front]
        constant, loss = front.constant_loss, front.loss
        in_units = replace(
            front,
            equations=tuple(e for e in equations if e is not None),
            behind=(),
            variance=self.squared(front.variance),
            loss=loss if loss.is_squared else replace(loss, scale=math.ldexp(loss.scale, -self.y)),
            constant_loss=None if constant is None else self.squared(constant),
        )
        behind = dict(zip(map(id, equations), front.behind, strict=False))
        findings = tuple(
            found.about(found.claim.rescaled(self.X)) for found in front.findings if found.claim
        )
        result = replace(in_units.grown(()), reason=front.reason, findings=findings)
        known = [behind[id(equation)] for equation in result] if behind else []
        return replace(result, behind=tuple(known)).only(range(len(result)))

    def squared(self, loss: float) -> float:
        """A loss in the given units, which is a square of outputs."""
        return float(np.ldexp(loss, -2 * self.y))

    def equation(self, equation: Equation, fit: Fit) -> Equation | None:
        """The equation in the given units; None where that computes something else, or is too
        long with the constants that it needs."""
        written = self.rewritten(equation, self.X, -self.y)
        form, constants = written.form, written.constants
        X, operators = _inputs(fit), fit.engine.operators
        try:
            restored = equation.with_form(*canonical(form, constants, operators), operators)
            value, expected = restored.predict(X), equation.predict(np.ldexp(X, self.X))
        except UNUSABLE:
            return None
        same = np.allclose(np.ldexp(value, self.y), expected, rtol=_SAME, atol=_SAME)
        if restored.complexity > fit.engine.max_complexity or not same:
            return None
        if not allowed(restored.form, operators):
            return None
        return replace(
            restored,
            loss=self.squared(equation.loss),
            holdout_loss=self.squared(equation.holdout_loss),
            holdout_mse=self.squared(equation.holdout_mse),
        )

    @staticmethod
    def rewritten(equation: Equation, inputs: Sequence[int], output: int) -> Equation:
        """With powers of two before its inputs and all of it, as constants."""
        constants = list(equation.constants)

        def times(power: int, expr: sympy.Expr) -> sympy.Expr:
            constants.append(math.ldexp(1.0, power))
            return slot(len(constants) - 1) * expr

        names = map(sympy.Symbol, equation.symbols)
        powers = {name: power for name, power in zip(names, inputs, strict=True) if power}
        form = equation.form.xreplace({name: times(power, name) for name, power in powers.items()})
        form = times(output, form) if output else form
        return replace(equation, form=form, constants=tuple(constants))


def _inputs(fit: Fit) -> Array:
    return np.concatenate([fit.data.X, fit.holdout.X])


def out_of_range(fit: Fit) -> str:
    """Why no equation of these outputs can be judged; empty if one can."""
    size = float(np.abs(np.concatenate([fit.data.y, fit.holdout.y])).max(initial=0.0))
    if size == 0.0 or _SMALLEST <= size <= _LARGEST:
        return ""
    return (
        f"its values reach {size:.3g}, and their squares, which errors are measured by, are no"
        f" float64 numbers: scale the output to between {_SMALLEST:g} and {_LARGEST:g}"
    )


def _exponent(values: Array) -> int:
    """Of the power of two that brings the largest value to about one; 0 for ordinary ones."""
    size = float(np.abs(values).max(initial=0.0))
    if size == 0.0 or _SMALL <= size <= _LARGE:
        return 0
    return max(-math.frexp(size)[1], -1022) if size > 1 else min(-math.frexp(size)[1], 1022)
