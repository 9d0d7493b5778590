"""Measure a block of equations against the block it replaces, beside its controls.

Everything here takes what it measures as arguments and changes nothing. What is measured is the
block as it gets installed, in its own dtype and on its own device. What is measured on the whole
model is in `symcompile.fidelity.end_to_end` and `symcompile.fidelity.latency`; what is refused for
it, in `symcompile.fidelity.refusal`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from symcompile.errors import DataError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.aside import Asides
from symcompile.fidelity.controls import Controls, agreement, controls, relative_l2
from symcompile.fidelity.derivatives import Function, spread
from symcompile.fidelity.domain_check import check
from symcompile.fidelity.extrapolation import shell
from symcompile.fidelity.outcome import (
    Agreement,
    EndToEnd,
    Fidelity,
    OutputFidelity,
    Projected,
)
from symcompile.fidelity.precision import Examined
from symcompile.modules.region import Region
from symcompile.regression.folds import moves

_EXTRAPOLATION_ROWS = 1024
_GRADIENT_ROWS = 512
_GRADIENT_ENTRIES = 20_000_000
# Key of the row that takes all replaced outputs together.
_TOTAL = -1


class Samples(NamedTuple):
    """Raw inputs X [n_samples, n_inputs] and outputs Y [n_samples, n_outputs] of a region."""

    X: Array
    Y: Array


@dataclass(frozen=True)
class Reference:
    """What blocks that may take a region's place are measured against.

    Whatever does not depend on their equations is computed once, when it is first needed.

    Attributes:
        fit: what equations and controls were fitted to.
        holdout: what neither has seen; where nothing is held out the same as `fit`.
        baseline: the controls.
        folds: of each sample, where nothing is held out: equations and controls are then judged on
            each fold by constants fitted to the others, see `symcompile.regression.folds`.
        weights: of the samples, with folds.
        neural: the neural block; without it there are no gradients, and no extrapolation.

    Raises:
        DataError: a holdout without rows.
    """

    region: Region
    fit: Samples
    holdout: Samples
    baseline: Controls
    neural: Function | None = None
    seed: int = 0
    folds: Array | None = None
    weights: Array | None = None

    def __post_init__(self) -> None:
        if len(self.holdout.X) == 0:
            raise DataError(
                f"target {self.region.path!r}: no held-out samples: raise holdout= or n_samples="
            )

    @cached_property
    def recorded(self) -> Array:
        """Every recorded input [n_samples, n_inputs]."""
        return (
            self.fit.X if self.folds is not None else np.concatenate([self.fit.X, self.holdout.X])
        )

    @cached_property
    def controls(self) -> tuple[Array, ...]:
        """What mean and linear map give on held-out samples, each [n_holdout, n_outputs]."""
        X, Y = self.holdout
        if self.folds is None:
            return tuple(one.predict(X) for one in self.baseline)
        result = tuple(np.empty_like(Y) for _ in self.baseline)
        for fold in np.unique(self.folds):
            rest, out = self.folds != fold, self.folds == fold
            weights = None if self.weights is None else self.weights[rest]
            for values, one in zip(result, controls(X[rest], Y[rest], weights), strict=True):
                values[out] = one.predict(X[out])
        return result

    @cached_property
    def variables(self) -> Array:
        return self.region.variable_values(self.holdout.X)

    @cached_property
    def wanted(self) -> Array:
        """What equations have to give on held-out samples [n_holdout, n_equations]."""
        return self.region.equation_values(self.holdout.Y)

    def moves_of(self, output: int, equation: Equation) -> Array:
        """What an equation gives on held-out samples beyond its own values [n_holdout], since its
        constants are fitted without them; zero where they have not seen them anyway."""
        if self.folds is None:
            return np.zeros(len(self.variables))
        return moves(equation, self.variables, self.wanted[:, output], self.folds, self.weights)

    def left_out(self, equations: Mapping[int, Equation], values: Array) -> Array:
        """Outputs [n_holdout, n_outputs] of a block, each row by constants fitted without it."""
        if self.folds is None:
            return values
        added = np.zeros_like(self.wanted)
        for output, equation in equations.items():
            added[:, output] = self.moves_of(output, equation)
        projection = self.region.projection_out
        with np.errstate(all="ignore"):
            return values + (added if projection is None else added @ projection.components)

    @cached_property
    def beyond(self) -> Samples:
        """The neural block just beyond what was recorded; no rows where that can't be asked."""
        X = shell(self.recorded, _EXTRAPOLATION_ROWS, self.seed)
        if self.neural is None or len(X) == 0:
            return Samples(X[:0], np.empty((0, self.region.interface.n_outputs)))
        Y = np.asarray(self.neural.values(X), dtype=np.float64)
        usable = np.isfinite(Y).all(axis=1)
        return Samples(X[usable], Y[usable])

    @cached_property
    def projections(self) -> dict[str, Projected]:
        """What projections keep of held-out inputs and outputs."""
        sides = {"inputs": (self.region.projection_in, self.holdout.X)}
        sides["outputs"] = (self.region.projection_out, self.holdout.Y)
        found = {}
        for side, (projection, values) in sides.items():
            if projection is not None:
                kept = agreement(projection.reconstruct(projection.project(values)), values)
                lost = kept.relative_l2 if side == "outputs" else math.nan
                found[side] = Projected(kept.r2, lost)
        return found

    @cached_property
    def lost_by_inputs(self) -> float:
        """Relative L2 of the neural block on inputs put together from their components."""
        projection, (X, Y) = self.region.projection_in, self.holdout
        if projection is None or self.neural is None:
            return math.nan
        return relative_l2(self.neural.values(projection.reconstruct(projection.project(X))), Y)

    @cached_property
    def moves(self) -> Array:
        return spread(self.recorded)

    @cached_property
    def slopes(self) -> Samples:
        """Held-out inputs, and how the neural block's outputs change with each move there
        [n, n_outputs, n_moves]."""
        n_outputs = self.region.interface.n_outputs
        X = self.holdout.X
        most = min(_GRADIENT_ROWS, _GRADIENT_ENTRIES // max(n_outputs * X.shape[1], 1))
        X = X[: max(1, most)]
        if self.neural is None:
            return Samples(X[:0], np.empty((0, n_outputs, self.moves.shape[1])))
        true = np.asarray(self.neural.gradient(X), dtype=np.float64) @ self.moves
        usable = np.isfinite(true).all(axis=(1, 2))
        return Samples(X[usable], true[usable])


def measure(
    reference: Reference,
    equations: Mapping[int, Equation],
    block: Function,
    *,
    end_to_end: EndToEnd | None = None,
    examined: Examined | None = None,
) -> Fidelity:
    """Fidelity of the block that computes `equations`, as far as a verdict needs it.

    Args:
        equations: by number of the equation; where the region projects its outputs these give
            components, and `outputs` of the result compares components, `total` real outputs.
        block: gives all outputs of the region, those that it leaves neural included.
        examined: how it did on all that was recorded.
    """
    region, keys = reference.region, sorted(equations)
    X, Y = reference.holdout
    found, mean, linear = (
        _compare(region, keys, values, Y)
        for values in (reference.left_out(equations, block.values(X)), *reference.controls)
    )
    rows = {k: OutputFidelity(found[k], mean[k], linear[k]) for k in (*keys, _TOTAL)}
    total = rows.pop(_TOTAL)
    domain = partial(check, region=region, X=reference.recorded, seed=reference.seed)
    if examined is not None:
        domain = partial(domain, dtype=examined.dtype, sound=examined.sound)
    issues = [issue for key in keys for issue in domain(equations[key], output=key)]
    removed = region.parameters if set(keys) == set(range(region.n_equations)) else 0
    return Fidelity(
        rows,
        end_to_end,
        removed,
        tuple(issues),
        (),
        total,
        projections=reference.projections,
        shortfalls=() if examined is None else examined.shortfalls,
    )


def with_asides(
    fidelity: Fidelity, reference: Reference, block: Function, asides: Asides
) -> Fidelity:
    """The same with what no verdict depends on: extrapolation, gradients, projected inputs."""
    keys = sorted(fidelity.outputs)
    beyond = asides.get("extrapolation", lambda: _extrapolations(reference, keys, block)) or {}
    slopes = asides.get("gradients", lambda: _gradients(reference, keys, block)) or {}

    def completed(key: int, row: OutputFidelity) -> OutputFidelity:
        far = beyond.get(key, Agreement())
        return replace(row, extrapolation=far, gradient=slopes.get(key, math.nan))

    total, projections = fidelity.total, dict(fidelity.projections)
    if "inputs" in projections:
        lost = asides.get("projected inputs", lambda: reference.lost_by_inputs)
        lost = math.nan if lost is None else lost
        projections["inputs"] = replace(projections["inputs"], relative_l2=lost)
    return replace(
        fidelity,
        projections=projections,
        outputs={key: completed(key, row) for key, row in fidelity.outputs.items()},
        total=None if total is None else completed(_TOTAL, total),
    )


def _compare(region: Region, keys: Sequence[int], found: Array, Y: Array) -> dict[int, Agreement]:
    """Agreement by equation, and of the real outputs they stand for together.

    Args:
        found, Y: outputs of a stand-in and of the neural block, [n, n_outputs].
    """
    with np.errstate(all="ignore"):
        given, wanted = region.equation_values(found), region.equation_values(Y)
    rows = {key: agreement(given[:, key], wanted[:, key]) for key in keys}
    rows[_TOTAL] = agreement(_real(region, keys, found), _real(region, keys, Y))
    return rows


def _real(region: Region, keys: Sequence[int], values: Array) -> Array:
    """The outputs that equations stand for: after a projection all of them."""
    return values[:, list(keys)] if region.projection_out is None else values


def _extrapolations(
    reference: Reference, keys: Sequence[int], block: Function
) -> dict[int, Agreement]:
    X, Y = reference.beyond
    return _compare(reference.region, keys, block.values(X), Y) if len(X) else {}


def _gradients(reference: Reference, keys: Sequence[int], block: Function) -> dict[int, float]:
    region = reference.region
    X, true = reference.slopes
    if len(X) == 0:
        return {}
    with np.errstate(all="ignore"):
        found = block.gradient(X) @ reference.moves
        given, wanted = found, true
        if region.projection_out is not None:
            components = region.projection_out.components
            given, wanted = (np.einsum("ko,noi->nki", components, one) for one in (found, true))
    figures = {key: relative_l2(given[:, key], wanted[:, key]) for key in keys}
    figures[_TOTAL] = relative_l2(_real(region, keys, found), _real(region, keys, true))
    return figures
