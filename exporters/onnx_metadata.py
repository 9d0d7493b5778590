"""What an ONNX file tells about its equations.

On each function: text, LaTeX and fidelity for people who open the file in a viewer. On the model,
because ONNX Runtime keeps only this: one JSON text for each target under `symcompile.<target>`, and
`symcompile.version`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from symcompile._version import __version__
from symcompile.rewrite import Agreement, Outcome, Refusal, Rewrite

PREFIX = "symcompile."


def model_metadata(
    outcomes: Mapping[str, Outcome], functions: Mapping[str, str], calls: Mapping[str, int]
) -> dict[str, str]:
    """Key and JSON text for each rewrite; targets that stayed neural with their reason.

    Args:
        functions: target of each function, by the function's name.
        calls: how often the graph calls each target.
    """
    found = {f"{PREFIX}version": __version__}
    for path, outcome in outcomes.items():
        if isinstance(outcome, Refusal):
            row: dict[str, Any] = {"path": path, "neural": outcome.reason}
        else:
            row = describe(outcome)
            names = [name for name, target in functions.items() if target == path]
            row |= {"functions": names, "calls": calls.get(path, 0)}
        key = f"{PREFIX}{path}"
        # A target may be called "version".
        found[key if key not in found else f"{key}_"] = json.dumps(row, allow_nan=False)
    return found


def describe(rewrite: Rewrite) -> dict[str, Any]:
    """A rewrite as plain data: its equations, how well they do, and for which inputs."""
    fidelity = rewrite.fidelity
    end_to_end = fidelity.end_to_end
    return {
        "path": rewrite.path,
        "equations": [_equation(rewrite, output) for output in sorted(rewrite.equations)],
        "end_to_end": None
        if end_to_end is None
        else {
            "relative_l2": _finite(end_to_end.equation),
            "linear": _finite(end_to_end.linear),
            "mean": _finite(end_to_end.mean),
            "data": end_to_end.data,
        },
        "inputs": _ranges(rewrite),
        "features": dict(rewrite.region.target.features or {}),
        "parameters_removed": fidelity.parameters_removed,
        "probes": [list(map(_finite, probe)) for probe in rewrite.probes],
    }


def _equation(rewrite: Rewrite, output: int) -> dict[str, Any]:
    equation = rewrite.equations[output]
    row: dict[str, Any] = {
        "output": output,
        "text": equation.text(6),
        "latex": equation.latex(6),
        "complexity": equation.complexity,
        "equation": equation.to_json(),
    }
    fidelity = rewrite.fidelity.outputs.get(output)
    if fidelity is not None:
        row |= _agreement(fidelity.equation)
        row["linear_relative_l2"] = _finite(fidelity.linear.relative_l2)
        row["extrapolation_relative_l2"] = _finite(fidelity.extrapolation.relative_l2)
    return row


def _agreement(agreement: Agreement) -> dict[str, float | None]:
    return {
        "r2": _finite(agreement.r2),
        "relative_l2": _finite(agreement.relative_l2),
        "max_error": _finite(agreement.max_error),
    }


def _ranges(rewrite: Rewrite) -> dict[str, list[float | None]]:
    names = rewrite.region.names
    return {name: [_finite(low), _finite(high)] for name, (low, high) in zip(names, rewrite.ranges)}  # noqa: B905


def function_metadata(rewrite: Rewrite) -> dict[str, str]:
    """Text for each line that a viewer shows beside a function."""
    row = describe(rewrite)
    equations = row["equations"]
    found = {
        "target": rewrite.path,
        "text": "\n".join(f"y{one['output']} = {one['text']}" for one in equations),
        "latex": "\n".join(f"y_{{{one['output']}}} = {one['latex']}" for one in equations),
        "inputs": json.dumps(row["inputs"]),
    }
    for key in ("r2", "relative_l2"):
        values = {f"y{one['output']}": one[key] for one in equations if key in one}
        if values:
            found[key] = json.dumps(values)
    if row["end_to_end"] is not None:
        found["end_to_end"] = json.dumps(row["end_to_end"])
    if row["features"]:
        found["features"] = json.dumps(row["features"])
    return found


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
