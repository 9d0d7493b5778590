"""Read a `.symc` artifact: no model is built, and nothing of the file is run.

Its parts are put together as the manifest of the same compile is, and read as one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch

from symcompile import artifact
from symcompile.aten.graph import StoredGraph
from symcompile.comparison.readers import checks, manifest
from symcompile.comparison.snapshot import Snapshot
from symcompile.errors import ArtifactError
from symcompile.graph_rows import aten_rows
from symcompile.hybrid import submodule_path
from symcompile.model_rows import (
    constants_of,
    rest_of_block,
    state_digest,
    stored_weights,
    tensor_row,
)
from symcompile.region_rows import region_row
from symcompile.rewrite import Outcome, Refusal, Rewrite
from symcompile.storage.container import Archive

Json = dict[str, Any]


def read(path: str | os.PathLike[str]) -> Snapshot:
    """An artifact as a snapshot.

    Raises ArtifactError if it is missing, damaged, of a newer version, or no artifact.
    """
    source = os.fspath(path)
    with Archive(path) as archive, checks.reading(source):
        checks.check_work(_programs(archive.document("outcomes")))
        found = artifact.read_outcomes(archive, fronts=False)
        data = {
            "model": _model(archive),
            "regions": {
                name: region_row(one, _digest(archive, name, one)) for name, one in found.items()
            },
            "weights": _weights(archive, found),
            "graph": {"level": "aten", "nodes": list(aten_rows(_graph(archive).document))},
        }
        return manifest.snapshot(data, source, "artifact")


def _programs(outcomes: Json) -> Iterator[Any]:
    for row in outcomes.values():
        yield from (equation["program"] for equation in row.get("equations", {}).values())


def _model(archive: Archive) -> Json:
    """What was noted when the file was written; of an older one the class alone is known."""
    about = archive.manifest.get("about")
    return {"class": archive.manifest.get("model")} if about is None else about


def _graph(archive: Archive) -> StoredGraph:
    document = archive.document("graph")
    if type(document) is not dict:
        raise ArtifactError("graph: it is not the JSON object of a graph")
    return StoredGraph(document, archive.tensors("tensors"))


def _weights(archive: Archive, outcomes: dict[str, Outcome]) -> Json:
    found = stored_weights(_graph(archive))
    for path, one in outcomes.items():
        if isinstance(one, Rewrite):
            found |= rest_of_block(submodule_path(path), _state(archive, path))
    return {name: tensor_row(tensor) for name, tensor in found.items()}


def _digest(archive: Archive, path: str, outcome: Outcome) -> str | None:
    """Of the weights that the neural block at a path has in the hybrid."""
    if outcome.region is None or not isinstance(outcome, Refusal):
        return None
    numbers = {name: number for number, name in enumerate(archive.manifest["neural"])}
    constants = constants_of(archive.document(f"neural/{numbers[path]}"))
    state = _state(archive, path)
    return state_digest({name: one for name, one in state.items() if name not in constants})


def _state(archive: Archive, path: str) -> dict[str, torch.Tensor]:
    rows, tensors = archive.document("blocks")[path], archive.tensors("blocks")
    return {name: tensors[key] for name, key in rows.items()}
