"""How large an equation from a file may be.

A few lines of JSON can name a number with a billion digits (64 to the 64th, three times over), or
an expression that is small as a graph and astronomical as a tree. Neither is ever built: the stored
program is measured first, without sympy.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from symcompile.errors import ExpressionError, shown
from symcompile.expressions.evaluation import known_value
from symcompile.expressions.fold import number_value
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.program import Program

MAX_NODES = 50_000
MAX_DEPTH = 150
# Constants without an input or a slot are computed by sympy while it builds an expression.
MAX_EXACT = 1e100
MAX_DIGITS = 60
MAX_COMPLEXITY = 10**9
# sympy takes several times as long for each further function that is nested in a hyperbolic one,
# since it looks for real parts there, and still more where reciprocals stand in between (of two in
# each other 0.1 s, of three 3 s, of four 120 s); for inverse ones, since it writes sin(atan(x))
# with x twice; and for roots, whose signs it asks for. See `Operator.nesting`.
MAX_HYPERBOLIC = 5
MAX_INVERSE = 8
MAX_ROOTS = 20
# Of a root of a power, (b**2)**0.5, sympy asks for the real part of b, and writes it out: with so
# many terms it takes up to two seconds.
MAX_PARTS = 2048
# Of functions and quotients of numbers in each other sympy asks for the sign again and again, two
# to five times as long for each one more: a second for 15.
MAX_OF_NUMBERS = 12
# Steps that sympy needs, each of them about a tenth of a millisecond. That many for one equation,
# and for all equations of a file beyond those that an ordinary equation needs for each operation.
MAX_WORK = 20_000
ORDINARY_WORK = 20

_NESTING = {op: row.nesting for op, row in OPERATORS.items() if row.nesting}
_ARITHMETIC = ("number", "slot", "neg", "add", "sub", "mul")
_EXTREMES = ("min", "max")
_UNKNOWN_EXPONENT = 1000
_POWERS = {"square": 2.0, "cube": 3.0}
# What sympy asks whether it is real, positive, larger: of that, every part that is no sum.
_ALGEBRA = {"add", "sub", "mul", "div", "power", "neg", "and", "or", "not"}
_ASKED = OPERATORS.keys() - _ALGEBRA
_COMPARED = ("where", "lt", "le", "eq", *_EXTREMES)


class Size(NamedTuple):
    """Of the expression of an instruction.

    Attributes:
        op: its outermost operation.
        nodes, depth: of its tree.
        functions: how many functions and powers are nested in each other.
        all_functions: how many there are in its tree, cases and comparisons among them.
        inverses, roots: how many of those that are nested are inverse or roots.
        hyperbolics: how many are hyperbolic, reciprocals and powers of such counted as well.
        terms: how many arguments it has once those of the same operation are taken in.
        parts: how many terms its real part has once that is written out.
        constant: whether no input is in it.
        of_numbers: how many functions, powers and quotients are nested in it, if so.
        value: of a number.
    """

    op: str
    nodes: int = 1
    depth: int = 1
    functions: int = 0
    all_functions: int = 0
    inverses: int = 0
    roots: int = 0
    hyperbolics: int = 0
    terms: int = 0
    parts: int = 1
    constant: bool = False
    of_numbers: int = 0
    value: float | None = None


class Gauge:
    """Measures expressions operation by operation, each before it is built.

    Attributes:
        work: steps that sympy needs for all of them.
    """

    def __init__(self) -> None:
        self.work = 0

    def add(self, op: str, inside: Sequence[Size] = (), value: float | None = None) -> Size:
        """The size of an operation on what was measured before.

        `value` is that of a number or slot, or the exponent of a "power"; None where it is not
        known.

        Raises ExpressionError if that is out of all proportion.
        """
        if op in _POWERS:
            op, value = "power", _POWERS[op]
        exponent = _exponent(op, inside, value)
        size = _size(op, inside, value, exponent)
        self.work += _work(size)
        if size.nodes > MAX_NODES or size.depth > MAX_DEPTH or self.work > MAX_WORK:
            raise ExpressionError(
                f"an equation of more than {MAX_NODES} nodes, nested more than {MAX_DEPTH} deep, or"
                f" built in more than {MAX_WORK} steps"
            )
        nested = max(size.functions if _NESTING.get(op) == "hyperbolic" else 0, size.hyperbolics)
        # The real part of what this is a root of is written out.
        root = exponent is not None and exponent % 1 != 0
        if (
            nested > MAX_HYPERBOLIC
            or size.inverses > MAX_INVERSE
            or size.roots > MAX_ROOTS
            or size.of_numbers > MAX_OF_NUMBERS
            or (root and inside[0].parts > MAX_PARTS)
        ):
            raise ExpressionError("too many functions nested in each other")
        return size

    def done(self, operations: int) -> None:
        """Nothing more is measured: what is left of the file's allowance gets smaller."""
        left = _left.get()
        if left is not None:
            left[0] -= max(self.work - ORDINARY_WORK * operations, 0)
            if left[0] < 0:
                raise ExpressionError(
                    f"the equations of the file take more than {MAX_WORK} steps beyond the ordinary"
                    " to build"
                )


