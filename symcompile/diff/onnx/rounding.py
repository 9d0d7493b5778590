"""Values with a bound on their rounding: an operation gives how far its result can move.

The bound of a result is the largest change that its arguments' bounds can make, one argument after
the other, and the rounding of the operation itself. It is found by computing the operation there,
so it follows cancellation, poles and jumps without a rule for each operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.expressions.fold import fold, number_value
from symcompile.expressions.operator import Operator
from symcompile.expressions.operators import OPERATORS, completed
from symcompile.expressions.program import Program

# What one rounding may amount to, relative to the value: library functions are good to a few units
# in the last place, and constants may have been combined before they were stored.
UNITS = {
    "float64": 4 * 2.0**-53,
    "float32": 4 * 2.0**-24,
    "float16": 4 * 2.0**-11,
    "bfloat16": 4 * 2.0**-8,
}


class Value(NamedTuple):
    """An array of numbers or truth values.

    Attributes:
        data: float64, whole numbers, or truth values.
        error: largest |difference| from what a machine with less digits has there; for truth values
            1 where it may have the other one. The same shape as `data`.
        unit: relative rounding of the floating type that it has; 0 for other types.
    """

    data: Array
    error: Array
    unit: float = 0.0


def exact(data: Any, unit: float = 0.0) -> Value:
    array = np.asarray(data)
    return Value(array, np.zeros(array.shape), unit)


def rounded(data: Any, unit: float) -> Value:
    """Floating-point numbers that were stored with this unit."""
    array = np.asarray(data, dtype=np.float64)
    return Value(array, unit * np.abs(array), unit)


def spread(function: Callable[..., Any], args: Sequence[Value], unit: float) -> Value:
    """An elementwise function of values; its floating-point results are rounded by `unit`."""
    data = np.asarray(function(*(one.data for one in args)))
    floating = data.dtype.kind == "f"
    error = unit * np.abs(data) if floating else np.zeros(data.shape)
    for k, one in enumerate(args):
        if one.error.any():
            error = error + _movement(function, args, k, data)
    error = np.where(np.isnan(error), np.inf, error)
    return Value(data, error, unit if floating else 0.0)


def _movement(function: Callable[..., Any], args: Sequence[Value], k: int, data: Array) -> Array:
    """How far the result moves when argument k moves by its error."""
    found = np.zeros(data.shape)
    for moved in _moved(args[k]):
        given = [moved if place == k else one.data for place, one in enumerate(args)]
        other = np.asarray(function(*given))
        if data.dtype.kind == "b":
            found = np.maximum(found, other != data)
        else:
            found = np.maximum(found, np.where(other == data, 0.0, np.abs(other - data)))
    return found


def _moved(value: Value) -> list[Array]:
    if value.data.dtype.kind == "b":
        return [value.data ^ (value.error > 0)]
    return [value.data + value.error, value.data - value.error]


def of_program(program: Program, X: Array, constants: Sequence[float], unit: float) -> list[Value]:
    """Outputs of a program, each [n_points], for X [n_points, n_inputs], with constants and
    operations rounded by `unit`."""
    leaves: dict[str, Callable[..., Value]] = {
        "input": lambda column: exact(X[:, column]),
        "slot": lambda slot: rounded(np.full(len(X), constants[slot]), unit),
        "number": lambda value: rounded(np.full(len(X), number_value(value)), unit),
        "power": lambda base, exponent: spread(lambda a: a**exponent, [base], unit),
    }
    steps = {op: _step(row, unit) for op, row in OPERATORS.items() if row.numpy}
    with np.errstate(all="ignore"):
        values = fold(program.instructions, completed({**steps, **leaves}))
    return [values[index] for index in program.outputs]


def _step(row: Operator, unit: float) -> Callable[..., Value]:
    assert row.numpy is not None
    function = row.numpy

    def step(*args: Value) -> Value:
        if row.nary:
            return reduce(lambda a, b: spread(function, [a, b], unit), args)
        return spread(function, args, unit)

    return step
