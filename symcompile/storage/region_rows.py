"""A region as plain data: what it computes and how well, its equations, ranges and probes.

Manifests hold these rows; those of an artifact are put together from the same outcomes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.expressions.program import count_operators
from symcompile.fidelity.outcome import (
    Agreement,
    Fidelity,
    Outcome,
    OutputFidelity,
    Refusal,
    Rewrite,
)
from symcompile.modules.region import Region
from symcompile.storage.codecs import DATA
from symcompile.storage.model_rows import stable

Json = dict[str, Any]

# Significant digits of the constants in texts for people.
DIGITS = 6


def region_row(outcome: Outcome, digest: str | None) -> Json:
    """Everything that is known of a region; `digest` is that of a neural block's weights."""
    region = outcome.region
    row: Json = {"status": "symbolic" if isinstance(outcome, Rewrite) else "neural"}
    if isinstance(outcome, Refusal):
        row["reason"] = stable(outcome.reason)
    if region is not None:
        row |= _described(region, outcome)
    if isinstance(outcome, Rewrite):
        row["equations"] = {
            str(output): _equation(outcome, output) for output in sorted(outcome.equations)
        }
        row["probes"] = _probes(outcome)
    elif digest is not None:
        row["digest"] = digest
    if outcome.fidelity is not None:
        row |= _whole_fidelity(outcome.fidelity)
    row["provenance"] = _sorted(DATA.write(outcome.provenance))
    return row


def _described(region: Region, outcome: Outcome) -> Json:
    """The interface; `columns` tells the order of the inputs, which that of the keys does not."""
    ranges = outcome.ranges if isinstance(outcome, Rewrite) else ()
    spans: list[Any] = [list(map(_number, span)) for span in ranges]
    spans = spans or [None] * len(region.names)
    row: Json = {
        "dtype": region.dtype,
        **_inside(outcome),
        "calls": region.calls,
        "inputs": dict(zip(region.names, spans, strict=True)),
        "columns": list(region.names),
        "outputs": region.interface.n_outputs,
    }
    if region.target.features:
        row["features"] = dict(region.target.features)
        row["variables"] = list(region.variables)
    for side, projection in (("in", region.projection_in), ("out", region.projection_out)):
        if projection is not None:
            shape = list(projection.components.shape)
            row[f"projection_{side}"] = [
                *shape,
                _array_digest(projection.mean, projection.components),
            ]
    return row


def _inside(outcome: Outcome) -> Json:
    """The wider type that a block computes in, if it does."""
    if isinstance(outcome, Rewrite) and outcome.computes_in:
        return {"computes_in": outcome.computes_in}
    return {}


def _equation(rewrite: Rewrite, output: int) -> Json:
    equation = rewrite.equations[output]
    row: Json = {
        "equation": equation.text(DIGITS),
        "form": equation.form_text,
        "constants": {f"c[{k}]": _number(c) for k, c in enumerate(equation.constants)},
        "variables": list(equation.symbols),
        "complexity": equation.complexity,
        "operators": count_operators(equation.program),
        "loss": _number(equation.loss),
        "holdout_loss": _number(equation.holdout_loss),
    }
    front = rewrite.fronts.get(output)
    if front is not None and not front.loss.is_squared:
        row["loss_is"] = DATA.write(front.loss.to_json())
    found = rewrite.fidelity.outputs.get(output)
    if found is not None:
        row["fidelity"] = _fidelity(found)
    row["program"] = equation.program.to_json()
    return row


def _fidelity(found: OutputFidelity) -> Json:
    return {
        **_agreement(found.equation),
        "gradient_relative_l2": _number(found.gradient),
        "extrapolation": _agreement(found.extrapolation),
        "controls": {"mean": _agreement(found.mean), "linear": _agreement(found.linear)},
    }


def _agreement(found: Agreement) -> Json:
    return {
        "r2": _number(found.r2),
        "relative_l2": _number(found.relative_l2),
        "max_error": _number(found.max_error),
    }


def _whole_fidelity(fidelity: Fidelity) -> Json:
    row: Json = {"parameters_removed": fidelity.parameters_removed}
    if fidelity.total is not None:
        row["fidelity"] = _fidelity(fidelity.total)
    if fidelity.projections:
        row["projections"] = {
            side: {"variance": _number(one.variance), "relative_l2": _number(one.relative_l2)}
            for side, one in sorted(fidelity.projections.items())
        }
    change = fidelity.end_to_end
    if change is not None:
        row["end_to_end"] = {
            "relative_l2": _number(change.equation),
            "mean": _number(change.mean),
            "linear": _number(change.linear),
            "data": change.data,
        }
    if fidelity.domain:
        row["domain"] = [
            f"output {issue.output}: {issue.operation}: {issue.problem}"
            for issue in fidelity.domain
        ]
    return row


def _probes(rewrite: Rewrite) -> Json:
    """Recorded inputs, the variables of the equations there, and what the equations give.

    A reader needs only the variables to compare two equations; [n_probes, n] each. Without features
    and projection they are the inputs themselves.
    """
    X = np.array(rewrite.probes, dtype=np.float64).reshape(-1, len(rewrite.region.names))
    variables = rewrite.region.variable_values(X)
    found: Json = {"inputs": _matrix(X)}
    if rewrite.region.variables != rewrite.region.names:
        found["variables"] = _matrix(variables)
    outputs = {
        str(k): _vector(rewrite.equations[k].predict(variables)) for k in sorted(rewrite.equations)
    }
    return {**found, "outputs": outputs}


def _matrix(values: Array) -> list[list[float | None]]:
    return [_vector(row) for row in values]


def _vector(values: Array) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _array_digest(*arrays: Array) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()[:16]
