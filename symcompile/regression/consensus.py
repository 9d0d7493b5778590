"""Consensus: how many searches of one fit it takes.

Each search names the form that it would choose, by description length, of what it found and of what
was computed before. A fit ends as soon as two of its searches name one form: of seeds that differ,
it is not luck that both come to it, and a third would hardly come to a better one. Where a law was
computed, two have found nothing to take in its place; where none was, two have found the same.

That holds for what explains an output but for a network's own error. A form that leaves more than
that is named for want of a better one, which the search after next may find: it counts for half.

Searches count in the order of their numbers, not in that in which they end. So what is found does
not depend on how many of them run at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from symcompile.expressions.canonical import UNUSABLE
from symcompile.expressions.equation import Equation
from symcompile.expressions.light_tree import LightTree
from symcompile.regression.computed.laws import POOR
from symcompile.regression.dataset import Dataset
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.pareto import ParetoFront

if TYPE_CHECKING:
    from symcompile.regression.fit import Fit

# How many searches have to name one form, and what one counts for that names a poor one.
ENOUGH, _POORLY = 2, 0.5
# Rows that are looked at, and steps that constants are fitted in, which a search has fitted to
# other rows.
_ROWS, _STEPS = 1000, 10


class Named(NamedTuple):
    """The form that a search names, and for how many searches that counts."""

    form: LightTree
    voices: float


@np.errstate(all="ignore")
def form_chosen(fit: Fit, equations: Iterable[Equation]) -> Named | None:
    """The form that is chosen of equations before they are refined; None where none is finite."""
    data = fit.data if fit.data.weights is None else fit.data.rows(fit.data.weights > 0)
    sample = data.rows(slice(_ROWS))
    front = _front(equations, sample)
    front = _front((_fitted(equation, sample) for equation in front), sample)
    if not front.equations:
        return None
    best = replace(fit, data=sample, holdout=sample).chosen(front).best
    form, _ = best.tree
    return Named(form, _POORLY if best.loss > POOR**2 * sample.constant_loss else 1.0)


def _front(equations: Iterable[Equation], sample: Dataset) -> ParetoFront:
    measured = (replace(equation, loss=sample.loss_of(equation)) for equation in equations)
    return ParetoFront.of(measured, sample.variance, loss=sample.loss)


def _fitted(equation: Equation, sample: Dataset) -> Equation:
    try:
        return replace(equation, constants=fit_constants(equation, sample, _STEPS).constants)
    except UNUSABLE:
        return equation


def searches_needed(named: Iterable[Named | None]) -> int | None:
    """How many of the first searches it took until enough of them named one form; None if they
    have not.

    Args:
        named: by each search, in their order.
    """
    voices: dict[LightTree, float] = {}
    for count, one in enumerate(named, 1):
        if one is not None:
            voices[one.form] = voices.get(one.form, 0.0) + one.voices
            if voices[one.form] >= ENOUGH:
                return count
    return None
