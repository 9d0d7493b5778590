"""Both graphs in one: a matched node stands once, so that both sides share one layout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from symcompile.diff.result import ADDED, REMOVED, BlockDiff, NodeChange, NodesDiff
from symcompile.diff.snapshot import Node

# On which side a vertex or an edge is; BOTH is OLD | NEW.
OLD, NEW, BOTH = 1, 2, 3
SAME = "same"

REGION = "region:"


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

    @property
    def node(self) -> Node:
        """As the new side has it, if it is there."""
        found = self.new or self.old
        assert found is not None
        return found

    @property
    def is_block(self) -> bool:
        return self.node.operator.startswith(REGION)


@dataclass(frozen=True)
class Union:
    """Vertices in an order that every edge follows, but those that point back.

    Attributes:
        edges: sides of each edge by (source, target), numbers of vertices. An edge whose source
            stands after its target points back: the old side has it, and the new order forbids it.
    """

    vertices: tuple[Vertex, ...]
    edges: dict[tuple[int, int], int]

    @cached_property
    def downward(self) -> list[tuple[int, int]]:
        """The edges as (upper, lower), those into a vertex before those out of it."""
        return sorted({(min(edge), max(edge)) for edge in self.edges})


def unite(nodes: NodesDiff, blocks: Iterable[BlockDiff] = ()) -> Union:
    """The union of both graphs. Reads of unknown nodes are left out."""
    vertices, places = _vertices(nodes, _by_node(blocks))
    edges: dict[tuple[int, int], int] = {}
    for side, rows in ((OLD, nodes.old_nodes), (NEW, nodes.new_nodes)):
        for edge in _edges(rows, places[side]):
            edges[edge] = edges.get(edge, 0) | side
    order = acyclic_order(len(vertices), edges)
    number = {vertex: k for k, vertex in enumerate(order)}
    return Union(
        tuple(vertices[k] for k in order),
        {(number[a], number[b]): sides for (a, b), sides in edges.items()},
    )


def acyclic_order(count: int, edges: dict[tuple[int, int], int]) -> list[int]:
    """Vertices in an order that all edges of the new side follow, and the old one's as they can.

    A side alone has no cycle, so a cycle goes through an edge of the old side only.
    """
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(edges)
    for component in list(nx.strongly_connected_components(graph)):
        if len(component) > 1:
            inside = graph.subgraph(component).edges
            graph.remove_edges_from([edge for edge in inside if edges[edge] == OLD])
    return list(nx.lexicographical_topological_sort(graph))


def _by_node(blocks: Iterable[BlockDiff]) -> dict[tuple[int, str], BlockDiff]:
    """Blocks by side and operator of the nodes that call them."""
    found = {}
    for block in blocks:
        if block.new or not block.old:
            found[NEW, REGION + block.path] = block
        if block.old or not block.new:
            found[OLD, REGION + (block.renamed_from or block.path)] = block
    return found


def _vertices(
    nodes: NodesDiff, blocks: dict[tuple[int, str], BlockDiff]
) -> tuple[list[Vertex], dict[int, dict[str, int]]]:
    """Those of the new side, then the removed ones; and their numbers by side and name of node."""
    old_of = {b: a for a, b in nodes.pairs}
    old_nodes = {node.name: node for node in nodes.old_nodes}
    changes = {change.new.name: change for change in nodes.changed}
    vertices: list[Vertex] = []
    places: dict[int, dict[str, int]] = {OLD: {}, NEW: {}}

    def block_of(side: int, node: Node) -> BlockDiff | None:
        return blocks.get((side, node.operator))

    for node in nodes.new_nodes:
        old = old_nodes.get(old_of.get(node.name, ""))
        if old is not None and old.name in places[OLD]:
            old = None
        change = changes.get(node.name)
        mark = ADDED if old is None else _mark(change)
        places[NEW].setdefault(node.name, len(vertices))
        if old is not None:
            places[OLD][old.name] = len(vertices)
        what = change.what if change else ""
        vertices.append(Vertex(old, node, mark, what, block_of(NEW, node)))
    for node in nodes.old_nodes:
        if node.name not in places[OLD]:
            places[OLD][node.name] = len(vertices)
            vertices.append(Vertex(node, None, REMOVED, "", block_of(OLD, node)))
    return vertices, places


def _mark(change: NodeChange | None) -> str:
    return SAME if change is None else "moved" if change.change == "moved" else "changed"


def _edges(rows: Sequence[Node], places: dict[str, int]) -> Iterable[tuple[int, int]]:
    """(source, target), each once. A node reads what stands before it; a name is taken once."""
    seen: set[str] = set()
    for node in rows:
        if node.name not in seen:
            reads = dict.fromkeys(name for name in node.inputs if name in seen)
            yield from ((places[name], places[node.name]) for name in reads)
        seen.add(node.name)
