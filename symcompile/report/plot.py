"""Pictures of Pareto fronts and of predictions.

Figures are made without pyplot, so they need no display and leave no global state behind; a
notebook shows the returned figure. matplotlib is imported when a picture is made.
"""

from __future__ import annotations

import math
import os
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from symcompile.errors import DataError, ExportError, SymCompileError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.metrics import agreement
from symcompile.regression.pareto import ParetoFront
from symcompile.report.metrics import r2

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINT, _CHOICE, _LINE = "#4c72b0", "#d1495b", "#b8c4d6"
# Longer equations are set as plain text on two lines, since math text can't be wrapped.
_MATH_CHARACTERS = 60
_TEXT_LINES, _TEXT_WIDTH = 2, 78
_MOST_POINTS = 5000


def pareto(
    front: ParetoFront,
    *,
    chosen: Equation | None = None,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Loss against complexity, the choice marked and written out.

    Args:
        chosen: the equation to mark; the front's own choice when left out.
        path: file to write as well (.png, .svg, .pdf).

    Raises:
        SymCompileError: matplotlib is not installed.
        ChoiceError: the front is empty.
        ExportError: the file can't be written.
    """
    chosen = front.best if chosen is None else chosen
    figure, axes = _canvas(title or "Pareto front", chosen)
    losses = [math.exp(loss) for loss in front.log_losses()]
    _room(axes, front.complexities, losses)
    axes.set_yscale("log")
    axes.plot(front.complexities, losses, "-", color=_LINE, drawstyle="steps-post", zorder=1)
    axes.plot(front.complexities, losses, "o", color=_POINT, markersize=6, zorder=2)
    for equation, loss in zip(front, losses, strict=True):
        cost, marked = equation.complexity, equation == chosen
        if marked:
            label = f"chosen: complexity {cost}, R² {r2(front.r2(equation))}"
            axes.plot([cost], [loss], "o", color=_CHOICE, markersize=11, zorder=3, label=label)
        axes.annotate(
            str(cost), (cost, loss), xytext=(6, 6), textcoords="offset points", fontsize=9,
            color=_CHOICE if marked else "#555555", fontweight="bold" if marked else "normal",
        )  # fmt: skip
    held_out = all(not math.isnan(equation.holdout_loss) for equation in front)
    name = "mean squared error" if front.loss.is_squared else f"mean {front.loss.name} loss"
    axes.set(xlabel="complexity", ylabel=f"{name}{' on held-out samples' if held_out else ''}")
    if chosen in front.equations:
        axes.legend(frameon=False, loc="upper right")
    return saved(figure, path)


def prediction(
    predicted: Array,
    truth: Array,
    *,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """What an equation gives against what the neural block gave, [n_samples] each.

    At most 5000 points are drawn, evenly picked; the figures in the legend are those of all.

    Raises:
        SymCompileError: matplotlib is not installed.
        DataError: the arrays do not fit together, or are empty.
        ExportError: the file can't be written.
    """
    predicted, truth = (np.ravel(np.asarray(a, dtype=np.float64)) for a in (predicted, truth))
    measured = agreement(predicted, truth)
    if truth.size == 0:
        raise DataError("there are no samples to draw")
    figure, axes = _canvas(title or "Equation against neural block")
    line = [float(truth.min()), float(truth.max())]
    picked = np.unique(np.linspace(0, len(truth) - 1, _MOST_POINTS).astype(int))
    axes.plot(line, line, "-", color=_CHOICE, linewidth=1, zorder=3)
    label = f"R² {r2(measured.r2)}, relative L2 {measured.relative_l2:.3g}"
    axes.plot(
        truth[picked], predicted[picked], "o", color=_POINT, alpha=0.45, markersize=4,
        markeredgewidth=0, zorder=2, label=label,
    )  # fmt: skip
    axes.set(xlabel="neural block", ylabel="equation")
    axes.legend(frameon=False, loc="upper left")
    return saved(figure, path)


def blank(title: str, size: tuple[float, float] = (7.2, 4.6)) -> Figure:
    """A figure of this size in inches that needs no display, under a title.

    Raises SymCompileError if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise SymCompileError(
            "plots need matplotlib, which is not installed: pip install symcompile[plot]"
        ) from error
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=size, dpi=110, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold", parse_math=False)
    return figure


def _canvas(title: str, equation: Equation | None = None) -> tuple[Figure, Any]:
    figure = blank(title)
    axes = figure.add_subplot()
    below = "" if equation is None else _in_words(equation)
    axes.set_title(below, loc="left", fontsize=10.5, color=_CHOICE, pad=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, which="major", color="#eeeeee", zorder=0)
    return figure, axes


def _in_words(equation: Equation) -> str:
    """The equation for a title: as formula where it is short and can be set, else as text."""
    from matplotlib.mathtext import MathTextParser

    text, formula = equation.text(4), f"${equation.latex(4)}$"
    if len(text) <= _MATH_CHARACTERS:
        try:
            MathTextParser("agg").parse(formula)
            return formula
        except ValueError:
            pass
    text = text.replace("$", r"\$")
    return "\n".join(textwrap.wrap(text, _TEXT_WIDTH, max_lines=_TEXT_LINES, placeholder=" ..."))


def _room(axes: Any, complexities: tuple[int, ...], losses: list[float]) -> None:
    """Margins for the labels, whole numbers below, and decades around losses that lie close.

    Set before anything is drawn: with a single point matplotlib warns about its own limits.
    """
    from matplotlib.ticker import MaxNLocator

    span = max(complexities[-1] - complexities[0], 1)
    axes.set_xlim(complexities[0] - 0.06 * span - 0.4, complexities[-1] + 0.08 * span + 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    low, high = min(losses), max(losses)
    decades = math.log10(high / low)
    spare = max(0.1 * decades, (1.5 - decades) / 2)
    axes.set_ylim(low * 10**-spare, high * 10 ** (spare + 0.08 * decades))


def saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """The figure, written to a file if one is named; ExportError if it can't be."""
    if path is not None:
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as error:
            raise ExportError(f"can't write the picture {os.fspath(path)!r}: {error}") from error
    return figure
