"""A model as text, a fact a line: made for `git diff` and other plain comparisons of text.

The order is fixed, every line says what it is about, numbers have all their digits. Nothing depends
on the name of the file, which under git is that of a temporary one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from symcompile.diff.snapshot import Accuracy, Block, Output, Snapshot
from symcompile.errors import one_line
from symcompile.storage.equations import DIGITS
from symcompile.storage.schema import Node, Tensor

_ACCURACY = {
    "r2": "R2",
    "relative_l2": "relative L2",
    "max_error": "max |error|",
    "extrapolation": "relative L2 beyond the recorded range",
    "linear": "relative L2 of a linear map",
}


def lines(snapshot: Snapshot) -> str:
    """Everything that is known of one side, each fact on a line that can be read alone."""
    facts = [
        *_model(snapshot),
        *(line for path in sorted(snapshot.blocks) for line in _block(snapshot.blocks[path])),
        *(f"weight {name}: {_tensor(weight)}" for name, weight in sorted(snapshot.weights.items())),
        *(f"node {node.name} = {node.operator}({_arguments(node)})" for node in snapshot.nodes),
    ]
    return "".join(f"{one_line(line)}\n" for line in facts)


def _model(snapshot: Snapshot) -> Iterator[str]:
    facts: dict[str, Any] = {"kind": snapshot.kind, "model": snapshot.model}
    facts |= {f"input {name}": _tensor(tensor) for name, tensor in snapshot.inputs.items()}
    facts |= {f"output {name}": _tensor(tensor) for name, tensor in snapshot.outputs.items()}
    facts["parameters"] = snapshot.parameters
    facts |= {f"opset {domain or 'ai.onnx'}": v for domain, v in sorted(snapshot.opsets.items())}
    facts["graph"] = snapshot.level
    yield from (f"{name}: {value}" for name, value in facts.items() if value is not None)
    yield from (f"note: {note}" for note in snapshot.notes)


def _tensor(tensor: Tensor) -> str:
    shape = ", ".join(map(str, tensor.shape))
    return f"{tensor.dtype} [{shape}] {tensor.digest}".rstrip()


# --- blocks --------------------------------------------------------------------------------------


def _block(block: Block) -> Iterator[str]:
    """The equations first: the rest of a block is about them."""
    path = block.path
    for number in sorted(block.outputs):
        yield from _equation(f"{path}[{number}]", block.outputs[number])
    yield f"{path}: {block.status}"
    facts = {
        "reason": block.reason or None,
        "dtype": block.dtype,
        "outputs": block.n_outputs,
        "parameters removed": block.parameters_removed,
        "end to end, relative L2": block.end_to_end,
        "weights": block.digest,
    }
    yield from (f"{path} {name}: {value}" for name, value in facts.items() if value is not None)
    for name, span in block.inputs.items():
        recorded = "" if span is None else f": from {span[0]!r} to {span[1]!r}"
        yield f"{path} input {name}{recorded}"
    yield from (f"{path} feature {name} = {text}" for name, text in block.features.items())
    yield from (
        f"{path} projection {k}: {digest}" for k, digest in sorted(block.projections.items())
    )
    yield from _accuracy(path, block.accuracy)
    yield from (f"{path} {name}: {value}" for name, value in _flat(block.provenance))


def _equation(place: str, output: Output) -> Iterator[str]:
    equation = output.equation
    yield f"{place} = {equation.text(DIGITS)}"
    yield f"{place} form: {equation.form_text}"
    for slot, value in enumerate(equation.constants):
        yield f"{place} c[{slot}] = {value!r}"
    yield f"{place} variables: {', '.join(equation.symbols)}"
    yield f"{place} complexity: {equation.complexity}"
    yield f"{place} operators: {output.operators}"
    yield from _accuracy(place, output.accuracy)


def _accuracy(place: str, accuracy: Accuracy) -> Iterator[str]:
    for key, name in _ACCURACY.items():
        value = getattr(accuracy, key)
        if value is not None:
            yield f"{place} {name}: {value!r}"


def _flat(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested data as (dotted name, value), in the order of the names."""
    for name in sorted(data):
        value = data[name]
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            dumped = json.dumps(value, ensure_ascii=False, default=str)
            yield f"{above}{name}", value if isinstance(value, str) else dumped


def _arguments(node: Node) -> str:
    """The pattern with the nodes and weights that it reads, where each place is sure."""
    pattern = node.attributes
    if (pattern.count("%"), pattern.count("@")) != (len(node.inputs), len(node.weights)):
        # A text among the attributes holds these signs too, or the pattern names no inputs at all.
        read = [*(f"%{name}" for name in node.inputs), *(f"@{name}" for name in node.weights)]
        return ", ".join([*read, pattern] if pattern else read)
    names = {"%": iter(node.inputs), "@": iter(node.weights)}
    return "".join(sign + next(names[sign]) if sign in names else sign for sign in pattern)
