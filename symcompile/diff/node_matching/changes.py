"""In which way two matched nodes are not the same: other operator, arguments, weights or inputs.

What an added or a removed node explains, such as reading a layer that came in between, is no
difference of its own; neither is another name of a weight, if it is the same weight.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import networkx as nx

from symcompile.diff.node_matching.network import Network, Origin, nearest
from symcompile.diff.result import NodeChange

# (old, new) qualified name of a weight.
Rename = tuple[str, str]
# What differs between two names part by part: numbers by how much, anything else as it is.
Shift = tuple[int | Rename, ...]

_MOST = 4  # nodes or arguments that a sentence names
_SHOWN = 60  # characters of an argument
_LONG = 40  # digits
_PART = re.compile("[0-9]+|[^0-9._]+")
_KEYWORD = re.compile(r"[A-Za-z_]\w*=")
# In texts of arguments % stands for the next node and @ for the next weight that are read.
_SIGNS = {"%": "a node", "@": "a weight"}
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
# Whole texts, brackets and separators: everything else is passed over.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][(){}]|[,;] ')


def node_changes(
    old: Network, new: Network, pairs: Sequence[tuple[int, int]]
) -> tuple[NodeChange, ...]:
    """The matched nodes that differ, in the order of the new side."""
    sides = _side(old, [a for a, _ in pairs]), _side(new, [b for _, b in pairs])
    renamed = renames(old, new, pairs)
    changes = []
    for a, b in sorted(pairs, key=lambda pair: pair[1]):
        changed = [*_changed(old, new, a, b), *_other_weights(old, new, a, b, renamed)]
        moved = list(_moved(*sides, a, b))
        if changed or moved:
            change = "changed" if changed else "moved"
            what = "; ".join(changed + moved)
            changes.append(NodeChange(change, old.nodes[a], new.nodes[b], what))
    return tuple(changes)


# --- another operator or argument ----------------------------------------------------------------


def _changed(old: Network, new: Network, a: int, b: int) -> Iterator[str]:
    """What a block computes is not said here, nor what an input is called."""
    before, after = old.nodes[a], new.nodes[b]
    if before.operator != after.operator and after.region is None:
        yield f"{shortened(after.operator)} instead of {shortened(before.operator)}"
    elif after.operator != "input" and before.attributes != after.attributes:
        yield from argument_changes(before.attributes, after.attributes)


def argument_changes(old: str, new: str) -> Iterator[str]:
    """Each argument that differs, or came or went at the end; else the two texts as they are."""
    before, after = arguments(old), arguments(new)
    other = [k for k, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]]
    if len(before) != len(after) and other:
        yield f"arguments ({shortened(new)}) instead of ({shortened(old)})"
        return
    sentences = [_instead_of(k, before[k], after[k]) for k in other]
    sentences += [f"{_called(k, after[k])} is new" for k in range(len(before), len(after))]
    sentences += [f"{_called(k, before[k])} is gone" for k in range(len(after), len(before))]
    yield from sentences[:_MOST]
    if len(sentences) > _MOST:
        yield f"{len(sentences) - _MOST:,} more arguments differ"


def arguments(text: str) -> list[str]:
    """The arguments one by one: what ", " or "; " separates outside of brackets and quotes."""
    texts, start, depth = [], 0, 0
    for token in _TOKEN.finditer(text):
        depth += _BRACKETS.get(token[0], 0)
        if depth <= 0 and token[0] in (", ", "; "):
            texts.append(text[start : token.start()])
            start = token.end()
    return [*texts, text[start:]] if text else []


def shortened(text: str) -> str:
    """Text of a bounded length."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _instead_of(place: int, old: str, new: str) -> str:
    before, after = (shortened(_SIGNS.get(argument, argument)) for argument in (old, new))
    named = _KEYWORD.match(old)
    lead = "" if named and new.startswith(named[0]) else f"argument {place + 1} is "
    return f"{lead}{after} instead of {before}"


def _called(place: int, argument: str) -> str:
    shown = shortened(_SIGNS.get(argument, argument))
    return shown if _KEYWORD.match(argument) else f"argument {place + 1} ({shown})"


def _came_and_went(kind: str, gone: set[str], come: set[str]) -> Iterator[str]:
    if come:
        yield f"reads {kind}{_listed(sorted(come))} too"
    if gone:
        yield f"no longer reads {kind}{_listed(sorted(gone))}"


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - _MOST:,} more"] if len(names) > _MOST else []
    return ", ".join([*map(shortened, names[:_MOST]), *more])


# --- other weights -------------------------------------------------------------------------------


def _other_weights(
    old: Network, new: Network, a: int, b: int, renamed: set[Rename]
) -> Iterator[str]:
    before, after = old.nodes[a].weights, new.nodes[b].weights
    if len(before) != len(after):
        yield from _came_and_went("weight ", set(before) - set(after), set(after) - set(before))
        return
    for names in zip(before, after, strict=True):
        if names[0] != names[1] and names not in renamed:
            yield f"reads weight {shortened(names[1])} instead of {shortened(names[0])}"


