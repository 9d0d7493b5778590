"""Nodes of an ONNX graph as rows of a comparison: which operator reads what, with which settings.

Numbers in the attributes of a row are the settings of its node and constants that it reads; weights
stand apart. A weight is a tensor of floating-point numbers that has a shape, and whatever is long.
A graph inside of a node is one of its settings: a text, in which names of values mean nothing.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from symcompile.diff.onnx.calls import Calls, Step, call_of, steps
from symcompile.diff.onnx.tensors import Tensors
from symcompile.diff.onnx.text import (
    attribute_text,
    bounded,
    constant_text,
    digest,
    is_constant,
    operator_name,
    plain_text,
    settings,
    tensor_text,
)
from symcompile.errors import ArtifactError, shown
from symcompile.storage.codecs import printable
from symcompile.storage.schema import Node, Tensor

_DEEPEST = 50  # calls of local functions inside of each other


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
class ValueSource:
    """Where a value comes from: a node and which of its outputs, a weight, or a constant."""

    text: str
    node: str = ""
    weight: str = ""


@dataclass(frozen=True)
class File:
    """What graphs are read with.

    Attributes:
        functions: digest of each local function that is no block's, by "domain::name".
        is_parameter: whether an initializer of a single number is a weight, by its name.
    """

    tensors: Tensors
    calls: Calls
    functions: Mapping[str, str]
    is_parameter: Callable[[str], bool]


def graph_rows(graph: Any, file: File) -> Rows:
    """Rows of an onnx.GraphProto.

    Raises ArtifactError for a graph with cycles, or that reads what nobody makes.
    """
    writer = _Writer(file)
    writer.graph(graph)
    return writer.rows


class _Graph:
    """What a graph and those inside of its nodes have in common.

    Attributes:
        sources: where values come from, by name; those of the innermost graph first.
        unclear: names of calls of blocks that can't be told exactly.
    """

    def __init__(self, file: File) -> None:
        self.file, self.tensors, self.calls = file, file.tensors, file.calls
        self.sources: ChainMap[str, ValueSource] = ChainMap()
        self.unclear: list[str] = []

    def steps(self, nodes: Iterable[Any], returned: Sequence[str]) -> Iterator[Step]:
        """Nodes and calls of blocks, each after those it reads; constants are defined before."""
        plain = []
        for node in nodes:
            if is_constant(node) and call_of(node) not in self.calls.flat:
                self.constant(node)
            else:
                plain.append(node)
        collapsed, unclear = steps(plain, returned, self.calls)
        self.unclear += unclear
        return ordered(collapsed, self.sources.maps[0])

    def constant(self, node: Any) -> None:
        if len(node.output) != 1:
            raise ArtifactError(f"constant {shown(node.name)} makes {len(node.output)} values")
        for attribute in node.attribute:
            if attribute.HasField("t"):
                self.tensor(node.output[0], attribute.t)
                return
        texts = [attribute_text(value, _no_graph, self.tensors) for value in node.attribute]
        self.define(node.output[0], ValueSource(bounded(", ".join(texts))))

    def tensor(self, name: str, tensor: Any, rank: int = 1) -> None:
        """Define a tensor of up to so many dimensions as a constant."""
        self.define(name, ValueSource(tensor_text(tensor, self.tensors)))

    def define(self, name: str, source: ValueSource) -> None:
        if not name or name in self.sources:
            raise ArtifactError(f"its graph makes value {shown(name)} twice")
        self.sources[name] = source

    def described(self, step: Step, inner: _Inner) -> tuple[str, str]:
        """Operator of a step, and its settings as text."""
        if step.region is not None:
            return f"region:{printable(step.region)}", ""
        (node,) = step.nodes
        body = self.file.functions.get(f"{node.domain}::{node.op_type}")
        text = settings(node, inner.graph, self.tensors)
        return operator_name(node), ", ".join(filter(None, (text, body and f"function {body}")))


def _no_graph(graph: Any) -> str:
    raise ArtifactError("a constant of its graph is a graph")


class _Writer(_Graph):
    """Writes the rows of a model's graph."""

    def __init__(self, file: File) -> None:
        super().__init__(file)
        self.taken: dict[str, int] = {}
        self.initializers: dict[str, Tensor] = {}
        self.rows = Rows(unclear=self.unclear)

    def graph(self, graph: Any) -> None:
        for tensor in graph.initializer:
            self.tensor(tensor.name, tensor, rank=0)
        for sparse in graph.sparse_initializer:
            self.weight(sparse.values.name, self.tensors.describe_sparse(sparse))
        for value in graph.input:
            if value.name not in self.sources:
                name = self.unique(value.name, "input")
                self.define(value.name, ValueSource("%", name))
                self.rows.nodes.append(Node(name, "input", attributes=plain_text(value.name)))
        returned = [value.name for value in graph.output]
        for step in self.steps(graph.node, returned):
            self.step(step)
        pattern, nodes, weights = self.pattern(returned, "the graph")
        name = self.unique("output", "")
        self.rows.nodes.append(Node(name, "output", nodes, weights, pattern))

    def unique(self, name: str, otherwise: str) -> str:
        stem = free = printable(name, 200) or otherwise
        while free in self.taken:
            self.taken[stem] += 1
            free = f"{stem}_{self.taken[stem]}"
        self.taken[free] = 1
        return free

    def tensor(self, name: str, tensor: Any, rank: int = 1) -> None:
        """Of more dimensions, or whatever else is no constant, it is a weight."""
        described = self.tensors.describe(tensor)
        text = constant_text(tensor, described, rank)
        if text is None or (rank == 0 and not tensor.dims and self.file.is_parameter(name)):
            self.weight(name, described)
        else:
            self.define(name, ValueSource(text))

    def weight(self, name: str, described: Tensor) -> None:
        weight = printable(name)
        if weight in self.initializers:
            raise ArtifactError(f"its graph names weight {shown(name)} twice")
        self.initializers[weight] = described
        self.define(name, ValueSource("@", weight=weight))

    def step(self, step: Step) -> None:
        inner = _Inner(self.file, self.sources)
        operator, settled = self.described(step, inner)
        self.unclear += inner.unclear
        if step.region is not None:
            self.rows.steps.append(step)
        name = self.unique(step.name, operator.rpartition(":")[2] or "node")
        # What its graphs read from around counts as read by the node.
        pattern, nodes, weights = self.pattern([*step.inputs, *inner.captured], name)
        text = "; ".join(filter(None, (pattern, settled)))
        self.rows.nodes.append(Node(name, operator, nodes, weights, text))
        for place, value in enumerate(step.outputs):
            if value:
                self.define(value, ValueSource(f"%[{place}]" if place else "%", name))

    def pattern(
        self, names: Iterable[str], reader: str
    ) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """Arguments as text, the nodes among them, and the weights."""
        sources = [self.source(name, reader) for name in names]
        weights = tuple(source.weight for source in sources if source.weight)
        self.rows.weights |= {weight: self.initializers[weight] for weight in weights}
        nodes = tuple(source.node for source in sources if source.node)
        return ", ".join(source.text for source in sources), nodes, weights

    def source(self, name: str, reader: str) -> ValueSource:
        if name and name not in self.sources:
            raise ArtifactError(f"{printable(reader, 200)} reads {shown(name)}, which nobody makes")
        return self.sources[name] if name else ValueSource("none")


