"""Unsearched: the candidates of a fit that need no search."""

from __future__ import annotations

import math
from collections.abc import Sequence

from symcompile.expressions.equation import Equation
from symcompile.expressions.operators import OperatorSet
from symcompile.regression.monomials import monomial_candidates
from symcompile.regression.refine import Samples
from symcompile.regression.sparse import sparse_candidates


def without_search(
    fit: Samples,
    names: Sequence[str],
    operators: OperatorSet,
    max_complexity: int,
    deadline: float = math.inf,
) -> list[Equation]:
    """Sums of inputs and of their products, products of sums, and sums of monomials, with one name
    for each column; those that were found by the `deadline`, a value of `time.monotonic()`."""
    limits = names, operators, max_complexity, deadline
    sparse = sparse_candidates(fit.X, fit.y, fit.search_weights, *limits)
    return sparse + monomial_candidates(fit.X, fit.y, fit.weights, fit.measure, *limits)
