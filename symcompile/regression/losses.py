"""Loss: what a fit minimises and an equation is ranked by.

The squared error suits errors of one size. Where outputs have heavy tails, such as forces between
particles that nearly touch, a network is at its worst on the few largest values, and these alone
decide a squared error: the law that holds for nearly every sample loses to a form that is merely
bounded. A robust loss limits what a single sample can say.

The functions are those of M-estimation, in the units of the squared error and equal to it for small
residuals: `absolute` is the pseudo-Huber loss near its limit |r|, `cauchy` is Lorentzian. Fits
reweight their squared residuals by `weights` (Holland and Welsch 1977).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symcompile.errors import EngineError
from symcompile.expressions.evaluation import Array


@dataclass(frozen=True)
class _Kind:
    """rho(z) and its derivative, of z = (residual / scale)^2; the scale as a share of the spread
    of the outputs, or None where it plays no part."""

    rho: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    share: float | None


def _pseudo_huber(z: Array) -> Array:
    infinite = np.isposinf(z)  # and not infinity by infinity
    return np.divide(2.0 * z, 1.0 + np.sqrt(1.0 + z), out=np.array(z, dtype=float), where=~infinite)


# At 0.3 of the typical deviation of an output, an error is counted as half a surprise: a network's
# errors where it has learned its task are well below, those where it has not are far above.
_KINDS = {
    "squared": _Kind(lambda z: z, np.ones_like, None),
    "absolute": _Kind(_pseudo_huber, lambda z: 1.0 / np.sqrt(1.0 + z), 0.001),
    "cauchy": _Kind(np.log1p, lambda z: 1.0 / (1.0 + z), 0.3),
}
LOSSES = ("auto", *_KINDS)
# `auto`: tails are heavy where this share of the samples holds more than half of the variance. It
# is 0.06 for uniform outputs, 0.09 for normal, 0.26 for exponential ones, 0.97 for forces of 1/r^2.
_FEW, _MOST = 0.01, 0.5
# Outputs are at rest where their deviation is below this share of what one in twenty has.
_REST, _STRONG = 0.01, 0.95


@dataclass(frozen=True)
class Loss:
    """A loss with its scale, in the units of the output; see `loss_for`."""

    name: str = "squared"
    scale: float = 1.0

    @property
    def is_squared(self) -> bool:
        return self.name == "squared"

    def of(self, residual: Array) -> Array:
        """Loss of each residual [n_samples], in squared units of the output; infinite for what has
        no square."""
        with np.errstate(over="ignore"):
            if self.is_squared:
                return residual * residual
            return np.asarray(self.scale**2 * _KINDS[self.name].rho((residual / self.scale) ** 2))

    def weights(self, residual: Array) -> Array:
        """What each squared residual [n_samples] counts, from 1 where it is small to 0."""
        with np.errstate(over="ignore"):
            return np.asarray(_KINDS[self.name].slope((residual / self.scale) ** 2))

    def mean(self, residual: Array, weights: Array | None) -> float:
        """Weighted mean over samples, infinite if any of it is not finite."""
        losses = self.of(residual)
        if not len(losses):
            return np.inf
        loss = float(losses.mean() if weights is None else np.average(losses, weights=weights))
        return loss if np.isfinite(loss) else np.inf

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "scale": self.scale}

    @classmethod
    def from_json(cls, data: Any) -> Loss:
        """Read `to_json` back; EngineError if it is none."""
        name, scale = data.get("name"), data.get("scale")
        if check_loss(name) == "auto" or type(scale) not in (int, float) or not 0 < scale < 1e300:
            raise EngineError(f"{name!r} of scale {scale!r} is no loss")
        return cls(name, float(scale))


SQUARED = Loss()


def check_loss(name: object) -> str:
    """The name of a loss; EngineError lists those there are."""
    if not isinstance(name, str) or name not in LOSSES:
        raise EngineError(f"loss is {name!r}: expected {', '.join(map(repr, LOSSES))}")
    return name


def loss_for(name: str, y: Array) -> Loss:
    """The loss of that name, scaled by the median deviation of outputs [n_samples] from their
    median, of those that are not at rest: neither heavy tails nor what does not vary moves it.
    "auto" is "cauchy" for outputs with heavy tails, else "squared"."""
    if check_loss(name) == "auto":
        name = "cauchy" if has_heavy_tails(y) else "squared"
    share = _KINDS[name].share
    if share is None or not len(y):
        return Loss(name)
    deviation = np.abs(y - np.median(y))
    varying = deviation[_varying(deviation)]
    return Loss(name, share * (float(np.median(varying)) if len(varying) else 1.0))


def has_heavy_tails(y: Array) -> bool:
    """Whether, of the outputs [n_samples] that are not at rest, a hundredth holds more than half of
    the variance."""
    if len(y):
        y = y[_varying(np.abs(y - np.median(y)))]
    if len(y) < 1 / _FEW:
        return False
    few = math.ceil(_FEW * len(y))
    with np.errstate(over="ignore"):
        squares = np.square(y - y.mean())
    return bool(np.partition(squares, -few)[-few:].sum() > _MOST * squares.sum())


def _varying(deviation: Array) -> Array:
    """Which outputs are not at rest, by their deviations from their median [n_samples].

    Rectifiers that are off for small inputs leave an output at rest: a network that had to say most
    with few messages is silent on the weak half of all forces, but for rounding.
    """
    return np.asarray(deviation > _REST * np.quantile(deviation, _STRONG))
