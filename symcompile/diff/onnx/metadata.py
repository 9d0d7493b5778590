"""What our ONNX files tell about their equations, read as anything that anyone may have written.

See `symcompile.exporters.onnx_metadata` for what stands there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from symcompile.diff.onnx.calls import DOMAIN, Calls
from symcompile.diff.readers.manifest import block, model_probes
from symcompile.diff.snapshot import Block
from symcompile.errors import ArtifactError, shown
from symcompile.storage.codecs import mapping, unique
from symcompile.storage.older import is_older_metadata, older_metadata
from symcompile.storage.onnx_schema import ONNX_MODEL, TARGET_ROW, FlatCall, OnnxModelRow, TargetRow
from symcompile.storage.reading import at, from_json
from symcompile.storage.schema import ModelProbes

_PREFIX = "symcompile."
_VERSION, _MODEL = f"{_PREFIX}version", f"{_PREFIX}model"
_MAX_TARGETS = 10_000

Json = dict[str, Any]


@dataclass(frozen=True)
class Metadata:
    """Metadata of a file.

    Attributes:
        ours: whether symcompile has written the file.
        blocks: by path.
        rows: what the file says of each symbolic block, by path.
        calls: how to know the calls of blocks in the graph.
        model, parameters, probes: of the model, as in a snapshot.
        scalars: weights of a single number; None where the file does not tell.
    """

    ours: bool = False
    blocks: Mapping[str, Block] = field(default_factory=dict)
    rows: Mapping[str, TargetRow] = field(default_factory=dict)
    calls: Calls = field(default_factory=Calls)
    model: str | None = None
    parameters: int | None = None
    probes: ModelProbes | None = None
    scalars: frozenset[str] | None = None

    def is_parameter(self, name: str) -> bool:
        """Whether an initializer of a single number is a weight, by its name."""
        return "." in name if self.scalars is None else name in self.scalars


def read_metadata(proto: Any) -> Metadata:
    """Metadata of an onnx.ModelProto.

    Raises ArtifactError where it is not what symcompile writes, or is gone.
    """
    entries = _entries(proto)
    if not entries:
        if proto.producer_name == "symcompile":
            raise ArtifactError(
                "symcompile wrote it, but what it told of its equations is gone: the file was cut"
                " off, or a tool has dropped its metadata"
            )
        return Metadata()
    of_model = entries.pop(_MODEL) if "path" not in entries.get(_MODEL, {"path": ""}) else {}
    with at("model"):
        model: OnnxModelRow = ONNX_MODEL.read(of_model)
    rows = _rows(entries)
    for path in sorted(set(model.targets) ^ set(rows)) if model.targets is not None else ():
        state = "lacks" if path in (model.targets or ()) else "has, but does not name,"
        raise ArtifactError(f"its metadata {state} target {shown(path)}")
    return Metadata(
        True,
        {path: block(path, rows[path]) for path in sorted(rows)},
        {path: row for path, row in rows.items() if row.status == "symbolic"},
        _calls(proto, rows),
        model.kind,
        model.parameters,
        model_probes(model),
        None if model.scalars is None else frozenset(model.scalars),
    )


def _entries(proto: Any) -> dict[str, Json]:
    """Our entries by key, each an object."""
    ours = [entry for entry in proto.metadata_props if entry.key.startswith(_PREFIX)]
    if len(ours) > _MAX_TARGETS:
        raise ArtifactError(f"its metadata has more than {_MAX_TARGETS} entries")
    with at("its metadata"):
        unique([entry.key for entry in ours])
    entries: dict[str, Json] = {}
    for entry in ours:
        if entry.key == _VERSION:
            continue
        with at(f"its metadata {shown(entry.key)}"):
            entries[entry.key] = mapping(from_json(entry.value.encode()))
    return entries or ({_MODEL: {}} if ours else {})


def _rows(entries: Mapping[str, Json]) -> dict[str, TargetRow]:
    rows: dict[str, TargetRow] = {}
    for key, data in sorted(entries.items()):
        with at(f"metadata {shown(key)}"):
            members = older_metadata(data) if is_older_metadata(data) else data
            row: TargetRow = TARGET_ROW.read(members)
            if row.path is None:
                raise ArtifactError("path is null, expected a name")
        if row.path in rows:
            raise ArtifactError("its metadata tells of one target twice")
        rows[row.path] = row
    return rows


def _calls(proto: Any, rows: Mapping[str, TargetRow]) -> Calls:
    there = [body.name for body in proto.functions if body.domain == DOMAIN]
    with at("its list of functions"):
        unique(there)
    functions: dict[str, str] = {}
    flat: dict[str, FlatCall] = {}
    for path, row in rows.items():
        for name in row.functions or ():
            if name in functions:
                raise ArtifactError(f"function {shown(name)} is of two targets")
            functions[name] = path
        for call in row.flat or ():
            if call.name in flat:
                raise ArtifactError(f"its metadata has call {shown(call.name)} twice")
            flat[call.name] = replace(call, path=path)
    return Calls(functions, flat, frozenset(functions) - frozenset(there))
