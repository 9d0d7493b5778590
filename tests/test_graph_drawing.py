"""Where two graphs stand in one picture: aligned, apart, and with lines around the boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from drawn_graphs import (
    CASES,
    RESIDUAL,
    by_name,
    chain,
    compared,
    drawn_case,
    graph,
    inserted,
    layers_of,
    scattered,
    swapped,
)

from symcompile.diff.drawing.faces import COLUMN, LINE, columns_of
from symcompile.diff.drawing.layout import crossings, layered, ordered
from symcompile.diff.drawing.picture import Line, Picture, picture, spread
from symcompile.diff.drawing.union import BOTH, NEW, OLD, fold, unite
from symcompile.diff.formats.html import svg
from symcompile.diff.result import NodesDiff
from symcompile.storage.schema import Node

each_case = pytest.mark.parametrize("case", CASES)

# --- where it stands -----------------------------------------------------------------------------


@each_case
def test_a_matched_node_stands_at_the_same_place_on_both_sides(case: str) -> None:
    nodes, drawn = CASES[case](), drawn_case(case)
    old, new = by_name(drawn, OLD), by_name(drawn, NEW)
    pairs = [(old[a], new[b]) for a, b in nodes.pairs if a in old and b in new]
    assert pairs or not nodes.pairs
    for a, b in pairs:
        assert (a.x, a.y, a.width, a.height) == (b.x, b.y, b.width, b.height)
        assert a.cell == b.cell


@each_case
@pytest.mark.parametrize("side", [OLD, NEW])
def test_no_boxes_overlap(case: str, side: int) -> None:
    drawn = drawn_case(case)
    for a, b in combinations(drawn.boxes[side], 2):
        apart_x = max(a.x, b.x) - min(a.x + a.width, b.x + b.width)
        apart_y = max(a.y, b.y) - min(a.y + a.height, b.y + b.height)
        assert max(apart_x, apart_y) > 8, (a.face.lines, b.face.lines)


@each_case
def test_everything_is_inside_of_the_picture(case: str) -> None:
    drawn = drawn_case(case)
    for side in (OLD, NEW):
        for box in drawn.boxes[side]:
            assert 0 < box.x < box.x + box.width < drawn.width
            assert 0 < box.y < box.y + box.height < drawn.height
        for line in drawn.lines[side]:
            assert all(0 < x < drawn.width and 0 < y < drawn.height for x, y in line.points)


@each_case
def test_labels_fit_into_their_boxes(case: str) -> None:
    drawn = drawn_case(case)
    for side in (OLD, NEW):
        for box in drawn.boxes[side]:
            lines = [*box.face.lines, *([box.face.note] if box.face.note else [])]
            assert LINE * len(lines) < box.height
            assert all(COLUMN * columns_of(line) < box.width - 12 for line in lines)


@each_case
@pytest.mark.parametrize("side", [OLD, NEW])
def test_no_line_runs_through_a_box(case: str, side: int) -> None:
    drawn = drawn_case(case)
    for line in drawn.lines[side]:
        for x, y in _along(line):
            for box in drawn.boxes[side]:
                beside = min(x - box.x, box.x + box.width - x)
                inside = min(beside, y - box.y, box.y + box.height - y) > 1e-6
                assert not inside, (line, box.face.lines)


def _along(line: Line) -> Iterator[tuple[float, float]]:
    """Points of the curve that the picture shows: upright at both ends of every piece."""
    for (x0, y0), (x1, y1) in pairwise(line.points):
        middle = (y0 + y1) / 2
        for k in range(1, 20):
            t = k / 20
            s = 1 - t
            yield (
                s**3 * x0 + 3 * s * s * t * x0 + 3 * s * t * t * x1 + t**3 * x1,
                s**3 * y0 + 3 * s * s * t * middle + 3 * s * t * t * middle + t**3 * y1,
            )


@each_case
@pytest.mark.parametrize("side", [OLD, NEW])
def test_every_edge_is_a_line_from_its_source_to_its_target(case: str, side: int) -> None:
    nodes = CASES[case]()
    drawn = picture(nodes, most=1000, context=1000)
    names = {box.cell: box.face.name for box in drawn.boxes[side]}
    ends = {
        (names[one.source], names[one.target])
        for one in drawn.lines[side]
        if one.target is not None and one.arrow
    }
    rows = nodes.old_nodes if side == OLD else nodes.new_nodes
    assert ends == {(read, row.name) for row in rows for read in row.inputs}
    _check_connected(drawn, side)


def _check_connected(drawn: Picture, side: int) -> None:
    """A piece starts at its source's box, or where another piece of the same source ends."""
    boxes = {box.cell: box for box in drawn.boxes[side]}
    ends = {(line.source, line.points[-1]) for line in drawn.lines[side]}
    for line in drawn.lines[side]:
        x, y = line.points[0]
        box = boxes[line.source]
        at_box = box.x <= x <= box.x + box.width and y in (box.y, box.y + box.height)
        assert at_box or (line.source, (x, y)) in ends
        if line.target is not None:
            x, y = line.points[-1]
            box = boxes[line.target]
            assert box.x <= x <= box.x + box.width
            assert y in (box.y, box.y + box.height)


@each_case
def test_what_a_node_reads_is_above_it(case: str) -> None:
    nodes = CASES[case]()
    boxes = by_name(drawn_case(case), NEW)
    for row in nodes.new_nodes:
        for read in row.inputs:
            if row.name in boxes and read in boxes:
                assert boxes[read].y + boxes[read].height < boxes[row.name].y


