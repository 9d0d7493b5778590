"""An expression as the tree of unary and binary operators that its complexity counts.

sympy keeps sums, products and powers of any number of arguments; what is said of single operators
and their arguments, such as a limit on what a sine may hold, needs the spelling. It is that which
`complexity` counts: the cheapest that the operator set can spell. A sum, a product, a Min and a Max
keep all of their arguments in one node, since their order and grouping are free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy

from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import ROWS
from symcompile.expressions.slots import is_constant

# What operator sets call the functions of sympy.
NAMES = {row.build: row.name for row in ROWS if row.name and isinstance(row.build, type)}
# Of a power that is spelled by multiplication.
MOST_FACTORS = 64
_HALF = sympy.Rational(1, 2)


def name_of(function: Any) -> str:
    """What operator sets call a class of sympy's or ours; "" for one that no set has."""
    return NAMES.get(function) or str(getattr(function, "custom", ""))


@dataclass(frozen=True)
class Tree:
    """One node.

    Attributes:
        name: the operator, as operator sets call it; "" for a leaf, and for what none can spell.
        args: what it is applied to; of an operator that takes more, all of them.
        leaf: the input, or the constant, that a leaf is.
    """

    name: str
    args: tuple[Tree, ...] = ()
    leaf: sympy.Expr | None = None

    def walk(self) -> Iterator[Tree]:
        """Every node, parents first."""
        yield self
        for arg in self.args:
            yield from arg.walk()

    def cost(self, operators: OperatorSet) -> int:
        """Complexity of all of it."""
        if self.leaf is not None:
            return operators.cost_of_leaf(self.leaf)
        times = max(len(self.args) - 1, 1)
        return times * operators.cost(self.name) + sum(arg.cost(operators) for arg in self.args)


@lru_cache(maxsize=1 << 14)
def tree_of(expr: sympy.Expr, operators: OperatorSet) -> Tree:
    """The tree of an expression that these operators can spell, see `complexity.spellable`."""
    if expr.is_Symbol or is_constant(expr):
        return Tree("", leaf=expr)
    if expr.is_Add:
        return _sum(expr, operators)
    if expr.is_Mul:
        return _product(expr, operators)
    if expr.is_Pow:
        return _power(expr.base, expr.exp, operators)
    return Tree(name_of(expr.func), tuple(tree_of(arg, operators) for arg in expr.args))


def _sum(expr: sympy.Add, operators: OperatorSet) -> Tree:
    numbers = [term for term in expr.args if is_constant(term)]
    added = [Tree("", leaf=sympy.Add(*numbers))] if numbers else []
    taken = []
    signed = ((*strip_minus(term), term) for term in expr.args if not is_constant(term))
    for negative, rest, term in sorted(signed, key=lambda item: item[0]):
        if negative and added and "-" in operators:
            taken.append(tree_of(rest, operators))
        else:
            added.append(tree_of(term, operators))
    total = _nary("+", added)
    for rest in taken:
        total = Tree("-", (total, rest))
    return total


def _product(expr: sympy.Mul, operators: OperatorSet) -> Tree:
    numbers = [factor for factor in expr.args if is_constant(factor)]
    above, below = fraction([factor for factor in expr.args if not is_constant(factor)])
    operands = [tree_of(factor, operators) for factor in above]
    negated = numbers == [sympy.S.NegativeOne] and bool(above) and "neg" in operators
    if numbers and not negated:
        operands.insert(0, Tree("", leaf=sympy.Mul(*numbers)))
    result = _quotient(operands, below, operators) if below else _nary("*", operands)
    return Tree("neg", (result,)) if negated else result


def _quotient(
    operands: Sequence[Tree], below: Sequence[sympy.Expr], operators: OperatorSet
) -> Tree:
    bottom = _nary("*", [tree_of(factor, operators) for factor in below])
    if "inv" in operators and not (operands and "/" in operators):
        return _nary("*", [*operands, Tree("inv", (bottom,))])
    top = _nary("*", operands) if operands else Tree("", leaf=sympy.S.One)
    return Tree("/", (top, bottom))


def _power(base: sympy.Expr, exponent: sympy.Expr, operators: OperatorSet) -> Tree:
    if exponent.is_Number and exponent.is_negative:
        return _quotient([], [base**-exponent], operators)
    inner, spellings = tree_of(base, operators), []
    if exponent.is_Integer and 2 <= int(exponent) <= MOST_FACTORS:
        spellings.append(_multiplied(inner, int(exponent), operators))
    root = Tree("sqrt", (inner,))
    if "sqrt" in operators and exponent == _HALF:
        spellings.append(root)
    elif "sqrt" in operators and _is_half(exponent):
        whole = _multiplied(inner, int(exponent.p) // 2, operators)
        spellings += [
            _nary("*", [whole, root]),
            _multiplied(root, int(exponent.p), operators),
        ]
    if "pow" in operators or not spellings:
        spellings.append(Tree("pow", (inner, tree_of(exponent, operators))))
    return min(spellings, key=lambda tree: tree.cost(operators))


def _is_half(exponent: sympy.Expr) -> bool:
    """Of a whole number that is spelled by multiplication."""
    half = exponent.is_Rational and exponent.q == 2
    return bool(half and 1 < exponent.p <= 2 * MOST_FACTORS)


def _multiplied(inner: Tree, exponent: int, operators: OperatorSet) -> Tree:
    """The cheapest tree by *, square and cube of a whole power."""
    best, costs = {1: inner}, {1: inner.cost(operators)}
    for n in range(2, exponent + 1):
        choices = [
            (costs[n // factor] + operators.cost(name), 0, name, n // factor)
            for name, factor in (("square", 2), ("cube", 3))
            if name in operators and n % factor == 0
        ]
        choices += [(costs[k] + costs[n - k] + operators.cost("*"), 1, "", k) for k in range(1, n)]
        costs[n], _, name, part = min(choices)
        if name:
            best[n] = Tree(name, (best[part],))
        else:
            best[n] = _nary("*", [best[part], best[n - part]])
    return best[exponent]


def _nary(name: str, args: Sequence[Tree]) -> Tree:
    """One node, those of the same operator below it taken in."""
    if len(args) == 1:
        return args[0]
    flat: list[Tree] = []
    for arg in args:
        flat += arg.args if arg.name == name else (arg,)
    return Tree(name, tuple(flat))


def strip_minus(term: sympy.Expr) -> tuple[bool, sympy.Expr]:
    """Whether a term is `-1 * rest`; a term with a constant of its own absorbs the sign."""
    if term.is_Mul:
        numbers = [factor for factor in term.args if is_constant(factor)]
        if numbers == [sympy.S.NegativeOne]:
            return True, -term
    return False, term


def fraction(factors: Sequence[sympy.Expr]) -> tuple[list[sympy.Expr], list[sympy.Expr]]:
    """Factors above and below the line."""
    above, below = [], []
    for factor in factors:
        if factor.is_Pow and factor.exp.is_Number and factor.exp.is_negative:
            below.append(factor.base**-factor.exp)
        else:
            above.append(factor)
    return above, below
