"""Complexity of an expression, counted as PySR counts it.

PySR counts the nodes of a tree of unary and binary operators: a variable and a constant cost 1, an
operator its own complexity, unless the user said otherwise. sympy keeps n-ary sums, products and
powers instead, so the count here is that of the cheapest tree which the operator set can spell (see
`tree`): `x**3` is `cube(x)` where cube is allowed and `x*x*x` where it is not.
"""

from __future__ import annotations

from functools import lru_cache

import sympy

from symcompile.expressions.constraints import keeps_constraints
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import as_sympy, is_constant
from symcompile.expressions.tree import MOST_FACTORS, fraction, name_of, strip_minus


@lru_cache(maxsize=1 << 16)
def complexity(expr: sympy.Basic, operators: OperatorSet) -> int:
    """Number of nodes of an expression or condition, each weighed by its operator's complexity."""
    expr = as_sympy(expr)
    if not isinstance(expr, sympy.Expr):  # a condition, or a case of a Piecewise with its value
        return 1 + sum(complexity(arg, operators) for arg in expr.args)
    if expr.is_Symbol or is_constant(expr):
        return operators.cost_of_leaf(expr)
    if expr.is_Add:
        return _sum(expr, operators)
    if expr.is_Mul:
        return _product(expr, operators)
    if expr.is_Pow:
        return _power(expr.base, expr.exp, operators)
    args = sum(complexity(arg, operators) for arg in expr.args)
    if isinstance(expr, sympy.Piecewise):
        return args - 1
    times = len(expr.args) - 1 if isinstance(expr, (sympy.Min, sympy.Max)) else 1
    return args + times * operators.cost(name_of(expr.func))


def spellable(expr: sympy.Expr, operators: OperatorSet) -> bool:
    """Whether a tree of these operators can compute the expression.

    A sum, a product and a whole power need nothing beyond + and *; signs live in constants. What
    is not `allowed` is not spelled either.
    """
    spelled = all(_spelled(node, operators) for node in sympy.preorder_traversal(expr))
    return spelled and allowed(expr, operators)


def allowed(expr: sympy.Expr, operators: OperatorSet) -> bool:
    """Whether a form that the operators can spell keeps what limits their use."""
    return keeps_constraints(expr, operators)


def _spelled(node: sympy.Basic, operators: OperatorSet) -> bool:
    if node.is_Atom or is_constant(node):
        return True
    if node.is_Add:
        return "+" in operators or "-" in operators
    if node.is_Mul:
        return "*" in operators or (len(node.args) == 2 and node.args[0] == -1)
    if node.is_Pow:
        return _power_spelled(node.exp, operators)
    return name_of(node.func) in operators


def _power_spelled(exponent: sympy.Expr, operators: OperatorSet) -> bool:
    if exponent.is_Number and exponent.is_negative:
        if "inv" not in operators and "/" not in operators:
            return False
        exponent = -exponent
    if exponent.is_Integer:
        named = {1: "", 2: "square", 3: "cube"}.get(int(exponent), "pow")
        return exponent == 1 or any(name in operators for name in (named, "*", "pow"))
    if exponent.is_Rational and exponent.q == 2 and "sqrt" in operators:
        return exponent.p == 1 or "*" in operators
    return "pow" in operators


def _sum(expr: sympy.Add, operators: OperatorSet) -> int:
    variable = [term for term in expr.args if not is_constant(term)]
    operands = 1 if len(variable) < len(expr.args) else 0
    total = operands * operators.constant_cost
    # What is subtracted comes last: b - a is one node less than -a + b.
    for negative, rest, term in sorted(
        ((*strip_minus(term), term) for term in variable), key=lambda signed: signed[0]
    ):
        if negative and operands and "-" in operators:
            total += complexity(rest, operators) + operators.cost("-") - operators.cost("+")
        else:
            total += complexity(term, operators)
        operands += 1
    return total + (operands - 1) * operators.cost("+")


def _product(expr: sympy.Mul, operators: OperatorSet) -> int:
    numbers = [factor for factor in expr.args if is_constant(factor)]
    above, below = fraction([factor for factor in expr.args if not is_constant(factor)])
    total = 0
    if numbers == [-1] and above and "neg" in operators:
        total, numbers = operators.cost("neg"), []
    operands = len(above) + bool(numbers)
    total += sum(complexity(factor, operators) for factor in above)
    total += operators.constant_cost if numbers else 0
    total += max(operands - 1, 0) * operators.cost("*")
    return total + (_quotient(below, operands, operators) if below else 0)


def _quotient(below: list[sympy.Expr], operands: int, operators: OperatorSet) -> int:
    """What it costs to divide a product of so many operands by these factors."""
    cost = operators.cost
    total = sum(complexity(factor, operators) for factor in below) + (len(below) - 1) * cost("*")
    if operands and "/" in operators:
        return total + cost("/")
    if "inv" in operators:
        return total + cost("inv") + (cost("*") if operands else 0)
    return total + cost("/") + (0 if operands else operators.constant_cost)


def _power(base: sympy.Expr, exponent: sympy.Expr, operators: OperatorSet) -> int:
    if exponent.is_Number and exponent.is_negative:
        return _quotient([base**-exponent], 0, operators)
    cost, inner = operators.cost, complexity(base, operators)
    spellings = []
    if exponent == sympy.Rational(1, 2):
        spellings.append((cost("sqrt") + inner, "sqrt" in operators))
    if exponent.is_Integer and 2 <= int(exponent) <= MOST_FACTORS:
        spellings.append((_by_multiplication(inner, int(exponent), operators), True))
    if exponent.is_Rational and exponent.q == 2 and 1 < exponent.p <= 2 * MOST_FACTORS:
        root = cost("sqrt") + inner
        count = min(
            _by_multiplication(inner, int(exponent.p) // 2, operators) + root + cost("*"),
            _by_multiplication(inner, int(exponent.p), operators) - inner + root,
        )
        spellings.append((count, "sqrt" in operators))
    as_power = cost("pow") + inner + complexity(exponent, operators)
    spellings.append((as_power, "pow" in operators or not spellings))
    allowed = [count for count, spelled in spellings if spelled]
    return min(allowed or [count for count, _ in spellings])


def _by_multiplication(inner: int, exponent: int, operators: OperatorSet) -> int:
    """Cheapest spelling by *, square and cube of a whole power of what costs `inner`."""
    best = [0, inner]
    for n in range(2, exponent + 1):
        choices = [best[n - k] + best[k] + operators.cost("*") for k in range(1, n)]
        for name, factor in (("square", 2), ("cube", 3)):
            if name in operators and n % factor == 0:
                choices.append(best[n // factor] + operators.cost(name))
        best.append(min(choices))
    return best[exponent]
