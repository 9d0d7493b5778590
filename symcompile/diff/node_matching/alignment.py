"""Align two sequences: what both have in the same order, leaving out as little as possible."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

# Steps of the search, about half a second; two sequences that need more have little in common.
_EFFORT = 1_000_000


class _Reached(NamedTuple):
    """How far in the old sequence each second diagonal got, from `low` on.

    A diagonal is known by the place in the old sequence less that in the new one.
    """

    low: int
    reached: array[int]

    def at(self, diagonal: int) -> int:
        place = (diagonal - self.low) // 2
        return self.reached[place] if 0 <= place < len(self.reached) else -1


def align(old: Sequence[int], new: Sequence[int]) -> list[tuple[int, int]]:
    """Places of the items that stay, (old, new) in ascending order; none if that takes too long.

    E. Myers, An O(ND) difference algorithm and its variations, 1986: the effort grows with the
    number of items that are left out, not with the square of the lengths.
    """
    rounds, effort = [_Reached(1, array("q", [0]))], 0
    for left_out in range(len(old) + len(new) + 1):
        before, reached = rounds[-1], array("q")
        low = -left_out + 2 * max(0, left_out - len(new))
        high = left_out - 2 * max(0, left_out - len(old))
        for diagonal in range(low, high + 1, 2):
            start = end = max(before.at(diagonal + 1), before.at(diagonal - 1) + 1)
            while end < len(old) and end - diagonal < len(new) and old[end] == new[end - diagonal]:
                end += 1
            if end >= len(old) and end - diagonal >= len(new):
                return _back(rounds, len(old), len(new))
            reached.append(end)
            effort += 1 + end - start
        rounds.append(_Reached(low, reached))
        if effort > _EFFORT:
            break
    return []


def _back(rounds: Sequence[_Reached], a: int, b: int) -> list[tuple[int, int]]:
    places = []
    for before in reversed(rounds):
        skips_new, skips_old = before.at(a - b + 1), before.at(a - b - 1) + 1
        same = a - max(skips_new, skips_old)
        places += [(a - k, b - k) for k in range(1, same + 1)]
        a, b = a - same - (skips_new < skips_old), b - same - (skips_new >= skips_old)
    return places[::-1]
