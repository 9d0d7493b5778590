"""A comparison as text for a terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import diffs
import pytest

from symcompile.diff.formats.text import to_text
from symcompile.diff.result import CoefficientDiff, Violation

CODE = re.compile(r"\x1b\[[0-9;]*m")


def section(text: str, title: str) -> list[str]:
    """The lines below a title, up to the next one."""
    lines = text.split("\n")
    start = next(k for k, line in enumerate(lines) if line.startswith(title)) + 2
    end = next((k for k in range(start, len(lines)) if not lines[k]), len(lines))
    return lines[start:end]


def test_identical_models_take_three_lines() -> None:
    assert to_text(diffs.same()).split("\n") == [
        "v1/model.manifest.json (manifest) -> model.manifest.json (manifest)",
        "no difference found",
        "2 blocks: 2 identical; graph: the same 2 nodes",
    ]


def test_what_was_not_compared_is_said_even_so() -> None:
    *_, last = to_text(diffs.not_compared()).split("\n")
    assert last == "note: graphs not compared: ATen operators against ONNX operators"


def test_a_drifted_block() -> None:
    assert section(to_text(diffs.allowed()), "block edge: coefficients drifted") == [
        "  y[0]",
        "  - 2.5*x0*(x1 + 1.5) + 0.3",
        "    ^^^                 ^^^",
        "  + 2.6*x0*(x1 + 1.5) + 0.29",
        "    ^^^                 ^^^^",
        "    coefficient (#)  old   new   change",
        "    #*x0*(x1 + 1.5)  2.5   2.6     +4 %",
        "    ... + #          0.3  0.29  -3.33 %",
        "    ... 1 unchanged",
        "    R2             0.99912 -> 0.99953  better",
        "    relative L2     0.0297 -> 0.0216   better",
        "    max |error|       0.11 -> 0.08     better",
        "    extrapolation    0.101 -> 0.31     worse",
        "    unchanged      complexity 11, operators 5",
        "    values         differ by up to 4 % of the largest old value on 256 points",
        "  end to end  0.01 -> 0.012  worse",
        "  engine      operon 0.6.2, seed 0",
    ]


def test_the_gravest_block_comes_first_and_identical_ones_share_a_line() -> None:
    text = to_text(diffs.everything())
    titles = ["head", "encoder.edge", "new_block", "restored", "edge", "attention", "gate"]
    places = [text.index(f"\nblock {title}: ") for title in titles]
    assert places == sorted(places)
    assert "\nidentical: decoder\n" in text
    assert "\nblock head: signature changed (was called old_head)\n" in text


def test_many_identical_blocks_still_take_one_line() -> None:
    blocks = (diffs.drifted(), *(diffs.identical(f"layers.{k}.decoder") for k in range(40)))
    text = to_text(replace(diffs.same(), blocks=blocks))
    (line,) = [line for line in text.split("\n") if line.startswith("identical: ")]
    assert len(line) <= 100
    assert re.search(r"layers\.3\.decoder, \.\.\. \d\d more$", line)


def test_several_outputs_are_told_apart() -> None:
    lines = section(to_text(diffs.everything()), "block encoder.edge")
    assert [line for line in lines if line.startswith("  y[")] == [
        "  y[0]", "  y[2]: added", "  y[1]: identical",
    ]  # fmt: skip
    assert lines[lines.index("  all outputs") + 1] == "    R2           0.99912 -> 0.99900  worse"
    assert "    engine       operon 0.6.2, seed 0 -> operon 0.6.3, seed 1" in lines


def test_evidence_status_and_reasons_are_shown() -> None:
    text = to_text(diffs.everything())
    assert "evidence    equal on 256 points, proven symbolically" in text
    assert "  status  symbolic -> neural" in section(text, "block restored")
    assert "  note    neural: restored by hand" in section(text, "block restored")


def test_the_graph_shows_the_first_nodes_of_each_kind_unless_all_are_wanted() -> None:
    diff = diffs.many(blocks=8, nodes=50)
    lines = section(to_text(diff), "graph (aten): 50 nodes added, 1 removed, 1 changed, 1 moved")
    assert sum(line.startswith("  + mul_") for line in lines) == 20
    assert "  + ... 30 more" in lines
    assert "  > add -> add_1: reads linear_1 instead of relu" in lines
    every = section(to_text(diff, all_nodes=True), "graph (aten)")
    assert sum(line.startswith("  + mul_") for line in every) == 50


def test_violations_come_last_and_by_rule() -> None:
    lines = section(to_text(diffs.everything()), "not allowed by the rules (fail on anything; rtol")
    assert lines[0] == "  structure    encoder.edge[0]: another form: sin -> cos"
    assert [line.split()[0] for line in lines if line[2] != " "] == [
        "structure", "coefficient", "fidelity", "signature", "weights",
    ]  # fmt: skip
    assert to_text(diffs.everything()).endswith(lines[-1])


def test_long_lists_say_how_many_more_there_are() -> None:
    found = tuple(Violation("coefficient", f"a[{k}]", "1 -> 2") for k in range(45))
    many = tuple(CoefficientDiff(1.0, 2.0 + k, f"#*x{k}") for k in range(25))
    block = replace(
        diffs.drifted(), equations=(replace(diffs.drifted().equations[0], coefficients=many),)
    )
    text = to_text(replace(diffs.allowed(), violations=found, blocks=(block,)))
    assert "    ... 15 more\n" in text
    assert text.endswith("... 15 more")


@pytest.mark.parametrize("width", [60, 100, 140])
@pytest.mark.parametrize("name", diffs.COMPARISONS)
@pytest.mark.parametrize("color", [False, True])
def test_lines_fit(name: str, width: int, color: bool) -> None:
    text = CODE.sub("", to_text(diffs.COMPARISONS[name](), width=width, color=color))
    lines = text.split("\n")
    del lines[1]  # the verdict is one line, however long
    assert [line for line in lines if len(line) > width or line != line.rstrip()] == []


def test_colours_take_the_place_of_carets() -> None:
    text = to_text(diffs.everything(), color=True)
    assert "\x1b[31m- \x1b[0m\x1b[1;4;31m2.5\x1b[0m\x1b[31m*x0*(x1 + 1.5) + \x1b[0m" in text
    assert "\x1b[1;32mbetter\x1b[0m" in text
    assert "^" not in CODE.sub("", text)
    without = [line for line in to_text(diffs.everything()).split("\n") if "^" not in line]
    assert CODE.sub("", text).split("\n") == without


@pytest.mark.parametrize("poison", diffs.POISONS, ids=lambda text: ascii(text[:12]))
def test_only_our_own_colours_get_out(poison: str) -> None:
    text = to_text(diffs.with_text(diffs.everything(), poison), color=True)
    assert "\x1b" not in CODE.sub("", text)
    codes = set(CODE.findall(text))
    assert codes <= set(CODE.findall(to_text(diffs.everything(), color=True)))
