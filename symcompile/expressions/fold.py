"""The one walk over flat code, which values, slopes, bounds, sizes, text and graphs are made by.

The rules of a walk are mostly a column of the operator table, or follow from one.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial, reduce
from typing import Any, NamedTuple

import sympy

from symcompile.expressions.operators import OPERATORS

LEAVES = ("input", "slot", "number")

# What an operation gives, by its name: of the results for its arguments, then of the value of the
# instruction if it has one.
Rules = Mapping[str, Callable[..., Any]]


class Instruction(NamedTuple):
    """One step of flat code; see `program` for what each operation takes."""

    op: str
    args: tuple[int, ...] = ()
    value: Any = None


class Code:
    """Flat code as it is written, each distinct instruction once."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.places: dict[tuple[str, tuple[int, ...], str], int] = {}

    def add(self, op: str, args: Sequence[int] = (), value: Any = None) -> int:
        """Where this instruction stands."""
        key = (op, tuple(args), repr(value))  # 2, 2.0 and True are equal, yet not the same
        if key not in self.places:
            self.places[key] = len(self.instructions)
            self.instructions.append(Instruction(op, key[1], value))
        return self.places[key]


def fold(code: Sequence[Instruction], rules: Rules) -> list[Any]:
    """What the rules make of each instruction, given what they made of its arguments."""
    results: list[Any] = []
    for op, args, value in code:
        operands = [results[a] for a in args]
        results.append(rules[op](*operands) if value is None else rules[op](*operands, value))
    return results


def number_value(value: Any) -> float:
    """A `number` instruction's value in float64."""
    if isinstance(value, tuple):
        return float(value[0] / value[1])
    return {"pi": math.pi, "e": math.e}[value] if isinstance(value, str) else float(value)


_INFIX: dict[type, str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "pow",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Eq: "eq",
}


@cache
def compiled(definition: str) -> tuple[Instruction, ...]:
    """The code of a definition over arguments `a` and `b`, in the order in which it is written:
    `u = 1 + a; where(u == 1, a, log(u) * a / (u - 1))`.

    Only for definitions in this package: what else a text may hold is not looked for.
    """
    code = Code()
    add, places = code.add, dict[str, int]()

    def visit(node: Any) -> int:
        match node:
            case ast.Name(id=name):
                return places[name] if name in places else add("input", (), "ab".index(name))
            case ast.Constant(value=number):
                return add("number", (), number)
            case ast.UnaryOp(operand=operand):
                return add("neg", [visit(operand)])
            case ast.BinOp(left=base, op=ast.Pow(), right=ast.Constant(value=int(exponent))):
                return add("power", [visit(base)], exponent)
            case ast.BinOp(left=left, op=op, right=right):
                return add(_INFIX[type(op)], [visit(left), visit(right)])
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return add(_INFIX[type(op)], [visit(left), visit(right)])
        return add(node.func.id, [visit(argument) for argument in node.args])

    *steps, last = ast.parse(definition).body
    for step in steps:
        places[step.targets[0].id] = visit(step.value)  # type: ignore[attr-defined]
    visit(last.value)  # type: ignore[attr-defined]
    return tuple(code.instructions)


# --- rules from the table ----------------------------------------------------------------------


def column(field: str) -> dict[str, Callable[..., Any]]:
    """A column of the table by operations, for `fold`; what folds pairs takes any number."""
    rules = {op: getattr(row, field) for op, row in OPERATORS.items()}
    pairs = {op for op, row in OPERATORS.items() if row.nary and field != "build"}
    return {
        op: partial(_folded, rule) if op in pairs else rule for op, rule in rules.items() if rule
    }


def _folded(rule: Callable[[Any, Any], Any], *args: Any) -> Any:
    return rule(*args) if len(args) == 2 else reduce(rule, args)


def completed(rules: dict[str, Callable[..., Any]]) -> Rules:
    """Rules, among them one for "number", and what follows from them for the other operators."""
    for op, row in OPERATORS.items():
        if op not in rules and row.definition:
            rules[op] = partial(by_definition, rules, row.definition)
    return rules


def by_definition(rules: Rules, definition: str, *args: Any) -> Any:
    """What rules make of a definition (see `compiled`) with these arguments."""
    return fold(compiled(definition), {**rules, "input": args.__getitem__})[-1]


def sympy_number(value: Any) -> sympy.Expr:
    """A `number` instruction's value, exactly."""
    if value in ("pi", "e"):
        return sympy.pi if value == "pi" else sympy.E
    if isinstance(value, tuple):
        return sympy.Rational(*value)
    return sympy.Integer(value) if type(value) is int else sympy.Float(value)


# The sympy expression of each operation.
BUILD = completed(column("build") | {"number": sympy_number})


_OTHER_HEADS: dict[Any, Callable[..., Any]] = {
    sympy.ITE: lambda *truths: sympy.ITE(*truths).to_nnf(simplify=False),
    **{other: row.build for row in OPERATORS.values() for other in row.heads},
}


def in_our_heads(expr: sympy.Basic) -> sympy.Basic:
    """The same with our classes in the place of sympy's own that mean no more and do more.

    Of a choice between truths, which sympy makes of a comparison with a Piecewise, what programs
    store: what is read from a file costs as much as what was written.
    """
    if not expr.has(*_OTHER_HEADS):  # one walk, for each of the many equations of a search
        return expr
    for other, build in _OTHER_HEADS.items():
        expr = expr.replace(other, build)
    return expr


def __getattr__(name: str) -> Any:
    """The sympy classes of our own, where pickles look for them."""
    if name in OPERATORS:
        return OPERATORS[name].build
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
