"""Whether the nodes of a block compute the equations that its metadata tells.

Both are computed on the stored probes and on points of the recorded ranges; the nodes, where that
does not give the same at once, several times over as machines of the block's own precision might:
what lies further from the equation than those lie from each other was edited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from symcompile.diff.equations.points import inputs_in_range, variables
from symcompile.diff.onnx.calls import DOMAIN, Step
from symcompile.diff.onnx.evaluation import (
    UNITS,
    Budget,
    Machine,
    NotComputedError,
    constant,
    constants_of,
)
from symcompile.diff.onnx.metadata import Metadata
from symcompile.diff.onnx.tensors import dtype_of
from symcompile.diff.readers.manifest import matrix
from symcompile.diff.snapshot import Block
from symcompile.errors import ArtifactError, shown
from symcompile.expressions.evaluation import Array, evaluate
from symcompile.storage.onnx_schema import TargetRow, TensorFeatures

MOST_PROBES = 64
IN_RANGE = 8
# Beside the one that computes exactly.
MACHINES = 8
# A bound above this share of the equation's values says nothing.
TOO_LOOSE = 0.01
# How far beyond the machines, which are a few, the truth may lie.
SLACK = 8.0


@dataclass(frozen=True)
class Body:
    """Nodes that are to compute a block.

    Attributes:
        what: they are, for messages.
        function: whose body they are, or were.
        nodes: in an order in which they can be run.
        inputs, outputs: names of values, in the order of the block's tensors.
        around: tensors from around that they read.
    """

    what: str
    function: str
    nodes: Sequence[Any]
    inputs: Sequence[str]
    outputs: Sequence[str]
    around: Sequence[Any] = ()


@dataclass(frozen=True)
class Argument:
    """A tensor that goes into a body: its type, dimensions of samples, and features, which are 0
    where it has no such dimension."""

    dtype: str
    rank: int
    features: int


def check_blocks(metadata: Metadata, model: Any, steps: Sequence[Step]) -> list[str]:
    """Raise ArtifactError for a block that does not compute its equations.

    Returns sentences about what could not be checked, and why.
    """
    budget, notes = Budget(), []
    for path, row in metadata.rows.items():
        block = metadata.blocks[path]
        try:
            X, expected = _expected(block, row)
        except NotComputedError as error:
            notes.append(f"block {path!r}: not checked against its nodes: {error}")
            continue
        for body in _bodies(path, metadata, model, steps):
            try:
                with np.errstate(all="ignore"):
                    _check(block, row, body, X, expected, budget)
            except NotComputedError as error:
                notes.append(f"block {path!r}: {body.what} not checked: {error}")
    return notes


# --- where to compute, and what is to come out ---------------------------------------------------


def _points(block: Block, row: TargetRow) -> tuple[Array, Array]:
    """Inputs [n, n_inputs] and the variables of the equations there [n, n_variables]."""
    X = matrix(() if row.probes is None else row.probes.inputs, len(block.inputs))[:MOST_PROBES]
    if "in" in block.projections:
        if not len(X) or len(block.probes) < len(X):
            raise NotComputedError("it has a projection and no probes")
        return X, block.probes[: len(X)]
    X = np.concatenate([X, inputs_in_range(block, IN_RANGE)])
    values = variables(block, X)
    if not len(values):
        raise NotComputedError("it has neither probes nor ranges, or its features make no sense")
    return X, values


def _expected(block: Block, row: TargetRow) -> tuple[Array, dict[int, Array]]:
    """Inputs [n, n_inputs], and what the equations give there [n] for each column of the outputs
    that they determine."""
    X, points = _points(block, row)
    values = {
        number: evaluate(output.equation.program, points, output.equation.constants)[:, 0]
        for number, output in sorted(block.outputs.items())
    }
    if "affine" in block.projections:
        raise NotComputedError("its affine map is not in the metadata")
    if "out" not in block.projections:
        return X, values
    mean, components = _reconstruction(block, row)
    if sorted(values) != list(range(len(components))):
        raise NotComputedError("some of its coordinates are neural")
    with np.errstate(all="ignore"):
        outputs = np.stack(list(values.values()), axis=-1) @ components + mean
    return X, dict(enumerate(outputs.T))


def _reconstruction(block: Block, row: TargetRow) -> tuple[Array, Array]:
    """Mean [d] and components [k, d] of the projection of the outputs."""
    where = f"region {block.path!r}: reconstruction"
    if row.reconstruction is None:
        raise NotComputedError("its projection is not in the metadata")
    mean = np.array(row.reconstruction.mean, dtype=np.float64)
    components = matrix(row.reconstruction.components, len(mean))
    digest = hashlib.sha256(mean.tobytes() + components.tobytes()).hexdigest()[:16]
    if digest != block.projections["out"]:
        raise ArtifactError(f"{where} was edited: it does not have the digest of its projection")
    return mean, components


# --- what is there -------------------------------------------------------------------------------


def _bodies(path: str, metadata: Metadata, model: Any, steps: Sequence[Step]) -> Iterator[Body]:
    for function in model.functions:
        if function.domain == DOMAIN and metadata.calls.functions.get(function.name) == path:
            what = f"function {shown(function.name)}"
            yield Body(what, function.name, function.node, function.input, function.output)
    for step in steps:
        call = metadata.calls.flat.get(step.name) if step.region == path else None
        if call is not None and step.nodes:
            what = f"call {shown(step.name)}"
            read = {name for node in step.nodes for name in node.input}
            around = [tensor for tensor in model.graph.initializer if tensor.name in read]
            yield Body(what, call.function, step.nodes, call.inputs, call.outputs, around)


def _interface(block: Block, row: TargetRow, body: Body) -> tuple[list[Argument], Sequence[int]]:
    """Arguments of a body, and the features of each output, 0 where it has no such dimension."""
    tensors, kinds = row.tensors or TensorFeatures(), (row.signatures or {}).get(body.function, ())
    inputs, outputs = tensors.inputs, tensors.outputs
    counts = [sum(max(size, 1) for size in side) for side in (inputs, outputs)]
    if counts != [len(block.inputs), block.n_outputs] or len(kinds) != len(inputs):
        raise NotComputedError("its metadata does not tell how to call it")
    if (len(body.inputs), len(body.outputs)) != (len(inputs), len(outputs)):
        raise ArtifactError(f"block {block.path!r} was edited: {body.what} has other arguments")
    arguments = [
        Argument(dtype, rank - (size > 0), size)
        for (dtype, rank), size in zip(kinds, inputs, strict=True)
    ]
    if any(argument.rank < 0 for argument in arguments):
        raise NotComputedError("an input has fewer dimensions than it needs")
    return arguments, outputs


def _check(
    block: Block,
    row: TargetRow,
    body: Body,
    X: Array,
    expected: Mapping[int, Array],
    budget: Budget,
) -> None:
    interface = _interface(block, row, body)
    # Half precision computes in float32.
    names = {dtype_of(tensor.data_type) for tensor in (*constants_of(body.nodes), *body.around)}
    names.add(block.dtype if block.dtype in ("float32", "float64") else "float32")
    unit = max(UNITS.get(name, 0.0) for name in names)
    exact = _computed(Machine(unit, budget), body, *interface, X)
    doubtful = {
        number: values
        for number, values in expected.items()
        if not (np.abs(exact[:, number] - values) <= unit * np.abs(values)).all()
    }
    seeds = range(1, MACHINES + 1) if doubtful else ()
    runs = [_computed(Machine(unit, budget, seed), body, *interface, X) for seed in seeds]
    for number, values in doubtful.items():
        problem = _difference(np.stack([run[:, number] for run in (exact, *runs)]), values)
        if problem:
            raise ArtifactError(
                f"block {block.path!r} was edited: {body.what} does not compute its equation of"
                f" output {number}: {problem}"
            )


def _computed(
    machine: Machine, body: Body, arguments: Sequence[Argument], outputs: Sequence[int], X: Array
) -> Array:
    """What the nodes give, outputs side by side, [n, n_outputs]; row by row where they take nothing
    else."""

    def called(X: Array) -> Array:
        read = {tensor.name: constant(machine, tensor) for tensor in body.around}
        read.update(zip(body.inputs, _tensors(machine, arguments, X), strict=True))
        values = machine.compute(body.nodes, read)
        columns = zip(body.outputs, outputs, strict=True)
        return np.concatenate([_rows(values, name, size, len(X)) for name, size in columns], axis=1)

    if arguments and all(argument.rank > 0 for argument in arguments):
        with suppress(NotComputedError):
            return called(X)
    return np.concatenate([called(row) for row in X[:, None]])


def _tensors(machine: Machine, arguments: Sequence[Argument], X: Array) -> Iterator[Array]:
    ends = accumulate(max(argument.features, 1) for argument in arguments)
    for argument, columns in zip(arguments, np.split(X, [*ends][:-1], axis=1), strict=False):
        samples = [1] * (argument.rank - 1) + [len(X)] if argument.rank else []
        data = columns.reshape(*samples, *([argument.features] if argument.features else []))
        error = UNITS.get(argument.dtype, 0.0) * np.abs(data)
        if argument.dtype in ("float16", "float32", "float64"):
            error = np.abs(data - data.astype(argument.dtype))
        yield machine.moved(data, error)


def _rows(values: Mapping[str, Array], name: str, size: int, count: int) -> Array:
    value = values.get(name)
    if value is None or value.size % max(size, 1) or not value.size:
        raise NotComputedError(f"output {shown(name)} has another shape")
    rows = value.reshape(-1, max(size, 1))
    if len(rows) != count and count > 1:
        raise NotComputedError(f"output {shown(name)} has another number of rows")
    # A body that was made for a fixed number of rows gives the one row so many times.
    return rows[:count]


def _difference(runs: Array, expected: Array) -> str:
    """Where values of several machines [n_machines, n], the first of them exact, can't be the
    expected ones but for rounding, in words; "" if nowhere.

    NotComputedError if rounding leaves nothing to compare.
    """
    exact = runs[0]
    bound = SLACK * np.abs(runs - exact).max(axis=0)
    bound = np.where(np.isnan(bound), np.inf, bound)
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=0.0)
    if not (finite & (bound <= TOO_LOOSE * scale)).any():
        raise NotComputedError("rounding leaves nothing to compare")
    apart = finite & ~(np.abs(exact - expected) <= bound)
    apart &= np.isfinite(bound) | ~np.isfinite(exact)
    if not apart.any():
        return ""
    k = int(np.flatnonzero(apart)[0])
    return f"it gives {exact[k]:.6g} where the equation gives {expected[k]:.6g}"
