"""Compiled models whose equations are given: recorded, lowered and judged, but not searched for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from symcompile import Compiled, record
from symcompile.expressions.equation import Equation
from symcompile.expressions.operators import VOCABULARY, OperatorSet
from symcompile.expressions.parser import parse
from symcompile.fidelity.measuring import Neural
from symcompile.modules.region import Region
from symcompile.passes.record import capture_targets
from symcompile.passes.reduce import reduce
from symcompile.regression.pareto import ParetoFront
from symcompile.target import Target

OPERATORS = OperatorSet.of(list(VOCABULARY))


def compiled_with(
    model: nn.Module,
    texts: Mapping[str, Sequence[str]],
    data: Any,
    *,
    tolerance: float | None = None,
    beat_linear: bool = False,
    **options: Any,
) -> Compiled:
    """A model with one equation for each output of the blocks at these paths.

    Args:
        options: of every Target.
    """
    targets = [Target(path, **options) for path in texts]
    recording = record(model, targets, data)
    regions = dict(recording.regions)
    if options.get("reduce"):
        regions = {path: reduce(one, recording[path]) for path, one in regions.items()}
        recording = replace(recording, regions=regions)
    root = capture_targets(model, targets, recording.batches[0]).root
    return Compiled.build(
        Neural(root),
        recording,
        {path: _fronts(regions[path], given) for path, given in texts.items()},
        engines={path: {"operators": dict.fromkeys(VOCABULARY, 1)} for path in texts},
        operators=dict.fromkeys(texts, OPERATORS),
        tolerance=tolerance,
        beat_linear=beat_linear,
    )


def _fronts(region: Region, texts: Sequence[str]) -> dict[int, ParetoFront]:
    return {
        output: ParetoFront((replace(one, loss=0.0, holdout_loss=0.0),), 1.0)
        for output, one in enumerate(
            Equation.of(parse(text, region.variables), region.variables, OPERATORS)
            for text in texts
        )
    }
