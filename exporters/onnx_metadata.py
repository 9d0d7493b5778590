"""What an ONNX file tells about its equations.

On each function: text, LaTeX and fidelity for people who open the file in a viewer. On the model,
because ONNX Runtime keeps only this: `symcompile.version`, under `symcompile.model` what is known
of the model as a whole, and under `symcompile.<target>` the row of a manifest for each target, with
what tells its nodes in the graph. See `symcompile.storage.rows` for the members of both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from symcompile._version import __version__
from symcompile.exporters.onnx_operators import Signature
from symcompile.fidelity.hybrid import Hybrid
from symcompile.fidelity.outcome import Outcome, Refusal, Rewrite
from symcompile.modules.calling import submodule_path
from symcompile.storage.codecs import without_nan
from symcompile.storage.equations import DIGITS
from symcompile.storage.model import (
    example_of,
    model_row,
    own_tensors,
    state_digest,
    weight_rows,
)
from symcompile.storage.onnx_rows import (
    TARGET_ROW,
    FlatCall,
    Reconstruction,
    TargetRow,
    TensorFeatures,
)
from symcompile.storage.rows import RegionRow, region_row

PREFIX = "symcompile."
# A projection with more numbers stays out: the file would hold them twice.
_MOST_COMPONENTS = 100_000


def model_metadata(
    hybrid: Hybrid,
    functions: Mapping[str, Signature],
    calls: Mapping[str, int],
    flat: Iterable[FlatCall] | None = None,
) -> dict[str, str]:
    """Key and JSON text for the model and each target, those that stayed neural too.

    Args:
        functions: what each function is a body for, by the function's name.
        calls: how often the graph calls each target.
        flat: the calls whose functions were inlined; None where functions stay.
    """
    outcomes = dict(sorted(hybrid.outcomes.items()))
    found = {
        f"{PREFIX}version": __version__,
        f"{PREFIX}model": json.dumps(_model(hybrid, outcomes), allow_nan=False),
    }
    for path, outcome in outcomes.items():
        if isinstance(outcome, Refusal):
            row = TargetRow(**_members(outcome, _digest(hybrid, path, outcome)), path=path)
        else:
            own = {name: kinds for name, (owner, kinds) in functions.items() if owner == path}
            row = replace(
                _target(outcome),
                calls=calls.get(path, 0),
                functions=() if flat is not None else tuple(own),
                signatures=own,
            )
        if flat is not None:
            row = replace(row, flat=tuple(call for call in flat if call.path == path))
        key = f"{PREFIX}{path}"
        while key in found:  # a target may be called "version"
            key += "_"
        found[key] = json.dumps(without_nan(TARGET_ROW.write(row)), allow_nan=False)
    return found


def _members(outcome: Outcome, digest: str | None = None) -> dict[str, Any]:
    row = RegionRow.of(outcome, digest)
    return {one.name: getattr(row, one.name) for one in fields(row)}


def _digest(hybrid: Hybrid, path: str, outcome: Outcome) -> str | None:
    """Of a neural block's weights."""
    if outcome.region is None:
        return None
    return state_digest(dict(own_tensors(hybrid.module.get_submodule(submodule_path(path)))))


def _target(rewrite: Rewrite) -> TargetRow:
    """With what a reader needs to compute the block from its function."""
    interface, projection = rewrite.region.interface, rewrite.region.projection_out
    members = _members(rewrite)
    members["equations"] = {
        output: replace(row, latex=rewrite.equations[output].latex(DIGITS))
        for output, row in members["equations"].items()
    }
    reconstruction = None
    if projection is not None and projection.components.size <= _MOST_COMPONENTS:
        reconstruction = Reconstruction(projection.mean.tolist(), projection.components.tolist())
    tensors = (
        tuple(0 if one.scalar else one.features for one in side)
        for side in (interface.inputs, interface.outputs)
    )
    return TargetRow(
        **members,
        path=rewrite.path,
        tensors=TensorFeatures(*tensors),
        reconstruction=reconstruction,
    )


def _model(hybrid: Hybrid, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    module = hybrid.module
    row = model_row(module, example_of(hybrid.example, outcomes, module), hybrid.capture, None)
    kept = ("class", "capture", "parameters", "results", "probes")
    weights = weight_rows(module, outcomes, None)
    return {
        **{key: row[key] for key in kept if key in row},
        "targets": list(outcomes),
        "scalars": [name for name, (_, shape, _) in weights.items() if not shape],
    }


def function_metadata(rewrite: Rewrite) -> dict[str, str]:
    """Text for each line that a viewer shows beside a function."""
    row = region_row(rewrite)
    equations = row["equations"]
    latex = {k: one.latex(DIGITS) for k, one in sorted(rewrite.equations.items())}
    found = {
        "target": rewrite.path,
        "text": "\n".join(f"y{k} = {one['equation']}" for k, one in equations.items()),
        "latex": "\n".join(f"y_{{{k}}} = {text}" for k, text in latex.items()),
        "inputs": json.dumps(row["inputs"]),
    }
    for key in ("r2", "relative_l2"):
        rows = {f"y{k}": one["fidelity"] for k, one in equations.items() if "fidelity" in one}
        if rows:
            found[key] = json.dumps({name: fidelity[key] for name, fidelity in rows.items()})
    for key in ("end_to_end", "features"):
        if key in row:
            found[key] = json.dumps(row[key])
    return found
