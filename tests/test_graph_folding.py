"""Both graphs in one, and what of a large one is drawn."""

from __future__ import annotations

from dataclasses import replace

import diffs
import pytest
from drawn_graphs import CASES, RESIDUAL, by_name, chain, compared, inserted, layers_of, scattered

from symcompile.diff.drawing.picture import picture
from symcompile.diff.drawing.union import NEW, OLD, Vertex, fold, unite
from symcompile.diff.result import BlockDiff, Change, NodesDiff
from symcompile.storage.schema import Node

IDENTICAL = Change.IDENTICAL

each_case = pytest.mark.parametrize("case", CASES)

# --- the union -----------------------------------------------------------------------------------


@each_case
def test_the_union_has_every_node_and_edge_of_both_sides(case: str) -> None:
    nodes = CASES[case]()
    union = unite(nodes)
    for side, rows in ((OLD, nodes.old_nodes), (NEW, nodes.new_nodes)):
        names = [(v.old if side == OLD else v.new) for v in union.vertices if v.sides & side]
        assert sorted(node.name for node in names if node) == sorted(row.name for row in rows)
        drawn = {
            (_name(union.vertices[a], side), _name(union.vertices[b], side))
            for (a, b), sides in union.edges.items()
            if sides & side
        }
        assert drawn == {(read, row.name) for row in rows for read in row.inputs}


def _name(vertex: Vertex, side: int) -> str:
    node = vertex.old if side == OLD else vertex.new
    assert node is not None
    return node.name


@each_case
def test_only_edges_of_the_old_side_point_back(case: str) -> None:
    union = unite(CASES[case]())
    assert {sides for (a, b), sides in union.edges.items() if a > b} <= {OLD}


def test_a_matched_node_stands_once() -> None:
    vertices = unite(inserted()).vertices
    assert len(vertices) == len(RESIDUAL) + 1
    assert [v.node.name for v in vertices if v.mark != "same"] == ["extra1"]


def test_odd_rows_are_drawn_as_far_as_they_go() -> None:
    """A node's name may be there twice; nodes may read what is not there, or comes later."""
    rows = (
        Node("a", "op", ("nowhere", "b")), Node("b", "op", ("a", "a")), Node("b", "op", ("b",)),
        Node("c", "op", ("c", "b")),
    )  # fmt: skip
    nodes = NodesDiff("aten", pairs=(("a", "c"), ("b", "b"), ("c", "c"), ("c", "b")),
                      old_nodes=rows, new_nodes=rows)  # fmt: skip
    drawn = picture(nodes)
    assert len(drawn.boxes[NEW]) == len(rows)


def test_a_block_is_found_by_its_name_on_either_side() -> None:
    block = replace(diffs.drifted("head"), renamed_from="old_head")
    old, new = (Node("x", "input"), Node("h", "region:old_head", ("x",))), (
        Node("x", "input"), Node("h", "region:head", ("x",)))  # fmt: skip
    (call,) = [v for v in unite(compared(old, new), [block]).vertices if v.is_block]
    assert call.block is block


# --- what is drawn -------------------------------------------------------------------------------


def test_a_small_graph_is_drawn_whole() -> None:
    folded = fold(unite(inserted()))
    assert not any(cell.folded for cell in folded.cells)


def test_what_is_around_a_change_is_drawn_and_the_rest_folded() -> None:
    nodes = compared(chain(100), chain(100), "n50")
    drawn = picture(nodes)
    kept = [
        box.face.name or box.face.lines[0] for box in sorted(drawn.boxes[NEW], key=lambda b: b.y)
    ]
    assert kept == [
        "48 unchanged nodes", "n48", "n49", "n50", "n51", "n52", "47 unchanged nodes",
    ]  # fmt: skip
    assert drawn.folded == {OLD: 95, NEW: 95}


def test_a_stretch_of_two_is_not_worth_a_fold() -> None:
    nodes = compared(chain(100), chain(100), "n50", "n57")
    names = set(by_name(picture(nodes), NEW))
    assert {"n53", "n54"} <= names


def test_a_model_without_changes_is_one_stretch() -> None:
    drawn = picture(layers_of(1002, 0))
    assert [box.face.lines[0] for box in sorted(drawn.boxes[OLD], key=lambda b: b.y)] == [
        "input", "1,000 unchanged nodes", "output",
    ]  # fmt: skip


def test_what_everything_reads_draws_nothing_near() -> None:
    rows = [Node("size", "sym_size")]
    rows += [Node(f"n{k}", "view", (f"n{k - 1}", "size") if k else ("size",)) for k in range(200)]
    nodes = compared(tuple(rows), tuple(rows), "n100")
    assert set(by_name(picture(nodes), NEW)) == {"n98", "n99", "n100", "n101", "n102", "size"}


@pytest.mark.parametrize("changes", [0, 3, 30, 120, 600])
def test_a_folded_graph_loses_no_node_and_gets_no_cycle(changes: int) -> None:
    nodes = layers_of(2000, changes)
    folded = fold(unite(nodes))
    assert sum(cell.count(OLD) for cell in folded.cells) == len(nodes.old_nodes)
    assert all(a < b for a, b in folded.edges)
    assert len(folded.cells) <= 300


@pytest.mark.parametrize("seed", range(8))
def test_folding_a_random_graph_gives_no_cycle(seed: int) -> None:
    union = unite(scattered(seed, 300, 0.02))
    folded = fold(union, most=120, context=1)
    assert len(folded.cells) <= 120
    assert any(cell.folded for cell in folded.cells)
    back = [edge for edge in folded.edges if edge[0] > edge[1]]
    assert all(folded.edges[edge] == OLD for edge in back)


def test_blocks_that_did_not_change_give_way_first() -> None:
    rows = [Node("n0", "op")]
    for k in range(1, 3000):
        kind = f"region:block{k}" if k % 30 == 0 else "op"
        rows.append(Node(f"n{k}", kind, (f"n{k - 1}",)))
    blocks = [BlockDiff(f"block{k}", IDENTICAL) for k in range(30, 3000, 30)]
    nodes = compared(tuple(rows), tuple(rows), "n1015", "n2015")
    few = {box.face.name for box in picture(nodes, blocks, most=250).boxes[NEW]}
    assert {"n1013", "n1014", "n1015", "n1016", "n1017", "n30", "n60"} <= few
    assert "n31" not in few
    fewer = {box.face.name for box in picture(nodes, blocks, most=40).boxes[NEW]}
    assert {"n1013", "n1017", "n2013", "n2017"} <= fewer
    assert "n30" not in fewer


def test_changes_that_are_too_many_are_counted() -> None:
    drawn = picture(layers_of(3000, 2500))
    (old, new) = (drawn.boxes[side] for side in (OLD, NEW))
    assert max(len(old), len(new)) <= 300
    folds = [box.face for box in new if box.face.kind == "fold"]
    hidden = sum(int(one.note.split()[1].replace(",", "")) for one in folds if one.note)
    shown = sum(box.face.mark == "changed" for box in new if box.face.kind != "fold")
    assert hidden + shown == 2500
    assert all(one.mark == "changed" for one in folds if one.note)


def test_thousands_of_parallel_nodes_are_one_stretch() -> None:
    rows = (Node("x", "input"), *(Node(f"n{k}", "op", ("x",)) for k in range(4000)))
    drawn = picture(compared(rows, rows, "n7", "n8"))
    assert [box.face.lines[0] for box in drawn.boxes[NEW]].count("3,998 unchanged nodes") == 1
    assert {"n7", "n8"} <= set(by_name(drawn, NEW))
