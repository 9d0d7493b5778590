"""Cells in layers, by longest path, and the lanes of the edges that pass through layers.

Edges that leave a cell downward share a lane, which they branch off from like the lines of a
circuit diagram: a value that is read in ten places is one line. Edges of one side only have a lane
of their own.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from symcompile.diff.drawing.folding import Folded

# With more places in lanes than this the longest edges are drawn as stubs.
MOST_LANES = 1500


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
        layer: of each item.
        sides: of each item.
        lane: number of the lane of each item that is a place in one.
        segments: sides of each piece of an edge by (upper item, lower item) of adjacent layers.
    """

    n_cells: int
    layer: list[int]
    sides: list[int]
    lane: dict[int, int] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    segments: dict[tuple[int, int], int] = field(default_factory=dict)

    def rows(self) -> list[list[int]]:
        """Items of each layer, in the order in which they were made."""
        found: list[list[int]] = [[] for _ in range(max(self.layer, default=-1) + 1)]
        for item, layer in enumerate(self.layer):
            found[layer].append(item)
        return found


def layered(folded: Folded, most_lanes: int = MOST_LANES) -> Layers:
    """Every cell in a layer below those of all its sources, and the route of every edge."""
    layer = _layers(folded)
    found = Layers(len(layer), list(layer), [cell.sides for cell in folded.cells])
    stubs = _stubs(folded, layer, most_lanes)
    lanes: dict[tuple[int, ...], dict[int, int]] = {}
    for edge in sorted(folded.edges):
        sides = folded.edges[edge]
        items = () if edge in stubs else _route(found, lanes, edge, sides)
        found.routes.append(Route(*edge, sides, items))
    return found


def _layers(folded: Folded) -> list[int]:
    """Longest path from the top; then what is read in one place, and reads less, goes down to it.

    Without that a constant for the last layer would stand at the top, far from its reader.
    """
    below: dict[int, list[int]] = defaultdict(list)
    above: dict[int, list[int]] = defaultdict(list)
    for edge in folded.edges:
        below[min(edge)].append(max(edge))
        above[max(edge)].append(min(edge))
    layer: list[int] = []
    for k in range(len(folded.cells)):
        layer.append(max((layer[a] + 1 for a in above[k]), default=0))
    for k in reversed(range(len(layer))):
        if len(above[k]) < len(below[k]) <= 1 and not _is_input(folded, k):
            layer[k] = min(layer[b] for b in below[k]) - 1
    return layer


def _is_input(folded: Folded, cell: int) -> bool:
    return folded.cells[cell].vertices[0].node.operator == "input"


def _stubs(folded: Folded, layer: list[int], most: int) -> set[tuple[int, int]]:
    """The longest edges, as many as are too many."""
    by_length = sorted(folded.edges, key=lambda edge: (abs(layer[edge[0]] - layer[edge[1]]), edge))
    reach: dict[tuple[int, int], int] = {}
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
    found: Layers, lanes: dict[tuple[int, ...], dict[int, int]], edge: tuple[int, int], sides: int
) -> tuple[int, ...]:
    upper, lower = min(edge), max(edge)
    # An edge that points back has a lane of its own, those of one side only one for the side.
    name = (upper, sides) if edge == (upper, lower) else (upper, lower, sides)
    items = [upper]
    for layer in range(found.layer[upper] + 1, found.layer[lower]):
        lane = lanes.setdefault(name, {})
        if layer not in lane:
            lane[layer] = len(found.layer)
            found.lane[lane[layer]] = len(lanes)
            found.layer.append(layer)
            found.sides.append(sides)
        items.append(lane[layer])
    items.append(lower)
    for pair in pairwise(items):
        found.segments[pair] = found.segments.get(pair, 0) | sides
    return tuple(items)
