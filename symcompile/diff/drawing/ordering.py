"""The order of items within layers: few crossings, by barycentres.

K. Sugiyama, S. Tagawa, M. Toda: Methods for visual understanding of hierarchical system structures,
IEEE Transactions on Systems, Man, and Cybernetics 11 (1981).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from symcompile.diff.drawing.layers import Layers
from symcompile.diff.drawing.union import NEW, OLD

_SWEEPS = 12
# Which lanes start on the left, by their numbers; cells have 0. Of many pieces the first only.
_STARTS: tuple[Callable[[int], bool], ...] = (
    lambda lane: False,
    lambda lane: lane > 0,
    lambda lane: lane % 2 == 1,
)
_MANY = 1500

Segments = Mapping[tuple[int, int], int]


def ordered(layers: Layers) -> list[list[int]]:
    """The items of each layer from left to right.

    What the barycentres leave open stays as it was, so the sweeps start from several orders: all
    lanes to the right of the cells, to the left, on both sides by turns.
    """
    best: list[list[int]] = layers.rows()
    fewest = crossings(best, layers.segments)
    starts = _STARTS if len(layers.segments) < _MANY else _STARTS[:1]
    for on_the_left in starts:
        if fewest:
            rows, found = _best_sweep(_start(layers, on_the_left), layers.segments)
            if found < fewest:
                best, fewest = rows, found
    return best


def _start(layers: Layers, on_the_left: Callable[[int], bool]) -> list[list[int]]:
    rows = layers.rows()
    for row in rows:
        row.sort(key=lambda item: not on_the_left(layers.lane.get(item, 0)))
    return rows


def _best_sweep(rows: list[list[int]], segments: Segments) -> tuple[list[list[int]], int]:
    """Sweeps down and up; the order with the fewest crossings, and how many they are."""
    above, below = _neighbours(segments)
    best, fewest = rows, crossings(rows, segments)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        rows = _swept(rows, above if down else below, down)
        found = crossings(rows, segments)
        if found < fewest:
            best, fewest = rows, found
    return best, fewest


def crossings(rows: Sequence[Sequence[int]], segments: Segments) -> int:
    """How often two pieces of edges cross, counted on each side, where they can be seen."""
    place = {item: k for row in rows for k, item in enumerate(row)}
    layer = {item: k for k, row in enumerate(rows) for item in row}
    found = 0
    for side in (OLD, NEW):
        gaps: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (a, b), sides in segments.items():
            if sides & side:
                gaps[layer[a]].append((place[a], place[b]))
        found += sum(_inversions([b for _, b in sorted(gap)]) for gap in gaps.values())
    return found


def _inversions(values: Sequence[int]) -> int:
    """Pairs in the wrong order."""
    found, seen = 0, list[int]()
    for value in values:
        found += len(seen) - bisect_right(seen, value)
        insort(seen, value)
    return found


def _neighbours(segments: Segments) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    above: dict[int, list[int]] = defaultdict(list)
    below: dict[int, list[int]] = defaultdict(list)
    for a, b in segments:
        above[b].append(a)
        below[a].append(b)
    return above, below


def _swept(rows: list[list[int]], fixed: Mapping[int, list[int]], down: bool) -> list[list[int]]:
    """Each layer sorted by where its neighbours in the layer before it stand."""
    found = [list(row) for row in rows]
    order = range(1, len(found)) if down else range(len(found) - 2, -1, -1)
    for k in order:
        before = found[k - 1 if down else k + 1]
        place = {item: j / max(len(before) - 1, 1) for j, item in enumerate(before)}
        size = max(len(found[k]) - 1, 1)
        own = {item: j / size for j, item in enumerate(found[k])}

        def centre(
            item: int, place: dict[int, float] = place, own: dict[int, float] = own
        ) -> float:
            places = [place[other] for other in fixed.get(item, ())]
            return sum(places) / len(places) if places else own[item]

        found[k].sort(key=centre)
    return found
