"""The flat form of equations: what evaluation, lowering and storage all work on.

A `Program` is a list of instructions in static single assignment: instruction k may only refer to
instructions before it, and a common subexpression stands once, also across the outputs of a region.
Being flat, a program is walked without recursion and read from a file without parsing any text.

Spec of an instruction `(op, args, value)`:

| op | args | value |
|---|---|---|
| input | - | column of X, 0 <= value < n_inputs |
| slot | - | number of a fitted constant, 0 <= value < n_slots |
| number | - | an exact number: int, [numerator, denominator], "pi" or "e"; or a float |
| add, mul, min, max, and, or | two or more | - |
| sub, div, pow, lt, le, eq | two | - |
| where | condition, value if true, value if false | - |
| power | one | whole exponent, 2 or more |
| every other name in operators.OPERATORS | one or two, as its row says | - |

A value marked "-" is None. lt, le, eq, and, or and not give truth values: and, or, not and the
condition of where take nothing else, and everything else, outputs included, takes numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from symcompile.errors import ExpressionError, LoweringError
from symcompile.expressions.fold import BUILD, LEAVES, Code, Instruction, fold, number_value
from symcompile.expressions.operator import Defined
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.slots import as_sympy, exact_exponent, real, slot, slot_index

_MAX_POWER = 64

# The operation of each sympy class.
CLASSES = {
    head: op
    for op, row in OPERATORS.items()
    for head in (row.build, *row.heads)
    if isinstance(head, type)
}
WITH_VALUE = (*LEAVES, "power")


@dataclass(frozen=True)
class Program:
    """Equations over the columns of X [n_samples, n_inputs], in static single assignment."""

    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]
    n_inputs: int
    n_slots: int

    def __post_init__(self) -> None:
        verify(self)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings."""
        return {
            "code": [
                [op, list(args), *([value] if op in WITH_VALUE else [])]
                for op, args, value in self.instructions
            ],
            "outputs": list(self.outputs),
            "n_inputs": self.n_inputs,
            "n_slots": self.n_slots,
        }

    @classmethod
    def from_json(cls, data: Any) -> Program:
        """Read `to_json` back; ExpressionError for anything that is not a valid program."""
        try:
            code = tuple(_instruction(*row) for row in data["code"])
            return cls(code, tuple(data["outputs"]), data["n_inputs"], data["n_slots"])
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ExpressionError(f"not a stored equation: {error!r}") from error


def _instruction(op: str, args: Any, value: Any = None, *_: Any) -> Instruction:
    return Instruction(op, tuple(args), tuple(value) if isinstance(value, list) else value)


def from_sympy(exprs: Sequence[sympy.Basic], symbols: Sequence[str], n_slots: int) -> Program:
    """Flatten expressions over input `symbols` and slots `c[0]`, ... into one program."""
    builder = _Builder(symbols)
    outputs = tuple(builder.visit(real(as_sympy(expr))) for expr in exprs)
    return Program(tuple(builder.instructions), outputs, len(symbols), n_slots)


def to_sympy(program: Program, symbols: Sequence[str]) -> list[sympy.Expr]:
    """The expressions again, built node by node (sympy never parses text)."""
    leaves = {"input": lambda column: sympy.Symbol(symbols[column]), "slot": slot}
    values = fold(program.instructions, {**BUILD, **leaves})
    return [real(values[index]) for index in program.outputs]


def count_operators(program: Program) -> int:
    """How many operators it has: a sum of three terms has two, a common part counts once."""
    return sum(
        len(instruction.args) - 1 if OPERATORS[instruction.op].nary else 1
        for instruction in program.instructions
        if instruction.op not in LEAVES
    )


def verify(program: Program) -> None:
    """Check the spec at the head of this file; ExpressionError names the first broken rule."""
    for what, count in (("n_inputs", program.n_inputs), ("n_slots", program.n_slots)):
        if type(count) is not int or count < 0:
            raise ExpressionError(f"{what} is {count!r}, expected a whole number from 0")
    truths: list[bool] = []
    for position, instruction in enumerate(program.instructions):
        op = instruction.op
        if problem := _problem(program, position, instruction, truths):
            raise ExpressionError(f"instruction {position} ({op!r}): {problem}")
        truths.append(op in OPERATORS and OPERATORS[op].truth)
    size = len(program.instructions)
    if not all(type(o) is int and 0 <= o < size for o in program.outputs):
        raise ExpressionError(f"outputs {list(program.outputs)} are not instructions 0..{size - 1}")
    if any(truths[o] for o in program.outputs):
        raise ExpressionError("an output is a truth value, expected a number: use where")


def _problem(
    program: Program, position: int, instruction: Instruction, truths: Sequence[bool]
) -> str | None:
    op, args, value = instruction
    row = OPERATORS.get(op)
    if row is None and op not in LEAVES:
        return "unknown operation"
    expected = row.arity if row else 0
    if len(args) < expected or (len(args) > expected and not (row and row.nary)):
        more = " or more" if row and row.nary else ""
        return f"has {len(args)} arguments, expected {expected}{more}"
    if not all(type(a) is int and 0 <= a < position for a in args):
        return f"arguments {list(args)} do not stand before it"
    for place, argument in enumerate(args):
        wanted = bool(row and row.logic) or (op == "where" and place == 0)
        if truths[argument] is not wanted:
            return f"argument {place} is a {'number' if wanted else 'truth value'}"
    return _value_problem(program, op, value)


