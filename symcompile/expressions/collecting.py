"""Take common factors out of sums, one at a time, while that saves nodes.

Which factor comes out first decides what the others save, so each is tried, in what is left as
well: the number of trials grows exponentially with the factors that terms share. A sum that is met
again is looked up, and after so many terms were looked at the rest stays as it is. The count is one
of terms, not of seconds: a form is the same on every machine.
"""

from __future__ import annotations

from collections import Counter

import sympy

from symcompile.expressions.complexity import complexity
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import is_constant, rebuilt

# Terms looked at for one form, each some tenth of a millisecond.
_WORK = 3000


def collected(expr: sympy.Expr, operators: OperatorSet) -> sympy.Expr:
    """An equal expression, its sums with common factors taken out wherever that saves nodes."""
    return _Collect(operators).of(expr)


class _Collect:
    def __init__(self, operators: OperatorSet) -> None:
        self.operators = operators
        self.known: dict[sympy.Expr, sympy.Expr] = {}
        self.work = 0

    def of(self, expr: sympy.Expr) -> sympy.Expr:
        if not expr.args or is_constant(expr):
            return expr
        args = [self.of(arg) if isinstance(arg, sympy.Expr) else arg for arg in expr.args]
        whole = rebuilt(expr, args)
        return self.sum(whole) if whole.is_Add else whole

    def sum(self, expr: sympy.Expr) -> sympy.Expr:
        if expr not in self.known:
            self.known[expr] = self.shortest(expr)
        return self.known[expr]

    def shortest(self, expr: sympy.Expr) -> sympy.Expr:
        """The shortest of the sums with one factor taken out, and on from there."""
        best, cost = expr, complexity(expr, self.operators)
        for factor in self.shared(expr):
            self.work += len(expr.args)
            if self.work > _WORK:
                break
            taken = self.taken(expr, factor)
            if (less := complexity(taken, self.operators)) < cost:
                best, cost = taken, less
        return best if best is expr or not best.is_Add else self.sum(best)

    def taken(self, expr: sympy.Expr, factor: sympy.Expr) -> sympy.Expr:
        """The sum with this factor taken out of all terms that have it."""
        inside: list[sympy.Expr] = []
        outside: list[sympy.Expr] = []
        for term in expr.args:
            (inside if factor in sympy.Mul.make_args(term) else outside).append(term)
        quotient = self.sum(sympy.Add(*(_without(term, factor) for term in inside)))
        return sympy.Add(sympy.Mul(factor, quotient), *outside)

    def shared(self, expr: sympy.Expr) -> list[sympy.Expr]:
        """Varying factors that stand in two terms or more, in a fixed order."""
        terms = map(sympy.Mul.make_args, sympy.Add.make_args(expr))
        factors = (factor for term in terms for factor in term if not is_constant(factor))
        shared = (factor for factor, count in Counter(factors).items() if count > 1)
        return sorted(shared, key=sympy.default_sort_key)


def _without(term: sympy.Expr, factor: sympy.Expr) -> sympy.Expr:
    factors = list(sympy.Mul.make_args(term))
    factors.remove(factor)
    return sympy.Mul(*factors)
