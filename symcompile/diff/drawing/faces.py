"""What stands in the box of a cell: up to three short lines, and all of it for a tooltip."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from symcompile.diff.drawing.union import BOTH, NEW, SAME, Cell, Vertex
from symcompile.diff.result import CLASSES, BlockDiff, Change
from symcompile.storage.schema import Node

# A sign for each class and mark, for readers who don't see colours.
SIGNS = dict(zip(CLASSES, "!≠+−≈Δ≡=", strict=True)) | {"changed": "~", "moved": "⇄"}

# Pixels of one column and of one line, and around the text.
COLUMN, LINE = 6.7, 15.0
PAD_X, PAD_Y = 11.0, 6.0
NARROWEST = 92.0
_COLUMNS, _NOTE_COLUMNS, _BLOCK_COLUMNS = 28, 34, 32
_MOST_EQUATIONS = 12
# Width and height that the outlines of blocks and of folded stretches take besides.
_BARS = 14.0


@dataclass(frozen=True)
class Face:
    """One side of a cell.

    Attributes:
        kind: "node", "block", "neural" of a block without equations, "input", "output" or "fold".
        mark: of the node, or of its block: "same", "added", "removed", "changed" or "moved".
        lines: what is written, clipped: the title, then details.
        note: the last line, in which way it is not the same; "".
        facts: everything, unclipped.
        name: of the node; "" for a folded stretch.
    """

    kind: str
    mark: str
    lines: tuple[str, ...]
    note: str
    facts: tuple[str, ...]
    name: str = ""

    @property
    def is_block(self) -> bool:
        return self.kind in ("block", "neural")


def face(cell: Cell, side: int) -> Face:
    """How a cell looks on one side; it must be there."""
    if cell.folded:
        return _fold_face(cell, side)
    vertex = cell.vertices[0]
    node = vertex.on(side)
    assert node is not None
    if node.region is not None:
        return _block_face(vertex, node, side)
    kind = node.operator if node.operator in ("input", "output") else "node"
    title, detail = operator(node), node.name
    # The module whose weights it reads says more than its name.
    modules = {name.rpartition(".")[0] for name in node.weights}
    if kind != "node":
        title, detail = node.name, kind
    elif len(modules) == 1:
        detail = modules.pop() or node.name
    lines = [clipped(title, _COLUMNS)]
    if detail != title:
        lines.append(clipped(detail, _COLUMNS, keep_end=True))
    return Face(kind, vertex.mark, tuple(lines), _note(vertex), facts(vertex, node), node.name)


def size(faces: Sequence[Face]) -> tuple[float, float]:
    """Width and height of a box that can hold any of the faces."""
    width, height = NARROWEST, 0.0
    for side in faces:
        texts = (*side.lines, side.note)
        bars = _BARS if side.is_block else 0.0
        width = max(width, COLUMN * max(map(columns_of, texts)) + 2 * PAD_X + bars)
        height = max(height, LINE * (len(side.lines) + bool(side.note)) + 2 * PAD_Y)
    return float(round(width)), height


def clipped(text: str, columns: int, *, keep_end: bool = False) -> str:
    """At most so many columns of a fixed-width font, a wide character taking two; not escaped."""
    shown = text[-columns - 1 :] if keep_end else text[: columns + 1]
    if columns_of(shown) <= columns:
        return shown
    kept, used = "", 1
    for character in reversed(shown) if keep_end else shown:
        used += columns_of(character)
        if used > columns:
            break
        kept = character + kept if keep_end else kept + character
    return f"…{kept}" if keep_end else f"{kept}…"


def columns_of(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def operator(node: Node) -> str:
    """The operator without its name space and overload: aten.add.Tensor is add."""
    parts = node.operator.rpartition(":")[2].split(".")
    named = parts[1] if len(parts) == 3 and parts[0] == "aten" else parts[-1]
    return named or node.operator


def _note(vertex: Vertex) -> str:
    if vertex.mark == SAME:
        return ""
    names = [operator(node) for node in (vertex.old, vertex.new) if node is not None]
    text = " → ".join(names) if len({*names}) == 2 else vertex.what or vertex.mark
    return clipped(f"{SIGNS[vertex.mark]} {text}", _NOTE_COLUMNS)


def facts(vertex: Vertex, node: Node) -> tuple[str, ...]:
    """All that is known of a node."""
    other = vertex.new if node is vertex.old else vertex.old
    about = {
        "on the other side": other.name if other and other.name != node.name else "",
        "reads": ", ".join(node.inputs),
        "weights": ", ".join(node.weights),
        "arguments": node.attributes,
    }
    lines = [f"{what}: {text}" for what, text in about.items() if text]
    if vertex.mark != SAME:
        lines.append(f"{vertex.mark}: {vertex.what}" if vertex.what else vertex.mark)
    return (node.operator, f"name: {node.name}", *lines)


def _block_face(vertex: Vertex, node: Node, side: int) -> Face:
    path, block, node_facts = node.region or "", vertex.block, facts(vertex, node)
    lines = [clipped(path, _BLOCK_COLUMNS, keep_end=True)]
    if block is None:
        return Face("block", vertex.mark, tuple(lines), _note(vertex), node_facts, node.name)
    status = block.both("status", "")[side == NEW]
    equations = [
        (equation.output, equation.both("text")[side == NEW]) for equation in block.equations
    ]
    texts = [f"[{output}] = {text}" for output, text in equations if text is not None]
    short = texts[0].partition(" = ")[2] if len(texts) == 1 else f"{len(texts)} equations"
    lines.append(clipped(short if texts else status, _BLOCK_COLUMNS))
    about = [f"block {path}: {block.change}", *texts[:_MOST_EQUATIONS]]
    if len(texts) > _MOST_EQUATIONS:
        about.append(f"and {len(texts) - _MOST_EQUATIONS} more equations")
    kind = "neural" if status == "neural" else "block"
    mark, note = _block_mark(vertex, block)
    return Face(kind, mark, tuple(lines), note, (*about, *node_facts), node.name)


def _block_mark(vertex: Vertex, block: BlockDiff) -> tuple[str, str]:
    """By the block's class, but a node that is on both sides is neither added nor removed."""
    mark, sign, words = vertex.mark, SIGNS[block.change], str(block.change)
    if vertex.sides == BOTH:
        old, new = block.both("status")
        if old and new and old != new:
            sign, words = SIGNS["changed"], f"{old} → {new}"
        if mark == SAME and block.change not in (Change.IDENTICAL, Change.REWRITTEN):
            mark = "changed"
    return mark, clipped(f"{sign} {words}", _BLOCK_COLUMNS)


def _fold_face(cell: Cell, side: int) -> Face:
    count, changed = cell.count(side), cell.hidden_changes
    nodes = [vertex.on(side) for vertex in cell.vertices]
    operators = Counter(operator(node) for node in nodes if node is not None)
    usual = [f"{number} {name}" for name, number in operators.most_common(8)]
    title = f"{count:,} nodes" if changed else f"{count:,} unchanged nodes"
    note = f"{SIGNS['changed']} {changed:,} changed, not drawn" if changed else ""
    lines = (title, clipped(", ".join(usual), _COLUMNS)) if usual else (title,)
    about = [title, note, *usual, "..." if len(operators) > 8 else ""]
    mark = "changed" if changed else SAME
    return Face("fold", mark, lines, note, tuple(line for line in about if line))
