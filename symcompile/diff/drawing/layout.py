"""Where the cells of a folded graph stand, and the lanes of its edges: in layers, one set of places
for both sides.

Layers are those of the longest path. Edges that leave a cell downward share a lane, which they
branch off from like the lines of a circuit diagram: a value that is read in ten places is one line.
Edges of one side only have a lane of their own. The order within layers has few crossings, by
barycentres (K. Sugiyama, S. Tagawa, M. Toda: Methods for visual understanding of hierarchical
system structures, IEEE Transactions on Systems, Man, and Cybernetics 11, 1981). The horizontal
places are those that Gansner et al. (A technique for drawing directed graphs, IEEE Transactions on
Software Engineering 19, 1993) call optimal, found as a linear program: the lengths of all edges
along the layers are least, a long edge being bent rather at its ends. Items of different sides may
stand in one place, since no picture shows both.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import networkx as nx
from scipy.optimize import linprog
from scipy.sparse import coo_array

from symcompile.diff.drawing.faces import Face, face, size
from symcompile.diff.drawing.union import NEW, OLD, CellGraph

Point = tuple[float, float]
Edge = tuple[int, int]

# With more places in lanes than this the longest edges are drawn as stubs.
MOST_LANES = 1500
MARGIN = 14.0
# Pixels between two boxes, between a box and a lane, and between two lanes.
GAP, LANE_GAP = 18.0, 12.0
# Between two layers: at least and at most, by how far the edges between them run sideways.
LEAST_DROP, MOST_DROP = 26.0, 64.0
# What a pixel of sideways run costs: of an edge between cells, at an end of a lane, within it. So
# a main path is straight, and what skips a part of it bends around.
_COSTS = (3.0, 1.0, 8.0)
# Of all items together: it decides only what nothing else does.
_TO_THE_LEFT = 0.1

_SWEEPS = 12
# Which lanes start on the left, by their numbers; cells have 0. Of many pieces the first only.
_STARTS: tuple[Callable[[int], bool], ...] = (
    lambda lane: False,
    lambda lane: lane > 0,
    lambda lane: lane % 2 == 1,
)
_MANY = 1500


@dataclass(frozen=True)
class Route:
    """The way of an edge: the items that it passes, downward.

    Attributes:
        source, target: cells; the source of an edge that points back is the lower one.
        items: from the upper cell to the lower one; empty where only a stub is drawn.
    """

    source: int
    target: int
    sides: int
    items: tuple[int, ...]

    @property
    def back(self) -> bool:
        return self.source > self.target


@dataclass
class Layers:
    """Items by layer: cells by their numbers, and lane places, numbered from there on.

    Attributes:
        layer, sides: of each item.
        lane: number of the lane of each item that is a place in one.
        segments: sides of each piece of an edge by (upper item, lower item) of adjacent layers.
    """

    n_cells: int
    layer: list[int]
    sides: list[int]
    lane: dict[int, int] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    segments: dict[Edge, int] = field(default_factory=dict)

    def rows(self) -> list[list[int]]:
        """Items of each layer, in the order in which they were made."""
        rows: list[list[int]] = [[] for _ in range(max(self.layer, default=-1) + 1)]
        for item, layer in enumerate(self.layer):
            rows[layer].append(item)
        return rows


@dataclass(frozen=True)
class Layout:
    """Places in pixels from the left upper corner.

    Attributes:
        rows: items of each layer from left to right.
        faces: of each cell, by side.
        sizes: width and height of each cell.
        x: the middle of each item.
        tops, tall: upper edge and height of each layer.
    """

    folded: CellGraph
    layers: Layers
    rows: list[list[int]]
    faces: list[dict[int, Face]]
    sizes: list[tuple[float, float]]
    x: list[float]
    tops: list[float]
    tall: list[float]

    @classmethod
    def of(cls, folded: CellGraph) -> Layout:
        faces = [
            {side: face(cell, side) for side in (OLD, NEW) if cell.sides & side}
            for cell in folded.cells
        ]
        sizes = [size(list(sides.values())) for sides in faces]
        layers = layered(folded)
        rows = ordered(layers)
        x = [MARGIN + place for place in _horizontal(layers, rows, [width for width, _ in sizes])]
        tops, tall = _vertical(layers, rows, [height for _, height in sizes], x)
        return cls(folded, layers, rows, faces, sizes, x, tops, tall)

    @property
    def width(self) -> float:
        ends = [self.right(cell) for cell in range(len(self.sizes))]
        return max([*ends, *self.x], default=0.0) + MARGIN

    @property
    def height(self) -> float:
        return (self.tops[-1] + self.tall[-1] if self.tops else 0.0) + MARGIN

    def left(self, cell: int) -> float:
        return self.x[cell] - self.sizes[cell][0] / 2

    def right(self, cell: int) -> float:
        return self.x[cell] + self.sizes[cell][0] / 2

    def top(self, cell: int) -> float:
        layer = self.layers.layer[cell]
        return self.tops[layer] + (self.tall[layer] - self.sizes[cell][1]) / 2

    def bottom(self, cell: int) -> float:
        return self.top(cell) + self.sizes[cell][1]

    def through(self, item: int) -> tuple[Point, Point]:
        """Where an upright line through an item enters and leaves its layer."""
        layer = self.layers.layer[item]
        x, top = self.x[item], self.tops[layer]
        return (x, top), (x, top + self.tall[layer])


# --- layers and lanes ----------------------------------------------------------------------------


def layered(folded: CellGraph, most_lanes: int = MOST_LANES) -> Layers:
    """Every cell in a layer below those of all its sources, and the route of every edge."""
    layer = _longest_paths(folded)
    layers = Layers(len(layer), list(layer), [cell.sides for cell in folded.cells])
    stubs = _stubs(folded, layer, most_lanes)
    lanes: dict[tuple[int, ...], dict[int, int]] = {}
    for edge in sorted(folded.edges):
        sides = folded.edges[edge]
        items = () if edge in stubs else _route(layers, lanes, edge, sides)
        layers.routes.append(Route(*edge, sides, items))
    return layers


def _longest_paths(folded: CellGraph) -> list[int]:
    """Longest path from the top; then what is read in one place, and reads less, goes down to it.

    Without that a constant for the last layer would stand at the top, far from its reader.
    """
    graph = nx.MultiDiGraph((min(edge), max(edge)) for edge in folded.edges)
    graph.add_nodes_from(range(len(folded.cells)))
    generations = enumerate(nx.topological_generations(graph))
    layer = {cell: depth for depth, cells in generations for cell in cells}
    for cell in reversed(range(len(layer))):
        is_input = folded.cells[cell].vertices[0].node.operator == "input"
        if graph.in_degree(cell) < graph.out_degree(cell) <= 1 and not is_input:
            layer[cell] = min(layer[reader] for reader in graph.succ[cell]) - 1
    return [layer[cell] for cell in range(len(layer))]


def _stubs(folded: CellGraph, layer: list[int], most: int) -> set[Edge]:
    """The longest edges, as many as are too many."""
    by_length = sorted(folded.edges, key=lambda edge: (abs(layer[edge[0]] - layer[edge[1]]), edge))
    reach: dict[Edge, int] = {}
    for place, (a, b) in enumerate(by_length):
        span, lane = abs(layer[a] - layer[b]), (a, folded.edges[a, b])
        # An edge uses the lane of the shorter ones; one that points back shares none.
        most -= span - (reach.get(lane, 1) if a < b else 1)
        if most < 0:
            return set(by_length[place:])
        if a < b:
            reach[lane] = span
    return set()


def _route(
    layers: Layers, lanes: dict[tuple[int, ...], dict[int, int]], edge: Edge, sides: int
) -> tuple[int, ...]:
    upper, lower = min(edge), max(edge)
    # An edge that points back has a lane of its own, those of one side only one for the side.
    name = (upper, sides) if edge == (upper, lower) else (upper, lower, sides)
    items = [upper]
    for layer in range(layers.layer[upper] + 1, layers.layer[lower]):
        lane = lanes.setdefault(name, {})
        if layer not in lane:
            lane[layer] = len(layers.layer)
            layers.lane[lane[layer]] = len(lanes)
            layers.layer.append(layer)
            layers.sides.append(sides)
        items.append(lane[layer])
    items.append(lower)
    for pair in pairwise(items):
        layers.segments[pair] = layers.segments.get(pair, 0) | sides
    return tuple(items)


# --- the order within layers ---------------------------------------------------------------------


def ordered(layers: Layers) -> list[list[int]]:
    """The items of each layer from left to right.

    What the barycentres leave open stays as it was, so the sweeps start from several orders: all
    lanes to the right of the cells, to the left, on both sides by turns.
    """
    best = layers.rows()
    fewest = crossings(best, layers.segments)
    graph = nx.DiGraph(list(layers.segments))
    graph.add_nodes_from(range(len(layers.layer)))
    for on_the_left in _STARTS if len(layers.segments) < _MANY else _STARTS[:1]:
        rows = layers.rows()
        for row in rows:
            row.sort(key=lambda item: not on_the_left(layers.lane.get(item, 0)))
        for sweep in range(-1, _SWEEPS):
            if not fewest:
                return best
            if sweep >= 0:
                rows = _swept(rows, graph.succ if sweep % 2 else graph.pred, down=sweep % 2 == 0)
            crossed = crossings(rows, layers.segments)
            if crossed < fewest:
                best, fewest = rows, crossed
    return best


def crossings(rows: Sequence[Sequence[int]], segments: Mapping[Edge, int]) -> int:
    """How often two pieces of edges cross, counted on each side, where they can be seen."""
    place = {item: (layer, k) for layer, row in enumerate(rows) for k, item in enumerate(row)}
    count = 0
    for side in (OLD, NEW):
        gaps: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (upper, lower), sides in segments.items():
            if sides & side:
                layer, start = place[upper]
                gaps[layer].append((start, place[lower][1]))
        for gap in gaps.values():
            ends: list[int] = []
            for _, end in sorted(gap):
                count += len(ends) - bisect_right(ends, end)
                insort(ends, end)
    return count


def _swept(rows: list[list[int]], fixed: Mapping[int, Any], down: bool) -> list[list[int]]:
    """Each layer sorted by where its neighbours in the layer before it stand."""
    swept = [list(row) for row in rows]
    last = len(swept) - 1
    for before, layer in pairwise(range(last + 1) if down else range(last, -1, -1)):
        place, own = _shares(swept[before]), _shares(swept[layer])
        centres = {}
        for item in swept[layer]:
            places = [place[other] for other in fixed[item]]
            centres[item] = sum(places) / len(places) if places else own[item]
        swept[layer].sort(key=centres.__getitem__)
    return swept


def _shares(row: Sequence[int]) -> dict[int, float]:
    """How far to the right each item stands, from 0 to 1."""
    return {item: k / max(len(row) - 1, 1) for k, item in enumerate(row)}


# --- places --------------------------------------------------------------------------------------


# Factors of the variables by their numbers, and what their sum may be at most.
Rule = tuple[list[tuple[int, float]], float]


def _horizontal(
    layers: Layers, rows: Sequence[Sequence[int]], widths: Sequence[float]
) -> list[float]:
    """The middle of each item, [n_items] in pixels; `widths` are those of the cells.

    The variables are these, then the lengths of the segments along the layers.
    """
    n_items, segments = len(layers.layer), list(layers.segments)
    if not n_items:
        return []
    widths = [*widths, *[0.0] * (n_items - layers.n_cells)]
    rules = list(_apart(layers, rows, widths))
    for length, (upper, lower) in enumerate(segments, start=n_items):
        # |x[upper] - x[lower]| <= length
        rules += [([(a, 1.0), (b, -1.0), (length, -1.0)], 0.0)
                  for a, b in ((upper, lower), (lower, upper))]  # fmt: skip
    entries = [(k, i, value) for k, (row, _) in enumerate(rules) for i, value in row]
    matrix = None
    if rules:
        lines, columns, values = zip(*entries, strict=True)
        size = (len(rules), n_items + len(segments))
        matrix = coo_array((values, (lines, columns)), shape=size).tocsr()
    lanes = [(a >= layers.n_cells) + (b >= layers.n_cells) for a, b in segments]
    costs = [_TO_THE_LEFT / n_items] * n_items + [_COSTS[count] for count in lanes]
    least = [width / 2 for width in widths] + [0.0] * len(segments)
    solution = linprog(
        costs,
        A_ub=matrix,
        b_ub=[bound for _, bound in rules] or None,
        bounds=[(value, None) for value in least],
        method="highs-ds",
    )
    return [float(x) for x in solution.x[:n_items]]


def _apart(
    layers: Layers, rows: Sequence[Sequence[int]], widths: Sequence[float]
) -> Iterator[Rule]:
    """x[left] - x[right] <= -distance, for neighbours on either side."""
    for row in rows:
        pairs: set[Edge] = set()
        for side in (OLD, NEW):
            pairs.update(pairwise(item for item in row if layers.sides[item] & side))
        for left, right in sorted(pairs):
            lane = left >= layers.n_cells or right >= layers.n_cells
            both = (widths[left] + widths[right]) / 2
            yield [(left, 1.0), (right, -1.0)], -(both + (LANE_GAP if lane else GAP))


def _vertical(
    layers: Layers, rows: Sequence[Sequence[int]], heights: Sequence[float], x: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Top and height of each layer."""
    tall = [max((heights[k] for k in row if k < layers.n_cells), default=0.0) for row in rows]
    sideways = [0.0] * len(rows)
    for upper, lower in layers.segments:
        layer = layers.layer[lower]
        sideways[layer] = max(sideways[layer], abs(x[upper] - x[lower]))
    tops, y = [], 0.0
    for layer, height in enumerate(tall):
        if layer:
            y += min(max(LEAST_DROP, 0.16 * sideways[layer]), MOST_DROP)
        tops.append(MARGIN + y)
        y += height
    return tops, tall
