"""Names and figures of a comparison as text, the same in every format.

Every string of a comparison may come from a file that a stranger made; `plain` makes it one line
that no terminal, log or page takes for anything but text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from symcompile.diff import rounding
from symcompile.diff.result import BlockDiff, EquationDiff
from symcompile.diff.snapshot import Accuracy
from symcompile.report.notes import cut

UNKNOWN = "-"
# A name or sentence longer than this is cut in what people read.
LONG = 160


# --- strings and figures -------------------------------------------------------------------------


def plain(text: str, most: int | None = None) -> str:
    """One line without control, format or surrogate characters, each replaced by another one.

    Places in the text stay where they are; `most` characters at most are left.
    """
    shown = "".join(c if c.isprintable() else " " if c in "\n\t" else "?" for c in text)
    # CI logs take ##[name] for a command, wherever it stands.
    shown = shown.replace("##[", "#?[")
    return shown if most is None else cut(shown, most)


def name(text: str) -> str:
    """The name of a block, node, file or weight."""
    return plain(text, LONG)


def block_name(path: str) -> str:
    return "the whole model (.)" if path == "." else name(path)


def label(output: int) -> str:
    """What an equation is called."""
    return f"y[{output}]"


def known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def figure(value: float | None, digits: int = 3) -> str:
    """So many significant digits; "-" for what is not known."""
    return f"{value:.{digits}g}" if value is not None and known(value) else UNKNOWN


def r2(value: float | None, digits: int = 5) -> str:
    """So many decimals, rounded down so that an imperfect fit never shows as 1."""
    if value is None or not -10 <= value < 1:
        return figure(value)
    return f"{math.floor(value * 10**digits) / 10**digits:.{digits}f}"


def apart(
    show: Callable[[float | None, int], str],
    old: float | None,
    new: float | None,
    digits: int,
    most: int,
) -> tuple[str, str]:
    """Both values with as many digits as it takes to tell them apart, between digits and most."""
    texts = show(old, digits), show(new, digits)
    while texts[0] == texts[1] and old != new and digits < most:
        digits += 1
        texts = show(old, digits), show(new, digits)
    return texts


def percent(relative: float) -> str:
    """A relative change: "+4 %", "from 0" where there is no old value to relate it to."""
    if math.isnan(relative):
        return UNKNOWN
    if math.isinf(relative):
        return "from 0"
    if abs(relative) >= 100:
        return f"{relative:+.1e} times"
    share = 100 * relative
    return f"{share:+.3g} %" if abs(share) >= 0.01 or not share else f"{share:+.1e} %"


def share(difference: float) -> str:
    """A difference relative to the largest old value."""
    return percent(difference).removeprefix("+") if math.isfinite(difference) else "infinitely much"


# --- accuracy and cost ---------------------------------------------------------------------------


class Metric(NamedTuple):
    """A figure on both sides, "" where there is no such side; `good` is None for no judgement."""

    name: str
    old: str
    new: str
    word: str = ""
    good: bool | None = None

    @property
    def changed(self) -> bool:
        return self.old != self.new


# Name, field of Accuracy, whether more of it is better.
_ACCURACY = (
    ("R2", "r2", True),
    ("relative L2", "relative_l2", False),
    ("max |error|", "max_error", False),
    ("extrapolation", "extrapolation", False),
)

EXPLAINED = ("R2", "relative L2", "max |error|", "extrapolation", "end to end")
LEGEND = (
    "R2, relative L2, max |error|: of the equation against the block that it replaced, on held-out"
    " samples; extrapolation: relative L2 up to 20 % outside of the recorded ranges; end to end:"
    " relative L2 change of the model's output"
)


def equation_metrics(one: EquationDiff) -> list[Metric]:
    """Cost and accuracy of an equation, those that are known on a side."""
    sides = one.old is not None, one.new is not None
    cost = [
        _count("complexity", one.old_complexity, one.new_complexity, ("simpler", "more complex")),
        _count("operators", one.old_operators, one.new_operators, ("fewer", "more")),
    ]
    return _shown([*cost, *_accuracy(one.old_accuracy, one.new_accuracy, one.dtype)], sides)


def block_metrics(block: BlockDiff) -> list[Metric]:
    """Accuracy of a block as a whole: of all its outputs, unless its only equation says it too."""
    sides = _sides(block)
    total = _accuracy(block.old_accuracy, block.new_accuracy, block.dtype)
    if len(block.equations) == 1:
        only = block.equations[0]
        total = (
            [] if total == _accuracy(only.old_accuracy, only.new_accuracy, only.dtype) else total
        )
    rest = [
        _measured(
            "end to end",
            block.old_end_to_end,
            block.new_end_to_end,
            False,
            rounding.of_error(block.dtype, block.old_end_to_end, block.new_end_to_end),
        ),
        _count(
            "parameters removed", block.old_parameters_removed, block.new_parameters_removed, None
        ),
    ]
    return _shown([*total, *rest], sides)


def totals(block: BlockDiff) -> tuple[Metric, Metric]:
    """R2 of a block and the complexity of all its equations together; "" for what isn't known.

    Where R2 was measured for each output only, it is the lowest of them.
    """
    sides = _sides(block)
    old_r2 = _lowest(block.old_accuracy, (one.old_accuracy for one in block.equations))
    new_r2 = _lowest(block.new_accuracy, (one.new_accuracy for one in block.equations))
    noise = rounding.of_r2(block.dtype, block.old_accuracy, block.new_accuracy)
    r2s = _shown([_measured("R2", old_r2, new_r2, True, noise)], sides)
    old = _total(one.old_complexity for one in block.equations if one.old is not None)
    new = _total(one.new_complexity for one in block.equations if one.new is not None)
    costs = _shown([_count("complexity", old, new, ("simpler", "more complex"))], sides)
    return (*r2s, Metric("R2", "", ""))[0], (*costs, Metric("complexity", "", ""))[0]


def _sides(block: BlockDiff) -> tuple[bool, bool]:
    """Where there is something to measure: equations, unless both sides are neural."""
    if block.old_status == block.new_status:
        return True, True
    return block.old_status == "symbolic", block.new_status == "symbolic"


def _lowest(together: Accuracy, each: Iterable[Accuracy]) -> float | None:
    if known(together.r2):
        return together.r2
    return min((one.r2 for one in each if one.r2 is not None and known(one.r2)), default=None)


def _total(costs: Iterable[int | None]) -> int | None:
    """None where one of them is not known, or there is none."""
    found = list(costs)
    whole = [cost for cost in found if cost is not None]
    return sum(whole) if found and len(whole) == len(found) else None


def _accuracy(old: Accuracy, new: Accuracy, dtype: str | None) -> list[Metric]:
    return [
        _measured(
            word,
            getattr(old, field),
            getattr(new, field),
            rising,
            rounding.allowed(dtype, field, old, new),
        )
        for word, field, rising in _ACCURACY
    ]


def _measured(
    word: str, old: float | None, new: float | None, rising: bool, noise: float
) -> Metric:
    show: Callable[[float | None, int], str] = r2 if word == "R2" else figure
    if old is None or new is None or not (known(old) and known(new)):
        return Metric(word, show(old, 5 if rising else 3), show(new, 5 if rising else 3))
    if abs(new - old) <= noise:
        return Metric(word, *apart(show, new, new, 5 if rising else 3, 0))
    good = (new > old) == rising
    texts = apart(show, old, new, 5 if rising else 3, 12)
    return Metric(word, *texts, "better" if good else "worse", good)


def _count(word: str, old: int | None, new: int | None, words: tuple[str, str] | None) -> Metric:
    before, after = (UNKNOWN if n is None else f"{n:,}" for n in (old, new))
    if old is None or new is None or old == new or words is None:
        return Metric(word, before, after)
    return Metric(word, before, after, words[new > old], new < old)


def _shown(metrics: Iterable[Metric], sides: tuple[bool, bool]) -> list[Metric]:
    found = [one for one in metrics if (one.old, one.new) != (UNKNOWN, UNKNOWN)]
    if all(sides):
        return found
    return [
        one._replace(old=one.old if sides[0] else "", new=one.new if sides[1] else "")
        for one in found
    ]
