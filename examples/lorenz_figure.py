"""The picture of the Lorenz experiment: attractors, errors over time, and errors by stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lorenz_data import DT
from lorenz_rollouts import LYAPUNOV, VALID
from lorenz_run import (
    EQUATIONS,
    NETWORK,
    SINDY_DATA,
    SINDY_NETWORK,
    TRAINED,
    TUNED,
    Outcome,
)

COLOURS = {
    NETWORK: "#888888",
    EQUATIONS: "#56b4e9",
    TUNED: "#0072b2",
    TRAINED: "#d55e00",
    SINDY_DATA: "#009e73",
    SINDY_NETWORK: "#cc79a7",
}
STAGES = {
    NETWORK: "network",
    EQUATIONS: "equations",
    TUNED: "encoder\ntuned",
    TRAINED: "encoder and\nconstants\ntuned",
}


def draw(found: Sequence[Outcome], path: Path) -> None:
    """Write a PNG: the first seed's attractors above, all seeds' errors below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(11, 6.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    _attractors(top.subplots(1, 4, sharex=True, sharey=True), found[0])
    over_time, by_stage = bottom.subplots(1, 2, width_ratios=(1.5, 1))
    _over_time(over_time, found)
    _by_stage(by_stage, found)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _attractors(axes: Sequence[Any], one: Outcome) -> None:
    paths = {"truth": one.true_path}
    paths |= {name: one.stages[name].path for name in (NETWORK, TRAINED, SINDY_NETWORK)}
    for axis, (name, path) in zip(axes, paths.items(), strict=True):
        axis.plot(path[:, 0], path[:, 2], linewidth=0.6, color=COLOURS.get(name, "black"))
        title = "equations, fine-tuned" if name == TRAINED else name
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("x")
    axes[0].set_ylabel("z")
    low, high = one.true_path.min(axis=0), one.true_path.max(axis=0)
    margin = 0.1 * (high - low)
    axes[0].set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes[0].set_ylim(low[2] - margin[2], high[2] + margin[2])


def _over_time(axis: Any, found: Sequence[Outcome]) -> None:
    for name, colour in COLOURS.items():
        curves = np.array([one.stages[name].rollout.over_time for one in found])
        times = np.arange(curves.shape[1]) * DT * LYAPUNOV
        axis.semilogy(times[1:], np.median(curves, axis=0)[1:], color=colour, label=name)
    axis.axhline(VALID, color="black", linewidth=0.8, linestyle=":")
    axis.set_xlabel("time, in Lyapunov times")
    axis.set_ylabel("median error of rollouts, in\nstandard deviations of the data")
    axis.legend(fontsize=8, frameon=False)


def _by_stage(axis: Any, found: Sequence[Outcome]) -> None:
    for one in found:
        errors = [one.stages[name].errors[1] for name in STAGES]
        axis.semilogy(range(4), errors, "o-", linewidth=0.8, markersize=4, label=f"{one.seed}")
    axis.set_xticks(range(4), list(STAGES.values()))
    axis.set_ylabel("test MSE of the rates of change")
    axis.legend(title="seed", fontsize=8, title_fontsize=8, frameon=False)
