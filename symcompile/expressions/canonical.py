"""The canonical form of an expression: constants merged, signs and scales where readers look.

A search returns `0.5*exp(-2.0*t + 0.1)*sin(-(3.1*x))` with a constant on every leaf. `merging`
merges those that can't be told apart (`c0*(c1*x)`), so that a least-squares fit of the constants is
well posed; of an expression as it is, with common factors taken out and with products multiplied
out, the cheapest is taken. All of it is done on light trees with numbered slots; sympy is asked for
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sympy

from symcompile.errors import SymCompileError
from symcompile.expressions.complexity import counter
from symcompile.expressions.expansion import Collection, multiplied_out
from symcompile.expressions.light_code import as_expression, from_sympy, numbered
from symcompile.expressions.light_tree import LightTree
from symcompile.expressions.merging import Merging, is_number
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.recognition import recognized
from symcompile.expressions.slots import renumber, slot_index

# Expanding products is tried only below this many nodes, and where it makes no more terms: what is
# shorter once it is multiplied out has a dozen of them.
_EXPAND_NODES, _EXPAND_TERMS = 60, 60

# What algebra and evaluation raise where an expression makes no sense: a negative power of zero.
UNUSABLE = (SymCompileError, ArithmeticError, ValueError, TypeError, RecursionError)

Form = tuple[LightTree, tuple[float, ...]]


def canonical(
    expr: sympy.Expr, constants: Sequence[float], operators: OperatorSet
) -> tuple[sympy.Expr, tuple[float, ...]]:
    """An equal expression, its constants merged, in its cheapest spelling that we know.

    Args:
        expr: form with slots `c[0]`, `c[1]`, ...; floats in it count as constants too.
        constants: value of each slot.

    Returns:
        The new form, with slots numbered in the order of a walk, and their values.
    """
    names = sorted(s.name for s in expr.free_symbols if slot_index(s) is None)
    values = list(constants)
    tree = from_sympy(expr, names, values)
    form, kept = Algebra(values, operators, names).form(tree)
    return renumber(as_expression(form, names), kept)


class Algebra:
    """Makes canonical forms of light trees over the same constants and columns."""

    def __init__(
        self, constants: Sequence[float], operators: OperatorSet, names: Sequence[str] = ()
    ) -> None:
        self.operators, self.names = operators, names
        self.complexity = counter(operators, names).of
        self.collection = Collection(operators, names)
        self.merging = Merging(constants, "sin" in operators and "cos" in operators)

    def form(self, tree: LightTree) -> Form:
        """The canonical form of a tree, see `canonical`."""
        if self.operators.custom:
            tree = self.with_custom(tree)
        spellings = list(self.spellings(self.merging.merged(tree)))
        # 1e-200*(1e-200*x) has no spelling with one constant.
        if self.is_in_range(tree):
            spellings = [*filter(self.is_in_range, spellings), tree]
        else:
            spellings.append(tree)
        best = min(spellings, key=lambda one: (self.complexity(one), len(set(one.slots))))
        return numbered(best, self.merging.values)

    def with_custom(self, tree: LightTree) -> LightTree:
        """With operators of the user's own where the tree computes what they are defined as."""
        values = self.merging.values
        expr = recognized(as_expression(tree, self.names), self.operators, values)
        return from_sympy(expr, self.names, values)

    def is_in_range(self, tree: LightTree) -> bool:
        """Whether its constants are numbers."""
        values = self.merging.values
        return all(is_number(values[index]) for index in tree.slots)

    def spellings(self, tree: LightTree) -> Iterator[LightTree]:
        """A merged tree, and what it is with factors taken out or products multiplied out."""
        yield tree
        nodes = list(tree.walk())
        if any(map(_is_sum_of_products, nodes)):
            yield from self.with_factors_out(tree)
        if len(nodes) <= _EXPAND_NODES and any(map(_is_product_of_sums, nodes)):
            out = multiplied_out(tree, _EXPAND_TERMS)
            if out is not None and out != tree:
                out = self.merging.merged(out)
                yield out
                yield from self.with_factors_out(out)

    def with_factors_out(self, tree: LightTree) -> Iterator[LightTree]:
        """Merged again, and as it is: what merges may need a constant more then."""
        out = self.collection.collected(tree)
        if out != tree:
            yield self.merging.merged(out)
            yield out


def _is_sum_of_products(node: LightTree) -> bool:
    return node.op == "add" and sum(not term.is_constant for term in node.args) > 1


def _is_product_of_sums(node: LightTree) -> bool:
    if node.op != "mul" and (node.op != "pow" or type(node.args[1].rational) is not int):
        return False
    return any(inner.op == "add" for inner in node.walk())
