"""An expression as the tree of unary and binary operators that its complexity counts.

Light trees keep sums, products and powers of any number of arguments; what is said of single
operators and their arguments, such as a limit on what a sine may hold, needs the spelling. It is
that which `complexity` counts: the cheapest that the operator set can spell. A sum, a product, a
min and a max keep all of their arguments in one node, since their order and grouping are free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import sympy

from symcompile.expressions.light_algebra import add, mul, negative, power
from symcompile.expressions.light_code import as_expression, fraction, is_minus, light
from symcompile.expressions.light_tree import HALF, MINUS_ONE, ONE, LightTree, number
from symcompile.expressions.operators import ROWS

if TYPE_CHECKING:
    from symcompile.expressions.operator_set import OperatorSet

# What operator sets call the functions of sympy, and the operations of programs.
NAMES = {row.build: row.name for row in ROWS if row.name and isinstance(row.build, type)}
_NAMES = {row.op: row.name for row in ROWS if row.name}
# Of a power that is spelled by multiplication.
MOST_FACTORS = 64


def name_of(tree: LightTree) -> str:
    """What operator sets call an operation; "" for one that no set has."""
    return tree.value.custom if tree.op == "custom" else _NAMES.get(tree.op, "")


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


def tree_of(
    expr: LightTree | sympy.Expr, operators: OperatorSet, names: Sequence[str] = ()
) -> Tree:
    """The tree of an expression that these operators can spell, see `complexity.spellable`; `names`
    are those of the columns of a light tree."""
    light_tree, names = light(expr, names)
    return _Speller(operators, names).of(light_tree)


@dataclass(frozen=True)
class _Speller:
    operators: OperatorSet
    names: Sequence[str]

    def of(self, tree: LightTree) -> Tree:
        if tree.is_constant or not tree.args:
            return self.leaf(tree)
        if tree.op == "add":
            return self.sum(tree.args)
        if tree.op == "mul":
            return self.product(tree.args)
        if tree.op == "pow":
            return self.power(*tree.args)
        return Tree(name_of(tree), tuple(map(self.of, tree.args)))

    def leaf(self, tree: LightTree) -> Tree:
        return Tree("", leaf=as_expression(tree, self.names))

    def sum(self, terms: Sequence[LightTree]) -> Tree:
        numbers = [term for term in terms if term.is_constant]
        varying = [term for term in terms if not term.is_constant]
        added = [self.leaf(add(numbers))] if numbers else []
        taken = []
        for term in sorted(varying, key=is_minus):
            if is_minus(term) and added and "-" in self.operators:
                taken.append(self.of(negative(term)))
            else:
                added.append(self.of(term))
        total = _nary("+", added)
        for rest in taken:
            total = Tree("-", (total, rest))
        return total

    def product(self, factors: Sequence[LightTree]) -> Tree:
        numbers = [factor for factor in factors if factor.is_constant]
        above, below = fraction(factor for factor in factors if not factor.is_constant)
        operands = list(map(self.of, above))
        negated = numbers == [MINUS_ONE] and bool(above) and "neg" in self.operators
        if numbers and not negated:
            operands.insert(0, self.leaf(mul(numbers)))
        result = self.quotient(operands, below) if below else _nary("*", operands)
        return Tree("neg", (result,)) if negated else result

    def quotient(self, operands: Sequence[Tree], below: Sequence[LightTree]) -> Tree:
        bottom = _nary("*", list(map(self.of, below)))
        if "inv" in self.operators and not (operands and "/" in self.operators):
            return _nary("*", [*operands, Tree("inv", (bottom,))])
        return Tree("/", (_nary("*", operands) if operands else self.leaf(ONE), bottom))

    def power(self, base: LightTree, exponent: LightTree) -> Tree:
        exact = exponent.rational
        if exact is not None and exact < 0:
            return self.quotient([], [power(base, number(-exact))])
        inner, spellings = self.of(base), []
        if type(exact) is int and 2 <= exact <= MOST_FACTORS:
            spellings.append(_multiplied(inner, exact, self.operators))
        root = Tree("sqrt", (inner,))
        if "sqrt" in self.operators and exponent is HALF:
            spellings.append(root)
        elif "sqrt" in self.operators and type(exact) is Fraction and is_half(exact):
            whole = _multiplied(inner, exact.numerator // 2, self.operators)
            spellings += [
                _nary("*", [whole, root]),
                _multiplied(root, exact.numerator, self.operators),
            ]
        if "pow" in self.operators or not spellings:
            spellings.append(Tree("pow", (inner, self.of(exponent))))
        return min(spellings, key=lambda tree: tree.cost(self.operators))


def is_half(exponent: Fraction) -> bool:
    """Of a whole number that is spelled by multiplication."""
    return exponent.denominator == 2 and 1 < exponent.numerator <= 2 * MOST_FACTORS


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
