"""Pairs of nodes: taken where a fingerprint is the only one, and spread along the edges."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass

from symcompile.diff.matching.fingerprints import Finder, Keys, Numbers, Side
from symcompile.diff.matching.network import ENDS, REGION, Level, Network, label


@dataclass
class Pairing:
    """Two graphs and the pairs found so far: every node is in one at most.

    Attributes:
        blocks: region operators that both sides have; such nodes are paired with each other only.
        pairs: (old, new) numbers of nodes.
    """

    old: Side
    new: Side
    blocks: Collection[str]
    pairs: list[tuple[int, int]]

    @classmethod
    def of(cls, old: Network, new: Network) -> Pairing:
        """The ends by their names, and what is the only end or call of a block of its kind."""
        sides = Side(old), Side(new)
        blocks = sorted(_blocks(old) & _blocks(new))
        found = cls(sides[0], sides[1], blocks, [])
        for named in (True, False):
            found.take_single(*(_fixed(side, blocks, named=named) for side in sides))
        return found

    @property
    def complete(self) -> bool:
        """Whether one side has nothing left."""
        return len(self.pairs) == min(len(self.old.pair), len(self.new.pair))

    def free(self, old: int, new: int) -> bool:
        return self.old.pair[old] is None and self.new.pair[new] is None

    def add(self, old: int, new: int) -> None:
        self.old.pair[old] = self.new.pair[new] = len(self.pairs)
        self.pairs.append((old, new))

    def look(self, level: Level) -> bool:
        """Label both sides for the finders that come; whether that tells nodes apart otherwise."""
        numbers = Numbers()
        before = self.old.labels, self.new.labels
        for side in (self.old, self.new):
            nodes, weights = side.network.nodes, side.network.weights
            side.labels = {
                one: numbers.of(label(nodes[one], weights, level, self.blocks))
                for one in side.unmatched()
            }
        return before != (self.old.labels, self.new.labels)

    def find(self, finder: Finder) -> int:
        """Take every pair whose fingerprint no other node of either side has, and count them."""
        known = len(self.pairs)
        for old, new in finder(self.old, self.new):
            self.take_single(old, new)
        return len(self.pairs) - known

    def take_single(self, old: Keys, new: Keys) -> None:
        after = _groups(new)
        for key, nodes in _groups(old).items():
            others = after.get(key, [])
            if len(nodes) == len(others) == 1 and self.free(nodes[0], others[0]):
                self.add(nodes[0], others[0])

    # --- nodes that nothing tells apart ----------------------------------------------------------

    def take_in_order(self, old: Keys, new: Keys, *, even: bool = False) -> None:
        """Take those of the same name, then one after the other; each match may tell more apart.

        With `even`, only where there are as many on both sides.
        """
        after = _groups(new)
        for key, nodes in _groups(old).items():
            others = after.get(key, [])
            if not even or len(nodes) == len(others):
                for pair in self._in_order(nodes, others):
                    self.add(*pair)
                    self.spread([len(self.pairs) - 1])

    def finish(self) -> None:
        """Take what is left of the ends and of blocks that both sides have."""
        self.look(Level())
        keys = [_fixed(side, self.blocks, named=False) for side in (self.old, self.new)]
        self.take_in_order(keys[0], keys[1])

    def _in_order(self, nodes: list[int], others: list[int]) -> Iterator[tuple[int, int]]:
        names = {self.new.network.nodes[other].name: other for other in others}
        for node in nodes:
            same = names.get(self.old.network.nodes[node].name)
            if same is not None and self.free(node, same):
                yield node, same
        rest = iter(others)
        for node in nodes:
            if self.old.pair[node] is None:
                other = next((one for one in rest if self.new.pair[one] is None), None)
                if other is None:
                    return
                yield node, other

    # --- along the edges -------------------------------------------------------------------------

    def spread(self, start: Iterable[int] | None = None) -> None:
        """From pairs to what both nodes read at the same place, and to the only user of a kind."""
        queue = deque(self._border() if start is None else start)
        while queue:
            for old, new in self._beside(*self.pairs[queue.popleft()]):
                if self.free(old, new):
                    self.add(old, new)
                    queue.append(len(self.pairs) - 1)

    def _border(self) -> list[int]:
        """Pairs beside a node that is not matched."""
        side = self.old
        near = [
            side.pair[other]
            for node in side.unmatched()
            for other in (*side.network.inputs[node], *side.network.graph.succ[node])
        ]
        return sorted({pair for pair in near if pair is not None})

    def _beside(self, old: int, new: int) -> Iterator[tuple[int, int]]:
        read, others = self.old.network.inputs[old], self.new.network.inputs[new]
        if len(read) == len(others):
            for a, b in zip(read, others, strict=True):
                if self.free(a, b) and self.old.labels[a] == self.new.labels[b]:
                    yield a, b
        after = _users(self.new, new)
        for kind, nodes in _users(self.old, old).items():
            if len(nodes) == len(after.get(kind, ())) == 1:
                yield nodes[0], after[kind][0]


def _blocks(network: Network) -> set[str]:
    return {node.operator for node in network.nodes if node.operator.startswith(REGION)}


def _fixed(side: Side, blocks: Collection[str], *, named: bool) -> Keys:
    """What is paired by its name alone; without names, by being the only one left of its kind."""
    kinds = {*ENDS} if named else {*ENDS, *blocks}
    nodes = [(number, side.network.nodes[number]) for number in side.unmatched()]
    return {
        number: (node.operator, node.name if named else "")
        for number, node in nodes
        if node.operator in kinds
    }


def _users(side: Side, node: int) -> dict[Hashable, list[int]]:
    """Users that are not matched yet, by what they are and where they read the node."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for user, places in side.network.users[node]:
        if side.pair[user] is None:
            found[side.labels[user], places].append(user)
    return found


def _groups(keys: Keys) -> dict[Hashable, list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for node in sorted(keys):
        found[keys[node]].append(node)
    return found
