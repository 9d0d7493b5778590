"""From operon's postfix node lists to sympy expressions, node by node: no text is ever parsed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import sympy

from symcompile.expressions.evaluation import Array
from symcompile.expressions.limits import Gauge, Size
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.slots import slot


class TreeNode(NamedTuple):
    """A copy of one operon node. `value` is a constant, or the factor before a variable."""

    name: str
    arity: int
    value: float
    column: int = -1


Tree = tuple[TreeNode, ...]


def _minus(first: Any, *rest: Any) -> Any:
    return first - sum(rest) if rest else -first


def _over(first: Any, *rest: Any) -> Any:
    return first / sympy.Mul(*rest) if rest else 1 / first


# The operator that each node type is: the first whose own it is, since others are spelled by it.
_NODES = {row.operon[0]: row for row in reversed(VOCABULARY.values()) if len(row.operon) == 1}
_BUILD: dict[str, Any] = {name: row.build for name, row in _NODES.items()} | {
    "Sub": _minus,
    "Div": _over,
    "Pow": lambda *args: reduce(sympy.Pow, args),
    "Abs": lambda a: a if isinstance(a, sympy.exp) else sympy.Abs(a),
}
# What the bounds on expressions call them.
_CALLED = {name: row.op or row.name for name, row in _NODES.items()} | {"Sub": "add"}


def expression(
    nodes: Sequence[TreeNode], symbols: Sequence[str], scales: Sequence[float] | Array
) -> tuple[sympy.Expr, list[float]]:
    """The expression of a postfix node list, and the values of its slots.

    Args:
        nodes: the tree; the first argument of an operator stands right before it.
        symbols: name of each column.
        scales: what each column was multiplied by before the search saw it.

    Raises ExpressionError for a tree that sympy would take too long to build.
    """
    _measure(nodes)
    stack: list[sympy.Expr] = []
    constants: list[float] = []
    for node in nodes:
        if node.name == "variable":
            constants.append(node.value * scales[node.column])
            stack.append(slot(len(constants) - 1) * sympy.Symbol(symbols[node.column]))
        elif node.name == "Constant":
            constants.append(node.value)
            stack.append(slot(len(constants) - 1))
        else:
            args = [stack.pop() for _ in range(node.arity)]
            stack.append(_BUILD[node.name](*args))
    return stack.pop(), constants


def _measure(nodes: Sequence[TreeNode]) -> None:
    """Before sympy sees any of it: a search finds what nobody would write, such as hyperbolic
    functions of each other's reciprocals, and could not be stored either."""
    gauge = Gauge()
    stack: list[Size] = []
    for node in nodes:
        args = [stack.pop() for _ in range(node.arity)]
        stack.append(gauge.add(_CALLED.get(node.name, "input"), args))
