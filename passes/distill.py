"""Distill: a search of equations for each output of each region."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from symcompile.errors import DataError, EngineError, ExpressionError, TargetError
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
from symcompile.regression.guesses import read_guesses
from symcompile.storage.journal import Journal


@dataclass(frozen=True)
class DistillPass:
    """Search for every output that its target asks an equation for, with the target's engine."""

    options: Options
    name: ClassVar[str] = "distill"

    def run(self, state: Reduced) -> Distilled:
        regions = state.recording.regions
        asked = {path: self._asked(region) for path, region in regions.items()}
        engines = {path: of_region.engine for path, of_region in asked.items()}
        fits: list[Fit] = []
        for path, region in regions.items():
            if path in state.known:
                continue
            samples = region.equation_samples(state.recording.samples[path])
            _require_finite_features(region, samples.X)
            outputs, names = region.equation_outputs, region.variables
            try:
                fits += fits_of(path, outputs, samples, names, asked[path], self.options)
            except (EngineError, ExpressionError) as error:  # of an option that speaks of inputs
                raise type(error)(f"target {path!r}: {error}") from None
        searches = Searches(fits, Journal(self.options.run_dir), self.options.executor)
        return Distilled(**vars(state), engines=engines, searches=searches)

    def _asked(self, region: Region) -> Asked:
        target = region.target
        engine, results = self._engine(region)
        rule, guesses = self.options.rule_for(target), self.options.guesses_for(target)
        return Asked(engine, rule, results, guesses, self.options.warm_start)

    def _engine(self, region: Region) -> tuple[Engine, Sequence[Vector | None]]:
        """The engine of a region's target, and the dimension of each output if there are units."""
        engine = self.options.engine_for(region.target)
        units = self.options.units_for(region.target)
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


@dataclass(frozen=True)
class Asked:
    """What is asked for of the fits of one block.

    Attributes:
        rule: what chooses from their fronts; "" for the default.
        results: the dimension of each output, where there are units.
        guesses, warm_start: as a user gave them, see `regression.guesses`.
    """

    engine: Engine
    rule: str = ""
    results: Sequence[Vector | None] = ()
    guesses: Any = None
    warm_start: Any = None

    def engine_of(self, output: int) -> Engine:
        dimensions = self.engine.operators.dimensions
        if dimensions is None or not self.results:
            return self.engine
        return with_dimensions(self.engine, dimensions.for_output(self.results[output]))


def fits_of(
    block: str,
    outputs: Iterable[int],
    samples: Samples,
    names: tuple[str, ...],
    asked: Asked,
    options: Options,
) -> list[Fit]:
    """A fit for each of these outputs of Y, in the variables X."""
    operators = asked.engine.operators
    operators.check_inputs(names)
    # In random order, so that a search or a fit may look at the first rows alone.
    order = np.random.default_rng(options.seed).permutation(len(samples.X))
    return [
        Fit(
            fit_key(block, output),
            *samples.datasets(output, order=order),
            names,
            asked.engine_of(output),
            options.seed,
            options.budget,
            loss=options.loss,
            block=block,
            rule=asked.rule,
            guesses=read_guesses(
                asked.guesses, asked.warm_start, (block, output), names, operators
            ),
        )
        for output in outputs
    ]


def _require_finite_features(region: Region, V: Array) -> None:
    bad = ~np.isfinite(V).all(axis=0)
    if bad.any():
        name = region.variables[int(bad.argmax())]
        raise DataError(
            f"target {region.path!r}: feature {name!r} is not finite on the recorded inputs:"
            " keep its arguments inside its domain, for example sqrt(abs(...)) or ... + 0.01"
        )
