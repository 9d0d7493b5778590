"""How many terms an expression has once its products are multiplied out, known beforehand.

The cost of algebra grows with the terms that it makes, not with the nodes that it is given: four
nested squares of a sum are twenty nodes and twelve thousand terms. So terms are counted before
sympy is asked to multiply anything out, and what is dearer than its caller's bound stays as it is.
"""

from __future__ import annotations

import math

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
    terms, inside = _Counter().of(expr)
    return min(terms + inside, BEYOND)


class _Counter:
    """Terms of each subexpression as a sum, and of sums that stay inside of it."""

    def __init__(self) -> None:
        self.known: dict[sympy.Basic, tuple[int, int]] = {}

    def of(self, expr: sympy.Basic) -> tuple[int, int]:
        """Without recursion: forms are as deep as a stranger likes."""
        pending = [expr]
        while pending:
            node = pending[-1]
            left = [arg for arg in node.args if arg not in self.known]
            if left and node not in self.known:
                pending += left
                continue
            pending.pop()
            if node not in self.known:
                self.known[node] = self.counted(node, [self.known[arg] for arg in node.args])
        return self.known[expr]

    def counted(self, node: sympy.Basic, parts: list[tuple[int, int]]) -> tuple[int, int]:
        inside = sum(part[1] for part in parts)
        terms = [part[0] for part in parts]
        if node.is_Add:
            return _bounded(sum(terms), inside)
        if node.is_Mul:
            return _bounded(math.prod(terms), inside)
        power = _whole(node)
        if power is None:
            return _bounded(1, inside + sum(count for count in terms if count > 1))
        made = _of_power(terms[0], abs(power))
        return _bounded(made, inside) if power > 0 else _bounded(1, inside + made)


def _whole(node: sympy.Basic) -> int | None:
    """The whole part of an exponent that is multiplied out: (a + b)**(5/2) makes three terms."""
    if not (node.is_Pow and node.exp.is_Rational):
        return None
    whole = abs(node.exp.p) // node.exp.q
    return (-whole if node.exp.is_negative else whole) or None


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


def _bounded(terms: int, inside: int) -> tuple[int, int]:
    return min(terms, BEYOND), min(inside, BEYOND)
