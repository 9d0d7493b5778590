"""A graph made ready for matching: networkx carries it, in an order that its rows don't decide."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx

from symcompile.storage.schema import REGION, Node, Tensor

# Ends of the graph: their names are the model's own, what they do is said by no attribute.
ENDS = ("input", "output")

_NUMBER = re.compile("([0-9]+)")


@dataclass(frozen=True)
class Network:
    """One side of a matching; nodes are numbers, every one above those of the nodes it reads.

    Attributes:
        nodes: depth first from the outputs, argument by argument, so that the order follows from
            the structure; where a graph has several ends, from their names.
        graph: a networkx.DiGraph from a node to its users, `positions` of the argument on an edge.
        inputs: what each node reads, in order.
        users: (user, positions) of each node.
        weights: of the model, by qualified name.
    """

    nodes: tuple[Node, ...]
    graph: Any
    inputs: list[tuple[int, ...]]
    users: list[list[tuple[int, tuple[int, ...]]]]
    weights: Mapping[str, Tensor]

    @classmethod
    def of(cls, rows: Sequence[Node], weights: Mapping[str, Tensor]) -> Network:
        """Reads of nodes that don't stand before are left out: no file makes a cycle."""
        read: list[list[int]] = []
        places: dict[str, int] = {}
        for row, node in enumerate(rows):
            read.append([places[name] for name in node.inputs if name in places])
            places[node.name] = row
        order = _order(rows, read)
        number = {row: k for k, row in enumerate(order)}
        inputs = [tuple(number[source] for source in read[row]) for row in order]
        graph = nx.DiGraph()
        graph.add_nodes_from(range(len(order)))
        for reader, sources in enumerate(inputs):
            positions = defaultdict(list)
            for position, source in enumerate(sources):
                positions[source].append(position)
            for source, places_of in positions.items():
                graph.add_edge(source, reader, positions=tuple(places_of))
        users = [[(n, e["positions"]) for n, e in graph.succ[k].items()] for k in graph]
        return cls(tuple(rows[row] for row in order), graph, inputs, users, weights)

    def __len__(self) -> int:
        return len(self.nodes)


def _order(rows: Sequence[Node], read: Sequence[Sequence[int]]) -> list[int]:
    used = {source for sources in read for source in sources}
    starts = sorted(
        set(range(len(rows))) - used,
        key=lambda row: (rows[row].operator != "output", natural(rows[row].name)),
    )
    graph = nx.DiGraph()
    graph.add_nodes_from(starts)
    graph.add_edges_from((row, source) for row, sources in enumerate(read) for source in sources)
    return list(nx.dfs_postorder_nodes(graph))


def natural(name: str) -> tuple[list[Any], str]:
    """A key that sorts linear_10 after linear_9."""
    parts: list[Any] = _NUMBER.split(name)
    parts[1::2] = [(len(digits), digits) for digits in (part.lstrip("0") for part in parts[1::2])]
    return parts, name


# --- what is near --------------------------------------------------------------------------------


# Pairs of matched nodes; None where there are too many to tell.
Origin = frozenset[int] | None
_TOO_MANY = 16


def nearest(
    beside: Sequence[Sequence[int]], pair: Sequence[int | None], *, reverse: bool = False
) -> list[Origin]:
    """The nearest matched nodes in a direction, by their pairs; of a matched node its own.

    Args:
        beside: the next nodes in this direction, of each node.
        pair: the pair of each node, None if it is in none.
        reverse: whether the next nodes have higher numbers.
    """
    origins: list[Origin] = [None] * len(pair)
    for node in reversed(range(len(pair))) if reverse else range(len(pair)):
        own = pair[node]
        near = {origins[other] for other in beside[node]} if own is None else {frozenset((own,))}
        if len(near) == 1:
            origins[node] = near.pop()  # the same object: a chain of thousands holds one set
        elif None not in near and len(near) <= _TOO_MANY:
            together: frozenset[int] = frozenset().union(*(pairs for pairs in near if pairs))
            origins[node] = together if len(together) <= _TOO_MANY else None
    return origins


# --- labels --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Level:
    """What two nodes must have in common: the operator in any case but with `operator=False`.

    Attributes:
        attributes: everything that is neither an input nor a weight.
        names, digests, shapes: of the weights that they read.
    """

    attributes: bool = True
    names: bool = False
    digests: bool = False
    shapes: bool = False
    operator: bool = True


def label(
    node: Node, weights: Mapping[str, Tensor], level: Level, blocks: Collection[str]
) -> tuple[Any, ...]:
    """What a node is; `blocks` are the region operators that both sides have."""
    if node.operator in ENDS:
        return (node.operator,)
    operator = node.operator
    if node.region is not None:
        operator = operator if operator in blocks else REGION
    elif not level.operator:
        return ()
    read = []
    for name in node.weights:
        tensor = weights.get(name)
        digest = tensor.digest if tensor and level.digests else ""
        shape = (tensor.dtype, tensor.shape) if tensor and level.shapes else ""
        read.append((name if level.names else "", digest, shape))
    if not level.attributes:
        return (operator, None, tuple(read) if any(map(any, read)) else None)
    return (operator, node.attributes, tuple(read))
