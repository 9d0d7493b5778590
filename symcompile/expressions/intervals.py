"""Interval arithmetic: how far results can move when arguments stay within bounds.

Bounds are safe, not tight: where nothing is known, an interval is (-inf, inf). The rounding of each
step is added by `evaluation.bounds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Interval = tuple[float, float]
Rule = Callable[..., Interval]

EVERYTHING: Interval = (-math.inf, math.inf)
TRUTH: Interval = (0.0, 1.0)
ULPS = 8 * float(np.finfo(np.float64).eps)
_SLACK = 1e-12


def excludes_zero(interval: Interval) -> bool:
    return interval[0] > 0 or interval[1] < 0


def increasing(
    function: Callable[[float], float], low: float = -math.inf, high: float = math.inf
) -> Rule:
    """Of a function that never decreases, its argument clipped to where it is defined: what lies
    outside is the business of the domain check."""

    def rule(a: Interval) -> Interval:
        start, end = (float(function(min(max(x, low), high))) for x in a)
        return start, end

    return rule


def decreasing(function: Callable[[float], float], low: float, high: float) -> Rule:
    rule = increasing(function, low, high)
    return lambda a: rule((a[1], a[0]))


def corners(function: Callable[[float, float], float]) -> Rule:
    """Of an operation that is monotonic in each argument: extremes at the ends."""

    def rule(a: Interval, b: Interval) -> Interval:
        values = [float(function(np.float64(x), np.float64(y))) for x in a for y in b]
        return EVERYTHING if any(map(math.isnan, values)) else (min(values), max(values))

    return rule


def add(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def subtract(a: Interval, b: Interval) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def multiply(a: Interval, b: Interval) -> Interval:
    # A bound that is infinite is one that no value reaches: zero times that is zero.
    values = [x * y if x and y else 0.0 for x in a for y in b]
    return min(values), max(values)


def divide(a: Interval, b: Interval) -> Interval:
    # Of either sign also where zero is an end: 1/-0.0 is -inf, and an end does not tell its sign.
    return _quotient(a, b) if excludes_zero(b) else EVERYTHING


_quotient = corners(np.divide)


def power(a: Interval, exponent: int) -> Interval:
    low, high = (float(np.float64(end) ** exponent) for end in a)
    if exponent % 2:
        return low, high
    return (0.0 if a[0] <= 0 <= a[1] else min(low, high)), max(low, high)


def powers(base: Interval, exponent: Interval) -> Interval:
    return _corners_of_powers(base, exponent) if base[0] > 0 else EVERYTHING


_corners_of_powers = corners(np.power)


def absolute(a: Interval) -> Interval:
    ends = abs(a[0]), abs(a[1])
    return (0.0 if a[0] <= 0 <= a[1] else min(ends)), max(ends)


def even(function: Callable[..., float]) -> Rule:
    """Of a function of sizes that grows with each of them."""

    def rule(*args: Interval) -> Interval:
        low, high = zip(*map(absolute, args), strict=True)
        return float(function(*low)), float(function(*high))

    return rule


def cosine(a: Interval) -> Interval:
    """Ends, and the turning points k*pi between them."""
    if not (math.isfinite(a[0]) and math.isfinite(a[1])) or a[1] - a[0] >= 2 * math.pi:
        return -1.0, 1.0
    turns = range(math.ceil(a[0] / math.pi - _SLACK), math.floor(a[1] / math.pi + _SLACK) + 1)
    values = [math.cos(a[0]), math.cos(a[1]), *(1.0 if k % 2 == 0 else -1.0 for k in turns)]
    return min(values), max(values)


def sine(a: Interval) -> Interval:
    low, high = a
    slack = ULPS * (abs(low) + abs(high) + 1)
    return cosine((low - math.pi / 2 - slack, high - math.pi / 2 + slack))


def tangent(a: Interval) -> Interval:
    return (math.tan(a[0]), math.tan(a[1])) if excludes_zero(cosine(a)) else EVERYTHING


def remainder(a: Interval, b: Interval) -> Interval:
    """Of the sign of b, and smaller; a itself where it is that already."""
    if a[0] >= 0 and a[1] < b[0]:
        return a
    return min(0.0, b[0]), max(0.0, b[1])
