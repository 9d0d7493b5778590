"""How large the expression is that a text spells, found before sympy builds any of it.

Python's tree of the text is measured with the bounds on stored equations. What no expression may
hold is passed over: the parser has the words for it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping

from symcompile.expressions.limits import Gauge, Size
from symcompile.expressions.operators import ROWS

# What a function of a text does, as the bounds on programs call it.
_NAMES = {name: row.op or row.name for row in ROWS for name in row.typed}
_NAMES |= {"inv": "div", "Piecewise": "where", "ITE": "where", "Eq": "eq", "Ne": "eq"}
_OPERATORS: dict[type, str] = {
    ast.Add: "add",
    ast.Sub: "add",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "pow",
    ast.BitAnd: "and",
    ast.BitOr: "or",
}


def measure(tree: ast.AST, gauge: Gauge, known: Mapping[str, Size]) -> Size:
    """The size of what a tree spells; `known` are names that stand for expressions.

    Raises ExpressionError if that is out of all proportion.
    """
    if isinstance(tree, ast.Name):
        return known.get(tree.id) or gauge.add("input")
    if isinstance(tree, ast.BinOp):
        return _chain(tree, gauge, known)
    if isinstance(tree, ast.UnaryOp):
        op = "not" if isinstance(tree.op, (ast.Invert, ast.Not)) else "neg"
        return gauge.add(op, [measure(tree.operand, gauge, known)])
    if isinstance(tree, ast.Compare):
        sides = [tree.left, *tree.comparators]
        return gauge.add("lt", [measure(one, gauge, known) for one in sides])
    if isinstance(tree, ast.Call):
        name = tree.func.id if isinstance(tree.func, ast.Name) else ""
        inside = [measure(one, gauge, known) for one in tree.args]
        return gauge.add(_NAMES.get(name, name), inside)
    if isinstance(tree, ast.Tuple):  # a case of a Piecewise
        return gauge.add("and", [measure(one, gauge, known) for one in tree.elts])
    return gauge.add("number", value=_value(tree))


def _value(tree: ast.AST) -> float | None:
    number = tree.value if isinstance(tree, ast.Constant) else None
    if not isinstance(number, int | float):
        return None
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _chain(tree: ast.BinOp, gauge: Gauge, known: Mapping[str, Size]) -> Size:
    """`a + b - c` nests to the left as deep as it is long: walked, not descended."""
    chain = [tree]
    while isinstance(chain[-1].left, ast.BinOp):
        chain.append(chain[-1].left)
    chain.reverse()
    size = measure(chain[0].left, gauge, known)
    start = 0
    while start < len(chain):
        op = _OPERATORS.get(type(chain[start].op), "pow")
        end = start + 1
        # A sum is built at once, however long it is; each factor and power after the other.
        while op == "add" and end < len(chain) and _OPERATORS.get(type(chain[end].op)) == op:
            end += 1
        rest = [measure(one.right, gauge, known) for one in chain[start:end]]
        size = gauge.add(op, [size, *rest])
        start = end
    return size