_left: ContextVar[list[int] | None] = ContextVar("_left", default=None)


@contextmanager
def allowance() -> Iterator[None]:
    """What is measured inside shares MAX_WORK steps; within another allowance, that one."""
    token = _left.set(_left.get() or [MAX_WORK])
    try:
        yield
    finally:
        _left.reset(token)


def _size(op: str, inside: Sequence[Size], value: float | None, exponent: float | None) -> Size:
    leaf, nesting = op in ("number", "slot"), _NESTING.get(op)
    constant = leaf or (bool(inside) and all(size.constant for size in inside))
    of_numbers = max((size.of_numbers for size in inside), default=0) if constant else 0
    return Size(
        op,
        nodes=1 + sum(size.nodes for size in inside),
        depth=1 + max((size.depth for size in inside), default=0),
        functions=(nesting is not None) + max((size.functions for size in inside), default=0),
        all_functions=(op in _ASKED) + sum(size.all_functions for size in inside),
        inverses=(nesting == "inverse") + max((size.inverses for size in inside), default=0),
        roots=(nesting == "root") + max((size.roots for size in inside), default=0),
        hyperbolics=_hyperbolics(op, inside),
        terms=sum(size.terms if size.op == op else 1 for size in inside),
        parts=_parts(op, inside, exponent),
        constant=constant,
        of_numbers=of_numbers + (constant and op not in _ARITHMETIC),
        value=value if leaf else _quotient(op, [size.value for size in inside]),
    )


def _quotient(op: str, values: Sequence[float | None]) -> float | None:
    """Of numbers, as exponents are written: -3, 1/2, -(1/2)."""
    number, below = values[0] if values else None, values[-1] if len(values) == 2 else None
    if op == "neg" and number is not None:
        return -number
    return number / below if op == "div" and number is not None and below else None


def _parts(op: str, inside: Sequence[Size], exponent: float | None) -> int:
    """An estimate: an argument that is an input or a number counts for nothing beside others."""
    if exponent is not None:
        if math.isnan(exponent):
            return inside[0].parts * _UNKNOWN_EXPONENT
        times = max(round(abs(exponent)), 1) + (2 if exponent < 0 else 0)
        return inside[0].parts * (times if exponent % 1 == 0 else 4)
    sizes = [size.parts for size in inside]
    if op == "div" and sizes:  # one over it, or a quotient
        sizes[-1] *= 3
    times = OPERATORS[op].parts if op in OPERATORS else 1
    return max(sum(size for size in sizes if size > 1), 1) * times


def _exponent(op: str, inside: Sequence[Size], value: float | None) -> float | None:
    """Of a power or root, NaN where it is a number that is not known; None for all else."""
    if not inside:
        return None
    if op == "sqrt":
        return 0.5
    if op == "power":
        return math.nan if value is None else value
    if op != "pow" or len(inside) != 2:
        return None
    if inside[1].value is not None:
        return inside[1].value
    return math.nan if inside[1].constant else 0.5  # as good as any that is not whole


