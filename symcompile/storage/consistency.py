"""Whether what was read of a region and its outcome fits together: each field alone was fine.

A file may say that a block has a billion outputs and hold equations of two. What is counted here
has to be there, before anything is made of so many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from symcompile.errors import ArtifactError
from symcompile.fidelity.outcome import Outcome, Rewrite
from symcompile.modules.region import Interface, LowRankMap, Projection, Region, leaves

MAX_FEATURES = 1_000_000  # of all tensors on one side of a block
MAX_ITEMS = 10_000  # positional arguments behind a star

# A contradiction, and the words for it; what comes after one may rely on its not being there.
Contradictions = Iterator[tuple[bool, str]]


def check_region(region: Region) -> None:
    """Raise ArtifactError naming what contradicts itself, and read the region's features."""
    _refuse_first(_in_region(region))
    _ = region.features


def check_outcome(region: Region, outcome: Outcome) -> None:
    """Raise ArtifactError unless equations, fronts and figures are of outputs that there are."""
    _refuse_first(_in_outcome(region, outcome))


def _refuse_first(contradictions: Contradictions) -> None:
    for there, problem in contradictions:
        if there:
            raise ArtifactError(problem)


def _in_region(region: Region) -> Contradictions:
    face, names, outputs = region.interface, region.names, region.target.outputs or ()
    for side, count in (("inputs", face.n_inputs), ("outputs", face.n_outputs)):
        yield count > MAX_FEATURES, f"it has {count} {side}, at most {MAX_FEATURES}"
    yield from _in_signature(face)
    yield len(names) != face.n_inputs, f"{len(names)} names for {face.n_inputs} inputs"
    yield len(set(names)) < len(names), "two of its inputs have the same name"
    yield from _in_projection("inputs", region.projection_in, face.n_inputs)
    yield from _in_projection("outputs", region.projection_out, face.n_outputs)
    yield from _in_affine(region.affine, face)
    count = region.n_equations
    yield max(outputs, default=-1) >= count, f"outputs {list(outputs)}, of {count} that there are"


def _in_signature(face: Interface) -> Contradictions:
    parameters = [parameter.name for parameter in face.parameters]
    plain = {name.lstrip("*") for name in parameters}
    yield len(plain) < len(parameters), "two parameters have the same name"
    starred = [name for name in parameters if name.startswith("*")]
    stars = [len(name) - len(name.lstrip("*")) for name in starred]
    odd = stars not in ([], [1], [2], [1, 2]) or (2 in stars and starred[-1] != parameters[-1])
    yield odd, "its starred parameters are not as a signature has them"
    for tensor in face.inputs:
        name = tensor.parameter
        yield name not in parameters, f"an input is part of {name!r}, which is no parameter"
        for key in tensor.keys if name.startswith("*") else ():
            far = isinstance(key, int) and not -1 < key < MAX_ITEMS
            yield far, f"an input is number {key} of {name!r}, at most {MAX_ITEMS}"
    places = [(tensor.parameter, tensor.keys) for tensor in face.inputs]
    yield len(set(places)) < len(places), "two inputs are the same part of an argument"
    numbers = sorted(number for _, number in leaves(face.structure) if number is not None)
    yield (
        numbers != list(range(len(face.outputs))),
        f"its structure holds outputs {numbers[:20]}, expected 0 to {len(face.outputs) - 1}",
    )


def _in_projection(side: str, projection: Projection | None, count: int) -> Contradictions:
    if projection is None:
        return
    mean, shape = projection.mean.shape, projection.components.shape
    yield (
        mean != (count,) or len(shape) != 2 or shape[1] != count,
        f"the arrays of the projection of its {side} have shapes {list(mean)} and {list(shape)},"
        f" expected [{count}] and [k, {count}]",
    )
    orthonormal = projection.basis is None
    most = count if orthonormal else MAX_FEATURES
    yield not 1 <= shape[0] <= most, f"{shape[0]} components of {count} {side}"
    for name, array, expected in (
        ("basis", projection.basis, shape),
        ("offset", projection.offset, shape[:1]),
    ):
        yield (
            array is not None and array.shape != expected,
            f"the {name} of the projection of its {side} is not of shape {list(expected)}",
        )


def _in_affine(affine: LowRankMap | None, face: Interface) -> Contradictions:
    if affine is None:
        return
    shapes = [list(array.shape) for array in (affine.down, affine.up, affine.bias)]
    n_in, n_out, rank = face.n_inputs, face.n_outputs, (shapes[0] or [0])[0]
    yield (
        shapes != [[rank, n_in], [n_out, rank], [n_out]] or rank < 1,
        f"the arrays of its affine map have shapes {', '.join(map(str, shapes))}, expected"
        f" [rank, {n_in}], [{n_out}, rank] and [{n_out}]",
    )


def _in_outcome(region: Region, outcome: Outcome) -> Contradictions:
    yield outcome.path != region.path, f"it is the outcome of {outcome.path!r}"
    rewrite = outcome if isinstance(outcome, Rewrite) else None
    equations = rewrite.equations if rewrite is not None else {}
    if rewrite is not None:
        yield from _in_rewrite(region, rewrite)
    figures = () if outcome.fidelity is None else tuple(outcome.fidelity.outputs)
    numbers = {"a front": outcome.fronts, "a figure": figures, "an equation": equations}
    count = region.n_equations
    for what, outputs in numbers.items():
        for output in outputs:
            yield output >= count, f"{what} is of output {output}, of {count} that there are"
    variables = region.variables
    searched = (equation for front in outcome.fronts.values() for equation in front)
    for equation in (*equations.values(), *searched):
        symbols = ", ".join(equation.symbols)
        expected = f"an equation is one of {symbols}, expected {', '.join(variables)}"
        yield equation.symbols != variables, expected


def _in_rewrite(region: Region, rewrite: Rewrite) -> Contradictions:
    outputs, count = region.target.outputs, len(rewrite.equations)
    asked = region.n_equations if outputs is None else len(outputs)
    yield count != asked, f"it has {count} equations for {asked} outputs"
    others = set(rewrite.equations) != set(region.equation_outputs)
    yield others, "its equations are of other outputs than its target asks for"
    width, ranges = region.interface.n_inputs, rewrite.ranges
    yield bool(ranges) and len(ranges) != width, f"{len(ranges)} ranges for {width} inputs"
    reversed_ends = any(low > high for low, high in ranges)
    yield reversed_ends, "the lower end of a range is above the upper one"
    for row in rewrite.probes:
        odd = len(row) != width or not all(map(math.isfinite, row))
        yield odd, f"a probe of {len(row)} values, expected {width} finite ones"
