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
from typing import Any, NamedTuple

import sympy
from sympy.logic.boolalg import Boolean

from symcompile.errors import ExpressionError
from symcompile.expressions.operators import ROWS
from symcompile.expressions.size_limits import Gauge, Size
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

# What the bounds on programs call an operator of Python's grammar.
_ARITHMETIC: dict[type, str] = {
    **dict.fromkeys((ast.Add, ast.Sub), "add"),
    **{ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"},
}
_LOGIC: dict[type, tuple[str, Callable[..., Any]]] = {
    ast.BitAnd: ("and", sympy.And),
    ast.BitOr: ("or", sympy.Or),
}
# The same of a function.
_FUNCTIONS_CALLED = {name: row.op or row.name for row in ROWS for name in row.typed}
_FUNCTIONS_CALLED |= {"inv": "div"} | dict.fromkeys(_RELATIONS, "eq")

_UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}

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
    reader = _Reader(text, inputs, sizes, gauge, functions, names)
    try:
        result, size = reader.read(_tree(text), 0)
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


class _Part(NamedTuple):
    """What a part of the text spells: an expression, a comparison, or a case of a Piecewise."""

    value: Any
    size: Size


@dataclass(frozen=True)
class _Reader:
    text: str
    symbols: Mapping[str, str]
    sizes: Mapping[str, Size]
    gauge: Gauge
    functions: Mapping[str, Callable[..., Any]]
    names: Mapping[str, sympy.Expr]

    def read(self, node: ast.AST, depth: int) -> _Part:
        if depth > MAX_DEPTH:
            raise self.refuse(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(node, ast.Constant):
            return self.number(node.value)
        if isinstance(node, ast.Name):
            return self.name(node.id)
        if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
            return self.built("neg", _UNARY[type(node.op)], self.read(node.operand, depth + 1))
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            return self.chain(node, depth)
        if isinstance(node, ast.BinOp) and type(node.op) in _LOGIC:
            both = (self.test(side, depth + 1, node.op) for side in (node.left, node.right))
            return self.built(*_LOGIC[type(node.op)], *both)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
            return self.built("not", sympy.Not, self.test(node.operand, depth + 1, node.op))
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            sides = (self.read(side, depth + 1) for side in (node.left, node.comparators[0]))
            return self.built("lt", _COMPARE[type(node.ops[0])], *sides)
        if isinstance(node, ast.Call):
            return self.call(node, depth)
        raise self.refuse(f"holds {type(getattr(node, 'op', node)).__name__}, which is not allowed")

    def measured(self, op: str, *parts: _Part, value: float | None = None) -> Size:
        try:
            return self.gauge.add(op, [part.size for part in parts], value)
        except ExpressionError as error:
            raise self.refuse(f"is too large: {error}") from None

    def built(self, op: str, function: Callable[..., Any], *parts: _Part) -> _Part:
        """What sympy makes of these parts, if its size allows."""
        size = self.measured(op, *parts)
        return _Part(self.checked(function(*(part.value for part in parts))), size)

    def test(self, node: ast.expr, depth: int, user: ast.AST) -> _Part:
        """A comparison, or several joined by & | and ~, as a `user` of it expects."""
        if isinstance(node, ast.Constant) and type(node.value) is bool:
            size = self.measured("number", value=float(node.value))
            return _Part(sympy.sympify(node.value, strict=True), size)
        part = self.read(node, depth)
        if not _is_test(part.value):
            raise self.refuse(
                f"holds {type(user).__name__} of {part.value}, which is no comparison"
            )
        return part

    def number(self, value: object) -> _Part:
        if type(value) not in (int, float):
            raise self.refuse(f"holds {value!r}: expected a number")
        try:
            rounded = float(value)  # type: ignore[arg-type]
        except OverflowError:
            rounded = math.inf
        if math.isinf(rounded):
            raise self.refuse("holds a number that no float64 can hold")
        exact = type(value) is int and abs(value) < 10**18
        number = sympy.Integer(value) if exact else sympy.Float(rounded)
        return _Part(number, self.measured("number", value=rounded))

    def name(self, name: str) -> _Part:
        if name in self.symbols:
            symbol = self.symbols[name]
            return _Part(sympy.Symbol(symbol), self.sizes.get(symbol) or self.measured("input"))
        if name in self.names:
            return _Part(self.names[name], Size("number", constant=True))
        known = [*self.symbols.values(), *self.names]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise self.refuse(f"uses unknown name {name!r}: {hint}known are {', '.join(known)}")

    def chain(self, node: ast.BinOp, depth: int) -> _Part:
        """`a + b - c` nests to the left as deep as it is long: walked, not descended, from the
        innermost operation on."""
        steps = [node]
        while isinstance(left := steps[-1].left, ast.BinOp) and type(left.op) in _ARITHMETIC:
            steps.append(left)
        part = self.operand(left, depth)
        functions = {"add": sympy.Add, "mul": operator.mul, "div": self.quotient, "pow": self.power}
        for op, operations in groupby(steps[::-1], lambda step: _ARITHMETIC[type(step.op)]):
            operands = [self.operand(step.right, depth, step.op) for step in operations]
            # A sum at once, however long it is: one after the other, sympy would sort what it has
            # again for each term.
            for group in [operands] if op == "add" else ([operand] for operand in operands):
                part = self.built(op, functions[op], part, *group)
        return part

    def operand(self, node: ast.expr, depth: int, op: ast.operator | None = None) -> _Part:
        """What is calculated with; of a difference, what is added."""
        value, size = self.read(node, depth + 1)
        if not isinstance(value, sympy.Expr):
            raise self.refuse(f"calculates with {value}: write where({value}, 1, 0)")
        return _Part(-value if isinstance(op, ast.Sub) else value, size)

    def quotient(self, above: sympy.Expr, below: sympy.Expr) -> sympy.Expr:
        if below.is_zero:
            raise self.refuse("divides by zero")
        return above / below

    def power(self, base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
        if exponent.is_Number and abs(exponent) > MAX_EXPONENT:
            raise self.refuse(f"has exponent {exponent}: at most {MAX_EXPONENT}")
        if base.is_Rational and exponent.is_Rational and _bits(base) * abs(exponent) > MAX_BITS:
            base = sympy.Float(base)
        return sympy.Pow(base, exponent)

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

    def call(self, node: ast.Call, depth: int) -> _Part:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self.refuse("calls something that is not a plain function of its arguments")
        name = node.func.id
        if name == "Piecewise":
            cases = [self.case(arg, depth + 1) for arg in node.args]
            return self.built("where", sympy.Piecewise, *cases)
        if name == "ITE":
            tests = [self.test(arg, depth + 1, node) for arg in node.args]
            return self.built("where", sympy.ITE, *tests)
        functions = {**_RELATIONS, **self.functions}
        if name not in functions:
            known = ", ".join(sorted(self.functions))
            raise self.refuse(f"calls unknown function {name!r}: known are {known}")
        low, high = ARITY.get(name) or _arity(functions[name])
        if not low <= len(node.args) <= high:
            raise self.refuse(f"gives {name} {len(node.args)} arguments, expected {low}")
        args = [self.read(arg, depth + 1) for arg in node.args]
        for position, (arg, _) in enumerate(args):
            if _is_test(arg) != (name == "where" and position == 0):
                expected = "a number" if _is_test(arg) else "a comparison"
                raise self.refuse(f"gives {name} {arg} as argument {position + 1}, not {expected}")
        function = self.power if name == "pow" else functions[name]
        return self.built(_FUNCTIONS_CALLED.get(name, name), function, *args)

    def case(self, node: ast.expr, depth: int) -> _Part:
        """One (value, comparison) of a Piecewise."""
        if not isinstance(node, ast.Tuple) or len(node.elts) != 2:
            raise self.refuse("holds a Piecewise whose arguments are not (value, comparison)")
        part = self.read(node.elts[0], depth)
        if _is_test(part.value):
            raise self.refuse(f"gives Piecewise {part.value} as a value, not a number")
        return self.built("and", lambda *pair: pair, part, self.test(node.elts[1], depth, node))

    def refuse(self, reason: str) -> ExpressionError:
        return ExpressionError(f"expression {_short(self.text)} {reason}")


def _arity(function: Any) -> tuple[int, int]:
    """Of a function that is no operator of ours, such as one of the user's own."""
    nargs = [int(n) for n in getattr(function, "nargs", ())]
    return (min(nargs), max(nargs)) if nargs else (1, 1)


def _is_test(value: object) -> bool:
    return isinstance(value, Boolean) and not isinstance(value, sympy.Symbol)


def _bits(value: sympy.Rational) -> int:
    return max(int(value.p).bit_length(), int(value.q).bit_length())


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
