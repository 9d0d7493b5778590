"""Trees from and to sympy expressions and programs, and their slots: numbered, filled, replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import sympy

from symcompile.errors import ExpressionError, LoweringError
from symcompile.expressions.custom import ARGUMENTS
from symcompile.expressions.evaluation import Array, value_rules
from symcompile.expressions.fold import BUILD, Code, fold
from symcompile.expressions.light_algebra import function, negative, power, rebuilt, with_args
from symcompile.expressions.light_tree import (
    HALF,
    MINUS_ONE,
    ONE,
    LightTree,
    column,
    number,
    slot,
)
from symcompile.expressions.operator import Defined
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.program import CLASSES, Program
from symcompile.expressions.slots import as_sympy, exact_exponent, real, slot_index
from symcompile.expressions.slots import slot as as_slot

_MAX_POWER = 64
_NO_SAMPLES = np.empty((0, 0))
# The tree of each operation of a program.
TREES: dict[str, Callable[..., LightTree]] = {
    op: (lambda *args, op=op: rebuilt(op, args)) for op in OPERATORS if op != "power"
} | {
    "power": lambda base, exponent: power(base, number(exponent)),
    "number": lambda value: number(Fraction(*value) if isinstance(value, tuple) else value),
    "input": column,
    "slot": slot,
}


# --- sympy -------------------------------------------------------------------------------------


def from_sympy(expr: Any, symbols: Sequence[str], constants: list[float]) -> LightTree:
    """The tree of an expression or condition over input `symbols` and slots `c[0]`, ...

    A float in it becomes a slot, the same one wherever it stands: its value is added to
    `constants`, which hold those of the slots that there are.

    Raises ExpressionError for other symbols, LoweringError for functions that no program has.
    """
    return _Reader(symbols, constants).of(real(as_sympy(expr)))


def light(
    expr: LightTree | sympy.Basic, names: Sequence[str] = ()
) -> tuple[LightTree, Sequence[str]]:
    """An expression as a light tree over the symbols that are in it, and their names; a light tree
    as it is, with the names that were given."""
    if isinstance(expr, LightTree):
        return expr, names
    expr = as_sympy(expr)
    names = sorted(s.name for s in expr.free_symbols if slot_index(s) is None)
    return from_sympy(expr, names, []), names


class _Reader:
    def __init__(self, symbols: Sequence[str], constants: list[float]) -> None:
        self.columns = {name: index for index, name in enumerate(symbols)}
        self.constants = constants
        self.floats: dict[float, LightTree] = {}

    def of(self, expr: Any) -> LightTree:
        if expr.is_Symbol:
            return self.symbol(expr)
        if not expr.args or expr in (sympy.pi, sympy.E):
            return self.number(expr)
        if expr.is_Pow:
            exponent = exact_exponent(expr.exp) if expr.exp.is_Float else expr.exp
            return power(self.of(expr.base), self.of(exponent))
        if isinstance(expr, sympy.Piecewise):
            return self.piecewise(expr)
        if isinstance(expr, (sympy.GreaterThan, sympy.StrictGreaterThan)):
            return self.of(expr.reversed)
        if isinstance(expr, sympy.Ne):
            return function("not", (self.of(sympy.Eq(*expr.args)),))
        if isinstance(expr, sympy.ITE):
            return self.of(expr.to_nnf(simplify=False))
        op = CLASSES.get(expr.func)
        if op is None and isinstance(expr, Defined):
            return LightTree("custom", tuple(map(self.of, expr.args)), expr.func)
        if op is None:
            raise LoweringError(f"{expr.func.__name__} in {expr} has no counterpart in torch")
        return rebuilt(op, tuple(map(self.of, expr.args)))

    def symbol(self, symbol: sympy.Symbol) -> LightTree:
        index = slot_index(symbol)
        if index is not None:
            return slot(index)
        if symbol.name not in self.columns:
            known = ", ".join(self.columns) or "none"
            raise ExpressionError(f"unknown symbol {symbol.name!r}: the inputs are {known}")
        return column(self.columns[symbol.name])

    def number(self, expr: sympy.Expr) -> LightTree:
        if expr.is_Rational:
            return number(Fraction(int(expr.p), int(expr.q)))
        if expr.is_Float:
            value = float(expr)
            if value not in self.floats:
                self.floats[value] = slot(len(self.constants))
                self.constants.append(value)
            return self.floats[value]
        if expr in (sympy.pi, sympy.E):
            return number("pi" if expr == sympy.pi else "e")
        raise LoweringError(f"{expr} is not a real number that torch can hold")

    def piecewise(self, expr: sympy.Piecewise) -> LightTree:
        *cases, (last, test) = expr.args
        if test is not sympy.true:
            raise LoweringError(f"{expr} leaves a case open: end it with (value, True)")
        result = self.of(last)
        for value, condition in reversed(cases):
            result = function("where", (self.of(condition), self.of(value), result))
        return result


def as_expression(tree: LightTree, symbols: Sequence[str]) -> sympy.Expr:
    """The sympy expression of a tree, with slots `c[0]`, ..."""
    known: dict[LightTree, sympy.Expr] = {}

    def visit(node: LightTree) -> sympy.Expr:
        if node not in known:
            known[node] = build(node)
        return known[node]

    def build(node: LightTree) -> sympy.Expr:
        if node.op == "input":
            return sympy.Symbol(symbols[node.value])
        if not node.args:
            return (
                as_slot(node.value) if node.op == "slot" else BUILD["number"](_stored(node.value))
            )
        head = node.value if node.op == "custom" else BUILD[node.op]
        return head(*map(visit, node.args))

    return real(visit(tree))


@lru_cache(maxsize=1 << 10)
def _definition(operator: Any) -> LightTree:
    return from_sympy(operator.expression, ARGUMENTS, [])


def definition(tree: LightTree) -> LightTree:
    """What the use of an operator of a user's own is in terms of others."""
    return replaced(_definition(tree.value), {column(k): arg for k, arg in enumerate(tree.args)})


