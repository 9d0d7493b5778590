"""Random expressions as text: every operator, hostile numbers, names and shapes."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.parser import FUNCTIONS

_NAMES = """x y x0 x1 pi E e I S N O Q exp sin abs max beta gamma lamda c c0 slot0 nan inf math
    print Piecewise __debug__ _ match sqrt zoo \N{GREEK SMALL LETTER ALPHA}"""
NAMES = _NAMES.split()
# Whole exponents of all kinds, rounding, and the ends of float64.
_NUMBERS = """0 1 2 3 7 64 100 1000 0.0 1.0 2.0 3.0 0.5 1.5 -1 -2 -0.5 -1.0 1e-3 1e3 1e10 1e16 1e22
    1e100 1e-100 1e300 1e-300 5e-324 1.7976931348623157e308 2.0000000000000004 0.9999999999999999 pi
    3.141592653589793 2.718281828459045 0.1 0.3333333333333333 1e-17 -4.2e-17 12345678.9"""
NUMBERS = _NUMBERS.split()
UNARY = sorted(
    name for name in FUNCTIONS if name not in ("pow", "where", "min", "max", "Min", "Max")
)
BINARY = ("+", "-", "*", "/", "**")
NARY = ("min", "max")
COMPARISONS = ("<", "<=", ">", ">=")
# What nests in itself: where the cost of algebra grows with each level.
TOWERS = (
    "({0})**2 + {1}",
    "({0})**3 - {1}",
    "({0})*({1} + {0})",
    "{1}/({0} + {1})",
    "sqrt({0} + {1}*{1})",
    "sqrt(({0} + {1})**2)",
    "sqrt(exp({0})**3) - {1}",
    "sqrt(tan({0})**2)",
    "sin({0})**2",
    "exp(-({0}))",
    "tanh({1}*({0}) + {1})",
    "atan({0})",
    "abs({0} - {1})",
    "log(abs({0}) + {1})",
    "min({0}, {1})",
    "where({0} > {1}, {1}, {0})",
    "({0} + {1})**-2",
    "({0} + {1})**0.5",
    "pow({0}, {1})",
    "-({0})",
)


@dataclass(frozen=True)
class Drawn:
    """An expression as text over names, and the operators that a search would have."""

    text: str
    names: tuple[str, ...]
    operators: tuple[str, ...]


def leaves(names: tuple[str, ...]) -> st.SearchStrategy[str]:
    floats = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: f"({value!r})")
    return st.one_of(
        st.sampled_from(names), st.sampled_from(NUMBERS).map(lambda n: f"({n})"), floats
    )


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(st.sampled_from(BINARY), inner, inner).map(lambda t: f"({t[1]} {t[0]} {t[2]})"),
        st.tuples(st.sampled_from(UNARY), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(NARY), st.lists(inner, min_size=2, max_size=4)).map(
            lambda t: f"{t[0]}({', '.join(t[1])})"
        ),
        st.tuples(inner, st.sampled_from(COMPARISONS), inner, inner, inner).map(
            lambda t: f"where({t[0]} {t[1]} {t[2]}, {t[3]}, {t[4]})"
        ),
        st.lists(inner, min_size=3, max_size=12).map(lambda terms: "(" + " + ".join(terms) + ")"),
        st.lists(inner, min_size=3, max_size=6).map(lambda terms: "*".join(terms)),
    )


@st.composite
def trees(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    return draw(st.recursive(leaves(names), _grown, max_leaves=25))


@st.composite
def towers(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    """One or two shapes, again and again."""
    shapes = draw(st.lists(st.sampled_from(TOWERS), min_size=1, max_size=2))
    text = draw(leaves(names))
    for k in range(draw(st.integers(1, 30))):
        text = shapes[k % len(shapes)].format(text, draw(leaves(names)))
        if len(text) > 5_000:
            break
    return text


@st.composite
def expressions(draw: st.DrawFn) -> Drawn:
    names = tuple(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)))
    text = draw(st.one_of(trees(names), trees(names), towers(names)))
    some = draw(st.sets(st.sampled_from(sorted(VOCABULARY)), max_size=8))
    return Drawn(text, names, ("+", "*", *sorted(some - {"+", "*"})))
