"""What blocks that may take a region's place are measured against: the neural block on recorded
samples, just beyond them, and along the directions in which they vary; and the controls.

Here a block is a function of rows; as a module in its model it is measured in
`symcompile.fidelity.measuring`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeVar

import numpy as np

from symcompile.errors import described
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.controls import Controls, controls
from symcompile.fidelity.derivatives import Function
from symcompile.fidelity.domain_check import check
from symcompile.fidelity.metrics import ROUNDING, agreement, relative_l2
from symcompile.fidelity.outcome import (
    Agreement,
    EndToEnd,
    Fidelity,
    OutputFidelity,
    Projected,
)
from symcompile.fidelity.precision import Examined
from symcompile.modules.region import Projection, Region
from symcompile.modules.samples import Samples
from symcompile.regression.dataset import Dataset

# How far beyond the recorded range inputs are drawn, as a share of each input's span.
BEYOND = 0.2
_EXTRAPOLATION_ROWS = 1024
_GRADIENT_ROWS = 512
_GRADIENT_ENTRIES = 20_000_000
_DIRECTIONS = 256
# Key of the row that takes all replaced outputs together.
_TOTAL = -1

T = TypeVar("T")


class OptionalMeasurements:
    """Makes side measurements: those that a compile can do without.

    They run a user's modules in ways in which nobody has run them before: on inputs beyond the
    recorded ones, backwards, with a linear map in the place of a block. A module may have its
    reasons not to allow that. Then the figure is missing, the report says why, and nothing else
    happens.

    Attributes:
        unmeasured: why there is no figure, by what could not be measured.
    """

    def __init__(self, unmeasured: Mapping[str, str] | None = None) -> None:
        self.unmeasured = dict(unmeasured or {})

    def get(self, what: str, measure: Callable[[], T]) -> T | None:
        """The measurement, or None where it can't be made."""
        try:
            return measure()
        except Exception as error:  # whatever a user's forward raises
            self.unmeasured.setdefault(what, described(error))
            return None


