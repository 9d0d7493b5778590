"""Groups: what units leave of a problem, which is less (Buckingham 1914).

A law whose constants are pure numbers can't tell one system of units from another. So it is a
product of powers of the inputs that has the output's unit, times a function of products of powers
that have none: `m*f(v/c)` in the place of `f(m, v, c)`. There is one input less for each base
dimension, and the function is a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy

from symcompile.expressions.canonical import UNUSABLE
from symcompile.expressions.dimensions import Dimensions
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.regression.dataset import Dataset

if TYPE_CHECKING:
    from symcompile.regression.fit import Fit

# Powers of inputs that groups are made of; of so many inputs at most, all products are looked at.
_POWERS, _MOST_INPUTS = (0, 1, -1, 2, -2, 3, -3), 6
# Ways to choose what stands before the function.
WAYS = 2

Powers = tuple[int, ...]


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
    if dimensions is None or dimensions.output is None or len(fit.names) > _MOST_INPUTS:
        return []
    powers, vectors, zero = _products(fit, dimensions)
    divides = ~powers[:, zero].any(axis=1)
    scales = _simplest(powers[(vectors == dimensions.output).all(axis=1) & divides])
    pure = powers[(vectors == 0).all(axis=1) & powers.any(axis=1)]
    groups = tuple(_independent(_simplest(pure)))
    if not groups or len(groups) >= len(fit.names):
        return []
    return [Grouped(fit, scale, groups) for scale in scales[:WAYS]]


def _products(fit: Fit, dimensions: Dimensions) -> tuple[Array, Array, Array]:
    """Products of powers [n_products, n_inputs], their dimensions [n_products, n_bases], and which
    inputs are zero somewhere [n_inputs]: of these there is no negative power."""
    X = np.concatenate([fit.data.X, fit.holdout.X])
    known = dict(dimensions.inputs)
    zero = (X == 0).any(axis=0)
    allowed = [[p for p in _POWERS if p >= 0 or not is_zero] for is_zero in zero]
    powers = np.stack(np.meshgrid(*allowed, indexing="ij"), axis=-1).reshape(-1, len(fit.names))
    return powers, powers @ np.array([known[name] for name in fit.names]), zero


def _simplest(powers: Array) -> list[Powers]:
    """In the order of how many inputs are in a product, and of how high their powers are."""
    rows: list[Powers] = [tuple(row) for row in powers.tolist()]
    return sorted(
        rows, key=lambda row: (np.count_nonzero(row), sum(map(abs, row)), [-p for p in row])
    )


def _independent(pure: Sequence[Powers]) -> Iterator[Powers]:
    """Products that are none of those before."""
    chosen: list[Powers] = []
    for powers in islice(pure, 2000):
        if np.linalg.matrix_rank(np.array([*chosen, powers])) > len(chosen):
            chosen.append(powers)
            yield powers


def _product(X: Array, powers: Powers) -> Array:
    return np.asarray(np.prod(X ** np.array(powers, dtype=float), axis=1))


def _written(powers: Powers, names: Sequence[str]) -> sympy.Expr:
    return sympy.Mul(*(sympy.Symbol(n) ** p for n, p in zip(names, powers, strict=True)))
