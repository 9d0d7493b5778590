"""Distill: a search of equations for each output of each region."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from symcompile.errors import DataError, ExpressionError, TargetError
from symcompile.expressions.dimensions import Dimensions, Vector
from symcompile.expressions.evaluation import Array
from symcompile.modules.region import Region
from symcompile.modules.samples import Samples
from symcompile.options import Options
from symcompile.pipeline import Distilled, Reduced, fit_key
from symcompile.regression.distillation import Searches
from symcompile.regression.engines import Engine
from symcompile.regression.engines.engine import with_dimensions
from symcompile.regression.fit import Fit
from symcompile.storage.journal import Journal


@dataclass(frozen=True)
class DistillPass:
    """Search for every output that its target asks an equation for, with the target's engine."""

    options: Options
    name: ClassVar[str] = "distill"

    def run(self, state: Reduced) -> Distilled:
        regions = state.recording.regions
        asked = {path: self._engine(region) for path, region in regions.items()}
        engines = {path: engine for path, (engine, _) in asked.items()}
        fits: list[Fit] = []
        for path, region in regions.items():
            samples = region.equation_samples(state.recording.samples[path])
            _require_finite_features(region, samples.X)
            outputs, names = region.equation_outputs, region.variables
            rule = self.options.rule_for(region.target)
            engine, units = asked[path]
            fits += fits_of(path, outputs, samples, names, engine, self.options, rule, units)
        searches = Searches(fits, Journal(self.options.run_dir), self.options.executor)
        return Distilled(**vars(state), engines=engines, searches=searches)

    def _engine(self, region: Region) -> tuple[Engine, Sequence[Vector | None]]:
        """The engine of a region's target, and the dimension of each output if there are units."""
        engine, units = (
            self.options.engine_for(region.target),
            self.options.units_for(region.target),
        )
        if units is None:
            return engine, ()
        if region.projection_in is not None or region.projection_out is not None:
            raise TargetError(
                f"target {region.path!r}: units= are of inputs and outputs, which reduce= mixes:"
                " leave out one of the two"
            )
        try:
            dimensions, results = units.of_inputs(region.names, region.interface.n_outputs)
            dimensions = with_features(dimensions, region)
        except ExpressionError as error:
            raise TargetError(f"target {region.path!r}: {error}") from None
        return with_dimensions(engine, dimensions), results


def with_features(dimensions: Dimensions, region: Region) -> Dimensions:
    """The dimensions of what the search sees: of features in the place of inputs.

    Raises ExpressionError if one does not go together. A number with a point in it may have any
    dimension, as a constant may.
    """
    if not region.target.features:
        return dimensions
    known = []
    for name, expr in zip(region.variables, region.features, strict=True):
        try:
            known.append((name, dimensions.of(expr)))
        except ExpressionError as error:
            raise ExpressionError(f"feature {name!r}: {error}") from None
    return replace(dimensions, inputs=tuple(known))


def fits_of(
    block: str,
    outputs: Iterable[int],
    samples: Samples,
    names: tuple[str, ...],
    engine: Engine,
    options: Options,
    rule: str,
    results: Sequence[Vector | None] = (),
) -> list[Fit]:
    """A fit for each of these outputs of Y, in the variables X; `rule` chooses from its front, and
    `results` are the dimensions of all outputs, where they are known."""
    engine.operators.check_inputs(names)
    # In random order, so that a search or a fit may look at the first rows alone.
    order = np.random.default_rng(options.seed).permutation(len(samples.X))
    return [
        Fit(
            fit_key(block, output),
            *samples.datasets(output, order=order),
            names,
            _of_output(engine, results[output]) if results else engine,
            options.seed,
            options.budget,
            loss=options.loss,
            block=block,
            rule=rule,
        )
        for output in outputs
    ]


def _of_output(engine: Engine, result: Vector | None) -> Engine:
    dimensions = engine.operators.dimensions
    assert dimensions is not None
    return with_dimensions(engine, dimensions.for_output(result))


def _require_finite_features(region: Region, V: Array) -> None:
    bad = ~np.isfinite(V).all(axis=0)
    if bad.any():
        name = region.variables[int(bad.argmax())]
        raise DataError(
            f"target {region.path!r}: feature {name!r} is not finite on the recorded inputs:"
            " keep its arguments inside its domain, for example sqrt(abs(...)) or ... + 0.01"
        )
