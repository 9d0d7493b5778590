"""Constraints: what an operator may be applied to, as PySR's users know them.

They are said of single operators and their arguments, so they are asked of the tree that the
complexity of an expression counts (`tree`): `x**4` is a square of a square where that is cheapest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

import sympy

from symcompile.expressions.light_tree import LightTree
from symcompile.expressions.operator_set import UNLIMITED, OperatorSet
from symcompile.expressions.tree import Tree, tree_of


def keeps_constraints(
    expr: LightTree | sympy.Basic, operators: OperatorSet, names: Sequence[str] = ()
) -> bool:
    """Whether a form that the operators can spell keeps the limits that the set has on them."""
    if not (operators.constraints or operators.nested_constraints):
        return True
    limits, nested = dict(operators.constraints), dict(operators.nested_constraints)
    return all(
        _fits(node, limits.get(node.name), operators)
        and _nests(node, dict(nested.get(node.name, ())))
        for node in tree_of(expr, operators, names).walk()
    )


def _fits(node: Tree, limits: Sequence[int] | None, operators: OperatorSet) -> bool:
    """Whether the arguments of a node are no more complex than its operator allows."""
    if limits is None:
        return True
    costs, step = [arg.cost(operators) for arg in node.args], operators.cost(node.name)
    if len(costs) <= len(limits):
        fits = all(_within(*pair) for pair in zip(costs, limits, strict=True))
        free = node.name in ("+", "*", "min", "max")
        return fits or (
            free and all(_within(*pair) for pair in zip(costs[::-1], limits, strict=True))
        )
    return _one_by_one(costs, step, limits) or _evenly(costs, step, limits)


def _within(cost: int, limit: int) -> bool:
    return limit == UNLIMITED or cost <= limit


def _either_way(a: int, b: int, limits: Sequence[int]) -> bool:
    left, right = limits
    return (_within(a, left) and _within(b, right)) or (_within(b, left) and _within(a, right))


def _one_by_one(costs: Sequence[int], step: int, limits: Sequence[int]) -> bool:
    """Whether the limits are kept where the arguments are joined in turn, the largest first."""
    total, *rest = sorted(costs, reverse=True)
    for cost in rest:
        if not _either_way(total, cost, limits):
            return False
        total += cost + step
    return True


def _evenly(costs: Sequence[int], step: int, limits: Sequence[int]) -> bool:
    """Whether they are where the two smallest are joined each time, so that parts stay small."""
    heap = list(costs)
    heapify(heap)
    while len(heap) > 1:
        a, b = heappop(heap), heappop(heap)
        if not _either_way(a, b, limits):
            return False
        heappush(heap, a + b + step)
    return True


def _nests(node: Tree, limits: Mapping[str, int]) -> bool:
    """Whether no way down from a node meets one of these operators more often than it may."""
    return all(
        max((_met(arg, name) for arg in node.args), default=0) <= most
        for name, most in limits.items()
    )


def _met(tree: Tree, name: str) -> int:
    """How many nodes of this operator lie on one way down, at most."""
    return (tree.name == name) + max((_met(arg, name) for arg in tree.args), default=0)
