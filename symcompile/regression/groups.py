"""Groups: fits of what units leave of a problem, `f(v/c)` in the place of `m*f(v/c)`.

See `structure.powers` for what that is, and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy

from symcompile.expressions.canonical import UNUSABLE
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.regression.dataset import Dataset
from symcompile.regression.structure.powers import Powers, products

if TYPE_CHECKING:
    from symcompile.regression.fit import Fit

# Ways to choose what stands before the function.
WAYS = 2


@dataclass(frozen=True)
class Grouped:
    """A fit in groups.

    Attributes:
        fit: the fit in the units of the user.
        scale: power of each input in what the output is divided by.
        groups: power of each input in each group.
    """

    fit: Fit
    scale: Powers
    groups: tuple[Powers, ...]

    def reduced(self) -> Fit:
        """The fit of the output over the scale, in the groups."""
        fit, engine = self.fit, self.fit.engine
        told: dict[str, Any] = {"operators": replace(engine.operators, dimensions=None)}
        return replace(
            fit,
            data=self.of(fit.data),
            holdout=self.of(fit.holdout),
            names=tuple(f"g{k}" for k in range(len(self.groups))),
            engine=replace(engine, **told),  # type: ignore[type-var]
            guesses=(),
        )

    def of(self, data: Dataset) -> Dataset:
        """Samples in groups; an error weighs as much as it does in the user's unit."""
        scale = _product(data.X, self.scale)
        weights = np.ones(len(data.y)) if data.weights is None else data.weights
        weights = weights * np.square(scale / np.sqrt(np.square(scale).mean()))
        columns = [_product(data.X, powers) for powers in self.groups]
        return replace(data, X=np.column_stack(columns), y=data.y / scale, weights=weights)

    def restored(self, equations: Iterable[Equation]) -> list[Equation]:
        """Equations of the reduced fit in the inputs of the user."""
        names, operators = self.fit.names, self.fit.engine.operators
        groups = {
            sympy.Symbol(f"g{k}"): _written(powers, names) for k, powers in enumerate(self.groups)
        }
        result = []
        for equation in equations:
            try:
                form = _written(self.scale, names) * equation.form.xreplace(groups)
                whole = replace(equation, symbols=names, loss=float("nan"))
                result.append(whole.with_form(form, equation.constants, operators))
            except UNUSABLE:
                continue
        return result


def grouped(fit: Fit, way: int = 0) -> Grouped | None:
    """A fit in groups; None where units are not known of all of it, or leave all of it.

    Args:
        way: of several products that have the output's unit, which one to divide by: 0 for the
            simplest; beyond the last, from the first on again.
    """
    ways = all_grouped(fit)
    return ways[way % len(ways)] if ways else None


def all_grouped(fit: Fit) -> list[Grouped]:
    """A fit in groups, in all ways."""
    dimensions = fit.engine.operators.dimensions
    if dimensions is None or dimensions.output is None:
        return []
    known = dict(dimensions.inputs)
    zero = (np.concatenate([fit.data.X, fit.holdout.X]) == 0).any(axis=0)
    vectors = tuple(known[name] for name in fit.names)
    scales, groups = products(vectors, dimensions.output, tuple(zero.tolist()))
    if not groups or len(groups) >= len(fit.names):
        return []
    return [Grouped(fit, scale, groups) for scale in scales[:WAYS]]


def _product(X: Array, powers: Powers) -> Array:
    return np.asarray(np.prod(X ** np.array(powers, dtype=float), axis=1))


def _written(powers: Powers, names: Sequence[str]) -> sympy.Expr:
    return sympy.Mul(*(sympy.Symbol(n) ** p for n, p in zip(names, powers, strict=True)))
