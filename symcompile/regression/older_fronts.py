"""Fronts of older files, in which the choice stood in other words.

`choice` was the number of the chosen equation. `few` were the rows of a small table and the nats of
a unit of complexity: what had the shortest description was chosen, with a price of forms that the
operators gave. A front with neither was left to its knee, as it is now.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from symcompile.errors import ExpressionError
from symcompile.regression.choice import ROUNDING

if TYPE_CHECKING:
    from symcompile.expressions.equation import Equation
    from symcompile.regression.pareto import ParetoFront

_MOST = 10**6


def as_before(front: ParetoFront, choice: Any, few: Any) -> tuple[tuple[float, ...], int]:
    """What each equation is behind the choice, empty where nothing is said, and the rows that rank
    them. Of a choice by number no more is known than which it is: the others are as far as can be.
    ExpressionError where one of the two is none."""
    behind: tuple[float, ...] = ()
    rows = 0
    if few is not None:
        rows, price = _few(few)
        lengths = _lengths(front.equations, rows, price, front.loss_of_constant)
        shortest = min(lengths, default=0.0)
        behind = tuple(length - shortest for length in lengths) if math.isfinite(shortest) else ()
    if choice is not None:
        if type(choice) is not int or not 0 <= choice < len(front):
            raise ExpressionError(f"choice: is {choice!r}, of {len(front)} equations")
        behind = tuple(0.0 if k == choice else math.inf for k in range(len(front)))
    return behind, rows


def _few(data: Any) -> tuple[int, float]:
    members = [data.get("rows"), data.get("price")] if type(data) is dict else data
    if type(members) is list and len(members) == 2:
        rows, price = members
        sound = type(rows) is int and type(price) in (int, float)
        if sound and 1 <= rows <= _MOST and 0 < price <= _MOST:
            return rows, float(price)
    raise ExpressionError("few: expected a number of rows and the price of a node")


def _lengths(
    equations: Sequence[Equation], rows: int, price: float, constant_loss: float
) -> list[float]:
    """Nats of the outputs by each equation, told from its loss alone."""
    lengths = []
    for equation in equations:
        k = len(equation.constants)
        share = equation.loss * rows / max(rows - k, 1) / max(constant_loss, 1e-300)
        outputs = 0.5 * (rows - k) * math.log(max(share, ROUNDING))
        length = outputs + 0.5 * k * math.log(rows) + price * equation.complexity
        lengths.append(math.inf if math.isnan(length) else length)
    return lengths
