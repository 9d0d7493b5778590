"""Units as users write them, read by pint into dimensions.

Only a unit's dimension counts: which of metres and miles an input is in, constants make up for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from symcompile.errors import ExpressionError, described, one_line
from symcompile.expressions.dimensions import WHOLE, Dimensions, Vector

# A pure number, as users write it.
NONE = ("", "1")
_LONGEST = 200
_EXAMPLE = "expected a unit such as 'm/s', 'kg*m**2' or '1'"


@dataclass(frozen=True)
class Units:
    """What a user says of inputs and outputs, by name or number or in their order."""

    inputs: Mapping[str, str] | Iterable[str]
    outputs: str | Mapping[int, str] | Iterable[str] | None = None
    dimensionless_constants: bool = False

    def of_inputs(
        self, names: Sequence[str], n_outputs: int
    ) -> tuple[Dimensions, list[Vector | None]]:
        """The dimensions of these inputs, and that of each output; None for one without a unit.

        Raises ExpressionError that names what is missing, is too much, or can't be read.
        """
        inputs = {
            name: exponents(f"units of {name!r}", unit)
            for name, unit in _by_name(self.inputs, names).items()
        }
        results = [
            None if unit is None else exponents("output_units", unit)
            for unit in _by_number(self.outputs, n_outputs)
        ]
        every = [*inputs.values(), *(result for result in results if result is not None)]
        bases = tuple(sorted({base for row in every for base in row}))

        def vector(row: Mapping[str, Fraction]) -> Vector:
            return tuple(int(row.get(base, 0) * WHOLE) for base in bases)

        named = tuple((name, vector(row)) for name, row in inputs.items())
        dimensions = Dimensions(bases, named, None, self.dimensionless_constants)
        return dimensions, [None if result is None else vector(result) for result in results]


def check_units(asked: Any, *, whole: bool) -> None:
    """Raise ExpressionError for options of a compile or a target that make no sense on their own;
    what they are said of is not known yet. `whole` where nobody else can give the other half."""
    units, outputs, pure = asked.units, asked.output_units, asked.dimensionless_constants
    if units is None and whole:
        alone = [name for name, value in (("output_units", outputs),) if value is not None]
        alone += ["dimensionless_constants"] if pure else []
        if alone:
            raise ExpressionError(
                f"{alone[0]} goes with the units of the inputs: add units={{'x': 'm', ...}}"
            )
    if units is None:
        return
    if isinstance(units, str) or not isinstance(units, Iterable):
        raise ExpressionError(f"units is {one_line(repr(units), 60)}: expected {{'x': 'm', ...}}")
    for name, unit in units.items() if isinstance(units, Mapping) else enumerate(units):
        exponents(f"units of {name!r}", unit)
    if pure is not None and type(pure) is not bool:
        raise ExpressionError(
            f"dimensionless_constants is {one_line(repr(pure), 60)}: expected True or False"
        )


def _by_name(units: Any, names: Sequence[str]) -> dict[str, str]:
    if not isinstance(units, Mapping):
        units = list(units)
        if len(units) != len(names):
            raise ExpressionError(
                f"{len(units)} units for {len(names)} inputs: expected one for each of"
                f" {', '.join(names)}"
            )
        return dict(zip(names, units, strict=True))
    others = [name for name in units if name not in names]
    missing = [name for name in names if name not in units]
    if others:
        raise ExpressionError(f"units names {others[0]!r}: the inputs are {', '.join(names)}")
    if missing:
        raise ExpressionError(
            f"units has none of {missing[0]!r}: give all, '1' for what is a pure number"
        )
    return {name: units[name] for name in names}


def _by_number(units: Any, n_outputs: int) -> list[str | None]:
    if units is None or isinstance(units, str):
        return [units] * n_outputs
    if isinstance(units, Mapping):
        strange = [number for number in units if number not in range(n_outputs)]
        if strange:
            raise ExpressionError(
                f"output_units names output {strange[0]!r}: there are {n_outputs}, from 0"
            )
        return [units.get(number) for number in range(n_outputs)]
    if not isinstance(units, Iterable) or len(units := list(units)) != n_outputs:
        raise ExpressionError(
            f"output_units is {one_line(repr(units), 60)}: expected a unit, or one for each of"
            f" {n_outputs} outputs"
        )
    return list(units)


def exponents(option: str, unit: object) -> dict[str, Fraction]:
    """The exponent of each base dimension that a unit has, such as {"length": 1, "time": -1}."""
    if not isinstance(unit, str) or len(unit) > _LONGEST:
        raise ExpressionError(f"{option} is {one_line(repr(unit), 60)}: {_EXAMPLE}")
    try:
        read = {} if unit.strip() in NONE else dict(_registry().Unit(unit).dimensionality)
    except ExpressionError:
        raise
    except Exception as error:  # pint raises what it likes, also an AssertionError
        raise ExpressionError(
            f"{option} is {one_line(repr(unit), 60)} ({described(error)}): {_EXAMPLE}"
        ) from None
    result = {
        base.strip("[]"): Fraction(value).limit_denominator(WHOLE) for base, value in read.items()
    }
    for base, exponent in result.items():
        if WHOLE % exponent.denominator:
            raise ExpressionError(
                f"{option} is {unit!r}, with exponent {exponent} of {base}: expected multiples of a"
                " twelfth"
            )
    return {base: exponent for base, exponent in result.items() if exponent}


@lru_cache(maxsize=1)
def _registry() -> Any:
    try:
        import pint
    except ImportError:
        raise ExpressionError(
            "units need the package pint: pip install 'symcompile[units]'"
        ) from None
    return pint.UnitRegistry(cache_folder=None)
