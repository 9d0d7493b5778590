"""What the evaluation on laws shows: a table, and a picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from laws_run import Outcome
from study import markdown

TOTALS = (
    "right",
    "on the front",
    "right structure",
    "findings right",
    "median CPU s",
    "worst CPU s",
)
# Seconds that the picture names.
TICKS = (0.3, 1, 3, 10, 30, 100, 300, 1000)
# A column: who searched, in which mode, with or without operators that distract.
Column = tuple[str, str, bool]


def columns(outcomes: Sequence[Outcome]) -> list[Column]:
    """Those there are, in the order of their first outcome."""
    return list(dict.fromkeys((o.by, o.mode, o.distract) for o in outcomes))


def heading(column: Column) -> str:
    by, mode, distract = column
    words = ["pyoperon"] if by == "operon" else []
    return ", ".join([*words, mode, *(["more operators"] if distract else [])])


def of(outcomes: Sequence[Outcome], column: Column, law: str | None = None) -> list[Outcome]:
    """The outcomes of one column, and of one law."""
    rows = [o for o in outcomes if (o.by, o.mode, o.distract) == column]
    return rows if law is None else [o for o in rows if o.law == law]


def table(outcomes: Sequence[Outcome], laws: Sequence[str]) -> str:
    """Hits of all seeds by law and column with CPU seconds, then totals."""
    shown = columns(outcomes)
    rows: list[list[object]] = []
    for law in laws:
        cells = [_cell(of(outcomes, column, law)) for column in shown]
        rows.append([law, *cells])
    found = [totals(of(outcomes, column)) for column in shown]
    rows += [[name, *(one[name] for one in found)] for name in TOTALS]
    return markdown(["law", *map(heading, shown)], rows)


def summary(outcomes: Sequence[Outcome]) -> str:
    """Only the totals, a row for each column of the table."""
    rows = [
        [heading(column), *totals(of(outcomes, column)).values()] for column in columns(outcomes)
    ]
    return markdown(["", *TOTALS], rows)


def totals(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The figures of TOTALS over all laws and seeds."""
    seconds = [o.cpu for o in outcomes]
    rates = (_rate([getattr(o, name) for o in outcomes]) for name in ("hit", "front", "structure"))
    claims = _rate([right for o in outcomes for right in o.claims])
    figures = (*rates, claims, f"{median(seconds):.1f}", f"{max(seconds):.1f}")
    return dict(zip(TOTALS, figures, strict=True))


def _cell(outcomes: Sequence[Outcome]) -> str:
    """Hits of searches, and the median of CPU seconds."""
    if not outcomes:
        return "-"
    return f"{_rate([o.hit for o in outcomes])}, {median(o.cpu for o in outcomes):.1f} s"


def _rate(hits: Sequence[bool]) -> str:
    return f"{sum(hits)} of {len(hits)}" if hits else "-"


def draw(path: Path, outcomes: Sequence[Outcome], laws: Sequence[str]) -> None:
    """Left a row for each law and a column for each way of asking: the share of hits as colour.
    Right the CPU seconds of each search of ours."""
    from matplotlib.figure import Figure

    shown = columns(outcomes)
    figure = Figure(figsize=(5.5 + 1.1 * len(shown), 1.6 + 0.25 * len(laws)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.1 * len(shown), 3.0], sharey=True)
    _draw_hits(left, outcomes, laws, shown)
    _draw_seconds(right, outcomes, laws, shown)
    figure.savefig(path, dpi=150)


def _draw_hits(
    axes: Any, outcomes: Sequence[Outcome], laws: Sequence[str], shown: Sequence[Column]
) -> None:
    shares = np.full((len(laws), len(shown)), np.nan)
    for i, law in enumerate(laws):
        for j, column in enumerate(shown):
            hits = [o.hit for o in of(outcomes, column, law)]
            if hits:
                shares[i, j] = np.mean(hits)
                colour = "white" if abs(shares[i, j] - 0.5) > 0.4 else "black"
                label = f"{sum(hits)}/{len(hits)}"
                axes.text(j, i, label, ha="center", va="center", fontsize=8, color=colour)
    axes.imshow(shares, cmap="RdYlBu", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_yticks(range(len(laws)), laws, fontsize=8)
    totals = [_rate([o.hit for o in of(outcomes, column)]) for column in shown]
    labels = [
        f"{heading(column).replace(', ', chr(10))}\n{total}"
        for column, total in zip(shown, totals, strict=True)
    ]
    axes.set_xticks(range(len(shown)), labels, fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_seconds(
    axes: Any, outcomes: Sequence[Outcome], laws: Sequence[str], shown: Sequence[Column]
) -> None:
    marks = iter("osD^vP")
    for column in (column for column in shown if column[0] == "symcompile"):
        rows = [(o.cpu, laws.index(o.law)) for o in of(outcomes, column) if o.law in laws]
        axes.scatter(*zip(*rows, strict=True), s=14, alpha=0.7, marker=next(marks), linewidths=0)
        axes.collections[-1].set_label(heading(column))
    axes.set_xscale("log")
    seconds = [o.cpu for o in outcomes] or [TICKS[0]]
    ticks = [tick for tick in TICKS if tick <= max(2.0 * max(seconds), TICKS[4])]
    axes.set_xlim(0.8 * min(TICKS[0], *seconds), 1.25 * max(*seconds, ticks[-1]))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    axes.minorticks_off()
    axes.set_xlabel("CPU seconds of a search", fontsize=8)
    axes.grid(axis="both", alpha=0.25)
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
