"""Pairs of graphs, written by hand or at random, for the tests of what is drawn of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import diffs

from symcompile.diff.drawing.picture import Box, Picture, picture
from symcompile.diff.result import NodeChange, NodesDiff
from symcompile.storage.schema import Node

Graph = tuple[Node, ...]


def graph(*rows: str) -> Graph:
    """From lines such as "add: linear x", a node and what it reads; its name is its operator."""
    found = []
    for row in rows:
        name, _, inputs = row.partition(":")
        operator = name if name in ("input", "output") else name.rstrip("0123456789")
        found.append(Node(name, operator, tuple(inputs.split())))
    return tuple(found)


def compared(old: Graph, new: Graph, *changed: str) -> NodesDiff:
    """Nodes of one name are the same; `changed` ones have another operator on the new side."""
    names = [node.name for node in new]
    pairs = tuple((node.name, node.name) for node in old if node.name in names)
    before, after = ({node.name: node for node in side} for side in (old, new))
    return NodesDiff(
        level="aten",
        pairs=pairs,
        added=tuple(node for node in new if node.name not in before),
        removed=tuple(node for node in old if node.name not in after),
        changed=tuple(
            NodeChange("changed", before[name], after[name], "arguments 1 -> 2") for name in changed
        ),
        old_nodes=old,
        new_nodes=new,
    )


# --- pairs ------------------------------------------------------------------------------

RESIDUAL = graph(
    "input:", "linear1: input", "relu1: linear1", "linear2: relu1", "add1: linear2 input",
    "linear3: add1", "relu2: linear3", "linear4: relu2", "add2: linear4 add1", "output: add2",
)  # fmt: skip


def inserted() -> NodesDiff:
    """A layer between relu2 and linear4."""
    new = list(RESIDUAL)
    place = [node.name for node in new].index("linear4")
    new[place : place + 1] = graph("extra1: relu2", "linear4: extra1")
    return compared(RESIDUAL, tuple(new))


def swapped() -> NodesDiff:
    """Two steps in the other order: edges of the old side run against the new order."""
    old = graph("input:", "norm: input", "tanh: norm", "linear: tanh", "output: linear")
    new = graph("input:", "tanh: input", "linear: tanh", "norm: linear", "output: norm")
    moved = [NodeChange("moved", o, n, "reads others") for o in old[1:4] for n in new
             if o.name == n.name]  # fmt: skip
    return replace(compared(old, new), changed=tuple(moved))


def rewired() -> NodesDiff:
    """A skip connection that starts elsewhere, and an input that goes to one more place."""
    new = list(RESIDUAL)
    new[8] = replace(new[8], inputs=("linear4", "input"))
    new[6] = replace(new[6], inputs=("linear3", "input"))
    return compared(RESIDUAL, tuple(new))


def branches(count: int = 7) -> NodesDiff:
    """Parallel branches of different length and with names of different length."""
    old = [Node("x", "input")]
    ends = []
    for k in range(count):
        last = "x"
        for j in range(k % 3 + 1):
            old.append(Node(f"{'wide_' * k}{j}_{k}", "aten.mul.Tensor", (last, "x")))
            last = old[-1].name
        ends.append(last)
    old.append(Node("cat", "aten.cat.default", tuple(ends)))
    new = [replace(node, inputs=tuple(i for i in node.inputs if i != ends[2])) for node in old]
    return compared(tuple(old), tuple(node for node in new if node.name != ends[2]))


def scattered(seed: int, count: int = 60, share: float = 0.2) -> NodesDiff:
    """A random graph, with nodes missing on either side."""
    rng = random.Random(seed)
    names = [f"n{k}" for k in range(count)]
    rows = [
        Node(name, "op", tuple(rng.sample(names[max(0, k - 12) : k], min(k, rng.randint(1, 3)))))
        for k, name in enumerate(names)
    ]
    old, new = (_without(rows, rng, share) for _ in range(2))
    shared = {row.name for row in old} & {row.name for row in new}
    return compared(old, new, *sorted(shared)[:5])


def _without(rows: list[Node], rng: random.Random, share: float) -> Graph:
    kept = [row for row in rows if rng.random() > share]
    names = {row.name for row in kept}
    return tuple(replace(row, inputs=tuple(i for i in row.inputs if i in names)) for row in kept)


def layers_of(count: int, changes: int, seed: int = 0) -> NodesDiff:
    """Residual layers, `changes` of whose nodes have another operator on the new side."""
    rows, last = [Node("input", "input")], "input"
    for k in range((count - 2) // 5):
        norm, up = Node(f"norm{k}", "norm", (last,)), Node(f"up{k}", "linear", (f"norm{k}",))
        gelu, down = Node(f"gelu{k}", "gelu", (f"up{k}",)), Node(f"d{k}", "linear", (f"gelu{k}",))
        rows += [norm, up, gelu, down, Node(f"add{k}", "add", (last, f"d{k}"))]
        last = f"add{k}"
    rows.append(Node("output", "output", (last,)))
    names = random.Random(seed).sample([row.name for row in rows[1:-1]], changes)
    new = [replace(row, operator="other") if row.name in names else row for row in rows]
    return compared(tuple(rows), tuple(new), *names)


def from_nothing() -> NodesDiff:
    return NodesDiff("aten", added=RESIDUAL, new_nodes=RESIDUAL)


CASES: dict[str, Callable[[], NodesDiff]] = {
    "inserted": inserted,
    "swapped": swapped,
    "rewired": rewired,
    "branches": branches,
    "same": lambda: compared(RESIDUAL, RESIDUAL),
    "from nothing": from_nothing,
    "by hand": diffs.graph,
    "large": lambda: layers_of(1000, 12),
    **{f"scattered {seed}": lambda seed=seed: scattered(seed) for seed in range(6)},
    "scattered, wide": lambda: scattered(9, 110, 0.1),
}


def chain(count: int) -> Graph:
    return tuple(Node(f"n{k}", "op", (f"n{k - 1}",) if k else ()) for k in range(count))


@cache
def drawn_case(case: str) -> Picture:
    return picture(CASES[case]())


def by_name(drawn: Picture, side: int) -> dict[str, Box]:
    return {box.face.name: box for box in drawn.boxes[side] if box.face.name}
