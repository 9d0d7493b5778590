"""Powers: products of what has units that have none, or the output's (Buckingham 1914).

A law whose constants are pure numbers can't tell one system of units from another. So it is a
product of powers of its variables that has the output's unit, times a function of products of
powers that have none: `m*f(v/c)` in the place of `f(m, v, c)`. There is one variable less for each
base dimension, and the function is a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np

from symcompile.expressions.dimensions import FREE, Vector
from symcompile.expressions.evaluation import Array

# Powers of variables; of so many at most, all products are looked at.
_POWERS, _MOST_VARIABLES = (0, 1, -1, 2, -2, 3, -3), 6
# Products that are looked at for one that is none of those before.
_MOST_PRODUCTS = 2000

Powers = tuple[int, ...]


class Products(NamedTuple):
    """Power of each variable in what has the output's unit, the simplest first, and in products
    without any, none of which follows from others."""

    scales: tuple[Powers, ...] = ()
    groups: tuple[Powers, ...] = ()


@lru_cache(maxsize=256)
def products(vectors: tuple[Vector, ...], output: Vector, zero: tuple[bool, ...]) -> Products:
    """What units leave of a problem.

    Args:
        vectors: dimension of each variable.
        output: and of the output.
        zero: which variables are zero somewhere: they have no negative power, and nothing is
            divided by a product with one in it.

    Empty where a dimension may be any, or there are too many variables.
    """
    if FREE in (*vectors, output) or len(vectors) > _MOST_VARIABLES:
        return Products()
    allowed = [[p for p in _POWERS if p >= 0 or not is_zero] for is_zero in zero]
    powers = np.stack(np.meshgrid(*allowed, indexing="ij"), axis=-1).reshape(-1, len(vectors))
    found = powers @ np.array(vectors)
    divides = ~powers[:, np.array(zero)].any(axis=1)
    scales = _simplest(powers[(found == np.array(output)).all(axis=1) & divides])
    pure = powers[(found == 0).all(axis=1) & powers.any(axis=1)]
    return Products(tuple(scales), tuple(_independent(_simplest(pure))))


def _simplest(powers: Array) -> list[Powers]:
    """In the order of how many variables are in a product, of how high their powers are, and of how
    many it is divided by: of several by the last."""
    rows: list[Powers] = [tuple(row) for row in powers.tolist()]
    return sorted(
        rows,
        key=lambda row: (
            np.count_nonzero(row),
            sum(map(abs, row)),
            sum(p < 0 for p in row),
            row[::-1],
        ),
    )


def _independent(pure: Sequence[Powers]) -> Iterator[Powers]:
    """Products that are none of those before."""
    chosen: list[Powers] = []
    for powers in islice(pure, _MOST_PRODUCTS):
        if np.linalg.matrix_rank(np.array([*chosen, powers])) > len(chosen):
            chosen.append(powers)
            yield powers
