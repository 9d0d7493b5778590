"""Regions, outcomes and what they hold as plain JSON, and back without loss.

This file is the schema: a record a type, a codec a field. Whatever does not fit raises
ArtifactError that names the place.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from symcompile.equation import Equation
from symcompile.errors import ArtifactError, SymCompileError
from symcompile.losses import Loss
from symcompile.operators import OperatorSet
from symcompile.pareto import Few, ParetoFront
from symcompile.region import (
    Interface,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
)
from symcompile.rewrite import (
    Agreement,
    DomainIssue,
    EndToEnd,
    Fidelity,
    Latency,
    Outcome,
    OutputFidelity,
    Projected,
    Refusal,
    Rewrite,
    Shortfall,
)
from symcompile.storage.codecs import (
    ARRAY,
    COUNT,
    DATA,
    FLAG,
    IDENTIFIER,
    KEY,
    LITERAL,
    NUMBER,
    SETTING,
    STRUCTURE,
    TEXT,
    Codec,
    by_name,
    by_number,
    many,
    one_of,
    optional,
    ordered,
    pair,
    record,
    wrong,
)
from symcompile.storage.limits import check_equation
from symcompile.target import Target


def _read_equation(data: Any) -> Equation:
    try:
        check_equation(data)
        return Equation.from_json(data)
    except SymCompileError as error:
        raise ArtifactError(str(error)) from error


def _write_equation(equation: Equation) -> Any:
    data = equation.to_json()
    try:
        check_equation(data)
    except SymCompileError as error:
        raise ArtifactError(f"{equation} could not be read back: {error}") from error
    return data


def _read_loss(data: Any) -> Loss:
    if type(data) is not dict:
        raise wrong(data, "a loss")
    try:
        return Loss.from_json(data)
    except SymCompileError as error:
        raise ArtifactError(str(error)) from error


EQUATION = Codec(_write_equation, _read_equation)
_LOSS = Codec(Loss.to_json, _read_loss)
_FRONT = record(
    ParetoFront,
    later=("choice", "loss", "constant_loss", "few", "reason"),
    equations=many(EQUATION),
    variance=NUMBER,
    choice=optional(COUNT),
    loss=_LOSS,
    constant_loss=optional(NUMBER),
    few=optional(record(Few, rows=COUNT, price=NUMBER)),
    reason=TEXT,
)


def _write_front(front: ParetoFront) -> Any:
    """What could not be read back is left out: nobody has chosen it."""
    kept: list[Equation] = []
    choice = None
    for index, equation in enumerate(front.equations):
        with suppress(ArtifactError):
            _write_equation(equation)
            choice = len(kept) if index == front.choice else choice
            kept.append(equation)
    return _FRONT.write(replace(front, equations=tuple(kept), choice=choice))


def _read_front(data: Any) -> ParetoFront:
    found: ParetoFront = _FRONT.read(data)
    if found.choice is not None and not 0 <= found.choice < len(found):
        raise ArtifactError(f"choice: is {found.choice}, of {len(found)} equations")
    return found


FRONT = Codec(_write_front, _read_front)
OPERATORS = Codec(
    lambda operators: OperatorSet.of(operators).to_dict(),
    lambda data: OperatorSet.of(by_name(COUNT).read(data)),
)

TARGET = record(
    Target,
    path=TEXT,
    names=optional(many(IDENTIFIER)),
    domain=optional(ordered(pair(NUMBER, NUMBER))),
    features=optional(ordered(TEXT)),
    reduce=optional(pair(optional(COUNT), optional(COUNT))),
    outputs=optional(many(COUNT)),
    operators=optional(OPERATORS),
    max_complexity=optional(COUNT),
    tolerance=optional(NUMBER),
)

INTERFACE = record(
    Interface,
    parameters=many(record(Parameter, name=TEXT, has_default=FLAG, default=LITERAL)),
    inputs=many(record(TensorInput, parameter=TEXT, keys=many(KEY), features=COUNT, scalar=FLAG)),
    outputs=many(record(TensorOutput, features=COUNT, scalar=FLAG)),
    structure=STRUCTURE,
    sample_dims=COUNT,
    one_by_one=FLAG,
)

_PROJECTION = optional(record(Projection, mean=ARRAY, components=ARRAY))

REGION = record(
    Region,
    path=TEXT,
    target=TARGET,
    interface=INTERFACE,
    names=many(IDENTIFIER),
    dtype=TEXT,
    parameters=COUNT,
    calls=COUNT,
    settings=by_name(SETTING),
    projection_in=_PROJECTION,
    projection_out=_PROJECTION,
)

_AGREEMENT = record(Agreement, r2=NUMBER, relative_l2=NUMBER, max_error=NUMBER)
_OUTPUT = record(
    OutputFidelity,
    equation=_AGREEMENT,
    mean=_AGREEMENT,
    linear=_AGREEMENT,
    extrapolation=_AGREEMENT,
    gradient=NUMBER,
)

_END_TO_END = record(
    EndToEnd,
    later=("finite",),
    equation=NUMBER,
    mean=NUMBER,
    linear=NUMBER,
    data=TEXT,
    finite=FLAG,
)

FIDELITY = record(
    Fidelity,
    later=("unmeasured", "projections", "shortfalls"),
    outputs=by_number(_OUTPUT),
    end_to_end=optional(_END_TO_END),
    parameters_removed=COUNT,
    domain=many(
        record(
            DomainIssue,
            output=COUNT,
            operation=TEXT,
            problem=TEXT,
            where=by_name(NUMBER),
            on_data=FLAG,
        )
    ),
    latency=many(record(Latency, batch=COUNT, neural=NUMBER, equation=NUMBER, threads=COUNT)),
    total=optional(_OUTPUT),
    unmeasured=by_name(TEXT),
    projections=by_name(record(Projected, variance=NUMBER, relative_l2=NUMBER)),
    shortfalls=many(
        record(
            Shortfall,
            output=optional(COUNT),
            problem=TEXT,
            dtype=TEXT,
            count=COUNT,
            n_samples=COUNT,
            error=NUMBER,
        )
    ),
)

_REWRITE = record(
    Rewrite,
    later=("computes_in",),
    region=REGION,
    equations=by_number(EQUATION),
    fronts=by_number(FRONT),
    fidelity=FIDELITY,
    provenance=DATA,
    ranges=many(pair(NUMBER, NUMBER)),
    probes=many(many(NUMBER)),
    computes_in=one_of("", "float64"),
)

_REFUSAL = record(
    Refusal,
    path=TEXT,
    reason=TEXT,
    region=optional(REGION),
    fronts=by_number(FRONT),
    fidelity=optional(FIDELITY),
    provenance=DATA,
)


def region_to_json(region: Region) -> Any:
    """Plain data of a region, projections included."""
    return REGION.write(region)


def region_from_json(data: Any) -> Region:
    """Read `region_to_json` back; ArtifactError names what is wrong and where."""
    region = REGION.read(data)
    problem = _region_problem(region)
    if problem:
        raise ArtifactError(f"region {region.path!r}: {problem}")
    return region  # type: ignore[no-any-return]


def _region_problem(region: Region) -> str | None:
    if len(region.names) != region.interface.n_inputs:
        return f"{len(region.names)} names for {region.interface.n_inputs} inputs"
    try:
        _ = region.features
    except SymCompileError as error:
        return str(error)
    for projection in (region.projection_in, region.projection_out):
        if projection is not None and projection.components.shape[1:] != projection.mean.shape:
            return "the arrays of a projection do not fit each other"
    return None


def outcome_to_json(outcome: Outcome) -> Any:
    """Plain data of a rewrite or a refusal; "status" tells which."""
    if isinstance(outcome, Rewrite):
        return {"status": "symbolic", **_REWRITE.write(outcome)}
    return {"status": "neural", **_REFUSAL.write(outcome)}


def outcome_from_json(data: Any) -> Outcome:
    """Read `outcome_to_json` back; ArtifactError names what is wrong and where."""
    if type(data) is not dict or data.get("status") not in ("symbolic", "neural"):
        raise wrong(data, "an outcome with status symbolic or neural")
    rest = {name: value for name, value in data.items() if name != "status"}
    outcome: Outcome = (_REWRITE if data["status"] == "symbolic" else _REFUSAL).read(rest)
    region = outcome.region
    if region is not None:
        region_from_json(rest["region"])
        _check_variables(region, outcome)
    return outcome


def _check_variables(region: Region, outcome: Outcome) -> None:
    chosen = tuple(outcome.equations.values()) if isinstance(outcome, Rewrite) else ()
    for equation in (*chosen, *(e for front in outcome.fronts.values() for e in front)):
        if equation.symbols != region.variables:
            raise ArtifactError(
                f"region {region.path!r}: an equation is one of {', '.join(equation.symbols)},"
                f" expected {', '.join(region.variables)}"
            )
