"""Read the rows of a graph: names are unique, inputs are known, and nothing goes in circles."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Any

from symcompile.diff.readers import checks
from symcompile.diff.snapshot import Node
from symcompile.errors import ArtifactError

MAX_NODES = 200_000
# Inputs and weights of all nodes together.
MAX_EDGES = 1_000_000


def read_nodes(data: Any, where: str) -> tuple[Node, ...]:
    """Nodes in an order in which each stands after those that it reads: that of the file, if it is
    one."""
    rows = checks.listed(data, f"{where}.nodes", MAX_NODES)
    found = [_node(row, f"{where}.nodes[{k}]") for k, row in enumerate(rows)]
    checks.unique([node.name for node in found], where)
    if sum(len(node.inputs) + len(node.weights) for node in found) > MAX_EDGES:
        raise ArtifactError(f"{where} has more than {MAX_EDGES} connections")
    return sort(found, where)


def _node(data: Any, where: str) -> Node:
    row = checks.listed(data, where, 5)
    if len(row) != 5:
        raise checks.wrong(where, data, "name, operator, inputs, weights and arguments")
    name, operator, inputs, weights, attributes = row
    return Node(
        checks.name(name, where),
        checks.name(operator, where),
        checks.names(inputs, where),
        checks.names(weights, where),
        checks.text(attributes, where),
    )


def sort(nodes: list[Node], where: str) -> tuple[Node, ...]:
    """The nodes with every one after its inputs; ArtifactError names an input that is unknown, or
    a node that depends on itself."""
    by_name = {node.name: node for node in nodes}
    seen: set[str] = set()
    in_order = True
    for node in nodes:
        for name in node.inputs:
            if name not in by_name:
                raise ArtifactError(
                    f"{where}: node {checks.shown(node.name)} reads {checks.shown(name)},"
                    " which is not there"
                )
        in_order &= seen.issuperset(node.inputs)
        seen.add(node.name)
    if in_order:
        return tuple(nodes)
    sorter = TopologicalSorter({node.name: node.inputs for node in nodes})
    try:
        return tuple(by_name[name] for name in sorter.static_order())
    except CycleError as error:
        name = checks.shown(error.args[1][0])
        raise ArtifactError(f"{where}: node {name} depends on itself") from None
