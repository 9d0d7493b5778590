"""Lower a region in the narrowest floating type in which the block computes its equations.

Equations are fitted in float64; a block works in what the model works in. There a product of masses
of 1e24 is infinite in float32, one of charges of 1e-24 is zero, and a difference of large numbers
has no digits left, whatever the equation gives. So the block is compared with its equations on all
recorded samples. Where it does not give half of the digits that the type has, or values or slopes
are not finite, it computes in a wider type: inputs are cast on the way in, results on the way out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.aside import Asides
from symcompile.fidelity.controls import relative_l2
from symcompile.fidelity.derivatives import autograd, sound
from symcompile.fidelity.outcome import LOSES_DIGITS, OVERFLOWS, UNDERFLOWS, Shortfall
from symcompile.lowering import Lowered, inner_types, lower
from symcompile.modules.calling import evaluating
from symcompile.modules.region import Region
from symcompile.modules.region_call import on_rows

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
        return sum(one.count for one in self.shortfalls), not self.sound


def lower_in_range(
    region: Region,
    equations: Mapping[int, Equation],
    X: Array,
    Y: Array,
    *,
    device: torch.device,
    neural: nn.Module | None = None,
) -> Lowered:
    """Lower the equations in the narrowest type that does, else in the one that does best.

    Args:
        X, Y: what the region was recorded to receive and give, [n_samples, n_inputs] and
            [n_samples, n_outputs].
        neural: see `lower`.
    """
    dtype = getattr(torch, region.dtype)
    best: tuple[tuple[int, bool], Lowered] | None = None
    for inner in inner_types(dtype):
        if best is not None and not _there(inner, device):
            continue
        lowered = lower(region, equations, dtype=dtype, inner=inner, device=device, neural=neural)
        wrong = examine(region, equations, lowered, X, Y, device).wrong
        if best is None or wrong < best[0]:
            best = wrong, lowered
        if wrong == (0, False):
            break
    assert best is not None
    return best[1]


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
    X: Array,
    Y: Array,
    device: torch.device,
) -> Examined:
    """Compare a block with its equations; X and Y as for `lower_in_range`."""
    if region.interface.one_by_one and len(X) > _ONE_BY_ONE:
        some = np.linspace(0, len(X) - 1, _ONE_BY_ONE).astype(int)
        X, Y = X[some], Y[some]
    dtype, n_outputs = getattr(torch, region.dtype), region.interface.n_outputs
    call, keys = on_rows(region, lowered.module), sorted(equations)
    columns = keys if region.projection_out is None else list(range(n_outputs))
    with evaluating(lowered.module):
        values = autograd(call, dtype, device, n_outputs=n_outputs).values(X)[:, columns]
        slopes = Asides().get("slopes", lambda: sound(call, X, columns, dtype, device))
    wanted = _expected(region, equations, X, Y)
    finite = bool(np.isfinite(values).all()) and (slopes is None or bool(slopes.all()))
    shortfall = partial(_shortfall, inner=lowered.dtype, outer=dtype)
    if region.projection_out is None:
        found = [
            shortfall(key, values[:, k], wanted[:, k], Y[:, key]) for k, key in enumerate(keys)
        ]
    else:
        found = [shortfall(None, values, wanted, Y)]
    shortfalls = tuple(one for one in found if one is not None)
    return Examined(_name(lowered.dtype), shortfalls, finite)


def _expected(region: Region, equations: Mapping[int, Equation], X: Array, Y: Array) -> Array:
    """What the equations give in float64: a column each, or all real outputs after a projection."""
    keys = sorted(equations)
    parts = []
    for start in range(0, len(X), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        with np.errstate(all="ignore"):
            variables = region.variable_values(X[rows])
            values = np.stack([equations[key].predict(variables) for key in keys], axis=1)
            if region.projection_out is not None:
                values = _real(region, keys, values, Y[rows])
        parts.append(values)
    return np.concatenate(parts)


def _real(region: Region, keys: Sequence[int], values: Array, Y: Array) -> Array:
    """Real outputs from components; those that stay neural are as in Y."""
    assert region.projection_out is not None
    components = region.equation_values(Y).copy()
    components[:, list(keys)] = values
    return region.projection_out.reconstruct(components)


def _shortfall(
    output: int | None,
    found: Array,
    wanted: Array,
    truth: Array,
    *,
    inner: torch.dtype,
    outer: torch.dtype,
) -> Shortfall | None:
    """Where a block gives other values than its equation, each [n] or [n, n_outputs]."""
    found, wanted, truth = (one.reshape(len(one), -1) for one in (found, wanted, truth))
    defined = np.asarray(np.isfinite(wanted).all(axis=1))
    found, wanted, truth = found[defined], wanted[defined], truth[defined]
    lost = ~np.isfinite(found).all(axis=1)
    problem = OVERFLOWS
    if not lost.any():
        with np.errstate(all="ignore"):
            lost = _without_digits(found, wanted, outer)
        zero = lost & (found == 0).all(axis=1)
        problem = UNDERFLOWS if 2 * zero.sum() > lost.sum() else LOSES_DIGITS
    if not lost.any():
        return None
    count, error = int(lost.sum()), relative_l2(wanted, truth)
    words = _name(outer) if inner == outer else f"{_name(outer)} ({_name(inner)} inside)"
    return Shortfall(output, problem, words, count, len(defined), error)


def _without_digits(found: Array, wanted: Array, outer: torch.dtype) -> Array:
    """Samples [n] without half of the digits of the type, where rounding does not explain them:
    together they have not got them either, or many have nothing left at all.

    The rounding of the result comes on top; the smallest numbers have fewer digits.
    """
    limits = torch.finfo(outer)
    allowed = math.sqrt(torch.finfo(inner_types(outer)[0]).eps) + limits.eps
    error, size = (np.abs(one).max(axis=1, initial=0.0) for one in (found - wanted, wanted))
    error = np.maximum(error - limits.tiny * limits.eps, 0.0)
    lost = np.asarray(error > allowed * size)
    scale = max(float(size.max(initial=0.0)), limits.tiny)
    together = np.linalg.norm(error / scale) <= allowed * np.linalg.norm(size / scale)
    gone = np.asarray(error > size / 2)
    if together and gone.sum() <= _NEAR_ZEROS * gone.size:
        return np.zeros_like(lost)
    return lost


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
