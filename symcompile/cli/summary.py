"""What a file says about its equations, as text: an artifact, a manifest, or an ONNX file.

Of an artifact it is the report of the compile. Nothing of a file is run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from symcompile.diff.readers import read
from symcompile.diff.snapshot import DIGITS, Accuracy, Block, Snapshot, Tensor
from symcompile.errors import one_line
from symcompile.storage import files
from symcompile.storage.reading import reading

_MAX_TEXT = 200
_COLUMNS = ("target", "complexity", "R2", "rel. L2", "equation")


class Row(NamedTuple):
    """One equation, or one region that stayed neural, as the cells of a table."""

    target: str
    complexity: str
    r2: str
    relative_l2: str
    equation: str


def summary(path: str | os.PathLike[str]) -> str:
    """The equations in a file. ArtifactError if it is missing, damaged, or of another kind."""
    with reading(path):
        if files.head(path).startswith(b"PK"):
            return _of_artifact(path)
        snapshot = read(path)
        table = ["", *_table(_rows(snapshot))] if snapshot.equations_known else []
        return "\n".join([*_about(snapshot), *table])


def _of_artifact(path: str | os.PathLike[str]) -> str:
    from symcompile.report import Report
    from symcompile.storage import artifact

    outcomes, manifest = artifact.outcomes(path)
    return str(Report(outcomes, capture=str(manifest.get("capture", ""))))


# --- the model -----------------------------------------------------------------------------------


def _about(snapshot: Snapshot) -> Iterator[str]:
    kind = "ONNX file" if snapshot.kind == "ONNX" else snapshot.kind
    head = [f"symcompile {kind}" if snapshot.equations_known else kind]
    if snapshot.model is not None:
        head.append(f"class {snapshot.model}")
    if snapshot.parameters is not None:
        head.append(f"{snapshot.parameters:,} parameters")
    head += [f"opset {domain or 'ai.onnx'} {k}" for domain, k in sorted(snapshot.opsets.items())]
    yield _text(", ".join(head))
    for name, tensors in (("inputs", snapshot.inputs), ("outputs", snapshot.outputs)):
        if tensors:
            yield _text(f"{name}: {_signature(tensors)}")
    if snapshot.nodes:
        found = Counter(node.operator for node in snapshot.nodes).most_common()
        yield _text(f"graph: {', '.join(f'{count} {operator}' for operator, count in found)}")
    yield from map(_text, snapshot.notes)


def _signature(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(
        f"{name} {one.dtype}[{', '.join(map(str, one.shape))}]" for name, one in tensors.items()
    )


# --- its equations -------------------------------------------------------------------------------


def _rows(snapshot: Snapshot) -> Iterator[Row]:
    for path in sorted(snapshot.blocks):
        yield from _block_rows(snapshot.blocks[path])


def _block_rows(block: Block) -> Iterator[Row]:
    if not block.symbolic:
        accuracy = _accuracy(block.accuracy)
        yield Row(_text(block.path), "-", *accuracy, _text(f"neural: {block.reason}"))
    for number, one in sorted(block.outputs.items()):
        yield Row(
            _text(f"{block.path}[{number}]"),
            str(one.equation.complexity),
            *_accuracy(one.accuracy),
            _text(one.equation.text(DIGITS)),
        )


def _accuracy(accuracy: Accuracy) -> tuple[str, str]:
    r2, relative_l2 = (
        "-" if value is None else f"{value:.6g}" for value in (accuracy.r2, accuracy.relative_l2)
    )
    return r2, relative_l2


def _table(rows: Iterable[Row]) -> list[str]:
    cells = [Row(*_COLUMNS), *rows]
    if len(cells) == 1:
        return ["no equations"]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(row[k].rjust(widths[k]) for k in (1, 2, 3)), row[4]]
        ).rstrip()
        for row in cells
    ]


def _text(text: str) -> str:
    return one_line(text, _MAX_TEXT)