class _Inner(_Graph):
    """Writes the graphs of one node, or the body of a function, their values numbered in order.

    Attributes:
        around: values from around the node; None for a function.
        captured: number of each of those that is read and no constant, by name.
    """

    def __init__(self, file: File, around: Mapping[str, ValueSource] | None = None) -> None:
        super().__init__(file)
        self.around = around
        self.captured: dict[str, int] = {}
        self.count = 0

    def graph(self, graph: Any) -> str:
        self.sources = self.sources.new_child()
        for tensor in graph.initializer:
            self.tensor(tensor.name, tensor)
        inputs = [value.name for value in graph.input if value.name not in self.sources.maps[0]]
        text = self.body(inputs, graph.node, [value.name for value in graph.output])
        self.sources = self.sources.parents
        return text

    def body(self, inputs: Iterable[str], nodes: Iterable[Any], returned: Sequence[str]) -> str:
        self.number(inputs)
        lines = []
        for step in self.steps(nodes, returned):
            operator, settled = self.described(step, self)
            args = ", ".join(self.value(name) if name else "none" for name in step.inputs)
            lines.append(f"{operator}({args})" + (f"[{settled}]" if step.region is None else ""))
            self.number(filter(None, step.outputs))
        results = ", ".join(map(self.value, returned))
        return "{" + "; ".join([*lines, f"return {results}"]) + "}"

    def define(self, name: str, source: ValueSource) -> None:
        self.sources[name] = source

    def number(self, made: Iterable[str]) -> None:
        for name in made:
            self.define(name, ValueSource(f"#{self.count}"))
            self.count += 1

    def value(self, name: str) -> str:
        if name in self.sources:
            return self.sources[name].text
        if self.around is None:
            raise ArtifactError(f"a function of its reads {shown(name)}, which nobody makes")
        outside = self.around.get(name)
        if outside is not None and not (outside.node or outside.weight):
            return outside.text
        return f"${self.captured.setdefault(name, len(self.captured))}"


def function_digests(functions: Iterable[Any], tensors: Tensors) -> dict[str, str]:
    """Digest of the body of each onnx.FunctionProto, those that it calls included, by
    "domain::name".

    Raises ArtifactError where functions call themselves or each other very deeply.
    """
    waiting = {f"{function.domain}::{function.name}": function for function in functions}
    called = {
        key: {f"{node.domain}::{node.op_type}" for node in body.node} & waiting.keys()
        for key, body in waiting.items()
    }
    digests: dict[str, str] = {}
    file = File(tensors, Calls(), digests, is_parameter=bool)
    for _ in range(_DEEPEST + 1):
        # Those that call none that are waiting.
        for key in [key for key in waiting if waiting.keys().isdisjoint(called[key])]:
            body = waiting.pop(key)
            digests[key] = digest(_Inner(file).body(body.input, body.node, body.output))
    for key in waiting:
        raise ArtifactError(f"its function {shown(key)} is called inside of itself, or too deep")
    return digests


def ordered(collapsed: Sequence[Step], present: Container[str]) -> Iterator[Step]:
    """Steps in an order in which each stands after those it reads; as they are where they do.

    Raises ArtifactError for a cycle.
    """
    import networkx as nx

    makers = {name: k for k, step in enumerate(collapsed) for name in step.outputs if name}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(collapsed)))
    for k, step in enumerate(collapsed):
        read = {makers[name] for name in step.read() if name in makers and name not in present}
        graph.add_edges_from((maker, k) for maker in read)
    try:
        for k in nx.lexicographical_topological_sort(graph):
            yield collapsed[k]
    except nx.NetworkXUnfeasible as error:
        node = collapsed[nx.find_cycle(graph)[0][0]]
        raise ArtifactError(f"its graph has a cycle through node {shown(node.name)}") from error
