"""Between operon's postfix node lists and light trees, node by node: no text is ever parsed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import NamedTuple

import sympy

from symcompile.expressions.evaluation import Array
from symcompile.expressions.fold import by_definition
from symcompile.expressions.light_algebra import (
    add,
    inverse,
    mul,
    negative,
    power,
    rebuilt,
    with_args,
)
from symcompile.expressions.light_code import TREES
from symcompile.expressions.light_tree import LightTree, column, number, slot
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.size_limits import Gauge, Size
from symcompile.expressions.slots import is_constant
from symcompile.expressions.tree import Tree as Spelled


class TreeNode(NamedTuple):
    """A copy of one operon node. `value` is a constant, or the factor before a variable."""

    name: str
    arity: int
    value: float
    column: int = -1


Tree = tuple[TreeNode, ...]


def _minus(first: LightTree, *rest: LightTree) -> LightTree:
    return add((first, *map(negative, rest))) if rest else negative(first)


def _over(first: LightTree, *rest: LightTree) -> LightTree:
    return mul((first, *map(inverse, rest))) if rest else inverse(first)


# The operator that each node type is: the first whose own it is, since others are spelled by it.
_NODES = {row.operon[0]: row for row in reversed(VOCABULARY.values()) if len(row.operon) == 1}
_BUILD: dict[str, Callable[..., LightTree]] = {
    name: lambda *args, op=row.op: rebuilt(op, args) for name, row in _NODES.items()
} | {
    "Sub": _minus,
    "Div": _over,
    "Square": lambda a: power(a, number(2)),
    "Pow": lambda *args: reduce(power, args),
}
# What the bounds on expressions call them.
_CALLED = {name: row.op or row.name for name, row in _NODES.items()} | {"Sub": "add"}


def respelled(tree: LightTree, operators: OperatorSet) -> LightTree:
    """With the functions that operon has no node for in the place of those that it searched with:
    of tanh, a sigmoid."""
    for row in map(VOCABULARY.__getitem__, operators):
        if row.operon_spelled and _NODES[row.operon[0]].name not in operators:
            spelled = partial(by_definition, TREES, row.operon_spelled)
            tree = _with(tree, _NODES[row.operon[0]].op, spelled)
    return tree


def _with(tree: LightTree, op: str, spelled: Callable[..., LightTree]) -> LightTree:
    """With another function in the place of an operation."""
    args = [_with(arg, op, spelled) for arg in tree.args]
    return spelled(*args) if tree.op == op else with_args(tree, args)


def expression(
    nodes: Sequence[TreeNode], columns: Sequence[int], scales: Sequence[float]
) -> tuple[LightTree, list[float]]:
    """The light tree of a postfix node list, and the values of its slots.

    Args:
        nodes: the tree; the first argument of an operator stands right before it.
        columns: where the inputs of the search stand in X.
        scales: what each input was multiplied by before the search saw it.

    Raises ExpressionError for a tree that sympy would take too long to build.
    """
    gauge = Gauge()
    constants: list[float] = []
    stack: list[tuple[LightTree, Size]] = []
    for node in nodes:
        args = [stack.pop() for _ in range(node.arity)]
        # A search finds what nobody would write, such as hyperbolic functions of each other's
        # reciprocals, and could not be shown or stored.
        size = gauge.add(_CALLED.get(node.name, "input"), [size for _, size in args])
        if node.arity:
            tree = _BUILD[node.name](*(arg for arg, _ in args))
        else:
            tree = slot(len(constants))
            constants.append(node.value)
            if node.name == "variable":
                constants[-1] *= scales[node.column]
                tree = mul((tree, column(columns[node.column])))
        stack.append((tree, size))
    return stack.pop()[0], constants


# --- and back ------------------------------------------------------------------------------------


def postfix(
    tree: Spelled,
    symbols: Sequence[str],
    scales: Sequence[float] | Array,
    value: Callable[[sympy.Expr], float],
    types: Collection[str],
) -> Tree | None:
    """The node list of a tree of operators, up to a factor and a constant around all of it, which
    operon fits by itself; None for one that these node types can't spell, or that is constant.

    Args:
        symbols: name of each input of the search.
        scales: as for `expression`.
        value: the number that a constant leaf is.
    """
    try:
        nodes = _Postfix(symbols, scales, value, types).of(_inner(tree))
    except _LackingError:
        return None
    return nodes if any(node.name == "variable" for node in nodes) else None


class _LackingError(Exception):
    """There is no node type for it."""


def _is_number(tree: Spelled) -> bool:
    return tree.leaf is not None and is_constant(tree.leaf)


def _inner(tree: Spelled) -> Spelled:
    """Without a constant that is added, and then a factor."""
    for name in ("+", "*"):
        if tree.name == name:
            kept = tuple(arg for arg in tree.args if not _is_number(arg))
            tree = kept[0] if len(kept) == 1 else replace(tree, args=kept)
    return tree


@dataclass(frozen=True)
class _Postfix:
    symbols: Sequence[str]
    scales: Sequence[float] | Array
    value: Callable[[sympy.Expr], float]
    types: Collection[str]

    def of(self, tree: Spelled) -> Tree:
        if tree.leaf is not None:
            return (self.leaf(tree.leaf),)
        name, args = tree.name, tree.args
        if name == "-":
            return self.node("Add", self.of(args[0]), self.times(-1.0, args[1]))
        if name == "neg":
            return self.times(-1.0, args[0])
        if name == "inv":
            return self.node("Div", (_constant(1.0),), self.of(args[0]))
        if name == "cube":
            inner = self.of(args[0])
            return self.node("Mul", inner, self.node("Square", inner))
        if name == "*" and _is_number(args[0]):
            return self.times(self.value(args[0].leaf), *args[1:])
        row = VOCABULARY.get(name)
        if row is None or len(row.operon) != 1 or row.operon_spelled:
            raise _LackingError
        return self.node(row.operon[0], *map(self.of, args))

    def leaf(self, leaf: sympy.Expr) -> TreeNode:
        if is_constant(leaf):
            return _constant(self.value(leaf))
        if leaf.name not in self.symbols:  # a column that does not vary
            raise _LackingError
        place = list(self.symbols).index(leaf.name)
        return TreeNode("variable", 0, 1.0 / float(self.scales[place]), place)

    def times(self, factor: float, *args: Spelled) -> Tree:
        """A product with a constant, which a variable has for itself."""
        first, *others = map(self.of, args)
        if len(first) == 1 and first[0].name == "variable":
            first = (first[0]._replace(value=factor * first[0].value),)
        else:
            first = self.node("Mul", (_constant(factor),), first)
        return self.node("Mul", first, *others) if others else first

    def node(self, name: str, *args: Tree) -> Tree:
        """Of more than two arguments one node after the other; the first argument stands last."""
        if name not in self.types:
            raise _LackingError
        if len(args) == 1:
            return (*args[0], TreeNode(name, 1, 1.0))
        return reduce(lambda left, right: (*right, *left, TreeNode(name, 2, 1.0)), args)


def _constant(value: float) -> TreeNode:
    return TreeNode("Constant", 0, value)
