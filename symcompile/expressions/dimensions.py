"""Dimensions: which expressions make sense in the units that inputs and outputs have.

A dimension is a vector of exponents of base dimensions: a speed has 1 of length and -1 of time. A
sum needs terms of one dimension, a function one that is a pure number. A fitted constant may have
any (`FREE`), and so may a product with one in it, as in PySR's dimensional analysis; exact numbers
of a form are pure.

Exponents are counted in twelfths, so that vectors are whole numbers and quick to compare: halves,
thirds, quarters and sixths are among them, and what is none of these is of no dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy

from symcompile.errors import ExpressionError
from symcompile.expressions.light_code import as_expression, definition, light
from symcompile.expressions.light_tree import LightTree
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.tree import name_of

Vector = tuple[int, ...]
# Of a fitted constant, and of what it is a factor of: any.
FREE: Vector = ()
# Of an exponent of one.
WHOLE = 12

# Operators that take and give one dimension, and those that compare, and give a pure number.
_ALIKE = ("+", "-", "min", "max", "hypot", "mod")
_KEEP = ("neg", "abs", "relu")
_COMPARE = ("atan2", "sign")
_TRUTHS = frozenset(op for op, row in OPERATORS.items() if row.truth)
# Trees whose dimension is kept.
_KNOWN = 1 << 14
_POWERS = {
    "square": Fraction(2),
    "cube": Fraction(3),
    "inv": Fraction(-1),
    "sqrt": Fraction(1, 2),
    "cbrt": Fraction(1, 3),
}


@dataclass(frozen=True)
class Dimensions:
    """Of the inputs and the output of one search.

    Attributes:
        bases: names of the base dimensions, one for each exponent.
        inputs: dimension of each input.
        output: that of the output; None where it is not known.
        dimensionless_constants: whether fitted constants are pure numbers, too.
    """

    bases: tuple[str, ...]
    inputs: tuple[tuple[str, Vector], ...]
    output: Vector | None = None
    dimensionless_constants: bool = False

    @property
    def none(self) -> Vector:
        """The dimension of a pure number."""
        return (0,) * len(self.bases)

    @property
    def of_constant(self) -> Vector:
        """That of a fitted constant."""
        return self.none if self.dimensionless_constants else FREE

    def of_input(self, name: str) -> Vector:
        """That of an input; any for one of which nothing is known."""
        return dict(self.inputs).get(name, FREE)

    # --- of one operation ------------------------------------------------------------------------

    def combine(self, operator: str, a: Vector, b: Vector | None = None) -> Vector | None:
        """What an operator of the vocabulary gives for arguments of these dimensions; None where it
        takes none such. For those who build forms from small to large."""
        if operator in _ALIKE and b is not None:
            return self._alike(a, b)
        if operator in ("*", "/") and b is not None:
            if FREE in (a, b):
                return FREE
            sign = 1 if operator == "*" else -1
            return tuple(x + sign * y for x, y in zip(a, b, strict=True))
        if operator in _KEEP:
            return a
        if operator in _POWERS:
            return self.power(a, _POWERS[operator])
        if operator in _COMPARE:
            return None if b is not None and self._alike(a, b) is None else self.none
        pure = all(arg in (FREE, self.none) for arg in (a, b) if arg is not None)
        return self.none if pure else None

    def _alike(self, a: Vector, b: Vector) -> Vector | None:
        if FREE in (a, b) or a == b:
            return b if a == FREE else a
        return None

    def power(self, a: Vector, exponent: Fraction) -> Vector | None:
        """Of a power with an exponent that is known."""
        if a == FREE:
            return FREE
        exponents = [exponent * x for x in a]
        if any(x.denominator != 1 for x in exponents):
            return None
        return tuple(map(int, exponents))

    def fits(self, result: Vector) -> bool:
        """Whether an expression of this dimension may be the output."""
        return self.output is None or self._alike(result, self.output) is not None

    # --- of an expression ------------------------------------------------------------------------

    def go_together(self, expr: LightTree | sympy.Basic, names: Sequence[str] = ()) -> bool:
        """Whether an expression makes sense, and may be the output; `names` are those of the
        columns of a light tree."""
        tree, names = light(expr, names)
        result = _reader(self, tuple(names)).known_of(tree)
        return result is not None and self.fits(result)

    def check(self, expr: LightTree | sympy.Basic, names: Sequence[str] = ()) -> str | None:
        """What does not go together in an expression, in words; None where all does."""
        try:
            result = self.of(expr, names)
        except ExpressionError as error:
            return str(error)
        if self.fits(result):
            return None
        assert self.output is not None
        tree, names = light(expr, names)
        shown = as_expression(tree, names)
        return f"{shown} is of {self.text(result)}, the output of {self.text(self.output)}"

    def of(self, expr: LightTree | sympy.Basic, names: Sequence[str] = ()) -> Vector:
        """The dimension of an expression over the inputs and slots.

        Raises ExpressionError that says what does not go together.
        """
        tree, names = light(expr, names)
        return _reader(self, tuple(names)).of(tree)

    def for_output(self, output: Vector | None) -> Dimensions:
        return Dimensions(self.bases, self.inputs, output, self.dimensionless_constants)

    # --- as data ---------------------------------------------------------------------------------

    def text(self, vector: Vector) -> str:
        """A dimension in words: "length*time^-2", "no dimension", "any dimension"."""
        if vector == FREE and self.bases:
            return "any dimension"
        parts = []
        for base, twelfths in zip(self.bases, vector, strict=False):
            exponent = Fraction(twelfths, WHOLE)
            if exponent:
                power = f"({exponent})" if exponent.denominator > 1 else str(exponent)
                parts.append(base if exponent == 1 else f"{base}^{power}")
        return "*".join(parts) or "no dimension"

    def to_json(self) -> dict[str, Any]:
        return {
            "bases": list(self.bases),
            "inputs": {name: list(vector) for name, vector in self.inputs},
            "output": None if self.output is None else list(self.output),
            "dimensionless_constants": self.dimensionless_constants,
        }

    @classmethod
    def from_json(cls, data: Any) -> Dimensions:
        """Read `to_json` back; ExpressionError if it is damaged."""
        try:
            bases, output = tuple(data["bases"]), data["output"]
            inputs = tuple((name, _vector(row, bases)) for name, row in data["inputs"].items())
            if not all(map(str.isidentifier, (*bases, *data["inputs"]))):
                raise ValueError("expected identifiers")
            result = None if output is None else _vector(output, bases)
            return cls(bases, inputs, result, bool(data["dimensionless_constants"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExpressionError(f"not stored dimensions: {error}") from None


# Of what has no units: everything goes together.
UNITLESS = Dimensions((), ())


def _vector(row: Any, bases: Sequence[str]) -> Vector:
    if type(row) is not list or not all(type(x) is int and abs(x) < 10**6 for x in row):
        raise ValueError(f"expected {len(bases)} whole numbers")
    if row and len(row) != len(bases):  # of a feature that may have any, none
        raise ValueError(f"expected {len(bases)} exponents")
    return tuple(row)


@lru_cache(maxsize=64)
def _reader(dimensions: Dimensions, names: tuple[str, ...]) -> _Reader:
    return _Reader(dimensions, names)


class _BrokenError(Exception):
    """A node whose arguments, of these dimensions, do not go together. Its text is made of it only
    where somebody reads it: a search breaks thousands."""

    def __init__(self, tree: LightTree, args: Sequence[Vector]) -> None:
        super().__init__()
        self.tree, self.args_of = tree, args


class _Reader:
    """Reads the dimensions of trees over columns of these names; what was read is kept."""

    def __init__(self, dimensions: Dimensions, names: tuple[str, ...]) -> None:
        self.dimensions, self.names = dimensions, names
        known = dict(dimensions.inputs)
        self.columns = [known.get(name) for name in names]
        self.known: dict[LightTree, Vector | None] = {}

    def known_of(self, tree: LightTree) -> Vector | None:
        """The dimension of a tree; None where it has none."""
        if tree not in self.known:
            if len(self.known) > _KNOWN:
                self.known.clear()
            try:
                self.known[tree] = self.read(tree)
            except (_BrokenError, ExpressionError):
                self.known[tree] = None
        return self.known[tree]

    def of(self, tree: LightTree) -> Vector:
        """The same; ExpressionError says what does not go together."""
        try:
            return self.read(tree)
        except _BrokenError as error:
            found = " and ".join(map(self.dimensions.text, error.args_of))
            does = {"add": "adds", "pow": "takes a power of"}.get(error.tree.op, "is of what has")
            shown = as_expression(error.tree, self.names)
            raise ExpressionError(f"{shown} {does} {found}") from None

    def read(self, tree: LightTree) -> Vector:
        if tree.op == "input":
            vector = self.columns[tree.value]
            if vector is None:
                raise ExpressionError(f"no unit is known of {self.names[tree.value]}")
            return vector
        if not tree.args:
            return self.dimensions.of_constant if tree.op == "slot" else self.dimensions.none
        if tree.op == "custom":
            return self.read(definition(tree))
        args = [self.read(arg) for arg in tree.args]
        result = self.combined(tree, args)
        if result is None:
            raise _BrokenError(tree, args)
        return result

    def combined(self, tree: LightTree, args: list[Vector]) -> Vector | None:
        combine, exponent = self.dimensions.combine, tree.args[-1].rational
        if tree.op == "pow" and exponent is not None:
            return self.dimensions.power(args[0], Fraction(exponent))
        if tree.op in _TRUTHS:
            alike = tree.op in ("and", "or", "not") or combine("+", *args) is not None
            return self.dimensions.none if alike else None
        if tree.op == "where":
            return combine("+", *args[1:])
        if tree.op not in ("add", "mul", "min", "max"):
            return combine(name_of(tree), *args)
        total = args[0]
        for one in args[1:]:
            both = combine(name_of(tree), total, one)
            if both is None:
                args[:] = [total, one]
                return None
            total = both
        return total
