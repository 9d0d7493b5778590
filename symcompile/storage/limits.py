"""How large an equation from a file may be.

A few lines of JSON can name a number with a billion digits (64 to the 64th, three times over), or
an expression that is small as a graph and astronomical as a tree. Neither is ever built: the stored
program is measured first, without sympy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
# sympy takes several times as long for each further function that is nested in one of HYPERBOLIC,
# since it looks for real parts there; for INVERSE, since it writes sin(atan(x)) with x twice; and
# for ROOTS, whose signs it asks for.
MAX_HYPERBOLIC = 5
MAX_INVERSE = 8
MAX_ROOTS = 20
# Steps that sympy needs, each of them some tenths of a millisecond.
MAX_WORK = 20_000

HYPERBOLIC = ("sinh", "cosh", "tanh", "erf")
INVERSE = ("asin", "acos", "atan")
ROOTS = ("sqrt", "pow", "power", "tan")
_FUNCTIONS = {*UNARY, "power", "pow"} - {"neg", "not", "abs", "sign", "floor", "ceil"}
_EXTREMES = ("min", "max")


def check_equation(data: Any) -> int:
    """How much work a stored equation is to build.

    Raises ExpressionError if it is none, or too large.
    """
    try:
        program, symbols = Program.from_json(data["program"]), data["symbols"]
    except (KeyError, TypeError) as error:
        raise ExpressionError(f"not a stored equation: {error!r}") from error
    if type(symbols) is not list or not all(_is_name(name) for name in symbols):
        raise ExpressionError("the inputs of a stored equation are not identifiers")
    if len(program.outputs) != 1:
        raise ExpressionError(f"a stored equation has {len(program.outputs)} outputs, expected 1")
    constants = data.get("constants")
    known = constants if type(constants) is list else []
    return check_program(program, [one for one in known if type(one) in (int, float)])


@dataclass(frozen=True)
class _Size:
    """Of the expression of an instruction.

    Attributes:
        nodes, depth: of its tree.
        functions: how many functions and powers are nested in each other.
        inverses, roots: how many of these are INVERSE or ROOTS.
        terms: how many arguments it has once those of the same operation are taken in.
    """

    nodes: int
    depth: int
    functions: int
    inverses: int
    roots: int
    terms: int


def check_program(program: Program, constants: Sequence[float] = ()) -> int:
    """How much work sympy expressions of this program are to build, its constants written in.

    Raises ExpressionError if they would be out of all proportion.
    """
    sizes: list[_Size] = []
    exact: list[float | None] = []
    work = 0
    for position, (op, args, value) in enumerate(program.instructions):
        if op == "number":
            _check_digits(value, position)
        sizes.append(_size(program, op, args, sizes))
        if op == "slot":
            # Whole numbers are exact once they are written in, and so is a power of them.
            exact.append(constants[value] if value < len(constants) else None)
        else:
            exact.append(_exact_value(op, [exact[a] for a in args], value))
        work += _work(op, sizes[-1])
        problem = _problem(op, sizes[-1], None if op == "slot" else exact[-1], work)
        if problem:
            raise ExpressionError(f"instruction {position} ({op!r}): {problem}")
    return work


def _size(program: Program, op: str, args: tuple[int, ...], sizes: Sequence[_Size]) -> _Size:
    inside = [sizes[a] for a in args]
    same = [program.instructions[a].op == op for a in args]
    return _Size(
        nodes=1 + sum(one.nodes for one in inside),
        depth=1 + max((one.depth for one in inside), default=0),
        functions=(op in _FUNCTIONS) + max((one.functions for one in inside), default=0),
        inverses=(op in INVERSE) + max((one.inverses for one in inside), default=0),
        roots=(op in ROOTS) + max((one.roots for one in inside), default=0),
        terms=sum(one.terms if k else 1 for one, k in zip(inside, same, strict=True)),
    )


def _work(op: str, size: _Size) -> int:
    """sympy compares each two arguments of a Min or Max, and asks what lies below a function."""
    return 1 + (size.terms**2 if op in _EXTREMES else size.terms) + size.depth**2 // 50


def _problem(op: str, size: _Size, exact: float | None, work: int) -> str | None:
    if size.nodes > MAX_NODES or size.depth > MAX_DEPTH or work > MAX_WORK:
        return (
            f"an equation of more than {MAX_NODES} nodes, nested more than {MAX_DEPTH} deep, or"
            f" built in more than {MAX_WORK} steps"
        )
    if exact is not None and not abs(exact) <= MAX_EXACT:
        return f"a constant beyond {MAX_EXACT:g}"
    nested = size.functions if op in HYPERBOLIC else 0
    if nested > MAX_HYPERBOLIC or size.inverses > MAX_INVERSE or size.roots > MAX_ROOTS:
        return "too many functions nested in each other"
    return None


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
    """Value of what holds numbers and constants only; None for everything else."""
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
    if op == "pow" and args[0] and abs(args[1] * math.log(abs(args[0]))) > math.log(MAX_EXACT):
        return math.nan  # its reciprocal may be as large as the memory
    for argument in args[1:]:
        result = float(FOLDS[op](result, argument))
    return result
