"""Unsearched: the candidates of a fit that need no search."""

from __future__ import annotations

import math
from collections.abc import Sequence

from symcompile.equation import Equation
from symcompile.operators import OperatorSet
from symcompile.passes.monomials import monomial_candidates
from symcompile.passes.refine import Samples
from symcompile.passes.sparse import sparse_candidates


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
