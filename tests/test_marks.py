"""What is marked in the texts of two equations: changed sub-expressions, whole and apart."""

from __future__ import annotations

import itertools
import re

import pytest
from equations_compared import equation

from symcompile.diff.equations.marks import marks, read

# Marks as brackets, in the old text and in the new one.
CASES = [
    ("2.5*exp(-[1.98]*t)", "2.5*exp(-[1.97]*t)"),
    ("[1.5]*sin([2.5]*x) + 3.5*sin(0.5*x)", "[1.6]*sin([2.4]*x) + 3.5*sin(0.5*x)"),
    ("x + y", "x + y + [0.1*sin(x)]"),
    ("x + y", "x [- 0.1*sin(x)] + y"),
    ("1.5*[sin](x)", "1.5*[cos](x)"),
    ("1.5*[sin(x)]", "1.5*[cos(y)]"),
    ("[Min](x, y)", "[Max](x, y)"),
    ("a [- b]", "a [+ b]"),
    ("1.5*x[*y]", "1.5*x[/y]"),
    ("x", "[1.001]*x"),
    ("sin(x)", "[1.005]*sin(x)"),
    ("[2.5*x] + y", "[-2.5*x] + y"),
    ("y [- 2.5*x]", "y [+ 2.5*x]"),
    ("2.5*a*(b + [1.5])", "2.5*a*b + [3.75*a]"),
    ("Piecewise((1.5*x, x < [0.5]), ([2.5]*y, True))",
     "Piecewise((1.5*x, x < [0.6]), ([2.7]*y, True))"),
    ("Piecewise((x, [x < 1]), (y, True))", "Piecewise((x, [x <= 1]), (y, True))"),
    ("Max(x, y)", "Max([0.5], x, y)"),
    ("sin([x])", "sin([sin(x)])"),
    ("x**[2]", "x**[3]"),
    ("[x]", "[y]"),
    ("[x]", "[sin(y)]"),
    ("2.5", "2.5*[x]"),
    ("x*(y + [1.5])*z", "x*(y + [1.6])*z"),
    ("x*[(y + 1.5)]*z", "x*[(w - 1.6)]*z"),
    ("sqrt(x**2 + [y]**2)", "sqrt(x**2 + [z]**2)"),
    ("a*[b] + [c]*d", "a*[e] + [f]*d"),
    ("x + [sin(y) + cos(y)]", "x + [exp(z) + t]"),
    ("x*[y*z]", "x*[a*b]"),
    ("(x > [0]) & (y < 1)", "(x > [1]) & (y < 1)"),
    ("[1e-05]*x - y", "[2e-05]*x - y"),
    ("b + a", "a + b"),
    ("x + [sin(x)]", "x"),
]  # fmt: skip


def bracketed(text: str, spans: tuple[tuple[int, int], ...]) -> str:
    for start, end in reversed(spans):
        text = f"{text[:start]}[{text[start:end]}]{text[end:]}"
    return text


@pytest.mark.parametrize(("old", "new"), CASES)
def test_marks_both_ways(old: str, new: str) -> None:
    plain = [re.sub(r"[\[\]]", "", text) for text in (old, new)]
    found = marks(*plain)
    assert tuple(map(bracketed, plain, found)) == (old, new)
    assert marks(*reversed(plain)) == found[::-1]


@pytest.mark.parametrize("text", ["", "x", "2.5*sin(x)", "not an equation ((", "x*(y + 1.5)"])
def test_equal_texts_have_no_marks(text: str) -> None:
    assert marks(text, text) == ((), ())


@pytest.mark.parametrize("text", ["((x", "x $ y", "x + + y", "a" * 100_001])
def test_what_can_not_be_read_is_marked_as_a_whole(text: str) -> None:
    assert marks(text, "y") == (((0, len(text)),), ((0, 1),))
    assert marks("", text) == ((), ((0, len(text)),))


TEXTS = [
    "2.5*exp(-1.98*t)*sin(3.14*x + 0.2) + 0.1",
    "2.6*exp(-1.97*t)*cos(3.14*x + 0.2) - 0.1*y",
    "where(x < 0.5, 1.5*x, 2.5*y)*Max(x, y, 1)",
    "where(x < 0.6, 1.5*x, -2.5*y/t)*Min(x, y)",
    "(x + 1.5)**2.5/(y - t)**3 - x*y/t",
    "(x + 1.6)**2.5/(y + t)**2 - x*t/y + 3",
    "2.5*x",
    "0.5",
]


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(TEXTS, 2)))
def test_marks_read_as_sub_expressions(old: str, new: str) -> None:
    texts = equation(old).text(6), equation(new).text(6)
    for text, spans in zip(texts, marks(*texts), strict=True):
        assert spans == tuple(sorted(spans))
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert end < start
        for start, end in spans:
            part = text[start:end]
            read(part.lstrip("+*/"))
            assert part == part.strip()
            assert part.count("(") == part.count(")")


def test_deep_texts_are_marked_as_a_whole_at_worst() -> None:
    deep = "sin(" * 5000 + "x" + ")" * 5000
    assert marks(deep, "x") == (((0, len(deep)),), ((0, 1),))


def test_many_terms_of_one_form_are_paired_in_order() -> None:
    old = " + ".join(f"{k}.5*sin(x)" for k in range(100))
    new = " + ".join(f"{k}.6*sin(x)" for k in range(100))
    found = marks(old, new)
    assert [len(spans) for spans in found] == [100, 100]
    assert old[slice(*found[0][7])] == "7.5"


def test_equations_of_other_numbers_mark_numbers_only() -> None:
    texts = [equation(f"{a}*exp(-{b}*t)*sin(3.5*x)").text(6) for a, b in ((1.5, 2.5), (1.6, 2.6))]
    for text, spans in zip(texts, marks(*texts), strict=True):
        assert all(float(text[start:end]) for start, end in spans)
        assert len(spans) == 2
