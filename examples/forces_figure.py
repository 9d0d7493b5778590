"""The force along the line between two particles: true, in messages, and in equations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from force_laws import LAWS
from forces_run import Array, Outcome
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

TRUE, NETWORK, EQUATION = "#222222", "#9db4cf", "#d1495b"
UNITS = {
    "r^-1": "force / (m1 m2)",
    "r^-2": "force / (m1 m2)",
    "spring": "force",
    "charge": "force / (q1 q2)",
}
SHOWN, NEAREST, FARTHEST = 800, 0.1, 6.0


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """One panel for each law that was run, of the pruned network if there is one."""
    chosen = [one for law in LAWS if (one := _chosen(outcomes, law)) is not None]
    figure = Figure(figsize=(4.2 * len(chosen), 3.8), layout="constrained")
    for axes, outcome in zip(
        figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True
    ):
        _panel(axes, outcome)
    axes.legend(frameon=False, loc="best")
    figure.savefig(path, dpi=130)


def _chosen(outcomes: Sequence[Outcome], law: str) -> Outcome | None:
    mine = [outcome for outcome in outcomes if outcome.law == law]
    order = {"pruning": 0, "bottleneck": 1}
    return min(mine, key=lambda o: (order.get(o.variant, 2), o.seed), default=None)


def _panel(axes: Axes, outcome: Outcome) -> None:
    profile = outcome.profile
    near = (profile["distance"] >= NEAREST) & (profile["distance"] <= FARTHEST)
    rows = np.flatnonzero(near)[:SHOWN]
    order = rows[np.argsort(profile["distance"][rows])]
    r = profile["distance"][order]
    axes.plot(r, profile["network"][order], ".", color=NETWORK, markersize=3, label="messages")
    axes.plot(r, profile["force"][order], "-", color=TRUE, linewidth=3, label="true force")
    axes.plot(r, profile["equations"][order], ".", color=EQUATION, markersize=2, label="equations")
    if outcome.law != "spring":
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(*_limits(profile["force"][order]))
    axes.set_title(f"{outcome.law}, {outcome.variant}", loc="left")
    axes.set_xlabel("distance")
    axes.set_ylabel(f"{UNITS[outcome.law]} along the line")
    axes.spines[["top", "right"]].set_visible(False)


def _limits(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.3 * (high - low)
    return low - room, high + room
