"""Reduce: project wide inputs and outputs to their principal components before the search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from symcompile.errors import TargetError
from symcompile.expressions.evaluation import Array
from symcompile.modules.region import Projection, Region
from symcompile.modules.samples import Samples
from symcompile.pipeline import Instrumented, Reduced


@dataclass(frozen=True)
class ReducePass:
    """Project the regions whose targets ask for it."""

    name: ClassVar[str] = "reduce"

    def run(self, state: Instrumented) -> Reduced:
        recording = state.recording
        regions = {
            path: reduce(r, recording.samples[path]) for path, r in recording.regions.items()
        }
        if all(regions[path] is region for path, region in recording.regions.items()):
            return Reduced(**vars(state))
        return Reduced(**vars(replace(state, recording=replace(recording, regions=regions))))


def reduce(region: Region, samples: Samples) -> Region:
    """The region with the projections that its target asks for, fitted on the fit samples.

    Raises TargetError if more components are asked for than there are features, or if single
    outputs are chosen as well.
    """
    if region.target.reduce is None:
        return region
    n_in, n_out = region.target.reduce  # type: ignore[misc]
    if n_out is not None and region.target.outputs is not None:
        raise TargetError(
            f"target {region.path!r}: outputs= and reduce= of the outputs exclude each other"
        )
    return replace(
        region,
        projection_in=_fit(region.path, "inputs", samples.X_fit, n_in),
        projection_out=_fit(region.path, "outputs", samples.Y_fit, n_out),
    )


def _fit(path: str, what: str, values: Array, count: int | None) -> Projection | None:
    if count is None:
        return None
    limit = min(values.shape)
    if count > limit:
        raise TargetError(
            f"target {path!r}: reduce asks for {count} components of the {what}, at most {limit}"
            f" fit {values.shape[0]} samples of {values.shape[1]} features"
        )
    mean = values.mean(axis=0)
    _, _, axes = np.linalg.svd(values - mean, full_matrices=False)
    axes = axes[:count]
    # The sign of a component is arbitrary: its largest entry is made positive.
    largest = axes[np.arange(count), np.abs(axes).argmax(axis=1)]
    return Projection(mean, axes * np.sign(largest)[:, None])
