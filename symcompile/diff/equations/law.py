"""An equation as it is compared, and whether two of them have the same values.

Values decide wherever both equations have some: those that differ on a point are different
functions, whatever sympy makes of them, and two that agree on many points are the same up to
rounding, whether or not anyone can prove it. Proof is what is left where no points are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import sympy

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array, trace
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.program import Program, to_sympy

# Relative difference up to which two values are the same: rounding of a rearranged formula.
SAME = 1e-9
# Operations with jumps.
JUMPING = {
    op: row.piece for op, row in OPERATORS.items() if row.piece or (row.truth and not row.logic)
}
# Fewer points than this are joined by others around them: any two laws agree somewhere.
ENOUGH = 64
_EXTRA = 256
# Points at the jumps of a law: how many, and how far on either side, as a share of the way from one
# point to the next. A jump that has not moved by more than rounding is between them.
_JUMPS, _ASIDE = 128, 1e-7
_HALVINGS = 30  # to a hundredth of that
# Values of all instructions that are held at once.
_HELD = 4_000_000


@dataclass(frozen=True)
class Law:
    """An equation as it is compared: its variables are columns, in the old one's order and names.

    Attributes:
        form: with slots `c[0]`, `c[1]`, ...
    """

    form: sympy.Expr
    constants: tuple[float, ...]
    program: Program
    columns: int
    order: tuple[int, ...]

    def values(self, X: Array) -> tuple[Array, Array]:
        """Values [n_points] for X [n_points, n_variables], and the largest number that came up on
        the way to each: rounding is relative to that."""
        values, peaks = zip(*map(self._values, self._chunks(X)), strict=True)
        return np.concatenate(values), np.concatenate(peaks)

    def pieces(self, X: Array) -> Array:
        """On which piece of every operation that jumps each point lies [n_points, n_jumping]."""
        return np.concatenate([self._pieces(chunk) for chunk in self._chunks(X)])

    def _chunks(self, X: Array) -> Iterator[Array]:
        X = X[:, self.order]
        rows = max(1, _HELD // max(1, len(self.program.instructions)))
        return (X[k : k + rows] for k in range(0, max(len(X), 1), rows))

    def _pieces(self, X: Array) -> Array:
        columns = []
        with np.errstate(all="ignore"):
            steps = trace(self.program, X, self.constants)
            for step, (op, args, _) in zip(steps, self.program.instructions, strict=True):
                if op in JUMPING:
                    piece = JUMPING[op]
                    columns.append(step if piece is None else piece(*(steps[a] for a in args)))
        pieces = [np.broadcast_to(column, len(X)) for column in columns]
        return np.stack(pieces, axis=1).astype(np.float64)

    def _values(self, X: Array) -> tuple[Array, Array]:
        with np.errstate(all="ignore"):
            steps = trace(self.program, X, self.constants)
        peak = np.zeros(len(X))
        for step in steps:
            size = np.abs(np.asarray(step, dtype=np.float64))
            peak = np.maximum(peak, np.where(np.isfinite(size), size, 0.0))
        last = np.asarray(steps[self.program.outputs[0]], dtype=np.float64)
        return np.broadcast_to(last, len(X)), peak


def laws(old: Equation, new: Equation) -> tuple[Law, Law]:
    """Both over the same columns: variables by name, or in their order if the names are others."""
    names = old.symbols
    others = new.symbols
    if len(names) == len(others) and set(names) != set(others):
        others = names
    columns = tuple(dict.fromkeys([*names, *others]))
    return _law(old, names, columns), _law(new, others, columns)


def _law(equation: Equation, names: tuple[str, ...], columns: tuple[str, ...]) -> Law:
    # By way of its program, so that it is the same from memory and from a file.
    form = to_sympy(equation.program, names)[0]
    order = tuple(columns.index(name) for name in names)
    return Law(form, equation.constants, equation.program, len(columns), order)


# --- their values ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Values:
    """Two equations on the same points.

    Attributes:
        same: None where there is no point on which both are finite.
        difference: largest difference, as a share of the old one's largest value; NaN likewise.
        points: on how many points both are finite.
    """

    same: bool | None
    difference: float
    points: int


NO_VALUES = Values(None, math.nan, 0)


def compare_values(old: Law, new: Law, points: Array) -> Values:
    """Both equations on `points` [n_points, n_variables], around them if they are few, and on both
    sides of the jumps of either: elsewhere round(x) and round(x + 0.001) are the same."""
    if old.columns == 0:
        points = np.empty((1, 0))
    if points.ndim != 2 or points.shape[1] != old.columns:
        return NO_VALUES
    usable = points[_both(old, new, points)[3]]
    if len(usable) and _tells_little(usable):
        points = np.concatenate([points, around(usable)])
    points = np.concatenate([points, at_jumps(old, points), at_jumps(new, points)])
    a, b, peak, finite = _both(old, new, points)
    if not finite.any():
        return NO_VALUES
    defined = np.array_equal(np.isfinite(a), np.isfinite(b))
    a, b, peak = a[finite], b[finite], peak[finite]
    with np.errstate(all="ignore"):
        distance = np.abs(a - b)
        size = max(float(np.abs(a).max()), float(np.abs(b).max()))
        # Also point by point: where a law is large somewhere, all else is a small share of that.
        same = defined and bool((distance <= SAME * np.minimum(peak, size)).all())
        largest = float(np.abs(a).max()) or 1.0
        return Values(same, float((distance / largest).max()), len(a))


def at_jumps(law: Law, points: Array) -> Array:
    """Points on both sides of where the law jumps between the given ones: [n, n_variables]."""
    n_jumping = sum(instruction.op in JUMPING for instruction in law.program.instructions)
    if not n_jumping:
        return points[:0]
    # The same pairs whatever the order of the points.
    points = np.unique(points[np.isfinite(points).all(axis=1)], axis=0)
    points = points[:: len(points) * n_jumping // _HELD + 1]
    start, end = points[:-1], points[1:]
    before, after = law.pieces(start), law.pieces(end)
    known = np.isfinite(before) & np.isfinite(after)
    rows, jumps = np.nonzero((before != after) & known)
    chosen = np.random.default_rng(0).permutation(len(rows))[:_JUMPS]
    rows, jumps = rows[chosen], jumps[chosen]
    start, way, first = start[rows], end[rows] - start[rows], before[rows, jumps]
    low, high = np.zeros(len(rows)), np.ones(len(rows))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        pieces = law.pieces(start + middle[:, None] * way)[np.arange(len(rows)), jumps]
        low, high = np.where(pieces == first, middle, low), np.where(pieces == first, high, middle)
    shares = np.concatenate([low - _ASIDE, high + _ASIDE])[:, None]
    return np.asarray(np.tile(start, (2, 1)) + shares * np.tile(way, (2, 1)))


def differ_anywhere(old: Law, new: Law) -> bool:
    """Whether the values differ at points that nobody has chosen: enough to refuse a proof."""
    rng = np.random.default_rng(0)
    shape = (ENOUGH, old.columns)
    points = np.concatenate(
        [rng.uniform(0.5, 2.0, shape), rng.normal(size=shape), rng.normal(size=shape) * 10.0]
    )
    a, b, peak, finite = _both(old, new, points)
    with np.errstate(all="ignore"):
        return bool((finite & (np.abs(a - b) > math.sqrt(SAME) * peak)).any())


def _both(old: Law, new: Law, points: Array) -> tuple[Array, Array, Array, Array]:
    """Values of both, the largest number on the way to either, and where both are finite."""
    (a, peak_a), (b, peak_b) = old.values(points), new.values(points)
    return a, b, np.maximum(peak_a, peak_b), np.isfinite(a) & np.isfinite(b)


def around(points: Array) -> Array:
    """Seeded points between the given ones, and near by where all agree: [n, n_variables]."""
    low, high = points.min(axis=0), points.max(axis=0)
    # By a share of the value, which keeps its sign: a logarithm stays defined.
    margin = np.where(low == high, np.where(low == 0.0, 0.1, 0.1 * np.abs(low)), 0.0)
    share = np.random.default_rng(0).uniform(size=(_EXTRA, points.shape[1]))
    return np.asarray((low - margin) * (1.0 - share) + (high + margin) * share)


def _tells_little(points: Array) -> bool:
    """Whether there are few points, or a variable has one value only."""
    constant = points.min(axis=0) == points.max(axis=0)
    return bool(constant.any()) or len(np.unique(points, axis=0)) < ENOUGH
