"""What a program gives for numbers, in float64: values, derivatives by constants, and bounds.

Invalid operations give NaN or infinity, never an exception: the caller decides what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symcompile.expressions.fold import Rules, column, completed, fold, number_value
from symcompile.expressions.intervals import EVERYTHING, ULPS, Interval
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.program import Program

Array = np.ndarray[Any, np.dtype[Any]]
Constants = Sequence[float] | Array

# Values of every operation, of numbers or arrays [n_samples].
VALUES: Rules = completed(
    column("numpy") | {"number": lambda value: np.float64(number_value(value))}
)


def evaluate(program: Program, X: Array, constants: Constants) -> Array:
    """Values of every output, [n_samples, n_outputs], for X [n_samples, n_inputs]."""
    with np.errstate(all="ignore"):
        values = trace(program, X, constants)
    out = np.empty((X.shape[0], len(program.outputs)))
    for position, index in enumerate(program.outputs):
        out[:, position] = values[index]
    return out


def trace(program: Program, X: Array, constants: Constants) -> list[Any]:
    """The value of every instruction: a scalar, or an array [n_samples]."""
    return fold(program.instructions, value_rules(X, constants))


def value_rules(X: Array, constants: Constants) -> Rules:
    """VALUES, and what inputs and constants are."""
    return {
        **VALUES,
        "input": lambda column: X[:, column],
        "slot": lambda slot: np.float64(constants[slot]),
    }


def known_value(op: str, args: Sequence[float], exponent: Any = None) -> float:
    """The number that an operation on numbers gives: log(0) is -inf."""
    operands = map(np.float64, args)
    with np.errstate(all="ignore"):
        return float(VALUES[op](*operands) if exponent is None else VALUES[op](*operands, exponent))


# --- derivatives ---------------------------------------------------------------------------------

# A value, and its derivative by each constant that it depends on.
_Dual = tuple[Any, dict[int, Any]]


def jacobian(program: Program, X: Array, constants: Constants) -> tuple[Array, Array]:
    """Value [n_samples] of the first output, and its derivative by each constant
    [n_samples, n_slots], by forward-mode differentiation."""
    leaves: dict[str, Callable[[int], _Dual]] = {
        "input": lambda column: (X[:, column], {}),
        "slot": lambda slot: (np.float64(constants[slot]), {slot: 1.0}),
    }
    value, J = _differentiated(program, leaves, (X.shape[0], program.n_slots))
    return np.broadcast_to(value, (X.shape[0],)).astype(float), J


def slopes(program: Program, X: Array, constants: Constants) -> Array:
    """Derivative of the first output by each input column [n_samples, n_inputs], in the same way;
    0 where there is a step."""
    leaves: dict[str, Callable[[int], _Dual]] = {
        "input": lambda column: (X[:, column], {column: 1.0}),
        "slot": lambda slot: (np.float64(constants[slot]), {}),
    }
    return _differentiated(program, leaves, X.shape)[1]


def _differentiated(
    program: Program, leaves: dict[str, Callable[[int], _Dual]], shape: tuple[int, ...]
) -> tuple[Any, Array]:
    """Value of the first output, and its derivatives by what the leaves count, of this shape."""
    with np.errstate(all="ignore"):
        duals = fold(program.instructions, {**_DUALS, **leaves})
    value, found = duals[program.outputs[0]]
    J = np.zeros(shape)
    for place, slope in found.items():
        J[:, place] = slope
    return value, J


def _chain_rule(op: str) -> Callable[..., _Dual]:
    function, slope = VALUES[op], OPERATORS[op].slope

    def rule(*duals: Any) -> _Dual:
        args = [dual[0] if isinstance(dual, tuple) else dual for dual in duals]
        value = function(*args)
        total: dict[int, Any] = {}
        for place, dual in enumerate(duals):
            if isinstance(dual, tuple) and dual[1]:
                partial = slope(place, args, value)
                for slot, inner in dual[1].items():
                    term = partial * inner
                    total[slot] = total[slot] + term if slot in total else term
        return value, total

    return rule


_DUALS: Rules = completed(
    {op: _chain_rule(op) for op, row in OPERATORS.items() if row.slopes or not row.definition}
    | {"number": lambda value: (np.float64(number_value(value)), {})}
)


# --- bounds --------------------------------------------------------------------------------------


def bounds(
    program: Program,
    box: Sequence[Interval] | None = None,
    constants: Sequence[float] | None = None,
) -> list[Interval]:
    """An interval for every instruction that no value of it leaves while each input column stays
    in its interval of the box; for any inputs or constants where these are not given."""
    leaves: dict[str, Callable[[int], Interval]] = {
        "input": lambda column: _between(*box[column]) if box else EVERYTHING,
        "slot": lambda slot: EVERYTHING if constants is None else _between(constants[slot]),
    }
    with np.errstate(all="ignore"):
        return fold(program.instructions, {**_BOUNDS, **leaves})


def _between(low: float, high: float | None = None) -> Interval:
    return float(low), float(low if high is None else high)


def _widened(rule: Callable[..., Interval]) -> Callable[..., Interval]:
    """By a few units in the last place, which a step may be rounded by."""

    def outward(*args: Any) -> Interval:
        low, high = rule(*args)
        if math.isnan(low) or math.isnan(high):
            return EVERYTHING
        return _moved(low, -ULPS), _moved(high, ULPS)

    return outward


def _moved(end: float, share: float) -> float:
    return end + share * abs(end) if math.isfinite(end) else end


_BOUNDS: Rules = completed(
    {op: _widened(rule) for op, rule in column("interval").items()}
    | {"number": lambda value: _between(number_value(value))}
)
