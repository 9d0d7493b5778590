"""Interval arithmetic over a program: bounds that no input of a box can leave.

Bounds are outward: each step is widened by a few units in the last place. They are safe, not tight:
where nothing is known, an interval is (-inf, inf).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
from scipy import special

from symcompile.expressions.program import Program, number_value

Interval = tuple[float, float]

EVERYTHING: Interval = (-math.inf, math.inf)
_TRUTH: Interval = (0.0, 1.0)
_ULPS = 8 * np.finfo(np.float64).eps


def bounds(
    program: Program, box: Sequence[Interval], constants: Sequence[float]
) -> tuple[Interval, ...]:
    """An interval for every instruction, given one for every input column."""
    found: list[Interval] = []
    with np.errstate(all="ignore"):
        for op, args, value in program.instructions:
            given = [found[a] for a in args]
            if op == "input":
                found.append((float(box[value][0]), float(box[value][1])))
            elif op in ("slot", "number"):
                exact = float(constants[value]) if op == "slot" else number_value(value)
                found.append((exact, exact))
            else:
                found.append(_widened(_step(op, given, value)))
    return tuple(found)


def excludes_zero(interval: Interval) -> bool:
    return interval[0] > 0 or interval[1] < 0


def _widened(interval: Interval) -> Interval:
    low, high = interval
    if math.isnan(low) or math.isnan(high):
        return EVERYTHING
    return _moved(low, -_ULPS), _moved(high, _ULPS)


def _moved(end: float, share: float) -> float:
    return end + share * abs(end) if math.isfinite(end) else end


def _step(op: str, args: list[Interval], value: int) -> Interval:
    if op in _INCREASING:
        rule = _INCREASING[op]
        return float(rule(args[0][0])), float(rule(args[0][1]))
    if op == "power":
        return _power(args[0], value)
    if op in _FOLDS:
        return reduce(_FOLDS[op], args)
    return _RULES[op](*args)


def _corners(operation: Callable[[float, float], float], a: Interval, b: Interval) -> Interval:
    """Extremes of an operation that is monotonic in each argument."""
    values = [float(operation(np.float64(x), np.float64(y))) for x in a for y in b]
    return EVERYTHING if any(map(math.isnan, values)) else (min(values), max(values))


def _divide(a: Interval, b: Interval) -> Interval:
    return _corners(np.divide, a, b) if excludes_zero(b) else EVERYTHING


def _power(a: Interval, exponent: int) -> Interval:
    low, high = (float(np.float64(end) ** exponent) for end in a)
    if exponent % 2:
        return low, high
    return (0.0 if a[0] <= 0 <= a[1] else min(low, high)), max(low, high)


def _pow(base: Interval, exponent: Interval) -> Interval:
    return _corners(np.power, base, exponent) if base[0] > 0 else EVERYTHING


def _absolute(a: Interval) -> Interval:
    ends = abs(a[0]), abs(a[1])
    return (0.0 if a[0] <= 0 <= a[1] else min(ends)), max(ends)


def _cosine(a: Interval) -> Interval:
    """Ends, and the turning points k*pi between them."""
    if not (math.isfinite(a[0]) and math.isfinite(a[1])) or a[1] - a[0] >= 2 * math.pi:
        return -1.0, 1.0
    ends = [math.cos(a[0]), math.cos(a[1])]
    turns = range(math.ceil(a[0] / math.pi - _SLACK), math.floor(a[1] / math.pi + _SLACK) + 1)
    values = ends + [1.0 if k % 2 == 0 else -1.0 for k in turns]
    return min(values), max(values)


def _sine(a: Interval) -> Interval:
    low, high = a
    slack = _ULPS * (abs(low) + abs(high) + 1)
    return _cosine((low - math.pi / 2 - slack, high - math.pi / 2 + slack))


def _tangent(a: Interval) -> Interval:
    if not excludes_zero(_cosine(a)):
        return EVERYTHING
    return math.tan(a[0]), math.tan(a[1])


_SLACK = 1e-12

_FOLDS: dict[str, Callable[[Interval, Interval], Interval]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": lambda a, b: _corners(np.multiply, a, b),
    "div": _divide,
    "pow": _pow,
    "min": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "max": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "and": lambda a, b: _TRUTH,
    "or": lambda a, b: _TRUTH,
    "lt": lambda a, b: _TRUTH,
    "le": lambda a, b: _TRUTH,
    "eq": lambda a, b: _TRUTH,
}

# Functions that never decrease, with their argument clipped to where they are defined: what lies
# outside is the business of the domain check.
_INCREASING: dict[str, Callable[[float], float]] = {
    "exp": np.exp,
    "log": lambda a: np.log(max(a, 0.0)),
    "sqrt": lambda a: math.sqrt(max(a, 0.0)),
    "asin": lambda a: math.asin(min(max(a, -1.0), 1.0)),
    "atan": math.atan,
    "sinh": np.sinh,
    "tanh": math.tanh,
    "erf": special.erf,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
}

_RULES: dict[str, Callable[..., Interval]] = {
    "neg": lambda a: (-a[1], -a[0]),
    "abs": _absolute,
    "acos": lambda a: (
        math.pi / 2 - _INCREASING["asin"](a[1]),
        math.pi / 2 - _INCREASING["asin"](a[0]),
    ),
    "cos": _cosine,
    "sin": _sine,
    "tan": _tangent,
    "cosh": lambda a: (float(np.cosh(_absolute(a)[0])), float(np.cosh(_absolute(a)[1]))),
    "not": lambda a: _TRUTH,
    "where": lambda test, a, b: (min(a[0], b[0]), max(a[1], b[1])),
}
