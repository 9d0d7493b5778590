"""Graphs of nodes for tests: written as lines of text, and changed at random."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from symcompile.diff.node_matching import match
from symcompile.diff.result import NodesDiff
from symcompile.storage.schema import Node, Shape, Tensor

_SQUARE: Mapping[str, Shape] = {}
_LINE = re.compile(r"(\S+) = ([^\s(]+)\((.*)\)")


@dataclass(frozen=True)
class Graph:
    """One side of a matching."""

    nodes: tuple[Node, ...]
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def retrained(self, *names: str) -> Graph:
        """Other values in these weights, or in all."""
        changed = {
            name: replace(tensor, digest=tensor.digest + "'")
            if name in names or not names
            else tensor
            for name, tensor in self.weights.items()
        }
        return Graph(self.nodes, changed)

    def shaped(self, **shapes: Shape) -> Graph:
        """Other shapes of weights."""
        changed = {name: replace(self.weights[name], shape=shape) for name, shape in shapes.items()}
        return Graph(self.nodes, {**self.weights, **changed})

    def renamed(self, name: Callable[[str], str]) -> Graph:
        """Other names for all nodes but the ends, which belong to the model's signature."""
        ends = {node.name for node in self.nodes if node.operator in ("input", "output")}
        names = {n.name: n.name if n.name in ends else name(n.name) for n in self.nodes}
        nodes = (
            replace(n, name=names[n.name], inputs=tuple(names.get(one, one) for one in n.inputs))
            for n in self.nodes
        )
        return Graph(tuple(nodes), self.weights)

    def renumbered(self) -> Graph:
        """Running numbers in the order of the rows, as exported graphs have them."""
        numbers = {node.name: f"node_{k}" for k, node in enumerate(self.nodes)}
        return self.renamed(numbers.__getitem__)

    def shuffled(self, seed: int) -> Graph:
        """The rows in another order that has every node after those it reads."""
        chance, done = random.Random(seed), set[str]()
        left, rows = list(self.nodes), list[Node]()
        while left:
            ready = [node for node in left if done.issuperset(node.inputs)]
            rows.append(chance.choice(ready))
            left.remove(rows[-1])
            done.add(rows[-1].name)
        return Graph(tuple(rows), self.weights)


def graph(text: str, **digests: str) -> Graph:
    """Lines such as `h = conv(x, @first, 2)`: reads node x and weight `first`.

    Weights are 8 by 8 and have their name as digest, or the one that is given.
    """
    nodes: list[Node] = []
    weights = {}
    for name, operator, listed in _LINE.findall(text):
        known = {node.name for node in nodes}
        arguments = [one for one in listed.split(", ") if one]
        read = tuple(one[1:] for one in arguments if one.startswith("@"))
        weights |= {one: Tensor("float32", (8, 8), digests.get(one, one)) for one in read}
        shown = ["%" if one in known else "@" if one[0] == "@" else one for one in arguments]
        inputs = tuple(one for one in arguments if one in known)
        nodes.append(Node(name, operator, inputs, read, ", ".join(shown)))
    return Graph(tuple(nodes), weights)


def sequential(*layers: str, prefix: str = "", shapes: Mapping[str, Shape] = _SQUARE) -> Graph:
    """What torch.export makes of nn.Sequential: capital letters are layers with weights.

    Nodes have running numbers, weights the numbers of the layers; the letter is the digest.
    """
    nodes, weights = [Node("input", "input", (), (), "input")], {}
    counts: dict[str, int] = {}
    for place, layer in enumerate(layers):
        read: tuple[str, ...] = ()
        operator = "linear" if layer.isupper() else layer
        if layer.isupper():
            read = (f"{prefix}{place}.weight",)
            weights[read[0]] = Tensor("float32", shapes.get(layer, (8, 8)), layer)
        count = counts[operator] = counts.get(operator, -1) + 1
        name = f"{operator}_{count}" if count else operator
        pattern = "%, @" if read else "%"
        nodes.append(Node(name, operator, (nodes[-1].name,), read, pattern))
    nodes.append(Node("output", "output", (nodes[-1].name,), (), "%"))
    return Graph(tuple(nodes), weights)


# --- comparing -----------------------------------------------------------------------------------


def compared(old: Graph, new: Graph) -> NodesDiff:
    """The matching, after a check of what holds for every one of them."""
    found = match(old.nodes, new.nodes, old_weights=old.weights, new_weights=new.weights)
    assert (found.old_nodes, found.new_nodes) == (old.nodes, new.nodes)
    before, after = [a for a, _ in found.pairs], [b for _, b in found.pairs]
    assert sorted(before + [n.name for n in found.removed]) == sorted(n.name for n in old.nodes)
    assert sorted(after + [n.name for n in found.added]) == sorted(n.name for n in new.nodes)
    differ = {(one.old.name, one.new.name) for one in found.changed}
    assert differ <= set(found.pairs)
    assert set(found.renamed) == {p for p in found.pairs if p[0] != p[1] and p not in differ}
    assert {one.change for one in found.changed} <= {"changed", "moved"}
    assert all(one.what for one in found.changed)
    check_mirrored(old, new, found)
    return found


