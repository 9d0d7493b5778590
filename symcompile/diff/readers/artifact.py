"""Read a `.symc` artifact: no model is built, and nothing of the file is run.

Its parts are put together as the manifest of the same compile is, and read as one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from symcompile.aten.decode import StoredGraph
from symcompile.aten.signature import check_signature
from symcompile.diff.readers import manifest
from symcompile.diff.snapshot import Snapshot
from symcompile.errors import ArtifactError
from symcompile.fidelity.outcome import Outcome, Refusal, Rewrite
from symcompile.modules.calling import submodule_path
from symcompile.storage import artifact
from symcompile.storage.container import Archive
from symcompile.storage.equations import check_work
from symcompile.storage.graph_rows import aten_rows
from symcompile.storage.model import (
    constants_of,
    rest_of_block,
    state_digest,
    stored_weights,
    tensor_row,
    tensors_inside,
)
from symcompile.storage.reading import reading
from symcompile.storage.rows import region_row

Json = dict[str, Any]
State = dict[str, torch.Tensor]


def read(path: str | os.PathLike[str]) -> Snapshot:
    """An artifact as a snapshot.

    Raises ArtifactError if it is missing, damaged, of a newer version, or no artifact.
    """
    source = os.fspath(path)
    with reading(source), Archive(path) as archive:
        check_work(artifact.programs(archive))
        found = artifact.read_outcomes(archive, fronts=False)
        graph, states = _graph(archive), _states(archive)
        data = {
            "model": _model(archive),
            "regions": {
                path: region_row(one, _digest(archive, path, one, states, graph))
                for path, one in found.items()
            },
            "weights": _weights(graph, found, states),
            "graph": {"level": "aten", "nodes": list(aten_rows(graph.document))},
        }
        return manifest.snapshot(data, source, "artifact")


def _model(archive: Archive) -> Json:
    """What was noted when the file was written; of an older one the class alone is known."""
    about: Json | None = archive.manifest.get("about")
    return {"class": archive.manifest.get("model")} if about is None else about


def _graph(archive: Archive) -> StoredGraph:
    document = artifact.graph_document(archive)
    check_signature(document)
    return StoredGraph(document, archive.tensors("tensors"))


def _states(archive: Archive) -> dict[str, State]:
    """Parameters and buffers of the blocks that are in the hybrid, by region path."""
    tensors = archive.tensors("blocks")
    return {
        path: {name: tensors[key] for name, key in rows.items()}
        for path, rows in archive.document("blocks").items()
    }


def _weights(graph: StoredGraph, outcomes: Mapping[str, Outcome], states: dict[str, State]) -> Json:
    found = stored_weights(graph)
    for path, one in outcomes.items():
        if isinstance(one, Rewrite):
            found |= rest_of_block(submodule_path(path), states[path])
    return {name: tensor_row(tensor) for name, tensor in found.items()}


def _digest(
    archive: Archive, path: str, outcome: Outcome, states: dict[str, State], graph: StoredGraph
) -> str | None:
    """Of the weights that the neural block at a path has in the hybrid."""
    if outcome.region is None or not isinstance(outcome, Refusal):
        return None
    if path not in states:  # it is part of the graph
        if any(row.get("path") == path for row in graph.document["nodes"]):
            raise ArtifactError(f"blocks.json does not list block {path!r}, which its graph calls")
        return state_digest(tensors_inside(graph, path))
    number = archive.manifest["neural"].index(path)
    constants = constants_of(archive.document(f"neural/{number}"))
    return state_digest({k: one for k, one in states[path].items() if k not in constants})
