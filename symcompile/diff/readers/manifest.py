"""Read a manifest: every member is checked, and nothing of it is run."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeVar

import numpy as np

from symcompile.diff.snapshot import NOT_MEASURED, Accuracy, Block, Output, Snapshot
from symcompile.errors import ArtifactError, shown
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.outcome import OutputFidelity
from symcompile.modules.region import read_features
from symcompile.storage import files
from symcompile.storage.codecs import NAME, by_name, mapping, printable, unique
from symcompile.storage.equations import check_complexity, check_probes, check_work
from symcompile.storage.reading import MAX_JSON, MisfitError, at, from_json, placed, reading
from symcompile.storage.schema import (
    GRAPH,
    MANIFEST_FORMAT,
    MODEL,
    REGION_ROW,
    WEIGHTS,
    ModelProbes,
    ModelRow,
    Node,
    ProbeRow,
    RegionRow,
)

Json = dict[str, Any]
_T = TypeVar("_T")

# In the whole file: they take about 300 bytes of memory each.
_MAX_VALUES = 2_000_000
_MAX_COMPONENTS = 10_000
MAX_EDGES = 1_000_000  # inputs and weights of all nodes together
_REGIONS = by_name(REGION_ROW, NAME, place="region {}")


def read(path: str | os.PathLike[str]) -> Snapshot:
    """A manifest file as a snapshot.

    Raises ArtifactError if it is missing, damaged, edited, of a newer version, or no manifest.
    """
    return snapshot(load(path), os.fspath(path), "manifest")


def load(path: str | os.PathLike[str]) -> Json:
    """The content of a manifest file, its regions checked to be objects."""
    with reading(path):
        with at("it"):
            data = from_json(files.content(path, MAX_JSON), _MAX_VALUES)
        version = data.get("manifest") if type(data) is dict else None
        if type(version) is not int:
            raise ArtifactError("it is JSON, but no manifest of symcompile")
        if version > MANIFEST_FORMAT:
            raise ArtifactError(
                f"{os.fspath(path)!r} was written by a newer symcompile (manifest {shown(version)},"
                f" this one reads up to {MANIFEST_FORMAT}): upgrade symcompile to read it"
            )
        regions = data.get("regions")
        if type(regions) is not dict or not all(type(row) is dict for row in regions.values()):
            raise ArtifactError("it lists no regions")
        return data  # type: ignore[no-any-return]


def snapshot(data: Json, source: str, kind: str) -> Snapshot:
    """The content of a manifest as a snapshot; `source` is named in errors."""
    with reading(source):
        check_work(_programs(data["regions"]))
        rows = []
        for key, codec in {"model": MODEL, "graph": GRAPH, "weights": WEIGHTS}.items():
            with at(key):
                rows.append(codec.read(data.get(key, {})))
        model, graph, weights = rows
        regions = _REGIONS.read(data["regions"])
        notes = () if graph.level or not graph.note else (f"its graph is not known: {graph.note}",)
        return Snapshot(
            source=printable(source),
            kind=kind,
            blocks={path: block(path, regions[path]) for path in sorted(regions)},
            model=model.kind,
            inputs=ordered(model.inputs or {}, model.arguments),
            outputs=ordered(model.outputs or {}, model.results),
            parameters=model.parameters,
            weights={name: weights[name] for name in sorted(weights)},
            level=graph.level,
            nodes=in_order(graph.nodes) if graph.level else (),
            probes=model_probes(model),
            notes=notes,
        )


def _programs(regions: Any) -> Iterator[tuple[str, Any]]:
    """Every program in the file; what is none is found later, when its row is read."""
    for path, region in mapping(regions).items():
        equations = region.get("equations") if type(region) is dict else None
        for output, row in equations.items() if type(equations) is dict else ():
            if type(row) is dict and type(row.get("program")) is dict:
                yield f"region {shown(path)}, output {shown(output)}", row["program"]


def model_probes(model: ModelRow) -> ModelProbes | None:
    """What the model gave on a few rows; None where a file doesn't tell."""
    probes = model.probes
    if probes is None:
        return None
    return ModelProbes(probes.digest, ordered(probes.outputs, model.results))


def ordered(entries: Mapping[str, _T], order: Sequence[str] | None) -> dict[str, _T]:
    """In the order that the file tells: that of its keys may have been sorted."""
    first = {name: entries[name] for name in order or () if name in entries}
    return first | {name: entry for name, entry in entries.items() if name not in first}


# --- regions -------------------------------------------------------------------------------------


