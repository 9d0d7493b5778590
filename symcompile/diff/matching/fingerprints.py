"""What a node is and what is around it, as numbers that are equal where these are.

networkx has Weisfeiler-Lehman hashes too, but before version 3.5 theirs see the readers of a node
alone, and since then, with attributes on the edges, don't tell readers from sources. These do, and
they number what they meet instead of hashing it, so that nothing collides. A matched node is seen
as its pair, whatever it is, so that every match makes others surer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping

from symcompile.diff.matching.alignment import align
from symcompile.diff.matching.network import Network, nearest

# Fingerprints of nodes that are not matched yet, of those of which the finder has something to say.
Keys = Mapping[int, Hashable]
# How many edges away a neighbourhood reaches.
_RADII = (8, 4, 2, 1)
# So many inputs are tried as the one that stayed.
_PLACES = 3


class Side:
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


class Numbers:
    """Gives out numbers: the same one for the same thing."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def of(self, thing: Hashable) -> int:
        return self._known.setdefault(thing, len(self._known))


Finder = Callable[[Side, Side], Iterator[tuple[Keys, Keys]]]


def upstream(old: Side, new: Side) -> Iterator[tuple[Keys, Keys]]:
    """By everything that a node depends on, up to matched nodes."""
    numbers = Numbers()
    yield _upstream(old, numbers), _upstream(new, numbers)


def downstream(old: Side, new: Side) -> Iterator[tuple[Keys, Keys]]:
    """By everything that depends on a node, up to matched nodes."""
    numbers = Numbers()
    yield _downstream(old, numbers), _downstream(new, numbers)


def both_ways(old: Side, new: Side) -> Iterator[tuple[Keys, Keys]]:
    """By all of that together."""
    up, down = Numbers(), Numbers()

    def keys(side: Side) -> Keys:
        above, below = _upstream(side, up), _downstream(side, down)
        return {node: (above[node], below[node]) for node in above}

    yield keys(old), keys(new)


def around(old: Side, new: Side) -> Iterator[tuple[Keys, Keys]]:
    """By the neighbourhood, from a wide one to the next neighbours alone."""
    found = {}
    before, after = old.labels, new.labels
    for radius in range(1, max(_RADII) + 1):
        numbers = Numbers()
        before, after = _wider(old, before, numbers), _wider(new, after, numbers)
        if radius in _RADII:
            found[radius] = before, after
    for radius in _RADII:
        yield found.pop(radius)


def alone(old: Side, new: Side) -> Iterator[tuple[Keys, Keys]]:
    """By the node itself, if it has weights: nothing else is so sure to be the only one."""
    yield _weighted(old), _weighted(new)


def in_gap(old: Side, new: Side) -> Iterator[tuple[Keys, Keys]]:
    """By the node itself among those between the same matched nodes.

    First with its name; at last whichever of those stand before it and which after.
    """
    numbers = Numbers()
    before, after = _gaps(old, numbers), _gaps(new, numbers)
    for directed, named in ((True, True), (True, False), (False, False)):
        yield _placed(old, before, directed, named), _placed(new, after, directed, named)


def between(old: Side, new: Side) -> Iterator[tuple[Keys, Keys]]:
    """By all of its users, if they are matched, and one of its inputs at the same place."""
    for place in range(_PLACES):
        yield _between(old, place), _between(new, place)


def replaced(old: Side, new: Side) -> Iterator[tuple[Keys, Keys]]:
    """By the nearest matched nodes before and after, and whether there are weights."""
    yield _replaced(old), _replaced(new)


def in_order(old: Side, new: Side) -> Iterator[tuple[Keys, Keys]]:
    """By the place in the order of the graphs, as far as matched nodes have kept that order."""
    places = align(_sequence(old), _sequence(new))
    found = [(a, b) for a, b in places if old.pair[a] is None]
    yield {a: k for k, (a, _) in enumerate(found)}, {b: k for k, (_, b) in enumerate(found)}


# --- the keys of one side ------------------------------------------------------------------------

# A matched node is its pair wherever it is met: below zero, where no other number is.


def _upstream(side: Side, numbers: Numbers) -> dict[int, int]:
    keys: dict[int, int] = {}
    for node in side.unmatched():
        keys[node] = numbers.of((side.labels[node], _sources(side, node, keys)))
    return keys


def _downstream(side: Side, numbers: Numbers) -> dict[int, int]:
    keys: dict[int, int] = {}
    for node in reversed(side.unmatched()):
        keys[node] = numbers.of((side.labels[node], _readers(side, node, keys)))
    return keys


def _wider(side: Side, keys: dict[int, int], numbers: Numbers) -> dict[int, int]:
    return {
        node: numbers.of((keys[node], _sources(side, node, keys), _readers(side, node, keys)))
        for node in side.unmatched()
    }


def _sources(side: Side, node: int, keys: dict[int, int]) -> tuple[int, ...]:
    pair = side.pair
    read = side.network.inputs[node]
    return tuple([keys[one] if (p := pair[one]) is None else -1 - p for one in read])


def _readers(side: Side, node: int, keys: dict[int, int]) -> tuple[Hashable, ...]:
    pair = side.pair
    users = side.network.users[node]
    return tuple(sorted([(keys[u] if (p := pair[u]) is None else -1 - p, at) for u, at in users]))


def _weighted(side: Side) -> Keys:
    return {
        node: side.labels[node] for node in side.unmatched() if side.network.nodes[node].weights
    }


def _sequence(side: Side) -> list[int]:
    return [side.labels[n] if pair is None else -1 - pair for n, pair in enumerate(side.pair)]


def _gaps(side: Side, numbers: Numbers) -> dict[int, tuple[int, int]]:
    """For each node that is not matched, the matched nodes around its component, by a number.

    Two numbers: the first tells those before it from those after, the second does not.
    """
    import networkx as nx

    network = side.network
    found = {}
    for component in nx.weakly_connected_components(network.graph.subgraph(side.unmatched())):
        sources = {side.pair[source] for node in component for source in network.inputs[node]}
        users = {side.pair[user] for node in component for user, _ in network.users[node]}
        before, after = frozenset(sources - {None}), frozenset(users - {None})
        gap = numbers.of((before, after)), numbers.of(before | after)
        found.update(dict.fromkeys(component, gap))
    return found


def _placed(side: Side, gaps: dict[int, tuple[int, int]], directed: bool, named: bool) -> Keys:
    nodes = side.network.nodes
    return {
        node: (side.labels[node], gap[not directed], nodes[node].name if named else "")
        for node, gap in gaps.items()
        if side.pair[node] is None
    }


def _replaced(side: Side) -> Keys:
    nodes, reads = side.network.nodes, side.network.inputs
    users = [[user for user, _ in found] for found in side.network.users]
    above = nearest(reads, side.pair)
    below = nearest(users, side.pair, reverse=True)
    return {
        node: (side.labels[node], bool(nodes[node].weights), above[node], below[node])
        for node in side.unmatched()
        if above[node] and below[node]
    }


def _between(side: Side, place: int) -> Keys:
    found: dict[int, Hashable] = {}
    for node in side.unmatched():
        read = side.network.inputs[node][place : place + 1]
        users = [(side.pair[user], places) for user, places in side.network.users[node]]
        pairs = [side.pair[one] for one in read] + [pair for pair, _ in users]
        if read and users and None not in pairs:
            found[node] = (side.labels[node], pairs[0], frozenset(users))
    return found
