"""The lines of one side: edges along their lanes, which curve between the layers only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from symcompile.diff.drawing.layers import Route
from symcompile.diff.drawing.places import Places, Point
from symcompile.diff.drawing.union import BOTH, OLD, SAME

# Between the ends of edges along the top of a box, and from its corners to the outer ones.
_PORTS_APART, _CORNER = 12.0, 14.0
_STUB = 12.0

# Where along a box an edge ends, by (source, target).
Ports = dict[tuple[int, int], float]


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


def lines(places: Places, side: int) -> Iterator[Line]:
    """All that a side shows of its edges."""
    routes = [route for route in places.layers.routes if route.sides & side]
    ports = _ports(places, routes)
    seen: set[tuple[int, int]] = set()
    for route in routes:
        end = _end(places, route, ports)
        if route.items and not route.back:
            yield from _trunk(places, route, seen)
        points = _last_piece(places, route, end)
        stub = not route.items
        yield Line(_mark(route), points, route.source, route.target, arrow=True, stub=stub)


def _mark(route: Route) -> str:
    return SAME if route.sides == BOTH else "removed" if route.sides == OLD else "added"


def _last_piece(places: Places, route: Route, end: Point) -> tuple[Point, ...]:
    """From the lane, if there is one, to the target; of an edge that points back all of it."""
    if not route.items:
        return (end[0], end[1] + (_STUB if route.back else -_STUB)), end
    if route.back:
        return _upward(places, route.items, end)
    top = places.through(route.target)[0][1]
    points = (*_out_of(places, route.items[-2]), (end[0], top), end)
    return tuple(dict.fromkeys(points))


def _trunk(places: Places, route: Route, seen: set[tuple[int, int]]) -> Iterator[Line]:
    """The part of a lane that other edges may use too, each piece of it once."""
    for pair in pairwise(route.items[:-1]):
        if pair not in seen:
            seen.add(pair)
            points = (*_out_of(places, pair[0]), *places.through(pair[1]))
            yield Line(_mark(route), points, route.source, None, arrow=False)


def _upward(places: Places, items: tuple[int, ...], end: Point) -> tuple[Point, ...]:
    """From the top of the lower cell to the bottom of the upper one."""
    upper, lower = items[0], items[-1]
    points = [(places.x[lower], places.top(lower)), places.through(lower)[0]]
    for item in reversed(items[1:-1]):
        points += reversed(places.through(item))
    points += [(end[0], places.through(upper)[1][1]), end]
    return tuple(dict.fromkeys(points))


def _out_of(places: Places, item: int) -> tuple[Point, ...]:
    """From the lower edge of an item to that of its layer."""
    x, end = places.through(item)[1]
    if item < places.layers.n_cells and places.bottom(item) < end:
        return (x, places.bottom(item)), (x, end)
    return ((x, end),)


# --- where edges end -----------------------------------------------------------------------------


def _end(places: Places, route: Route, ports: Ports) -> Point:
    y = places.bottom(route.target) if route.back else places.top(route.target)
    return ports[route.source, route.target], y


def _ports(places: Places, routes: list[Route]) -> Ports:
    """From left to right as the edges come."""
    coming: dict[tuple[int, bool], list[tuple[float, int]]] = {}
    for route in routes:
        last = route.items[1 if route.back else -2] if route.items else route.source
        edges = coming.setdefault((route.target, route.back), [])
        edges.append((places.x[last], route.source))
    found = {}
    for (target, back), edges in coming.items():
        edges.sort()
        left, right = places.left(target) + _CORNER, places.right(target) - _CORNER
        # A line that points back ends beside those that leave.
        left = (left + 3 * right) / 4 if back else left
        ends = spread([x for x, _ in edges], left, right, _PORTS_APART)
        found.update({(source, target): x for (_, source), x in zip(edges, ends, strict=True)})
    return found


def spread(wanted: list[float], left: float, right: float, apart: float) -> list[float]:
    """Ascending places between two ends, near the wanted ones and if possible so far apart."""
    apart = min(apart, (right - left) / max(len(wanted) - 1, 1))
    found: list[float] = []
    for x in wanted:
        least = found[-1] + apart if found else left
        found.append(max(min(x, right), least))
    most = right
    for k in reversed(range(len(found))):
        found[k] = min(found[k], most)
        most = found[k] - apart
    return found
