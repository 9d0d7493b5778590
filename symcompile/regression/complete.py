"""Complete: an output takes up what the other outputs of its block consist of.

Messages of a graph network are mixtures of the components of a force. Where a mixture is uneven,
the smaller share buys little of the loss and the knee of the front comes before it. But a term that
makes up another output of the same block is no new hypothesis: it costs one constant. It is taken
where it is a twentieth of the output's own and samples confirm it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import sympy

from symcompile.expressions.equation import Equation
from symcompile.expressions.operators import OperatorSet
from symcompile.expressions.slots import is_constant, renumber, slot
from symcompile.regression.losses import Loss
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.refine import Refine, Samples, refine
from symcompile.regression.share import blocks_of, scaled

if TYPE_CHECKING:
    from symcompile.regression.distillation import Fit

# Blocks with more outputs are no vectors in space.
MOST_OUTPUTS = 4
# What is taken up is at least this share of the output's own part, and lowers errors by so many
# standard errors.
SHARE, SIGMA = 0.05, 3.0
# Share of a budget that may be used for it.
_SHARE = 0.03
# Widths of a robust loss, in turn, and rounds of reweighting with each.
_WIDTHS, _ROUNDS = (4.0, 2.0, 1.0), 10


def complete(fits: Sequence[Fit], fronts: Mapping[str, ParetoFront]) -> dict[str, ParetoFront]:
    """Fronts by key; where an output was completed, its front has that equation as its choice."""
    result = dict(fronts)
    for block in blocks_of(fits, fronts):
        if 2 <= len(block) <= MOST_OUTPUTS:
            best = {fit.key: fronts[fit.key].best for fit in block}
            for fit in block:
                front, others = fronts[fit.key], [best[o.key] for o in block if o is not fit]
                found = completed(
                    *fit.samples,
                    front.best,
                    others,
                    operators=fit.engine.operators,
                    max_complexity=fit.engine.max_complexity,
                    options=fit.refine,
                    seconds=None if fit.budget is None else fit.budget * _SHARE,
                )
                if found is not None:
                    result[fit.key] = _chosen(front, found)
    return result


def _chosen(front: ParetoFront, equation: Equation) -> ParetoFront:
    """The front with this equation as its choice, or with what beats it: a search may have found
    the same."""
    grown = front.grown([equation])
    choice = sum(one.complexity <= equation.complexity for one in grown) - 1
    return replace(grown, choice=choice)


def completed(
    fit: Samples,
    holdout: Samples,
    equation: Equation,
    others: Sequence[Equation],
    *,
    operators: OperatorSet,
    max_complexity: int,
    options: Refine | None = None,
    seconds: float | None = None,
) -> Equation | None:
    """The equation with what it lacks of the other outputs' equations, fitted; None for nothing, or
    where nothing was found in so many `seconds`."""
    own, found = varying(equation), None
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    for other in map(varying, others):
        if time.monotonic() >= deadline:
            break
        trials = [] if own is None or other is None else _with(fit, own, other, equation)
        if not trials:
            continue
        front = refine(
            trials,
            fit,
            holdout,
            operators=operators,
            max_complexity=max_complexity,
            options=replace(options or Refine(), prune=False),
            seconds=None if seconds is None else seconds / len(others),
        )
        trial = front.most_accurate
        if _better(fit, holdout, trial, equation):
            found, equation, own = trial, trial, varying(trial)
    return found


def has_constant(equation: Equation) -> bool:
    """Whether one of its terms is constant."""
    return any(map(is_constant, sympy.Add.make_args(equation.form)))


def varying(equation: Equation) -> Equation | None:
    """The equation without its constant terms; None where nothing else is there."""
    terms = [t for t in sympy.Add.make_args(equation.form) if not is_constant(t)]
    if not terms:
        return None
    form, constants = renumber(sympy.Add(*terms), equation.constants)
    return replace(equation, form=form, constants=constants)


def _better(fit: Samples, holdout: Samples, trial: Equation, equation: Equation) -> bool:
    """Whether errors are smaller by more than their noise, held-out ones and all of them.

    One constant is fitted to thousands of samples: that these are among them changes the sum by no
    more than its noise, and they show a share that the held-out ones alone are too few for.
    """
    gains = []
    with np.errstate(all="ignore"):
        # Rows that are left out in turn are those of the fit: they count once.
        for part in (holdout, fit) if holdout.folds is None else (holdout,):
            loss = part.measure
            before, after = (loss.of(part.residual(one)) for one in (equation, trial))
            weights = np.ones(len(part.y)) if part.weights is None else part.weights
            gains.append((before - after) * weights / weights.mean())
    gain = np.concatenate(gains)
    noise = float(gain.std()) / math.sqrt(max(len(gain), 1))
    return float(gains[0].mean()) > 0 and float(gain.mean()) > SIGMA * noise


def _with(fit: Samples, own: Equation, other: Equation, best: Equation) -> list[Equation]:
    """The sum of both, and the other's form with constants of its own: where that has all of this
    output's terms it is shorter by far, and the sum may be too long for an equation. Nothing where
    the other's part is small."""
    both = _sum(fit, own, other, best)
    if both is None:
        return []
    form = scaled(other, fit)
    if form is not None and not has_constant(best):
        form = varying(form)
    return [both] if form is None else [both, form]


def _narrowing(loss: Loss) -> Iterator[Loss]:
    """The loss of each round of reweighting: a robust one has minima near whatever it starts from,
    and fewer the wider it is (graduated non-convexity, Blake and Zisserman 1987). The squared one
    has no weights to find."""
    if loss.is_squared:
        yield loss
        return
    for width in _WIDTHS:
        yield from [replace(loss, scale=width * loss.scale)] * _ROUNDS


def _sum(fit: Samples, own: Equation, other: Equation, best: Equation) -> Equation | None:
    """Factors times both parts, and a constant if there was one; None where the other's part is
    small beside."""
    loss = fit.measure
    columns = [own.predict(fit.X), other.predict(fit.X), np.ones(len(fit.y))]
    basis = np.column_stack(columns)
    if not np.isfinite(basis).all():
        return None
    weights = np.ones(len(basis)) if fit.weights is None else fit.weights
    residual = columns[0] - fit.y
    for measure in _narrowing(loss):
        root = np.sqrt(weights * measure.weights(residual))
        found = np.linalg.lstsq(basis * root[:, None], fit.y * root, rcond=None)[0]
        residual = basis @ found - fit.y
    sizes = [float(np.median(np.abs(found[k] * columns[k]))) for k in (0, 1)]
    if sizes[1] < SHARE * sizes[0]:
        return None
    n, m = len(own.constants), len(other.constants)
    moved = other.form.xreplace({slot(k): slot(n + k) for k in range(m)})
    form = slot(n + m) * own.form + slot(n + m + 1) * moved
    if has_constant(best):
        form += slot(n + m + 2)
    values = (*own.constants, *other.constants, *map(float, found))
    return replace(own, form=form, constants=values)
