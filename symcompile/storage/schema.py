"""What every file says of a model, member by member: the schema of manifests and ONNX metadata.

A member that is None is left out; one that a reader does not know is passed over, one that is
missing has its default. The order of keys means nothing to a reader. Nothing here needs torch, and
nothing that is read is run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.fidelity.outcome import (
    EndToEnd,
    Fidelity,
    Outcome,
    OutputFidelity,
    Projected,
    Refusal,
    Rewrite,
)
from symcompile.modules.region import LowRankMap, Projection, Region
from symcompile.storage.codecs import (
    COUNT,
    DATA,
    ERROR,
    FINITE,
    FLAG,
    LINE,
    NAME,
    NUMBER,
    Codec,
    by_name,
    by_number,
    inside,
    listed,
    many,
    mapping,
    one_of,
    optional,
    row,
    shared,
    without_nan,
    wrong,
)
from symcompile.storage.equations import (
    DIGITS,
    EQUATION_ROW,
    FIDELITY,
    MAX_RIVALS,
    EquationRow,
    Rival,
)
from symcompile.storage.reading import MisfitError

MANIFEST_FORMAT = 1  # raised when an older reader would misread the newer file
MAX_PROBES = 1_000

Span = tuple[float, float]
# Sizes of a tensor: a number, or the name of a dimension that may vary ("batch").
Shape = tuple[int | str, ...]

# Where a file or an object lies is no property of the model.
_PLACES = re.compile(r"\bat 0x[0-9a-fA-F]+|(?<![\w.])(?:[A-Za-z]:\\|~?/)[^\s'\",;)]*")


def stable(text: str) -> str:
    """A message without the places of files and objects, which change from machine to machine."""
    return _PLACES.sub("...", text)


# --- fidelity ------------------------------------------------------------------------------------

END_TO_END = shared(
    EndToEnd,
    equation=inside(ERROR, "relative_l2"),
    mean=ERROR,
    linear=ERROR,
    data=Codec(str, lambda data: "" if data is None else LINE.read(data)),
    finite=Codec(lambda finite: None if finite else False, FLAG.read),
)
PROJECTED = shared(Projected, variance=NUMBER, relative_l2=ERROR)


# --- a region ------------------------------------------------------------------------------------


def _read_shown(data: Any, depth: int = 8) -> Any:
    """For people: texts made printable, keys sorted."""
    if depth == 0:
        raise MisfitError("is nested too deeply")
    if type(data) is dict:
        pairs = sorted(mapping(data).items())
        return {NAME.read(key): _read_shown(item, depth - 1) for key, item in pairs}
    if type(data) is list:
        return [_read_shown(item, depth - 1) for item in listed(data)]
    return LINE.read(data) if type(data) is str else data


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


_SHOWN_DATA = Codec(lambda value: _sorted(DATA.write(value)), _read_shown)


def _read_span(data: Any) -> Span | None:
    """Lowest and highest value, or None where they are not known."""
    ends = [None] if data is None else listed(data, 2)
    if ends in ([None], [None, None]):
        return None
    if len(ends) != 2:
        raise wrong(data, "the lowest and the highest value")
    return FINITE.read(ends[0]), FINITE.read(ends[1])


def _projection_row(projection: Projection | None) -> tuple[int, int, str] | None:
    """Shape of the components, and digest."""
    if projection is None:
        return None
    own = (projection.basis, projection.offset)
    arrays = (projection.mean, projection.components, *(a for a in own if a is not None))
    count, width = projection.components.shape
    return count, width, _digest_of(arrays)


def _affine_row(affine: LowRankMap | None) -> tuple[int, str] | None:
    """Rank, and digest."""
    if affine is None:
        return None
    return affine.rank, _digest_of((affine.down, affine.up, affine.bias))


def _digest_of(arrays: Iterable[Array]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()[:16]


_SPAN = Codec(lambda span: None if span is None else list(map(float, span)), _read_span)
_PROJECTION = row("the shape of the components and a digest", COUNT, COUNT, LINE)
_AFFINE = row("the rank of the affine map and a digest", COUNT, LINE)
_VECTOR = many(NUMBER)
_MATRIX = many(_VECTOR, MAX_PROBES)


@dataclass(frozen=True)
class ProbeRow:
    """Recorded inputs [n, n_inputs], the variables of the equations there where these are not the
    inputs, and what each equation gives."""

    inputs: Annotated[Any, _MATRIX] = ()
    variables: Annotated[Any, _MATRIX] = None
    outputs: Annotated[Mapping[int, Any], by_number(_VECTOR, "[{}]")] = field(default_factory=dict)

    @classmethod
    def of(cls, rewrite: Rewrite) -> ProbeRow:
        X = np.array(rewrite.probes, dtype=np.float64).reshape(-1, len(rewrite.region.names))
        variables = rewrite.region.variable_values(X)
        values = {
            output: equation.predict(variables).tolist()
            for output, equation in rewrite.equations.items()
        }
        same = rewrite.region.variables == rewrite.region.names
        return cls(X.tolist(), None if same else variables.tolist(), values)


@dataclass(frozen=True)
class RegionRow:
    """A region: what it computes and how well, its equations, ranges and probes.

    `columns` and `variables` tell the order of inputs and features, which that of keys does not;
    `fidelity` is that of all outputs together, `domain` for people, `digest` that of a neural
    block's weights.
    """

    status: Annotated[str, one_of("symbolic", "neural")]
    reason: Annotated[str | None, LINE] = None
    dtype: Annotated[str | None, LINE] = None
    computes_in: Annotated[str | None, LINE] = None
    calls: Annotated[int | None, COUNT] = None
    inputs: Annotated[Mapping[str, Span | None] | None, by_name(_SPAN, NAME, place="[{}]")] = None
    columns: Annotated[tuple[str, ...] | None, many(NAME)] = None
    outputs: Annotated[int | None, COUNT] = None
    features: Annotated[Mapping[str, str] | None, by_name(LINE, NAME, place="[{}]")] = None
    variables: Annotated[tuple[str, ...] | None, many(NAME)] = None
    projection_in: Annotated[tuple[int, int, str] | None, _PROJECTION] = None
    projection_out: Annotated[tuple[int, int, str] | None, _PROJECTION] = None
    affine: Annotated[tuple[int, str] | None, _AFFINE] = None
    equations: Annotated[Mapping[int, EquationRow] | None, by_number(EQUATION_ROW, "output {}")] = (
        None
    )
    probes: Annotated[ProbeRow | None, shared(ProbeRow)] = None
    digest: Annotated[str | None, LINE] = None
    parameters_removed: Annotated[int | None, COUNT] = None
    fidelity: Annotated[OutputFidelity | None, FIDELITY] = None
    projections: Annotated[Mapping[str, Projected] | None, by_name(PROJECTED)] = None
    end_to_end: Annotated[EndToEnd | None, END_TO_END] = None
    domain: Annotated[tuple[str, ...] | None, many(LINE)] = None
    provenance: Annotated[Mapping[str, Any], _SHOWN_DATA] = field(default_factory=dict)

    @classmethod
    def of(cls, outcome: Outcome, digest: str | None = None) -> Self:
        """Everything that is known of a region; `digest` is that of a neural block's weights."""
        members: dict[str, Any] = {"provenance": outcome.provenance}
        if outcome.region is not None:
            members |= _face(outcome.region)
        if outcome.fidelity is not None:
            members |= _figures(outcome.fidelity)
        if isinstance(outcome, Refusal):
            members |= {"reason": stable(outcome.reason), "digest": digest}
            return cls("neural", **members)
        if outcome.ranges:
            members["inputs"] = dict(zip(outcome.region.names, outcome.ranges, strict=True))
        return cls(
            "symbolic",
            computes_in=outcome.computes_in or None,
            equations={k: _equation_row(outcome, k) for k in outcome.equations},
            probes=ProbeRow.of(outcome),
            **members,
        )


