"""Guesses: equations that a search starts from, of a user's own or of fronts from before.

They compete with what is found, their constants fitted again, and where an engine can they are
among its first population.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import sympy

from symcompile.errors import ExpressionError, one_line
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.regression.pareto import ParetoFront

Guess: TypeAlias = str | sympy.Expr | Equation
# For all outputs, or by the number of one.
Guesses: TypeAlias = Guess | Iterable[Guess] | Mapping[int, Guess | Iterable[Guess]]
_EXPECTED = "a list of equations, such as ['2.5*sin(x) + 1'], or by output {0: [...]}"


def check_guesses(asked: Any) -> None:
    """Raise ExpressionError for what can't be guesses of any inputs."""
    for several in asked.values() if isinstance(asked, Mapping) else [asked]:
        for one in _several(several):
            if not isinstance(one, (str, sympy.Expr, Equation)):
                raise ExpressionError(
                    f"guesses holds a {type(one).__name__}: expected texts, sympy expressions or"
                    " Equations"
                )


def check_fronts(earlier: Any) -> None:
    """Raise ExpressionError for what has no fronts to start from."""
    fronts = getattr(earlier, "fronts", earlier)
    if not isinstance(fronts, (ParetoFront, Mapping)):
        raise ExpressionError(
            f"warm_start is a {type(earlier).__name__}: expected a Compiled, a ParetoFront, or"
            " fronts by output, or by target and output"
        )


def read_guesses(
    asked: Any, earlier: Any, place: tuple[str, int], names: Sequence[str], operators: OperatorSet
) -> tuple[Equation, ...]:
    """The guesses for one output.

    Args:
        asked: what a user gave as `guesses`, or None.
        earlier: and as `warm_start`.
        place: path and number of the output.
        names: of the inputs, which the equations have to be in.

    Raises ExpressionError that names the guess that can't be read.
    """
    number = place[1]
    if isinstance(asked, Mapping):
        asked = asked.get(number)
    own = [_read(one, names, operators) for one in _several(asked)]
    return (*own, *_from_fronts(earlier, place, names))


def _several(asked: Any) -> Iterable[Any]:
    if asked is None:
        return ()
    if isinstance(asked, (str, sympy.Expr, Equation)):
        return (asked,)
    if not isinstance(asked, Iterable):
        raise ExpressionError(f"guesses is {one_line(repr(asked), 60)}: expected {_EXPECTED}")
    return asked


def _read(guess: Guess, names: Sequence[str], operators: OperatorSet) -> Equation:
    if isinstance(guess, Equation):
        _check_names(f"guess {guess}", guess, names)
        return guess
    try:
        expr = parse(guess, names) if isinstance(guess, str) else guess
        return Equation.of(expr, names, operators)
    except ExpressionError as error:
        shown = one_line(str(guess), 60)
        raise ExpressionError(f"guess {shown!r}: {error}") from None


def _from_fronts(earlier: Any, place: tuple[str, int], names: Sequence[str]) -> list[Equation]:
    """The equations of the front of this output; none where there is none."""
    fronts = getattr(earlier, "fronts", earlier)
    for key in place:
        if isinstance(fronts, Mapping) and (key in fronts or isinstance(key, int)):
            fronts = fronts.get(key)
    if not isinstance(fronts, ParetoFront):
        return []
    for equation in fronts:
        _check_names(f"warm_start: {equation}", equation, names)
    return list(fronts)


def _check_names(what: str, equation: Equation, names: Sequence[str]) -> None:
    if equation.symbols != tuple(names):
        raise ExpressionError(
            f"{one_line(what, 120)} is an equation in {', '.join(equation.symbols)}: the inputs are"
            f" {', '.join(names)}"
        )
