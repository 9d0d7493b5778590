"""What it takes to name a form: the logarithm of how many forms there are of its complexity."""

from __future__ import annotations

import math

from symcompile.operators import OperatorSet


def nats_per_node(operators: OperatorSet, n_inputs: int) -> float:
    """By how many nats the number of forms grows with each unit of complexity.

    Forms are counted up to the order of arguments, functions of functions left out, for these are
    mostly other forms spelled anew: with L leaves (inputs and a constant), their generating
    function is T = (1 + U) (L z + B T^2 / 2), U and B the sums of z^cost over functions and over
    operators of two arguments. It ends, and forms grow by a factor 1 / z, where
    2 L z B (1 + U)^2 = 1 (Flajolet and Sedgewick, Analytic Combinatorics, VII.3). At least ln 2:
    a node says one of two things.
    """
    low, high = 0.0, 0.5
    for _ in range(60):
        z = (low + high) / 2
        functions, pairs = (
            sum(z ** operators.cost(name) for name in names)
            for names in (operators.unary, operators.binary)
        )
        grows = 2 * (n_inputs + 1) * z * pairs * (1 + functions) ** 2
        low, high = (low, z) if grows > 1 else (z, high)
    return -math.log(high)
