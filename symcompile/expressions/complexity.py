"""Complexity of an expression, counted as PySR counts it.

PySR counts the nodes of a tree of unary and binary operators: a variable and a constant cost 1, an
operator its own complexity, unless the user said otherwise. Light trees keep n-ary sums, products
and powers instead, so the count here is that of the cheapest tree which the operator set can spell
(see `tree`): `x**3` is `cube(x)` where cube is allowed and `x*x*x` where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import sympy

from symcompile.expressions.constraints import keeps_constraints
from symcompile.expressions.light_algebra import negative, power
from symcompile.expressions.light_code import fraction, is_minus, light
from symcompile.expressions.light_tree import HALF, MINUS_ONE, LightTree, number
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import OPERATORS, VOCABULARY
from symcompile.expressions.tree import MOST_FACTORS, is_half, name_of

_TRUTHS = frozenset(op for op, row in OPERATORS.items() if row.truth)
# Counts that are kept for one operator set.
_KNOWN = 1 << 16


def complexity(
    expr: LightTree | sympy.Basic, operators: OperatorSet, names: Sequence[str] = ()
) -> int:
    """Number of nodes of an expression or condition, each weighed by its operator's complexity.

    `names` are those of the columns of a light tree. Raises LoweringError for functions that the
    table does not have.
    """
    tree, names = light(expr, names)
    return counter(operators, names).of(tree)


def spellable(
    expr: LightTree | sympy.Basic, operators: OperatorSet, names: Sequence[str] = ()
) -> bool:
    """Whether a tree of these operators can compute the expression.

    A sum, a product and a whole power need nothing beyond + and *; signs live in constants. What
    is not `allowed` is not spelled either.
    """
    tree, names = light(expr, names)
    return counter(operators, names).spells(tree) and allowed(tree, operators, names)


def allowed(
    expr: LightTree | sympy.Basic, operators: OperatorSet, names: Sequence[str] = ()
) -> bool:
    """Whether a form that the operators can spell keeps what limits their use."""
    dimensions = operators.dimensions
    if dimensions is not None and not dimensions.go_together(expr, names):
        return False
    return keeps_constraints(expr, operators, names)


def counter(operators: OperatorSet, names: Sequence[str] = ()) -> Counter:
    """What counts for one operator set, over columns of these names."""
    return _counter(operators, tuple(names) if operators.variable_costs else ())


@lru_cache(maxsize=64)
def _counter(operators: OperatorSet, names: tuple[str, ...]) -> Counter:
    return Counter(operators, names)


class Counter:
    """Counts trees by the prices of one operator set; what was counted is kept."""

    def __init__(self, operators: OperatorSet, names: tuple[str, ...]) -> None:
        self.inputs = [operators.cost_of_input(name) for name in names]
        self.constant = operators.constant_cost
        customs = [custom.name for custom in operators.custom]
        self.names = frozenset((*operators, *customs))
        self.costs = {name: operators.cost(name) for name in ("", *VOCABULARY, *customs)}
        self.known: dict[LightTree, int] = {}

    def of(self, tree: LightTree) -> int:
        """Complexity of a tree."""
        if tree.is_constant:
            return self.constant
        if not tree.args:
            return self.inputs[tree.value] if self.inputs else 1
        count = self.known.get(tree)
        if count is None:
            count = self.known[tree] = self.count(tree)
            if len(self.known) > _KNOWN:
                self.known.clear()
        return count

    def count(self, tree: LightTree) -> int:
        op, args = tree.op, tree.args
        if op == "add":
            return self.sum(args)
        if op == "mul":
            return self.product(args)
        if op == "pow":
            return self.power(*args)
        if op == "not" and args[0].op == "eq":
            return self.of(args[0])
        total = sum(map(self.of, args))
        if op == "where":
            return total + (1 if args[2].op == "where" else 2)
        if op in _TRUTHS:
            return total + 1
        times = len(args) - 1 if op in ("min", "max") else 1
        return total + times * self.costs[name_of(tree)]

    def sum(self, terms: Sequence[LightTree]) -> int:
        varying = [term for term in terms if not term.is_constant]
        operands = 1 if len(varying) < len(terms) else 0
        total = operands * self.constant
        # What is subtracted comes last: b - a is one node less than -a + b.
        for term in sorted(varying, key=is_minus):
            if operands and "-" in self.names and is_minus(term):
                total += self.of(negative(term)) + self.costs["-"] - self.costs["+"]
            else:
                total += self.of(term)
            operands += 1
        return total + (operands - 1) * self.costs["+"]

    def product(self, factors: Sequence[LightTree]) -> int:
        numbers = [factor for factor in factors if factor.is_constant]
        above, below = fraction([factor for factor in factors if not factor.is_constant])
        total = 0
        if numbers == [MINUS_ONE] and above and "neg" in self.names:
            total, numbers = self.costs["neg"], []
        operands = len(above) + bool(numbers)
        total += sum(map(self.of, above)) + bool(numbers) * self.constant
        total += max(operands - 1, 0) * self.costs["*"]
        return total + (self.quotient(below, operands) if below else 0)

    def quotient(self, below: Sequence[LightTree], operands: int) -> int:
        """What it costs to divide a product of so many operands by these factors."""
        costs, names = self.costs, self.names
        total = sum(map(self.of, below)) + (len(below) - 1) * costs["*"]
        if operands and "/" in names:
            return total + costs["/"]
        if "inv" in names:
            return total + costs["inv"] + (costs["*"] if operands else 0)
        return total + costs["/"] + (0 if operands else self.constant)

    def power(self, base: LightTree, exponent: LightTree) -> int:
        exact = exponent.rational
        if exact is not None and exact < 0:
            return self.quotient([power(base, number(-exact))], 0)
        costs, names, inner = self.costs, self.names, self.of(base)
        root = costs["sqrt"] + inner
        spellings = []
        if exponent is HALF:
            spellings.append((root, "sqrt" in names))
        if type(exact) is int and 2 <= exact <= MOST_FACTORS:
            spellings.append((self.by_multiplication(inner, exact), True))
        if type(exact) is Fraction and is_half(exact):
            count = min(
                self.by_multiplication(inner, exact.numerator // 2) + root + costs["*"],
                self.by_multiplication(inner, exact.numerator) - inner + root,
            )
            spellings.append((count, "sqrt" in names))
        as_power = costs["pow"] + inner + self.of(exponent)
        spellings.append((as_power, "pow" in names or not spellings))
        allowed = [count for count, spelled in spellings if spelled]
        return min(allowed or [count for count, _ in spellings])

    def by_multiplication(self, inner: int, exponent: int) -> int:
        """Cheapest spelling by *, square and cube of a whole power of what costs `inner`."""
        best = [0, inner]
        for n in range(2, exponent + 1):
            choices = [best[n - k] + best[k] + self.costs["*"] for k in range(1, n)]
            for name, factor in (("square", 2), ("cube", 3)):
                if name in self.names and n % factor == 0:
                    choices.append(best[n // factor] + self.costs[name])
            best.append(min(choices))
        return best[exponent]

    def spells(self, tree: LightTree) -> bool:
        """Whether the operators can compute a tree."""
        if tree.is_constant or not tree.args:
            return True
        return self.spelled(tree) and all(map(self.spells, tree.args))

    def spelled(self, tree: LightTree) -> bool:
        op, args, names = tree.op, tree.args, self.names
        if op == "add":
            return "+" in names or "-" in names
        if op == "mul":
            return "*" in names or (len(args) == 2 and args[0] is MINUS_ONE)
        if op == "pow":
            return self.power_spelled(args[1])
        return name_of(tree) in names

    def power_spelled(self, exponent: LightTree) -> bool:
        exact, names = exponent.rational, self.names
        if exact is not None and exact < 0:
            if "inv" not in names and "/" not in names:
                return False
            exact = -exact
        if type(exact) is int:
            named = {2: "square", 3: "cube"}.get(exact, "pow")
            return exact == 1 or not names.isdisjoint((named, "*", "pow"))
        if exact is not None and exact.denominator == 2 and "sqrt" in names:
            return exact.numerator == 1 or "*" in names
        return "pow" in names
