"""Guesses as an engine takes them: trees of the operators that it searches with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import sympy

from symcompile.expressions.canonical import UNUSABLE
from symcompile.expressions.complexity import complexity, spellable
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.recognition import recognized
from symcompile.expressions.slots import slot
from symcompile.expressions.tree import Tree, tree_of


@dataclass(frozen=True)
class SpelledGuess:
    """A tree of operators, and the value of each slot in its leaves."""

    tree: Tree
    constants: tuple[float, ...]

    def value(self, leaf: sympy.Expr) -> float:
        """The number that a constant leaf is."""
        return float(leaf.xreplace({slot(k): sympy.Float(c) for k, c in enumerate(self.constants)}))


def spelled(
    equations: Iterable[Equation], operators: OperatorSet, max_complexity: int
) -> Iterator[SpelledGuess]:
    """Those of the equations that these operators can spell in this complexity."""
    for equation in equations:
        try:
            form = recognized(equation.form, operators, equation.constants)
            if complexity(form, operators) <= max_complexity and spellable(form, operators):
                yield SpelledGuess(tree_of(form, operators), equation.constants)
        except UNUSABLE:
            continue


def takes_guesses(search: Callable[..., Any]) -> bool:
    """Whether a search of an engine, which may be a user's own, can start from equations."""
    parameters = signature(search).parameters
    return "guesses" in parameters or any(
        parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()
    )
