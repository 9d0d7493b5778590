"""What the matching of nodes is made of: alignment, argument texts, the order of names."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from symcompile.diff.node_matching.alignment import align
from symcompile.diff.node_matching.changes import argument_changes, arguments
from symcompile.diff.node_matching.network import natural, nearest


def longest_common(old: list[int], new: list[int]) -> int:
    """By the table of all prefixes."""
    above = [0] * (len(new) + 1)
    for a in old:
        row = [0]
        for k, b in enumerate(new):
            row.append(above[k] + 1 if a == b else max(above[k + 1], row[-1]))
        above = row
    return above[-1]


@pytest.mark.parametrize("kinds", [1, 2, 4, 30])
def test_an_alignment_leaves_out_as_little_as_possible(kinds: int) -> None:
    chance = random.Random(kinds)
    for _ in range(200):
        old, new = ([chance.randrange(kinds) for _ in range(chance.randrange(12))] for _ in "ab")
        found = align(old, new)
        assert all(old[a] == new[b] for a, b in found)
        assert all(a < c and b < d for (a, b), (c, d) in pairwise(found))
        assert len(found) == longest_common(old, new)


def test_an_alignment_gives_up_on_what_has_nothing_in_common() -> None:
    assert align(range(5000), range(5000, 10000)) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("%, 1", "%, 2", ["argument 2 is 2 instead of 1"]),
        ("%, dim=1", "%, dim=2", ["dim=2 instead of dim=1"]),
        ("%, %", "%, @", ["argument 2 is a weight instead of a node"]),
        ("%, [1, 2], 3", "%, [1, 4], 3", ["argument 2 is [1, 4] instead of [1, 2]"]),
        ("%; p=0.5, inplace=False", "%; p=0.1, inplace=False", ["p=0.1 instead of p=0.5"]),
        ("%", "%, a=1, b=2", ["a=1 is new", "b=2 is new"]),
        ("%, 1", "", ["argument 1 (a node) is gone", "argument 2 (1) is gone"]),
        ("a=1, %", "%", ["arguments (%) instead of (a=1, %)"]),
        ('"a, b", 1', '"a, c", 1', ['argument 1 is "a, c" instead of "a, b"']),
        (
            "1, 2, 3, 4, 5, 6",
            "0, 0, 0, 0, 0, 0",
            [*(f"argument {k} is 0 instead of {k}" for k in (1, 2, 3, 4)),
             "2 more arguments differ"],
        ),
    ],
)  # fmt: skip
def test_arguments_are_compared_one_by_one(old: str, new: str, expected: list[str]) -> None:
    assert list(argument_changes(old, new)) == expected


def test_arguments_whose_brackets_do_not_match() -> None:
    assert arguments("1), 2, [3") == ["1)", "2", "[3"]
    assert arguments('"open, 1') == ['"open', "1"]


def test_names_are_sorted_by_their_numbers() -> None:
    names = ["linear_10", "linear_9", "linear", "a", "", "1", "linear_09", "10b2", "10b10"]
    assert sorted(names, key=natural) == [
        "", "1", "10b2", "10b10", "a", "linear", "linear_09", "linear_9", "linear_10"
    ]  # fmt: skip


def test_the_nearest_matched_nodes_in_both_directions() -> None:
    """A chain of five of which the ends are matched, and a node that reads both of them."""
    reads = [[], [0], [1], [2], [3], [0, 4], [5, 3]]
    pair = [7, None, None, None, 8, None, None]
    first, last = frozenset({7}), frozenset({8})
    assert nearest(reads, pair) == [first, first, first, first, last, first | last, first | last]
    users = [[1, 5], [2], [3], [4, 6], [5], [6], []]
    nothing = frozenset[int]()
    assert nearest(users, pair, reverse=True) == [
        first, last, last, last, last, nothing, nothing
    ]  # fmt: skip


def test_too_many_matched_nodes_are_none() -> None:
    reads = [[] for _ in range(40)] + [list(range(40)), [40], [0]]
    pair = [*range(40), None, None, None]
    assert nearest(reads, pair)[40:] == [None, None, frozenset({0})]