def test_a_main_path_is_straight_and_the_skip_bends_around() -> None:
    boxes = by_name(picture(compared(RESIDUAL, RESIDUAL)), NEW)
    assert len({round(box.x + box.width / 2, 3) for box in boxes.values()}) == 1


def test_what_replaces_a_node_takes_its_place() -> None:
    old = graph("input:", "relu: input", "output: relu")
    new = graph("input:", "gelu: input", "output: gelu")
    drawn = picture(compared(old, new))
    relu, gelu = by_name(drawn, OLD)["relu"], by_name(drawn, NEW)["gelu"]
    assert (relu.x + relu.width / 2, relu.y) == (gelu.x + gelu.width / 2, gelu.y)


def test_an_insertion_shows_as_two_edges_for_one() -> None:
    drawn = picture(inserted())
    names = {box.cell: box.face.name for box in drawn.boxes[NEW]}
    marks = {
        side: sorted(
            (one.mark, names[one.source], names[one.target])
            for one in drawn.lines[side]
            if one.target is not None and one.mark != "same"
        )
        for side in (OLD, NEW)
    }
    assert marks[OLD] == [("removed", "relu2", "linear4")]
    assert marks[NEW] == [("added", "extra1", "linear4"), ("added", "relu2", "extra1")]


def test_an_edge_against_the_new_order_runs_upward_on_the_old_side() -> None:
    drawn = picture(swapped())
    upward = [one for one in drawn.lines[OLD] if one.points[0][1] > one.points[-1][1]]
    names = {box.cell: box.face.name for box in drawn.boxes[OLD]}
    assert [(names[one.source], names[one.target or 0]) for one in upward] == [("norm", "tanh")]
    assert all(one.mark == "removed" and one.arrow for one in upward)


def test_one_lane_serves_all_that_read_a_node() -> None:
    rows = [Node("x", "input"), *chain(20)]
    rows[1:] = [replace(row, inputs=(*row.inputs, "x")) for row in rows[1:]]
    layers = layered(fold(unite(compared(tuple(rows), tuple(rows)))))
    lanes = layers.layer[layers.n_cells :]
    assert len(lanes) == len(set(lanes))


def test_long_edges_that_are_too_many_are_stubs() -> None:
    folded = fold(unite(scattered(1, 60)))
    assert all(route.items for route in layered(folded).routes)
    few = layered(folded, most_lanes=10)
    stubs = [route for route in few.routes if not route.items]
    assert stubs
    assert len(few.layer) - few.n_cells <= 10


def test_a_constant_stands_near_the_node_that_reads_it() -> None:
    rows = [*chain(10), Node("scale", "constant")]
    rows.insert(0, rows.pop())
    rows[-1] = replace(rows[-1], inputs=("n8", "scale"))
    boxes = by_name(picture(compared(tuple(rows), tuple(rows))), NEW)
    assert boxes["scale"].y == boxes["n8"].y


def test_bands_mark_the_layers_in_which_something_changed() -> None:
    drawn = picture(inserted())
    (band,) = drawn.bands
    box = by_name(drawn, NEW)["extra1"]
    assert band.mark == "added"
    assert band.y < box.y < box.y + box.height < band.y + band.height


def test_crossings_are_counted_on_each_side_alone() -> None:
    rows = [[0, 1], [2, 3]]
    assert crossings(rows, {(0, 3): BOTH, (1, 2): BOTH}) == 2
    assert crossings(rows, {(0, 3): OLD, (1, 2): BOTH}) == 1
    assert crossings(rows, {(0, 3): OLD, (1, 2): NEW}) == 0
    assert crossings(rows, {(0, 2): BOTH, (1, 3): BOTH}) == 0


def test_the_order_within_layers_avoids_crossings() -> None:
    rows = graph("a:", "b:", "c:", "d: c", "e: b", "f: a", "g: d", "h: e", "i: f")
    layers = layered(fold(unite(compared(rows, rows))))
    assert crossings(layers.rows(), layers.segments) > 0
    assert crossings(ordered(layers), layers.segments) == 0


def test_skips_that_overlap_bend_around_on_either_side() -> None:
    rows = graph("a:", "b: a", "c: b", "d: c a", "e: d", "f: e b")
    layers = layered(fold(unite(compared(rows, rows))))
    assert crossings(layers.rows(), layers.segments) > 0
    assert crossings(ordered(layers), layers.segments) == 0


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([50.0], [50.0]),
        ([-10.0, 50.0], [0.0, 50.0]),
        ([50.0, 51.0, 52.0], [50.0, 60.0, 70.0]),
        ([500.0, 501.0], [90.0, 100.0]),
        ([0.0] * 21, [5.0 * k for k in range(21)]),
    ],
)
def test_ends_of_edges_are_spread_along_a_box(wanted: list[float], found: list[float]) -> None:
    assert spread(wanted, 0.0, 100.0, 10.0) == pytest.approx(found)


@each_case
def test_the_same_graphs_give_the_same_picture(case: str) -> None:
    assert picture(CASES[case]()) == drawn_case(case)


def test_no_graph_is_an_empty_picture() -> None:
    drawn = picture(NodesDiff("aten"))
    assert drawn.boxes == {OLD: [], NEW: []}
    assert "<g" not in svg(drawn, OLD, "old")


def test_five_thousand_nodes_with_thirty_changes() -> None:
    nodes = layers_of(5002, 30)
    drawn = picture(nodes)
    changed = {change.new.name for change in nodes.changed}
    names = by_name(drawn, NEW)
    assert changed <= set(names)
    assert len(drawn.boxes[NEW]) <= 300
    assert len(names) + drawn.folded[NEW] == len(nodes.new_nodes)
    assert len(svg(drawn, NEW, "new")) < 400_000
