"""What an ONNX file tells about its equations.

On each function: text, LaTeX and fidelity for people who open the file in a viewer. On the model,
because ONNX Runtime keeps only this: one JSON text for each target under `symcompile.<target>`,
`symcompile.version`, and under `symcompile.model` what is known of the model as a whole.

The text of a target holds the row of a manifest, see `symcompile.storage.region_rows`, and

| key | holds |
|---|---|
| path | qualified name |
| neural | why it is no equation; only if it is none |
| equations | output, text, LaTeX, complexity, program and fidelity of each |
| probes | recorded inputs |
| probe_variables | values of the equations' variables there, if they are not the inputs |
| probe_outputs | what the equations give there |
| calls | how often the graph calls it |
| functions | names of its functions; empty in flat mode |
| tensors | features of the tensors that go in and come out; 0 where they have no such dimension |
| signatures | dtype and rank of each tensor that goes into a function, by its name |
| reconstruction | mean and components of the projection of the outputs |
| flat | the calls in flat mode, see `symcompile.exporters.onnx_flat` |
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from symcompile._version import __version__
from symcompile.exporters.onnx_flat import FlatCall
from symcompile.exporters.onnx_operators import Signature
from symcompile.fidelity.hybrid import Hybrid
from symcompile.fidelity.outcome import Agreement, Outcome, Refusal, Rewrite
from symcompile.modules.calling import submodule_path
from symcompile.storage.model_rows import (
    example_of,
    model_row,
    own_tensors,
    state_digest,
    weight_rows,
)
from symcompile.storage.region_rows import region_row

PREFIX = "symcompile."
_RESERVED = (f"{PREFIX}version", f"{PREFIX}model")
# A projection with more numbers stays out: the file would hold them twice.
_MOST_COMPONENTS = 100_000


def model_metadata(
    hybrid: Hybrid,
    functions: Mapping[str, Signature],
    calls: Mapping[str, int],
    flat: Iterable[FlatCall] | None = None,
) -> dict[str, str]:
    """Key and JSON text for each target, those that stayed neural with their reason.

    Args:
        functions: what each function is a body for, by the function's name.
        calls: how often the graph calls each target.
        flat: the calls whose functions were inlined; None where functions stay.
    """
    outcomes = dict(sorted(hybrid.outcomes.items()))
    found = {_RESERVED[0]: __version__, _RESERVED[1]: _json(_model(hybrid, outcomes))}
    for path, outcome in outcomes.items():
        if isinstance(outcome, Refusal):
            known = region_row(outcome, _digest(hybrid, path, outcome))
            row = {"path": path, "neural": known["reason"], **known}
        else:
            own = {name: one for name, one in functions.items() if one[0] == path}
            row = describe(outcome)
            row |= {"functions": list(own) if flat is None else [], "calls": calls.get(path, 0)}
            row["signatures"] = {name: [list(kind) for kind in one[1]] for name, one in own.items()}
            row |= _tensors(outcome)
        if flat is not None:
            row["flat"] = [one.to_json() for one in flat if one.path == path]
        key = f"{PREFIX}{path}"
        while key in found:  # a target may be called "version"
            key += "_"
        found[key] = _json(row)
    return found


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False)


def _model(hybrid: Hybrid, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """`targets` tells a reader what must be there; `scalars` are weights of a single number, which
    look like constants in a graph."""
    module = hybrid.module
    row = model_row(module, example_of(hybrid.example, outcomes, module), hybrid.capture, None)
    kept = ("class", "capture", "parameters", "results", "probes")
    weights = weight_rows(module, outcomes, None)
    return {
        **{key: row[key] for key in kept if key in row},
        "targets": list(outcomes),
        "scalars": [name for name, (_, shape, _) in weights.items() if not shape],
    }


def _digest(hybrid: Hybrid, path: str, outcome: Outcome) -> str | None:
    """Of a neural block's weights."""
    if outcome.region is None:
        return None
    return state_digest(dict(own_tensors(hybrid.module.get_submodule(submodule_path(path)))))


def _tensors(rewrite: Rewrite) -> dict[str, Any]:
    """What a reader needs to compute a block from its function."""
    interface = rewrite.region.interface
    row: dict[str, Any] = {
        "tensors": {
            "inputs": [0 if one.scalar else one.features for one in interface.inputs],
            "outputs": [0 if one.scalar else one.features for one in interface.outputs],
        }
    }
    projection = rewrite.region.projection_out
    if projection is not None and projection.components.size <= _MOST_COMPONENTS:
        row["reconstruction"] = {
            "mean": projection.mean.tolist(),
            "components": projection.components.tolist(),
        }
    return row


def describe(rewrite: Rewrite) -> dict[str, Any]:
    """A rewrite as plain data: its equations, how well they do, and for which inputs."""
    row = region_row(rewrite, None)
    equations, probes = row.pop("equations"), row.pop("probes")
    found = {
        "path": rewrite.path,
        "equations": [
            _equation(rewrite, output, equations[str(output)])
            for output in sorted(rewrite.equations)
        ],
        "end_to_end": None,
        "features": {},
        **row,
        "probes": probes["inputs"],
        "probe_outputs": probes["outputs"],
    }
    if "variables" in probes:
        found["probe_variables"] = probes["variables"]
    return found


def _equation(rewrite: Rewrite, output: int, row: Mapping[str, Any]) -> dict[str, Any]:
    equation = rewrite.equations[output]
    found: dict[str, Any] = {
        "output": output,
        "text": row["equation"],
        "latex": equation.latex(6),
        "form": row["form"],
        "complexity": equation.complexity,
        "operators": row["operators"],
        "equation": equation.to_json(),
    }
    fidelity = rewrite.fidelity.outputs.get(output)
    if fidelity is not None:
        found |= _agreement(fidelity.equation)
        found["linear_relative_l2"] = _finite(fidelity.linear.relative_l2)
        found["extrapolation_relative_l2"] = _finite(fidelity.extrapolation.relative_l2)
        found["fidelity"] = row["fidelity"]
    return found


def _agreement(agreement: Agreement) -> dict[str, float | None]:
    return {
        "r2": _finite(agreement.r2),
        "relative_l2": _finite(agreement.relative_l2),
        "max_error": _finite(agreement.max_error),
    }


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
