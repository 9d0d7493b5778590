"""What of a large graph is drawn: the surroundings of changes and blocks; the rest is folded.

All vertices of a folded stretch are below the same drawn ones. So no path leaves a stretch, passes
a drawn vertex and comes back: the folded graph has no cycle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from symcompile.diff.drawing.union import SAME, Union, Vertex
from symcompile.diff.result import IDENTICAL

MOST_DRAWN = 300
CONTEXT = 2
# A graph of up to this many nodes is drawn whole.
SMALL = 60
# A stretch of fewer vertices than this takes no more room drawn than folded.
SHORTEST = 3
# More inputs and outputs than this are a crowd like any other.
FEW_ENDS = 24
# What is read in more places, such as a size, is near to everything: that says nothing.
HUB = 10


@dataclass(frozen=True)
class Cell:
    """A vertex, or a folded stretch of several."""

    vertices: tuple[Vertex, ...]

    @property
    def folded(self) -> bool:
        return len(self.vertices) > 1

    @property
    def sides(self) -> int:
        found = 0
        for vertex in self.vertices:
            found |= vertex.sides
        return found

    def count(self, side: int) -> int:
        """How many nodes of one side it holds."""
        return sum(bool(vertex.sides & side) for vertex in self.vertices)

    @property
    def hidden_changes(self) -> int:
        """Changed vertices that are folded away since the picture is full."""
        return sum(_changed(vertex) for vertex in self.vertices) if self.folded else 0


@dataclass(frozen=True)
class Folded:
    """Cells in an order that every edge follows but those that point back, as in `Union`."""

    cells: tuple[Cell, ...]
    edges: dict[tuple[int, int], int]

    def hidden(self, side: int) -> int:
        """How many nodes of one side have no box of their own."""
        return sum(cell.count(side) for cell in self.cells if cell.folded)


def fold(union: Union, most: int = MOST_DRAWN, context: int = CONTEXT) -> Folded:
    """The union with at most `most` cells.

    If there is too much, branches are folded together; then blocks that did not change lose their
    surroundings, then their boxes; then changes lose their surroundings, then the last ones their
    boxes.
    """
    everything = range(len(union.vertices))
    if len(everything) <= min(SMALL, most):
        return _folded(union, [[k] for k in everything])
    for drawn in _choices(union, most, context):
        if len(drawn) > most:
            continue
        above = _drawn_above(union, drawn)
        for branches in (_branches(union, drawn, above), {}):
            groups = _groups(drawn, above, branches)
            if len(groups) <= most:
                return _folded(union, groups)
    return _folded(union, [[*everything]])


def _choices(union: Union, most: int, context: int) -> Iterator[set[int]]:
    """What to draw, less and less of it."""
    changed, blocks, ends = _points_of_interest(union.vertices)
    neighbours = _neighbours(union)
    wider = [(context, hops) for hops in range(context, -1, -1)]
    for near, far in [*wider, *((hops, -1) for hops in range(context, -1, -1))]:
        yield {*ends, *_around(changed, neighbours, near), *_around(blocks, neighbours, far)}
    count = min(len(changed), most)
    while count:
        yield set(changed[:count])
        count = count * 3 // 4
    yield set()


def _points_of_interest(
    vertices: Sequence[Vertex],
) -> tuple[list[int], list[int], list[int]]:
    """What changed, blocks first; blocks that did not; inputs and outputs."""
    every = range(len(vertices))
    changed = [k for k in every if _changed(vertices[k])]
    changed.sort(key=lambda k: not vertices[k].is_block)
    blocks = [k for k in every if vertices[k].is_block and not _changed(vertices[k])]
    ends = [k for k in every if vertices[k].node.operator in ("input", "output")]
    return changed, blocks, ends if len(ends) <= FEW_ENDS else []


def _changed(vertex: Vertex) -> bool:
    block = vertex.block
    return vertex.mark != SAME or (block is not None and block.change != IDENTICAL)


def _neighbours(union: Union) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for a, b in union.edges:
        found.setdefault(a, []).append(b)
        found.setdefault(b, []).append(a)
    return found


def _around(points: Sequence[int], neighbours: Mapping[int, list[int]], hops: int) -> set[int]:
    """The points and what is up to so many edges away, but not by way of a hub; below 0 none."""
    found = set(points) if hops >= 0 else set()
    edge = found
    for _ in range(hops):
        near = [neighbours.get(one, []) for one in edge]
        edge = {other for others in near if len(others) <= HUB for other in others} - found
        found = found | edge
    return found


def _groups(drawn: set[int], above: Sequence[int], branches: Mapping[int, int]) -> list[list[int]]:
    """Vertices that are drawn as one, in the order of their first."""
    stretches: dict[tuple[int, int], list[int]] = {}
    for vertex, over in enumerate(above):
        key = (-1, vertex) if vertex in drawn else (over, branches.get(vertex, 0))
        stretches.setdefault(key, []).append(vertex)
    return sorted(
        piece
        for group in stretches.values()
        for piece in ([group] if len(group) >= SHORTEST else [[one] for one in group])
    )


def _branches(union: Union, drawn: set[int], above: Sequence[int]) -> dict[int, int]:
    """A number for each vertex that is not drawn: the same where they hang together."""
    import networkx as nx

    free = set(range(len(above))) - drawn
    graph = nx.Graph()
    graph.add_nodes_from(free)
    graph.add_edges_from(
        (a, b) for a, b in union.downward if a in free and b in free and above[a] == above[b]
    )
    return {k: number for number, one in enumerate(nx.connected_components(graph)) for k in one}


def _drawn_above(union: Union, drawn: set[int]) -> list[int]:
    """For each vertex the set of drawn ones that lead to it, as bits."""
    bits = {vertex: 1 << k for k, vertex in enumerate(sorted(drawn))}
    above = [0] * len(union.vertices)
    for a, b in union.downward:
        above[b] |= above[a] | bits.get(a, 0)
    return above


def _folded(union: Union, groups: list[list[int]]) -> Folded:
    """One cell for each group, in an order that their edges follow."""
    import networkx as nx

    cell_of = {vertex: k for k, group in enumerate(groups) for vertex in group}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(groups)))
    edges: dict[tuple[int, int], int] = {}
    for (a, b), sides in union.edges.items():
        if cell_of[a] == cell_of[b]:
            continue
        upper, lower = cell_of[min(a, b)], cell_of[max(a, b)]
        graph.add_edge(upper, lower)
        edge = (upper, lower) if a < b else (lower, upper)
        edges[edge] = edges.get(edge, 0) | sides
    order = list(nx.lexicographical_topological_sort(graph))
    number = {group: k for k, group in enumerate(order)}
    return Folded(
        tuple(Cell(tuple(union.vertices[v] for v in groups[k])) for k in order),
        {(number[a], number[b]): sides for (a, b), sides in edges.items()},
    )
