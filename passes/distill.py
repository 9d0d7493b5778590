"""Distill: a search of equations for each output of each region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from symcompile.errors import DataError
from symcompile.expressions.evaluation import Array
from symcompile.modules.region import Region
from symcompile.modules.samples import Samples
from symcompile.options import Options
from symcompile.pipeline import Distilled, Reduced, fit_key
from symcompile.regression.distillation import Searches
from symcompile.regression.engines import Engine
from symcompile.regression.fit import Fit
from symcompile.storage.journal import Journal


@dataclass(frozen=True)
class DistillPass:
    """Search for every output that its target asks an equation for, with the target's engine."""

    options: Options
    name: ClassVar[str] = "distill"

    def run(self, state: Reduced) -> Distilled:
        regions = state.recording.regions
        engines = {path: self.options.engine_for(one.target) for path, one in regions.items()}
        fits = [
            fit
            for path, region in regions.items()
            for fit in self._fits(region, state.recording.samples[path], engines[path])
        ]
        searches = Searches(fits, Journal(self.options.run_dir), self.options.executor)
        return Distilled(**vars(state), engines=engines, searches=searches)

    def _fits(self, region: Region, samples: Samples, engine: Engine) -> list[Fit]:
        V, Y = region.variable_values(samples.X), region.equation_values(samples.Y)
        _require_finite_features(region, V)
        return [
            fit_of(
                region.path,
                output,
                samples,
                V,
                Y[:, output],
                region.variables,
                engine,
                self.options,
            )
            for output in region.equation_outputs
        ]


def fit_of(
    block: str,
    output: int,
    samples: Samples,
    variables: Array,
    y: Array,
    names: tuple[str, ...],
    engine: Engine,
    options: Options,
) -> Fit:
    """The fit of one output y [n_samples] in `variables` [n_samples, n_variables]."""
    # In random order, so that a search or a fit may look at the first rows alone.
    order = np.random.default_rng(options.seed).permutation(len(y))
    fit, held = order[~samples.holdout[order]], order[samples.judged[order]]
    weights, folds = samples.weights, samples.folds
    return Fit(
        fit_key(block, output),
        variables[fit],
        y[fit],
        variables[held],
        y[held],
        names,
        engine,
        options.seed,
        None if weights is None else weights[fit],
        None if weights is None else weights[held],
        options.budget,
        loss=options.loss,
        block=block,
        folds=None if folds is None else folds[held],
    )


def _require_finite_features(region: Region, V: Array) -> None:
    bad = ~np.isfinite(V).all(axis=0)
    if bad.any():
        name = region.variables[int(bad.argmax())]
        raise DataError(
            f"target {region.path!r}: feature {name!r} is not finite on the recorded inputs:"
            " keep its arguments inside its domain, for example sqrt(abs(...)) or ... + 0.01"
        )
