"""What a file says about its equations, as text: an artifact, a manifest, or an ONNX file.

Of an artifact it is the report of the compile. Nothing of a file is run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping

from symcompile.diff.readers import read
from symcompile.diff.snapshot import Block, Snapshot
from symcompile.errors import one_line
from symcompile.report.plain_text import aligned
from symcompile.storage import files
from symcompile.storage.equations import DIGITS
from symcompile.storage.reading import reading
from symcompile.storage.schema import Tensor

_MAX_TEXT = 200
_COLUMNS = ("target", "complexity", "R2", "rel. L2", "equation")

Row = tuple[str, ...]


def summary(path: str | os.PathLike[str]) -> str:
    """The equations in a file. ArtifactError if it is missing, damaged, or of another kind."""
    with reading(path):
        if files.head(path).startswith(b"PK"):
            from symcompile.report import Report
            from symcompile.storage import artifact

            outcomes, manifest = artifact.outcomes(path)
            return str(Report(outcomes, capture=str(manifest.get("capture", ""))))
        snapshot = read(path)
        table = ["", *_table(snapshot)] if snapshot.equations_known else []
        return "\n".join([*(one_line(line, _MAX_TEXT) for line in _about(snapshot)), *table])


def _about(snapshot: Snapshot) -> Iterator[str]:
    kind = "ONNX file" if snapshot.kind == "ONNX" else snapshot.kind
    head = [f"symcompile {kind}" if snapshot.equations_known else kind]
    if snapshot.model is not None:
        head.append(f"class {snapshot.model}")
    if snapshot.parameters is not None:
        head.append(f"{snapshot.parameters:,} parameters")
    head += [f"opset {domain or 'ai.onnx'} {k}" for domain, k in sorted(snapshot.opsets.items())]
    yield ", ".join(head)
    for name, tensors in (("inputs", snapshot.inputs), ("outputs", snapshot.outputs)):
        if tensors:
            yield f"{name}: {_signature(tensors)}"
    if snapshot.nodes:
        counts = Counter(node.operator for node in snapshot.nodes).most_common()
        yield f"graph: {', '.join(f'{count} {operator}' for operator, count in counts)}"
    yield from snapshot.notes


def _signature(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(
        f"{name} {tensor.dtype}[{', '.join(map(str, tensor.shape))}]"
        for name, tensor in tensors.items()
    )


def _table(snapshot: Snapshot) -> list[str]:
    rows = [row for path in sorted(snapshot.blocks) for row in _rows(snapshot.blocks[path])]
    if not rows:
        return ["no equations"]
    return [line.rstrip() for line in aligned([_COLUMNS, *rows], left=(0, 4))]


def _rows(block: Block) -> Iterator[Row]:
    """A row for each equation, or one for a region that stayed neural."""
    rows = [
        (f"{block.path}[{number}]", str(o.equation.complexity), o.accuracy, o.equation.text(DIGITS))
        for number, o in sorted(block.outputs.items())
    ]
    if not block.symbolic:
        rows.insert(0, (block.path, "-", block.accuracy, f"neural: {block.reason}"))
    for target, cost, accuracy, equation in rows:
        figures = (accuracy.r2, accuracy.relative_l2)
        texts = ("-" if value is None else f"{value:.6g}" for value in figures)
        yield one_line(target, _MAX_TEXT), cost, *texts, one_line(equation, _MAX_TEXT)