@dataclass(frozen=True)
class Reference:
    """What blocks that may take a region's place are measured against.

    Whatever does not depend on their equations is computed once, when it is first needed.

    Attributes:
        samples: recorded inputs and outputs. Equations and controls are fitted to some and judged
            on the rest; where nothing is held out, on each fold by constants fitted to the others,
            see `symcompile.regression.folds`.
        controls: what equations have to beat, fitted to what they are fitted to.
        neural: the neural block; without it there are no gradients, and no extrapolation.
    """

    region: Region
    samples: Samples
    controls: Controls
    neural: Function | None = None
    seed: int = 0

    @cached_property
    def X(self) -> Array:
        """Inputs of the judged samples [n, n_inputs]."""
        return self.samples.X[self.samples.judged]

    @cached_property
    def Y(self) -> Array:
        """Outputs of the judged samples [n, n_outputs]."""
        return self.samples.Y[self.samples.judged]

    @cached_property
    def recorded(self) -> Array:
        """Every recorded input [n_samples, n_inputs]."""
        return np.concatenate([self.samples.X_fit, self.samples.X_holdout])

    @cached_property
    def control_outputs(self) -> tuple[Array, ...]:
        """What mean and linear map give on judged samples, each [n, n_outputs]."""
        folds, weights = self.samples.folds, self.samples.weights
        if folds is None:
            return tuple(control.predict(self.X) for control in self.controls)
        predictions = tuple(np.empty_like(self.Y) for _ in self.controls)
        for fold in np.unique(folds):
            rest, out = folds != fold, folds == fold
            fitted = controls(
                self.X[rest], self.Y[rest], None if weights is None else weights[rest]
            )
            for values, control in zip(predictions, fitted, strict=True):
                values[out] = control.predict(self.X[out])
        return predictions

    @cached_property
    def variables(self) -> Array:
        return self.region.variable_values(self.X)

    @cached_property
    def equation_values(self) -> Array:
        """What equations have to give on judged samples [n, n_equations]."""
        return self.region.equation_values(self.X, self.Y)

    def fold_shift_of(self, output: int, equation: Equation) -> Array:
        """What leaving out the fold of each judged sample adds to the equation's values [n]; zero
        where samples were held out."""
        weights, folds = self.samples.weights, self.samples.folds
        y = self.equation_values[:, output]
        return Dataset(self.variables, y, weights, folds=folds).fold_shift(equation)

    def left_out(self, equations: Mapping[int, Equation], values: Array) -> Array:
        """Outputs [n, n_outputs] of a block, each row by constants fitted without it."""
        if self.samples.folds is None:
            return values
        added = np.zeros_like(self.equation_values)
        for output, equation in equations.items():
            added[:, output] = self.fold_shift_of(output, equation)
        projection = self.region.projection_out
        with np.errstate(all="ignore"):
            return values + (added if projection is None else added @ projection.directions)

    @cached_property
    def beyond(self) -> tuple[Array, Array]:
        """Inputs and outputs of the neural block just beyond what was recorded; no rows where that
        can't be asked."""
        X = shell(self.recorded, _EXTRAPOLATION_ROWS, self.seed)
        if self.neural is None or len(X) == 0:
            return X[:0], np.empty((0, self.region.interface.n_outputs))
        Y = np.asarray(self.neural.values(X), dtype=np.float64)
        usable = np.isfinite(Y).all(axis=1)
        return X[usable], Y[usable]

    @cached_property
    def projections(self) -> dict[str, Projected]:
        """What projections keep of judged inputs, and of what an affine map leaves of outputs."""
        kept, affine = {}, self.region.affine
        if self.region.projection_in is not None:
            kept["inputs"] = Projected(_kept_by(self.region.projection_in, self.X))
        if self.region.projection_out is not None:
            rest = self.Y if affine is None else self.Y - affine.predict(self.X)
            rebuilt = self.region.output_values(self.X, self.equation_values)
            lost = relative_l2(rebuilt, self.Y)
            kept["outputs"] = Projected(_kept_by(self.region.projection_out, rest), lost)
        if affine is not None:
            alone = agreement(affine.predict(self.X), self.Y)
            kept["affine"] = Projected(alone.r2, alone.relative_l2)
        return kept

    @cached_property
    def lost_by_inputs(self) -> float:
        """Relative L2 of the neural block on inputs put together from their components."""
        projection = self.region.projection_in
        if projection is None or self.neural is None:
            return math.nan
        rebuilt = projection.reconstruct(projection.project(self.X))
        return relative_l2(self.neural.values(rebuilt), self.Y)

    @cached_property
    def directions(self) -> Array:
        """Directions [n_inputs, n_directions] whose squares add up to the inputs' covariance.

        Derivatives times these are changes of the output for moves as the data makes them. That
        frees the comparison from the inputs' units, and from directions in which no recorded input
        ever moves: there the block's derivatives mean nothing. For many inputs the moves are those
        of some recorded rows from their mean.
        """
        X = self.recorded
        if X.shape[1] > _DIRECTIONS:
            X = X[np.unique(np.linspace(0, len(X) - 1, _DIRECTIONS).astype(int))]
            return np.asarray((X - X.mean(axis=0)).T / np.sqrt(len(X)))
        unit = np.maximum(np.abs(X).max(axis=0), np.finfo(np.float64).tiny)
        covariance = np.atleast_2d(np.cov(X / unit, rowvar=False, bias=True))
        squares, vectors = np.linalg.eigh(covariance)
        squares = np.where(squares > ROUNDING * squares[-1], squares, 0.0)
        return np.asarray(unit[:, None] * vectors * np.sqrt(squares))

    @cached_property
    def slopes(self) -> tuple[Array, Array]:
        """Judged inputs, and how the neural block's outputs change there along each direction
        [n, n_outputs, n_directions]."""
        n_outputs, n_inputs = self.region.interface.n_outputs, self.X.shape[1]
        most = min(_GRADIENT_ROWS, _GRADIENT_ENTRIES // max(n_outputs * n_inputs, 1))
        X = self.X[: max(1, most)]
        if self.neural is None:
            return X[:0], np.empty((0, n_outputs, self.directions.shape[1]))
        slopes = np.asarray(self.neural.gradient(X), dtype=np.float64) @ self.directions
        usable = np.isfinite(slopes).all(axis=(1, 2))
        return X[usable], slopes[usable]

    # --- a block beside it -------------------------------------------------------------------

    def measure(
        self,
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
        region, keys = self.region, sorted(equations)
        values = self.left_out(equations, block.values(self.X))
        equation, mean, linear = (
            self._agreements(keys, self.X, each, self.Y) for each in (values, *self.control_outputs)
        )
        rows = {k: OutputFidelity(equation[k], mean[k], linear[k]) for k in (*keys, _TOTAL)}
        total = rows.pop(_TOTAL)
        domain = partial(check, region=region, X=self.recorded, seed=self.seed)
        if examined is not None:
            domain = partial(domain, dtype=examined.dtype, sound=examined.sound)
        return Fidelity(
            rows,
            end_to_end,
            region.parameters if set(keys) == set(range(region.n_equations)) else 0,
            tuple(issue for key in keys for issue in domain(equations[key], output=key)),
            total=total,
            projections=self.projections,
            shortfalls=() if examined is None else examined.shortfalls,
            shares=self._shares(equations),
        )

    def _shares(self, equations: Mapping[int, Equation]) -> dict[int, float]:
        """Of the outputs' variance, what each component adds to them alone."""
        projection = self.region.projection_out
        spread = float(self.Y.var(axis=0).sum())
        if projection is None or not spread > 0:
            return {}
        sizes = np.square(projection.directions).sum(axis=1) / spread
        with np.errstate(all="ignore"):
            return {
                key: float(equation.predict(self.variables).var() * sizes[key])
                for key, equation in equations.items()
            }

    def complete(
        self, fidelity: Fidelity, block: Function, optional: OptionalMeasurements
    ) -> Fidelity:
        """The same with what no verdict depends on: extrapolation, gradients, projected inputs."""
        keys = sorted(fidelity.outputs)

        def extrapolations() -> dict[int, Agreement]:
            X, Y = self.beyond
            return self._agreements(keys, X, block.values(X), Y) if len(X) else {}

        beyond = optional.get("extrapolation", extrapolations) or {}
        slopes = optional.get("gradients", lambda: self._gradients(keys, block)) or {}

        def completed(key: int, row: OutputFidelity) -> OutputFidelity:
            far = beyond.get(key, Agreement())
            return replace(row, extrapolation=far, gradient=slopes.get(key, math.nan))

        total, projections = fidelity.total, dict(fidelity.projections)
        if "inputs" in projections:
            lost = optional.get("projected inputs", lambda: self.lost_by_inputs)
            lost = math.nan if lost is None else lost
            projections["inputs"] = replace(projections["inputs"], relative_l2=lost)
        return replace(
            fidelity,
            projections=projections,
            outputs={key: completed(key, row) for key, row in fidelity.outputs.items()},
            total=None if total is None else completed(_TOTAL, total),
        )

    def _agreements(
        self, keys: Sequence[int], X: Array, values: Array, Y: Array
    ) -> dict[int, Agreement]:
        """Agreement by equation, and of the real outputs they stand for together.

        Args:
            X: inputs [n, n_inputs].
            values, Y: outputs of a stand-in and of the neural block there, [n, n_outputs].
        """
        predicted, truth = values, Y
        if self.region.projection_out is not None:
            with np.errstate(all="ignore"):
                predicted, truth = (self.region.equation_values(X, each) for each in (values, Y))
        rows = {key: agreement(predicted[:, key], truth[:, key]) for key in keys}
        rows[_TOTAL] = agreement(self._real(keys, values), self._real(keys, Y))
        return rows

    def _real(self, keys: Sequence[int], values: Array) -> Array:
        """The outputs that equations stand for: after a projection all of them."""
        return values[:, list(keys)] if self.region.projection_out is None else values

    def _gradients(self, keys: Sequence[int], block: Function) -> dict[int, float]:
        X, truth = self.slopes
        if len(X) == 0:
            return {}
        with np.errstate(all="ignore"):
            slopes = block.gradient(X) @ self.directions
            sides = slopes, truth
            if self.region.projection_out is not None:
                components, affine = self.region.projection_out.components, self.region.affine
                known = 0.0 if affine is None else affine.up @ (affine.down @ self.directions)
                sides = tuple(np.einsum("ko,noi->nki", components, s - known) for s in sides)
        figures = {key: relative_l2(*(side[:, key] for side in sides)) for key in keys}
        figures[_TOTAL] = relative_l2(self._real(keys, slopes), self._real(keys, truth))
        return figures


def _kept_by(projection: Projection, values: Array) -> float:
    """Share of the variance of values [n, d] that a projection holds."""
    return agreement(projection.reconstruct(projection.project(values)), values).r2


def shell(X: Array, n_samples: int, seed: int = 0) -> Array:
    """Inputs just beyond the recorded range [up to n_samples, n_inputs].

    Recorded rows are moved straight away from their mean until at least one input is beyond its
    recorded range, and none by more than 20 % of its span. So inputs keep the relations that are
    linear in the data, and those that never vary keep their value: with correlated inputs, a plain
    sample of the widened box would mostly ask about inputs that can't occur.
    """
    rng = np.random.default_rng(seed)
    low, high, centre = X.min(axis=0), X.max(axis=0), X.mean(axis=0)
    span = high - low
    moves = np.resize(rng.permutation(X), (n_samples, X.shape[1])) - centre
    moves[:, span <= ROUNDING * np.abs(X).max(axis=0)] = 0.0
    moves = moves[np.abs(moves).max(axis=1, initial=0.0) > 0]
    near = _steps_to(moves, low - centre, high - centre)
    far = _steps_to(moves, low - BEYOND * span - centre, high + BEYOND * span - centre)
    depth = 1.0 - 0.999 * rng.random(len(moves))  # never quite at the border
    return np.asarray(centre + (near + depth * (far - near))[:, None] * moves)


def _steps_to(moves: Array, low: Array, high: Array) -> Array:
    """How many times each move can be made before it leaves the box, [n_samples]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(moves > 0, high / moves, low / moves)
    return np.where(moves == 0, np.inf, steps).min(axis=1, initial=np.inf)
