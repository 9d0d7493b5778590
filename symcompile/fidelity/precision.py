"""Lower a region in the narrowest floating type in which the block computes its equations.

Equations are fitted in float64; a block works in what the model works in. There a product of masses
of 1e24 is infinite in float32, one of charges of 1e-24 is zero, and a difference of large numbers
has no digits left, whatever the equation gives. So the block is compared with its equations on all
recorded samples. Where it does not give half of the digits that the type has, or values or slopes
are not finite, it computes in a wider type: inputs are cast on the way in, results on the way out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.derivatives import of_block, sound
from symcompile.fidelity.metrics import relative_l2
from symcompile.fidelity.outcome import LOSES_DIGITS, OVERFLOWS, UNDERFLOWS, Shortfall
from symcompile.lowering.block import Lowered, inner_types, lower
from symcompile.modules.calling import dtype_name, evaluating
from symcompile.modules.region import Region
from symcompile.modules.region_call import on_rows
from symcompile.modules.samples import Samples

# Next to the zeros of an equation nothing is left in any type: of samples spread evenly that is one
# in millions in float32. A share above this is not explained so.
_NEAR_ZEROS = 0.01
# A block that takes one sample at a time is looked at on fewer of them.
_ONE_BY_ONE = 512
# Samples whose equations are evaluated at once.
_AT_ONCE = 50_000


@dataclass(frozen=True)
class Examined:
    """How a block did on recorded samples.

    Attributes:
        dtype: that it computes in.
        shortfalls: equations that it does not compute.
        sound: whether all values, and all slopes as far as they are known, are finite.
    """

    dtype: str
    shortfalls: tuple[Shortfall, ...]
    sound: bool

    @property
    def wrong(self) -> tuple[int, bool]:
        """Less is better."""
        return sum(shortfall.count for shortfall in self.shortfalls), not self.sound


@dataclass(frozen=True)
class LoweredInRange(Lowered):
    """With what was seen of it, by the constants that it was lowered with."""

    examined: Examined


def lower_in_range(
    region: Region,
    equations: Mapping[int, Equation],
    samples: Samples,
    *,
    device: torch.device,
    neural: nn.Module | None = None,
) -> LoweredInRange:
    """Lower the equations in the narrowest type that does, else in the one that does best, on all
    that the region was recorded to receive and give; `neural` as for `lower`."""
    dtype = getattr(torch, region.dtype)
    best: LoweredInRange | None = None
    for inner in inner_types(dtype):
        if best is not None and not _there(inner, device):
            continue
        lowered = lower(region, equations, dtype=dtype, inner=inner, device=device, neural=neural)
        examined = examine(region, equations, lowered, samples, device)
        if best is None or examined.wrong < best.examined.wrong:
            best = LoweredInRange(**vars(lowered), examined=examined)
        if examined.wrong == (0, False):
            break
    assert best is not None
    return best


def _there(dtype: torch.dtype, device: torch.device) -> bool:
    """Some devices have no float64."""
    try:
        torch.zeros(1, dtype=dtype, device=device)
    except (RuntimeError, TypeError):
        return False
    return True


def examine(
    region: Region,
    equations: Mapping[int, Equation],
    lowered: Lowered,
    samples: Samples,
    device: torch.device,
) -> Examined:
    """Compare a block with its equations."""
    X, Y = samples.X, samples.Y
    if region.interface.one_by_one and len(X) > _ONE_BY_ONE:
        some = np.linspace(0, len(X) - 1, _ONE_BY_ONE).astype(int)
        X, Y = X[some], Y[some]
    dtype, projected = getattr(torch, region.dtype), region.projection_out is not None
    columns = list(range(region.interface.n_outputs)) if projected else sorted(equations)
    with evaluating(lowered.module):
        values = of_block(region, lowered.module, device).values(X)[:, columns]
        finite = bool(np.isfinite(values).all())
        with suppress(Exception):  # whatever a user's forward raises when it is differentiated
            slopes = sound(on_rows(region, lowered.module), X, columns, dtype, device)
            finite = finite and bool(slopes.all())
    expected = _expected(region, equations, X, Y)
    sides = [(key, values[:, [k]], expected[:, [k]], Y[:, [key]]) for k, key in enumerate(columns)]
    shortfalls = [
        _shortfall(*side, inner=lowered.dtype, outer=dtype)
        for side in ([(None, values, expected, Y)] if projected else sides)
    ]
    return Examined(
        dtype_name(lowered.dtype),
        tuple(shortfall for shortfall in shortfalls if shortfall is not None),
        finite,
    )


def _expected(region: Region, equations: Mapping[int, Equation], X: Array, Y: Array) -> Array:
    """What the equations give in float64: a column each, or all real outputs after a projection;
    components that stay neural are as in Y."""
    keys, projection = sorted(equations), region.projection_out
    pieces = []
    for start in range(0, len(X), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        with np.errstate(all="ignore"):
            variables = region.variable_values(X[rows])
            values = np.stack([equations[key].predict(variables) for key in keys], axis=1)
            if projection is not None:
                components = region.equation_values(X[rows], Y[rows]).copy()
                components[:, keys] = values
                values = region.output_values(X[rows], components)
            elif region.affine is not None:
                values = values + region.affine.predict(X[rows])[:, keys]
        pieces.append(values)
    return np.concatenate(pieces)


def _shortfall(
    output: int | None,
    values: Array,
    expected: Array,
    truth: Array,
    *,
    inner: torch.dtype,
    outer: torch.dtype,
) -> Shortfall | None:
    """Where a block gives other values than its equation, each [n, n_outputs]."""
    defined = np.asarray(np.isfinite(expected).all(axis=1))
    values, expected, truth = values[defined], expected[defined], truth[defined]
    lost = ~np.isfinite(values).all(axis=1)
    problem = OVERFLOWS
    if not lost.any():
        with np.errstate(all="ignore"):
            lost = _without_digits(values, expected, outer)
        zero = lost & (values == 0).all(axis=1)
        problem = UNDERFLOWS if 2 * zero.sum() > lost.sum() else LOSES_DIGITS
    if not lost.any():
        return None
    count, error = int(lost.sum()), relative_l2(expected, truth)
    words = dtype_name(outer) + (f" ({dtype_name(inner)} inside)" if inner != outer else "")
    return Shortfall(output, problem, words, count, len(defined), error)


def _without_digits(values: Array, expected: Array, outer: torch.dtype) -> Array:
    """Samples [n] without half of the digits of the type, where rounding does not explain them:
    together they have not got them either, or many have nothing left at all.

    The rounding of the result comes on top; the smallest numbers have fewer digits.
    """
    limits = torch.finfo(outer)
    allowed = math.sqrt(torch.finfo(inner_types(outer)[0]).eps) + limits.eps
    error, size = (np.abs(a).max(axis=1, initial=0.0) for a in (values - expected, expected))
    error = np.maximum(error - limits.tiny * limits.eps, 0.0)
    lost = np.asarray(error > allowed * size)
    scale = max(float(size.max(initial=0.0)), limits.tiny)
    together = np.linalg.norm(error / scale) <= allowed * np.linalg.norm(size / scale)
    gone = np.asarray(error > size / 2)
    if together and gone.sum() <= _NEAR_ZEROS * gone.size:
        return np.zeros_like(lost)
    return lost
