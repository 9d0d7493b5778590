"""A picture of an explanation: what features contribute, and predictions beside the black box's."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING, Any

from symcompile.errors import DataError, shown
from symcompile.explanation import words
from symcompile.report.metrics import figure as digits
from symcompile.report.plain_text import cut
from symcompile.report.plot import blank, saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from symcompile.explanation.explanation import Explanation

_UP, _DOWN, _LINE = "#4c72b0", "#d1495b", "#b8c4d6"
_MOST_BARS, _LONGEST_NAME, _TITLE_WIDTH, _TITLE_LINES = 10, 24, 118, 3


def plot(
    explanation: Explanation, output: int | None = None, path: str | os.PathLike[str] | None = None
) -> Figure:
    """See `Explanation.plot`."""
    link = explanation.link
    if output is None:
        # Of classes what fn says at x, as far as it is explained.
        output = (
            max(link.outputs, key=lambda k: explanation.output_at_x[k])
            if link.is_odds
            else link.outputs[0]
        )
    if output not in link.outputs:
        raise DataError(f"output is {shown(output)}: explained are {list(link.outputs)}")
    name = link.said(output)
    figure = blank(words.headline(explanation), (10.4, 4.8))
    laws = "; ".join(f"{title} = {law}" for title, law in words.laws(explanation))
    below = textwrap.wrap(laws, _TITLE_WIDTH, max_lines=_TITLE_LINES, placeholder=" ...")
    figure.supxlabel("\n".join(below), x=0.02, ha="left", fontsize=8.5, parse_math=False)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    _bars(left, explanation, output, name)
    _points(right, explanation, link.outputs.index(output), name)
    return saved(figure, path)


def _bars(axes: Any, explanation: Explanation, output: int, name: str) -> None:
    """What features contribute, the largest on top."""
    of_output = explanation.contributions[output]
    own = list(of_output.by_feature.items())[:_MOST_BARS][::-1]
    features = {feature.name: feature for feature in explanation.features.features}
    labels = [
        f"{cut(key, _LONGEST_NAME)} = {cut(words.value_at_x(explanation, features[key]), 16)}"
        for key, _ in own
    ]
    values = [one.integrated for _, one in own]
    places = range(len(own))
    axes.barh(places, values, color=[_UP if value >= 0 else _DOWN for value in values])
    axes.set_yticks(places, labels, fontsize=9, parse_math=False)
    axes.axvline(0.0, color="#555555", linewidth=0.8)
    axes.set_xlabel(f"contribution to {name}", parse_math=False)
    axes.set_title(
        f"{digits(of_output.at_mean)} at the neighbours' mean, {digits(of_output.at_x)} at x",
        loc="left",
        fontsize=10,
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    axes.margins(x=0.08)


def _points(axes: Any, explanation: Explanation, column: int, name: str) -> None:
    """Predictions on fresh points, larger the more a point weighs."""
    fresh = explanation.fresh
    truth, prediction = fresh.truth[:, column], fresh.prediction[:, column]
    ends = [float(truth.min()), float(truth.max())]
    axes.plot(ends, ends, "-", color=_DOWN, linewidth=1, zorder=3)
    axes.scatter(
        truth,
        prediction,
        s=3.0 + 22.0 * fresh.weights,
        color=_UP,
        alpha=0.45,
        linewidths=0,
        zorder=2,
    )
    axes.set_xlabel(f"{name}, black box", parse_math=False)
    axes.set_ylabel("equation")
    axes.set_title("fresh points around x, sized by weight", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, which="major", color="#eeeeee", zorder=0)
