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
from symcompile.diff.snapshot import NOT_MEASURED
from symcompile.errors import one_line
from symcompile.report.metrics import COMPARED, END_TO_END
from symcompile.report.plain_text import cut

UNKNOWN = "-"
# A name or sentence longer than this is cut in what people read.
LONG = 160


# --- strings and figures -------------------------------------------------------------------------


def plain(text: str, most: int | None = None) -> str:
    """One line without control, format or surrogate characters, each replaced by another one.

    Places in the text stay where they are; `most` characters at most are left.
    """
    shown = one_line(text.replace("\n", " ").replace("\t", " "))
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


class MetricDiff(NamedTuple):
    """A figure on both sides, "" where there is no such side; `good` is None for no judgement."""

    name: str
    old: str
    new: str
    word: str = ""
    good: bool | None = None

    @property
    def changed(self) -> bool:
        return self.old != self.new


EXPLAINED = {*(metric.name for metric in COMPARED), END_TO_END}
_COST = "complexity", ("simpler", "more complex")


def equation_metrics(equation: EquationDiff) -> list[MetricDiff]:
    """Cost and accuracy of an equation, those that are known on a side."""
    complexity = _count(*_COST, *equation.both("complexity"))
    operators = _count("operators", ("fewer", "more"), *equation.both("operators"))
    there = equation.old is not None, equation.new is not None
    return _shown([complexity, operators, *_accuracy(equation)], there)


def block_metrics(block: BlockDiff) -> list[MetricDiff]:
    """Accuracy of a block as a whole: of all its outputs, unless its only equation says it too."""
    together = _accuracy(block)
    if len(block.equations) == 1 and together == _accuracy(block.equations[0]):
        together = []
    old, new = block.both("end_to_end")
    noise = rounding.of_error(block.dtype, old, new)
    end_to_end = _measured(END_TO_END, old, new, False, noise)
    removed = _count("parameters removed", None, *block.both("parameters_removed"))
    return _shown([*together, end_to_end, removed], _there(block))


def totals(block: BlockDiff) -> tuple[MetricDiff, MetricDiff]:
    """R2 of a block and the complexity of all its equations together; "" for what isn't known.

    Where R2 was measured for each output only, it is the lowest of them.
    """
    together = block.both("accuracy", NOT_MEASURED)
    r2s: list[float | None] = []
    costs: list[int | None] = []
    for word, accuracy in zip(("old", "new"), together, strict=True):
        sides = [getattr(equation, word) for equation in block.equations]
        each = [side.accuracy.r2 for side in sides if side and known(side.accuracy.r2)]
        r2s.append(accuracy.r2 if known(accuracy.r2) else min(each, default=None))
        complexities = [side.complexity for side in sides if side]
        costs.append(sum(complexities) if complexities and None not in complexities else None)
    best = _measured("R2", r2s[0], r2s[1], True, rounding.of_r2(block.dtype, *together))
    metrics = best, _count(*_COST, costs[0], costs[1])
    shown = {metric.name: metric for metric in _shown(metrics, _there(block))}
    fit, cost = (shown.get(metric.name, MetricDiff(metric.name, "", "")) for metric in metrics)
    return fit, cost


def _there(block: BlockDiff) -> tuple[bool, bool]:
    """Where there is something to measure: equations, unless both sides are neural."""
    old, new = block.both("status")
    return (True, True) if old == new else (old == "symbolic", new == "symbolic")


def _accuracy(fitted: EquationDiff | BlockDiff) -> list[MetricDiff]:
    old, new = fitted.both("accuracy", NOT_MEASURED)
    return [
        _measured(
            metric.name,
            getattr(old, metric.key),
            getattr(new, metric.key),
            metric.rising,
            rounding.allowed(fitted.dtype, metric.key, old, new),
        )
        for metric in COMPARED
    ]


def _measured(
    word: str, old: float | None, new: float | None, rising: bool, noise: float
) -> MetricDiff:
    show: Callable[[float | None, int], str] = r2 if rising else figure
    digits = 5 if rising else 3
    if old is None or new is None or not (known(old) and known(new)):
        return MetricDiff(word, show(old, digits), show(new, digits))
    if abs(new - old) <= noise:
        return MetricDiff(word, show(new, digits), show(new, digits))
    good = (new > old) == rising
    return MetricDiff(word, *apart(show, old, new, digits, 12), "better" if good else "worse", good)


def _count(
    word: str, words: tuple[str, str] | None, old: int | None, new: int | None
) -> MetricDiff:
    before, after = (UNKNOWN if count is None else f"{count:,}" for count in (old, new))
    if old is None or new is None or old == new or words is None:
        return MetricDiff(word, before, after)
    return MetricDiff(word, before, after, words[new > old], new < old)


def _shown(metrics: Iterable[MetricDiff], there: tuple[bool, bool]) -> list[MetricDiff]:
    """What is known on a side, without the side that is not there."""
    return [
        metric._replace(old=metric.old if there[0] else "", new=metric.new if there[1] else "")
        for metric in metrics
        if (metric.old, metric.new) != (UNKNOWN, UNKNOWN)
    ]
