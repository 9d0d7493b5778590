"""Put the comparisons of blocks, nodes and wholes together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from symcompile.diff.blocks import compare_blocks
from symcompile.diff.equations.proof import PROOF_STEPS
from symcompile.diff.model import compare_models
from symcompile.diff.readers import read_pair
from symcompile.diff.result import GraphDiff, NodesDiff, Side
from symcompile.diff.rules import Rules, categories
from symcompile.diff.snapshot import Snapshot
from symcompile.diff.violations import violations
from symcompile.errors import ComparisonError
from symcompile.storage.reading import wall

_NOTHING = "nothing"


def compare(old: Snapshot, new: Snapshot, rules: Rules, proof_steps: float) -> GraphDiff:
    """Everything that differs, and what of it the rules don't allow."""
    nodes = _compare_nodes(old, new)
    formats = "names of arguments and weights not compared: the formats differ"
    notes = (nodes.note, formats if old.family != new.family else "")
    blocks = compare_blocks(old, new, nodes.pairs, proof_steps)
    model = compare_models(old, new, nodes, blocks)
    return GraphDiff(
        old=Side(old.source, old.kind, old.notes),
        new=Side(new.source, new.kind, new.notes),
        blocks=blocks,
        nodes=nodes,
        model=model,
        rules=rules,
        violations=violations(rules, blocks, nodes, model),
        notes=tuple(note for note in notes if note),
    )


def _compare_nodes(old: Snapshot, new: Snapshot) -> NodesDiff:
    level = old.level if new.kind == _NOTHING else new.level
    if old.level != level and old.kind != _NOTHING:
        note = f"graphs not compared: {_graph(old)} against {_graph(new)}"
        return NodesDiff(note=note, old_nodes=old.nodes, new_nodes=new.nodes)
    if level is None:
        return NodesDiff(note="graphs not compared: neither side has one")
    from symcompile.diff.node_matching import match  # loads networkx, which manifests do without

    nodes = match(old.nodes, new.nodes, old_weights=old.weights, new_weights=new.weights)
    return replace(nodes, level=level)


def _graph(side: Snapshot) -> str:
    words = {"aten": "ATen operators", "fx": "an fx graph", "onnx": "ONNX operators"}
    return words.get(side.level or "", "no graph")


def diff(
    a: Any,
    b: Any,
    *,
    fail_on: str | Collection[str] | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    max_fidelity_drop: float = 0.0,
    proof_steps: float = PROOF_STEPS,
) -> GraphDiff:
    """Compare two models, the old one first.

    Args:
        a, b: any two of a Compiled, a traced GraphModule, or the path of a `.symc` artifact, a
            manifest or an ONNX file. Of a GraphModule, and of an ONNX file that symcompile has not
            written, only the structure is known.
        fail_on: what counts as a difference: categories of `Rules`, as a list or "a,b"; all
            of them by default, "none" for none.
        rtol, atol: a constant that moved by up to `atol + rtol * max(|old|, |new|)` is the same.
        max_fidelity_drop: how far R2 may fall and a relative L2 error may rise.
        proof_steps: how much work, in all, symbolic proofs that two equations are the same function
            may be: each step is a term written out, or about a tenth of a millisecond of sympy's.

    Raises:
        ArtifactError: a file is missing, damaged, tampered with, or of no known kind. Nothing of a
            file is executed.
        ComparisonError: rules that make no sense, or objects that can't be compared.
    """
    if not proof_steps >= 0:
        raise ComparisonError(f"proof_steps is {proof_steps!r}: expected a number from 0")
    rules = Rules(categories(fail_on), rtol, atol, max_fidelity_drop)
    old, new = read_pair(a, b)
    files = [side.source for side in (old, new) if side.from_file]
    if not files:
        return compare(old, new, rules, proof_steps)
    with wall("can't compare", *files, kind=ComparisonError):
        return compare(old, new, rules, proof_steps)
