"""Where the items of each layer stand: edges as straight as they can be, nothing overlapping.

The horizontal places are those that Gansner et al. (A technique for drawing directed graphs, IEEE
Transactions on Software Engineering 19, 1993) call optimal, found as a linear program: the lengths
of all edges along the layers are least, a long edge being bent rather at its ends. Items of
different sides may stand in one place, since no picture shows both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from symcompile.diff.drawing.layers import Layers
from symcompile.diff.drawing.union import NEW, OLD

# Pixels between two boxes, between a box and a lane, and between two lanes.
GAP, LANE_GAP = 18.0, 12.0
# Between two layers: at least and at most, by how far the edges between them run sideways.
LEAST_DROP, MOST_DROP = 26.0, 64.0

# What a pixel of sideways run costs: of an edge between cells, at an end of a lane, within it. So
# a main path is straight, and what skips a part of it bends around.
_BETWEEN_CELLS, _AT_END, _WITHIN_LANE = 3.0, 1.0, 8.0
# Of all items together: it decides only what nothing else does.
_TO_THE_LEFT = 0.1


def horizontal(
    layers: Layers, rows: Sequence[Sequence[int]], widths: Sequence[float]
) -> list[float]:
    """The middle of each item, [n_items] in pixels; `widths` are those of the cells."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    n_items, segments = len(layers.layer), list(layers.segments)
    if not n_items:
        return []
    rules = [*_apart(layers, rows, widths), *_lengths(segments, n_items)]
    entries = [(k, i, value) for k, (row, _) in enumerate(rules) for i, value in row]
    size = (len(rules), n_items + len(segments))
    matrix = None
    if rules:
        lines, columns, values = zip(*entries, strict=True)
        matrix = coo_array((values, (lines, columns)), shape=size).tocsr()
    costs = [_TO_THE_LEFT / n_items] * n_items + [_cost(layers, *pair) for pair in segments]
    lower = [_width(layers, widths, k) / 2 for k in range(n_items)] + [0.0] * len(segments)
    found = linprog(
        costs,
        A_ub=matrix,
        b_ub=[bound for _, bound in rules] or None,
        bounds=[(value, None) for value in lower],
        method="highs-ds",
    )
    return [float(x) for x in found.x[:n_items]]


Rule = tuple[list[tuple[int, float]], float]


def _apart(
    layers: Layers, rows: Sequence[Sequence[int]], widths: Sequence[float]
) -> Iterator[Rule]:
    """x[left] - x[right] <= -distance, for neighbours on either side."""
    for row in rows:
        pairs: set[tuple[int, int]] = set()
        for side in (OLD, NEW):
            shown = [item for item in row if layers.sides[item] & side]
            pairs.update(pairwise(shown))
        for left, right in sorted(pairs):
            both = (_width(layers, widths, left) + _width(layers, widths, right)) / 2
            lane = left >= layers.n_cells or right >= layers.n_cells
            yield [(left, 1.0), (right, -1.0)], -(both + (LANE_GAP if lane else GAP))


def _lengths(segments: Sequence[tuple[int, int]], n_items: int) -> Iterator[Rule]:
    """|x[upper] - x[lower]| <= length."""
    for k, (upper, lower) in enumerate(segments):
        length = (n_items + k, -1.0)
        yield [(upper, 1.0), (lower, -1.0), length], 0.0
        yield [(upper, -1.0), (lower, 1.0), length], 0.0


def _width(layers: Layers, widths: Sequence[float], item: int) -> float:
    return widths[item] if item < layers.n_cells else 0.0


def _cost(layers: Layers, upper: int, lower: int) -> float:
    lanes = (upper >= layers.n_cells) + (lower >= layers.n_cells)
    return (_BETWEEN_CELLS, _AT_END, _WITHIN_LANE)[lanes]


def vertical(
    layers: Layers, rows: Sequence[Sequence[int]], heights: Sequence[float], x: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Top and height of each layer, in pixels from the top."""
    tall = [max((heights[k] for k in row if k < layers.n_cells), default=0.0) for row in rows]
    sideways = [0.0] * len(rows)
    for upper, lower in layers.segments:
        run = abs(x[upper] - x[lower])
        sideways[layers.layer[lower]] = max(sideways[layers.layer[lower]], run)
    tops, y = [], 0.0
    for k, height in enumerate(tall):
        if k:
            y += min(max(LEAST_DROP, 0.16 * sideways[k]), MOST_DROP)
        tops.append(y)
        y += height
    return tops, tall
