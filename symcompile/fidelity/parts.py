"""One region of a hybrid, and what a Compiled does with it on its own."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np
import sympy
import torch
from torch import nn

from symcompile.errors import ArtifactError, ExpressionError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operators import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.fidelity.controls import Controls
from symcompile.fidelity.measuring import N_PROBES
from symcompile.fidelity.outcome import Fidelity, Outcome, Refusal, Rewrite
from symcompile.lowering import Lowered, inner_types
from symcompile.modules.assemble import Vacant, vacate
from symcompile.modules.recording import Recorded
from symcompile.modules.region import Region
from symcompile.modules.whole_model import root_for
from symcompile.regression.dataset import Dataset
from symcompile.regression.folds import in_words
from symcompile.regression.losses import SQUARED
from symcompile.regression.pareto import ParetoFront


@dataclass
class Part:
    """One region of the hybrid, as it is now."""

    region: Region
    fronts: Mapping[int, ParetoFront]
    operators: OperatorSet
    provenance: Mapping[str, Any]
    outcome: Outcome
    equations: dict[int, Equation] = field(default_factory=dict)
    lowered: Lowered | None = None
    baseline: Controls | None = None


def restore_constants(lowered: Lowered, state: Mapping[str, torch.Tensor], path: str) -> None:
    """Constants as they were trained; ArtifactError if they do not fit the equations."""
    # Earlier versions stored whole exponents among them.
    used = {name: value for name, value in state.items() if name not in lowered.unplaced}
    try:
        lowered.module.load_state_dict(used)
    except RuntimeError as error:
        raise ArtifactError(
            f"constants of {path!r} do not fit its equations: {' '.join(str(error).split())}"
        ) from None


def part_of(outcome: Outcome) -> Part:
    """A region as an artifact has it; what is lowered comes later."""
    assert outcome.region is not None
    engine = outcome.provenance.get("engine", {})
    operators = OperatorSet.of(dict(engine.get("operators", {})) or None)
    return Part(outcome.region, outcome.fronts, operators, outcome.provenance, outcome)


def vacant(root: nn.Module, record: Recorded) -> nn.Module:
    """The hybrid before any block is in it."""
    if "." in record.regions:
        return root_for(record.regions["."], Vacant(), type(root).__name__)
    return vacate(root, record.regions)


def default_choice(part: Part) -> dict[int, Equation]:
    """The best equation of each output, where there is one."""
    outputs = part.region.equation_outputs
    return {k: part.fronts[k].best for k in outputs if part.fronts.get(k)}


def as_equation(part: Part, given: Equation | sympy.Expr | str) -> Equation:
    """What `choose` is given as an equation; ExpressionError says what it takes."""
    names = part.region.variables
    if isinstance(given, Equation):
        given = given.sympy
    expr = parse(given, names) if isinstance(given, str) else _expression(given)
    return Equation.of(expr, names, part.operators)


def _expression(given: Any) -> sympy.Expr:
    number = isinstance(given, (numbers.Real, Decimal)) and not isinstance(given, (bool, np.bool_))
    if not number and not isinstance(given, sympy.Expr):
        raise ExpressionError(
            f"a {type(given).__name__} is no equation: expected an Equation of the front, a sympy"
            " expression, a number, or text such as '2*x0 + x1'"
        )
    expr = sympy.sympify(given)
    unknown = sorted(expr.atoms(sympy.NumberSymbol) - {sympy.pi, sympy.E}, key=str)
    if unknown:
        raise ExpressionError(
            f"{unknown[0]} is no constant that equations know, pi and E are: give its value,"
            f" {float(unknown[0])!r}"
        )
    # Of a symbol with assumptions, and of a dummy, the name is meant.
    return expr.xreplace({one: sympy.Symbol(one.name) for one in expr.atoms(sympy.Symbol)})


def scored(part: Part, record: Recorded, output: int, equation: Equation) -> Equation:
    """The equation with its losses on what was recorded, by the loss of its front."""
    samples, front = record.samples[part.region.path], part.fronts.get(output)
    measure = SQUARED if front is None else front.loss
    V, y = part.region.variable_values(samples.X), part.region.equation_values(samples.Y)[:, output]
    fit, held = (
        Dataset(
            V[rows], y[rows], None if samples.weights is None else samples.weights[rows], measure
        )
        for rows in (~samples.holdout, samples.judged)
    )
    held = replace(held, folds=samples.folds)
    holdout, squares = held.losses_of(equation)
    return replace(equation, loss=fit.loss_of(equation), holdout_loss=holdout, holdout_mse=squares)


def provenance_of(
    record: Recorded, path: str, engine: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    samples = record.samples[path]
    held, folds = samples.holdout, samples.folds
    judged = {} if folds is None else {"judged_by": in_words(len(held))}
    return {
        "engine": dict(engine),
        "seed": seed,
        "n_fit": int((~held).sum()),
        "n_holdout": int(held.sum()),
        **judged,
    }


def rewrite_of(part: Part, record: Recorded, fidelity: Fidelity) -> Rewrite:
    samples = record.samples[part.region.path]
    probes = tuple(tuple(map(float, row)) for row in samples.X[samples.judged][:N_PROBES])
    return Rewrite(
        part.region,
        dict(part.equations),
        part.fronts,
        fidelity,
        part.provenance,
        samples.ranges,
        probes,
        _computes_in(part),
    )


def _computes_in(part: Part) -> str:
    assert part.lowered is not None
    usual = inner_types(getattr(torch, part.region.dtype))[0]
    wide = part.lowered.dtype != usual
    return str(part.lowered.dtype).removeprefix("torch.") if wide else ""


def refusal_of(part: Part, reason: str, fidelity: Fidelity | None = None) -> Refusal:
    return Refusal(part.region.path, reason, part.region, part.fronts, fidelity, part.provenance)
