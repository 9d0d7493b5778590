"""What stands in the boxes of a picture, and that text of strangers is text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import diffs
import pytest
from drawn_graphs import chain

from symcompile.diff.drawing.faces import clipped, face, operator
from symcompile.diff.drawing.union import NEW, OLD, Cell, Vertex
from symcompile.diff.formats.html import cut, facts_markup
from symcompile.diff.result import Change
from symcompile.storage.schema import Node

DRIFTED = Change.DRIFTED

# --- what is in the boxes ------------------------------------------------------------------------


def _face(node: Node, **rest: object) -> Iterable[str]:
    vertex = Vertex(node, node, **rest)  # type: ignore[arg-type]
    return face(Cell((vertex,)), NEW).lines


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("aten.add.Tensor", "add"),
        ("aten.conv2d.default", "conv2d"),
        ("torch.nn.functional.relu", "relu"),
        ("Conv", "Conv"),
        ("com.microsoft:Gelu", "Gelu"),
        ("odd.", "odd."),
    ],
)
def test_operators_are_shown_without_their_name_space(name: str, short: str) -> None:
    assert operator(Node("n", name)) == short


def test_a_layer_is_named_by_its_module_and_the_rest_by_their_names() -> None:
    layer = Node("linear_3", "aten.linear.default", (), ("a.b.weight", "a.b.bias"))
    assert _face(layer) == ("linear", "a.b")
    assert _face(Node("add_7", "aten.add.Tensor")) == ("add", "add_7")
    assert _face(Node("relu", "aten.relu.default")) == ("relu",)
    assert _face(Node("x", "input")) == ("x", "input")


def test_a_block_shows_the_equation_of_its_side_and_its_class() -> None:
    block = diffs.drifted("edge")
    vertex = Vertex(Node("e", "region:edge"), Node("e", "region:edge"), block=block)
    old, new = (face(Cell((vertex,)), side) for side in (OLD, NEW))
    assert old.lines == ("edge", "2.5*x0*(x1 + 1.5) + 0.3")
    assert new.lines == ("edge", "2.6*x0*(x1 + 1.5) + 0.29")
    assert (new.kind, new.mark, new.note) == ("block", "changed", "≈ coefficients drifted")
    assert new.facts[:2] == (f"block edge: {DRIFTED}", "[0] = 2.6*x0*(x1 + 1.5) + 0.29")


def test_a_block_that_became_neural_has_equations_on_one_side() -> None:
    node = Node("e", "region:restored")
    cell = Cell((Vertex(node, node, block=diffs.removed("restored")),))
    old, new = face(cell, OLD), face(cell, NEW)
    assert (old.kind, old.lines) == ("block", ("restored", "exp(-x0)"))
    assert (new.kind, new.lines) == ("neural", ("restored", "neural"))
    assert old.is_block
    assert new.is_block
    assert {(one.mark, one.note) for one in (old, new)} == {("changed", "~ symbolic → neural")}


def test_a_tooltip_tells_everything() -> None:
    old = Node("linear_1", "aten.linear.default", ("x",), ("w",), "%, @")
    new = replace(old, name="linear_2", attributes="%, @, 2")
    shown = face(Cell((Vertex(old, new, "changed", "arguments differ"),)), NEW)
    assert shown.facts == (
        "aten.linear.default", "name: linear_2", "on the other side: linear_1", "reads: x",
        "weights: w", "arguments: %, @, 2", "changed: arguments differ",
    )  # fmt: skip


def test_a_note_says_in_short_what_changed() -> None:
    old = Node("n", "aten.relu.default", ("x",), (), "%, 1")
    other, moved = replace(old, operator="aten.gelu.default"), replace(old, inputs=("y",))
    faces = [
        face(Cell((Vertex(old, other, "changed", "aten.gelu.default instead of it"),)), OLD),
        face(Cell((Vertex(old, moved, "moved", "reads y instead of x"),)), NEW),
        face(Cell((Vertex(None, old, "added"),)), NEW),
        face(Cell((Vertex(old, old),)), NEW),
    ]
    notes = [one.note for one in faces]
    assert notes == ["~ relu → gelu", "⇄ reads y instead of x", "+ added", ""]


def test_a_stretch_lists_its_operators() -> None:
    rows = [*chain(5), Node("add", "aten.add.Tensor")]
    shown = face(Cell(tuple(Vertex(row, row) for row in rows)), OLD)
    assert shown.lines == ("6 unchanged nodes", "5 op, 1 add")
    assert shown.note == ""


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcdef", 4, "abc…"),
        ("漢字漢字", 8, "漢字漢字"),
        ("漢字漢字", 7, "漢字漢…"),
        ("", 3, ""),
    ],
)
def test_text_is_clipped_by_columns(text: str, columns: int, shown: str) -> None:
    assert clipped(text, columns) == shown


def test_names_can_be_clipped_at_their_start() -> None:
    assert clipped("layers.11.linear1", 9, keep_end=True) == "….linear1"


def test_text_becomes_harmless_markup() -> None:
    assert cut("<a b=\"c\" d='e'>&") == "&lt;a b=&#34;c&#34; d=&#39;e&#39;&gt;&amp;"
    assert cut("a\x1b\u202e\ud800b") == "a???b"


@pytest.mark.parametrize("piece", ["x", "&", '"', "\ud800", "漢"])
def test_a_long_text_is_cut_whatever_it_holds(piece: str) -> None:
    shown = cut(piece * 10_000, 500)
    assert len(shown) < 1100
    assert shown.endswith("… (10,000 characters)")
    assert len(facts_markup([piece * 10_000] * 9, 1000)) <= 1000
