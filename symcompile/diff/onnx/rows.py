"""Nodes of an ONNX graph as rows of a comparison: which operator reads what, with which settings.

Numbers in the attributes of a row are the settings of its node and constants that it reads; weights
stand apart. A weight is a tensor of floating-point numbers that has a shape, and whatever is long.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from symcompile.diff.onnx.calls import Calls, Step, call_of, read_by, steps
from symcompile.diff.onnx.tensors import Tensors
from symcompile.diff.onnx.text import (
    Inner,
    attribute_text,
    bounded,
    constant_text,
    is_constant,
    operator_name,
    plain_text,
    settings,
)
from symcompile.diff.snapshot import Node, Tensor
from symcompile.errors import ArtifactError, shown
from symcompile.storage.codecs import printable


@dataclass
class Rows:
    """What `graph_rows` finds.

    Attributes:
        nodes: in an order in which every node stands after those it reads.
        weights: those that the nodes read, by name.
        steps: the calls of blocks in the graph, in order.
        unclear: names of calls whose nodes are shown as they are.
    """

    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """Where a value comes from: a node and which of its outputs, a weight, or a constant."""

    text: str
    node: str = ""
    weight: str = ""


def graph_rows(
    graph: Any,
    tensors: Tensors,
    calls: Calls,
    functions: Mapping[str, str],
    is_parameter: Callable[[str], bool],
) -> Rows:
    """Rows of an onnx.GraphProto.

    Args:
        functions: digest of each local function that is no block's, by "domain::name".
        is_parameter: whether an initializer of a single number is a weight, by its name.

    Raises ArtifactError for a graph with cycles, or that reads what nobody makes.
    """
    return _Writer(graph, tensors, calls, functions, is_parameter).run()


class _Writer:
    def __init__(
        self,
        graph: Any,
        tensors: Tensors,
        calls: Calls,
        functions: Mapping[str, str],
        is_parameter: Callable[[str], bool],
    ) -> None:
        self.graph, self.tensors, self.calls = graph, tensors, calls
        self.functions, self.is_parameter = functions, is_parameter
        self.sources: dict[str, Source] = {}
        self.taken: dict[str, int] = {}
        self.known: dict[str, Tensor] = {}
        self.rows = Rows()

    def run(self) -> Rows:
        graph, rows = self.graph, self.rows
        for tensor in graph.initializer:
            self.initializer(tensor)
        for sparse in graph.sparse_initializer:
            self.weight(sparse.values.name, self.tensors.describe_sparse(sparse))
        for value in graph.input:
            if value.name not in self.sources:
                name = self.unique(value.name, "input")
                self.define(value.name, Source("%", name))
                rows.nodes.append(Node(name, "input", attributes=plain_text(value.name)))
        plain = []
        for node in graph.node:
            if is_constant(node) and call_of(node) not in self.calls.flat:
                self.constant(node)
            else:
                plain.append(node)
        returned = [value.name for value in graph.output]
        found, rows.unclear = steps(plain, returned, self.calls)
        for step in ordered(found, self.sources):
            self.step(step)
        pattern, nodes, weights = self.pattern(returned, "the graph")
        rows.nodes.append(Node(self.unique("output", ""), "output", nodes, weights, pattern))
        return rows

    # Values

    def define(self, name: str, source: Source) -> None:
        if not name or name in self.sources:
            raise ArtifactError(f"its graph makes value {shown(name)} twice")
        self.sources[name] = source

    def unique(self, name: str, otherwise: str) -> str:
        stem = printable(name, 200) or otherwise
        found = stem
        while found in self.taken:
            self.taken[stem] += 1
            found = f"{stem}_{self.taken[stem]}"
        self.taken[found] = 1
        return found

    def initializer(self, tensor: Any) -> None:
        described = self.tensors.describe(tensor)
        alone = not tensor.dims and self.is_parameter(tensor.name)
        text = None if alone else constant_text(tensor, described)
        if text is None:
            self.weight(tensor.name, described)
        else:
            self.define(tensor.name, Source(text))

    def weight(self, name: str, described: Tensor) -> None:
        shown_name = printable(name)
        if shown_name in self.known:
            raise ArtifactError(f"its graph names weight {shown(name)} twice")
        self.known[shown_name] = described
        self.define(name, Source("@", weight=shown_name))

    def constant(self, node: Any) -> None:
        if len(node.output) != 1:
            raise ArtifactError(f"constant {shown(node.name)} makes {len(node.output)} values")
        for attribute in node.attribute:
            if attribute.HasField("t"):
                described = self.tensors.describe(attribute.t)
                text = constant_text(attribute.t, described, rank=1)
                if text is None:
                    self.weight(node.output[0], described)
                    return
        found = [attribute_text(one, self.no_graph, self.tensors) for one in node.attribute]
        self.define(node.output[0], Source(bounded(", ".join(found))))

    def no_graph(self, graph: Any) -> str:
        raise ArtifactError("a constant of its graph is a graph")

    # Nodes

    def step(self, step: Step) -> None:
        if step.region is not None:
            operator, said = f"region:{printable(step.region)}", ""
            captured: list[str] = []
            self.rows.steps.append(step)
        else:
            (node,) = step.nodes
            operator = operator_name(node)
            said, captured = self.settings(node)
        name = self.unique(step.name, operator.rpartition(":")[2] or "node")
        pattern, nodes, weights = self.pattern([*step.inputs, *captured], name)
        text = "; ".join(part for part in (pattern, said) if part)
        self.rows.nodes.append(Node(name, operator, nodes, weights, text))
        for place, value in enumerate(step.outputs):
            if value:
                self.define(value, Source(f"%[{place}]" if place else "%", name))

    def settings(self, node: Any) -> tuple[str, list[str]]:
        """Attributes as text, and the values that graphs among them read from around."""
        inner = Inner(self.constant_around, self.tensors, self.calls, self.functions)
        said = settings(node, inner, self.tensors)
        self.rows.unclear += inner.unclear
        body = self.functions.get(f"{node.domain}::{node.op_type}")
        if body is not None:
            said = ", ".join(part for part in (said, f"function {body}") if part)
        return said, list(inner.captured)

    def constant_around(self, name: str) -> str | None:
        found = self.sources.get(name)
        return found.text if found and not found.node and not found.weight else None

    def pattern(
        self, names: Iterable[str], reader: str
    ) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """Arguments as text, the nodes among them, and the weights."""
        texts, nodes, weights = [], [], []
        for name in names:
            source = self.source(name, reader) if name else Source("none")
            texts.append(source.text)
            nodes += [source.node] if source.node else []
            if source.weight:
                weights.append(source.weight)
                self.rows.weights[source.weight] = self.known[source.weight]
        return ", ".join(texts), tuple(nodes), tuple(weights)

    def source(self, name: str, reader: str) -> Source:
        found = self.sources.get(name)
        if found is None:
            raise ArtifactError(f"{printable(reader, 200)} reads {shown(name)}, which nobody makes")
        return found


def ordered(found: Sequence[Step], given: Mapping[str, Any]) -> Iterator[Step]:
    """Steps in an order in which each stands after those it reads; as they are where they do.

    Raises ArtifactError for a cycle.
    """
    makers = {name: k for k, step in enumerate(found) for name in step.outputs if name}
    users: list[list[int]] = [[] for _ in found]
    waiting = []
    for k, step in enumerate(found):
        read = {makers[name] for name in _all_read(step) if name in makers and name not in given}
        waiting.append(len(read))
        for maker in read:
            users[maker].append(k)
    ready = [k for k, count in enumerate(waiting) if count == 0]
    count = 0
    while ready:
        k = heapq.heappop(ready)
        count += 1
        yield found[k]
        for user in users[k]:
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, user)
    if count < len(found):
        k = next(k for k, left in enumerate(waiting) if left)
        raise ArtifactError(f"its graph has a cycle through node {shown(found[k].name)}")


def _all_read(step: Step) -> set[str]:
    if step.region is not None:
        return set(step.inputs)
    return {name for node in step.nodes for name in read_by(node)}
