"""Share: outputs of one block try each other's forms.

Components of one vector, such as the messages of a graph network, mostly follow one law with other
constants. A form that the search found for one of them is fitted to all, each term of its sums with
a factor of its own: what is 1 for one component is another number for the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import sympy

from symcompile.expressions.equation import Equation
from symcompile.expressions.slots import is_constant, slot
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.refine import Samples, refine

if TYPE_CHECKING:
    from symcompile.regression.distillation import Fit

# Share of a budget that trying the others' forms may take, and as much again to fit them.
_SHARE = 0.03


class Keep(Protocol):
    """Gives what was made of the same before, or makes it."""

    def __call__(
        self,
        fit: Fit,
        front: ParetoFront,
        others: Sequence[Equation],
        make: Callable[[Fit, ParetoFront, Sequence[Equation]], ParetoFront],
        /,
    ) -> ParetoFront: ...


def share(
    fits: Sequence[Fit], fronts: Mapping[str, ParetoFront], keep: Keep | None = None
) -> dict[str, ParetoFront]:
    """Fronts by key, each with what the chosen forms of the same block's other outputs add.

    `keep` may know a result already: of many outputs it takes as long as a search.
    """
    blocks = blocks_of(fits, fronts)
    best = {fit.key: _offered(fronts[fit.key]) for block in blocks for fit in block}
    result = dict(fronts)
    for block in blocks:
        for fit in block:
            own = {equation.form for equation in fronts[fit.key]}
            others = [one for other in block for one in best[other.key] if one.form not in own]
            if others:
                given = fit, fronts[fit.key], others
                result[fit.key] = _with(*given) if keep is None else keep(*given, _with)
    return result


def _offered(front: ParetoFront) -> list[Equation]:
    """The choice, and the longest that is worth its length: the knee of a noisy output may come
    before the law."""
    return list(dict.fromkeys([front.best, front.select("plateau")]))


def blocks_of(fits: Sequence[Fit], fronts: Mapping[str, ParetoFront]) -> list[list[Fit]]:
    """The fits of each block that found an equation."""
    blocks: dict[str, list[Fit]] = defaultdict(list)
    for fit in fits:
        if fit.block and fronts[fit.key].equations:
            blocks[fit.block].append(fit)
    return list(blocks.values())


def _with(fit: Fit, front: ParetoFront, others: Sequence[Equation]) -> ParetoFront:
    more = refine(
        [one for other in others if (one := scaled(other, fit.samples[0])) is not None],
        *fit.samples,
        operators=fit.engine.operators,
        max_complexity=fit.engine.max_complexity,
        options=replace(fit.refine, max_fits=min(fit.refine.max_fits, 10 * len(others))),
        seconds=None if fit.budget is None else fit.budget * _SHARE,
    )
    return front.grown(more)


def scaled(equation: Equation, fit: Samples) -> Equation | None:
    """The form times a constant and plus one, and with a factor for each term of its sums."""
    n = len(equation.constants)
    basis = np.column_stack([equation.predict(fit.X), np.ones(len(fit.y))])
    if not np.isfinite(basis).all():
        return None
    weights = fit.search_weights
    root = np.ones(len(basis)) if weights is None else np.sqrt(weights)
    factor, zero = np.linalg.lstsq(basis * root[:, None], fit.y * root, rcond=None)[0]
    constants = [*equation.constants, float(factor), float(zero)]
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
