"""Pairs of nodes: taken where a fingerprint is the only one, and spread along the edges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator

from symcompile.diff.node_matching.fingerprints import Finder, Keys, MatchingSide, Numbers, numbers
from symcompile.diff.node_matching.network import ENDS, Level, Network, label


class NodePairing:
    """Two graphs and the pairs found so far: every node is in one at most.

    Attributes:
        blocks: region operators that both sides have; such nodes are paired with each other only.
        pairs: (old, new) numbers of nodes.
    """

    def __init__(self, old: Network, new: Network) -> None:
        """Pairs the ends by their names, and what is the only end or call of its kind."""
        self.old, self.new = MatchingSide(old), MatchingSide(new)
        regions = ({node.operator for node in side.nodes if node.region is not None}
                   for side in (old, new))  # fmt: skip
        self.blocks = set.intersection(*regions)
        self.pairs: list[tuple[int, int]] = []
        for named in (True, False):
            self._take_single(*self._fixed(named=named))

    @property
    def complete(self) -> bool:
        """Whether one side has nothing left."""
        return len(self.pairs) == min(len(self.old.pair), len(self.new.pair))

    def look(self, level: Level) -> None:
        """Label both sides for the finders that come."""
        numbered: Numbers = numbers()
        for side in (self.old, self.new):
            nodes, weights = side.network.nodes, side.network.weights
            side.labels = {
                node: numbered[label(nodes[node], weights, level, self.blocks)]
                for node in side.unmatched()
            }

    def find(self, finder: Finder) -> None:
        """Take every pair whose fingerprint no other node of either side has."""
        for old, new in finder(self.old, self.new):
            self._take_single(old, new)

    def finish(self) -> None:
        """Take what is left of the ends and of blocks that both sides have, one after the other."""
        for nodes, others in _shared(*self._fixed(named=False)):
            for pair in zip(nodes, others, strict=False):
                self._add(*pair)
        self.look(Level())
        self.spread()

    def spread(self) -> None:
        """From pairs to what both nodes read at the same place, and to the only user of a kind."""
        for pair in self.pairs:  # which grows
            for old, new in self._beside(*pair):
                if self._free(old, new):
                    self._add(old, new)

    # --- which pairs are taken -------------------------------------------------------------------

    def _free(self, old: int, new: int) -> bool:
        return self.old.pair[old] is None and self.new.pair[new] is None

    def _add(self, old: int, new: int) -> None:
        self.old.pair[old] = self.new.pair[new] = len(self.pairs)
        self.pairs.append((old, new))

    def _fixed(self, *, named: bool) -> Iterator[Keys]:
        """What is paired by its name alone; without names, by being the only one of its kind."""
        kinds = {*ENDS} if named else {*ENDS, *self.blocks}
        for side in (self.old, self.new):
            nodes = [(number, side.network.nodes[number]) for number in side.unmatched()]
            yield {
                number: (node.operator, node.name if named else "")
                for number, node in nodes
                if node.operator in kinds
            }

    def _take_single(self, old: Keys, new: Keys) -> None:
        for nodes, others in _shared(old, new):
            if len(nodes) == len(others) == 1 and self._free(nodes[0], others[0]):
                self._add(nodes[0], others[0])

    # --- along the edges -------------------------------------------------------------------------

    def _beside(self, old: int, new: int) -> Iterator[tuple[int, int]]:
        read, others = self.old.network.inputs[old], self.new.network.inputs[new]
        if len(read) == len(others):
            for a, b in zip(read, others, strict=True):
                if self._free(a, b) and self.old.labels[a] == self.new.labels[b]:
                    yield a, b
        for nodes, users in _shared(_users(self.old, old), _users(self.new, new)):
            if len(nodes) == len(users) == 1:
                yield nodes[0], users[0]


def _users(side: MatchingSide, node: int) -> Keys:
    """Users that are not matched yet, by what they are and where they read the node."""
    users = side.network.users[node]
    return {user: (side.labels[user], at) for user, at in users if side.pair[user] is None}


def _shared(old: Keys, new: Keys) -> Iterator[tuple[list[int], list[int]]]:
    """Nodes of both sides that have one key, in the order of the old side's first."""
    groups: tuple[dict[Hashable, list[int]], ...] = (defaultdict(list), defaultdict(list))
    for keys, group in zip((old, new), groups, strict=True):
        for node in sorted(keys):
            group[keys[node]].append(node)
    yield from ((nodes, groups[1][key]) for key, nodes in groups[0].items() if key in groups[1])
