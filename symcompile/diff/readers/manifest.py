"""Read a manifest: every field is checked, and nothing of it is run.

The order of keys in the file means nothing. Fields that a reader does not know are passed over,
those that may be missing have a default; whatever else is not as the exporter writes it is an
ArtifactError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from symcompile.diff.readers import checks
from symcompile.diff.readers.nodes import read_nodes
from symcompile.diff.snapshot import (
    NOT_MEASURED,
    Accuracy,
    Block,
    ModelProbes,
    Output,
    Snapshot,
    Span,
    Tensor,
)
from symcompile.errors import ArtifactError
from symcompile.expressions.evaluation import Array
from symcompile.modules.region import read_features
from symcompile.storage import files
from symcompile.storage.documents import MAX_JSON, NotJsonError, from_json
from symcompile.storage.reading import reading
from symcompile.storage.schemas import MANIFEST

Json = dict[str, Any]

# In the whole file: they take about 300 bytes of memory each.
_MAX_VALUES = 2_000_000
MAX_PROBES = 1_000
_MAX_PROBE_VALUES = 1_000
_LEVELS = ("aten", "fx")


def read(path: str | os.PathLike[str]) -> Snapshot:
    """A manifest file as a snapshot.

    Raises ArtifactError if it is missing, damaged, edited, of a newer version, or no manifest.
    """
    return snapshot(load(path), os.fspath(path), "manifest")


def load(path: str | os.PathLike[str]) -> Json:
    """The content of a manifest file, its regions checked to be objects."""
    name = os.fspath(path)
    try:
        data = from_json(files.content(path, MAX_JSON), _MAX_VALUES)
    except NotJsonError as error:
        raise ArtifactError(checks.printable(f"can't read {name!r}: it {error}")) from error
    version = data.get("manifest") if type(data) is dict else None
    if type(version) is not int:
        raise ArtifactError(f"can't read {name!r}: it is JSON, but no manifest of symcompile")
    if version > MANIFEST:
        raise ArtifactError(
            f"{name!r} was written by a newer symcompile (manifest {checks.shown(version)}, this"
            f" one reads up to {MANIFEST}): upgrade symcompile to read it"
        )
    regions = data.get("regions")
    if type(regions) is not dict or not all(type(one) is dict for one in regions.values()):
        raise ArtifactError(f"can't read {name!r}: it lists no regions")
    return data  # type: ignore[no-any-return]


def snapshot(data: Json, source: str, kind: str) -> Snapshot:
    """The content of a manifest as a snapshot; `source` is named in errors."""
    with reading(source):
        model = checks.mapping(data.get("model", {}), "model")
        graph = checks.mapping(data.get("graph", {}), "graph")
        regions = checks.mapping(data["regions"], "regions")
        checks.check_work(_programs(regions))
        level = checks.maybe_text(graph.get("level"), "graph.level")
        if level not in (None, *_LEVELS):
            raise checks.wrong("graph.level", level, " or ".join(_LEVELS))
        return Snapshot(
            source=checks.printable(source),
            kind=kind,
            blocks=_by_name(regions, "region", block),
            model=checks.maybe_text(model.get("class"), "model.class"),
            inputs=_tensors(model, "inputs", "arguments"),
            outputs=_tensors(model, "outputs", "results"),
            parameters=checks.maybe_whole(model.get("parameters"), "model.parameters"),
            weights=_by_name(checks.mapping(data.get("weights", {}), "weights"), "weight", _weight),
            level=level,
            nodes=read_nodes(graph.get("nodes", []), "graph") if level else (),
            probes=model_probes(model),
            notes=_notes(graph),
        )


def _programs(regions: Json) -> Iterator[tuple[str, Any]]:
    """Every program in the file; what is none is found later, when its row is read."""
    for path, region in regions.items():
        equations = region.get("equations") if type(region) is dict else None
        for output, row in equations.items() if type(equations) is dict else ():
            if type(row) is dict and type(row.get("program")) is dict:
                where = f"region {checks.shown(path)}, output {checks.shown(output)}"
                yield where, row["program"]


def _by_name(rows: Json, what: str, read: Any) -> dict[str, Any]:
    """Rows by their names, sorted."""
    names = [checks.name(name, f"name of a {what}") for name in rows]
    checks.unique(names, what)
    return {name: read(name, rows[key]) for name, key in sorted(zip(names, rows, strict=True))}


def _notes(graph: Json) -> tuple[str, ...]:
    note = checks.maybe_text(graph.get("note"), "graph.note")
    return () if graph.get("level") or not note else (f"its graph is not known: {note}",)


# --- the model -----------------------------------------------------------------------------------


def _tensors(model: Json, key: str, order: str) -> dict[str, Tensor]:
    where = f"model.{key}"
    rows = {} if model.get(key) is None else checks.mapping(model[key], where)
    found = {
        checks.name(name, where): _tensor(row, f"{where}[{name!r}]") for name, row in rows.items()
    }
    return _ordered(found, model.get(order), f"model.{order}")


def _tensor(data: Any, where: str) -> Tensor:
    """[dtype, *sizes]; of an argument that is no tensor [type, value]."""
    row = checks.listed(data, where, 64)
    if not row:
        raise checks.wrong(where, data, "a dtype and sizes")
    sizes = [_size(size, f"{where}[{k}]") for k, size in enumerate(row)]
    return Tensor(str(sizes[0]), tuple(sizes[1:]))


def _size(data: Any, where: str) -> int | str:
    return checks.name(data, where) if type(data) is str else checks.whole(data, where)


def _weight(name: str, data: Any) -> Tensor:
    where = f"weight {name!r}"
    row = checks.listed(data, where, 3)
    if len(row) != 3:
        raise checks.wrong(where, data, "dtype, shape and digest")
    sizes = checks.listed(row[1], f"{where}: shape", 64)
    shape = tuple(checks.whole(size, f"{where}: shape") for size in sizes)
    return Tensor(checks.name(row[0], where), shape, checks.text(row[2], where, 100))


def model_probes(model: Json) -> ModelProbes | None:
    """What the model gave on a few rows; None where a file doesn't tell."""
    if model.get("probes") is None:
        return None
    probes = checks.mapping(model["probes"], "model.probes")
    rows = checks.mapping(probes.get("outputs"), "model.probes.outputs")
    found = {
        checks.name(name, "model.probes.outputs"): _values(row, f"model.probes.outputs[{name!r}]")
        for name, row in rows.items()
    }
    digest = checks.text(probes.get("inputs"), "model.probes.inputs", 100)
    return ModelProbes(digest, _ordered(found, model.get("results"), "model.results"))


