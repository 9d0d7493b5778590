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
    errors = [error for error in (old, new) if error is not None and math.isfinite(error)]
    return _SUMS + _SIDES * epsilon(dtype) * (1 + max(errors, default=0.0))


def of_r2(dtype: str | None, old: Accuracy, new: Accuracy) -> float:
    """Of R2, which is 1 - e^2 for an error e relative to the spread of the output, not its size."""
    moved = of_error(dtype, old.relative_l2, new.relative_l2) - _SUMS
    error, scale = 0.0, 1.0
    for side in (old, new):
        if side.r2 is not None and math.isfinite(side.r2):
            of_spread = math.sqrt(max(1 - side.r2, 0.0))
            error = max(error, of_spread)
            scale = max(scale, of_spread / side.relative_l2 if side.relative_l2 else 0.0)
    return _SUMS + 2 * error * scale * moved + (scale * moved) ** 2


def allowed(dtype: str | None, field: str, old: Accuracy, new: Accuracy) -> float:
    """Of a field of Accuracy."""
    if field == "r2":
        return of_r2(dtype, old, new)
    if field != "max_error":
        return of_error(dtype, getattr(old, field), getattr(new, field))
    shares = [
        side.max_error / side.relative_l2
        for side in (old, new)
        if side.max_error and side.relative_l2 and math.isfinite(side.max_error / side.relative_l2)
    ]
    return _SUMS + max(shares, default=0.0) * of_error(dtype, old.relative_l2, new.relative_l2)
