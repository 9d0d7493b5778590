"""The shortest description of a few rows: which equation says most in the fewest words.

With few rows a corner of a front says little: among the many forms that a search has tried on these
very rows there is one for every step. What counts is whether a form with its constants is shorter
than what it saves (minimum message length, Wallace and Freeman 1987).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from symcompile.errors import ExpressionError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operators import OperatorSet

# Below this fraction of the loss of a constant a loss is rounding, not fit.
_ROUNDING = 1e-14
# More than few.
_MOST = 10**6


class Few(NamedTuple):
    """How many rows rank a front, and the nats that it takes to name a form for each unit of its
    complexity, see `nats_per_node`."""

    rows: int
    price: float

    @classmethod
    def from_json(cls, data: Any) -> Few:
        """From a list of both; ExpressionError if it is none."""
        if type(data) is list and len(data) == 2:
            rows, price = data
            sound = type(rows) is int and type(price) in (int, float)
            if sound and 1 <= rows <= _MOST and 0 < price <= _MOST:
                return cls(rows, float(price))
        raise ExpressionError("few: expected a number of rows and the price of a node")


def descriptions(equations: Iterable[Equation], few: Few, constant_loss: float) -> list[float]:
    """Nats that it takes to write down the outputs by each equation.

    To name its form has its price for each unit of complexity. To give n outputs to within their
    errors takes n / 2 * ln(loss), and to give k constants as exactly as the errors need it
    k / 2 * (ln(n) - ln(loss)), with losses as shares of that of a constant: each constant uses up
    one row, whatever it gains on it. The loss is that of the fit, over the rows that are left.
    Which equations are on the front at all has been decided by leaving rows out, whose errors
    depend on single rows too much for this.
    """
    lengths = []
    for equation in equations:
        k = len(equation.constants)
        share = equation.loss * few.rows / max(few.rows - k, 1) / max(constant_loss, 1e-300)
        outputs = 0.5 * (few.rows - k) * math.log(max(share, _ROUNDING))
        constants = 0.5 * k * math.log(few.rows)
        lengths.append(outputs + constants + few.price * equation.complexity)
    return lengths


def shortest(lengths: list[float]) -> int:
    """Index of the shortest; of equal ones the first."""
    return min(range(len(lengths)), key=lambda i: (lengths[i], i))


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
