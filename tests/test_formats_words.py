"""Names, figures and sentences of a comparison, and the parts that every format shares."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace

import diffs
import pytest

from symcompile.diff.formats.figures import (
    block_metrics,
    equation_metrics,
    percent,
    plain,
    totals,
)
from symcompile.diff.formats.words import (
    coefficient_rows,
    different,
    gravest_first,
    model_remarks,
    node_counts,
    node_lines,
    quiet,
    rules,
    summary,
    verdict,
)
from symcompile.diff.result import CLASSES, BlockDiff, Change, CoefficientDiff, GraphDiff, ModelDiff
from symcompile.diff.rules import Rules
from symcompile.diff.snapshot import Accuracy

IDENTICAL = Change.IDENTICAL

FORMATS = ("text", "md", "json", "github")


# --- all formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("poison", diffs.POISONS, ids=lambda text: ascii(text[:12]))
def test_nothing_unprintable_gets_out(format_: str, poison: str) -> None:
    shown = diffs.with_text(diffs.everything(), poison).render(format_)
    assert [c for c in shown if not (c.isprintable() or c == "\n")] == []
    assert "##[" not in shown


@pytest.mark.parametrize("format_", ["text", "md"])
@pytest.mark.parametrize("poison", diffs.POISONS, ids=lambda text: ascii(text[:12]))
def test_no_line_is_a_command_to_a_log(format_: str, poison: str) -> None:
    lines = diffs.with_text(diffs.everything(), poison).render(format_).splitlines()
    assert [line for line in lines if line.lstrip().startswith("::")] == []


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    "figure", [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-320, 1.7e308, None]
)
def test_any_figure_can_be_shown(format_: str, figure: float | None) -> None:
    found = diffs.with_figures(diffs.everything(), 1.5 if figure is None else figure)
    if figure is None:
        found = replace(found, blocks=tuple(map(unmeasured, found.blocks)))
    shown = found.render(format_)
    assert re.search(r"\b(nan|none)\b", shown, re.IGNORECASE) is None


def unmeasured(block: BlockDiff) -> BlockDiff:
    nothing = Accuracy()
    equations = tuple(
        diffs.altered(one, old_accuracy=nothing, new_accuracy=nothing) for one in block.equations
    )
    return diffs.altered(block, equations=equations, old_accuracy=nothing, new_accuracy=nothing)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", diffs.COMPARISONS)
def test_a_format_is_a_function_of_the_comparison(format_: str, name: str) -> None:
    assert diffs.COMPARISONS[name]().render(format_) == diffs.COMPARISONS[name]().render(format_)


def test_text_is_what_a_comparison_prints() -> None:
    assert str(diffs.everything()) == diffs.everything().render("text")
    with pytest.raises(ValueError, match="format is 'pdf': expected one of text, md, json"):
        diffs.everything().render("pdf")


# --- strings and figures -------------------------------------------------------------------------


@pytest.mark.parametrize("poison", diffs.POISONS, ids=lambda text: ascii(text[:12]))
def test_plain_text_keeps_its_places(poison: str) -> None:
    shown = plain(f"a{poison}b")
    assert len(shown) == len(poison) + 2
    assert shown.isprintable()
    assert len(plain(poison, 5)) <= 5


@pytest.mark.parametrize(
    ("relative", "shown"),
    [
        (0.04, "+4 %"),
        (-0.0333333, "-3.33 %"),
        (-2.0, "-200 %"),
        (4e-10, "+4.0e-08 %"),
        (-1e9, "-1.0e+09 times"),
        (math.inf, "from 0"),
        (math.nan, "-"),
        (0.0, "+0 %"),
    ],
)
def test_relative_changes(relative: float, shown: str) -> None:
    assert percent(relative) == shown


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (2.5, 2.6, ("2.5", "2.6")),
        (2.5, 2.500000001, ("2.5", "2.500000001")),
        (0.1, 0.1 + 2**-56, ("0.10000000000000001", "0.10000000000000002")),
        (0.0, -1e-12, ("0", "-1e-12")),
    ],
)
def test_coefficients_show_the_digits_that_differ(
    old: float, new: float, shown: tuple[str, str]
) -> None:
    one = replace(diffs.drifted().equations[0], coefficients=(CoefficientDiff(old, new, "#"),))
    (row,) = coefficient_rows(one)
    assert (row.old, row.new) == shown


def test_coefficients_come_with_the_largest_change_first() -> None:
    values = [(1.0, 1.0), (1.0, 1.1), (0.0, 1.0), (1.0, math.nan), (1.0, -3.0)]
    pairs = tuple(CoefficientDiff(old, new, f"{k}*#") for k, (old, new) in enumerate(values))
    one = replace(diffs.drifted().equations[0], coefficients=pairs)
    assert [row.place for row in coefficient_rows(one)] == ["2*#", "4*#", "1*#", "3*#"]


# --- accuracy and cost ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (Accuracy(r2=0.9), Accuracy(r2=0.99), ("R2", "0.90000", "0.99000", "better", True)),
        (Accuracy(r2=0.99), Accuracy(r2=0.9), ("R2", "0.99000", "0.90000", "worse", False)),
        (Accuracy(r2=0.9), Accuracy(r2=0.9 + 1e-12), ("R2", "0.90000", "0.90000", "", None)),
        (
            Accuracy(r2=0.9999991),
            Accuracy(r2=0.9999995),
            ("R2", "0.9999991", "0.9999995", "better", True),
        ),
        (Accuracy(), Accuracy(r2=1.0), ("R2", "-", "1", "", None)),
        (Accuracy(r2=-50.0), Accuracy(r2=-1.5), ("R2", "-50", "-1.50000", "better", True)),
        (
            Accuracy(relative_l2=0.1),
            Accuracy(relative_l2=0.2),
            ("relative L2", "0.1", "0.2", "worse", False),
        ),
        (
            Accuracy(extrapolation=0.1),
            Accuracy(extrapolation=math.inf),
            ("extrapolation", "0.1", "inf", "worse", False),
        ),
        (
            Accuracy(max_error=math.nan),
            Accuracy(max_error=0.5),
            ("max |error|", "-", "0.5", "", None),
        ),
    ],
)
def test_which_way_is_better(old: Accuracy, new: Accuracy, shown: tuple[object, ...]) -> None:
    one = diffs.equation("a", IDENTICAL, "x", "x", old_accuracy=old, new_accuracy=new)
    (found,) = equation_metrics(one)[2:]
    assert tuple(found) == shown


def test_cost_has_words_of_its_own() -> None:
    complexity, operators = equation_metrics(diffs.rewritten().equations[0])[:2]
    assert tuple(complexity) == ("complexity", "11", "5", "simpler", True)
    assert tuple(operators) == ("operators", "5", "2", "fewer", True)
    worse, _ = equation_metrics(diffs.changed().equations[0])[:2]
    assert (worse.word, worse.good) == ("more complex", False)


def test_one_side_alone_is_not_compared() -> None:
    metrics = equation_metrics(diffs.added().equations[0])
    assert {one.old for one in metrics} == {""}
    assert {one.word for one in metrics} == {""}


def test_a_block_of_one_output_says_its_accuracy_once() -> None:
    assert [one.name for one in block_metrics(diffs.drifted())] == ["end to end"]
    assert block_metrics(diffs.changed())[0].name == "R2"


def test_totals_add_up_what_is_known() -> None:
    _, complexity = totals(diffs.changed())
    assert (complexity.old, complexity.new) == ("22", "41")
    assert [one.new for one in totals(diffs.neural())] == ["", ""]
    alone = diffs.altered(diffs.changed(), old_accuracy=Accuracy(), new_accuracy=Accuracy())
    assert (totals(alone)[0].old, totals(alone)[0].new) == ("0.99912", "0.99912")
    gone, _ = totals(diffs.removed())
    assert (gone.old, gone.new) == ("0.99912", "")


# --- sentences -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "everything",
            "differs: structure (2), coefficient (1), fidelity (1), signature (2), weights (1)",
        ),
        ("same", "no difference found"),
        ("not compared", "no difference found"),
        ("allowed", "same within the rules (fail on structure; rtol 1e-06)"),
    ],
)
def test_verdict(name: str, expected: str) -> None:
    assert verdict(diffs.COMPARISONS[name]()) == expected


def test_rules_in_words() -> None:
    assert rules(Rules(())) == "nothing fails"
    chosen = Rules(("structure", "fidelity"), rtol=0.0, atol=1e-3, max_fidelity_drop=0.01)
    assert rules(chosen) == "fail on structure, fidelity; atol 0.001; fidelity may drop by 0.01"


def test_summary_counts_everything() -> None:
    shown = summary(diffs.everything())
    assert shown.startswith("8 blocks: 1 signature changed, 1 structure changed, ")
    assert "1 rewritten (same function), 1 identical; graph: 1 node added, 1 removed" in shown
    assert summary(diffs.same()) == "2 blocks: 2 identical; graph: the same 2 nodes"
    assert summary(diffs.not_compared()) == "1 block: 1 identical; graph: not compared"
    assert summary(GraphDiff(diffs.OLD, diffs.NEW)).startswith("no equations compared")


def test_blocks_come_with_the_gravest_first() -> None:
    found = [block.change for block in gravest_first(diffs.everything())]
    assert found == sorted(found, key=CLASSES.index)
    assert len(found) == 8


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda block: block, True),
        (lambda block: replace(block, renamed_from="other"), False),
        (lambda block: diffs.altered(block, new_engine="operon 0.6.2, seed 7"), False),
        (lambda block: replace(block, notes=("recorded range of x0: [0, 1] -> [0, 2]",)), False),
        (lambda block: diffs.altered(block, new_end_to_end=0.5), False),
        (lambda block: replace(block, signature=("dtype: float32 -> float64",)), False),
        (lambda block: diffs.neural("stem", IDENTICAL), True),
        (lambda block: diffs.neural("stem"), False),
    ],
)
def test_an_identical_block_is_quiet_if_all_of_it_is(
    change: Callable[[BlockDiff], BlockDiff], expected: bool
) -> None:
    block = change(diffs.identical())
    assert quiet(block) is expected
    assert different(replace(diffs.same(), blocks=(block,))) is not expected


@pytest.mark.parametrize(
    "model",
    [
        diffs.whole(),
        ModelDiff(signature=("input x is gone",)),
        ModelDiff(weights=(("a", "changed"),)),
        ModelDiff(output_difference=1e-9),
    ],
)
def test_a_changed_model_is_a_difference(model: ModelDiff) -> None:
    assert different(replace(diffs.same(), model=model))
    assert not different(diffs.same())


def test_weights_are_counted_and_a_few_are_named() -> None:
    remarks = [text for name, text in model_remarks(diffs.whole()) if name.startswith("weight")]
    assert remarks[0].startswith("7 changed: layers.0.weight, ")
    assert remarks[0].endswith("layers.4.weight, ... 2 more")
    assert remarks[1:] == [
        "2 added: 1.bias, 1.weight",
        "1 removed: old.weight",
        "norm.scale: shape [3] -> [4]",
    ]


def test_nodes_stand_with_their_sign() -> None:
    assert node_lines(diffs.graph()) == [
        ("-", "dropout: aten.dropout(add)"),
        ("+", "linear_1: aten.linear(tanh, 1.weight, 1.bias)"),
        ("~", "relu -> tanh: operator aten.relu -> aten.tanh"),
        (">", "add -> add_1: reads linear_1 instead of relu"),
    ]
    assert node_counts(diffs.graph()) == "1 node added, 1 removed, 1 changed, 1 moved"
    only = replace(diffs.graph(), added=(), removed=())
    assert node_counts(only) == "1 node changed, 1 moved"


def test_json_reads_back_what_is_plain() -> None:
    shown = diffs.with_text(diffs.everything(), "\ud800\x1b").render("json")
    assert json.loads(shown)["old"]["source"] == "??v1/model.manifest.json??"
