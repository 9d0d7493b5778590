"""From operon's postfix node lists to sympy expressions, node by node: no text is ever parsed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import sympy

from symcompile.expressions.evaluation import Array
from symcompile.expressions.fold import BUILD, by_definition
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.size_limits import Gauge, Size
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


def respelled(expr: sympy.Expr, operators: OperatorSet) -> sympy.Expr:
    """With the functions that operon has no node for in the place of those that it searched with:
    of tanh, a sigmoid."""
    for row in map(VOCABULARY.__getitem__, operators):
        if row.operon_spelled and _NODES[row.operon[0]].name not in operators:
            spelled = partial(by_definition, BUILD, row.operon_spelled)
            expr = expr.replace(_NODES[row.operon[0]].build, spelled)
    return expr


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
    gauge = Gauge()
    constants: list[float] = []
    stack: list[tuple[sympy.Expr, Size]] = []
    for node in nodes:
        args = [stack.pop() for _ in range(node.arity)]
        # Before sympy sees it: a search finds what nobody would write, such as hyperbolic functions
        # of each other's reciprocals, and could not be stored either.
        size = gauge.add(_CALLED.get(node.name, "input"), [size for _, size in args])
        if node.arity:
            expr = _BUILD[node.name](*(arg for arg, _ in args))
        else:
            expr = slot(len(constants))
            constants.append(node.value)
            if node.name == "variable":
                constants[-1] *= scales[node.column]
                expr *= sympy.Symbol(symbols[node.column])
        stack.append((expr, size))
    return stack.pop()[0], constants
