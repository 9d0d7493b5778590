"""Structure: the function itself is asked whether it has what was found of it.

Samples lie where they lie. A network can be asked where inputs are moved so that a finding says
that it stays as it is: what it changes by there is how well it is known to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.fidelity.reference import Reference
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.structure.statement import kept_by


def with_answers(
    fronts: Mapping[int, ParetoFront], X: Array, Y: Array, outputs: Callable[[Array], Array]
) -> dict[int, ParetoFront]:
    """Fronts by output, with those of their findings that the function keeps, and how well.

    Args:
        X, Y: samples [n_samples, n_inputs], [n_samples, n_outputs].
        outputs: the function, from inputs inside of their ranges. It is called once, or not at all
            where nothing was found.
    """
    found = {output: front.findings for output, front in fronts.items() if front.findings}
    if not found:
        return dict(fronts)
    spreads = dict(enumerate(Y.std(axis=0).tolist()))
    kept = kept_by(found, X, outputs, spreads)
    return {k: replace(front, findings=kept.get(k, ())) for k, front in fronts.items()}


def with_answers_of_block(
    reference: Reference, fronts: Mapping[int, ParetoFront]
) -> dict[int, ParetoFront]:
    """The same of a region's neural block. Features and components can't be moved one by one: of
    those nothing is asked."""
    region, neural = reference.region, reference.neural
    mixed = region.target.features or region.projection_in or region.projection_out
    if neural is None or mixed:
        return dict(fronts)
    with np.errstate(all="ignore"):
        return with_answers(fronts, reference.recorded, reference.samples.Y, neural.values)
