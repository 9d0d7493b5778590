"""Transformed: a fit of the logarithm, the inverse or the square of an output.

`exp(-(a - b)**2/(c + 1))` is met once in a hundred searches, `-(a - b)**2/(c + 1)` in every third:
what a law is wrapped in has to be there before the rest of it is of any use. So every other search
from the third on is for what the output is a function of. An error counts there what it is as an
error of the output.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import sympy

from symcompile.expressions.canonical import UNUSABLE, canonical
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.regression.computed.transforms import Transform, applicable
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import ProgressCallback, SearchProgress

if TYPE_CHECKING:
    from symcompile.regression.fit import Fit

# What searches are for, by turns, as far as it applies, and the first of these searches.
_TURNS, _FIRST = ("log y", "1/y", "y**2"), 2
# An output has a sign that has it in this share of the rows: about zero noise takes it away.
_MOST = 0.9


@dataclass(frozen=True)
class Transformed:
    """A fit, and one of its output h.

    Attributes:
        fit: of the output itself.
        data: samples of h.
        transform: h of the output.
        sign: of the output, where h has lost it.
    """

    fit: Fit
    data: Dataset
    transform: Transform
    sign: float

    def reduced(self) -> Fit:
        """The fit of h. It starts from nothing: guesses are of the output."""
        return replace(self.fit, data=self.data, guesses=())

    def restored(self, equations: Iterable[Equation]) -> list[Equation]:
        """Equations of the output, for those of h."""
        operators, result = self.fit.engine.operators, []
        for equation in equations:
            try:
                form = self.transform.build(equation.form)
                if self.sign < 0:
                    form = sympy.Float(-1.0) * form
                whole = equation.with_form(
                    *canonical(form, equation.constants, operators), operators
                )
                result.append(replace(whole, loss=self.fit.data.loss_of(whole)))
            except UNUSABLE:
                continue
        return result


@dataclass(frozen=True)
class Quiet:
    """Tells how far a search is, but not what it found, which is no equation of the output."""

    tell: ProgressCallback

    def __call__(self, progress: SearchProgress) -> None:
        self.tell(SearchProgress(progress.done))

    def __getattr__(self, name: str) -> object:
        return getattr(self.tell, name)


def transformed(fit: Fit, restart: int) -> Transformed | None:
    """What search `restart` is for in the place of the output; None for the output itself.

    Where operators know units all searches are for the output: its logarithm has none.
    """
    turn, plain = divmod(restart - _FIRST, 2)
    if turn < 0 or plain or fit.engine.operators.dimensions is not None:
        return None
    rows = _with_sign(fit.data.y)
    data = fit.data if rows.all() else fit.data.rows(rows)
    found = {entry[0].name: entry for entry in applicable(data.y, fit.engine.operators)}
    names = [name for name in _TURNS if name in found]
    if turn >= len(names):
        return None
    transform, sign, h, root = found[names[turn]]
    weights = np.square(root) * (1.0 if data.weights is None else data.weights)
    return Transformed(fit, replace(data, y=h, weights=weights), transform, sign)


def _with_sign(y: Array) -> Array:
    """Which rows have the sign that most have [n_samples]; all where it is no rule."""
    for rows in (y > 0, y < 0):
        if rows.mean() >= _MOST:
            return np.asarray(rows)
    return np.ones(len(y), dtype=bool)
