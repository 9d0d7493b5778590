"""Match the nodes of two graphs by structure: which stayed, came, went, changed or moved.

Names of exported nodes are running numbers, a layer that comes in shifts the names of weights, and
training changes their digests: no key decides alone. So nodes are matched level by level, from what
can hardly be wrong to what is likely, and each level takes only what has no second candidate. What
was matched before is what later levels hold on to. Everything is close to linear in the edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symcompile.diff.matching.changes import node_changes
from symcompile.diff.matching.network import Network
from symcompile.diff.matching.plans import best_pairs
from symcompile.diff.result import NodesDiff
from symcompile.diff.snapshot import Node, Tensor


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
    networks = Network.of(old, old_weights), Network.of(new, new_weights)
    rows = [_rows(one) for one in networks]
    if rows[0] == rows[1]:
        pairs = [(k, k) for k in range(len(old))]
    elif rows[0] < rows[1]:
        pairs = best_pairs(*networks)
    else:  # Always the same way round, so that both ways round have the same answer.
        pairs = [(a, b) for b, a in best_pairs(networks[1], networks[0])]
    return _result(networks, pairs, old, new)


def _rows(network: Network) -> list[tuple[Any, ...]]:
    return [(n.name, n.operator, n.inputs, n.weights, n.attributes) for n in network.nodes]


def _result(
    networks: tuple[Network, Network],
    pairs: list[tuple[int, int]],
    old: tuple[Node, ...],
    new: tuple[Node, ...],
) -> NodesDiff:
    before, after = (one.nodes for one in networks)
    changed = node_changes(*networks, pairs)
    differ = {(change.old.name, change.new.name) for change in changed}
    names = [(before[a].name, after[b].name) for a, b in sorted(pairs)]
    left = set(range(len(before))).difference(a for a, _ in pairs)
    come = set(range(len(after))).difference(b for _, b in pairs)
    return NodesDiff(
        pairs=tuple(names),
        added=tuple(after[k] for k in sorted(come)),
        removed=tuple(before[k] for k in sorted(left)),
        changed=changed,
        renamed=tuple(pair for pair in names if pair[0] != pair[1] and pair not in differ),
        old_nodes=tuple(old),
        new_nodes=tuple(new),
    )
