"""Where cells and lanes of a folded graph stand: one set of places for both sides."""

from __future__ import annotations

from dataclasses import dataclass

from symcompile.diff.drawing.faces import Face, face, size
from symcompile.diff.drawing.folding import Folded
from symcompile.diff.drawing.layers import Layers, layered
from symcompile.diff.drawing.ordering import ordered
from symcompile.diff.drawing.positions import horizontal, vertical
from symcompile.diff.drawing.union import NEW, OLD

MARGIN = 14.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Places:
    """Places in pixels from the left upper corner.

    Attributes:
        rows: items of each layer from left to right.
        faces: of each cell, by side.
        sizes: width and height of each cell.
        x: the middle of each item.
        tops, tall: upper edge and height of each layer.
    """

    folded: Folded
    layers: Layers
    rows: list[list[int]]
    faces: list[dict[int, Face]]
    sizes: list[tuple[float, float]]
    x: list[float]
    tops: list[float]
    tall: list[float]

    @classmethod
    def of(cls, folded: Folded) -> Places:
        faces = [
            {side: face(cell, side) for side in (OLD, NEW) if cell.sides & side}
            for cell in folded.cells
        ]
        sizes = [size(list(one.values())) for one in faces]
        layers = layered(folded)
        rows = ordered(layers)
        x = [MARGIN + one for one in horizontal(layers, rows, [width for width, _ in sizes])]
        tops, tall = vertical(layers, rows, [height for _, height in sizes], x)
        return cls(folded, layers, rows, faces, sizes, x, [MARGIN + y for y in tops], tall)

    @property
    def width(self) -> float:
        ends = [self.right(cell) for cell in range(len(self.sizes))]
        return max([*ends, *self.x], default=0.0) + MARGIN

    @property
    def height(self) -> float:
        return (self.tops[-1] + self.tall[-1] if self.tops else 0.0) + MARGIN

    def left(self, cell: int) -> float:
        return self.x[cell] - self.sizes[cell][0] / 2

    def right(self, cell: int) -> float:
        return self.x[cell] + self.sizes[cell][0] / 2

    def top(self, cell: int) -> float:
        layer = self.layers.layer[cell]
        return self.tops[layer] + (self.tall[layer] - self.sizes[cell][1]) / 2

    def bottom(self, cell: int) -> float:
        return self.top(cell) + self.sizes[cell][1]

    def through(self, item: int) -> tuple[Point, Point]:
        """Where an upright line through an item enters and leaves its layer."""
        layer = self.layers.layer[item]
        x, top = self.x[item], self.tops[layer]
        return (x, top), (x, top + self.tall[layer])
