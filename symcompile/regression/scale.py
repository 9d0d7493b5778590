"""Scale: samples of extreme magnitude are fitted in units in which their powers are numbers.

An input of 1e60 has a sixth power that no float64 holds; all powers of one of 1e-60 are zero. Such
columns are multiplied by a power of two, which changes no digit, and the equations that are found
are written in the given units again. Columns of ordinary size stay as they are, so that nothing
changes for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import sympy

from symcompile.expressions.canonical import UNUSABLE, canonical
from symcompile.expressions.complexity import complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import slot
from symcompile.regression.losses import Loss
from symcompile.regression.pareto import ParetoFront

if TYPE_CHECKING:
    from symcompile.regression.distillation import Fit

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
        columns = np.concatenate([fit.X_fit, fit.X_holdout])
        return cls(tuple(map(_exponent, columns.T)), _exponent(fit.y_fit))

    @property
    def given(self) -> bool:
        """Whether these are the units that the samples are in."""
        return not any((*self.X, self.y))

    def scaled(self, fit: Fit) -> Fit:
        """The fit in these units."""
        if self.given:
            return fit
        powers = np.array(self.X)
        return replace(
            fit,
            X_fit=np.ldexp(fit.X_fit, powers),
            y_fit=np.ldexp(fit.y_fit, self.y),
            X_holdout=np.ldexp(fit.X_holdout, powers),
            y_holdout=np.ldexp(fit.y_holdout, self.y),
        )

    def restored(self, front: ParetoFront, fit: Fit) -> ParetoFront:
        """A front of the scaled fit in the units of the fit as it was given.

        What can't be written in them is left out: the constant before the square of an input of
        1e-200 is no number.
        """
        if self.given:
            return front
        limits = fit.engine.operators, fit.engine.max_complexity
        found = {one: self.equation(one, fit, *limits) for one in front}
        whole = ParetoFront.of(
            [new for new in found.values() if new is not None],
            _times(front.variance, -2 * self.y),
            loss=self.loss(front.loss),
            constant_loss=None
            if front.constant_loss is None
            else _times(front.constant_loss, -2 * self.y),
            few=front.few,
        )
        chosen = None if front.choice is None else found[front[front.choice]]
        places = [k for k, one in enumerate(whole) if one is chosen]
        return replace(whole, choice=places[0] if places else None, reason=front.reason)

    def loss(self, loss: Loss) -> Loss:
        return loss if loss.is_squared else Loss(loss.name, _times(loss.scale, -self.y))

    def equation(
        self, one: Equation, fit: Fit, operators: OperatorSet, max_complexity: int
    ) -> Equation | None:
        """The equation in the given units; None where that computes something else, or is too
        long with the constants that it needs."""
        constants = list(one.constants)

        def factor(power: int) -> sympy.Expr:
            constants.append(math.ldexp(1.0, power))
            return slot(len(constants) - 1)

        inputs = {
            sympy.Symbol(name): factor(power) * sympy.Symbol(name)
            for name, power in zip(one.symbols, self.X, strict=True)
            if power
        }
        form = one.form.xreplace(inputs)
        form = factor(-self.y) * form if self.y else form
        try:
            form, values = canonical(form, constants, operators)
            cost = complexity(form, operators)
            new = replace(one, form=form, constants=values, complexity=cost)
        except UNUSABLE:
            return None
        if cost > max_complexity or not self.agree(one, new, fit):
            return None
        return replace(
            new,
            loss=_times(one.loss, -2 * self.y),
            holdout_loss=_times(one.holdout_loss, -2 * self.y),
            holdout_mse=_times(one.holdout_mse, -2 * self.y),
        )

    def agree(self, one: Equation, new: Equation, fit: Fit) -> bool:
        scaled = self.scaled(fit)
        pairs = ((scaled.X_fit, fit.X_fit), (scaled.X_holdout, fit.X_holdout))
        return all(
            np.allclose(
                np.ldexp(new.predict(given), self.y), one.predict(own), rtol=_SAME, atol=_SAME
            )
            for own, given in pairs
        )


def out_of_range(fit: Fit) -> str:
    """Why no equation of these outputs can be judged; empty if one can."""
    size = float(np.abs(np.concatenate([fit.y_fit, fit.y_holdout])).max(initial=0.0))
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


def _times(value: float, power: int) -> float:
    try:
        return math.ldexp(value, power)
    except OverflowError:
        return math.copysign(math.inf, value)
