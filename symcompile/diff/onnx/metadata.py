"""What our ONNX files tell about their equations, read as anything that anyone may have written.

See `symcompile.exporters.onnx_metadata` for what stands there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from symcompile.diff.onnx.calls import DOMAIN, Call, Calls
from symcompile.diff.readers import checks, manifest
from symcompile.diff.snapshot import Block, ModelProbes
from symcompile.errors import ArtifactError
from symcompile.storage.documents import NotJsonError, from_json

_PREFIX = "symcompile."
_VERSION, _MODEL = f"{_PREFIX}version", f"{_PREFIX}model"
_MAX_TARGETS = 10_000

Json = dict[str, Any]


@dataclass(frozen=True)
class Metadata:
    """Metadata of a file.

    Attributes:
        known: whether symcompile has written the file.
        blocks: by path.
        rows: what the file says of each symbolic block, by path.
        calls: how to know the calls of blocks in the graph.
        model, parameters, probes: of the model, as in a snapshot.
        scalars: weights of a single number; None where the file does not tell.
    """

    known: bool = False
    blocks: Mapping[str, Block] = field(default_factory=dict)
    rows: Mapping[str, Json] = field(default_factory=dict)
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
    model: Json = entries.pop(_MODEL) if "path" not in entries.get(_MODEL, {"path": ""}) else {}
    rows = {_path(key, row): row for key, row in sorted(entries.items())}
    if len(rows) != len(entries):
        raise ArtifactError("its metadata tells of one target twice")
    if "targets" in model:
        _check_targets(checks.names(model["targets"], "targets"), rows)
    scalars = model.get("scalars")
    return Metadata(
        True,
        {path: manifest.block(path, _region(path, row)) for path, row in sorted(rows.items())},
        {path: row for path, row in rows.items() if "neural" not in row},
        _calls(proto, rows),
        checks.maybe_text(model.get("class"), "class of the model"),
        checks.maybe_whole(model.get("parameters"), "parameters of the model"),
        manifest.model_probes(model),
        None if scalars is None else frozenset(checks.names(scalars, "scalars")),
    )


def _entries(proto: Any) -> dict[str, Json]:
    """Our entries by key, each an object."""
    found: dict[str, Json] = {}
    seen = set()
    for entry in proto.metadata_props:
        key = entry.key
        if not key.startswith(_PREFIX):
            continue
        if key in seen:
            raise ArtifactError(f"its metadata has {checks.shown(key)} twice")
        seen.add(key)
        if len(seen) > _MAX_TARGETS:
            raise ArtifactError(f"its metadata has more than {_MAX_TARGETS} entries")
        if key == _VERSION:
            continue
        try:
            data = from_json(entry.value.encode())
        except NotJsonError as error:
            raise ArtifactError(f"its metadata {checks.shown(key)} {error}") from error
        found[key] = checks.mapping(data, f"metadata {checks.shown(key)}")
    if seen == {_VERSION}:
        found[_MODEL] = {}
    return found


def _path(key: str, row: Json) -> str:
    return checks.name(row.get("path"), f"path of metadata {checks.shown(key)}")


def _check_targets(named: tuple[str, ...], rows: Mapping[str, Json]) -> None:
    different = sorted(set(named) ^ set(rows))
    if different:
        state = "lacks" if different[0] in named else "has, but does not name,"
        raise ArtifactError(f"its metadata {state} target {checks.shown(different[0])}")


# --- rows as a manifest has them -----------------------------------------------------------------


def _region(path: str, row: Json) -> Json:
    where = f"region {path!r}"
    if "neural" in row:
        return {"reason": row["neural"], **row, "status": "neural", "end_to_end": _change(row)}
    listed = checks.listed(row.get("equations"), f"{where}: equations")
    equations = {}
    for one in listed:
        data = checks.mapping(one, f"{where}: an equation")
        number = checks.whole(data.get("output"), f"{where}: number of an output", 0, 999_999)
        if str(number) in equations:
            raise ArtifactError(f"{where} has output {number} twice")
        equations[str(number)] = _equation(data, f"{where}, output {number}")
    return {
        **row,
        "status": "symbolic",
        "equations": equations,
        "probes": _probes(row),
        "end_to_end": _change(row),
    }


def _change(row: Json) -> Any:
    return {} if row.get("end_to_end") is None else row["end_to_end"]


def _probes(row: Json) -> Json | None:
    """None in a file that has no values of the variables."""
    if "probe_outputs" not in row:
        return None
    found = {"inputs": row.get("probes"), "outputs": row["probe_outputs"]}
    if "probe_variables" in row:
        found["variables"] = row["probe_variables"]
    return found


def _equation(one: Json, where: str) -> Json:
    stored = checks.mapping(one.get("equation"), f"{where}: equation")
    for key in ("text", "complexity"):
        if one.get(key) != stored.get(key):
            raise ArtifactError(
                f"{where} was edited: its {key} is {checks.shown(one.get(key))} and"
                f" {checks.shown(stored.get(key))}"
            )
    constants = checks.listed(stored.get("constants"), f"{where}: constants")
    return {
        "equation": one.get("text"),
        "form": one.get("form"),
        "constants": {f"c[{k}]": value for k, value in enumerate(constants)},
        "variables": stored.get("symbols"),
        "complexity": stored.get("complexity"),
        "operators": one.get("operators"),
        "loss": stored.get("loss"),
        "holdout_loss": stored.get("holdout_loss"),
        "fidelity": _fidelity(one, where),
        "program": stored.get("program"),
    }


def _fidelity(one: Json, where: str) -> Json | None:
    """What stands there for viewers has to be the same."""
    if "r2" not in one:
        return None
    plain: Json = {key: one.get(key) for key in ("r2", "relative_l2", "max_error")}
    plain["extrapolation"] = {"relative_l2": one.get("extrapolation_relative_l2")}
    plain["controls"] = {"linear": {"relative_l2": one.get("linear_relative_l2")}}
    if "fidelity" in one:
        found = manifest.accuracy(one["fidelity"], f"{where}: fidelity")
        if found != manifest.accuracy(plain, f"{where}: fidelity"):
            raise ArtifactError(f"{where} was edited: its fidelity says two things")
    return plain


# --- calls ---------------------------------------------------------------------------------------


def _calls(proto: Any, rows: Mapping[str, Json]) -> Calls:
    there = [one.name for one in proto.functions if one.domain == DOMAIN]
    checks.unique(there, "its list of functions")
    functions: dict[str, str] = {}
    flat: dict[str, Call] = {}
    for path, row in rows.items():
        for name in checks.names(row.get("functions", []), f"region {path!r}: functions"):
            if name in functions:
                raise ArtifactError(f"function {checks.shown(name)} is of two targets")
            functions[name] = path
        for data in checks.listed(row.get("flat", []), f"region {path!r}: calls"):
            call = _call(path, data)
            if call.name in flat:
                raise ArtifactError(f"its metadata has call {checks.shown(call.name)} twice")
            flat[call.name] = call
    return Calls(functions, flat, frozenset(functions) - frozenset(there))


def _call(path: str, data: Any) -> Call:
    where = f"region {path!r}: a call"
    row = checks.mapping(data, where)
    return Call(
        checks.name(row.get("call"), where),
        path,
        checks.name(row.get("function"), where),
        checks.names(row.get("inputs"), where),
        checks.names(row.get("outputs"), where),
        checks.whole(row.get("nodes"), where, 1),
    )
