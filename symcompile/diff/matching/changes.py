"""In which way two matched nodes are not the same: other operator, arguments, weights or inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from symcompile.diff.matching.arguments import argument_changes, shortened
from symcompile.diff.matching.network import REGION, Network, Pairs, nearest
from symcompile.diff.matching.renames import Rename, renames
from symcompile.diff.result import NodeChange

_MOST = 4  # nodes that a sentence names


def node_changes(
    old: Network, new: Network, pairs: Sequence[tuple[int, int]]
) -> tuple[NodeChange, ...]:
    """The matched nodes that differ, in the order of the new side.

    What an added or a removed node explains, such as reading a layer that came in between, is no
    difference of its own; neither is another name of a weight, if it is the same weight.
    """
    sides = _side(old, [a for a, _ in pairs]), _side(new, [b for _, b in pairs])
    known = renames(old, new, pairs)
    found = []
    for a, b in sorted(pairs, key=lambda pair: pair[1]):
        changed = [*_changed(old, new, a, b), *_other_weights(old, new, a, b, known)]
        moved = list(_moved(*sides, a, b))
        if changed or moved:
            change = "changed" if changed else "moved"
            what = "; ".join(changed + moved)
            found.append(NodeChange(change, old.nodes[a], new.nodes[b], what))
    return tuple(found)


# --- another operator, argument or weight --------------------------------------------------------


def _changed(old: Network, new: Network, a: int, b: int) -> Iterator[str]:
    """What a block computes is not said here, nor what an input is called."""
    before, after = old.nodes[a], new.nodes[b]
    if before.operator != after.operator and not after.operator.startswith(REGION):
        yield f"{shortened(after.operator)} instead of {shortened(before.operator)}"
    elif after.operator != "input" and before.attributes != after.attributes:
        yield from argument_changes(before.attributes, after.attributes)


def _other_weights(old: Network, new: Network, a: int, b: int, known: set[Rename]) -> Iterator[str]:
    before, after = old.nodes[a].weights, new.nodes[b].weights
    if len(before) != len(after):
        yield from _came_and_went("weight ", set(before) - set(after), set(after) - set(before))
        return
    for one, other in zip(before, after, strict=True):
        if one != other and (one, other) not in known:
            yield f"reads weight {shortened(other)} instead of {shortened(one)}"


def _came_and_went(kind: str, gone: set[str], come: set[str]) -> Iterator[str]:
    if come:
        yield f"reads {kind}{_listed(sorted(come))} too"
    if gone:
        yield f"no longer reads {kind}{_listed(sorted(gone))}"


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - _MOST:,} more"] if len(names) > _MOST else []
    return ", ".join([*map(shortened, names[:_MOST]), *more])


# --- other inputs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    """Where values come from on one side.

    Attributes:
        matched: the node of each pair.
        pair: the pair of each node, None if it is in none.
        origins: nearest pairs upstream, so that a chain of added nodes stands for where it begins.
    """

    network: Network
    matched: Sequence[int]
    pair: list[int | None]
    origins: list[Pairs]

    def names(self, nodes: Sequence[int]) -> list[str]:
        return [self.network.nodes[node].name for node in nodes]


def _side(network: Network, matched: Sequence[int]) -> _Side:
    pair: list[int | None] = [None] * len(network)
    for number, node in enumerate(matched):
        pair[node] = number
    return _Side(network, matched, pair, nearest(network.inputs, pair))


def _moved(old: _Side, new: _Side, a: int, b: int) -> Iterator[str]:
    before, after = old.network.inputs[a], new.network.inputs[b]
    if len(before) != len(after):
        yield from _more_or_fewer(old, new, before, after)
        return
    other = [pair for pair in zip(before, after, strict=True) if not _same_origin(old, new, *pair)]
    gone, come = [one for one, _ in other], [one for _, one in other]
    if other and _same_nodes(old, new, gone, come):
        names = _listed(new.names(come)), _listed(old.names(gone))
        yield f"its inputs changed places: {names[0]} instead of {names[1]}"
    elif other:
        yield from dict.fromkeys(_instead(old, new, *pair) for pair in other)


def _same_nodes(old: _Side, new: _Side, gone: Sequence[int], come: Sequence[int]) -> bool:
    """Whether these are the same matched nodes in another order."""
    before = Counter(old.pair[node] for node in gone)
    return None not in before and before == Counter(new.pair[node] for node in come)


def _more_or_fewer(
    old: _Side, new: _Side, before: Sequence[int], after: Sequence[int]
) -> Iterator[str]:
    gone, come = _only(old, new, before, after), _only(new, old, after, before)
    if gone or come:
        yield from _came_and_went("", gone, come)
    else:
        yield f"reads {len(after)} instead of {len(before)} nodes"


def _same_origin(old: _Side, new: _Side, one: int, other: int) -> bool:
    """Whether both are a pair, or come from the same place by nodes of one side only."""
    if old.pair[one] is not None and new.pair[other] is not None:
        return old.pair[one] == new.pair[other]
    a, b = old.origins[one], new.origins[other]
    return a is None or b is None or a == b or bool(a & b)


def _only(side: _Side, other: _Side, here: Sequence[int], there: Sequence[int]) -> set[str]:
    """Names of what is read here and has no counterpart there."""
    kept = {other.pair[node] for node in there} - {None}
    return set(side.names([node for node in here if side.pair[node] not in kept]))


def _instead(old: _Side, new: _Side, one: int, other: int) -> str:
    """What the old node reads is called by its old name, and by its new one where that is other."""
    before, after = old.network.nodes[one].name, new.network.nodes[other].name
    pair = old.pair[one]
    now = before if pair is None else new.network.nodes[new.matched[pair]].name
    called = shortened(before) + (f" (now {shortened(now)})" if now != before else "")
    return f"reads {shortened(after)} instead of {called}"
