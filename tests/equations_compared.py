"""Equations as one side of a comparison has them, from text."""

from __future__ import annotations

import numpy as np

from symcompile.diff.equations.law import Law, laws
from symcompile.diff.equations.shape import FormNode, shape
from symcompile.diff.snapshot import Output
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.parser import parse

SYMBOLS = ("x", "y", "t")
OPERATORS = OperatorSet.of(list(VOCABULARY))


def equation(text: str, symbols: tuple[str, ...] = SYMBOLS) -> Equation:
    """Floats become slots, whole numbers and fractions are exact."""
    return Equation.of(parse(text, symbols), symbols, OPERATORS)


def output(text: str, symbols: tuple[str, ...] = SYMBOLS) -> Output:
    return Output(equation(text, symbols), operators=3)


def tree(text: str, spread: bool = False) -> FormNode:
    one = equation(text)
    return shape(one.form, one.constants, spread=spread)


def law_pair(old: str, new: str) -> tuple[Law, Law]:
    return laws(equation(old), equation(new))


def box(n: int = 256, low: float = 0.2, high: float = 2.0) -> Array:
    """Seeded points [n, 3]: positive, so that logarithms and roots are defined."""
    return np.random.default_rng(1).uniform(low, high, (n, len(SYMBOLS)))
