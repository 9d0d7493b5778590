"""Complete: an output takes up what the other outputs of its block consist of.

Messages of a graph network are mixtures of the components of a force. Where a mixture is uneven,
the smaller share buys little of the loss and the knee of the front comes before it. But a term that
makes up another output of the same block is no new hypothesis: it costs one constant. It is taken
where it is a tenth of the output's own and held-out samples confirm it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import sympy

from symcompile.equation import Equation
from symcompile.pareto import ParetoFront
from symcompile.passes.refine import refine
from symcompile.passes.share import blocks_of
from symcompile.slots import is_constant, renumber, slot

if TYPE_CHECKING:
    from symcompile.passes.distill import Fit

# Blocks with more outputs are no vectors in space.
MOST_OUTPUTS = 4
# What is taken up is at least this share of the output's own part, and lowers held-out errors by so
# many standard errors.
SHARE, SIGMA = 0.1, 3.0


def complete(fits: Sequence[Fit], fronts: Mapping[str, ParetoFront]) -> dict[str, ParetoFront]:
    """Fronts by key; where an output was completed, its front has that equation as its choice."""
    result = dict(fronts)
    for block in blocks_of(fits, fronts):
        if 2 <= len(block) <= MOST_OUTPUTS:
            parts = {fit.key: _varying(fronts[fit.key].best) for fit in block}
            for fit in block:
                others = [part for key, part in parts.items() if key != fit.key and part]
                own = parts[fit.key]
                if own is not None:
                    result[fit.key] = _completed(fit, fronts[fit.key], own, others)
    return result


def _varying(equation: Equation) -> Equation | None:
    """The equation without its constant terms; None where nothing else is there."""
    terms = [t for t in sympy.Add.make_args(equation.form) if not is_constant(t)]
    if not terms:
        return None
    form, constants = renumber(sympy.Add(*terms), equation.constants)
    return replace(equation, form=form, constants=constants)


def _completed(
    fit: Fit, front: ParetoFront, own: Equation, others: Sequence[Equation | None]
) -> ParetoFront:
    for other in others:
        candidate = None if other is None else _sum(fit, own, other, front.best)
        if candidate is None:
            continue
        fitted = _fitted(fit, candidate)
        if _better(fit, fitted, front.best):
            grown = ParetoFront.of([*front, fitted], front.variance)
            if fitted in grown:
                front = replace(grown, choice=grown.equations.index(fitted))
    return front


def _better(fit: Fit, trial: Equation, equation: Equation) -> bool:
    """Whether held-out errors are smaller by more than their noise."""
    loss = fit.measure
    with np.errstate(all="ignore"):
        before, after = (
            loss.of(one.predict(fit.X_holdout) - fit.y_holdout) for one in (equation, trial)
        )
    gain = before - after
    noise = float(gain.std()) / math.sqrt(max(len(gain), 1))
    return float(np.average(gain, weights=fit.holdout_weights)) > SIGMA * noise


def _sum(fit: Fit, own: Equation, other: Equation, best: Equation) -> Equation | None:
    """Factors times both parts, and a constant if there was one; None where the other's part is
    small beside."""
    loss = fit.measure
    columns = [own.predict(fit.X_fit), other.predict(fit.X_fit), np.ones(len(fit.y_fit))]
    basis = np.column_stack(columns)
    if not np.isfinite(basis).all():
        return None
    weights = np.ones(len(basis)) if fit.weights is None else fit.weights
    robust = loss.weights(own.predict(fit.X_fit) - fit.y_fit)
    for _ in range(10):
        root = np.sqrt(weights * robust)
        found = np.linalg.lstsq(basis * root[:, None], fit.y_fit * root, rcond=None)[0]
        robust = loss.weights(basis @ found - fit.y_fit)
    sizes = [float(np.median(np.abs(found[k] * columns[k]))) for k in (0, 1)]
    if sizes[1] < SHARE * sizes[0]:
        return None
    n, m = len(own.constants), len(other.constants)
    moved = other.form.xreplace({slot(k): slot(n + k) for k in range(m)})
    form = slot(n + m) * own.form + slot(n + m + 1) * moved
    if any(map(is_constant, sympy.Add.make_args(best.form))):
        form += slot(n + m + 2)
    values = (*own.constants, *other.constants, *map(float, found))
    return replace(own, form=form, constants=values)


def _fitted(fit: Fit, equation: Equation) -> Equation:
    front = refine(
        [equation],
        *fit.samples,
        operators=fit.engine.operators,
        max_complexity=fit.engine.max_complexity,
        options=replace(fit.refine, prune=False),
    )
    return front.most_accurate
