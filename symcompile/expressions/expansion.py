"""How many terms an expression has once its products are multiplied out, known beforehand.

The cost of algebra grows with the terms that it makes, not with the nodes that it is given: four
nested squares of a sum are twenty nodes and twelve thousand terms. So terms are counted before
sympy is asked to multiply anything out, and what is dearer than its caller's bound stays as it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import sympy

# More than any caller allows: counts stop here, since their product would fill the memory.
BEYOND = 10**9


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
    whole = abs(node.exp.p) // node.exp.q if node.is_Pow and node.exp.is_Rational else 0
    if not whole:
        return _Count(1, 0, opaque)
    made, below = _of_power(parts[0].terms, whole), _of_power(parts[0].below, whole)
    # What a term of the base holds is written wherever that term has an exponent.
    inside *= max(made - _of_power(parts[0].terms - 1, whole), 1)
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