def _values(data: Any, where: str) -> tuple[float | None, ...]:
    return tuple(checks.number(one, where) for one in checks.listed(data, where, _MAX_PROBE_VALUES))


def _ordered(found: dict[str, Any], order: Any, where: str) -> dict[str, Any]:
    """In the order that the file tells: that of its keys may have been sorted."""
    if order is None:
        return found
    names = checks.names(order, where)
    first = {name: found[name] for name in names if name in found}
    return first | {name: one for name, one in found.items() if name not in first}


# --- regions -------------------------------------------------------------------------------------


def block(path: str, data: Any) -> Block:
    """A region of a manifest, or of a file that holds such rows."""
    where = f"region {path!r}"
    row = checks.mapping(data, where)
    status = row.get("status")
    if status not in ("symbolic", "neural"):
        raise checks.wrong(f"{where}: status", status, "symbolic or neural")
    inputs = _inputs(row, where)
    features = _features(row, where, path, tuple(inputs))
    rows = row.get("equations", {}) if status == "symbolic" else {}
    equations = checks.mapping(rows, f"{where}: equations")
    provenance = checks.mapping(row.get("provenance", {}), f"{where}: provenance")
    outputs = {
        number: _output(equations[str(number)], f"{where}, output {number}", provenance)
        for number in _numbers(equations, where)
    }
    variables = _variables(outputs, features, tuple(inputs), row, where)
    change = checks.mapping(row.get("end_to_end", {}), f"{where}: end_to_end")
    return Block(
        path,
        status,
        reason=checks.maybe_text(row.get("reason"), f"{where}: reason") or "",
        dtype=checks.maybe_text(row.get("dtype"), f"{where}: dtype"),
        inputs=inputs,
        n_outputs=checks.maybe_whole(row.get("outputs"), f"{where}: outputs"),
        features=features,
        projections=_projections(row, where),
        outputs=outputs,
        probes=_probes(row.get("probes"), f"{where}: probes", variables, outputs),
        digest=checks.maybe_text(row.get("digest"), f"{where}: digest"),
        accuracy=accuracy(row.get("fidelity"), f"{where}: fidelity"),
        end_to_end=checks.number(change.get("relative_l2"), f"{where}: end_to_end"),
        parameters_removed=checks.maybe_whole(
            row.get("parameters_removed"), f"{where}: parameters_removed"
        ),
        provenance=checks.plain(provenance, f"{where}: provenance"),
    )


