"""Random changes of random and of repetitive graphs: each is found, and nothing beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from node_graphs import (
    MUTATIONS,
    Graph,
    compared,
    mutated,
    random_graph,
    report,
    residual,
    several,
)

from symcompile.diff.node_matching import match

GRAPHS: dict[str, Callable[[int], Graph]] = {
    "with_weights": random_graph,
    "without_weights": lambda seed: random_graph(seed, weights=False),
    "residual": lambda seed: residual(4),
}
SIGNS = {"insert": "+", "remove": "-", "operator": "~", "attribute": "~", "rewire": ">"}


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("kind", MUTATIONS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_one_change_is_one_line(graph: str, kind: str, trained: bool) -> None:
    """All nodes have other names, and where it was trained all weights other values."""
    for seed in range(8):
        old = GRAPHS[graph](seed)
        new = mutated(old, kind, seed)
        found = report(old, new.retrained() if trained else new)
        assert len(found) <= 1, (seed, found)
        # Another source may be one that gives the same.
        assert found or kind == "rewire", seed
        assert all(SIGNS[kind] in line for line in found), (seed, found)


def shifted(name: str) -> str:
    return re.sub("[0-9]+", lambda number: str(int(number[0]) + 3), name)


def scrambled(name: str) -> str:
    return f"{sum(map(ord, name)) * 7919 % 10007}.{name[::-1]}"


@pytest.mark.parametrize("rename", [shifted, scrambled, "model.{}".format])
@pytest.mark.parametrize("kind", MUTATIONS)
def test_one_change_when_everything_has_other_names_and_values(
    kind: str, rename: Callable[[str], str]
) -> None:
    for seed in range(4):
        old = random_graph(seed)
        new = mutated(old, kind, seed).retrained()
        nodes = (replace(n, weights=tuple(map(rename, n.weights))) for n in new.nodes)
        new = Graph(tuple(nodes), {rename(name): one for name, one in new.weights.items()})
        assert len(report(old, new)) <= 1, seed


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("count", [3, 8])
def test_several_changes_are_hardly_more_lines(graph: str, count: int) -> None:
    """On the average no more than there were changes; some undo each other."""
    lines = [
        len(report(old, several(old, count, seed)))
        for seed in range(6)
        for old in [GRAPHS[graph](seed)]
    ]
    assert sum(lines) <= 6 * count * 1.25, lines


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_order_of_the_rows_changes_nothing(graph: str) -> None:
    for seed in range(6):
        old = GRAPHS[graph](seed)
        new = several(old, 3, seed)
        found = compared(old, new)
        again = compared(old.shuffled(seed), new.shuffled(seed + 1))
        assert replace(again, old_nodes=old.nodes, new_nodes=new.nodes) == found


@pytest.mark.parametrize("graph", GRAPHS)
def test_unrelated_graphs_are_matched_in_both_directions_alike(graph: str) -> None:
    for seed in range(4):
        compared(GRAPHS[graph](seed), random_graph(seed + 100, weights=seed % 2 == 0))


def test_other_names_of_all_nodes_are_no_change() -> None:
    for seed in range(6):
        old = random_graph(seed)
        new = old.shuffled(seed).renamed(lambda name: f"{hash(name) % 1009}_{name}")
        assert compared(old, new).same


def test_a_large_graph() -> None:
    """A thousand blocks alike, trained anew, with thirty changes among them."""
    old = residual(1000)
    new = several(old, 30, 0).retrained()
    weights = {"old_weights": old.weights, "new_weights": new.weights}
    found = match(old.nodes, new.nodes, **weights)
    assert len(found.added) + len(found.removed) + len(found.changed) <= 40
    assert len(found.pairs) > 4950
