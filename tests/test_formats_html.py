"""The page of a comparison: what stands on it, and that strangers' text stays text."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import diffs
import pytest
from drawn_graphs import compared, inserted, layers_of, swapped

from symcompile.diff.formats.html import to_html
from symcompile.diff.result import (
    Change,
    CoefficientDiff,
    GraphDiff,
    ModelDiff,
    NodesDiff,
    Violation,
)
from symcompile.diff.snapshot import Accuracy
from symcompile.storage.schema import Node

SIGNATURE, CHANGED, ADDED, REMOVED, DRIFTED, WEIGHTS, REWRITTEN, IDENTICAL = Change

TAGS = {
    "a", "article", "b", "body", "code", "defs", "del", "details", "div", "footer", "g", "h1",
    "h2", "h3", "h4", "head", "header", "html", "input", "ins", "label", "li", "marker", "meta",
    "p", "path", "rect", "script", "span", "style", "summary", "svg", "table", "tbody", "td",
    "text", "th", "thead", "title", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {
    "aria-hidden", "aria-label", "charset", "class", "colspan", "content", "d", "data-cell",
    "data-from", "data-sign", "data-to", "height", "hidden", "href", "http-equiv", "id", "lang",
    "markerheight", "markerunits", "markerwidth", "name", "open", "orient", "refx", "refy", "role",
    "rx", "title", "type", "viewbox", "width", "x", "y",
}  # fmt: skip
ALONE = {"meta", "input"}
POISONS = {
    "markup": "<script>alert(1)</script>",
    "quotes": "\"' onload=alert(1) x='",
    "end of comment": "--></style></title></svg><img src=x onerror=alert(1)>",
    "entity": "&lt;b&gt;&amp",
    "control": "\x1b[31m\x00\r\n\x7f\x9b",
    "direction": "\u202eabc\u2066",
    "surrogate": "\ud800",
    "long": "x" * 10_000,
    "long markup": "<&\"'>" * 2_000,
    "address": "javascript:alert(1)//https://example.org",
}


class Page(HTMLParser):
    """Tags, attributes and texts; fails where a tag is left open."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        """Attributes of each such tag that has the class."""
        return [a for name, a in self.tags if name == tag
                if not kind or kind in (a.get("class") or "").split()]  # fmt: skip

    def values(self, name: str) -> list[str]:
        return [value for _, found in self.tags if (value := found.get(name)) is not None]

    def inside(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    @property
    def text(self) -> str:
        return "".join(text for name, text in self.texts if name not in ("style", "script"))


@cache
def page(name: str) -> Page:
    return Page(to_html(diffs.COMPARISONS[name]()))


def shown(**rest: object) -> Page:
    return Page(to_html(GraphDiff(diffs.OLD, diffs.NEW, **rest)))  # type: ignore[arg-type]


# --- the page as a whole -------------------------------------------------------------------------


@pytest.mark.parametrize("name", diffs.COMPARISONS)
def test_a_page_is_well_formed_and_loads_nothing(name: str) -> None:
    _check(page(name))


def _check(found: Page) -> None:
    assert {tag for tag, _ in found.tags} <= TAGS
    assert {name for _, attributes in found.tags for name in attributes} <= ATTRIBUTES
    assert len(found.of("script")) == len(found.of("style")) == 1
    names = found.values("id")
    assert len(names) == len(set(names))
    for address in found.values("href"):
        assert address.startswith("#")
        assert address[1:] in names
    style = found.inside("style")[0]
    assert set(re.findall(r"url\(([^)]*)\)", style)) == {
        "#head-same", "#head-added", "#head-removed",
    }  # fmt: skip
    assert "@import" not in style
    found.source.encode("utf-8")
    assert all(one.isprintable() or one == "\n" for one in found.source)


@pytest.mark.parametrize("name", ["everything", "same", "not compared"])
def test_the_policy_allows_the_pages_own_style_and_script_only(name: str) -> None:
    found = page(name)
    (policy,) = [one["content"] for one in found.of("meta") if "http-equiv" in one]
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'{_digest(''.join(found.inside('style')))}'",
        "script-src": f"'{_digest(''.join(found.inside('script')))}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_everything_is_there_without_the_script() -> None:
    """The script opens nothing and writes nothing but the filter."""
    hidden = [attributes for _, attributes in page("everything").tags if "hidden" in attributes]
    assert [one.get("class") for one in hidden] == ["filter"]


def test_the_title_is_the_users() -> None:
    found = Page(to_html(diffs.same(), title="<b>Heat & flow</b>"))
    assert found.inside("title")[0] == "<b>Heat & flow</b>"
    assert "<b>Heat & flow</b>" in found.inside("h1")
    assert "Comparison of two models" in page("same").inside("h1")


@pytest.mark.parametrize("poison", POISONS)
def test_text_of_strangers_stays_text(poison: str) -> None:
    found = Page(to_html(diffs.with_text(diffs.everything(), POISONS[poison])))
    _check(found)
    assert len(found.source) < 2_000_000


@pytest.mark.parametrize("poison", ["markup", "quotes", "end of comment", "entity", "address"])
def test_odd_text_is_shown_as_it_is(poison: str) -> None:
    found = Page(to_html(diffs.with_text(diffs.everything(), POISONS[poison])))
    assert POISONS[poison] in found.text


def test_text_is_escaped_in_the_title_too() -> None:
    found = Page(to_html(diffs.same(), title=POISONS["end of comment"] + "\ud800\x1b"))
    _check(found)


@pytest.mark.parametrize("piece", ["x", "&", "\ud800", "漢"])
def test_a_page_is_bounded_whatever_the_files_hold(piece: str) -> None:
    many = diffs.many(160, 600)
    many = replace(many, nodes=layers_of(1000, 200))
    source = to_html(diffs.with_text(many, piece * 3000))
    assert len(source.encode()) < 2_000_000
    assert "(6," in source  # texts say how long they were


def test_a_large_comparison_stays_small() -> None:
    many = diffs.many(3000, 5000)
    found = Page(to_html(replace(many, nodes=layers_of(5002, 30))))
    assert len(found.source.encode()) < 2_000_000
    assert re.search(r"and [\d,]+ more blocks that are not identical", found.text)
    _check(found)


# --- head ----------------------------------------------------------------------------------------


def test_the_head_says_what_was_compared_and_how_it_ended() -> None:
    found = page("everything")
    assert "v1/model.manifest.json (manifest)→model.onnx (ONNX)" in found.text
    assert "✗ differs: structure (2), coefficient (1)" in found.text
    assert "Rules: fail on anything; rtol 0.0001" in found.text
    assert "≠ structure changed (1)" in found.text
    assert "graph: 1 node added, 1 removed, 1 changed, 1 moved" in found.text
    assert found.of("span", "bad")
    assert not found.of("span", "good")


def test_models_without_a_difference_are_good() -> None:
    found = page("same")
    assert "✓ no difference found" in found.text
    assert found.of("span", "good")
    assert not found.of("article")
    assert "Not allowed" not in found.text


def test_what_the_rules_allow_is_good_and_shown() -> None:
    found = page("allowed")
    assert "✓ same within the rules" in found.text
    assert len(found.of("article")) == 1


def test_violations_lead_to_what_they_speak_of() -> None:
    found = page("everything")
    cards = [one["id"] for one in found.of("article")]
    texts = [text for name, text in found.texts if name == "code"]
    assert {"encoder.edge[0]", "edge[0]", "head"} <= set(texts)
    links = {one["href"] for one in found.of("a")}
    assert {f"#{card}" for card in cards[:2]} <= links
    assert "#graph" in links


def test_notes_are_told() -> None:
    assert "structure only: no equations of symcompile" in page("structure only").text
    assert "new side: function call 2 was inlined" in page("everything").text


# --- blocks --------------------------------------------------------------------------------------


def test_the_gravest_block_comes_first_and_identical_ones_are_folded() -> None:
    found = page("everything")
    assert re.findall("<h3><code>([^<]*)", found.source) == [
        "head", "encoder.edge", "new_block", "restored", "edge", "attention", "gate",
    ]  # fmt: skip
    assert len(found.of("article")) == len(diffs.BLOCKS) - 1
    assert "1 identical block" in found.inside("summary")


def test_changed_parts_of_equations_are_marked() -> None:
    found = shown(blocks=(diffs.changed(),))
    assert found.inside("del") == ["sin", "0.3"]
    assert found.inside("ins") == ["cos", "0.3*x2**2 + exp(-x0)"]
    olds, news = found.of("div", "old"), found.of("div", "new")
    assert [one["data-sign"] for one in olds] == ["−"]
    assert [one["data-sign"] for one in news] == ["+", "+"]


@pytest.mark.parametrize(
    "marks", [((2, 5), (4, 9)), ((20, 30),), ((-4, 2),), ((3, 3),), ((5, 2),), ((9, 11), (0, 1))]
)
def test_odd_marks_lose_nothing_of_an_equation(marks: tuple[tuple[int, int], ...]) -> None:
    one = diffs.altered(diffs.equation("e", CHANGED, "abcdefghijk", "xyz"), old_marks=marks)
    found = shown(blocks=(diffs.block("e", CHANGED, one),))
    assert "abcdefghijk" in found.text


def test_a_long_equation_is_cut() -> None:
    text = " + ".join(f"x{k}" for k in range(5000))
    marks = ((0, 2), (len(text) - 3, len(text)))
    one = diffs.altered(diffs.equation("e", CHANGED, text, "x0"), old_marks=marks)
    found = shown(blocks=(diffs.block("e", CHANGED, one),))
    assert found.inside("del") == ["x0"]
    assert len(found.source) < 60_000
    assert re.search(r"… \([\d,]+ characters\)", found.text)


def test_coefficients_show_both_values_and_the_change() -> None:
    found = shown(blocks=(diffs.drifted(),))
    cells = [text for name, text in found.texts if name == "td"]
    place = cells.index("+4 %")
    assert cells[place - 2 : place + 1] == ["2.5", "2.6", "+4 %"]
    assert "-3.33 %" in cells
    assert "and 1 unchanged" in cells
    bars = found.of("rect", "part")
    assert len(bars) == 2
    assert float(bars[0]["x"] or 0) == 40.0  # more: to the right
    assert float(bars[1]["x"] or 0) < 40.0  # less: to the left


@pytest.mark.parametrize(
    ("old", "new", "width"),
    [
        (1.0, 2.0, 40.0),
        (1.0, 1.01, 20.0),
        (1.0, 50.0, 40.0),
        (0.0, 1.0, 40.0),
        (1.0, 1.0 + 1e-9, 2),
    ],
)
def test_bars_are_logarithmic(old: float, new: float, width: float) -> None:
    one = replace(
        diffs.equation("e", DRIFTED, "x", "y"), coefficients=(CoefficientDiff(old, new, "#"),)
    )
    (bar,) = shown(blocks=(diffs.block("e", DRIFTED, one),)).of("rect", "part")
    assert float(bar["width"] or 0) == pytest.approx(width, abs=0.1)


def test_figures_are_judged() -> None:
    found = shown(blocks=(diffs.drifted(),))
    assert found.inside("td").count("better") == 3
    assert len(found.of("td", "worse")) == 2  # extrapolation, and end to end
    words = [text for text in found.inside("td") if text in ("old", "new", "both")]
    assert words == ["old", "new", "old", "new"]


def test_figures_that_did_not_move_are_told_once() -> None:
    found = shown(blocks=(diffs.other_signature(),))
    assert "both" in found.inside("td")
    assert "old" not in found.inside("td")


def test_the_rest_of_a_block_is_told() -> None:
    text = shown(blocks=(diffs.changed(), diffs.rewritten(), diffs.other_signature())).text
    assert "engineoperon 0.6.2, seed 0 -> operon 0.6.3, seed 1" in text
    assert "noterecorded range of x0" in text
    assert "evidenceequal on 256 points, proven symbolically" in text
    assert "signaturedtype: float32 -> float64" in text
    assert "was called old_head" in text
    assert "y[2] + added" in text
    assert "identical: y[1]" in text


def test_a_figure_that_is_not_known_is_a_dash() -> None:
    block = diffs.altered(diffs.drifted(), new_accuracy=Accuracy(), new_end_to_end=None)
    assert "nan" not in shown(blocks=(block,)).text
    assert "nan" not in page("odd figures").text


# --- graphs --------------------------------------------------------------------------------------


def test_both_graphs_stand_side_by_side() -> None:
    found = shown(nodes=inserted())
    old, new = found.of("svg", "graph")
    for size in ("width", "height", "viewbox"):
        assert old[size] == new[size]
    assert [one["class"] for one in found.of("g", "added")].count("cell node added") == 2  # legend
    assert len(found.of("path", "removed")) == 3  # the lane, its end, the legend
    assert "10 nodes" in found.text
    assert "11 nodes" in found.text


def test_counterparts_share_a_number() -> None:
    numbers = [one["data-cell"] for one in shown(nodes=inserted()).of("g", "cell")
               if "data-cell" in one]  # fmt: skip
    assert len(numbers) == 21
    assert len(set(numbers)) == 11


def test_a_node_has_all_of_its_text_as_a_tooltip() -> None:
    name = "a_name_that_is_far_too_long_for_the_box_of_a_node"
    nodes = (Node("x", "input"), Node(name, "aten.relu.default", ("x",), ("w.weight",), "%, @"))
    found = shown(nodes=compared(nodes, nodes))
    assert name not in found.inside("text")
    tooltips = [text for text in found.inside("title") if name in text]
    assert len(tooltips) == 2
    assert "reads: x\nweights: w.weight\narguments: %, @" in tooltips[0]


def test_a_block_leads_to_its_card_and_shows_its_equation() -> None:
    nodes = (Node("x", "input"), Node("e", "region:edge", ("x",)))
    found = shown(blocks=(diffs.drifted("edge"),), nodes=compared(nodes, nodes))
    (card,) = found.of("article")
    assert [one["href"] for one in found.of("a")].count(f"#{card['id']}") == 2
    assert {"2.5*x0*(x1 + 1.5) + 0.3", "2.6*x0*(x1 + 1.5) + 0.29"} <= set(found.inside("text"))
    assert any("block edge: coefficients drifted" in text for text in found.inside("title"))


def test_colour_is_not_the_only_mark() -> None:
    notes = [text for text in page("everything").inside("text") if text[0] in "+−~⇄"]
    assert {note[0] for note in notes} == {"+", "−", "~", "⇄"}


def test_nodes_that_are_not_the_same_are_listed_and_linked() -> None:
    found = page("everything")
    assert "4 nodes not the same" in found.inside("summary")
    assert "operator aten.relu -> aten.tanh" in found.inside("td")
    addresses = {one["href"] for one in found.of("a")}
    boxes = {f"#{one['id']}" for one in found.of("g") if "id" in one}
    assert len(boxes) == 6
    assert boxes <= addresses


def test_a_large_graph_says_what_is_folded() -> None:
    found = shown(nodes=layers_of(5002, 30))
    assert len(found.source) < 700_000
    assert re.search(r"5,002 nodes, 4,\d\d\d of them folded", found.text)
    assert any("unchanged nodes" in text for text in found.inside("text"))


def test_a_list_of_thousands_is_cut() -> None:
    rows = tuple(Node(f"n{k}", "op", (f"n{k - 1}",) if k else ()) for k in range(6000))
    found = shown(nodes=NodesDiff("aten", added=rows, new_nodes=rows))
    assert "6,000 nodes not the same" in found.inside("summary")
    assert re.search(r"and \d,\d\d\d more", found.text)
    assert len(found.source) < 1_000_000


def test_graphs_that_can_not_be_compared_are_not_drawn() -> None:
    found = page("not compared")
    assert not found.of("svg", "graph")
    assert "graphs not compared: ATen operators against ONNX operators" in found.text


def test_a_graph_of_one_side_only_is_drawn() -> None:
    nodes = inserted()
    found = shown(nodes=NodesDiff("aten", added=nodes.new_nodes, new_nodes=nodes.new_nodes))
    assert len(found.of("svg", "graph")) == 2
    assert "0 nodes" in found.text


# --- the model -----------------------------------------------------------------------------------


def test_facts_of_the_model_stand_side_by_side() -> None:
    found = page("everything")
    assert len(found.of("tr", "moved")) == 2
    cells = found.inside("td")
    assert cells[cells.index("parameters ≠") :][:3] == ["parameters ≠", "1,234", "1,300"]
    assert "input x: dimension 0 was free (batch), is fixed to 8 now" in found.text
    assert "up to 1.23 % of the largest old value" in found.text
    assert "11 weights not the same" in found.inside("summary")
    assert "shape [3] -> [4]" in cells


def test_without_facts_there_is_no_section_on_the_model() -> None:
    assert "Model" not in shown().inside("h2")
    assert "Model" in shown(model=ModelDiff(output_difference=0.0)).inside("h2")


def test_a_violation_of_no_known_place_is_told_without_a_link() -> None:
    found = shown(violations=(Violation("weights", "nowhere", "lost"),))
    assert "nowhere" in found.inside("code")
    assert not found.of("a")
    assert IDENTICAL not in found.text


def test_a_long_list_of_violations_is_folded() -> None:
    many = tuple(Violation("structure", f"b{k}[0]", "another form") for k in range(40))
    found = shown(violations=many)
    assert "28 more" in found.inside("summary")
    assert {"b0[0]", "b39[0]"} <= set(found.inside("code"))


def test_a_wide_picture_says_that_it_scrolls() -> None:
    rows = (Node("x", "input"), *(Node(f"n{k}", "op", ("x",)) for k in range(30)))
    assert "scroll sideways" in shown(nodes=compared(rows, rows)).text
    assert "scroll sideways" not in shown(nodes=inserted()).text


def test_edges_that_run_upward_are_explained() -> None:
    assert "upward: the new side has it in another order" in shown(nodes=swapped()).text
    assert "upward" not in shown(nodes=inserted()).text
