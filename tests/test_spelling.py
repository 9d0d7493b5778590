"""Reading the printed text of an equation as a tree with places."""

from __future__ import annotations

import pytest
import sympy
from equations_compared import equation

from symcompile.diff.equations.marks import Piece, read
from symcompile.errors import ExpressionError


def outline(piece: Piece) -> str:
    """Kinds, nested; operators between them."""
    if not piece.parts:
        return piece.name
    inside = " ".join(f"{one.sign}{outline(one)}" for one in piece.parts)
    return f"{piece.name or piece.kind}[{inside}]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", "x"),
        ("1.5e-05", "1.5e-05"),
        ("x + 2.5*y", "sum[x +product[2.5 *y]]"),
        ("x - y - z", "sum[x -y -z]"),
        ("x - (y - z)", "sum[x -sum[y -z]]"),
        ("x/y*z", "product[x /y *z]"),
        ("-x*y + z", "sum[-product[x *y] +z]"),
        ("-(x + y)/2", "sum[-product[sum[x +y] /2]]"),
        ("x**2**y", "power[x **power[2 **y]]"),
        ("(x**2)**y", "power[power[x **2] **y]"),
        ("-x**2", "sum[-power[x **2]]"),
        ("x**(-1.5)", "power[x **sum[-1.5]]"),
        ("sin(x)", "sin[x]"),
        ("Max(x, y, 1)", "Max[x ,y ,1]"),
        ("Piecewise((x, x < 1), (0, True))",
         "Piecewise[list[x ,relation[x <1]] ,list[0 ,True]]"),
        ("(x > 0) & (y >= 1) | ~(z < 2)",
         "or[and[relation[x >0] &relation[y >=1]] |not[~relation[z <2]]]"),
        ("μ + lambda", "sum[μ +lambda]"),
    ],
)  # fmt: skip
def test_outline(text: str, expected: str) -> None:
    assert outline(read(text)) == expected


@pytest.mark.parametrize(
    "text", ["", "x +", "x y", "(x", "x)", "x + $", "()", "f(", "f()", ",", "'a'"]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        read(text)


def pieces(piece: Piece) -> list[Piece]:
    return [piece] + [inner for one in piece.parts for inner in pieces(one)]


TEXTS = [
    "2.5*exp(-1.98*t)*sin(3.14*x + 0.2) + 0.1",
    "where(x < 0.5, 1.5*x, 2.5*y)*Max(x, y, 1)",
    "(x + 1.5)**2.5/(y - t)**3 - x*y/t",
    "abs(x)*sqrt(y) - log(1/t)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_each_piece_stands_where_it_says(text: str) -> None:
    printed = equation(text).text(6)
    for piece in pieces(read(printed)):
        part = printed[piece.start : piece.end]
        assert read(part).text == piece.text
        assert part == part.strip()


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_read_is_what_sympy_printed(text: str) -> None:
    """Number of names and numbers, by an independent count."""
    printed = equation(text).text(6)
    words = read(printed).words
    assert words.get("x", 0) == sum(
        1
        for c, before, after in zip(printed, " " + printed, printed[1:] + " ", strict=False)
        if c == "x" and not before.isalnum() and not after.isalnum()
    )
    assert sum(words.values()) >= len(equation(text).sympy.free_symbols)


def test_a_form_is_equal_but_for_numbers() -> None:
    assert read("1.5*sin(2*x)").form == read("2.5*sin(3*x)").form
    assert read("1.5*sin(2*x)").form != read("1.5*cos(2*x)").form
    assert read("1.5 + x").text == read("(1.5+x)").text


def test_a_long_sum_nests_nothing() -> None:
    total = sympy.Add(*(sympy.Symbol(f"a{k}") for k in range(1000)))
    assert len(read(str(total)).parts) == 1000
