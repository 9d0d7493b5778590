"""Two graphs as one layout: every box and line with its place, for either side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from symcompile.diff.drawing.faces import Face
from symcompile.diff.drawing.folding import CONTEXT, MOST_DRAWN, fold
from symcompile.diff.drawing.lines import Line, lines
from symcompile.diff.drawing.places import Places
from symcompile.diff.drawing.union import NEW, OLD, SAME, unite
from symcompile.diff.result import BlockDiff, NodesDiff

# How far a band reaches beyond the boxes of its layer.
_BEYOND = 6.0


@dataclass(frozen=True)
class Box:
    """A cell on one side; x and y are its left upper corner, in pixels."""

    cell: int
    x: float
    y: float
    width: float
    height: float
    face: Face
    block: BlockDiff | None = None


@dataclass(frozen=True)
class Band:
    """A layer in which something changed: its mark, top and height."""

    mark: str
    y: float
    height: float


@dataclass
class Picture:
    """Both sides, which share all places: a cell stands at the same one wherever it is.

    Attributes:
        boxes, lines: by side, OLD and NEW.
        folded: how many nodes of each side have no box of their own.
        stubs: how many edges are not drawn in full.
    """

    width: float = 0.0
    height: float = 0.0
    boxes: dict[int, list[Box]] = field(default_factory=dict)
    lines: dict[int, list[Line]] = field(default_factory=dict)
    bands: list[Band] = field(default_factory=list)
    folded: dict[int, int] = field(default_factory=dict)
    stubs: int = 0


def picture(
    nodes: NodesDiff,
    blocks: Iterable[BlockDiff] = (),
    *,
    most: int = MOST_DRAWN,
    context: int = CONTEXT,
) -> Picture:
    """Lay out the union of both graphs, with at most `most` boxes a side."""
    folded = fold(unite(nodes, blocks), most, context)
    places = Places.of(folded)
    found = Picture(places.width, places.height, bands=list(_bands(places)))
    for side in (OLD, NEW):
        found.boxes[side] = list(_boxes(places, side))
        # What changed lies on top.
        found.lines[side] = sorted(lines(places, side), key=lambda line: line.mark != SAME)
        found.folded[side] = folded.hidden(side)
    found.stubs = sum(not route.items for route in places.layers.routes)
    return found


def _boxes(places: Places, side: int) -> Iterator[Box]:
    for number, cell in enumerate(places.folded.cells):
        if side in places.faces[number]:
            yield Box(
                number,
                places.left(number),
                places.top(number),
                *places.sizes[number],
                places.faces[number][side],
                None if cell.folded else cell.vertices[0].block,
            )


def _bands(places: Places) -> Iterator[Band]:
    for row, y, height in zip(places.rows, places.tops, places.tall, strict=True):
        cells = [cell for cell in row if cell < places.layers.n_cells]
        marks = {one.mark for cell in cells for one in places.faces[cell].values()} - {SAME}
        if marks:
            mark = marks.pop() if len(marks) == 1 else "changed"
            yield Band(mark, y - _BEYOND, height + 2 * _BEYOND)
