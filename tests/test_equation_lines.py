"""Both sides of an equation as lines, with carets below what changed."""

from __future__ import annotations

import diffs
import pytest

from symcompile.diff.formats.equation_lines import (
    EquationLine,
    carets,
    equation_lines,
    inside_of,
    wrapped,
)

LONG = " + ".join(f"{k}.25*sin(x{k})*exp(-x{k + 1})" for k in range(1, 80))


def test_carets_stand_below_what_changed() -> None:
    assert list(equation_lines(diffs.drifted().equations[0], 80)) == [
        "- 2.5*x0*(x1 + 1.5) + 0.3",
        "  ^^^                 ^^^",
        "+ 2.6*x0*(x1 + 1.5) + 0.29",
        "  ^^^                 ^^^^",
    ]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (diffs.added(), ["+ sin(x0)"]),
        (diffs.removed(), ["- exp(-x0)"]),
        (diffs.identical(), ["  2.5*x0*x1"]),
        (diffs.rewritten(), ["- x0*x1 + x0", "+ x0*(x1 + 1)"]),
    ],
)
def test_no_carets_where_all_or_nothing_changed(
    block: diffs.BlockDiff, expected: list[str]
) -> None:
    assert list(equation_lines(block.equations[0], 80)) == expected


def test_paint_gets_the_marked_pieces() -> None:
    painted = equation_lines(
        diffs.drifted().equations[0], 80, lambda sign, text, mark: f"[{text}]" if mark else text
    )
    assert list(painted) == ["- [2.5]*x0*(x1 + 1.5) + [0.3]", "+ [2.6]*x0*(x1 + 1.5) + [0.29]"]


@pytest.mark.parametrize("width", [20, 33, 60, 100])
def test_wrapped_lines_hold_all_of_the_text_and_its_marks(width: int) -> None:
    marks = diffs.spans(LONG, "5.25", "exp(-x30)", "77.25*sin(x77)")
    lines = wrapped(LONG, marks, width)
    assert all(len(line.text) <= width for line in lines)
    assert "".join(line.text for line in lines).replace(" ", "") == LONG.replace(" ", "")
    marked = "".join(
        c for line in lines for c, mark in zip(line.text, line.mask, strict=True) if mark == "^"
    )
    assert marked == "5.25exp(-x30)77.25*sin(x77)"


def test_a_text_without_blanks_is_broken_too() -> None:
    assert [line.text for line in wrapped("x" * 50, [(10, 30)], 20)] == [
        "x" * 20,
        "x" * 20,
        "x" * 10,
    ]
    assert [line.mask for line in wrapped("x" * 50, [(10, 30)], 20)] == [
        " " * 10 + "^" * 10,
        "^" * 10 + " " * 10,
        " " * 10,
    ]
    assert wrapped("", (), 20) == [EquationLine("")]


def test_of_a_long_equation_the_changed_lines_are_shown() -> None:
    new = LONG.replace("40.25", "40.75")
    one = diffs.equation(
        "a", "coefficients drifted", LONG, new,
        old_marks=diffs.spans(LONG, "40.25"), new_marks=diffs.spans(new, "40.75"),
    )  # fmt: skip
    lines = list(equation_lines(one, 80))
    old, new_side = (lines[: len(lines) // 2], lines[len(lines) // 2 :])
    assert [line[0] for line in old] == ["-", "-", "-", " ", "-", "-"]
    assert "40.25" in old[2]
    assert "more characters" in old[1]
    assert old[3].index("^") == old[2].index("40.25")
    assert "40.75" in new_side[2]
    hidden = sum(int(line.split()[2].replace(",", "")) for line in old if "more char" in line)
    shown = sum(len(line) - 4 for line in old if line[0] == "-" and "more char" not in line)
    assert abs(hidden + shown - len(LONG)) < 40


def test_more_changes_than_lines_are_cut() -> None:
    marks = tuple((k, k + 1) for k, c in enumerate(LONG) if c == ".")
    one = diffs.equation("a", "structure changed", LONG, "x", old_marks=marks)
    assert len([line for line in equation_lines(one, 60) if line[0] == "-"]) <= 16


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ([(0, 2), (1, 3)], [(0, 2), (2, 3)]),
        ([(-5, 1), (4, 99)], [(0, 1), (4, 6)]),
        ([(3, 3), (5, 2)], []),
        ([(4, 5), (0, 1)], [(0, 1), (4, 5)]),
        ([(0, 6)], []),
    ],
)
def test_marks_are_kept_inside_of_the_text(
    marks: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    assert inside_of("abcdef", marks) == expected


def test_carets_are_as_wide_as_what_they_mark() -> None:
    assert carets(EquationLine("角+x", "^ ^")) == "^^ ^"
    assert carets(EquationLine("e\u0301+x", "   ^")) == "  ^"
