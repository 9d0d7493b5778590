"""Problem: an output in the variables that it is known to depend on, and what was taken out of it.

`y = offset + factor * core(variables)`: a finding replaces variables by fewer, or takes a factor or
a term off. That is exact: products and quotients of samples need no surrogate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import sympy

from symcompile.expressions.dimensions import FREE, UNITLESS, Dimensions, Vector
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
    """An input, or an expression of inputs that the output depends on through it alone.

    `dimension` is FREE where units are not known, and None where they do not go together in it.
    """

    expr: sympy.Expr
    column: Column
    dimension: Vector | None = FREE

    @property
    def values(self) -> Array:
        return self.column.values

    def power(self, exponent: sympy.Rational) -> Variable:
        values = self.values ** float(exponent)
        ratio = Fraction(int(exponent.p), int(exponent.q))
        of = None if self.dimension is None else UNITLESS.power(self.dimension, ratio)
        return Variable(self.expr**exponent, self.column.like(values), of)

    def times(self, other: Variable) -> Variable:
        values = self.values * other.values
        of = self._combined("*", other)
        return Variable(self.expr * other.expr, self.column.like(values, other.column), of)

    def plus(self, other: Variable, factor: int = 1) -> Variable:
        values = self.values + factor * other.values
        of = self._combined("+", other)
        return Variable(self.expr + factor * other.expr, self.column.like(values, other.column), of)

    def _combined(self, operator: str, other: Variable) -> Vector | None:
        if self.dimension is None or other.dimension is None:
            return None
        return UNITLESS.combine(operator, self.dimension, other.dimension)


@dataclass(frozen=True)
class Problem:
    """What is left to be explained.

    Attributes:
        variables: what the core is a function of.
        core: its values [n_samples].
        weight: what errors of the core count as errors of the output [n_samples].
        factor, offset: expressions of the inputs: the output is offset + factor * core.
        dimensions: rules of what goes together; their output is the core.
    """

    variables: tuple[Variable, ...]
    core: Array
    weight: Array
    factor: sympy.Expr = sympy.S.One
    offset: sympy.Expr = sympy.S.Zero
    dimensions: Dimensions = UNITLESS

    @classmethod
    def of(
        cls,
        X: Array,
        y: Array,
        names: Sequence[str],
        weight: Array | None = None,
        dimensions: Dimensions = UNITLESS,
    ) -> Problem:
        """Of the inputs X [n_samples, n_inputs] that vary, and an output y [n_samples]."""
        variables = [
            Variable(sympy.Symbol(name), Column(column), dimensions.of_input(name))
            for name, column in zip(names, X.T, strict=True)
            if np.ptp(column) > 0
        ]
        weight = np.ones(len(y)) if weight is None else weight
        return cls(tuple(variables), y, weight, dimensions=dimensions)

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

    @property
    def has_units(self) -> bool:
        """Whether a variable is known to be no pure number."""
        pure = (FREE, self.dimensions.none)
        return any(variable.dimension not in pure for variable in self.variables)

    def may_hold(self, term: Variable) -> bool:
        """Whether a fitted multiple of a term may be a part of the core."""
        of, rules = term.dimension, self.dimensions
        multiple = None if of is None else rules.combine("*", rules.of_constant, of)
        return multiple is not None and rules.fits(multiple)

    def output(self, expr: sympy.Expr) -> sympy.Expr:
        """The output's expression for one of the core."""
        return self.offset + self.factor * expr

    def on(self, *variables: Variable) -> Problem:
        """The same core as a function of others."""
        return replace(self, variables=variables)

    def over(self, factor: Variable) -> Problem:
        """With a factor taken off the core."""
        of, rules = factor.dimension, self.dimensions
        left = None
        if of is not None and rules.output is not None:
            left = rules.combine("/", rules.output, of)
        return replace(
            self,
            core=self.core / factor.values,
            weight=self.weight * np.abs(factor.values),
            factor=self.factor * factor.expr,
            dimensions=rules if left == rules.output else rules.for_output(left),
        )

    def less(self, term: Variable, coefficient: float) -> Problem:
        """With a multiple of a term taken off the core."""
        return replace(
            self,
            core=self.core - coefficient * term.values,
            offset=self.offset + self.factor * sympy.Float(coefficient) * term.expr,
        )
