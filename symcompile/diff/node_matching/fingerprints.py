"""What a node is and what is around it, as numbers that are equal where these are.

networkx has Weisfeiler-Lehman hashes too, but before version 3.5 theirs see the readers of a node
alone, and since then, with attributes on the edges, don't tell readers from sources. These do, and
they number what they meet instead of hashing it, so that nothing collides. A matched node is seen
as its pair, whatever it is, so that every match makes others surer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import wraps
from itertools import count

import networkx as nx

from symcompile.diff.node_matching.alignment import align
from symcompile.diff.node_matching.network import Network, nearest

# Fingerprints of nodes that are not matched yet, of those of which the finder has something to say.
Keys = Mapping[int, Hashable]
# Gives out numbers: the same one for the same thing.
Numbers = defaultdict[Hashable, int]


class MatchingSide:
    """One graph while it is matched.

    Attributes:
        network: the graph.
        pair: the number of the pair that a node is in, None as long as it is in none.
        labels: what each node that is not matched is, as numbers that both sides share.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.pair: list[int | None] = [None] * len(network)
        self.labels: dict[int, int] = {}
        self._left = list(range(len(network)))

    def unmatched(self) -> list[int]:
        """The nodes that are in no pair, ascending."""
        self._left = [node for node in self._left if self.pair[node] is None]
        return self._left


def numbers() -> Numbers:
    return defaultdict(count().__next__)


# --- finders: keys of both sides, round by round, so that each sees the matches of those before ---


Finder = Callable[[MatchingSide, MatchingSide], Iterator[tuple[Keys, Keys]]]


def _each(keys: Callable[[MatchingSide, Numbers], Iterator[Keys]]) -> Finder:
    """A finder from the keys of either side, in numbers that both share."""

    @wraps(keys)
    def find(old: MatchingSide, new: MatchingSide) -> Iterator[tuple[Keys, Keys]]:
        numbered = numbers()
        yield from zip(keys(old, numbered), keys(new, numbered), strict=True)

    return find


@_each
def upstream(side: MatchingSide, numbered: Numbers) -> Iterator[Keys]:
    """By everything that a node depends on, up to matched nodes."""
    yield _above(side, numbered)


@_each
def downstream(side: MatchingSide, numbered: Numbers) -> Iterator[Keys]:
    """By everything that depends on a node, up to matched nodes."""
    yield _below(side, numbered)


@_each
def both_ways(side: MatchingSide, numbered: Numbers) -> Iterator[Keys]:
    """By all of that together."""
    above, below = _above(side, numbered), _below(side, numbered)
    yield {node: (above[node], below[node]) for node in above}


@_each
def alone(side: MatchingSide, numbered: Numbers) -> Iterator[Keys]:
    """By the node itself, if it has weights: nothing else is so sure to be the only one."""
    nodes = side.network.nodes
    yield {node: side.labels[node] for node in side.unmatched() if nodes[node].weights}


@_each
def in_gap(side: MatchingSide, numbered: Numbers) -> Iterator[Keys]:
    """By the node itself among those between the same matched nodes, whichever stand before it."""
    network, keys = side.network, dict[int, Hashable]()
    for component in nx.weakly_connected_components(network.graph.subgraph(side.unmatched())):
        near = {side.pair[source] for node in component for source in network.inputs[node]}
        near |= {side.pair[user] for node in component for user, _ in network.users[node]}
        gap = numbered[frozenset(near - {None})]
        keys.update((node, (side.labels[node], gap)) for node in component)
    yield keys


@_each
def between(side: MatchingSide, numbered: Numbers) -> Iterator[Keys]:
    """By all of its users and its first input, if these are matched."""
    keys: dict[int, Hashable] = {}
    for node in side.unmatched():
        read = [side.pair[source] for source in side.network.inputs[node][:1]]
        users = frozenset((side.pair[user], at) for user, at in side.network.users[node])
        if read and users and None not in (*read, *(pair for pair, _ in users)):
            keys[node] = (side.labels[node], *read, users)
    yield keys


@_each
def replaced(side: MatchingSide, numbered: Numbers) -> Iterator[Keys]:
    """By the nearest matched nodes before and after, and whether there are weights."""
    nodes = side.network.nodes
    users = [[user for user, _ in reads] for reads in side.network.users]
    above = nearest(side.network.inputs, side.pair)
    below = nearest(users, side.pair, reverse=True)
    yield {
        node: (side.labels[node], bool(nodes[node].weights), above[node], below[node])
        for node in side.unmatched()
        if above[node] and below[node]
    }


def in_order(old: MatchingSide, new: MatchingSide) -> Iterator[tuple[Keys, Keys]]:
    """By the place in the order of the graphs, as far as matched nodes have kept that order."""
    before, after = (
        [side.labels[node] if pair is None else -1 - pair for node, pair in enumerate(side.pair)]
        for side in (old, new)
    )
    kept = [(a, b) for a, b in align(before, after) if old.pair[a] is None]
    yield {a: k for k, (a, _) in enumerate(kept)}, {b: k for k, (_, b) in enumerate(kept)}


# --- all that is above or below ------------------------------------------------------------------

# A matched node is its pair wherever it is met: below zero, where no other number is.


def _above(side: MatchingSide, numbered: Numbers) -> dict[int, int]:
    keys: dict[int, int] = {}
    pair, inputs = side.pair, side.network.inputs
    for node in side.unmatched():
        read = [keys[a] if (p := pair[a]) is None else -1 - p for a in inputs[node]]
        keys[node] = numbered[side.labels[node], tuple(read)]
    return keys


def _below(side: MatchingSide, numbered: Numbers) -> dict[int, int]:
    keys: dict[int, int] = {}
    pair, users = side.pair, side.network.users
    for node in reversed(side.unmatched()):
        read = [(keys[u] if (p := pair[u]) is None else -1 - p, at) for u, at in users[node]]
        keys[node] = numbered[side.labels[node], tuple(sorted(read))]
    return keys
