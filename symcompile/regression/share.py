"""Share: outputs of one block take up each other's forms, and then each other's terms.

Components of one vector, such as the messages of a graph network, mostly follow one law with other
constants. So a form that the search found for one of them is fitted to all, each term of its sums
with a factor of its own: what is 1 for one component is another number for the next (`share_task`).

Messages are mixtures of the components of a force. Where a mixture is uneven, the smaller share
buys little of the loss, and is not worth its length. But a term that makes up another output of the
same block is no new hypothesis: it costs one constant. It is taken where it is a twentieth of the
output's own and samples confirm it (`complete_task`).

That is not asked of the description: under a robust loss a term that part of the samples lack is a
single direction of the errors, and found to be worth nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import sympy

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.slots import is_constant, renumber, slot
from symcompile.regression.dataset import Dataset
from symcompile.regression.fit import Fit
from symcompile.regression.least_squares import linear, robust
from symcompile.regression.limits import Limits
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.refine import Refine, refine

# The fits of a block that found an equation, with their fronts.
Block = Sequence[tuple[Fit, ParetoFront]]

# Share of a budget that each of the two may take, and as much again to fit what was tried; all four
# are kept back by `fit`.
_BUDGET_SHARE = 0.02
# Blocks with more outputs are no vectors in space.
MOST_OUTPUTS = 4
# An output of a wide block tries so many forms of others, those that come nearest to it as they
# are, on so many rows: all of them take longer than its search.
MOST_FORMS, _ROWS = 16, 500
# What is taken up is at least this share of the output's own part, and lowers errors by so many
# standard errors.
SHARE, SIGMA = 0.05, 3.0
# Widths of a robust loss, in turn, and rounds of reweighting with each.
_WIDTHS, _ROUNDS = (4.0, 2.0, 1.0), 10


def forms_for(block: Block) -> dict[str, list[Equation]]:
    """For each fit of a block, by key, the forms of others that it has not: the choice of each, and
    the longest that lowers its loss, since the choice of a noisy output may come before the law."""
    offered = [
        equation
        for _, front in block
        for equation in dict.fromkeys([front.best, front.select("plateau")])
    ]
    known: dict[int, Array] = {}
    forms = {}
    for fit, front in block:
        own = {equation.form for equation in front}
        places = [k for k, equation in enumerate(offered) if equation.form not in own]
        if len(places) > MOST_FORMS:
            X = fit.data.X[:_ROWS]
            if id(fit.data.X) not in known:  # that of one fit is mostly that of all
                known[id(fit.data.X)] = np.stack([equation.predict(X) for equation in offered])
            places = _nearest(places, known[id(fit.data.X)], fit.data)
        if places:
            forms[fit.key] = [offered[k] for k in places]
    return forms


@np.errstate(all="ignore")
def _nearest(places: list[int], values: Array, data: Dataset) -> list[int]:
    """Of the forms with these places among values [n_forms, n_rows] those that come nearest to an
    output with a factor and an offset, in their order."""
    values, y, weights = values[places], data.y[:_ROWS], data.search_weights
    weights = np.ones(len(y)) if weights is None else weights[:_ROWS]
    values = values - np.average(values, axis=1, weights=weights, keepdims=True)
    y = (y - np.average(y, weights=weights)) * weights
    explained = np.square(values @ y) / (np.square(values) @ weights)
    order = np.argsort(-np.nan_to_num(explained, nan=-1.0), kind="stable")
    return [places[k] for k in sorted(order[:MOST_FORMS].tolist())]


def terms_for(block: Block) -> dict[str, list[Equation]]:
    """For each fit of a block, by key, the choices of the others, whose terms it may lack."""
    if not 2 <= len(block) <= MOST_OUTPUTS:
        return {}
    best = {fit.key: front.best for fit, front in block}
    return {key: [e for other, e in best.items() if other != key] for key in best}


@np.errstate(all="ignore")
def share_task(fit: Fit, front: ParetoFront, others: Sequence[Equation]) -> ParetoFront:
    """The front with what the forms of others add."""
    scaled_to_fit = [scaled(other, fit.data) for other in others]
    candidates = [equation for equation in scaled_to_fit if equation is not None]
    options = replace(fit.refine, max_fits=min(fit.refine.max_fits, 10 * len(others)))
    return fit.chosen(front.grown(fit.refined(candidates, _BUDGET_SHARE, options)))


@np.errstate(all="ignore")
def complete_task(fit: Fit, front: ParetoFront, others: Sequence[Equation]) -> ParetoFront:
    """The front with its choice completed by terms of others; where it was, nothing shorter is
    chosen."""
    limits = fit.limits(_BUDGET_SHARE)
    equation = completed(fit.data, fit.holdout, front.best, others, limits, fit.refine)
    if equation is None:
        return front
    grown = front.grown([equation])
    # The equation, or what beats it: a search may have found the same.
    taken = sum(other.complexity <= equation.complexity for other in grown) - 1
    return fit.chosen(grown, first=taken)


def scaled(equation: Equation, fit: Dataset) -> Equation | None:
    """The form times a constant and plus one, and with a factor for each term of its sums."""
    n = len(equation.constants)
    basis = np.column_stack([equation.predict(fit.X), np.ones(len(fit.y))])
    if not np.isfinite(basis).all():
        return None
    constants = [*equation.constants, *linear(basis, fit.y, fit.search_weights).tolist()]
    form = slot(n) * _loosened(equation.form, constants) + slot(n + 1)
    return replace(equation, form=form, constants=tuple(constants))


def _loosened(form: sympy.Expr, constants: list[float]) -> sympy.Expr:
    """A factor, about 1 for now, for each term of a sum that has none."""
    if form.is_Atom or is_constant(form):
        return form
    args = [_loosened(arg, constants) for arg in form.args]
    if form.is_Add:
        for k, arg in enumerate(args):
            if not is_constant(arg) and not any(map(is_constant, sympy.Mul.make_args(arg))):
                # Not 1: a canonical form has no factor of exactly one, nor two of one value.
                constants.append(1.0 + 0.01 * (k + 1))
                args[k] = slot(len(constants) - 1) * arg
    return form.func(*args)


def completed(
    fit: Dataset,
    holdout: Dataset,
    equation: Equation,
    others: Sequence[Equation],
    limits: Limits,
    options: Refine | None = None,
) -> Equation | None:
    """The equation with what it lacks of the other outputs' equations, fitted; None for nothing, or
    where nothing was found within the limits."""
    best = equation
    seconds = limits.seconds / max(len(others), 1)
    unpruned = replace(options or Refine(), prune=False)
    for other in others:
        if limits.late:
            break
        trials = _with_terms(fit, best, other)
        if not trials:
            continue
        front = refine(trials, fit, holdout, limits.within(seconds), unpruned)
        if _better(fit, holdout, front.most_accurate, best):
            best = front.most_accurate
    return None if best is equation else best


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


def _better(fit: Dataset, holdout: Dataset, trial: Equation, equation: Equation) -> bool:
    """Whether errors are smaller by more than their noise, held-out ones and all of them.

    One constant is fitted to thousands of samples: that these are among them changes the sum by no
    more than its noise, and they show a share that the held-out ones alone are too few for.
    """
    gains = []
    with np.errstate(all="ignore"):
        # Rows that are left out in turn are those of the fit: they count once.
        for data in (holdout, fit) if holdout.folds is None else (holdout,):
            before, after = (data.loss.of(data.residual(e)) for e in (equation, trial))
            weights = np.ones(len(data.y)) if data.weights is None else data.weights
            gains.append((before - after) * weights / weights.mean())
    gain = np.concatenate(gains)
    noise = float(gain.std()) / math.sqrt(max(len(gain), 1))
    return float(gains[0].mean()) > 0 and float(gain.mean()) > SIGMA * noise


def _with_terms(fit: Dataset, equation: Equation, other: Equation) -> list[Equation]:
    """The sum of both without their constants, and the other's form with constants of its own:
    where that has all of this output's terms it is shorter by far, and the sum may be too long for
    an equation. Nothing where the other's part is small."""
    own, other_own = varying(equation), varying(other)
    total = None if own is None or other_own is None else _sum(fit, own, other_own, equation)
    if total is None or other_own is None:
        return []
    form = scaled(other_own, fit)
    if form is not None and not has_constant(equation):
        form = varying(form)
    return [total] if form is None else [total, form]