def block(path: str, row: RegionRow) -> Block:
    """A region, its equations built; ArtifactError if these do not fit what is said of them."""
    inputs = ordered(row.inputs or {}, row.columns)
    features = ordered(row.features or {}, row.variables)
    projections = {"in": row.projection_in, "out": row.projection_out, "affine": row.affine}
    with at(f"region {path!r}"):
        base = _base_names(row, tuple(inputs))
        if features:
            read_features(path, features, base)
        variables = tuple(features) or base
        outputs = _outputs(row, variables)
        with at("probes"):
            probes = _probes(row.probes, variables, outputs)
    return Block(
        path,
        row.status,
        reason=row.reason or "",
        dtype=row.dtype,
        inputs=inputs,
        n_outputs=row.outputs,
        features=features,
        projections={side: row[-1] for side, row in projections.items() if row is not None},
        outputs=outputs,
        probes=probes,
        digest=row.digest,
        accuracy=_accuracy(row.fidelity),
        end_to_end=None if row.end_to_end is None else _finite(row.end_to_end.equation),
        parameters_removed=row.parameters_removed,
        provenance=row.provenance,
    )


def _base_names(row: RegionRow, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """What features and equations are expressions of: inputs, or coordinates of a projection."""
    if row.projection_in is None:
        return inputs
    if row.projection_in[0] > _MAX_COMPONENTS:
        raise placed("projection_in", MisfitError(f"has more than {_MAX_COMPONENTS} components"))
    return tuple(f"z{k}" for k in range(row.projection_in[0]))


def _outputs(row: RegionRow, variables: tuple[str, ...]) -> dict[int, Output]:
    """The equations of a region, which are all of the same symbols."""
    engine = row.provenance.get("engine")
    equations = row.equations if row.equations and row.status == "symbolic" else {}
    outputs = {}
    for number, equation_row in equations.items():
        with at(f"output {number}"):
            equation = equation_row.checked()
            check_complexity(equation_row, equation, engine)
            accuracy = _accuracy(equation_row.fidelity)
            outputs[number] = Output(equation, equation_row.count, accuracy)
    for number, output in outputs.items():
        if output.equation.symbols != variables:
            raise ArtifactError(
                f"output {number} is an equation of {', '.join(output.equation.symbols)},"
                f" expected {', '.join(variables)}"
            )
    return outputs


def _accuracy(fidelity: OutputFidelity | None) -> Accuracy:
    """What was measured, and is finite."""
    if fidelity is None:
        return NOT_MEASURED
    equation = fidelity.equation
    beside = (fidelity.extrapolation.relative_l2, fidelity.linear.relative_l2)
    values = (equation.r2, equation.relative_l2, equation.max_error, *beside)
    return Accuracy(*map(_finite, values))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _probes(row: ProbeRow | None, variables: Sequence[str], outputs: Mapping[int, Output]) -> Array:
    """Values of the variables, at which the stored outputs are what the equations give."""
    if row is None or not outputs:
        return np.empty((0, len(variables) if outputs else 0))
    key = "inputs" if row.variables is None else "variables"
    with at(key):
        points = matrix(getattr(row, key), len(variables))
    for number, output in outputs.items():
        if number in row.outputs:
            with at(f"outputs[{number}]"):
                check_probes(row.outputs[number], output.equation, points)
    return points


def matrix(rows: Sequence[Sequence[float]], columns: int) -> Array:
    """Rows of a file as [n, columns] in float64."""
    for k, row in enumerate(rows):
        if len(row) != columns:
            raise placed(f"[{k}]", MisfitError(f"has {len(row)} values, expected {columns}"))
    return np.array(rows, dtype=np.float64).reshape(len(rows), columns)


# --- the graph -----------------------------------------------------------------------------------


def in_order(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes with every one after its inputs, as they are if that is so.

    Raises ArtifactError naming an input that is unknown, or a node that depends on itself.
    """
    with at("graph"):
        unique([node.name for node in nodes])
    if sum(len(node.inputs) + len(node.weights) for node in nodes) > MAX_EDGES:
        raise ArtifactError(f"graph has more than {MAX_EDGES} connections")
    by_name = {node.name: node for node in nodes}
    seen: set[str] = set()
    sorted_already = True
    for node in nodes:
        for name in node.inputs:
            if name not in by_name:
                reads = f"node {shown(node.name)} reads {shown(name)}"
                raise ArtifactError(f"graph: {reads}, which is not there")
        sorted_already &= seen.issuperset(node.inputs)
        seen.add(node.name)
    if sorted_already:
        return tuple(nodes)
    sorter = TopologicalSorter({node.name: node.inputs for node in nodes})
    try:
        return tuple(by_name[name] for name in sorter.static_order())
    except CycleError as error:
        name = shown(error.args[1][0])
        raise ArtifactError(f"graph: node {name} depends on itself") from None
