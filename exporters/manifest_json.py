"""Give a compiled model as a JSON manifest: made to be committed, reviewed and compared.

The manifest says what the model computes and how well, never when or how fast: the same compile
gives the same bytes. Regions stand in the order of their paths, an equation on one line, each
constant on a line of its own, so that a plain text diff reads well. Its top holds

| key | what |
|---|---|
| manifest, symcompile | versions of the schema and of the compiler |
| model | class, arguments, results, and what it gives on up to 4 rows of its example |
| regions | by path: inputs with ranges, equations, fidelity, probes, provenance |
| weights | dtype, shape and digest of every weight outside of equations and neural blocks |
| graph | nodes around the regions |

and `symcompile.storage.schema` tells the members of each. A size that the exported graph leaves
free has a name: "batch" for that of the rows, "size1" and so on for others. Numbers are written in
full (`repr`), but for what a model gives on its probes: those are rounded, since their last digits
are the processor's. Numbers that are not finite are null.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from torch import fx

from symcompile._version import __version__
from symcompile.aten.decode import StoredGraph
from symcompile.aten.hybrid import encode_around
from symcompile.errors import ArtifactError, ExportError
from symcompile.fidelity.outcome import Hybrid, Outcome, check_constants
from symcompile.modules.calling import Batch, submodule_path
from symcompile.modules.state import same_random_state
from symcompile.storage.files import replacing
from symcompile.storage.graph_rows import aten_rows, fx_rows
from symcompile.storage.model_rows import (
    block_digest,
    example_of,
    model_row,
    weight_rows,
)
from symcompile.storage.schema import MANIFEST_FORMAT, region_row, stable

# A list longer than this stands on several lines.
_WIDTH = 100

Json = dict[str, Any]


@same_random_state()
def manifest(hybrid: Hybrid, path: str | os.PathLike[str] | None = None) -> Json:
    """The manifest of a compiled model as plain data; written to `path` too if one is given.

    Raises ExportError if the file can't be written, or a constant is not finite.
    """
    outcomes = dict(sorted(hybrid.outcomes.items()))
    check_constants(outcomes, ExportError)
    module = hybrid.module
    example = example_of(hybrid.example, outcomes, module)
    stored, note = _stored(hybrid, example, outcomes)
    data = {
        "manifest": MANIFEST_FORMAT,
        "symcompile": __version__,
        "model": model_row(module, example, hybrid.capture, stored, outcomes),
        "regions": {
            path: region_row(outcome, block_digest(module, path, outcome))
            for path, outcome in outcomes.items()
        },
        "weights": weight_rows(module, outcomes, stored),
        "graph": {"level": "aten", "nodes": list(aten_rows(stored.document))}
        if stored is not None
        else traced_graph(hybrid) or {"level": None, "note": note, "nodes": []},
    }
    if path is not None:
        with replacing(path, ExportError) as draft:
            draft.write_text(text(data), encoding="utf-8")
    return data


def text(data: Any) -> str:
    """The manifest as JSON text: each row of a table on one line, everything else on its own."""
    return _lines(data, "") + "\n"


def _stored(
    hybrid: Hybrid, example: Batch | None, outcomes: Mapping[str, Outcome]
) -> tuple[StoredGraph | None, str]:
    """The exported graph, or None with the reason."""
    if example is None:
        return None, "the compiler saw no data for the model itself"
    try:
        return encode_around(hybrid.module, example, outcomes)[0], ""
    except ArtifactError as error:
        return None, stable(str(error))


def traced_graph(hybrid: Hybrid) -> Json | None:
    """The nodes around the regions as torch.fx traced them; None where it did not."""
    if not isinstance(hybrid.module, fx.GraphModule):
        return None
    paths = [path for path, outcome in hybrid.outcomes.items() if outcome.region is not None]
    regions = {submodule_path(path): path for path in paths}
    return {"level": "fx", "nodes": fx_rows(hybrid.module, regions)}


# --- text ----------------------------------------------------------------------------------------


def _lines(value: Any, indent: str) -> str:
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, (dict, list)) or not value:
        return flat
    plain = isinstance(value, list) and not any(isinstance(item, dict) for item in value)
    if plain and (len(flat) + len(indent) <= _WIDTH or not isinstance(value[0], list)):
        return flat
    inner = indent + "  "
    if isinstance(value, list):
        items = [inner + _lines(item, inner) for item in value]
        return "[\n" + ",\n".join(items) + f"\n{indent}]"
    pairs = [
        f"{inner}{json.dumps(key, ensure_ascii=False)}: {_lines(item, inner)}"
        for key, item in value.items()
    ]
    return "{\n" + ",\n".join(pairs) + f"\n{indent}}}"
