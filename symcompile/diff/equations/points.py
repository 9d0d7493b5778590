"""Values of the variables at which the equations of two blocks are compared.

First the probes that either side has stored, then seeded points inside the recorded ranges of both.
Both sides count alike: the points are the same ones in the other direction, if in another order.
"""

from __future__ import annotations

import math

import numpy as np

from symcompile.diff.snapshot import Block
from symcompile.errors import SymCompileError
from symcompile.expressions.evaluation import Array, evaluate
from symcompile.expressions.parser import parse_measured
from symcompile.expressions.program import from_sympy
from symcompile.expressions.size_limits import Gauge

SEEDED = 256
# Stored rows of each side.
_PROBES = 1024
# Features are a stranger's text.
_FEATURES = 500


def sample(old: Block, new: Block) -> Array:
    """Values [n_points, n_variables] in float64, all finite; as many points as there can be.

    Blocks that say too little, or nonsense, have none. After a projection of the inputs the seeded
    points are left out: where the data was is known of the stored probes only.
    """
    count = _n_variables(old)
    points = [_finite(block.probes, count)[:_PROBES] for block in (old, new)]
    # One that both sides have is taken once, whole; else each side gives half of the points.
    sides = {f"{block.inputs} {block.features}": block for block in (old, new)}
    inside = {key: inputs_in_range(block, SEEDED) for key, block in sides.items()}
    keys = sorted(key for key, X in inside.items() if len(X))
    for k, key in enumerate(keys):
        X = inside[key][k :: len(keys)]
        points.append(_finite(variables(sides[key], X), count))
    return np.concatenate(points)


def _n_variables(block: Block) -> int:
    for output in block.outputs.values():
        return len(output.equation.symbols)
    return len(block.features or block.inputs)


def _finite(points: Array, count: int) -> Array:
    """The finite rows, if these are values of that many variables."""
    if points.ndim != 2 or points.shape[1] != count:
        return np.empty((0, count))
    return np.asarray(points[np.isfinite(points).all(axis=1)], dtype=np.float64)


def inputs_in_range(block: Block, count: int) -> Array:
    """Seeded points inside the recorded ranges [count, n_inputs]; none if one is not known, or they
    are not those of the variables."""
    spans = np.array([span or (math.nan, math.nan) for span in block.inputs.values()])
    if not spans.size or "in" in block.projections or not np.isfinite(spans).all():
        return np.empty((0, len(spans)))
    low, high = spans.min(axis=1), spans.max(axis=1)
    shares = np.random.default_rng(0).uniform(size=(count, len(spans)))
    return np.asarray(low * (1.0 - shares) + high * shares)


def variables(block: Block, X: Array) -> Array:
    """Values of the variables for inputs X; without any rows if the features make no sense.

    One after the other, each a column for those after it. `read_features` writes each out in the
    inputs instead, and a few lines of text can grow beyond all bounds by that.
    """
    if not block.features:
        return X
    if len(block.features) > _FEATURES:
        return np.empty((0, 0))
    names, values, gauge = list(block.inputs), X, Gauge()
    try:
        for name, text in block.features.items():
            program = from_sympy([parse_measured(text, names, {}, gauge)[0]], names, 0)
            values = np.concatenate([values, evaluate(program, values, ())], axis=1)
            # A feature may have the name of an input, which is not to be seen any more.
            names = ["" if other == name else other for other in names] + [name]
    except (SymCompileError, ArithmeticError, ValueError, TypeError, RecursionError):
        return np.empty((0, 0))
    return values[:, X.shape[1] :]
