"""Read an expression from text without ever executing it.

Python's own grammar is used (`ast.parse` builds a tree and runs nothing), and each node of the tree
must be on a whitelist: arithmetic, comparisons, numbers, known names, and known functions of them.
Attribute access, indexing, strings, lambdas, comprehensions and every other call are refused.
Everything that sympy prints for our operators can be read, Piecewise and relations included.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
import unicodedata
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sympy
from sympy.logic.boolalg import Boolean

from symcompile.errors import ExpressionError
from symcompile.expressions.limits import Gauge, Size
from symcompile.expressions.operators import ROWS
from symcompile.expressions.slots import is_finite

MAX_CHARACTERS = 20_000
MAX_DEPTH = 200
MAX_EXPONENT = 10_000
MAX_BITS = 4_096  # of an exact number: 3**64**64**64 would fill the memory

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: row.build for row in ROWS for name in row.typed
} | {"where": lambda test, a, b: sympy.Piecewise((a, test), (b, True))}
# What sympy prints besides, of numbers and of comparisons.
_RELATIONS: dict[str, Callable[..., Any]] = {"Eq": sympy.Eq, "Ne": sympy.Ne}

ARITY = {name: (1, 64) if row.nary else (row.arity,) * 2 for row in ROWS for name in row.typed}
ARITY |= {"where": (3, 3)} | dict.fromkeys(_RELATIONS, (2, 2))
NAMES: dict[str, sympy.Expr] = {"pi": sympy.pi}
# sympy prints Euler's number as E, which in a text of a user's may be anything.
PRINTED_NAMES = NAMES | {"E": sympy.E}

_SUMS = (ast.Add, ast.Sub)
_ARITHMETIC = (*_SUMS, ast.Mult, ast.Div, ast.Pow)
_LOGIC: dict[type, Callable[..., Any]] = {ast.BitAnd: sympy.And, ast.BitOr: sympy.Or}
# What the bounds on programs call an operator of Python's grammar.
_CALLED = dict.fromkeys(_SUMS, "add") | {ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}
_CALLED |= {ast.BitAnd: "and", ast.BitOr: "or"}
# The same of a function.
_FUNCTIONS_CALLED = {name: row.op or row.name for row in ROWS for name in row.typed}
_FUNCTIONS_CALLED |= {"inv": "div", "Piecewise": "where", "ITE": "where", "Eq": "eq", "Ne": "eq"}

_UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: lambda a: -a, ast.UAdd: lambda a: a}

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def parse(
    text: str,
    symbols: Collection[str],
    *,
    functions: Mapping[str, Callable[..., Any]] = FUNCTIONS,
    names: Mapping[str, sympy.Expr] = NAMES,
) -> sympy.Expr:
    """The sympy expression that `text` spells over `symbols`.

    Both `**` and `^` are powers; `names` are those of constants. ExpressionError names what is not
    allowed or not known, or says that the expression would take sympy too long to build.
    """
    return parse_measured(text, symbols, {}, Gauge(), functions=functions, names=names)[0]


def parse_measured(
    text: str,
    symbols: Collection[str],
    sizes: Mapping[str, Size],
    gauge: Gauge,
    *,
    functions: Mapping[str, Callable[..., Any]] = FUNCTIONS,
    names: Mapping[str, sympy.Expr] = NAMES,
) -> tuple[sympy.Expr, Size]:
    """The same with the size of the expression, measured by a gauge that other texts may share.

    `sizes` are those of the symbols that stand for expressions.
    """
    if not isinstance(text, str):
        raise ExpressionError(f"expected an expression as text, got {type(text).__name__}")
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"expression of {len(text)} characters: at most {MAX_CHARACTERS}")
    _refuse_strange_characters(text, symbols)
    # Python's grammar gives names in normal form: the micro sign as the Greek letter mu.
    inputs = {unicodedata.normalize("NFKC", name): name for name in symbols}
    reader = _Reader(text, inputs, functions, names)
    try:
        tree = _tree(text)
        size = reader.measure(tree, gauge, sizes)
        result = reader.read(tree, 0)
    except ExpressionError:
        raise
    except Exception as error:  # sympy raises what it likes: NoConvergence of a polynomial's roots
        raise ExpressionError(f"can't read expression {_short(text)}: {error}") from error
    if _is_test(result):
        raise reader.refuse("is a comparison, not a number: write where(..., 1, 0)")
    if not is_finite(result):
        raise reader.refuse("holds a constant that is not a finite real number")
    return result, size


def _tree(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's advice on "1if" is not meant for this text
        # ^ binds weaker than + in Python's grammar, yet is a power here.
        return ast.parse(text.strip().replace("^", "**"), mode="eval").body


def _refuse_strange_characters(text: str, symbols: Collection[str]) -> None:
    """Python reads a fullwidth or a Cyrillic letter as, or beside, a Latin one."""
    known = set("".join(symbols))
    strange = next((c for c in text if not c.isascii() and c not in known), None)
    if strange is not None:
        name = unicodedata.name(strange, "unnamed")
        raise ExpressionError(
            f"expression {_short(text)} holds {strange!r} ({name}), which no symbol has"
        )


@dataclass(frozen=True)
class _Reader:
    text: str
    symbols: Mapping[str, str]
    functions: Mapping[str, Callable[..., Any]]
    names: Mapping[str, sympy.Expr]

    def measure(self, tree: ast.expr, gauge: Gauge, sizes: Mapping[str, Size]) -> Size:
        names = self.names.keys() - self.symbols.keys()
        numbers = dict.fromkeys(names, Size("number", constant=True))
        try:
            return _measure(tree, gauge, {**numbers, **sizes})
        except ExpressionError as error:
            raise self.refuse(f"is too large: {error}") from None

    def read(self, node: ast.AST, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self.refuse(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(node, ast.Constant):
            return self.number(node.value)
        if isinstance(node, ast.Name):
            return self.name(node.id)
        if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
            return _UNARY[type(node.op)](self.read(node.operand, depth + 1))
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            return self.binary(node, depth)
        if isinstance(node, ast.BinOp) and type(node.op) in _LOGIC:
            both = (self.test(one, depth + 1, node.op) for one in (node.left, node.right))
            return _LOGIC[type(node.op)](*both)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
            return sympy.Not(self.test(node.operand, depth + 1, node.op))
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            left, right = self.read(node.left, depth + 1), self.read(node.comparators[0], depth + 1)
            return _COMPARE[type(node.ops[0])](left, right)
        if isinstance(node, ast.Call):
            return self.checked(self.call(node, depth))
        raise self.refuse(f"holds {type(getattr(node, 'op', node)).__name__}, which is not allowed")

    def test(self, node: ast.expr, depth: int, user: ast.AST) -> Boolean:
        """A comparison, or several joined by & | and ~, as a `user` of it expects."""
        if isinstance(node, ast.Constant) and type(node.value) is bool:
            return sympy.sympify(node.value)
        value = self.read(node, depth)
        if not _is_test(value):
            raise self.refuse(f"holds {type(user).__name__} of {value}, which is no comparison")
        return value

    def number(self, value: object) -> sympy.Expr:
        if type(value) not in (int, float):
            raise self.refuse(f"holds {value!r}: expected a number")
        if type(value) is int and abs(value) < 10**18:
            return sympy.Integer(value)
        rounded = _rounded(value)
        if math.isinf(rounded):
            raise self.refuse("holds a number that no float64 can hold")
        return sympy.Float(rounded)

    def name(self, name: str) -> sympy.Expr:
        if name in self.symbols:
            return sympy.Symbol(self.symbols[name])
        if name in self.names:
            return self.names[name]
        known = [*self.symbols.values(), *self.names]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise self.refuse(f"uses unknown name {name!r}: {hint}known are {', '.join(known)}")

    def binary(self, node: ast.BinOp, depth: int) -> sympy.Expr:
        """A chain of operators, `a + b - c`: as long as the text allows, since it nests nothing."""
        chain = _unrolled(node, _ARITHMETIC)
        value = self.read(chain[0].left, depth + 1)
        for summed, operations in groupby(chain, lambda step: type(step.op) in _SUMS):
            if summed:
                value = self.sum(value, list(operations), depth)
                continue
            for step in operations:
                value = self.combine(type(step.op), value, self.read(step.right, depth + 1))
        return value

    def sum(self, first: sympy.Expr, rest: list[ast.BinOp], depth: int) -> sympy.Expr:
        """All at once: one after the other, sympy would sort what it has again for each term."""
        terms = [self.operand(first)]
        for operation in rest:
            term = self.operand(self.read(operation.right, depth + 1))
            terms.append(-term if isinstance(operation.op, ast.Sub) else term)
        return self.checked(sympy.Add(*terms))

    def operand(self, value: Any) -> sympy.Expr:
        if isinstance(value, sympy.Expr):
            return value
        raise self.refuse(f"calculates with {value}: write where({value}, 1, 0)")

    def combine(self, op: type, left: sympy.Expr, right: sympy.Expr) -> sympy.Expr:
        left, right = self.operand(left), self.operand(right)
        if op is ast.Div and right.is_zero:
            raise self.refuse("divides by zero")
        if op is ast.Pow:
            return self.power(left, right)
        return self.checked(left * right if op is ast.Mult else left / right)

    def power(self, base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
        if exponent.is_Number and abs(exponent) > MAX_EXPONENT:
            raise self.refuse(f"has exponent {exponent}: at most {MAX_EXPONENT}")
        if base.is_Rational and exponent.is_Rational and _bits(base) * abs(exponent) > MAX_BITS:
            base = sympy.Float(base)
        return self.checked(sympy.Pow(base, exponent))

    def checked(self, value: Any) -> Any:
        """Refuse constants that are no real number, and round exact ones that grow too long.

        As each part was checked before, none of them can keep sympy busy for long.
        """
        if not isinstance(value, sympy.Expr) or value.free_symbols:
            return value
        if value.is_Rational and _bits(value) > MAX_BITS:
            value = sympy.Float(value)
        try:
            sound = math.isfinite(float(value))
        except (TypeError, OverflowError):  # complex or too large
            sound = False
        if not sound:
            raise self.refuse("holds a constant that is not a finite real number")
        return value

    def call(self, node: ast.Call, depth: int) -> sympy.Expr:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self.refuse("calls something that is not a plain function of its arguments")
        name = node.func.id
        if name == "Piecewise":
            return sympy.Piecewise(*(self.case(arg, depth + 1) for arg in node.args))
        if name == "ITE":
            return sympy.ITE(*(self.test(arg, depth + 1, node) for arg in node.args))
        functions = {**_RELATIONS, **self.functions}
        if name not in functions:
            known = ", ".join(sorted(self.functions))
            raise self.refuse(f"calls unknown function {name!r}: known are {known}")
        low, high = ARITY.get(name, (1, 1))
        if not low <= len(node.args) <= high:
            raise self.refuse(f"gives {name} {len(node.args)} arguments, expected {low}")
        args = [self.read(arg, depth + 1) for arg in node.args]
        for position, arg in enumerate(args):
            if _is_test(arg) != (name == "where" and position == 0):
                expected = "a number" if _is_test(arg) else "a comparison"
                raise self.refuse(f"gives {name} {arg} as argument {position + 1}, not {expected}")
        return self.power(*args) if name == "pow" else functions[name](*args)

    def case(self, node: ast.expr, depth: int) -> tuple[sympy.Expr, Boolean]:
        """One (value, comparison) of a Piecewise."""
        if not isinstance(node, ast.Tuple) or len(node.elts) != 2:
            raise self.refuse("holds a Piecewise whose arguments are not (value, comparison)")
        value = self.read(node.elts[0], depth)
        if _is_test(value):
            raise self.refuse(f"gives Piecewise {value} as a value, not a number")
        return value, self.test(node.elts[1], depth, node)

    def refuse(self, reason: str) -> ExpressionError:
        return ExpressionError(f"expression {_short(self.text)} {reason}")


def _is_test(value: object) -> bool:
    return isinstance(value, Boolean) and not isinstance(value, sympy.Symbol)


def _bits(value: sympy.Rational) -> int:
    return max(int(value.p).bit_length(), int(value.q).bit_length())


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _measure(tree: ast.AST, gauge: Gauge, known: Mapping[str, Size]) -> Size:
    """The size of what a tree spells, found before sympy builds any of it; `known` are names that
    stand for expressions. What no expression may hold is passed over.

    Raises ExpressionError if that is out of all proportion.
    """
    if isinstance(tree, ast.Name):
        return known.get(tree.id) or gauge.add("input")
    if isinstance(tree, ast.BinOp):
        return _chain(tree, gauge, known)
    if isinstance(tree, ast.UnaryOp):
        op = "not" if isinstance(tree.op, (ast.Invert, ast.Not)) else "neg"
        return gauge.add(op, [_measure(tree.operand, gauge, known)])
    if isinstance(tree, ast.Compare):
        sides = [tree.left, *tree.comparators]
        return gauge.add("lt", [_measure(node, gauge, known) for node in sides])
    if isinstance(tree, ast.Call):
        name = tree.func.id if isinstance(tree.func, ast.Name) else ""
        inside = [_measure(node, gauge, known) for node in tree.args]
        return gauge.add(_FUNCTIONS_CALLED.get(name, name), inside)
    if isinstance(tree, ast.Tuple):  # a case of a Piecewise
        return gauge.add("and", [_measure(node, gauge, known) for node in tree.elts])
    number = tree.value if isinstance(tree, ast.Constant) else None
    return gauge.add("number", value=_rounded(number) if isinstance(number, int | float) else None)


def _rounded(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _unrolled(node: ast.BinOp, kinds: tuple[type, ...]) -> list[ast.BinOp]:
    """`a + b - c` nests to the left as deep as it is long: its operations, from the innermost."""
    chain = [node]
    while isinstance(chain[-1].left, ast.BinOp) and isinstance(chain[-1].left.op, kinds):
        chain.append(chain[-1].left)
    return chain[::-1]


def _chain(tree: ast.BinOp, gauge: Gauge, known: Mapping[str, Size]) -> Size:
    """Of a chain of operators, walked, not descended."""
    chain = _unrolled(tree, (ast.operator,))
    size = _measure(chain[0].left, gauge, known)
    for op, operations in groupby(chain, lambda step: _CALLED.get(type(step.op), "pow")):
        operands = [_measure(step.right, gauge, known) for step in operations]
        # A sum is built at once, however long it is; each factor and power after the other.
        for together in [operands] if op == "add" else ([operand] for operand in operands):
            size = gauge.add(op, [size, *together])
    return size
