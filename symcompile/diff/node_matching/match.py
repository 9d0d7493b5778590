"""Match the nodes of two graphs by structure: which stayed, came, went, changed or moved.

Names of exported nodes are running numbers, a layer that comes in shifts the names of weights, and
training changes their digests: no key decides alone. So nodes are matched level by level, from what
can hardly be wrong to what is likely, and each level takes only what has no second candidate. What
was matched before is what later levels hold on to. Everything is close to linear in the edges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from symcompile.diff.node_matching.changes import node_changes, shifts
from symcompile.diff.node_matching.fingerprints import (
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
from symcompile.diff.node_matching.network import Level, Network
from symcompile.diff.node_matching.pairing import NodePairing
from symcompile.diff.result import NodesDiff
from symcompile.storage.schema import Node, Tensor

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


class MatchingStep(NamedTuple):
    """A level, the finders that go over it, and whether pairs spread from there."""

    level: Level
    finders: tuple[Finder, ...]
    spread: bool = True


_SURE = (alone, upstream, downstream)
_BY_PLACE = (upstream, downstream, in_order)
# Weights that are the same are the surest sign there is.
_SAME_WEIGHTS = MatchingStep(Level(digests=True, shapes=True), _SURE)
_SAME_NAMES = MatchingStep(Level(names=True, shapes=True), _SURE)
_SAME_SHAPES = MatchingStep(Level(shapes=True), _BY_PLACE)
_REST = (
    MatchingStep(Level(), _BY_PLACE),
    # Other attributes, at last another operator.
    MatchingStep(Level(attributes=False), (upstream, downstream, in_gap)),
    MatchingStep(
        Level(attributes=False, operator=False),
        (both_ways, between, replaced),
        spread=False,
    ),
)
# With fewer digests in common the weights were trained anew, and those that stayed say little.
_ENOUGH = 0.25
# That names have shifted must explain so many differences to be more likely than those.
_SHIFT = 3


def best_pairs(old: Network, new: Network) -> Pairs:
    """(old, new) numbers of matched nodes, by the plan that leaves the least to report."""
    best, least = Pairs(), (math.inf, math.inf)
    for plan in _plans(old, new):
        pairs = _follow(plan, old, new)
        cost = _cost(old, new, pairs)
        if cost < least:
            best, least = pairs, cost
        if least[0] == abs(len(old) - len(new)):
            break  # no plan can leave less
    return best


def _plans(old: Network, new: Network) -> Iterator[tuple[MatchingStep, ...]]:
    """Retrained weights keep their names, but where layers are counted a new one shifts the names:
    nothing but the result can decide between the two."""
    digests = [{tensor.digest for tensor in net.weights.values()} - {""} for net in (old, new)]
    kept = len(digests[0] & digests[1]) >= _ENOUGH * min(map(len, digests))
    first = (_SAME_WEIGHTS,) * kept
    yield (*first, _SAME_NAMES, _SAME_SHAPES, *_REST)
    if any(node.weights for node in old.nodes):
        # Where names shift, a name alone says nothing.
        near = _SAME_NAMES._replace(finders=(upstream, downstream))
        yield (*first, _SAME_SHAPES, near, *_REST)


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
