"""Which weights only have another name now, told from the nodes that read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from symcompile.diff.matching.network import Network

# (old, new) qualified name.
Rename = tuple[str, str]
# What differs between two names part by part: numbers by how much, anything else as it is.
Shift = tuple[int | Rename, ...]

_PART = re.compile("[0-9]+|[^0-9._]+")
_LONG = 40  # digits


def renames(old: Network, new: Network, pairs: Sequence[tuple[int, int]]) -> set[Rename]:
    """Names at the same place of matched nodes that stand for one weight.

    Either the digests say so, or every node that read the one reads the other, as when a layer that
    came in shifts the numbers of those behind it.
    """
    met = _met(old, new, pairs)
    kept = {(a, b) for a, b in met if a == b or _digest(old, a) == _digest(new, b) != ""}
    return kept | (_one_to_one(met) - _exchanged(met - kept) - _another(old, new, met - kept))


def shifts(old: Network, new: Network, pairs: Sequence[tuple[int, int]]) -> set[Shift]:
    """In which ways names differ where nothing but the place says that the weight is the same.

    A layer that came in shifts any number of names in one way.
    """
    return {
        _shift(a, b)
        for a, b in _met(old, new, pairs)
        if a != b and not _digest(old, a) == _digest(new, b) != ""
    }


def _shift(old: str, new: str) -> Shift:
    before, after = _PART.findall(old), _PART.findall(new)
    if len(before) != len(after):
        return ((old, new),)
    return tuple(_step(a, b) for a, b in zip(before, after, strict=True) if a != b)


def _step(old: str, new: str) -> int | Rename:
    number = old.isdecimal() and new.isdecimal() and len(old) + len(new) < _LONG
    return int(new) - int(old) if number else (old, new)


def _met(old: Network, new: Network, pairs: Sequence[tuple[int, int]]) -> set[Rename]:
    return {
        names
        for a, b in pairs
        for names in zip(old.nodes[a].weights, new.nodes[b].weights, strict=False)
    }


def _digest(network: Network, name: str) -> str:
    tensor = network.weights.get(name)
    return "" if tensor is None else tensor.digest


def _one_to_one(met: set[Rename]) -> set[Rename]:
    partners: dict[tuple[int, str], set[str]] = {}
    for a, b in met:
        partners.setdefault((0, a), set()).add(b)
        partners.setdefault((1, b), set()).add(a)
    return {(a, b) for a, b in met if len(partners[0, a]) == len(partners[1, b]) == 1}


def _exchanged(met: set[Rename]) -> set[Rename]:
    """Weights that changed places among themselves: no layer that came or went does that."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_edges_from(sorted(met))
    rings = nx.strongly_connected_components(graph)
    ring = {name: number for number, names in enumerate(rings) for name in names}
    return {(a, b) for a, b in met if ring[a] == ring[b]}


def _another(old: Network, new: Network, met: set[Rename]) -> set[Rename]:
    """Reads of another weight, where both weights are what they were: the reading changed."""
    return {
        (a, b)
        for a, b in met
        if _digest(old, a) == _digest(new, a) != "" and _digest(old, b) == _digest(new, b) != ""
    }
