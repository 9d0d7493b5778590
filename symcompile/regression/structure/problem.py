"""Problem: an output in the variables that it is known to depend on, and what was taken out of it.

`y = offset + factor * core(variables)`: a finding replaces variables by fewer, or takes a factor or
a term off. That is exact: products and quotients of samples need no surrogate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import sympy

from symcompile.expressions.evaluation import Array
from symcompile.regression.structure.surrogate import (
    Column,
    elasticities,
    error,
    left_out,
)

_ROWS_OF_A_TERM = 8


@dataclass(frozen=True)
class Variable:
    """An input, or an expression of inputs that the output depends on through it alone."""

    expr: sympy.Expr
    column: Column

    @property
    def values(self) -> Array:
        return self.column.values

    def power(self, exponent: sympy.Rational) -> Variable:
        values = self.values ** float(exponent)
        return Variable(self.expr**exponent, self.column.like(values))

    def times(self, other: Variable) -> Variable:
        values = self.values * other.values
        return Variable(self.expr * other.expr, self.column.like(values, other.column))

    def plus(self, other: Variable, factor: int = 1) -> Variable:
        values = self.values + factor * other.values
        return Variable(self.expr + factor * other.expr, self.column.like(values, other.column))


@dataclass(frozen=True)
class Problem:
    """What is left to be explained.

    Attributes:
        variables: what the core is a function of.
        core: its values [n_samples].
        weight: what errors of the core count as errors of the output [n_samples].
        factor, offset: expressions of the inputs: the output is offset + factor * core.
    """

    variables: tuple[Variable, ...]
    core: Array
    weight: Array
    factor: sympy.Expr = sympy.S.One
    offset: sympy.Expr = sympy.S.Zero

    @classmethod
    def of(cls, X: Array, y: Array, names: Sequence[str], weight: Array | None = None) -> Problem:
        """Of the inputs X [n_samples, n_inputs] that vary, and an output y [n_samples]."""
        variables = [
            Variable(sympy.Symbol(name), Column(column))
            for name, column in zip(names, X.T, strict=True)
            if np.ptp(column) > 0
        ]
        return cls(tuple(variables), y, np.ones(len(y)) if weight is None else weight)

    @property
    def columns(self) -> list[Column]:
        return [variable.column for variable in self.variables]

    @property
    def has_sign(self) -> bool:
        """Whether all of its values are above zero, or all below."""
        return bool((self.core > 0).all() or (self.core < 0).all())

    def errors(self, terms: int, logarithmic: bool = False) -> Array:
        """Errors of the output [n_samples] by a surrogate of the core, or of its logarithm."""
        if not (logarithmic and self.has_sign):
            return left_out(self.columns, self.core, self.weight, terms)
        size = np.abs(self.core)
        return left_out(self.columns, np.log(size), size * self.weight, terms)

    def elasticities(self, terms: int, logarithmic: bool = False) -> Array:
        """What the core changes by where a variable grows by a share [n_samples, n_variables]."""
        if not (logarithmic and self.has_sign):
            return elasticities(self.columns, self.core, self.weight, terms)
        size = np.abs(self.core)
        changes = elasticities(self.columns, np.log(size), size * self.weight, terms)
        return changes * self.core[:, None]

    @property
    def effective_rows(self) -> float:
        """How many rows of equal weight say as much about a mean (Kish 1965)."""
        shares = np.square(self.weight)
        return float(shares.sum() ** 2 / max(float(np.square(shares).sum()), 1e-300))

    @property
    def terms(self) -> int:
        """As many as a surrogate of so many rows may have."""
        return max(int(self.effective_rows / _ROWS_OF_A_TERM), 2)

    @property
    def spread(self) -> float:
        """Of the core about its mean, in units of the output."""
        return error(left_out([], self.core, self.weight, 1))

    @property
    def is_finite(self) -> bool:
        arrays = [self.core, self.weight, *(column.values for column in self.columns)]
        return all(bool(np.isfinite(array).all()) for array in arrays)

    def output(self, expr: sympy.Expr) -> sympy.Expr:
        """The output's expression for one of the core."""
        return self.offset + self.factor * expr

    def on(self, *variables: Variable) -> Problem:
        """The same core as a function of others."""
        return replace(self, variables=variables)

    def over(self, factor: Variable) -> Problem:
        """With a factor taken off the core."""
        return replace(
            self,
            core=self.core / factor.values,
            weight=self.weight * np.abs(factor.values),
            factor=self.factor * factor.expr,
        )

    def less(self, term: Variable, coefficient: float) -> Problem:
        """With a multiple of a term taken off the core."""
        return replace(
            self,
            core=self.core - coefficient * term.values,
            offset=self.offset + self.factor * sympy.Float(coefficient) * term.expr,
        )
