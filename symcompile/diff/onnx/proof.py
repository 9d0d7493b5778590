"""Whether the nodes of a block compute the equations that its metadata tells.

Both are computed on the stored probes and on points of the recorded ranges, each with a bound on
its rounding: what lies further apart than that was edited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symcompile.diff.onnx.calls import DOMAIN, Step
from symcompile.diff.onnx.evaluation import (
    Budget,
    NotComputedError,
    compute,
    constant,
    constants_of,
)
from symcompile.diff.onnx.metadata import Metadata
from symcompile.diff.onnx.rounding import UNITS, Value, of_program
from symcompile.diff.onnx.tensors import dtype_of
from symcompile.diff.readers.manifest import matrix
from symcompile.diff.snapshot import Block
from symcompile.errors import ArtifactError, shown
from symcompile.expressions.evaluation import Array, evaluate
from symcompile.expressions.program import from_sympy
from symcompile.modules.region import read_features
from symcompile.storage.rows import TargetRow, TensorFeatures

MOST_PROBES = 64
IN_RANGE = 8
# A bound above this share of the equation's values says nothing.
TOO_LOOSE = 0.01
# Bounds are of first order: this much is left for the rest.
SLACK = 2.0


@dataclass(frozen=True)
class Body:
    """Nodes that are to compute a block.

    Attributes:
        what: they are, for messages.
        nodes: in an order in which they can be run.
        inputs, outputs: names of values, in the order of the block's tensors.
        kinds: dtype and rank of each input.
        around: values from around that they read, by name.
    """

    what: str
    nodes: Sequence[Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kinds: tuple[tuple[str, int], ...]
    around: Mapping[str, Any]


def check_blocks(metadata: Metadata, model: Any, steps: Sequence[Step]) -> list[str]:
    """Raise ArtifactError for a block that does not compute its equations.

    Returns sentences about what could not be checked, and why.
    """
    budget, notes = Budget(), []
    for path, row in metadata.rows.items():
        block = metadata.blocks[path]
        try:
            points = _points(block, row)
        except NotComputedError as error:
            notes.append(f"block {path!r}: not checked against its nodes: {error}")
            continue
        for body in _bodies(path, row, metadata, model, steps):
            try:
                with np.errstate(all="ignore"):
                    _check(block, row, body, points, budget)
            except NotComputedError as error:
                notes.append(f"block {path!r}: {body.what} not checked: {error}")
    return notes


# --- where to compute ----------------------------------------------------------------------------


def _points(block: Block, row: TargetRow) -> tuple[Array, Array]:
    """Inputs [n, n_inputs] and the variables of the equations there [n, n_variables]."""
    X = matrix(() if row.probes is None else row.probes.inputs, len(block.inputs))[:MOST_PROBES]
    if "in" in block.projections:
        if not len(X) or len(block.probes) < len(X):
            raise NotComputedError("it has a projection and no probes")
        return X, block.probes[: len(X)]
    X = np.concatenate([X, *_in_range(block)])
    if not len(X):
        raise NotComputedError("it has neither probes nor ranges")
    if not block.features:
        return X, X
    exprs = read_features(block.path, block.features, tuple(block.inputs))
    return X, evaluate(from_sympy(exprs, tuple(block.inputs), 0), X, ())


def _in_range(block: Block) -> Iterator[Array]:
    """Points all over the recorded range, the same ones at every time."""
    spans = [span for span in block.inputs.values() if span is not None]
    if not spans or len(spans) < len(block.inputs):
        return
    low, high = np.array(spans).T
    # Multiples of roots of primes fill a box evenly (Kronecker).
    steps = np.sqrt(np.arange(2, len(spans) + 2) + 0.5) % 1.0
    yield low + (high - low) * ((np.arange(1, IN_RANGE + 1)[:, None] * steps) % 1.0)


# --- what to compute -----------------------------------------------------------------------------


def _bodies(
    path: str, row: TargetRow, metadata: Metadata, model: Any, steps: Sequence[Step]
) -> Iterator[Body]:
    functions = {one.name: one for one in model.functions if one.domain == DOMAIN}
    for name, owner in metadata.calls.functions.items():
        if owner == path and name in functions:
            one = functions[name]
            what = f"function {shown(name)}"
            yield Body(what, one.node, tuple(one.input), tuple(one.output), _kinds(row, name), {})
    for step in steps:
        call = metadata.calls.flat.get(step.name) if step.region == path else None
        if call is not None and step.nodes:
            what = f"call {shown(step.name)}"
            kinds = _kinds(row, call.function)
            read = {name for node in step.nodes for name in node.input}
            around = {one.name: one for one in model.graph.initializer if one.name in read}
            yield Body(what, step.nodes, call.inputs, call.outputs, kinds, around)


def _kinds(row: TargetRow, function: str) -> tuple[tuple[str, int], ...]:
    """Dtype and rank of each input."""
    return tuple((row.signatures or {}).get(function, ()))


# --- both sides ----------------------------------------------------------------------------------


def _check(
    block: Block, row: TargetRow, body: Body, points: tuple[Array, Array], budget: Budget
) -> None:
    X, variables = points
    tensors = row.tensors or TensorFeatures()
    features = tensors.inputs, tensors.outputs
    counts = [sum(max(one, 1) for one in side) for side in features]
    if counts != [len(block.inputs), block.n_outputs] or len(body.kinds) != len(features[0]):
        raise NotComputedError("its metadata does not tell how to call it")
    if len(body.inputs) != len(features[0]) or len(body.outputs) != len(features[1]):
        raise ArtifactError(f"block {block.path!r} was edited: {body.what} has other arguments")
    unit = _unit(block, body)
    found = _Caller(body, features, unit, budget).columns(X)
    for number, expected in _expected(block, row, variables, unit):
        given = Value(found.data[:, number], found.error[:, number])
        problem = _difference(given, expected)
        if problem:
            raise ArtifactError(
                f"block {block.path!r} was edited: {body.what} does not compute its equation of"
                f" output {number}: {problem}"
            )


def _unit(block: Block, body: Body) -> float:
    """Rounding of the type that the block computes in; half precision computes in float32."""
    tensors = [*constants_of(body.nodes), *body.around.values()]
    names = {dtype_of(one.data_type) for one in tensors}
    names.add(block.dtype if block.dtype in ("float32", "float64") else "float32")
    return max(UNITS.get(name, 0.0) for name in names)


def _expected(
    block: Block, row: TargetRow, variables: Array, unit: float
) -> Iterator[tuple[int, Value]]:
    """What the equations give for each column of the outputs that they determine."""
    values = {
        number: of_program(one.equation.program, variables, one.equation.constants, unit)[0]
        for number, one in sorted(block.outputs.items())
    }
    if "out" not in block.projections:
        yield from values.items()
        return
    mean, components = _reconstruction(block, row)
    if sorted(values) != list(range(len(components))):
        raise NotComputedError("some of its coordinates are neural")
    data = np.stack([one.data for one in values.values()], axis=-1)
    error = np.stack([one.error for one in values.values()], axis=-1)
    total = data @ components + mean
    size = np.abs(data) @ np.abs(components) + np.abs(mean)
    bound = error @ np.abs(components) + unit * (1 + len(components)) * size
    for column in range(total.shape[1]):
        yield column, Value(total[:, column], bound[:, column])


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


class _Caller:
    """Calls the nodes of a block with rows of inputs."""

    def __init__(
        self, body: Body, features: tuple[Sequence[int], Sequence[int]], unit: float, budget: Budget
    ) -> None:
        self.body, self.unit, self.budget = body, unit, budget
        self.inputs, self.outputs = features
        pairs = zip(body.kinds, self.inputs, strict=True)
        self.ranks = [rank - (size > 0) for (_, rank), size in pairs]
        if min(self.ranks, default=0) < 0:
            raise NotComputedError("an input has fewer dimensions than it needs")

    def columns(self, X: Array) -> Value:
        """Outputs side by side, [n, n_outputs]; row by row where a body takes nothing else."""
        if min(self.ranks, default=0) > 0:
            try:
                return self._called(X)
            except NotComputedError:
                pass
        rows = [self._called(row) for row in X[:, None]]
        return Value(
            np.concatenate([one.data for one in rows]), np.concatenate([one.error for one in rows])
        )

    def _called(self, X: Array) -> Value:
        given = {name: constant(tensor, self.unit) for name, tensor in self.body.around.items()}
        given.update(zip(self.body.inputs, self._arguments(X), strict=True))
        values = compute(self.body.nodes, given, self.unit, self.budget)
        columns = [
            self._rows(values, name, size, len(X))
            for name, size in zip(self.body.outputs, self.outputs, strict=True)
        ]
        data, error = (np.concatenate(parts, axis=1) for parts in zip(*columns, strict=True))
        return Value(data, error)

    def _arguments(self, X: Array) -> Iterator[Value]:
        start = 0
        for (dtype, _), size, rank in zip(self.body.kinds, self.inputs, self.ranks, strict=True):
            part = X[:, start : start + max(size, 1)]
            samples = [1] * (rank - 1) + [len(X)] if rank else []
            data = part.reshape(*samples, *([size] if size else []))
            yield Value(data, _rounding(data, dtype), UNITS.get(dtype, 0.0))
            start += max(size, 1)

    def _rows(
        self, values: Mapping[str, Value], name: str, size: int, count: int
    ) -> tuple[Array, Array]:
        found = values.get(name)
        if found is None or found.data.size % max(size, 1) or not found.data.size:
            raise NotComputedError(f"output {shown(name)} has another shape")
        data, error = (part.reshape(-1, max(size, 1)) for part in (found.data, found.error))
        if len(data) != count and count > 1:
            raise NotComputedError(f"output {shown(name)} has another number of rows")
        # A body that was made for a fixed number of rows gives the one row so many times.
        return data[:count], error[:count]


def _rounding(data: Array, dtype: str) -> Array:
    """How far numbers lie from those that a type can hold."""
    if dtype in ("float16", "float32", "float64"):
        return np.asarray(np.abs(data - data.astype(dtype)))
    return UNITS.get(dtype, 0.0) * np.abs(data)


def _difference(found: Value, expected: Value) -> str:
    """Where two values can't be the same but for rounding, in words; "" if nowhere.

    NotComputedError if rounding leaves nothing to compare.
    """
    bound = SLACK * (found.error + expected.error)
    finite = np.isfinite(expected.data) & np.isfinite(expected.error)
    scale = np.abs(expected.data[finite]).max(initial=0.0)
    known = finite & (bound <= TOO_LOOSE * scale) | (finite & (bound == 0.0))
    if not known.any():
        raise NotComputedError("rounding leaves nothing to compare")
    apart = finite & ~(np.abs(found.data - expected.data) <= bound)
    apart &= np.isfinite(bound) | ~np.isfinite(found.data)
    if not apart.any():
        return ""
    k = int(np.flatnonzero(apart)[0])
    return f"it gives {found.data[k]:.6g} where the equation gives {expected.data[k]:.6g}"