def _face(region: Region) -> dict[str, Any]:
    features = region.target.features
    return {
        "dtype": region.dtype,
        "calls": region.calls,
        "inputs": dict.fromkeys(region.names),
        "columns": region.names,
        "outputs": region.interface.n_outputs,
        "features": features or None,
        "variables": region.variables if features else None,
        "projection_in": _projection_row(region.projection_in),
        "projection_out": _projection_row(region.projection_out),
        "affine": _affine_row(region.affine),
    }


def _figures(fidelity: Fidelity) -> dict[str, Any]:
    issues = [
        f"output {issue.output}: {issue.operation}: {issue.problem}" for issue in fidelity.domain
    ]
    return {
        "parameters_removed": fidelity.parameters_removed,
        "fidelity": fidelity.total,
        "projections": dict(sorted(fidelity.projections.items())) or None,
        "end_to_end": fidelity.end_to_end,
        "domain": issues or None,
    }


def _equation_row(rewrite: Rewrite, output: int) -> EquationRow:
    front, equation = rewrite.fronts.get(output), rewrite.equations[output]
    undecided = front.undecided if front is not None and equation == front.best else ()
    rivals = tuple(Rival(e.equation.text(DIGITS), e.odds) for e in undecided[:MAX_RIVALS])
    return EquationRow.for_people(
        equation,
        undecided=rivals or None,
        loss_is=None if front is None or front.loss.is_squared else front.loss,
        fidelity=rewrite.fidelity.outputs.get(output),
        findings=None if front is None else front.findings or None,
    )