def _value_problem(program: Program, op: str, value: Any) -> str | None:
    if op == "input" and not (type(value) is int and 0 <= value < program.n_inputs):
        return f"column {value!r} of {program.n_inputs}"
    if op == "slot" and not (type(value) is int and 0 <= value < program.n_slots):
        return f"constant {value!r} of {program.n_slots}"
    if op == "power" and not (type(value) is int and 2 <= value <= _MAX_POWER):
        return f"exponent {value!r}, expected a whole number from 2 to {_MAX_POWER}"
    if op == "number" and not _is_number(value):
        return f"value {value!r} is not a finite number"
    if op not in WITH_VALUE and value is not None:
        return f"has value {value!r}, expected none"
    return None


def _is_number(value: Any) -> bool:
    if isinstance(value, tuple):
        sound = len(value) == 2 and all(type(v) is int for v in value) and value[1] > 0
    else:
        sound = type(value) in (int, float) or value in ("pi", "e")
    try:
        return sound and math.isfinite(number_value(value))
    except OverflowError:
        return False


class _Builder(Code):
    """Turns sympy nodes into instructions."""

    def __init__(self, symbols: Sequence[str]) -> None:
        super().__init__()
        self.columns = {name: column for column, name in enumerate(symbols)}

    def visit(self, expr: sympy.Basic) -> int:
        if expr.is_Symbol:
            return self._symbol(expr)
        if isinstance(expr, sympy.Add):
            return self._sum(expr)
        if isinstance(expr, sympy.Mul):
            return self._product(expr)
        if isinstance(expr, sympy.Pow):
            return self._power(expr.base, expr.exp)
        if (getattr(expr, "is_number", False) and not expr.args) or expr in (sympy.pi, sympy.E):
            return self.add("number", (), _number(expr))
        if isinstance(expr, sympy.Piecewise):
            return self._piecewise(expr)
        if isinstance(expr, (sympy.GreaterThan, sympy.StrictGreaterThan)):
            return self.visit(expr.reversed)
        if isinstance(expr, sympy.Ne):
            return self.add("not", [self.visit(sympy.Eq(*expr.args))])
        if isinstance(expr, sympy.ITE):  # sympy makes them of a comparison with a Piecewise
            return self.visit(expr.to_nnf(simplify=False))
        op = CLASSES.get(expr.func)
        if op is None and isinstance(expr, Defined):  # a user's own
            return self.visit(expr.definition)
        if op is None:
            raise LoweringError(f"{expr.func.__name__} in {expr} has no counterpart in torch")
        return self.add(op, [self.visit(arg) for arg in expr.args])

    def _symbol(self, symbol: sympy.Symbol) -> int:
        index = slot_index(symbol)
        if index is not None:
            return self.add("slot", (), index)
        if symbol.name not in self.columns:
            known = ", ".join(self.columns) or "none"
            raise ExpressionError(f"unknown symbol {symbol.name!r}: the inputs are {known}")
        return self.add("input", (), self.columns[symbol.name])

    def _sum(self, expr: sympy.Add) -> int:
        negative = [term for term in expr.args if _is_minus(term)]
        positive = [term for term in expr.args if not _is_minus(term)]
        if not positive:
            return self.add("neg", [self.visit(-expr)])
        total = self._nary("add", positive)
        if not negative:
            return total
        return self.add("sub", [total, self._nary("add", [-term for term in negative])])

    def _product(self, expr: sympy.Mul) -> int:
        if expr.args[0] == -1:
            return self.add("neg", [self.visit(sympy.Mul(*expr.args[1:]))])
        below = [factor for factor in expr.args if _is_reciprocal(factor)]
        above = [factor for factor in expr.args if not _is_reciprocal(factor)]
        top = self._nary("mul", above) if above else self.add("number", (), 1)
        if not below:
            return top
        bottom = self._nary("mul", [factor.base**-factor.exp for factor in below])
        return self.add("div", [top, bottom])

    def _nary(self, op: str, args: Sequence[sympy.Expr]) -> int:
        indices = [self.visit(arg) for arg in args]
        return indices[0] if len(indices) == 1 else self.add(op, indices)

    def _power(self, base: sympy.Expr, exponent: sympy.Expr) -> int:
        if exponent.is_Float:
            exponent = exact_exponent(exponent)
        if exponent.is_Number and exponent.is_negative:
            return self.add("div", [self.add("number", (), 1), self.visit(base**-exponent)])
        if exponent == sympy.Rational(1, 2):
            return self.add("sqrt", [self.visit(base)])
        if exponent.is_Integer and 2 <= int(exponent) <= _MAX_POWER:
            return self.add("power", [self.visit(base)], int(exponent))
        return self.add("pow", [self.visit(base), self.visit(exponent)])

    def _piecewise(self, expr: sympy.Piecewise) -> int:
        *cases, (last, test) = expr.args
        if test is not sympy.true:
            raise LoweringError(f"{expr} leaves a case open: end it with (value, True)")
        result = self.visit(last)
        for value, condition in reversed(cases):
            result = self.add("where", [self.visit(condition), self.visit(value), result])
        return result


def _is_minus(term: sympy.Expr) -> bool:
    return bool(term.is_Mul and term.args[0] == -1)


def _is_reciprocal(factor: sympy.Expr) -> bool:
    return bool(factor.is_Pow and factor.exp.is_Number and factor.exp.is_negative)


def _number(expr: sympy.Expr) -> Any:
    if expr.is_Integer:
        return int(expr)
    if expr.is_Rational:
        return (int(expr.p), int(expr.q))
    if expr.is_Float:
        return float(expr)
    if expr in (sympy.pi, sympy.E):
        return "pi" if expr == sympy.pi else "e"
    raise LoweringError(f"{expr} is not a real number that torch can hold")