# --- programs ----------------------------------------------------------------------------------


def from_program(code: Program) -> list[LightTree]:
    """The tree of each output."""
    values = fold(code.instructions, TREES)
    return [values[output] for output in code.outputs]


def program(tree: LightTree, n_inputs: int, n_slots: int) -> Program:
    """Flat code of a tree, each common part once."""
    writer = _Writer()
    output = writer.of(tree)
    return Program(tuple(writer.code.instructions), (output,), n_inputs, n_slots)


class _Writer:
    def __init__(self) -> None:
        self.code = Code()
        self.known: dict[LightTree, int] = {}

    def of(self, tree: LightTree) -> int:
        if tree not in self.known:
            self.known[tree] = self.write(tree)
        return self.known[tree]

    def write(self, tree: LightTree) -> int:
        op, args, value = tree.op, tree.args, tree.value
        if op == "number":
            return self.code.add(op, (), _stored(value))
        if not args:
            return self.code.add(op, (), value)
        if op == "custom":
            return self.of(definition(tree))
        rule = getattr(self, op, None)
        return rule(tree) if rule else self.code.add(op, [self.of(arg) for arg in args])

    def nary(self, op: str, args: Sequence[LightTree]) -> int:
        places = [self.of(arg) for arg in args]
        return places[0] if len(places) == 1 else self.code.add(op, places)

    def add(self, tree: LightTree) -> int:
        plus: list[LightTree] = []
        minus: list[LightTree] = []
        for term in tree.args:
            (minus if is_minus(term) else plus).append(term)
        if not plus:
            return self.code.add("neg", [self.nary("add", [negative(term) for term in minus])])
        total = self.nary("add", plus)
        if not minus:
            return total
        return self.code.add("sub", [total, self.nary("add", [negative(t) for t in minus])])

    def mul(self, tree: LightTree) -> int:
        if is_minus(tree):
            return self.code.add("neg", [self.of(negative(tree))])
        above, below = fraction(tree.args)
        top = self.nary("mul", above or [ONE])
        return self.code.add("div", [top, self.nary("mul", below)]) if below else top

    def pow(self, tree: LightTree) -> int:
        base, exponent = tree.args
        exact = exponent.rational
        if exact is not None and exact < 0:
            return self.code.add("div", [self.of(ONE), self.of(upside_down(tree))])
        if exponent is HALF:
            return self.code.add("sqrt", [self.of(base)])
        if type(exact) is int and 2 <= exact <= _MAX_POWER:
            return self.code.add("power", [self.of(base)], exact)
        return self.code.add("pow", [self.of(base), self.of(exponent)])


