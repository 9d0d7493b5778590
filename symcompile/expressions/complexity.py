"""Complexity of an expression, counted as PySR counts it.

PySR counts the nodes of a tree of unary and binary operators: a variable and a constant cost 1, an
operator its own complexity (1 unless the user said otherwise). sympy keeps n-ary sums, products
and powers instead, so the count here is that of the cheapest tree which the operator set can spell:
`x**3` is `cube(x)` where cube is allowed and `x*x*x` where it is not.
"""

from __future__ import annotations

from functools import lru_cache

import sympy

from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import ROWS
from symcompile.expressions.slots import is_constant

# What operator sets call the functions of sympy.
_NAMES = {row.build: row.name for row in ROWS if row.name and isinstance(row.build, type)}
# Of a power that is spelled by multiplication.
_MOST_FACTORS = 64


@lru_cache(maxsize=1 << 14)
def complexity(expr: sympy.Expr, operators: OperatorSet) -> int:
    """Number of nodes of `expr`, each weighed by its operator's complexity."""
    return _Count(operators).of(sympy.sympify(expr))


def spellable(expr: sympy.Expr, operators: OperatorSet) -> bool:
    """Whether a tree of these operators can compute the expression.

    A sum, a product and a whole power need nothing beyond + and *; signs live in constants.
    """
    return all(_spelled(node, operators) for node in sympy.preorder_traversal(expr))


def _spelled(node: sympy.Basic, operators: OperatorSet) -> bool:
    if node.is_Atom or is_constant(node):
        return True
    if node.is_Add:
        return "+" in operators or "-" in operators
    if node.is_Mul:
        return "*" in operators or (len(node.args) == 2 and node.args[0] == -1)
    if node.is_Pow:
        return _power_spelled(node.exp, operators)
    return _NAMES.get(node.func, "") in operators


def _power_spelled(exponent: sympy.Expr, operators: OperatorSet) -> bool:
    if exponent.is_Number and exponent.is_negative:
        if "inv" not in operators and "/" not in operators:
            return False
        exponent = -exponent
    if exponent.is_Integer:
        spelled = exponent == 1 or int(exponent) in _named_powers(operators)
        return bool(spelled or "*" in operators or "pow" in operators)
    if exponent.is_Rational and exponent.q == 2 and "sqrt" in operators:
        return exponent.p == 1 or "*" in operators
    return "pow" in operators


def _named_powers(operators: OperatorSet) -> set[int]:
    return {n for n, name in ((2, "square"), (3, "cube")) if name in operators}


