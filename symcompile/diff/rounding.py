"""How far a fidelity figure moves by rounding alone.

Figures are those of a block in its own floating type. Two forms of one function, or one form on two
processors, give values that differ by a rounding of that type here and there; so do their errors.
"""

from __future__ import annotations

import math

from symcompile.diff.snapshot import Accuracy

_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23}
# A stored figure is no better than the sums over samples that it was computed from.
_SUMS = 1e-9
# One rounding for each side of a comparison.
_SIDES = 2


def epsilon(dtype: str | None) -> float:
    """Distance from 1 to the next number; 0 where it is below all that counts here."""
    return _EPSILON.get(dtype or "", 0.0)


def of_error(dtype: str | None, old: float | None, new: float | None) -> float:
    """Of a relative L2 error: of what is compared, relative to the truth, which may be smaller."""
    values = [one for one in (old, new) if one is not None and math.isfinite(one)]
    return _SUMS + _SIDES * epsilon(dtype) * (1 + max(values, default=0.0))


def of_r2(dtype: str | None, old: Accuracy, new: Accuracy) -> float:
    """Of R2, which is 1 - e^2 for an error e relative to the spread of the output, not its size."""
    moved = of_error(dtype, old.relative_l2, new.relative_l2) - _SUMS
    error, scale = 0.0, 1.0
    for one in (old, new):
        if one.r2 is None or not math.isfinite(one.r2):
            continue
        error = max(error, math.sqrt(max(1 - one.r2, 0.0)))
        if one.relative_l2:
            scale = max(scale, math.sqrt(max(1 - one.r2, 0.0)) / one.relative_l2)
    return _SUMS + 2 * error * scale * moved + (scale * moved) ** 2


def allowed(dtype: str | None, field: str, old: Accuracy, new: Accuracy) -> float:
    """Of a field of Accuracy."""
    if field == "r2":
        return of_r2(dtype, old, new)
    if field != "max_error":
        return of_error(dtype, getattr(old, field), getattr(new, field))
    shares = [
        one.max_error / one.relative_l2
        for one in (old, new)
        if one.max_error and one.relative_l2 and math.isfinite(one.max_error / one.relative_l2)
    ]
    return _SUMS + max(shares, default=0.0) * of_error(dtype, old.relative_l2, new.relative_l2)
