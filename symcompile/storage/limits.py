"""How large an equation from a file may be.

A few lines of JSON can name a number with a billion digits (64 to the 64th, three times over), or
an expression that is small as a graph and astronomical as a tree. Neither is ever built: the stored
program is measured first, without sympy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symcompile.errors import ExpressionError
from symcompile.evaluation import FOLDS, UNARY
from symcompile.program import LEAVES, Program, number_value

MAX_NODES = 50_000
MAX_DEPTH = 150
# Constants without an input or a slot are computed by sympy while it builds an expression.
MAX_EXACT = 1e100
MAX_DIGITS = 60


def check_equation(data: Any) -> None:
    """Raise ExpressionError if a stored equation is not one, or is too large to be built."""
    try:
        program, symbols = Program.from_json(data["program"]), data["symbols"]
    except (KeyError, TypeError) as error:
        raise ExpressionError(f"not a stored equation: {error!r}") from error
    if type(symbols) is not list or not all(_is_name(name) for name in symbols):
        raise ExpressionError("the inputs of a stored equation are not identifiers")
    if len(program.outputs) != 1:
        raise ExpressionError(f"a stored equation has {len(program.outputs)} outputs, expected 1")
    check_program(program)


def check_program(program: Program) -> None:
    """Raise ExpressionError if sympy expressions of this program would be out of all proportion."""
    sizes: list[int] = []
    depths: list[int] = []
    exact: list[float | None] = []
    for position, (op, args, value) in enumerate(program.instructions):
        if op == "number":
            _check_digits(value, position)
        sizes.append(1 + sum(sizes[a] for a in args))
        depths.append(1 + max((depths[a] for a in args), default=0))
        exact.append(_exact_value(op, [exact[a] for a in args], value))
        if sizes[-1] > MAX_NODES or depths[-1] > MAX_DEPTH:
            raise ExpressionError(
                f"instruction {position} ({op!r}): an equation of more than {MAX_NODES} nodes,"
                f" or nested more than {MAX_DEPTH} deep"
            )
        found = exact[-1]
        if found is not None and not abs(found) <= MAX_EXACT:
            raise ExpressionError(
                f"instruction {position} ({op!r}): a constant beyond {MAX_EXACT:g}"
            )


def _is_name(name: Any) -> bool:
    return type(name) is str and name.isidentifier() and len(name) <= 200


def _check_digits(value: Any, position: int) -> None:
    parts = value if isinstance(value, tuple) else (value,)
    for part in parts:
        if isinstance(part, int) and abs(part) >= 10**MAX_DIGITS:
            raise ExpressionError(f"instruction {position}: a number of over {MAX_DIGITS} digits")
        if isinstance(part, float) and not math.isfinite(part):
            raise ExpressionError(f"instruction {position}: {part} is not a finite number")


def _exact_value(op: str, args: list[float | None], value: Any) -> float | None:
    """Value of what holds neither inputs nor slots; None for everything else."""
    if op == "number":
        return number_value(value)
    if op in LEAVES or any(arg is None for arg in args):
        return None
    known = [float(arg) for arg in args if arg is not None]
    try:
        with np.errstate(all="ignore"):
            return _apply(op, known, value)
    except (ArithmeticError, ValueError):
        return math.nan


def _apply(op: str, args: list[float], value: Any) -> float:
    if op == "power":
        return float(args[0]) ** int(value)
    if op == "where":
        return args[1] if args[0] else args[2]
    if op in UNARY:
        return float(UNARY[op](args[0]))
    result = args[0]
    for argument in args[1:]:
        result = float(FOLDS[op](result, argument))
    return result
