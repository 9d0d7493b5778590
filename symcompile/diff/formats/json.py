"""A comparison as JSON, for programs.

| key | holds |
|---|---|
| diff | version of this schema; it grows by one when a key changes its meaning or goes |
| symcompile | version of the program that compared |
| same | whether there are no violations |
| verdict | the same in words |
| old, new | the sides, the old one first |
| old.source | name of the file, or type of the object |
| old.kind | "Compiled", "artifact", "manifest", "ONNX", "GraphModule" or "nothing" |
| old.notes | what a reader has to know about this side, a list of sentences |
| rules | what the team asked for |
| rules.fail_on | categories of differences that are violations |
| rules.rtol, rules.atol | a constant that moves by up to atol + rtol * size is the same |
| rules.max_fidelity_drop | how far R2 may fall and a relative L2 error may rise |
| violations | the differences that the rules don't allow, a list |
| violations[].rule | one of the categories |
| violations[].where | path of a block, path[output] of an equation, "graph" or "model" |
| violations[].message | what was found |
| counts | number of blocks by class, of those classes that occur, the gravest first |
| notes | what a reader has to know about the comparison, a list of sentences |
| blocks | every block of either side, identical ones too, a list |
| blocks[].path | qualified name, the new one if it has two; "." is the whole model |
| blocks[].change | its class: that of the gravest of its equations |
| blocks[].renamed_from | its old name if that was another one, else null |
| blocks[].signature | what of its inputs, features, outputs, dtype changed, a list of sentences |
| blocks[].notes | what else changed, a list of sentences |
| blocks[].old, blocks[].new | the block on each side, null where it is not there |
| blocks[].old.status | "symbolic" or "neural" |
| blocks[].old.engine | name, version and seed of the search, "" where unknown |
| blocks[].old.accuracy | of all outputs together, see below |
| blocks[].old.end_to_end | relative L2 change of the model's output when the block is replaced |
| blocks[].old.parameters_removed | by replacing the block |
| blocks[].equations | one for each output that has an equation on a side, a list |
| blocks[].equations[].output | number of the output |
| blocks[].equations[].change | its class |
| blocks[].equations[].difference | largest difference as a share of the old one's largest value |
| blocks[].equations[].points | on how many points that was measured |
| blocks[].equations[].evidence | how "same function" was decided, "" where that was no question |
| blocks[].equations[].old, blocks[].equations[].new | each side, null where there is none |
| blocks[].equations[].old.equation | its text, constants with six significant digits |
| blocks[].equations[].old.marks | [start, end] in code points of what the other text lacks |
| blocks[].equations[].old.complexity | as PySR counts it |
| blocks[].equations[].old.operators | how many it has |
| blocks[].equations[].old.accuracy | of this output, see below |
| blocks[].equations[].coefficients | all constants where the form is the same, a list |
| blocks[].equations[].coefficients[].place | the expression around it, # is the constant itself |
| blocks[].equations[].coefficients[].old, blocks[].equations[].coefficients[].new | values |
| blocks[].equations[].coefficients[].relative | (new - old) / abs(old); null from zero |
| accuracy.r2, accuracy.relative_l2, accuracy.max_error | on held-out samples; null if not known |
| accuracy.extrapolation | relative L2 up to 20 % outside of the recorded ranges |
| accuracy.linear | relative L2 of a linear map in the equation's place |
| model.facts | properties of the models as text, changed or not, a list |
| model.facts[].name | such as "parameters" or "opset ai.onnx" |
| model.facts[].old, model.facts[].new | text |
| model.signature | what of the arguments and results changed, a list of sentences |
| model.weights | weights outside of the blocks that are not the same, a list |
| model.weights[].name | qualified name |
| model.weights[].what | "changed", "added", "removed", or a sentence |
| model.output_difference | of the models on the same rows, as a share of the largest old value |
| model.probe_difference | largest `difference` of all equations |
| nodes | the graphs around the blocks |
| nodes.level | "aten", "fx" or "onnx"; null where the graphs were not compared |
| nodes.note | why they were not compared |
| nodes.same | whether no node was added, removed, changed or moved |
| nodes.old, nodes.new | number of nodes |
| nodes.matched | number of pairs |
| nodes.renamed | number of pairs that have another name and no other difference |
| nodes.added, nodes.removed | nodes of one side only, a list |
| nodes.changed | pairs that are not the same, a list |
| nodes.changed[].change | "changed", or "moved" where it reads other nodes |
| nodes.changed[].what | in which way, a sentence |
| nodes.changed[].old, nodes.changed[].new | the node on each side |
| nodes.pairs | [old name, new name] of every pair, only where it was asked for |
| node.name | as the graph has it |
| node.operator | "input", "output", "region:<path>" of a block, else the operator |
| node.inputs | names of the nodes that it reads, a list |
| node.weights | names of the weights that it reads, a list |
| node.attributes | everything else, % for the next input and @ for the next weight |

Numbers that are not finite are null. Strings are one line each: what is not printable stands as ?.
Keys always come in the same order, and a key that is documented is always there.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from numbers import Integral
from typing import Any

from symcompile._version import __version__
from symcompile.diff.formats.figures import plain
from symcompile.diff.formats.words import verdict
from symcompile.diff.result import BlockDiff, CoefficientDiff, EquationDiff, GraphDiff, NodeChange

SCHEMA = 1

# Of records that are not shown as they are: which fields, in this order.
_KEYS: dict[type, str] = {
    BlockDiff: "path change renamed_from signature notes old new equations",
    EquationDiff: "output change difference points evidence old new coefficients",
    CoefficientDiff: "old new place relative",
    NodeChange: "change what old new",
}
_CALLED = {"text": "equation"}


def to_json(diff: GraphDiff, *, indent: int | None = 1, pairs: bool = False) -> str:
    """`to_dict` as ASCII text; `indent` as in `json.dumps`."""
    return json.dumps(to_dict(diff, pairs=pairs), indent=indent, allow_nan=False)


def to_dict(diff: GraphDiff, *, pairs: bool = False) -> dict[str, Any]:
    """The comparison as plain data, see the table above; `pairs` adds the matched nodes."""
    model, nodes = diff.model, diff.nodes
    document = {
        "diff": SCHEMA,
        "symcompile": __version__,
        "same": diff.same,
        "verdict": verdict(diff),
        "old": diff.old,
        "new": diff.new,
        "rules": diff.rules,
        "violations": diff.violations,
        "counts": diff.counts(),
        "notes": diff.notes,
        "blocks": diff.blocks,
        "model": {
            "facts": model.facts,
            "signature": model.signature,
            "weights": [{"name": name, "what": what} for name, what in model.weights],
            "output_difference": model.output_difference,
            "probe_difference": model.probe_difference,
        },
        "nodes": {
            "level": nodes.level,
            "note": nodes.note,
            "same": nodes.same,
            "old": len(nodes.old_nodes),
            "new": len(nodes.new_nodes),
            "matched": len(nodes.pairs),
            "renamed": len(nodes.renamed),
            "added": nodes.added,
            "removed": nodes.removed,
            "changed": nodes.changed,
            **({"pairs": nodes.pairs} if pairs else {}),
        },
    }
    return {key: _plain(value) for key, value in document.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        keys = _KEYS.get(type(value), "").split() or [field.name for field in fields(value)]
        return {_CALLED.get(key, key): _plain(getattr(value, key)) for key in keys}
    if isinstance(value, dict):
        return {plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return plain(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None