def _inputs(row: Json, where: str) -> dict[str, Span | None]:
    spans = checks.mapping(row.get("inputs", {}), f"{where}: inputs")
    found = {
        checks.name(name, f"{where}: inputs"): checks.span(one, f"{where}: inputs[{name!r}]")
        for name, one in spans.items()
    }
    return _ordered(found, row.get("columns"), f"{where}: columns")


def _features(row: Json, where: str, path: str, names: tuple[str, ...]) -> dict[str, str]:
    """Definitions of the variables, each read to be an expression."""
    rows = checks.mapping(row.get("features", {}), f"{where}: features")
    found = {
        checks.name(name, f"{where}: features"): checks.text(one, f"{where}: features[{name!r}]")
        for name, one in rows.items()
    }
    ordered: dict[str, str] = _ordered(found, row.get("variables"), f"{where}: variables")
    if ordered:
        read_features(path, ordered, _base_names(row, names, where))
    return ordered


def _base_names(row: Json, names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """What features and equations are expressions of: inputs, or coordinates of a projection."""
    if row.get("projection_in") is None:
        return names
    parts = checks.listed(row["projection_in"], f"{where}: projection_in", 3)
    count = checks.whole(parts[0] if parts else None, f"{where}: projection_in", 0, 10_000)
    return tuple(f"z{k}" for k in range(count))


def _projections(row: Json, where: str) -> dict[str, str]:
    found = {}
    for side in ("in", "out"):
        if row.get(f"projection_{side}") is not None:
            parts = checks.listed(row[f"projection_{side}"], f"{where}: projection_{side}", 3)
            found[side] = checks.text(parts[-1] if parts else None, f"{where}: projection", 100)
    return found


def _numbers(equations: Json, where: str) -> list[int]:
    for key in equations:
        if not (key.isascii() and key.isdecimal() and len(key) < 7 and str(int(key)) == key):
            raise checks.wrong(f"{where}: an output", key, "its number")
    return sorted(map(int, equations))


def _output(data: Any, where: str, provenance: Json) -> Output:
    row, engine = checks.mapping(data, where), provenance.get("engine")
    return checks.output(
        where,
        program=row.get("program"),
        symbols=row.get("variables"),
        constants=checks.slot_values(row.get("constants"), f"{where}: constants"),
        complexity=row.get("complexity"),
        text=row.get("equation"),
        form=row.get("form"),
        operators=row.get("operators"),
        costs=engine.get("operators") if type(engine) is dict else None,
        loss=row.get("loss"),
        holdout_loss=row.get("holdout_loss"),
        accuracy=accuracy(row.get("fidelity"), f"{where}: fidelity"),
    )


def accuracy(data: Any, where: str) -> Accuracy:
    """What `fidelity` says; not measured where there is none."""
    if data is None:
        return NOT_MEASURED
    row = checks.mapping(data, where)
    beyond = checks.mapping(row.get("extrapolation", {}), f"{where}.extrapolation")
    controls = checks.mapping(row.get("controls", {}), f"{where}.controls")
    linear = checks.mapping(controls.get("linear", {}), f"{where}.controls.linear")
    numbers = [
        checks.number(one.get(key), f"{where}.{key}")
        for one, key in (
            *((row, key) for key in ("r2", "relative_l2", "max_error")),
            *((beyond, "relative_l2"), (linear, "relative_l2")),
        )
    ]
    return Accuracy(*numbers)


def _variables(
    outputs: Mapping[int, Output],
    features: Mapping[str, str],
    inputs: tuple[str, ...],
    row: Json,
    where: str,
) -> tuple[str, ...]:
    """The symbols of the region's equations, which all of them must share."""
    expected = tuple(features) or _base_names(row, inputs, where)
    for number, one in outputs.items():
        if one.equation.symbols != expected:
            raise ArtifactError(
                f"{where}, output {number} is an equation of {', '.join(one.equation.symbols)},"
                f" expected {', '.join(expected)}"
            )
    return expected


def _probes(
    data: Any, where: str, variables: Sequence[str], outputs: Mapping[int, Output]
) -> Array:
    """Values of the variables, at which the stored outputs are what the equations give."""
    if data is None or not outputs:
        return np.empty((0, len(variables) if outputs else 0))
    row = checks.mapping(data, where)
    key = "inputs" if row.get("variables") is None else "variables"
    points = checks.listed(row.get(key), f"{where}.{key}", MAX_PROBES)
    values = checks.matrix(points, f"{where}.{key}", len(variables))
    stored = checks.mapping(row.get("outputs", {}), f"{where}.outputs")
    for number, one in outputs.items():
        if str(number) in stored:
            found = stored[str(number)]
            checks.check_probes(f"{where}.outputs[{number}]", found, one.equation, values)
    return values
