"""Match the nodes of two graphs by structure: which stayed, came, went, changed or moved.

Names of exported nodes are running numbers, a layer that comes in shifts the names of weights, and
training changes their digests: no key decides alone. So nodes are matched level by level, from what
can hardly be wrong to what is likely, and each level takes only what has no second candidate. What
was matched before is what later levels hold on to. Everything is close to linear in the edges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from symcompile.diff.matching.changes import node_changes, shifts
from symcompile.diff.matching.fingerprints import (
    Finder,
    alone,
    between,
    both_ways,
    downstream,
    in_gap,
    in_order,
    replaced,
    upstream,
)
from symcompile.diff.matching.network import Level, Network
from symcompile.diff.matching.pairing import NodePairing
from symcompile.diff.result import NodesDiff
from symcompile.diff.snapshot import Node, Tensor

Pairs = list[tuple[int, int]]


def match(
    old: tuple[Node, ...],
    new: tuple[Node, ...],
    *,
    old_weights: Mapping[str, Tensor],
    new_weights: Mapping[str, Tensor],
) -> NodesDiff:
    """Match two graphs of the same level; the order of independent rows changes nothing.

    Exchanging the sides exchanges added and removed and swaps the pairs, nothing else.
    """
    before, after = Network.of(old, old_weights), Network.of(new, new_weights)
    rows = [[(n.name, n.operator, n.inputs, n.weights, n.attributes) for n in network.nodes]
            for network in (before, after)]  # fmt: skip
    if rows[0] == rows[1]:
        pairs = [(k, k) for k in range(len(old))]
    elif rows[0] < rows[1]:
        pairs = best_pairs(before, after)
    else:  # Always the same way round, so that both ways round have the same answer.
        pairs = [(a, b) for b, a in best_pairs(after, before)]
    changed = node_changes(before, after, pairs)
    differ = {(change.old.name, change.new.name) for change in changed}
    names = [(before.nodes[a].name, after.nodes[b].name) for a, b in sorted(pairs)]
    left = set(range(len(before))).difference(a for a, _ in pairs)
    come = set(range(len(after))).difference(b for _, b in pairs)
    return NodesDiff(
        pairs=tuple(names),
        added=tuple(after.nodes[k] for k in sorted(come)),
        removed=tuple(before.nodes[k] for k in sorted(left)),
        changed=changed,
        renamed=tuple(pair for pair in names if pair[0] != pair[1] and pair not in differ),
        old_nodes=tuple(old),
        new_nodes=tuple(new),
    )


# --- plans: in which order nodes are matched -----------------------------------------------------


@dataclass(frozen=True)
class MatchingStep:
    """A level, the finders that go over it, whether pairs spread, and whether ties are settled."""

    level: Level
    finders: tuple[Finder, ...]
    spread: bool = True
    ties: bool = False


_ALL = (both_ways, upstream, downstream)
# Weights that are the same are the surest sign there is.
_SURE = (both_ways, alone, upstream, downstream)

_SAME_WEIGHTS = (
    MatchingStep(Level(names=True, digests=True, shapes=True), _SURE),
    MatchingStep(Level(digests=True, shapes=True), _SURE),
)
_SAME_NAMES = MatchingStep(Level(names=True, shapes=True), _SURE)
_SAME_SHAPES = MatchingStep(Level(shapes=True), (*_ALL, in_order))
_REST = (
    MatchingStep(Level(names=True), (*_ALL, alone)),
    MatchingStep(Level(), (*_ALL, in_order, in_gap), ties=True),
    # The same place, or the same weights, but other attributes; at last another operator.
    MatchingStep(Level(names=True, attributes=False), (alone,)),
    MatchingStep(Level(attributes=False), (*_ALL, in_gap)),
    MatchingStep(
        Level(attributes=False, operator=False), (both_ways, between, replaced), spread=False
    ),
)
# With fewer digests in common the weights were trained anew, and those that stayed say little.
_ENOUGH = 0.25
# That names have shifted must explain so many differences to be more likely than those.
_SHIFT = 3
# With more differences it does not matter which of two twins stayed.
_MANY = 100


def best_pairs(old: Network, new: Network) -> Pairs:
    """(old, new) numbers of matched nodes, by the plan that leaves the least to report."""
    best, least = Pairs(), (math.inf, math.inf)
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


def _plans(old: Network, new: Network) -> list[tuple[MatchingStep, ...]]:
    """What nothing but the result can decide between.

    Retrained weights keep their names, but where layers are counted a new one shifts the names. And
    of two nodes alike in a row that became one, either may be the one that is left.
    """
    digests = [{tensor.digest for tensor in net.weights.values()} - {""} for net in (old, new)]
    kept = len(digests[0] & digests[1]) >= _ENOUGH * min(map(len, digests))
    by_name = (*(_SAME_WEIGHTS if kept else ()), _SAME_NAMES, _SAME_SHAPES, *_REST)
    near = replace(_SAME_NAMES, finders=_ALL)  # where names shift, a name alone says nothing
    by_shape = (*(_SAME_WEIGHTS[1:] if kept else ()), _SAME_SHAPES, near, *_REST)
    turned: dict[Finder, Finder] = {upstream: downstream, downstream: upstream}
    from_below = tuple(
        replace(step, finders=tuple(turned.get(finder, finder) for finder in step.finders))
        for step in by_name
    )
    weights = any(node.weights for node in old.nodes)
    return [by_name, by_shape, from_below] if weights else [by_name, from_below]


def _follow(plan: Sequence[MatchingStep], old: Network, new: Network) -> Pairs:
    pairing = NodePairing(old, new)
    for step in plan:
        if pairing.complete:
            break
        pairing.look(step.level)
        for finder in step.finders:
            pairing.find(finder)
        if step.spread:
            pairing.spread()
        if step.ties:
            for finder in _ALL:
                pairing.settle(finder)
            pairing.settle(in_gap, even=True)
    pairing.finish()
    return pairing.pairs


def _cost(old: Network, new: Network, pairs: Pairs) -> tuple[float, float]:
    """How much is there to report and to believe; how much of it is there to report."""
    left = len(old) + len(new) - 2 * len(pairs)
    reshaped = sum(_shapes(old, a) != _shapes(new, b) for a, b in pairs)
    reported = left + reshaped + len(node_changes(old, new, pairs))
    return reported + _SHIFT * len(shifts(old, new, pairs)), reported


def _shapes(network: Network, node: int) -> list[Any]:
    read = [network.weights.get(name) for name in network.nodes[node].weights]
    return [tensor and (tensor.dtype, tensor.shape) for tensor in read]