REGION_ROW = shared(RegionRow)


def region_row(outcome: Outcome, digest: str | None = None) -> dict[str, Any]:
    """What a manifest has of a region, as plain data."""
    return without_nan(REGION_ROW.write(RegionRow.of(outcome, digest)))  # type: ignore[no-any-return]


# --- the model -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tensor:
    """Dtype and shape of an input, an output or a weight; `digest` of a weight's values.

    A dtype of "" means that nothing is known of it.
    """

    dtype: str
    shape: Shape
    digest: str = ""


_SIZE = Codec(lambda size: size, lambda data: (NAME if type(data) is str else COUNT).read(data))
_SIZES = many(_SIZE, 64)


def _read_tensor(data: Any) -> Tensor:
    """Of an argument that is no tensor its type and value."""
    sizes = _SIZES.read(data)
    if not sizes:
        raise wrong(data, "a dtype and sizes")
    return Tensor(str(sizes[0]), sizes[1:])


_TENSORS = by_name(
    Codec(lambda tensor: [tensor.dtype, *tensor.shape], _read_tensor), NAME, place="[{}]"
)
_WEIGHT = row("dtype, shape and digest", NAME, many(COUNT, 64), LINE, kind=Tensor)
WEIGHTS = by_name(_WEIGHT, NAME, place="[{}]")


@dataclass(frozen=True)
class ModelProbes:
    """What the model gave on a few rows of its example.

    Attributes:
        digest: of the inputs; two models can be compared where it is the same.
        outputs: first values of each output, by its name.
        rows: how many.
    """

    digest: Annotated[str, inside(LINE, "inputs")]
    outputs: Annotated[
        Mapping[str, tuple[float | None, ...]],
        by_name(many(optional(FINITE), 1_000), NAME, place="[{}]"),
    ]
    rows: Annotated[int | None, COUNT] = None


@dataclass(frozen=True)
class ModelRow:
    """The model as a whole; `arguments` and `results` tell the order of inputs and outputs."""

    kind: Annotated[str | None, inside(LINE, "class")] = None
    capture: Annotated[str | None, LINE] = None
    parameters: Annotated[int | None, COUNT] = None
    inputs: Annotated[Mapping[str, Tensor] | None, _TENSORS] = None
    outputs: Annotated[Mapping[str, Tensor] | None, _TENSORS] = None
    arguments: Annotated[tuple[str, ...] | None, many(NAME)] = None
    results: Annotated[tuple[str, ...] | None, many(NAME)] = None
    probes: Annotated[ModelProbes | None, shared(ModelProbes)] = None


MODEL = shared(ModelRow)


# --- the graph -----------------------------------------------------------------------------------

MAX_NODES = 200_000
REGION = "region:"  # the operator of a node that calls a block, before its path


@dataclass(frozen=True)
class Node:
    """One node of the graph around the blocks.

    Attributes:
        name: as the graph has it. In exported graphs it is a running number and says little.
        operator: "input", "output", "region:<path>" for a block, else the operator's name.
        inputs: names of the nodes that it reads, in order, an input used twice standing twice.
        weights: qualified names of the weights that it reads, in order.
        attributes: everything else about it as text, in which % is the next input and @ the next
            weight.
    """

    name: str
    operator: str
    inputs: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    attributes: str = ""

    @property
    def region(self) -> str | None:
        """Path of the block that it calls."""
        return self.operator.removeprefix(REGION) if self.operator.startswith(REGION) else None


_NAMES = many(NAME)
_MEMBERS = "name, operator, inputs, weights and arguments"
_NODE = row(_MEMBERS, NAME, NAME, _NAMES, _NAMES, LINE, kind=Node)


@dataclass(frozen=True)
class GraphRow:
    """The nodes around the regions; a note where they are not known."""

    level: Annotated[str | None, one_of("aten", "fx")] = None
    note: Annotated[str | None, LINE] = None
    nodes: Annotated[tuple[Node, ...], many(_NODE, MAX_NODES)] = ()


GRAPH = shared(GraphRow)