class _Count:
    def __init__(self, operators: OperatorSet) -> None:
        self.operators = operators
        self.known: dict[sympy.Expr, int] = {}

    def of(self, expr: sympy.Expr) -> int:
        if expr not in self.known:
            self.known[expr] = self._count(expr)
        return self.known[expr]

    def _count(self, expr: sympy.Expr) -> int:
        if is_constant(expr) or expr.is_Symbol:
            return 1
        if expr.is_Add:
            return self._sum(expr)
        if expr.is_Mul:
            return self._product(expr)
        if expr.is_Pow:
            return self._power(expr.base, expr.exp)
        if isinstance(expr, sympy.Piecewise):
            return sum(self._any(value) + self._any(test) + 1 for value, test in expr.args) - 1
        name = _NAMES.get(expr.func, "")
        if isinstance(expr, (sympy.Min, sympy.Max)):
            return self._nary(name, expr.args)
        return self.operators.cost(name) + sum(map(self.of, expr.args))

    def _any(self, expr: sympy.Basic) -> int:
        if isinstance(expr, sympy.Expr):
            return self.of(expr)
        return 1 + sum(self._any(arg) for arg in expr.args)

    def _nary(self, name: str, args: tuple[sympy.Expr, ...]) -> int:
        return sum(map(self.of, args)) + (len(args) - 1) * self.operators.cost(name)

    def _sum(self, expr: sympy.Expr) -> int:
        variable = [term for term in expr.args if not is_constant(term)]
        total = 1 if len(variable) < len(expr.args) else 0
        operands = total
        # What is subtracted comes last: b - a is one node less than -a + b.
        for negative, rest, term in sorted(
            ((*_strip_minus(term), term) for term in variable), key=lambda one: one[0]
        ):
            if negative and operands and "-" in self.operators:
                total += self.of(rest) + self.operators.cost("-") - self.operators.cost("+")
            else:
                total += self.of(term)
            operands += 1
        return total + (operands - 1) * self.operators.cost("+")

    def _product(self, expr: sympy.Expr) -> int:
        numbers = [factor for factor in expr.args if is_constant(factor)]
        above, below = _fraction([factor for factor in expr.args if not is_constant(factor)])
        plain_minus = len(numbers) == 1 and numbers[0] == -1
        total = 0
        if plain_minus and above and "neg" in self.operators:
            total, numbers = self.operators.cost("neg"), []
        operands = len(above) + (1 if numbers else 0)
        total += sum(map(self.of, above)) + (1 if numbers else 0)
        total += max(operands - 1, 0) * self.operators.cost("*")
        return total + (self._divide(below, operands) if below else 0)

    def _divide(self, below: list[sympy.Expr], operands: int) -> int:
        total = self._nary("*", tuple(below))
        cost = self.operators.cost
        if operands and "/" in self.operators:
            return total + cost("/")
        if "inv" in self.operators:
            return total + cost("inv") + (cost("*") if operands else 0)
        return total + cost("/") + (0 if operands else 1)

    def _power(self, base: sympy.Expr, exponent: sympy.Expr) -> int:
        if exponent.is_Number and exponent.is_negative:
            return self._divide([base**-exponent], 0)
        cost = self.operators.cost
        spellings = []
        if exponent == sympy.Rational(1, 2):
            spellings.append((cost("sqrt") + self.of(base), "sqrt" in self.operators))
        if exponent.is_Integer and 2 <= int(exponent) <= _MOST_FACTORS:
            spellings.append((self._by_multiplication(base, int(exponent)), True))
        if exponent.is_Rational and exponent.q == 2 and 1 < exponent.p <= 2 * _MOST_FACTORS:
            root = cost("sqrt") + self.of(base)
            count = min(
                self._by_multiplication(base, int(exponent.p) // 2) + root + cost("*"),
                self._by_multiplication(base, int(exponent.p)) - self.of(base) + root,
            )
            spellings.append((count, "sqrt" in self.operators))
        as_power = cost("pow") + self.of(base) + self.of(exponent)
        spellings.append((as_power, "pow" in self.operators or not spellings))
        allowed = [count for count, spelled in spellings if spelled]
        return min(allowed or [count for count, _ in spellings])

    def _by_multiplication(self, base: sympy.Expr, exponent: int) -> int:
        """Cheapest spelling of a whole power by *, square and cube."""
        best = [0, self.of(base)]
        for n in range(2, exponent + 1):
            choices = [best[n - k] + best[k] + self.operators.cost("*") for k in range(1, n)]
            for name, factor in (("square", 2), ("cube", 3)):
                if name in self.operators and n % factor == 0:
                    choices.append(best[n // factor] + self.operators.cost(name))
            best.append(min(choices))
        return best[exponent]


def _strip_minus(term: sympy.Expr) -> tuple[bool, sympy.Expr]:
    """Whether a term is `-1 * rest`; a term with a constant of its own absorbs the sign."""
    if term.is_Mul:
        numbers = [factor for factor in term.args if is_constant(factor)]
        if numbers == [sympy.S.NegativeOne]:
            return True, -term
    return False, term


def _fraction(factors: list[sympy.Expr]) -> tuple[list[sympy.Expr], list[sympy.Expr]]:
    above, below = [], []
    for factor in factors:
        if factor.is_Pow and factor.exp.is_Number and factor.exp.is_negative:
            below.append(factor.base**-factor.exp)
        else:
            above.append(factor)
    return above, below