def check_mirrored(old: Graph, new: Graph, found: NodesDiff) -> None:
    back = match(new.nodes, old.nodes, old_weights=new.weights, new_weights=old.weights)
    assert set(back.pairs) == {(b, a) for a, b in found.pairs}
    assert (set(back.added), set(back.removed)) == (set(found.removed), set(found.added))
    assert {(one.change, one.new, one.old) for one in back.changed} == {
        (one.change, one.old, one.new) for one in found.changed
    }


def report(old: Graph, new: Graph) -> list[str]:
    """What is not the same: "+ added", "- removed", "old > new: moved", "old ~ new: changed"."""
    found = compared(old, new)
    signs = {"changed": "~", "moved": ">"}
    return [
        *(f"- {node.name}" for node in found.removed),
        *(f"+ {node.name}" for node in found.added),
        *(f"{c.old.name} {signs[c.change]} {c.new.name}: {c.what}" for c in found.changed),
    ]


# --- changes at random ---------------------------------------------------------------------------

MUTATIONS = ("insert", "remove", "operator", "attribute", "rewire")


def mutated(graph: Graph, kind: str, seed: int) -> Graph:
    """One change of a kind at a random place, all nodes with other names after it."""
    chance = random.Random(f"{kind} {seed}")
    inner = [k for k, node in enumerate(graph.nodes) if node.operator not in ("input", "output")]
    rows = list(graph.nodes)
    place = chance.choice([k for k in inner if k > 1 and rows[k].inputs])
    node = rows[place]
    if kind == "insert":
        rows[place + 1 :] = [read_instead(one, node.name, "extra") for one in rows[place + 1 :]]
        rows.insert(place + 1, Node("extra", "sigmoid", (node.name,), (), "%"))
    elif kind == "remove":
        rows[place:] = [read_instead(one, node.name, node.inputs[0]) for one in rows[place + 1 :]]
    elif kind == "operator":
        rows[place] = replace(node, operator="another")
    elif kind == "attribute":
        rows[place] = replace(node, attributes=node.attributes + ", 3")
    else:
        others = [one.name for one in rows[:place] if one.name != node.inputs[0]]
        rows[place] = replace(node, inputs=(chance.choice(others), *node.inputs[1:]))
    return Graph(tuple(rows), graph.weights).renumbered()


def read_instead(node: Node, old: str, new: str) -> Node:
    return replace(node, inputs=tuple(new if name == old else name for name in node.inputs))


def random_graph(seed: int, size: int = 30, *, weights: bool = True) -> Graph:
    """Nodes that read what stands shortly before; all ends are returned."""
    chance, tensors = random.Random(seed), {}
    rows = [Node("x", "input", (), (), "x"), Node("y", "input", (), (), "y")]
    for k in range(size):
        near = [one.name for one in rows[-6:]]
        read: tuple[str, ...] = ()
        if weights and chance.random() < 0.5:
            read = (f"layers.{k}.weight",)
            tensors[read[0]] = Tensor("float32", (chance.choice((4, 8)),), f"digest {k}")
        operator = chance.choice(("linear", "conv") if read else ("add", "mul", "relu", "cat"))
        inputs = tuple(chance.choices(near, k=2 if operator in ("add", "mul", "cat") else 1))
        pattern = ", ".join("%" * len(inputs) + "@" * len(read))
        rows.append(Node(f"n{k}", operator, inputs, read, pattern))
    used = {name for one in rows for name in one.inputs}
    ends = tuple(one.name for one in rows if one.name not in used)
    rows.append(Node("output", "output", ends, (), ", ".join("%" * len(ends))))
    return Graph(tuple(rows), tensors)


def residual(blocks: int, seed: int = 0) -> Graph:
    """Blocks of a norm, two layers and a skip connection, five nodes each."""
    rows, weights = [Node("x", "input", (), (), "x")], {}
    for k in range(blocks):
        names = [f"blocks.{k}.{name}" for name in ("norm", "up", "down")]
        weights |= {name: Tensor("float32", (8,), f"{name} {seed}") for name in names}
        last = rows[-1].name
        rows += [
            Node(f"norm_{k}", "norm", (last,), (names[0],), "%, @"),
            Node(f"up_{k}", "linear", (f"norm_{k}",), (names[1],), "%, @"),
            Node(f"gelu_{k}", "gelu", (f"up_{k}",), (), "%"),
            Node(f"down_{k}", "linear", (f"gelu_{k}",), (names[2],), "%, @"),
            Node(f"add_{k}", "add", (last, f"down_{k}"), (), "%, %"),
        ]
    rows.append(Node("output", "output", (rows[-1].name,), (), "%"))
    return Graph(tuple(rows), weights)


def several(graph: Graph, count: int, seed: int) -> Graph:
    """Changes of all kinds, one after the other."""
    chance = random.Random(seed)
    for _ in range(count):
        graph = mutated(graph, chance.choice(MUTATIONS), chance.randrange(10**6))
        names: Sequence[str] = [node.name for node in graph.nodes]
        assert "extra" not in names
    return graph
