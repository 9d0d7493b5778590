"""The nodes of a graph: names are unique, inputs are known, and nothing goes in circles."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from symcompile.errors import ArtifactError, shown
from symcompile.storage.codecs import unique
from symcompile.storage.reading import at
from symcompile.storage.rows import Node

# Inputs and weights of all nodes together.
MAX_EDGES = 1_000_000


def in_order(nodes: Sequence[Node], where: str) -> tuple[Node, ...]:
    """The nodes with every one after its inputs, as they are if that is so.

    Raises ArtifactError naming an input that is unknown, or a node that depends on itself.
    """
    with at(where):
        unique([node.name for node in nodes])
    if sum(len(node.inputs) + len(node.weights) for node in nodes) > MAX_EDGES:
        raise ArtifactError(f"{where} has more than {MAX_EDGES} connections")
    by_name = {node.name: node for node in nodes}
    seen: set[str] = set()
    sorted_already = True
    for node in nodes:
        for name in node.inputs:
            if name not in by_name:
                raise ArtifactError(
                    f"{where}: node {shown(node.name)} reads {shown(name)}, which is not there"
                )
        sorted_already &= seen.issuperset(node.inputs)
        seen.add(node.name)
    if sorted_already:
        return tuple(nodes)
    sorter = TopologicalSorter({node.name: node.inputs for node in nodes})
    try:
        return tuple(by_name[name] for name in sorter.static_order())
    except CycleError as error:
        name = shown(error.args[1][0])
        raise ArtifactError(f"{where}: node {name} depends on itself") from None