def _hyperbolics(op: str, inside: Sequence[Size]) -> int:
    counts = [size.hyperbolics for size in inside]
    # Denominators, and what a power is of.
    turned = {"div": counts[1:] or counts, "pow": counts[:1], "power": counts[:1]}.get(op, [])
    deepest = max((*counts, *(count + 1 for count in turned if count)), default=0)
    return (_NESTING.get(op) == "hyperbolic") + deepest


def _work(size: Size) -> int:
    """sympy asks what lies below a function, and compares each two arguments of a Min or Max.

    To ask takes it 0.1 ms times the square of how many functions there are, as measured on sums of
    up to 50 of them, and about as much for any other node, more so in sums of hundreds. To compare
    takes four times that.
    """
    work = 1 + size.terms + size.depth**2 // 50
    if size.op in _ASKED and size.nodes > 2:
        asked = size.nodes + size.nodes**2 // 600 + size.all_functions**2
        work += 4 * asked if size.op in _COMPARED else asked
    return work + (size.terms**2 if size.op in _EXTREMES else 0)


def check_equation(data: Any) -> int:
    """How much work a stored equation is to build.

    Raises ExpressionError if it is none, or too large.
    """
    try:
        program, symbols = Program.from_json(data["program"]), data["symbols"]
    except (KeyError, TypeError) as error:
        raise ExpressionError(f"not a stored equation: {error!r}") from error
    if type(symbols) is not list or not all(
        type(name) is str and name.isidentifier() and len(name) <= 200 for name in symbols
    ):
        raise ExpressionError("the inputs of a stored equation are not identifiers")
    if len(set(symbols)) < len(symbols):
        raise ExpressionError("two inputs of a stored equation have the same name")
    if len(program.outputs) != 1:
        raise ExpressionError(f"a stored equation has {len(program.outputs)} outputs, expected 1")
    constants = data.get("constants")
    if type(constants) is not list:
        raise ExpressionError("the constants of a stored equation are no list")
    for k, constant in enumerate(constants):
        if not _is_finite(constant):
            raise ExpressionError(f"constant c[{k}] is {shown(constant)}, expected a finite number")
    for key in ("loss", "holdout_loss"):
        if data.get(key) is not None and not _is_finite(data[key]):
            raise ExpressionError(f"{key} is {shown(data[key])}, expected a finite number")
    cost = data.get("complexity")
    if type(cost) is not int or not 1 <= cost <= MAX_COMPLEXITY:
        raise ExpressionError(f"complexity is {shown(cost)}, expected a whole number from 1")
    return check_program(program, constants)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def check_program(program: Program, constants: Sequence[float] = ()) -> int:
    """How much work sympy expressions of this program are to build, its constants written in.

    Raises ExpressionError if they would be out of all proportion.
    """
    gauge = Gauge()
    sizes: list[Size] = []
    numbers: list[float | None] = []
    for position, (op, args, value) in enumerate(program.instructions):
        try:
            numbers.append(_known(op, [numbers[a] for a in args], value, constants))
            own = value if op == "power" else numbers[-1]
            sizes.append(gauge.add(op, [sizes[a] for a in args], own))
        except ExpressionError as error:
            raise ExpressionError(f"instruction {position} ({op!r}): {error}") from None
    gauge.done(len(sizes))
    return gauge.work


def _known(
    op: str, args: Sequence[float | None], value: Any, constants: Sequence[float]
) -> float | None:
    """Value of what holds numbers and constants only; None for everything else."""
    if op == "slot":
        # Whole numbers are exact once they are written in, and so is a power of them.
        return constants[value] if value < len(constants) else None
    if op == "input" or None in args:
        return None
    if op == "number":
        written = value if isinstance(value, tuple) else (value,)
        if any(type(digits) is int and abs(digits) >= 10**MAX_DIGITS for digits in written):
            raise ExpressionError(f"a number of over {MAX_DIGITS} digits")
        number = number_value(value)
    else:
        base, *rest = operands = [float(arg) for arg in args if arg is not None]
        # The reciprocal of a power may be as large as the memory.
        large = op == "pow" and base and abs(rest[0] * np.log(abs(base))) > math.log(MAX_EXACT)
        number = math.nan if large else known_value(op, operands, value)
    if not abs(number) <= MAX_EXACT:
        raise ExpressionError(f"a constant beyond {MAX_EXACT:g}")
    return number
