"""Put the comparisons of blocks, nodes and wholes together."""

from __future__ import annotations

from dataclasses import replace

from symcompile.comparison.blocks import compare_blocks
from symcompile.comparison.matching import match
from symcompile.comparison.result import GraphDiff, NodesDiff, Side
from symcompile.comparison.rules import Rules
from symcompile.comparison.snapshot import Snapshot
from symcompile.comparison.verdict import violations
from symcompile.comparison.whole import compare_models

_NOTHING = "nothing"


def compare(old: Snapshot, new: Snapshot, rules: Rules, time_limit: float) -> GraphDiff:
    """Everything that differs, and what of it the rules don't allow."""
    nodes = _compare_nodes(old, new)
    blocks = compare_blocks(old, new, nodes.pairs, time_limit)
    model = compare_models(old, new, nodes, blocks)
    return GraphDiff(
        old=Side(old.source, old.kind, old.notes),
        new=Side(new.source, new.kind, new.notes),
        blocks=blocks,
        nodes=nodes,
        model=model,
        rules=rules,
        violations=violations(rules, blocks, nodes, model),
        notes=_notes(old, new, nodes),
    )


def _compare_nodes(old: Snapshot, new: Snapshot) -> NodesDiff:
    level = old.level if new.kind == _NOTHING else new.level
    if old.level != level and old.kind != _NOTHING:
        note = f"graphs not compared: {_graph(old)} against {_graph(new)}"
        return NodesDiff(note=note, old_nodes=old.nodes, new_nodes=new.nodes)
    if level is None:
        return NodesDiff(note="graphs not compared: neither side has one")
    found = match(old.nodes, new.nodes, old_weights=old.weights, new_weights=new.weights)
    return replace(found, level=level)


def _graph(side: Snapshot) -> str:
    words = {"aten": "ATen operators", "fx": "an fx graph", "onnx": "ONNX operators"}
    return words.get(side.level or "", "no graph")


def _notes(old: Snapshot, new: Snapshot, nodes: NodesDiff) -> tuple[str, ...]:
    found = []
    if nodes.note:
        found.append(nodes.note)
    if old.family != new.family:
        found.append("names of arguments and weights not compared: the formats differ")
    return tuple(found)
