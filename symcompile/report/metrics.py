"""What is measured of an equation: names of the metrics, how they are written, and what they say.

Reports and comparisons show the same metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from symcompile.fidelity.outcome import OutputFidelity


def figure(value: float | None) -> str:
    """Three digits in at most 8 characters; "-" for what was not measured."""
    if value is None or math.isnan(value):
        return "-"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e5:
        digits = 2 - math.floor(math.log10(abs(value)))
        return f"{value:.{max(digits, 0)}f}"
    return f"{value:.1e}"


def r2(value: float | None, digits: int = 5) -> str:
    """So many decimals, rounded down so that an imperfect fit never shows as 1."""
    if value is None or math.isnan(value) or value < -10:
        return figure(value)
    return "1" if value == 1 else f"{math.floor(value * 10**digits) / 10**digits:.{digits}f}"


class Metric(NamedTuple):
    """One metric of an equation.

    Attributes:
        key: its field in an `Accuracy`, for those that comparisons have.
        name: in words.
        column: both header lines, where it is a column.
        of: what it is of an equation.
        rising: whether more of it is better.
        show: how it is written.
    """

    key: str
    name: str
    column: tuple[str, str]
    of: Callable[[OutputFidelity], float]
    rising: bool = False
    show: Callable[[float | None], str] = figure


METRICS = (
    Metric("r2", "R2", ("", "R2"), attrgetter("equation.r2"), True, r2),
    Metric("relative_l2", "relative L2", ("relative", "L2"), attrgetter("equation.relative_l2")),
    Metric("max_error", "max |error|", ("max", "|error|"), attrgetter("equation.max_error")),
    Metric(
        "extrapolation",
        "extrapolation",
        ("20 %", "beyond"),
        attrgetter("extrapolation.relative_l2"),
    ),
    Metric("gradient", "gradient", ("gradient", "L2"), attrgetter("gradient")),
    Metric("mean", "mean", ("mean", "L2"), attrgetter("mean.relative_l2")),
    Metric("linear", "linear", ("linear", "L2"), attrgetter("linear.relative_l2")),
)
CONTROLS = ("mean", "linear")

LEGEND = (
    "R2, relative L2 and max |error|: equation against neural block on held-out samples."
    " 20 % beyond: relative L2 on inputs up to 20 % outside of their recorded range."
    " Gradient: relative L2 of the derivatives along the inputs as they vary."
    " Mean, linear: relative L2 of the mean output, and of the best linear map (a ridge regression,"
    " chosen by leaving rows out) of the same inputs, on the held-out samples."
)

# A comparison has these two sides of, and the change of the model's output.
COMPARED = METRICS[:4]
END_TO_END = "end to end"
COMPARED_LEGEND = (
    "R2, relative L2, max |error|: of the equation against the block that it replaced, on held-out"
    " samples; extrapolation: relative L2 up to 20 % outside of the recorded ranges; end to end:"
    " relative L2 change of the model's output"
)
