"""Pair the constants of two equations that have the same form.

Ordered arguments are paired in their order. Of those that stand in any order (terms, factors),
equal ones are paired first, then those of equal form so that the constants change least in all.

Some numbers belong to the form rather than to the constants, as long as neither side has a fitted
constant there: exponents and bases (x**2 is another law than x**3), and the sign of a term without
a coefficient (a - b is another law than a + b). Two equations that differ there don't pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from symcompile.diff.equations.place import Path, place
from symcompile.diff.equations.shape import MAX_STEPS, Constant, Part, by_form
from symcompile.diff.result import CoefficientDiff

# Stands for "never" where a finite number is needed: no sum of changes comes near it.
_NEVER = 1e12
_PLACES = 3


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


def pair(old: Part, new: Part) -> Pairing | None:
    """The constants of two equations, paired; None if their forms differ."""
    if old.key != new.key:
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
    """Least cost of pairing two parts of one form, and which arguments were paired for it."""

    def __init__(self) -> None:
        self.ambiguous = False
        self.costs: dict[tuple[Part, Part], float] = {}
        self.chosen: dict[tuple[Part, Part], Sequence[Part]] = {}

    def cost(self, old: Part, new: Part) -> float:
        if (old, new) not in self.costs:
            arguments = self.arranged(old, new)
            own = zip(old.constants, new.constants, strict=True)
            total = sum(_cost(old, a, b) for a, b in own)
            for a, b in zip(old.args, arguments, strict=True):
                total += self.cost(a, b)
            self.costs[old, new], self.chosen[old, new] = total, arguments
        return self.costs[old, new]

    def arranged(self, old: Part, new: Part) -> Sequence[Part]:
        """The new one's arguments, each where its counterpart stands in the old one."""
        if not old.unordered:
            return new.args
        counterpart = {
            id(a): b
            for olds, news in _groups(old.args, new.args)
            for a, b in self.assigned(olds, news)
        }
        return [counterpart[id(a)] for a in old.args]

    def assigned(self, olds: list[Part], news: list[Part]) -> list[tuple[Part, Part]]:
        """Arguments of one form: equal ones first, the others at the least cost."""
        equal, olds, news = _equal_first(olds, news)
        count = len(olds)
        if count < 2:
            return [*equal, *zip(olds, news, strict=True)]
        olds, news = sorted(olds, key=by_form), sorted(news, key=by_form)
        if count * count * olds[0].steps > MAX_STEPS:
            self.ambiguous = True
            return [*equal, *zip(olds, news, strict=True)]
        return [*equal, *self.least(olds, news)]

    def least(self, olds: list[Part], news: list[Part]) -> list[tuple[Part, Part]]:
        costs = np.array([[min(self.cost(a, b), _NEVER) for b in news] for a in olds])
        self.ambiguous |= bool((costs < _NEVER).sum() > len(olds))
        # The same choice among equals in both directions: the smaller side is always that of rows.
        turned = [part.order for part in olds] > [part.order for part in news]
        rows, columns = linear_sum_assignment(costs.T if turned else costs)
        if turned:
            rows, columns = columns, rows
        return [(olds[i], news[j]) for i, j in zip(rows, columns, strict=True)]

    def pairs(self, old: Part, new: Part) -> Iterator[Pair]:
        """Every constant with its place; the old one's own first, then those of its arguments."""
        pending: list[tuple[Part, Part, Path]] = [(old, new, ((old, -1),))]
        while pending:
            before, after, path = pending.pop()
            for a, b in zip(before.constants, after.constants, strict=True):
                yield Pair(a, b, path)
            arguments = list(zip(before.args, self.chosen[before, after], strict=True))
            for step, (x, y) in reversed(list(enumerate(arguments))):
                pending.append((x, y, (*path, (x, step))))


def _cost(owner: Part, old: Constant, new: Constant) -> float:
    """Relative change of a constant; never where the two numbers belong to the form."""
    moved = change(old, new)
    if moved and old.exact and new.exact:
        sign = abs(old.value) == abs(new.value) == 1.0
        if sign or owner.numbers_are_form:
            return _NEVER
    return moved


def _groups(olds: Sequence[Part], news: Sequence[Part]) -> Iterator[tuple[list[Part], list[Part]]]:
    """Arguments by form. Those whose exact exponents both sides have equally often are by
    themselves: the terms of a polynomial."""
    by_old, by_new = (_grouped(side, lambda part: part.strict) for side in (olds, news))
    rest: dict[str, tuple[list[Part], list[Part]]] = {}
    for strict in dict.fromkeys([*by_old, *by_new]):
        group = by_old.get(strict, []), by_new.get(strict, [])
        if len(group[0]) == len(group[1]):
            yield group
            continue
        left = rest.setdefault((group[0] or group[1])[0].key, ([], []))
        left[0].extend(group[0])
        left[1].extend(group[1])
    yield from rest.values()


def _equal_first(
    olds: list[Part], news: list[Part]
) -> tuple[list[tuple[Part, Part]], list[Part], list[Part]]:
    """Pairs of equal parts, and those that are left."""
    waiting = _grouped(news, lambda part: part.whole)
    equal, left = [], []
    for part in olds:
        same = waiting.get(part.whole)
        if same:
            equal.append((part, same.pop(0)))
        else:
            left.append(part)
    return equal, left, [part for same in waiting.values() for part in same]


def _grouped(parts: Sequence[Part], key: Callable[[Part], str]) -> dict[str, list[Part]]:
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(key(part), []).append(part)
    return groups
