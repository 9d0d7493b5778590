"""The picture of the networks and their equations, inside and beyond the domain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pinns_judge import BEYOND, Result, outputs

from symcompile.pinns import PROBLEMS, Pinn, Problem, observations

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The position at which heat and wave are shown; their data is brought there by sin(pi x).
MIDDLE = 0.5
TRUTH, PLAIN, PINN, EQUATION = "#b9bec7", "#e08e45", "#4c72b0", "#b3263c"
# Errors below this are not worth a decade of the axis.
LEAST = 1e-5


def draw(
    path: Path,
    results: Mapping[tuple[str, str], Result],
    models: Mapping[tuple[str, int, str], Pinn],
    seed: int,
) -> None:
    """One row for each law: values to the left, errors to the right.

    Args:
        results: by law and kind ("PINN", and "NN" where it was run), all of this seed.
        models: the networks by law, seed and kind.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for name, _ in results))
    figure = Figure(figsize=(11, 2.9 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 2, squeeze=False)
    for row, name in zip(axes, names, strict=True):
        networks = {
            kind: models[name, seed, kind] for kind in ("PINN", "NN") if (name, kind) in results
        }
        _row(row, PROBLEMS[name], seed, networks, results[name, "PINN"])
    axes[0][0].legend(loc="upper right", fontsize=8, framealpha=0.9)
    axes[-1][0].set_xlabel("time t")
    axes[-1][1].set_xlabel("time t")
    figure.savefig(path, dpi=150)


def _row(
    axes: Any, problem: Problem, seed: int, networks: Mapping[str, Pinn], result: Result
) -> None:
    times = np.linspace(0.0, BEYOND[1], 801)
    points = np.column_stack([times if i == "t" else np.full(801, MIDDLE) for i in problem.inputs])
    truth = problem.truth_at(points)
    lines = (
        [("plain network", outputs(networks["NN"], points), PLAIN, "-")] if "NN" in networks else []
    )
    lines.append(("PINN", outputs(networks["PINN"], points), PINN, "-"))
    lines.append(("equation of the PINN", result.equation.predict(points), EQUATION, "--"))
    values, errors = axes
    values.plot(times, truth, color=TRUTH, linewidth=5, label="truth")
    for label, line, colour, style in lines:
        values.plot(times, line, style, color=colour, linewidth=1.4, label=label)
        errors.plot(times, np.abs(line - truth), style, color=colour, linewidth=1.2)
    values.plot(
        *_data(problem, seed), "o", color="black", markersize=4, label="times of training data"
    )
    for one in axes:
        one.axvspan(*BEYOND, color="#f1efe9", zorder=-1)
        one.set_xlim(0.0, BEYOND[1])
        one.spines[["top", "right"]].set_visible(False)
    place = ", x = 0.5" if "x" in problem.inputs else ""
    values.set_title(f"{problem.name}{place}:  {result.equation.text(4)}", fontsize=10, loc="left")
    values.set_ylabel("u")
    margin = 0.35 * np.ptp(truth)
    values.set_ylim(truth.min() - margin, truth.max() + margin)
    errors.set_yscale("log")
    errors.set_ylim(LEAST, 3.0)
    errors.set_ylabel("|error| against the truth")
    _mark_beyond(values)


def _data(problem: Problem, seed: int) -> tuple[Any, Any]:
    """Times and values of the training data, those of heat and wave as if they lay at MIDDLE."""
    points, values = observations(problem, seed)
    times = points[:, problem.inputs.index("t")]
    if "x" in problem.inputs:
        values = values * np.sin(np.pi * MIDDLE) / np.sin(np.pi * points[:, 0])
    return times, values


def _mark_beyond(axes: Axes) -> None:
    axes.text(
        BEYOND[0] + 0.02,
        0.03,
        "beyond the training domain",
        transform=axes.get_xaxis_transform(),
        fontsize=8,
        color="#6b6559",
    )
