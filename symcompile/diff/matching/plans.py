"""In which order nodes are matched: from what can hardly be wrong to what is likely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from symcompile.diff.matching.changes import node_changes
from symcompile.diff.matching.fingerprints import (
    Finder,
    alone,
    around,
    between,
    both_ways,
    downstream,
    in_gap,
    in_order,
    replaced,
    upstream,
)
from symcompile.diff.matching.network import Level, Network
from symcompile.diff.matching.propagation import Pairing
from symcompile.diff.matching.renames import shifts


@dataclass(frozen=True)
class Step:
    """A level, the finders that go over it, whether pairs spread, and whether ties are settled."""

    level: Level
    finders: tuple[Finder, ...]
    spread: bool = True
    ties: bool = False


_ALL = (both_ways, upstream, downstream, around)
# Weights that are the same are the surest sign there is.
_SURE = (both_ways, alone, upstream, downstream, around)

_SAME_WEIGHTS = (
    Step(Level(names=True, digests=True, shapes=True), _SURE),
    Step(Level(digests=True, shapes=True), _SURE),
)
_SAME_NAMES = Step(Level(names=True, shapes=True), _SURE)
_SAME_SHAPES = Step(Level(shapes=True), (*_ALL, in_order))
_REST = (
    Step(Level(names=True), (*_ALL, alone)),
    Step(Level(), (*_ALL, in_order, in_gap), ties=True),
    # The same place, or the same weights, but other attributes; at last another operator.
    Step(Level(names=True, attributes=False), (alone,)),
    Step(Level(attributes=False), (both_ways, upstream, downstream, in_gap)),
    Step(Level(attributes=False, operator=False), (both_ways, between, replaced), spread=False),
)
# With fewer digests in common the weights were trained anew, and those that stayed say little.
_ENOUGH = 0.25
# That names have shifted must explain so many differences to be more likely than those.
_SHIFT = 3
# With more differences it does not matter which of two twins stayed.
_MANY = 100


def best_pairs(old: Network, new: Network) -> list[tuple[int, int]]:
    """(old, new) numbers of matched nodes, by the plan that leaves the least to report."""
    best, least = list[tuple[int, int]](), (math.inf, math.inf)
    *plans, from_below = _plans(old, new)
    for plan in (*plans, from_below):
        if plan is from_below and least[0] > _MANY:
            break
        pairs = _follow(plan, old, new)
        cost = _cost(old, new, pairs)
        if cost < least:
            best, least = pairs, cost
        if least[0] == abs(len(old) - len(new)):
            break  # no plan can leave less
    return best


def _cost(old: Network, new: Network, pairs: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """How much is there to report and to believe; how much of it is there to report."""
    left = len(old) + len(new) - 2 * len(pairs)
    reshaped = sum(_shapes(old, a) != _shapes(new, b) for a, b in pairs)
    differ = len(node_changes(old, new, pairs))
    reported = left + reshaped + differ
    return reported + _SHIFT * len(shifts(old, new, pairs)), reported


def _shapes(network: Network, node: int) -> list[Any]:
    read = [network.weights.get(name) for name in network.nodes[node].weights]
    return [tensor and (tensor.dtype, tensor.shape) for tensor in read]


def _plans(old: Network, new: Network) -> list[tuple[Step, ...]]:
    """What nothing but the result can decide between.

    Retrained weights keep their names, but where layers are counted a new one shifts the names. And
    of two nodes alike in a row that became one, either may be the one that is left.
    """
    digests = [{tensor.digest for tensor in one.weights.values()} - {""} for one in (old, new)]
    kept = len(digests[0] & digests[1]) >= _ENOUGH * min(map(len, digests))
    by_name = (*(_SAME_WEIGHTS if kept else ()), _SAME_NAMES, _SAME_SHAPES, *_REST)
    near = replace(_SAME_NAMES, finders=_ALL)  # where names shift, a name alone says nothing
    by_shape = (*(_SAME_WEIGHTS[1:] if kept else ()), _SAME_SHAPES, near, *_REST)
    from_below = tuple(replace(step, finders=_turned(step.finders)) for step in by_name)
    weights = any(node.weights for node in old.nodes)
    return [by_name, by_shape, from_below] if weights else [by_name, from_below]


def _turned(finders: Sequence[Finder]) -> tuple[Finder, ...]:
    """The same from below."""
    other: dict[Finder, Finder] = {upstream: downstream, downstream: upstream}
    return tuple(other.get(finder, finder) for finder in finders)


def _follow(plan: Sequence[Step], old: Network, new: Network) -> list[tuple[int, int]]:
    pairing = Pairing.of(old, new)
    done: set[Finder] = set()  # finders that have nothing to say as things stand
    for step in plan:
        if pairing.complete:
            break
        if pairing.look(step.level):
            done.clear()
        for finder in step.finders:
            if finder not in done:
                done = {*done, finder} if pairing.find(finder) == 0 else set()
        known = len(pairing.pairs)
        if step.spread:
            pairing.spread()
        if step.ties:
            _settle(pairing)
        if len(pairing.pairs) != known:
            done.clear()
    pairing.finish()
    return pairing.pairs


def _settle(pairing: Pairing) -> None:
    for finder in (both_ways, upstream, downstream):
        for keys in finder(pairing.old, pairing.new):
            pairing.take_in_order(*keys)
    for keys in in_gap(pairing.old, pairing.new):
        pairing.take_in_order(*keys, even=True)
