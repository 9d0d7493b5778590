"""Stand-ins: what else could be in the place of a wide block, so that its figures have a context.

Equations of a few coordinates are judged beside what costs no more than they do: nothing, the
block's own input, the best linear map of their rank; and beside what the coordinates alone lose.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.modules.region import Projection, Region
from symcompile.modules.samples import Samples
from symcompile.reduction.linear import Metric, Regression

# From inputs [n, n_inputs] to outputs [n, n_outputs].
StandInBlock = Callable[[Array], Array]


# The one that depends on the region's projections, which are trained.
BETWEEN = "the block between its projections"


def stand_ins(
    region: Region, samples: Samples, neural: Callable[[], StandInBlock]
) -> dict[str, Callable[[], StandInBlock]]:
    """What makes those of a region that has projections or an affine map, by name; nothing for
    others.

    Args:
        neural: gives the block itself.
    """
    if not (region.projection_in or region.projection_out or region.affine):
        return {}
    n_outputs = region.interface.n_outputs
    found: dict[str, Callable[[], StandInBlock]] = {
        "zero output": lambda: lambda X: np.zeros((len(X), n_outputs))
    }
    if region.interface.n_inputs == n_outputs:
        found["input passed through"] = lambda: lambda X: X
    rank = _rank(region)
    found[f"linear map of rank {rank}"] = lambda: _best(samples, rank)
    if region.affine is None:
        found[BETWEEN] = lambda: _between(region, neural())
    return found


def _best(samples: Samples, rank: int) -> StandInBlock:
    """The linear map of a rank that serves the samples best."""
    metric = Metric.of(samples.metric, samples.Y.shape[1])
    return Regression(samples.X_fit, samples.Y_fit, metric).of_rank(rank).predict


def _rank(region: Region) -> int:
    """Of what linear part the region's equations stand beside, or could be."""
    if region.affine is not None:
        return region.affine.rank
    sides = (region.projection_in, region.projection_out)
    return min(len(side.components) for side in sides if side is not None)


def _between(region: Region, neural: StandInBlock) -> StandInBlock:
    def rebuilt(projection: Projection | None, values: Array) -> Array:
        return values if projection is None else projection.reconstruct(projection.project(values))

    return lambda X: rebuilt(region.projection_out, neural(rebuilt(region.projection_in, X)))
