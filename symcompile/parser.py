"""Read an expression from text without ever executing it.

Python's own grammar is used (`ast.parse` builds a tree and runs nothing), and each node of the tree
must be on a whitelist: arithmetic, comparisons, numbers, known names, and known functions of them.
Attribute access, indexing, strings, lambdas, comprehensions and every other call are refused.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import sympy

from symcompile.errors import ExpressionError

MAX_CHARACTERS = 20_000
MAX_DEPTH = 200
MAX_EXPONENT = 10_000

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sin": sympy.sin,
    "cos": sympy.cos,
    "tan": sympy.tan,
    "asin": sympy.asin,
    "acos": sympy.acos,
    "atan": sympy.atan,
    "sinh": sympy.sinh,
    "cosh": sympy.cosh,
    "tanh": sympy.tanh,
    "exp": sympy.exp,
    "log": sympy.log,
    "ln": sympy.log,
    "sqrt": sympy.sqrt,
    "abs": sympy.Abs,
    "Abs": sympy.Abs,
    "sign": sympy.sign,
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
    "erf": sympy.erf,
    "inv": lambda a: 1 / a,
    "neg": lambda a: -a,
    "square": lambda a: a**2,
    "cube": lambda a: a**3,
    "pow": sympy.Pow,
    "min": sympy.Min,
    "max": sympy.Max,
    "Min": sympy.Min,
    "Max": sympy.Max,
    "where": lambda test, a, b: sympy.Piecewise((a, test), (b, True)),
}

_ARITY = {"pow": (2, 2), "where": (3, 3)} | dict.fromkeys(("min", "max", "Min", "Max"), (1, 64))
_NAMES: dict[str, sympy.Expr] = {"pi": sympy.pi}

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: sympy.Pow(a, b),
    ast.BitXor: lambda a, b: sympy.Pow(a, b),
}

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


def parse(
    text: str,
    symbols: Collection[str],
    *,
    functions: Mapping[str, Callable[..., Any]] = FUNCTIONS,
) -> sympy.Expr:
    """The sympy expression that `text` spells over `symbols`.

    Both `**` and `^` are powers. ExpressionError names what is not allowed or not known.
    """
    if not isinstance(text, str):
        raise ExpressionError(f"expected an expression as text, got {type(text).__name__}")
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"expression of {len(text)} characters: at most {MAX_CHARACTERS}")
    try:
        # ^ binds weaker than + in Python's grammar, yet is a power here.
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"can't read expression {_short(text)}: {error}") from error
    try:
        return _Reader(text, symbols, functions).read(tree.body, 0)
    except (TypeError, RecursionError) as error:
        raise ExpressionError(f"can't read expression {_short(text)}: {error}") from error


class _Reader:
    def __init__(
        self, text: str, symbols: Collection[str], functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        self.text, self.symbols, self.functions = text, symbols, functions

    def read(self, node: ast.AST, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self.refuse(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(node, ast.Constant):
            return self.number(node.value)
        if isinstance(node, ast.Name):
            return self.name(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self.read(node.operand, depth + 1)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return self.binary(node, depth)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            left, right = self.read(node.left, depth + 1), self.read(node.comparators[0], depth + 1)
            return _COMPARE[type(node.ops[0])](left, right)
        if isinstance(node, ast.Call):
            return self.call(node, depth)
        raise self.refuse(f"holds {type(node).__name__}, which is not allowed")

    def number(self, value: object) -> sympy.Expr:
        if type(value) is int and abs(value) < 10**18:
            return sympy.Integer(value)
        if type(value) is int or type(value) is float:
            return sympy.Float(float(value))
        raise self.refuse(f"holds {value!r}: expected a number")

    def name(self, name: str) -> sympy.Expr:
        if name in self.symbols:
            return sympy.Symbol(name)
        if name in _NAMES:
            return _NAMES[name]
        known = [*self.symbols, *_NAMES]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise self.refuse(f"uses unknown name {name!r}: {hint}known are {', '.join(known)}")

    def binary(self, node: ast.BinOp, depth: int) -> sympy.Expr:
        left, right = self.read(node.left, depth + 1), self.read(node.right, depth + 1)
        if isinstance(node.op, ast.Pow) and right.is_Number and abs(right) > MAX_EXPONENT:
            raise self.refuse(f"has exponent {right}: at most {MAX_EXPONENT}")
        if isinstance(node.op, ast.Pow) and left.is_Integer and right.is_Number:
            left = sympy.Float(left) if abs(left) > 1 and abs(right) > 64 else left
        if isinstance(node.op, ast.Div) and right.is_zero:
            raise self.refuse("divides by zero")
        return _BINARY[type(node.op)](left, right)

    def call(self, node: ast.Call, depth: int) -> sympy.Expr:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self.refuse("calls something that is not a plain function of its arguments")
        name = node.func.id
        if name not in self.functions:
            known = ", ".join(sorted(self.functions))
            raise self.refuse(f"calls unknown function {name!r}: known are {known}")
        low, high = _ARITY.get(name, (1, 1))
        if not low <= len(node.args) <= high:
            raise self.refuse(f"gives {name} {len(node.args)} arguments, expected {low}")
        return self.functions[name](*(self.read(arg, depth + 1) for arg in node.args))

    def refuse(self, reason: str) -> ExpressionError:
        return ExpressionError(f"expression {_short(self.text)} {reason}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