def _stored(value: Any) -> Any:
    return (value.numerator, value.denominator) if isinstance(value, Fraction) else value


def is_minus(term: LightTree) -> bool:
    return term.op == "mul" and term.args[0] is MINUS_ONE


def is_below(factor: LightTree) -> bool:
    """Whether it is written as a denominator."""
    exact = factor.args[1].rational if factor.op == "pow" else None
    return exact is not None and exact < 0


def fraction(factors: Iterable[LightTree]) -> tuple[list[LightTree], list[LightTree]]:
    """Factors above the line, and what stands below it."""
    above: list[LightTree] = []
    below: list[LightTree] = []
    for factor in factors:
        if is_below(factor):
            below.append(upside_down(factor))
        else:
            above.append(factor)
    return above, below


def upside_down(factor: LightTree) -> LightTree:
    """A power with the exponent's sign turned."""
    exact = factor.args[1].rational
    assert exact is not None
    return power(factor.args[0], number(-exact))


# --- slots -------------------------------------------------------------------------------------


def numbered(tree: LightTree, constants: Sequence[float]) -> tuple[LightTree, tuple[float, ...]]:
    """The slots numbered 0, 1, ... in the order of a walk, and the constants that they have."""
    used = list(dict.fromkeys(tree.slots))
    values = tuple(float(constants[index]) for index in used)
    if used == list(range(len(used))):
        return tree, values
    return _renumbered(tree, {old: slot(new) for new, old in enumerate(used)}), values


def _renumbered(tree: LightTree, slots: Mapping[int, LightTree]) -> LightTree:
    if tree.op == "slot":
        return slots[tree.value]
    if not tree.slots:
        return tree
    return LightTree(tree.op, tuple(_renumbered(arg, slots) for arg in tree.args), tree.value)


def replaced(tree: LightTree, leaves: Mapping[LightTree, LightTree]) -> LightTree:
    """With other trees in the place of leaves."""
    if not tree.args:
        return leaves.get(tree, tree)
    return with_args(tree, [replaced(arg, leaves) for arg in tree.args])


def moved(tree: LightTree, by: int) -> LightTree:
    """Each slot's number higher by so much."""
    return _renumbered(tree, {index: slot(index + by) for index in tree.slots})


class Values:
    """What trees give on X [n_samples, n_inputs] with these constants; common parts once."""

    def __init__(self, X: Array, constants: Sequence[float]) -> None:
        self.rules = value_rules(X, constants)
        self.shape = (len(X),)
        self.known: dict[LightTree, Any] = {}

    def of(self, tree: LightTree) -> Array:
        """Values [n_samples]; NaN or infinity where there are none."""
        with np.errstate(all="ignore"):
            return np.broadcast_to(self.visit(tree), self.shape)

    def visit(self, tree: LightTree) -> Any:
        if tree not in self.known:
            self.known[tree] = self.value(tree)
        return self.known[tree]

    def value(self, tree: LightTree) -> Any:
        if not tree.args:
            return self.rules[tree.op](_stored(tree.value))
        if tree.op == "custom":
            return self.visit(definition(tree))
        if tree.op == "pow" and (exponent := tree.args[1].rational) is not None:
            whole = type(exponent) is int  # numpy multiplies where it is small
            return self.visit(tree.args[0]) ** (exponent if whole else float(exponent))
        return self.rules[tree.op](*map(self.visit, tree.args))


def value_of(tree: LightTree, constants: Sequence[float]) -> float:
    """The number that a constant tree stands for; NaN where it is none."""
    if (exact := tree.rational) is not None:
        return float(exact)
    with np.errstate(all="ignore"):
        return float(Values(_NO_SAMPLES, constants).visit(tree))