def renames(old: Network, new: Network, pairs: Sequence[tuple[int, int]]) -> set[Rename]:
    """Names at the same place of matched nodes that stand for one weight.

    Either the digests say so, or every node that read the one reads the other, as when a layer that
    came in shifts the numbers of those behind it. Two kinds of these are no renames: weights that
    changed places among themselves, since no layer that came or went does that, and reads of
    another weight where both weights are what they were.
    """
    kept, other = _met(old, new, pairs)
    partners: dict[tuple[int, str], set[str]] = defaultdict(set)
    for a, b in kept | other:
        partners[0, a].add(b)
        partners[1, b].add(a)
    rings = nx.strongly_connected_components(nx.DiGraph(sorted(other)))
    ring = {name: number for number, names in enumerate(rings) for name in names}
    return kept | {
        (a, b)
        for a, b in other
        if len(partners[0, a]) == len(partners[1, b]) == 1
        and ring[a] != ring[b]
        and not (_same(old, new, a, a) and _same(old, new, b, b))
    }


def shifts(old: Network, new: Network, pairs: Sequence[tuple[int, int]]) -> set[Shift]:
    """In which ways names differ where nothing but the place says that the weight is the same.

    A layer that came in shifts any number of names in one way.
    """
    return {_shift(a, b) for a, b in _met(old, new, pairs)[1]}


def _met(
    old: Network, new: Network, pairs: Sequence[tuple[int, int]]
) -> tuple[set[Rename], set[Rename]]:
    """Names at the same place: those that stay or whose weight does, and the others."""
    met = {
        names
        for a, b in pairs
        for names in zip(old.nodes[a].weights, new.nodes[b].weights, strict=False)
    }
    kept = {(a, b) for a, b in met if a == b or _same(old, new, a, b)}
    return kept, met - kept


def _same(old: Network, new: Network, a: str, b: str) -> bool:
    """Whether two weights are known to have the same values."""
    before, after = old.weights.get(a), new.weights.get(b)
    return before is not None and after is not None and before.digest == after.digest != ""


def _shift(old: str, new: str) -> Shift:
    before, after = _PART.findall(old), _PART.findall(new)
    if len(before) != len(after):
        return ((old, new),)
    return tuple(
        int(b) - int(a) if a.isdecimal() and b.isdecimal() and len(a) + len(b) < _LONG else (a, b)
        for a, b in zip(before, after, strict=True)
        if a != b
    )


# --- other inputs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sources:
    """Where values come from on one side.

    Attributes:
        matched: the node of each pair.
        pair: the pair of each node, None if it is in none.
        origins: nearest pairs upstream, so that a chain of added nodes stands for where it begins.
    """

    network: Network
    matched: Sequence[int]
    pair: list[int | None]
    origins: list[Origin]

    def names(self, nodes: Sequence[int]) -> list[str]:
        return [self.network.nodes[node].name for node in nodes]


def _side(network: Network, matched: Sequence[int]) -> _Sources:
    pair: list[int | None] = [None] * len(network)
    for number, node in enumerate(matched):
        pair[node] = number
    return _Sources(network, matched, pair, nearest(network.inputs, pair))


def _moved(old: _Sources, new: _Sources, a: int, b: int) -> Iterator[str]:
    before, after = old.network.inputs[a], new.network.inputs[b]
    if len(before) != len(after):
        gone, come = _only(old, new, before, after), _only(new, old, after, before)
        yield from _came_and_went("", gone, come)
        if not (gone or come):
            yield f"reads {len(after)} instead of {len(before)} nodes"
        return
    other = [pair for pair in zip(before, after, strict=True) if not _same_origin(old, new, *pair)]
    left, right = [a for a, _ in other], [b for _, b in other]
    lost = Counter(old.pair[node] for node in left)
    if other and None not in lost and lost == Counter(new.pair[node] for node in right):
        names = _listed(new.names(right)), _listed(old.names(left))
        yield f"its inputs changed places: {names[0]} instead of {names[1]}"
    else:
        yield from dict.fromkeys(_instead(old, new, *pair) for pair in other)


def _same_origin(old: _Sources, new: _Sources, a: int, b: int) -> bool:
    """Whether both are a pair, or come from the same place by nodes of one side only."""
    if old.pair[a] is not None and new.pair[b] is not None:
        return old.pair[a] == new.pair[b]
    before, after = old.origins[a], new.origins[b]
    return before is None or after is None or before == after or bool(before & after)


def _only(side: _Sources, other: _Sources, here: Sequence[int], there: Sequence[int]) -> set[str]:
    """Names of what is read here and has no counterpart there."""
    kept = {other.pair[node] for node in there} - {None}
    return set(side.names([node for node in here if side.pair[node] not in kept]))


def _instead(old: _Sources, new: _Sources, a: int, b: int) -> str:
    """What the old node reads is called by its old name, and by its new one where that is other."""
    before, after = old.network.nodes[a].name, new.network.nodes[b].name
    pair = old.pair[a]
    now = before if pair is None else new.network.nodes[new.matched[pair]].name
    called = shortened(before) + (f" (now {shortened(now)})" if now != before else "")
    return f"reads {shortened(after)} instead of {called}"
