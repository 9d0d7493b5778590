"""Whether what was read of a region and its outcome fits together: each field alone was fine.

A file may say that a block has a billion outputs and hold equations of two. What is counted here
has to be there, before anything is made of so many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from symcompile.errors import ArtifactError
from symcompile.fidelity.outcome import Outcome, Rewrite
from symcompile.modules.region import Interface, Projection, Region, leaves

MAX_FEATURES = 1_000_000  # of all tensors on one side of a block
MAX_ITEMS = 10_000  # positional arguments behind a star


def check_region(region: Region) -> None:
    """Raise ArtifactError naming what contradicts itself, and read the region's features."""
    for problem in _problems(region):
        raise ArtifactError(problem)
    _ = region.features


def _problems(region: Region) -> Iterator[str]:
    face = region.interface
    for what, count in (("inputs", face.n_inputs), ("outputs", face.n_outputs)):
        if count > MAX_FEATURES:
            yield f"it has {count} {what}, at most {MAX_FEATURES}"
    yield from _signature_problems(face)
    if len(region.names) != face.n_inputs:
        yield f"{len(region.names)} names for {face.n_inputs} inputs"
    if len(set(region.names)) < len(region.names):
        yield "two of its inputs have the same name"
    yield from _projection_problems("inputs", region.projection_in, face.n_inputs)
    yield from _projection_problems("outputs", region.projection_out, face.n_outputs)
    if any(output >= region.n_equations for output in region.target.outputs or ()):
        yield f"outputs {list(region.target.outputs or ())}, of {region.n_equations} that there are"


def _signature_problems(face: Interface) -> Iterator[str]:
    names = [one.name.lstrip("*") for one in face.parameters]
    if len(set(names)) < len(names):
        yield "two parameters have the same name"
    starred = [one.name for one in face.parameters if one.name.startswith("*")]
    kinds = [len(name) - len(name.lstrip("*")) for name in starred]
    if kinds not in ([], [1], [2], [1, 2]) or (2 in kinds and starred[-1] != _last(face)):
        yield "its starred parameters are not as a signature has them"
    for one in face.inputs:
        if one.parameter not in {p.name for p in face.parameters}:
            yield f"an input is part of {one.parameter!r}, which is no parameter"
        far = [key for key in one.keys if isinstance(key, int) and not -1 < key < MAX_ITEMS]
        if far and one.parameter.startswith("*"):
            yield f"an input is number {far[0]} of {one.parameter!r}, at most {MAX_ITEMS}"
    places = [(one.parameter, one.keys) for one in face.inputs]
    if len(set(places)) < len(places):
        yield "two inputs are the same part of an argument"
    found = sorted(number for _, number in leaves(face.structure) if number is not None)
    if found != list(range(len(face.outputs))):
        yield f"its structure holds outputs {found[:20]}, expected 0 to {len(face.outputs) - 1}"


def _last(face: Interface) -> str:
    return face.parameters[-1].name


def _projection_problems(side: str, found: Projection | None, count: int) -> Iterator[str]:
    if found is None:
        return
    shape = found.components.shape
    if found.mean.shape != (count,) or len(shape) != 2 or shape[1] != count:
        yield (
            f"the arrays of the projection of its {side} have shapes {list(found.mean.shape)} and"
            f" {list(shape)}, expected [{count}] and [k, {count}]"
        )
    elif not 1 <= shape[0] <= count:
        yield f"{shape[0]} components of {count} {side}"


def check_outcome(region: Region, outcome: Outcome) -> None:
    """Raise ArtifactError unless equations, fronts and figures are of outputs that there are."""
    for problem in _outcome_problems(region, outcome):
        raise ArtifactError(problem)


def _outcome_problems(region: Region, outcome: Outcome) -> Iterator[str]:
    if outcome.path != region.path:
        yield f"it is the outcome of {outcome.path!r}"
    numbers = {"a front": outcome.fronts}
    if outcome.fidelity is not None:
        numbers["a figure"] = outcome.fidelity.outputs  # type: ignore[assignment]
    if isinstance(outcome, Rewrite):
        numbers["an equation"] = outcome.equations  # type: ignore[assignment]
        yield from _rewrite_problems(region, outcome)
    for what, known in numbers.items():
        for number in known:
            if number >= region.n_equations:
                yield f"{what} is of output {number}, of {region.n_equations} that there are"
    chosen = tuple(outcome.equations.values()) if isinstance(outcome, Rewrite) else ()
    for equation in (*chosen, *(e for front in outcome.fronts.values() for e in front)):
        if equation.symbols != region.variables:
            yield (
                f"an equation is one of {', '.join(equation.symbols)}, expected"
                f" {', '.join(region.variables)}"
            )


def _rewrite_problems(region: Region, outcome: Rewrite) -> Iterator[str]:
    wanted = region.n_equations if region.target.outputs is None else len(region.target.outputs)
    if len(outcome.equations) != wanted:
        yield f"it has {len(outcome.equations)} equations for {wanted} outputs"
    elif set(outcome.equations) != set(region.equation_outputs):
        yield "its equations are of other outputs than its target asks for"
    width = region.interface.n_inputs
    if outcome.ranges and len(outcome.ranges) != width:
        yield f"{len(outcome.ranges)} ranges for {width} inputs"
    if any(low > high for low, high in outcome.ranges):
        yield "the lower end of a range is above the upper one"
    for row in outcome.probes:
        if len(row) != width or not all(map(math.isfinite, row)):
            yield f"a probe of {len(row)} values, expected {width} finite ones"
