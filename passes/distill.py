"""Distill: a search of equations for each output of each region."""

from __future__ import annotations

from collections.abc import Iterable
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
        engines = {path: self.options.engine_for(region.target) for path, region in regions.items()}
        fits: list[Fit] = []
        for path, region in regions.items():
            samples = region.equation_samples(state.recording.samples[path])
            _require_finite_features(region, samples.X)
            outputs, names = region.equation_outputs, region.variables
            rule = self.options.rule_for(region.target)
            fits += fits_of(path, outputs, samples, names, engines[path], self.options, rule)
        searches = Searches(fits, Journal(self.options.run_dir), self.options.executor)
        return Distilled(**vars(state), engines=engines, searches=searches)


def fits_of(
    block: str,
    outputs: Iterable[int],
    samples: Samples,
    names: tuple[str, ...],
    engine: Engine,
    options: Options,
    rule: str,
) -> list[Fit]:
    """A fit for each of these outputs of Y, in the variables X; `rule` chooses from its front."""
    engine.operators.check_inputs(names)
    # In random order, so that a search or a fit may look at the first rows alone.
    order = np.random.default_rng(options.seed).permutation(len(samples.X))
    return [
        Fit(
            fit_key(block, output),
            *samples.datasets(output, order=order),
            names,
            engine,
            options.seed,
            options.budget,
            loss=options.loss,
            block=block,
            rule=rule,
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
