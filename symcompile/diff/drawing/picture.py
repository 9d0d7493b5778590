"""Two graphs as one picture: every box and line with its place, for either side.

Lines run along the lanes of their edges and curve between the layers only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from symcompile.diff.drawing.faces import Face
from symcompile.diff.drawing.layout import Edge, Layout, Point, Route
from symcompile.diff.drawing.union import BOTH, CONTEXT, MOST_DRAWN, NEW, OLD, SAME, fold, unite
from symcompile.diff.result import BlockDiff, NodesDiff

# How far a band reaches beyond the boxes of its layer.
_BEYOND = 6.0
# Between the ends of edges along the top of a box, and from its corners to the outer ones.
_PORTS_APART, _CORNER = 12.0, 14.0
_STUB = 12.0


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
class Line:
    """A piece of edges.

    Attributes:
        mark: "same", "removed" or "added".
        points: it runs through these, upright in each.
        source, target: cells; the target is None where edges to several go on.
        arrow: whether it ends in an arrow head.
        stub: whether it is the end of an edge that is not drawn in full.
    """

    mark: str
    points: tuple[Point, ...]
    source: int
    target: int | None
    arrow: bool
    stub: bool = False


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
        boxes, lines: by side, OLD and NEW; what changed lies on top.
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
    layout = Layout.of(fold(unite(nodes, blocks), most, context))
    drawn = Picture(layout.width, layout.height, bands=list(_bands(layout)))
    for side in (OLD, NEW):
        drawn.boxes[side] = list(_boxes(layout, side))
        drawn.lines[side] = sorted(_lines(layout, side), key=lambda line: line.mark != SAME)
        drawn.folded[side] = layout.folded.hidden(side)
    drawn.stubs = sum(not route.items for route in layout.layers.routes)
    return drawn


def _boxes(layout: Layout, side: int) -> Iterator[Box]:
    for number, cell in enumerate(layout.folded.cells):
        face = layout.faces[number].get(side)
        if face is not None:
            block = None if cell.folded else cell.vertices[0].block
            x, y = layout.left(number), layout.top(number)
            yield Box(number, x, y, *layout.sizes[number], face, block)


def _bands(layout: Layout) -> Iterator[Band]:
    for row, y, height in zip(layout.rows, layout.tops, layout.tall, strict=True):
        cells = [cell for cell in row if cell < layout.layers.n_cells]
        marks = {face.mark for cell in cells for face in layout.faces[cell].values()} - {SAME}
        if marks:
            mark = marks.pop() if len(marks) == 1 else "changed"
            yield Band(mark, y - _BEYOND, height + 2 * _BEYOND)


# --- lines ---------------------------------------------------------------------------------------


def _lines(layout: Layout, side: int) -> Iterator[Line]:
    """All that a side shows of its edges."""
    routes = [route for route in layout.layers.routes if route.sides & side]
    ports = _ports(layout, routes)
    drawn: set[Edge] = set()
    for route in routes:
        mark = SAME if route.sides == BOTH else "removed" if route.sides == OLD else "added"
        if route.items and not route.back:
            # The part of a lane that other edges may use too, each piece of it once.
            for upper, lower in pairwise(route.items[:-1]):
                if (upper, lower) not in drawn:
                    drawn.add((upper, lower))
                    points = (*_out_of(layout, upper), *layout.through(lower))
                    yield Line(mark, points, route.source, None, arrow=False)
        y = layout.bottom(route.target) if route.back else layout.top(route.target)
        points = _last_piece(layout, route, (ports[route.source, route.target], y))
        yield Line(mark, points, route.source, route.target, arrow=True, stub=not route.items)


def _last_piece(layout: Layout, route: Route, end: Point) -> tuple[Point, ...]:
    """From the lane, if there is one, to the target; of an edge that points back all of it."""
    if not route.items:
        return (end[0], end[1] + (_STUB if route.back else -_STUB)), end
    if route.back:
        return _upward(layout, route.items, end)
    top = layout.through(route.target)[0][1]
    points = (*_out_of(layout, route.items[-2]), (end[0], top), end)
    return tuple(dict.fromkeys(points))


def _upward(layout: Layout, items: tuple[int, ...], end: Point) -> tuple[Point, ...]:
    """From the top of the lower cell to the bottom of the upper one."""
    upper, lower = items[0], items[-1]
    points = [(layout.x[lower], layout.top(lower)), layout.through(lower)[0]]
    for item in reversed(items[1:-1]):
        points += reversed(layout.through(item))
    points += [(end[0], layout.through(upper)[1][1]), end]
    return tuple(dict.fromkeys(points))


def _out_of(layout: Layout, item: int) -> tuple[Point, ...]:
    """From the lower edge of an item to that of its layer."""
    x, end = layout.through(item)[1]
    if item < layout.layers.n_cells and layout.bottom(item) < end:
        return (x, layout.bottom(item)), (x, end)
    return ((x, end),)


def _ports(layout: Layout, routes: list[Route]) -> dict[Edge, float]:
    """Where along a box each edge ends, by (source, target): from left to right as they come."""
    coming: dict[tuple[int, bool], list[tuple[float, int]]] = defaultdict(list)
    for route in routes:
        last = route.items[1 if route.back else -2] if route.items else route.source
        coming[route.target, route.back].append((layout.x[last], route.source))
    ports = {}
    for (target, back), edges in coming.items():
        edges.sort()
        left, right = layout.left(target) + _CORNER, layout.right(target) - _CORNER
        # A line that points back ends beside those that leave.
        left = (left + 3 * right) / 4 if back else left
        ends = spread([x for x, _ in edges], left, right, _PORTS_APART)
        ports.update({(source, target): x for (_, source), x in zip(edges, ends, strict=True)})
    return ports


def spread(wanted: list[float], left: float, right: float, apart: float) -> list[float]:
    """Ascending places between two ends, near the wanted ones and if possible so far apart."""
    apart = min(apart, (right - left) / max(len(wanted) - 1, 1))
    places: list[float] = []
    for x in wanted:
        least = places[-1] + apart if places else left
        places.append(max(min(x, right), least))
    most = right
    for k in reversed(range(len(places))):
        places[k] = min(places[k], most)
        most = places[k] - apart
    return places
