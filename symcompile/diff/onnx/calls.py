"""Which nodes of an ONNX graph are one call of a block: a function's node, or the nodes of a body
that was written into the graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from symcompile.storage.onnx_schema import FlatCall

DOMAIN = "symcompile"


@dataclass(frozen=True)
class Calls:
    """How to know the calls of blocks in a file.

    Attributes:
        functions: path of the block by the function's name.
        flat: calls that were written into the graph, by name.
        gone: functions that are not in the file.
    """

    functions: Mapping[str, str] = field(default_factory=dict)
    flat: Mapping[str, FlatCall] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Step:
    """A node, or a call of a block.

    Attributes:
        name: as the file has it.
        region: path of the block, None for any other node.
        inputs, outputs: values that it reads and makes; "" is an argument left out.
        nodes: the nodes of a call that was written into the graph, else the one node.
    """

    name: str
    region: str | None
    inputs: Sequence[str]
    outputs: Sequence[str]
    nodes: Sequence[Any]

    def read(self) -> Iterator[str]:
        """Values that it reads, those that graphs inside of its node read included."""
        if self.region is None:
            return read_by(self.nodes[0])
        return filter(None, self.inputs)


def steps(
    nodes: Sequence[Any], returned: Iterable[str], calls: Calls
) -> tuple[list[Step], list[str]]:
    """Nodes of a graph that returns these values, the nodes of each call put together.

    Also the names of calls that can't be told exactly: their nodes are left as they are.
    """
    groups: dict[str, list[Any]] = {}
    readers = {name: {""} for name in returned}
    for node in nodes:
        if call_of(node) in calls.flat:
            groups.setdefault(call_of(node), []).append(node)
        for name in read_by(node):
            readers.setdefault(name, set()).add(call_of(node))
    intact = {name for name, group in groups.items() if _intact(calls.flat[name], group, readers)}
    collapsed: list[Step] = []
    for node in nodes:
        name = call_of(node)
        if name not in intact:
            region = calls.functions.get(node.op_type) if node.domain == DOMAIN else None
            collapsed.append(Step(node.name, region, node.input, node.output, [node]))
        elif node is groups[name][-1]:
            call = calls.flat[name]
            collapsed.append(Step(name, call.path, call.inputs, call.outputs, groups[name]))
    return collapsed, [name for name in groups if name not in intact]


def call_of(node: Any) -> str:
    """Name of the call that a node would belong to, by its own name."""
    return str(node.name).rpartition("/")[0]


def _intact(call: FlatCall, group: Sequence[Any], readers: Mapping[str, set[str]]) -> bool:
    """Whether these are all nodes of a call, and are tied to the others as they were."""
    made = {name for node in group for name in node.output if name}
    read = {name for node in group for name in read_by(node)} - made
    inner = made - set(call.outputs)
    return (
        len(group) == call.nodes
        and read <= set(call.inputs)
        and set(call.outputs) <= made
        and all(readers.get(name, set()) <= {call.name} for name in inner)
    )


def read_by(node: Any) -> Iterator[str]:
    """Values that a node reads, those inside of its graphs included."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in graphs_of(attribute):
            for inner in graph.node:
                yield from read_by(inner)
            yield from (value.name for value in graph.output)


def graphs_of(attribute: Any) -> list[Any]:
    return [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
