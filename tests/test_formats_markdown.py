"""A comparison as Markdown: what it shows, that it fits, and that nothing breaks out of it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import diffs
import pytest

from symcompile.diff.formats.markdown import (
    MARKER,
    PagePart,
    fence,
    fitted,
    sentence,
    span,
    to_markdown,
)
from symcompile.storage.schema import Node

TAGS = {"<details>", "<details open>", "</details>", "<summary>", "</summary>", "<code>"}
TAGS |= {"</code>", "<sub>", "</sub>"}


def check(text: str) -> Counter[str]:
    """How many constructs of each kind there are; each must be closed, each table be a table."""
    kinds: Counter[str] = Counter()
    marker, *lines = text.split("\n")
    assert marker == MARKER
    fenced = ""
    columns = 0
    for line in lines:
        mark = re.match(r"`{3,}", line)
        if fenced:
            fenced = "" if line == fenced else fenced
            continue
        if mark and "`" not in line[mark.end() :]:
            assert line.removeprefix(mark[0]) in ("", "diff")
            fenced = mark[0]
            kinds["fences"] += 1
            continue
        bare = without_code(line)
        kinds.update(re.findall(r"<[^>]*>", bare))
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line))
            assert columns in (0, cells), line
            kinds["rows"] += 1
        columns = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not re.search(r"[@#]\w|https?:|www\.|\]\(|\*\*\*|~~|_\w+_", bare.lstrip("#")), line
    assert fenced == ""
    assert {kind for kind in kinds if kind.startswith("<")} <= TAGS
    opened = kinds["<details>"] + kinds["<details open>"]
    assert opened == kinds["</details>"] == kinds["<summary>"] == kinds["</summary>"]
    assert kinds["<code>"] == kinds["</code>"]
    return kinds


def without_code(line: str) -> str:
    """A line without its code spans and what stands in code elements."""
    line = re.sub(r"<code>[^<]*</code>", "<code></code>", line)
    if "<summary>" in line:
        return line
    bare = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "C", re.sub(r"&#?\w+;", "", line))
    assert "`" not in bare, line
    return bare


# --- what it shows -------------------------------------------------------------------------------


def test_identical_models_take_a_few_lines() -> None:
    assert to_markdown(diffs.same()).split("\n") == [
        "<!-- symcompile diff -->",
        "## &#x2705; Equations: no difference found",
        "",
        "`v1/model.manifest.json` (manifest) &rarr; `model.manifest.json` (manifest)",
        "",
        "2 blocks: 2 identical; graph: the same 2 nodes",
    ]


def test_a_table_of_the_blocks_comes_first() -> None:
    text = to_markdown(diffs.everything(), title="Heat law")
    assert text.split("\n")[1].startswith("## &#x274C; Heat law: differs: structure (2), ")
    rows = [line for line in text.split("\n") if line.startswith("| `")]
    assert rows[:5] == [
        "| `head` | signature changed | 0.99912 | 11 |  |",
        "| `encoder.edge` | structure changed | 0.99912 &rarr; 0.99900 (worse) |"
        " 22 &rarr; 41 (more complex) |  |",
        "| `new_block` | added | 0.99912 | 11 |  |",
        "| `restored` | removed | 0.99912 | 11 |  |",
        "| `edge` | coefficients drifted | 0.99912 &rarr; 0.99953 (better) | 11 | +4 % |",
    ]


def test_details_have_the_equations_in_a_diff() -> None:
    text = to_markdown(diffs.allowed())
    start = text.index("<details><summary><code>edge</code>: coefficients drifted</summary>")
    assert text[start:].split("\n")[2:17] == [
        "**y[0]**",
        "",
        "```diff",
        "- 2.5*x0*(x1 + 1.5) + 0.3",
        "  ^^^                 ^^^",
        "+ 2.6*x0*(x1 + 1.5) + 0.29",
        "  ^^^                 ^^^^",
        "```",
        "",
        "| coefficient (#) | old | new | change |",
        "|:--|--:|--:|--:|",
        "| `#*x0*(x1 + 1.5)` | 2.5 | 2.6 | +4 % |",
        "| `... + #` | 0.3 | 0.29 | -3.33 % |",
        "| ... 1 unchanged |  |  |  |",
        "",
    ]


def test_the_gravest_blocks_are_unfolded_where_the_rules_were_broken() -> None:
    assert check(to_markdown(diffs.everything()))["<details open>"] == 3
    assert check(to_markdown(diffs.allowed()))["<details open>"] == 0


def test_violations_notes_model_and_graph_are_there() -> None:
    text = to_markdown(diffs.everything())
    assert "| coefficient | `edge[0]` | `2.5 -> 2.6, and 1 more` |" in text
    assert "> Note: new side: function call 2 was inlined by another tool" in text
    assert "- **opset `ai.onnx`**: 18 &rarr; 20" in text
    assert "! add -> add_1: reads linear_1 instead of relu" in text
    assert "<summary>1 identical</summary>\n\n`decoder`" in text


@pytest.mark.parametrize("name", diffs.COMPARISONS)
def test_structure_holds(name: str) -> None:
    check(to_markdown(diffs.COMPARISONS[name]()))


# --- that it fits --------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1_000, 1_500, 2_000, 5_000, 20_000, 65_000])
def test_it_fits_and_says_what_is_missing(limit: int) -> None:
    text = to_markdown(diffs.many(), limit=limit)
    assert len(text) <= limit
    check(text)
    assert re.search(r"\n_Left out for want of room: .*list of nodes", text)


@pytest.mark.parametrize("poison", ["`" * 500, "<&" * 300, "|" * 900, "x\n" * 4000])
def test_it_fits_with_any_names(poison: str) -> None:
    text = to_markdown(diffs.with_text(diffs.everything(), poison), limit=20_000)
    assert len(text) <= 20_000
    check(text)


def test_the_least_grave_goes_first() -> None:
    nodes = tuple(Node(f"mul_{k}", "aten.mul.Tensor", ("x",)) for k in range(200))
    diff = replace(diffs.everything(), nodes=replace(diffs.graph(), added=nodes))
    whole = to_markdown(diff)
    assert "Left out" not in whole
    sizes = range(len(whole) - 1, 1_000, -200)
    missing = [to_markdown(diff, limit=size) for size in sizes]
    order = [
        "! add ->",
        "`decoder`",
        "<code>gate",
        "<code>edge",
        "<code>head",
        "**Model**",
        "| `edge`",
    ]
    gone = [next(k for k, text in enumerate(missing) if word not in text) for word in order]
    assert gone == sorted(gone)
    assert "differs: structure (2)" in missing[-1]


def test_parts_are_left_out_as_a_whole() -> None:
    parts = [
        PagePart("head", 0),
        PagePart("a" * 50, 2, "rows"),
        PagePart("b" * 50, 2, "rows", "\n"),
        PagePart("c" * 50, 1, "notes"),
        PagePart("d" * 50, 3, "lists"),
    ]
    assert fitted(parts, 1_000).startswith("head\n\n" + "a" * 50 + "\n" + "b" * 50)
    assert fitted(parts, 210).endswith("c\n\n_Left out for want of room: lists._")
    assert "a" * 50 in fitted(parts, 160)
    assert "b" * 50 not in fitted(parts, 160)
    assert fitted(parts, 0) == "head\n\n_Left out for want of room: lists, notes, rows (2)._"


# --- that nothing breaks out ---------------------------------------------------------------------


@pytest.mark.parametrize("poison", diffs.POISONS, ids=lambda text: ascii(text[:12]))
def test_the_structure_is_the_same_whatever_is_in_the_names(poison: str) -> None:
    found = check(to_markdown(diffs.with_text(diffs.everything(), poison), limit=10**6))
    harmless = check(to_markdown(diffs.with_text(diffs.everything(), "a_b"), limit=10**6))
    assert found == harmless


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a", "`a`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("a```b`", "```` a```b` ````"),
        ("a|b", "`a¦b`"),
        ("", "`(blank)`"),
        ("a\nb\x1b", "`a b?`"),
    ],
)
def test_code_spans(text: str, shown: str) -> None:
    assert span(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("input x1 is called v now", "input `x1` is called v now"),
        ("dtype: float32 -> float64", "dtype: `float32` &rarr; `float64`"),
        ("shape [3, 4] -> [batch, 4]", "shape `[3, 4]` &rarr; `[batch, 4]`"),
        ("2 changed: a.weight, b.weight", "2 changed: `a.weight`, `b.weight`"),
        ("equal on 256 points, proven", "equal on 256 points, proven"),
        ("R2 of 0.99 (worse than 1e-3)", "R2 of 0.99 (worse than 1e-3)"),
        ("ask @team about #12 <b>", "ask `@team` about `#12 <b>`"),
        ("*a* _b_ [c](d) www.example.com", "`*a* _b_ [c](d) www.example.com`"),
    ],
)
def test_sentences_keep_words_and_enclose_names(text: str, shown: str) -> None:
    assert sentence(text) == shown


def test_a_fence_is_longer_than_those_inside() -> None:
    assert fence(["- a", "````", "  ```"], "diff") == "`````diff\n- a\n````\n  ```\n`````"
