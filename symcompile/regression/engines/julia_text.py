"""Expressions as text of Julia: definitions of operators of the user's own, and guesses.

A definition is a function of Julia that PySR compiles. It has to give a number of the type that it
was given (a literal 0.5 would make Float64 of Float32), and NaN where it is undefined: an error
would end the search. A guess is read by PySR itself, in the operators that it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy

from symcompile.errors import EngineError
from symcompile.expressions.custom import CustomOperator
from symcompile.expressions.operator import Head
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.tree import NAMES, Tree

# What PySR calls an operator of the user's own: no function of Julia has such a name.
PREFIX = "own_"
# Where Julia raises an error, as a condition on the argument `v`.
_UNDEFINED = {
    "sqrt": "v < 0",
    "log": "v <= 0",
    "log2": "v <= 0",
    "log10": "v <= 0",
    "log1p": "v <= -1",
    "asin": "abs(v) > 1",
    "acos": "abs(v) > 1",
    "acosh": "v < 1",
    "atanh": "abs(v) >= 1",
    "sin": "isinf(v)",
    "cos": "isinf(v)",
    "tan": "isinf(v)",
}
# Names of Julia where they are not those of the vocabulary.
_JULIA = {"atan2": "atan", "round": "round", "relu": "", "erf": ""}
_INFIX = {"+": "+", "-": "-", "*": "*", "/": "/", "pow": "^"}


def definition(operator: CustomOperator) -> str:
    """An operator of the user's own as PySR takes it: `own_lorentz(a) = ...`.

    Raises EngineError if it needs what Julia lacks.
    """
    arguments = ", ".join("ab"[: operator.arity])
    body = _Definition(operator.name).of(operator.expression)
    return f"{PREFIX}{operator.name}({arguments}) = {body}"


class _Definition:
    def __init__(self, name: str) -> None:
        self.name = name

    def of(self, expr: sympy.Expr) -> str:
        if expr.is_Symbol:
            return str(expr.name)
        if expr.is_Integer:
            return f"({int(expr)})"
        if expr.is_Rational:
            return f"({int(expr.p)} // {int(expr.q)})"
        if expr.is_number and not expr.free_symbols:
            return f"oftype(a, {float(expr)!r})"
        if expr.is_Add or expr.is_Mul:
            return "(" + f" {'+' if expr.is_Add else '*'} ".join(map(self.of, expr.args)) + ")"
        if expr.is_Pow:
            return self.power(expr.base, expr.exp)
        if isinstance(expr, (sympy.Min, sympy.Max)):
            return f"{expr.func.__name__.lower()}({', '.join(map(self.of, expr.args))})"
        return self.function(expr)

    def power(self, base: sympy.Expr, exponent: sympy.Expr) -> str:
        inner = self.of(base)
        if exponent.is_Integer and exponent.is_positive:
            return f"({inner} ^ {int(exponent)})"
        if exponent.is_number and exponent.is_negative:
            return f"inv({self.of(base**-exponent)})"
        if exponent == sympy.Rational(1, 2):
            return self.guarded("sqrt", inner)
        undefined = "v < 0"
        return f"(v -> {undefined} ? oftype(v, NaN) : v ^ {self.of(exponent)})({inner})"

    def function(self, expr: sympy.Expr) -> str:
        name = NAMES.get(expr.func, "")
        row = VOCABULARY.get(name)
        name = _JULIA.get(name, name)
        if row is not None and name and ("(" not in row.pysr or row.name in _JULIA):
            args = [self.of(arg) for arg in expr.args]
            return self.guarded(name, *args)
        if isinstance(expr, Head):
            return self.of(expr.definition)
        if isinstance(expr, sympy.Piecewise):
            return self.cases(expr)
        raise EngineError(
            f"engine 'pysr' can't search for operator {self.name!r}: Julia has no {expr.func}"
        )

    def cases(self, expr: sympy.Piecewise) -> str:
        *cases, (last, _) = expr.args
        text = self.of(last)
        for value, test in reversed(cases):
            text = f"({self.test(test)} ? {self.of(value)} : {text})"
        return text

    def test(self, test: sympy.Basic) -> str:
        if not isinstance(test, sympy.core.relational.Relational):
            raise EngineError(
                f"engine 'pysr' can't search for operator {self.name!r}: it decides by {test}"
            )
        left, right = map(self.of, test.args)
        return f"{left} {test.rel_op} {right}"

    def guarded(self, name: str, *args: str) -> str:
        if name not in _UNDEFINED:
            return f"{name}({', '.join(args)})"
        return f"(v -> {_UNDEFINED[name]} ? oftype(v, NaN) : {name}(v))({args[0]})"


def guess(tree: Tree, inputs: Mapping[str, str], value: Callable[[Any], float]) -> str:
    """A tree in the operators that PySR was given.

    Args:
        inputs: what PySR calls each of them.
        value: the number that a constant is.
    """
    if tree.leaf is not None:
        if tree.leaf.is_Symbol and tree.leaf.name in inputs:
            return inputs[tree.leaf.name]
        return f"({value(tree.leaf)!r})"
    args = [guess(arg, inputs, value) for arg in tree.args]
    if tree.name in _INFIX:
        text = args[0]
        for arg in args[1:]:
            text = f"({text} {_INFIX[tree.name]} {arg})"
        return text
    name = VOCABULARY[tree.name].pysr_name if tree.name in VOCABULARY else PREFIX + tree.name
    if tree.name in ("min", "max"):
        text = args[0]
        for arg in args[1:]:
            text = f"{name}({text}, {arg})"
        return text
    return f"{name}({', '.join(args)})"
