"""Pair the constants of two equations that have the same form.

Ordered arguments are paired in their order. Of those that stand in any order (terms, factors),
equal ones are paired first, then those of equal form so that the constants change least in all.

Some numbers belong to the form rather than to the constants, as long as neither side has a fitted
constant there: exponents and bases (x**2 is another law than x**3), and the sign of a term without
a coefficient (a - b is another law than a + b). Two equations that differ there don't pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from symcompile.diff.equations.place import Path, place
from symcompile.diff.equations.shape import (
    MAX_STEPS,
    POWERS,
    UNORDERED,
    Constant,
    FormNode,
    by_form,
)
from symcompile.diff.result import CoefficientDiff

# Stands for "never" where a finite number is needed: no sum of changes comes near it.
_NEVER = 1e12
_PLACES = 3

NodePairs = Iterable[tuple[FormNode, FormNode]]


class Pair(NamedTuple):
    """A constant on both sides, and where it stands on the old one."""

    old: Constant
    new: Constant
    path: Path


@dataclass(frozen=True)
class Pairing:
    """All constants of two equations of one form, exact numbers included.

    Attributes:
        cost: sum of the relative changes.
        ambiguous: whether some of them could have been paired in another way.
    """

    pairs: tuple[Pair, ...]
    cost: float
    ambiguous: bool

    @property
    def same(self) -> bool:
        """Whether all constants are the same to the last bit."""
        return self.largest == 0.0

    @property
    def largest(self) -> float:
        """The largest relative change of a constant, from 0 to 2."""
        return max((change(old, new) for old, new, _ in self.pairs), default=0.0)

    def coefficients(self) -> tuple[CoefficientDiff, ...]:
        """The constants that were fitted on either side or changed, in the old one's order.

        One that stands in several places on both sides is one.
        """
        paths: dict[Any, list[Path]] = {}
        for number, (old, new, path) in enumerate(self.pairs):
            if old.exact and new.exact and old.value == new.value:
                continue
            shared = bool(old.slots and new.slots)
            paths.setdefault((old, new, 0 if shared else number), []).append(path)
        return tuple(
            CoefficientDiff(old.value, new.value, _places(group))
            for (old, new, _), group in paths.items()
        )


def pair(old: FormNode, new: FormNode) -> Pairing | None:
    """The constants of two equations, paired; None if their forms differ."""
    if old.form != new.form:
        return None
    matcher = _Matcher()
    cost = matcher.cost(old, new)
    if not cost < _NEVER:
        return None
    return Pairing(tuple(matcher.pairs(old, new)), cost, matcher.ambiguous)


def cheapest(pairings: Iterable[Pairing | None]) -> Pairing | None:
    """Of several ways to write the same two equations, that in which the constants change least;
    the first of equals."""
    return min(filter(None, pairings), key=lambda pairing: pairing.cost, default=None)


def change(old: Constant, new: Constant) -> float:
    """From 0 to 2, relative to the larger one, so that it is the same both ways; 2 where one is
    beyond the range of float64, since nothing is known of it then."""
    a, b = old.value, new.value
    if not (math.isfinite(a) and math.isfinite(b)):
        return 2.0
    if a == b:
        return 0.0
    size = max(abs(a), abs(b))
    return abs(a / size - b / size)


def _places(paths: Iterable[Path]) -> str:
    places = list(dict.fromkeys(map(place, paths)))
    return ", ".join(places[:_PLACES] + ["..."] * (len(places) > _PLACES))


class _Matcher:
    """Least cost of pairing two nodes of one form, and which arguments were paired for it."""

    def __init__(self) -> None:
        self.ambiguous = False
        self.costs: dict[tuple[FormNode, FormNode], float] = {}
        self.chosen: dict[tuple[FormNode, FormNode], Sequence[FormNode]] = {}

    def cost(self, old: FormNode, new: FormNode) -> float:
        if (old, new) not in self.costs:
            arguments = self.arranged(old, new)
            own = zip(old.constants, new.constants, strict=True)
            total = sum(_cost(old, a, b) for a, b in own)
            for a, b in zip(old.args, arguments, strict=True):
                total += self.cost(a, b)
            self.costs[old, new], self.chosen[old, new] = total, arguments
        return self.costs[old, new]

    def arranged(self, old: FormNode, new: FormNode) -> Sequence[FormNode]:
        """The new one's arguments, each where its counterpart stands in the old one: equal ones
        first, then those with the same exact exponents if both sides have them equally often (terms
        of a polynomial), then those of one form."""
        if old.head not in UNORDERED:
            return new.args
        counterparts: dict[int, FormNode] = {}
        olds, news = list(old.args), list(new.args)
        for likeness in ("content", "strict_form", "form"):
            groups = [_grouped(side, likeness) for side in (olds, news)]
            olds, news = [], []
            for form in dict.fromkeys(chain(*groups)):
                ours, theirs = (group.get(form, []) for group in groups)
                if likeness == "content":
                    counterparts |= {id(a): b for a, b in zip(ours, theirs, strict=False)}
                    ours, theirs = ours[len(theirs) :], theirs[len(ours) :]
                elif len(ours) == len(theirs):
                    counterparts |= {id(a): b for a, b in self.assigned(ours, theirs)}
                    continue
                olds += ours
                news += theirs
        return [counterparts[id(argument)] for argument in old.args]

    def assigned(self, olds: list[FormNode], news: list[FormNode]) -> NodePairs:
        """Arguments of one form, paired at the least cost; in their order if they are too many."""
        olds, news = sorted(olds, key=by_form), sorted(news, key=by_form)
        if len(olds) > 1 and len(olds) ** 2 * olds[0].steps <= MAX_STEPS:
            return self.least(olds, news)
        self.ambiguous |= len(olds) > 1
        return zip(olds, news, strict=True)

    def least(self, olds: list[FormNode], news: list[FormNode]) -> NodePairs:
        costs = np.array([[min(self.cost(a, b), _NEVER) for b in news] for a in olds])
        self.ambiguous |= bool((costs < _NEVER).sum() > len(olds))
        # The same choice among equals in both directions: the smaller side is always that of rows.
        turned = [node.order for node in olds] > [node.order for node in news]
        rows, columns = linear_sum_assignment(costs.T if turned else costs)
        if turned:
            rows, columns = columns, rows
        return [(olds[i], news[j]) for i, j in zip(rows, columns, strict=True)]

    def pairs(self, old: FormNode, new: FormNode) -> Iterator[Pair]:
        """Every constant with its place; the old one's own first, then those of its arguments."""
        pending: list[tuple[FormNode, FormNode, Path]] = [(old, new, ((old, -1),))]
        while pending:
            before, after, path = pending.pop()
            for a, b in zip(before.constants, after.constants, strict=True):
                yield Pair(a, b, path)
            arguments = list(zip(before.args, self.chosen[before, after], strict=True))
            for step, (x, y) in reversed(list(enumerate(arguments))):
                pending.append((x, y, (*path, (x, step))))


def _cost(owner: FormNode, old: Constant, new: Constant) -> float:
    """Relative change of a constant; never where the two numbers belong to the form."""
    moved = change(old, new)
    if moved and old.exact and new.exact:
        sign = abs(old.value) == abs(new.value) == 1.0
        if sign or owner.head in POWERS:
            return _NEVER
    return moved


def _grouped(nodes: Iterable[FormNode], attribute: str) -> dict[str, list[FormNode]]:
    groups: dict[str, list[FormNode]] = {}
    for node in nodes:
        groups.setdefault(getattr(node, attribute), []).append(node)
    return groups
