"""Exact numbers near a fitted constant."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import sympy

_DENOMINATORS = (1, 2, 3, 4, 5)
_LARGEST = 100
# float64 fits reproduce a constant to about this share of it, whatever their standard error says.
_ROUNDING = 1e-9
# A number is believed only if an interval of this many half widths holds no other of its kind.
_RARITY = 200.0


def exact_values(value: float, half_width: float) -> Iterator[sympy.Expr]:
    """Integers, fractions of small denominator and multiples of pi within `half_width`.

    A fraction with denominator q counts only if the interval is much narrower than the gap
    between such fractions: with a wide interval there is always one, which says nothing.
    """
    width = max(half_width, _ROUNDING * abs(value))
    if not math.isfinite(value) or not math.isfinite(width) or abs(value) > _LARGEST:
        return
    for unit, symbol in ((1.0, sympy.S.One), (math.pi, sympy.pi)):
        for q in _DENOMINATORS:
            p = round(value / unit * q)
            if p == 0 or math.gcd(p, q) != 1:
                continue
            if abs(p * unit / q - value) <= width < unit / q / _RARITY:
                yield sympy.Rational(Fraction(p, q).numerator, Fraction(p, q).denominator) * symbol
