"""Compiled models whose equations are given: recorded, lowered and judged, but not searched for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import nn

from symcompile import Compiled
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.parser import parse
from symcompile.modules.region import Region
from symcompile.options import Options
from symcompile.passes import recording_passes
from symcompile.passes.choose import ChoosePass
from symcompile.passes.reduce import ReducePass
from symcompile.passes.rewrite import RewritePass
from symcompile.passes.verify import VerifyPass
from symcompile.pipeline import Pipeline, Reduced, Refined, Request, fit_key
from symcompile.regression.distillation import Searches
from symcompile.regression.engines import Engine
from symcompile.regression.fit import Fit
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.journal import Journal
from symcompile.target import Target

OPERATORS = OperatorSet.of(list(VOCABULARY))


@dataclass(frozen=True)
class ByHand:
    """In the place of an engine."""

    operators: OperatorSet
    about: Mapping[str, Any]

    def describe(self) -> dict[str, Any]:
        return dict(self.about)


@dataclass(frozen=True)
class _Named:
    """In the place of a fit."""

    key: str


def recorded(model: nn.Module, targets: Sequence[Target], data: Any) -> Reduced:
    """What the compiler knows of a model before it searches."""
    passes = recording_passes(Options()).then(ReducePass())
    return passes.run(Request(model, tuple(targets), data))[0]


def built(
    state: Reduced,
    fronts: Mapping[str, Mapping[int, ParetoFront]],
    *,
    engine: ByHand,
    tolerance: float | None = None,
    beat_linear: bool = False,
) -> Compiled:
    """What the compiler makes of these fronts."""
    keys = [_Named(fit_key(path, k)) for path, front in fronts.items() for k in front]
    found = Refined(
        **vars(state),
        engines=dict.fromkeys(fronts, cast(Engine, engine)),
        searches=Searches(cast("list[Fit]", keys), Journal(None)),
        fronts=fronts,
    )
    choose = ChoosePass(tolerance, beat_linear)
    done, log = Pipeline.of(choose).then(RewritePass()).then(VerifyPass()).run(found)
    return Compiled(done.assembly, done.blocks, {}, log)


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
    state = recorded(model, [Target(path, **options) for path in texts], data)
    regions = state.recording.regions
    return built(
        state,
        {path: _fronts(regions[path], given) for path, given in texts.items()},
        engine=ByHand(OPERATORS, {"operators": OPERATORS.to_dict()}),
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
