"""Partition: make a range of graph nodes one submodule, so that every target is a submodule."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import fx
from torch.fx.passes.utils.fuser_utils import erase_nodes, fuse_as_graphmodule, insert_subgm

from symcompile.errors import CaptureError, TargetError
from symcompile.modules.state import match_persistence
from symcompile.pipeline import Captured, Partitioned


@dataclass(frozen=True)
class PartitionPass:
    """Give every range of nodes a submodule of its own."""

    name: ClassVar[str] = "partition"

    def run(self, state: Captured) -> Partitioned:
        ranges = [path for path, target in state.places.items() if target.is_node_range]
        if not ranges:
            return Partitioned(**vars(state))
        if not isinstance(state.root, fx.GraphModule):
            raise CaptureError(
                f"target {ranges[0]!r} is a range of graph nodes, but torch.fx can't trace this"
                f" model ({state.note}): name module paths instead"
            )
        refuse_overlap(state.root, ranges, state.places.keys() - set(ranges))
        places = {
            partition(state.root, path) if target.is_node_range else path: target
            for path, target in state.places.items()
        }
        return Partitioned(**vars(replace(state, places=places)))


def refuse_overlap(
    root: fx.GraphModule, node_ranges: Collection[str], paths: Collection[str]
) -> None:
    """Raise TargetError if two ranges share a node, or a range holds a targeted submodule."""
    taken: dict[fx.Node, str] = {}
    for node_range in node_ranges:
        for node in _nodes_between(root, node_range):
            other = taken.setdefault(node, node_range)
            if other == node_range and node.op == "call_module" and node.target in paths:
                other = str(node.target)
            if other != node_range:
                raise TargetError(
                    f"targets {other!r} and {node_range!r} overlap: replace one or the other"
                )


def partition(root: fx.GraphModule, node_range: str) -> str:
    """Move the nodes from `first` to `last` (both included, in graph order) into one submodule of
    `root`, in place, and return its path.

    Raises TargetError if a name is unknown or the range holds no computation.
    """
    nodes = _nodes_between(root, node_range)
    computing = [node for node in nodes if node.op != "get_attr"]
    if all(user in nodes for node in nodes for user in node.users):
        raise TargetError(f"target {node_range!r}: nothing after it uses its results")
    path = _free_name(root, f"{computing[0].name}__{computing[-1].name}")
    block, inputs, outputs = fuse_as_graphmodule(root, nodes, path)
    block.training = root.training
    match_persistence(block, root)
    insert_subgm(root, block, inputs, outputs)
    erase_nodes(root, nodes)
    _drop_moved(root, {str(n.target) for n in nodes if n.op in ("call_module", "get_attr")})
    root.graph.lint()
    root.recompile()
    return path


def _drop_moved(root: fx.GraphModule, moved: set[str]) -> None:
    """Parameters and modules that only the new submodule uses belong to it alone.

    What sits inside of a module that is called stays: that module is the model's own.
    """
    used = {str(n.target) for n in root.graph.nodes if n.op in ("call_module", "get_attr")}
    for target in moved:
        inside = any(target.startswith(other + ".") for other in used | moved)
        if inside or any(u == target or u.startswith(target + ".") for u in used):
            continue
        parent, _, name = target.rpartition(".")
        delattr(root.get_submodule(parent), name)


def _nodes_between(root: fx.GraphModule, node_range: str) -> list[fx.Node]:
    first, _, last = node_range.partition(":")
    order = list(root.graph.nodes)
    names = [node.name for node in order]
    start, stop = (_position(names, name.strip(), node_range) for name in (first, last))
    if stop < start:
        raise TargetError(
            f"target {node_range!r}: {last!r} stands before {first!r} in the graph;"
            f" write {last + ':' + first!r}"
        )
    nodes = [node for node in order[start : stop + 1] if node.op not in ("placeholder", "output")]
    if all(node.op == "get_attr" for node in nodes):
        raise TargetError(
            f"target {node_range!r} holds inputs and outputs only: nothing to replace"
        )
    return _with_constants(nodes)


def _with_constants(nodes: list[fx.Node]) -> list[fx.Node]:
    """Take along parameters that only these nodes read, so that they go with the region."""
    inside = set(nodes)
    extra = [
        source
        for node in nodes
        for source in node.all_input_nodes
        if source.op == "get_attr" and source not in inside and set(source.users) <= inside
    ]
    return list(dict.fromkeys(extra)) + nodes


def _position(names: list[str], name: str, node_range: str) -> int:
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, 3, 0.4)
    shown = ", ".join(near or names)
    raise TargetError(
        f"target {node_range!r}: the graph has no node {name!r};"
        f" {'near misses' if near else 'its nodes'}: {shown}"
    )


def _free_name(root: fx.GraphModule, name: str) -> str:
    candidate, number = name, 1
    while hasattr(root, candidate):
        candidate, number = f"{name}_{number}", number + 1
    return candidate
