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

import collections
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import sympy

from symcompile.expressions.complexity import counter
from symcompile.expressions.light_algebra import add, inverse, mul, power, some, with_args
from symcompile.expressions.light_code import fraction
from symcompile.expressions.light_tree import LightTree, number, order, parts
from symcompile.expressions.operator_set import OperatorSet

# More than any caller allows: counts stop here, since their product would fill the memory.
BEYOND = 10**9
# Terms looked at for one form, each some tenth of a millisecond.
_WORK = 3000


def expanded(expr: sympy.Expr, limit: int, **hints: bool) -> sympy.Expr | None:
    """The expression multiplied out, in functions as well, by `sympy.expand` with these hints; None
    where that makes more than `limit` terms."""
    return None if terms_made(expr) > limit else sympy.expand(expr, **hints)


def multiplied_out(tree: LightTree, limit: int) -> LightTree | None:
    """The same of a light tree, exp(a + b) and log(a*b) left as they are."""
    return None if terms_made(tree) > limit else _multiplied_out(tree)


def terms_made(expr: LightTree | sympy.Basic) -> int:
    """At most how many terms all sums together have, in functions and denominators as well, once
    products are multiplied out. Like terms count as many; BEYOND stands for any larger number."""
    counts: dict[Any, _Count] = {}
    pending: list[Any] = [expr]  # without recursion: forms are as deep as a stranger likes
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


def _counted(node: LightTree | sympy.Basic, parts: list[_Count]) -> _Count:
    op, exponent = _kind(node)
    inside = sum(part.inside for part in parts)
    if op == "add":
        return _Count(sum(p.terms for p in parts), sum(p.below for p in parts), inside)
    if op == "mul":
        below = math.prod(max(p.below, 1) for p in parts)
        made = math.prod(p.terms for p in parts)
        # What a factor holds is written once for each term of the others.
        inside = sum(p.inside * (made // max(p.terms, 1)) for p in parts)
        return _Count(made, below if below > 1 else 0, inside)
    opaque = inside + sum(p.terms * max(p.below, 1) for p in parts if p.terms > 1 or p.below)
    whole = abs(exponent.numerator) // exponent.denominator
    if not whole:
        return _Count(1, 0, opaque)
    made, below = _of_power(parts[0].terms, whole), _of_power(parts[0].below, whole)
    # What a term of the base holds is written wherever that term has an exponent.
    inside *= max(made - _of_power(parts[0].terms - 1, whole), 1)
    # Of (a + b)**(5/2) a square is multiplied out, and a root stands in each of its terms.
    inside += made * opaque if exponent.denominator != 1 else 0
    if exponent > 0:
        return _Count(made, below, inside)
    return _Count(1, (made if made > 1 else 0) + below, inside)


def _kind(node: LightTree | sympy.Basic) -> tuple[str, Fraction]:
    """Whether it is a sum or a product; the exponent of a power with an exact one, else 0."""
    if isinstance(node, LightTree):
        exact = node.args[1].rational if node.op == "pow" else None
        return node.op, Fraction(exact or 0)
    if node.is_Pow and node.exp.is_Rational:
        return "pow", Fraction(int(node.exp.p), int(node.exp.q))
    return "add" if node.is_Add else "mul" if node.is_Mul else "", Fraction(0)


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


def _multiplied_out(tree: LightTree) -> LightTree:
    if not tree.args or tree.is_constant:
        return tree
    tree = with_args(tree, map(_multiplied_out, tree.args))
    if tree.op == "mul":
        return _product(tree.args)
    return _power(*tree.args) if tree.op == "pow" and tree.args[0].op == "add" else tree


def _product(factors: Sequence[LightTree]) -> LightTree:
    above, below = fraction(factors)
    sums = [_multiplied_out(factor).args for factor in above if factor.op == "add"]
    if len(below) > 1:
        below = [_multiplied_out(mul(below))]
    rest = [factor for factor in above if factor.op != "add"] + [*map(inverse, below)]
    return add(mul((*terms, *rest)) for terms in product(*sums)) if sums else mul(rest)


def _power(base: LightTree, exponent: LightTree) -> LightTree:
    """A power of a sum: its whole part multiplied out, above the line or below."""
    exact = Fraction(exponent.rational or 0)
    whole = abs(exact.numerator) // exact.denominator
    if not whole or exact == -1:
        return power(base, exponent)
    terms = [power(base, number(abs(exact) - whole))]
    for _ in range(whole):
        terms = list(parts("add", add(mul(pair) for pair in product(terms, base.args))))
    return add(terms) if exact > 0 else inverse(add(terms))


class Collection:
    """Takes factors out; sums that forms have in common are looked up."""

    def __init__(self, operators: OperatorSet, names: Sequence[str] = ()) -> None:
        self.complexity = counter(operators, names).of
        self.known: dict[LightTree, LightTree] = {}
        self.work = 0

    def collected(self, tree: LightTree) -> LightTree:
        """An equal expression, its sums with common factors taken out wherever that saves nodes."""
        self.work = 0
        return self.of(tree)

    def of(self, tree: LightTree) -> LightTree:
        if not tree.args or tree.is_constant:
            return tree
        tree = with_args(tree, map(self.of, tree.args))
        return self.sum(tree) if tree.op == "add" else tree

    def sum(self, tree: LightTree) -> LightTree:
        if tree not in self.known:
            self.known[tree] = self.shortest(tree)
        return self.known[tree]

    def shortest(self, tree: LightTree) -> LightTree:
        """The shortest of the sums with one factor taken out, and on from there."""
        best, cost = tree, self.complexity(tree)
        for factor in _shared(tree.args):
            self.work += len(tree.args)
            if self.work > _WORK:
                break
            taken = self.taken(tree, factor)
            if (less := self.complexity(taken)) < cost:
                best, cost = taken, less
        return best if best is tree or best.op != "add" else self.sum(best)

    def taken(self, tree: LightTree, factor: LightTree) -> LightTree:
        """The sum with this factor taken out of all terms that have it."""
        inside: list[LightTree] = []
        outside: list[LightTree] = []
        for term in tree.args:
            (inside if factor in parts("mul", term) else outside).append(term)
        quotient = self.sum(add(_without(term, factor) for term in inside))
        return add((mul((factor, quotient)), *outside))


def _shared(terms: Iterable[LightTree]) -> list[LightTree]:
    """Varying factors that stand in two terms or more, in a fixed order."""
    counts = collections.Counter(
        f for term in terms for f in parts("mul", term) if not f.is_constant
    )
    return sorted((factor for factor, count in counts.items() if count > 1), key=order)


def _without(term: LightTree, factor: LightTree) -> LightTree:
    factors = list(parts("mul", term))
    factors.remove(factor)
    return some("mul", factors)
