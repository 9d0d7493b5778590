"""Both graphs in one, and what of it is drawn.

A matched node stands once, so that both sides share one layout. Of a large graph the surroundings
of changes and blocks are drawn; the rest is folded. All vertices of a folded stretch are below the
same drawn ones. So no path leaves a stretch, passes a drawn vertex and comes back: the folded graph
has no cycle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from symcompile.diff.result import BlockDiff, Change, NodesDiff
from symcompile.storage.schema import Node

# On which side a vertex or an edge is; BOTH is OLD | NEW.
OLD, NEW, BOTH = 1, 2, 3
SAME = "same"

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

# Sides of each edge by (source, target). An edge whose source stands after its target points back:
# the old side has it, and the new order forbids it.
Edges = dict[tuple[int, int], int]


@dataclass(frozen=True)
class Vertex:
    """A node of either side, or a matched pair.

    Attributes:
        mark: "same", "added", "removed", "changed" or "moved".
        what: in which way it changed, in words.
        block: what became of the block that it calls, if it calls one.
    """

    old: Node | None
    new: Node | None
    mark: str = SAME
    what: str = ""
    block: BlockDiff | None = None

    @property
    def sides(self) -> int:
        return (OLD if self.old else 0) | (NEW if self.new else 0)

    def on(self, side: int) -> Node | None:
        """As one side has it."""
        return self.old if side == OLD else self.new

    @property
    def node(self) -> Node:
        """As the new side has it, if it is there."""
        node = self.new or self.old
        assert node is not None
        return node

    @property
    def is_block(self) -> bool:
        return self.node.region is not None

    @property
    def changed(self) -> bool:
        block = self.block
        return self.mark != SAME or (block is not None and block.change != Change.IDENTICAL)


@dataclass(frozen=True)
class Cell:
    """A vertex, or a folded stretch of several."""

    vertices: tuple[Vertex, ...]

    @property
    def folded(self) -> bool:
        return len(self.vertices) > 1

    @property
    def sides(self) -> int:
        return (OLD if self.count(OLD) else 0) | (NEW if self.count(NEW) else 0)

    def count(self, side: int) -> int:
        """How many nodes of one side it holds."""
        return sum(bool(vertex.sides & side) for vertex in self.vertices)

    @property
    def hidden_changes(self) -> int:
        """Changed vertices that are folded away since the picture is full."""
        return sum(vertex.changed for vertex in self.vertices) if self.folded else 0


@dataclass(frozen=True)
class CellGraph:
    """Cells in an order that every edge follows, but those that point back."""

    cells: tuple[Cell, ...]
    edges: Edges

    @property
    def vertices(self) -> list[Vertex]:
        return [vertex for cell in self.cells for vertex in cell.vertices]

    @cached_property
    def downward(self) -> list[tuple[int, int]]:
        """The edges as (upper, lower), those into a cell before those out of it."""
        return sorted({(min(edge), max(edge)) for edge in self.edges})

    def hidden(self, side: int) -> int:
        """How many nodes of one side have no box of their own."""
        return sum(cell.count(side) for cell in self.cells if cell.folded)


# --- the union -----------------------------------------------------------------------------------


def unite(nodes: NodesDiff, blocks: Iterable[BlockDiff] = ()) -> CellGraph:
    """The union of both graphs, every vertex a cell. Reads of unknown nodes are left out."""
    vertices, places = _vertices(nodes, blocks)
    edges: Edges = {}
    for side, rows in ((OLD, nodes.old_nodes), (NEW, nodes.new_nodes)):
        # A node reads what stands before it; a name is taken once.
        seen: set[str] = set()
        for node in rows:
            sources = [] if node.name in seen else [name for name in node.inputs if name in seen]
            for name in sources:
                edge = places[side][name], places[side][node.name]
                edges[edge] = edges.get(edge, 0) | side
            seen.add(node.name)
    # A side alone has no cycle, so a cycle goes through an edge of the old side only.
    rings = nx.strongly_connected_components(nx.DiGraph(list(edges)))
    ring = {vertex: number for number, inside in enumerate(rings) for vertex in inside}
    acyclic = [edge for edge in edges if edges[edge] != OLD or ring[edge[0]] != ring[edge[1]]]
    order, edges = _in_order(len(vertices), edges, acyclic)
    return CellGraph(tuple(Cell((vertices[k],)) for k in order), edges)


def _in_order(
    count: int, edges: Edges, downward: Iterable[tuple[int, int]]
) -> tuple[list[int], Edges]:
    """An order of so many vertices that `downward` follows, and the edges between their places."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(downward)
    order = list(nx.lexicographical_topological_sort(graph))
    place = {vertex: k for k, vertex in enumerate(order)}
    return order, {(place[a], place[b]): sides for (a, b), sides in edges.items()}


