"""Products multiplied out, and factors taken out of sums, as far as that does not get too dear.

The cost of algebra grows with the terms that it makes, not with the nodes that it is given: four
nested squares of a sum are twenty nodes and twelve thousand terms. So terms are counted before
sympy is asked to multiply anything out, and what is dearer than its caller's bound stays as it is.

Which of the common factors of a sum comes out first decides what the others save, so each is tried,
in what is left as well: the number of trials grows exponentially with the factors that terms share.
A sum that is met again is looked up, and after so many terms were looked at the rest stays as it
is. Both counts are of terms, not of seconds: a form is the same on every machine.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import sympy

from symcompile.expressions.complexity import complexity
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import is_constant, rebuilt

# More than any caller allows: counts stop here, since their product would fill the memory.
BEYOND = 10**9
# Terms looked at for one form, each some tenth of a millisecond.
_WORK = 3000


def expanded(expr: sympy.Expr, limit: int, **hints: bool) -> sympy.Expr | None:
    """The expression multiplied out, in functions as well, by `sympy.expand` with these hints; None
    where that makes more than `limit` terms."""
    return None if terms_made(expr) > limit else sympy.expand(expr, **hints)


def terms_made(expr: sympy.Basic) -> int:
    """At most how many terms all sums together have, in functions and denominators as well, once
    products are multiplied out. Like terms count as many; BEYOND stands for any larger number."""
    counts: dict[sympy.Basic, _Count] = {}
    pending = [expr]  # without recursion: forms are as deep as a stranger likes
    while pending:
        node = pending[-1]
        missing = [arg for arg in node.args if arg not in counts]
        if missing and node not in counts:
            pending += missing
            continue
        pending.pop()
        if node not in counts:
            count = _counted(node, [counts[arg] for arg in node.args])
            counts[node] = _Count(*(min(number, BEYOND) for number in count))
    count = counts[expr]
    return min(count.terms * max(count.below, 1) + count.inside, BEYOND)


class _Count(NamedTuple):
    """Of an expression that is multiplied out.

    Attributes:
        terms: of the sum that it is.
        below: of the denominators that a term of it may have, multiplied out as well: a power of
            the sum is one of them, too.
        inside: of sums that stay inside of functions.
    """

    terms: int
    below: int
    inside: int


def _counted(node: sympy.Basic, parts: list[_Count]) -> _Count:
    inside = sum(part.inside for part in parts)
    if node.is_Add:
        return _Count(sum(p.terms for p in parts), sum(p.below for p in parts), inside)
    if node.is_Mul:
        below = math.prod(max(p.below, 1) for p in parts)
        made = math.prod(p.terms for p in parts)
        # What a factor holds is written once for each term of the others.
        inside = sum(p.inside * (made // max(p.terms, 1)) for p in parts)
        return _Count(made, below if below > 1 else 0, inside)
    opaque = inside + sum(p.terms * max(p.below, 1) for p in parts if p.terms > 1 or p.below)
    power = abs(node.exp.p) // node.exp.q if node.is_Pow and node.exp.is_Rational else 0
    if not power:
        return _Count(1, 0, opaque)
    made, below = _of_power(parts[0].terms, power), _of_power(parts[0].below, power)
    # What a term of the base holds is written wherever that term has an exponent.
    inside *= max(made - _of_power(parts[0].terms - 1, power), 1)
    # Of (a + b)**(5/2) a square is multiplied out, and a root stands in each of its terms.
    inside += made * opaque if node.exp.q != 1 else 0
    if node.exp.is_positive:
        return _Count(made, below, inside)
    return _Count(1, (made if made > 1 else 0) + below, inside)


def _of_power(terms: int, power: int) -> int:
    """The multinomial theorem: C(power + terms - 1, power) terms."""
    if terms <= 1:
        return terms
    made = 1
    for k in range(1, min(power, terms - 1) + 1):
        made = made * (power + terms - k) // k
        if made > BEYOND:
            break
    return made


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
        expr = rebuilt(expr, args)
        return self.sum(expr) if expr.is_Add else expr

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
