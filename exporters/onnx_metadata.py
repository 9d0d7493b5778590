"""What an ONNX file tells about its equations.

On each function: text, LaTeX and fidelity for people who open the file in a viewer. On the model,
because ONNX Runtime keeps only this: `symcompile.version`, under `symcompile.model` what is known
of the model as a whole, and under `symcompile.<target>` the row of a manifest for each target, with
what tells its nodes in the graph. See `symcompile.storage.schema` for the members of both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from symcompile._version import __version__
from symcompile.exporters.onnx_operators import Signature
from symcompile.fidelity.outcome import Hybrid, Outcome, Refusal, Rewrite
from symcompile.modules.region import Projection
from symcompile.storage.codecs import without_nan
from symcompile.storage.equations import DIGITS
from symcompile.storage.model_rows import block_digest, example_of, model_row, weight_rows
from symcompile.storage.onnx_schema import (
    TARGET_ROW,
    FlatCall,
    Reconstruction,
    TargetRow,
    TensorFeatures,
)
from symcompile.storage.schema import region_row

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
    entries = {
        f"{PREFIX}version": __version__,
        f"{PREFIX}model": json.dumps(_model(hybrid, outcomes), allow_nan=False),
    }
    for path, outcome in outcomes.items():
        if isinstance(outcome, Refusal):
            row = TargetRow.of(outcome, block_digest(hybrid.module, path, outcome))
        else:
            own = {name: kinds for name, (owner, kinds) in functions.items() if owner == path}
            row = replace(
                _symbolic(outcome),
                calls=calls.get(path, 0),
                functions=() if flat is not None else tuple(own),
                signatures=own,
            )
        row = replace(row, path=path)
        if flat is not None:
            row = replace(row, flat=tuple(call for call in flat if call.path == path))
        key = f"{PREFIX}{path}"
        while key in entries:  # a target may be called "version"
            key += "_"
        entries[key] = json.dumps(without_nan(TARGET_ROW.write(row)), allow_nan=False)
    return entries


def _is_told(projection: Projection) -> bool:
    """Whether the metadata hold a projection: principal components, unless they are many."""
    return projection.basis is None and projection.components.size <= _MOST_COMPONENTS


def _symbolic(rewrite: Rewrite) -> TargetRow:
    """With what a reader needs to compute the block from its function."""
    interface, projection = rewrite.region.interface, rewrite.region.projection_out
    reconstruction = None
    if projection is not None and _is_told(projection):
        reconstruction = Reconstruction(projection.mean.tolist(), projection.components.tolist())
    row = TargetRow.of(rewrite)
    equations = {
        k: replace(equation_row, latex=rewrite.equations[k].latex(DIGITS))
        for k, equation_row in (row.equations or {}).items()
    }
    features = (
        tuple(0 if tensor.scalar else tensor.features for tensor in side)
        for side in (interface.inputs, interface.outputs)
    )
    tensors = TensorFeatures(*features)
    return replace(row, equations=equations, tensors=tensors, reconstruction=reconstruction)


def _model(hybrid: Hybrid, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    module = hybrid.module
    example = example_of(hybrid.example, outcomes, module)
    row = model_row(module, example, hybrid.capture, None, outcomes)
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
    latex = {k: equation.latex(DIGITS) for k, equation in sorted(rewrite.equations.items())}
    lines = {
        "target": rewrite.path,
        "text": "\n".join(f"y{k} = {equation['equation']}" for k, equation in equations.items()),
        "latex": "\n".join(f"y_{{{k}}} = {text}" for k, text in latex.items()),
        "inputs": json.dumps(row["inputs"]),
    }
    figures = {f"y{k}": row["fidelity"] for k, row in equations.items() if "fidelity" in row}
    for key in ("r2", "relative_l2") if figures else ():
        lines[key] = json.dumps({name: fidelity[key] for name, fidelity in figures.items()})
    for key in ("end_to_end", "features"):
        if key in row:
            lines[key] = json.dumps(row[key])
    return lines