def _sum(fit: Dataset, own: Equation, other: Equation, equation: Equation) -> Equation | None:
    """Factors times both parts, and a constant if the equation has one; None where the other's
    part is small beside.

    A robust loss has minima near whatever it starts from, and fewer the wider it is: so it narrows
    (graduated non-convexity, Blake and Zisserman 1987). The squared one has no weights to find.
    """
    columns = [own.predict(fit.X), other.predict(fit.X), np.ones(len(fit.y))]
    basis = np.column_stack(columns)
    if not np.isfinite(basis).all():
        return None
    losses = [
        replace(fit.loss, scale=width * fit.loss.scale) for width in _WIDTHS for _ in range(_ROUNDS)
    ]
    coefficients = robust(
        basis,
        fit.y,
        np.ones(len(basis)) if fit.weights is None else fit.weights,
        [fit.loss] if fit.loss.is_squared else losses,
        columns[0] - fit.y,
    )
    sizes = [float(np.median(np.abs(coefficients[k] * columns[k]))) for k in (0, 1)]
    if sizes[1] < SHARE * sizes[0]:
        return None
    n, m = len(own.constants), len(other.constants)
    moved = other.form.xreplace({slot(k): slot(n + k) for k in range(m)})
    form = slot(n + m) * own.form + slot(n + m + 1) * moved
    if has_constant(equation):
        form += slot(n + m + 2)
    return replace(
        own, form=form, constants=(*own.constants, *other.constants, *coefficients.tolist())
    )
