"""Read a `.symc` artifact: no model is built, and nothing of the file is run.

Its parts are put together as the manifest of the same compile is, and read as one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from symcompile.diff.readers import manifest
from symcompile.diff.snapshot import Snapshot
from symcompile.errors import ArtifactError
from symcompile.fidelity.outcome import Outcome, Refusal, Rewrite
from symcompile.modules.calling import submodule_path
from symcompile.storage.artifact import Artifact
from symcompile.storage.equations import check_work
from symcompile.storage.graph_rows import aten_rows
from symcompile.storage.model_rows import (
    constants_of,
    rest_of_block,
    state_digest,
    stored_weights,
    tensor_row,
    tensors_inside,
)
from symcompile.storage.reading import reading
from symcompile.storage.schema import region_row

Json = dict[str, Any]


def read(path: str | os.PathLike[str]) -> Snapshot:
    """An artifact as a snapshot.

    Raises ArtifactError if it is missing, damaged, of a newer version, or no artifact.
    """
    source = os.fspath(path)
    with reading(source), Artifact(path) as archive:
        check_work(_programs(archive))
        outcomes = archive.outcomes(fronts=False)
        # Of an artifact by another writer the class alone is known.
        about = archive.manifest.get("about", {"class": archive.manifest.get("model")})
        data = {
            "model": about,
            "regions": {
                path: region_row(outcome, _digest(archive, path, outcome))
                for path, outcome in outcomes.items()
            },
            "weights": _weights(archive, outcomes),
            "graph": {"level": "aten", "nodes": list(aten_rows(archive.graph.document))},
        }
        return manifest.snapshot(data, source, "artifact")


def _programs(archive: Artifact) -> Iterator[tuple[str, Any]]:
    """Those of the chosen equations, each with its place."""
    for path, row in archive.outcome_rows.items():
        for output, equation in row.get("equations", {}).items():
            yield f"region {path!r}, output {output}", equation["program"]


def _weights(archive: Artifact, outcomes: Mapping[str, Outcome]) -> Json:
    weights = stored_weights(archive.graph)
    for path, outcome in outcomes.items():
        if isinstance(outcome, Rewrite):
            weights |= rest_of_block(submodule_path(path), archive.states[path])
    return {name: tensor_row(tensor) for name, tensor in weights.items()}


def _digest(archive: Artifact, path: str, outcome: Outcome) -> str | None:
    """Of the weights that the neural block at a path has in the hybrid."""
    if outcome.region is None or not isinstance(outcome, Refusal):
        return None
    if path not in archive.states:  # it is part of the graph
        if any(row.get("path") == path for row in archive.graph.document["nodes"]):
            raise ArtifactError(f"blocks.json does not list block {path!r}, which its graph calls")
        return state_digest(tensors_inside(archive.graph, path))
    constants = constants_of(archive.neural(path).document)
    return state_digest({k: v for k, v in archive.states[path].items() if k not in constants})