def _vertices(
    nodes: NodesDiff, blocks: Iterable[BlockDiff]
) -> tuple[list[Vertex], dict[int, dict[str, int]]]:
    """Those of the new side, then the removed ones; and their numbers by side and name of node."""
    calls: dict[tuple[int, str | None], BlockDiff] = {}
    for block in blocks:
        if block.new or not block.old:
            calls[NEW, block.path] = block
        if block.old or not block.new:
            calls[OLD, block.renamed_from or block.path] = block
    old_of = {b: a for a, b in nodes.pairs}
    old_nodes = {node.name: node for node in nodes.old_nodes}
    changes = {change.new.name: change for change in nodes.changed}
    vertices: list[Vertex] = []
    places: dict[int, dict[str, int]] = {OLD: {}, NEW: {}}
    for node in nodes.new_nodes:
        old = old_nodes.get(old_of.get(node.name, ""))
        if old is not None and old.name in places[OLD]:
            old = None
        change = changes.get(node.name)
        kind = "moved" if change and change.change == "moved" else "changed"
        mark = "added" if old is None else kind if change else SAME
        places[NEW].setdefault(node.name, len(vertices))
        if old is not None:
            places[OLD][old.name] = len(vertices)
        what = change.what if change else ""
        vertices.append(Vertex(old, node, mark, what, calls.get((NEW, node.region))))
    for node in nodes.old_nodes:
        if node.name not in places[OLD]:
            places[OLD][node.name] = len(vertices)
            vertices.append(Vertex(node, None, "removed", block=calls.get((OLD, node.region))))
    return vertices, places


# --- what is drawn -------------------------------------------------------------------------------


def fold(union: CellGraph, most: int = MOST_DRAWN, context: int = CONTEXT) -> CellGraph:
    """The union with at most `most` cells.

    If there is too much, branches are folded together; then blocks that did not change lose their
    surroundings, then their boxes; then changes lose their surroundings, then the last ones their
    boxes.
    """
    everything = range(len(union.cells))
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


def _choices(union: CellGraph, most: int, context: int) -> Iterator[set[int]]:
    """What to draw, less and less of it."""
    vertices = list(enumerate(union.vertices))
    # What changed, blocks first; blocks that did not; inputs and outputs.
    changed = [k for k, vertex in vertices if vertex.changed]
    changed.sort(key=lambda k: not vertices[k][1].is_block)
    blocks = [k for k, vertex in vertices if vertex.is_block and not vertex.changed]
    ends = [k for k, vertex in vertices if vertex.node.operator in ("input", "output")]
    ends = ends if len(ends) <= FEW_ENDS else []
    neighbours: dict[int, list[int]] = defaultdict(list)
    for a, b in union.edges:
        neighbours[a].append(b)
        neighbours[b].append(a)
    wider = [(context, hops) for hops in range(context, -1, -1)]
    for near, far in [*wider, *((hops, -1) for hops in range(context, -1, -1))]:
        yield {*ends, *_around(changed, neighbours, near), *_around(blocks, neighbours, far)}
    count = min(len(changed), most)
    while count:
        yield set(changed[:count])
        count = count * 3 // 4
    yield set()


def _around(points: Sequence[int], neighbours: Mapping[int, list[int]], hops: int) -> set[int]:
    """The points and what is up to so many edges away, but not by way of a hub; below 0 none."""
    reached = set(points) if hops >= 0 else set()
    edge = reached
    for _ in range(hops):
        near = [neighbours.get(vertex, []) for vertex in edge]
        edge = {other for others in near if len(others) <= HUB for other in others} - reached
        reached = reached | edge
    return reached


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


def _branches(union: CellGraph, drawn: set[int], above: Sequence[int]) -> dict[int, int]:
    """A number for each vertex that is not drawn: the same where they hang together."""
    free = set(range(len(above))) - drawn
    graph = nx.Graph()
    graph.add_nodes_from(free)
    graph.add_edges_from(
        (a, b) for a, b in union.downward if a in free and b in free and above[a] == above[b]
    )
    return {
        k: number for number, branch in enumerate(nx.connected_components(graph)) for k in branch
    }


def _drawn_above(union: CellGraph, drawn: set[int]) -> list[int]:
    """For each vertex the set of drawn ones that lead to it, as bits."""
    bits = {vertex: 1 << k for k, vertex in enumerate(sorted(drawn))}
    above = [0] * len(union.cells)
    for a, b in union.downward:
        above[b] |= above[a] | bits.get(a, 0)
    return above


def _folded(union: CellGraph, groups: list[list[int]]) -> CellGraph:
    """One cell for each group, in an order that their edges follow."""
    cell_of = {vertex: k for k, group in enumerate(groups) for vertex in group}
    edges: Edges = {}
    downward = []
    for (a, b), sides in union.edges.items():
        edge = cell_of[a], cell_of[b]
        if edge[0] != edge[1]:
            downward.append(edge if a < b else edge[::-1])
            edges[edge] = edges.get(edge, 0) | sides
    order, edges = _in_order(len(groups), edges, downward)
    vertices = union.vertices
    return CellGraph(tuple(Cell(tuple(vertices[v] for v in groups[k])) for k in order), edges)
