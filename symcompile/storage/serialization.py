"""Regions, outcomes and what they hold as plain JSON, and back without loss.

This file is the schema: a record a type, a codec a field. Whatever does not fit raises
ArtifactError that names the place.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import Any

import sympy

from symcompile.aten.values import DTYPES
from symcompile.errors import ArtifactError, SymCompileError
from symcompile.expressions.equation import Equation
from symcompile.expressions.limits import check_equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.fidelity.outcome import (
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
from symcompile.modules.region import (
    Interface,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
)
from symcompile.regression.choice import Few
from symcompile.regression.losses import Loss
from symcompile.regression.pareto import ParetoFront, check_front
from symcompile.storage.codecs import (
    ARRAY,
    COUNT,
    DATA,
    FINITE,
    FLAG,
    IDENTIFIER,
    KEY,
    LITERAL,
    MAX_RANK,
    NUMBER,
    PARAMETER,
    SETTING,
    STRUCTURE,
    TEXT,
    Codec,
    by_name,
    by_number,
    many,
    number,
    one_of,
    optional,
    ordered,
    pair,
    record,
    whole,
    wrong,
)
from symcompile.storage.consistency import check_outcome, check_region
from symcompile.storage.reading import part
from symcompile.target import Target


def _read_equation(data: Any) -> Equation:
    try:
        check_equation(data)
        return Equation.from_json(data)
    except SymCompileError as error:
        raise ArtifactError(str(error)) from error


def _check_equation(data: Any) -> Equation:
    """The same without its form, which takes most of the time to build."""
    try:
        check_equation(data)
    except SymCompileError as error:
        raise ArtifactError(str(error)) from error
    figures = [math.nan if data[key] is None else data[key] for key in ("loss", "holdout_loss")]
    return Equation(
        sympy.S.Zero, tuple(data["symbols"]), tuple(data["constants"]), data["complexity"], *figures
    )


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


def _read_few(data: Any) -> Few:
    try:
        return Few.from_json(data)
    except SymCompileError as error:
        raise ArtifactError(str(error)) from error


FLOATING = tuple(name for name, dtype in DTYPES.items() if dtype.is_floating_point)

EQUATION = Codec(_write_equation, _read_equation)
_UNBUILT = Codec(_write_equation, _check_equation)
_LOSS = Codec(Loss.to_json, _read_loss)
_FEW = Codec(list, _read_few)


def _plain_front(equation: Codec) -> Codec:
    return record(
        ParetoFront,
        later=("choice", "loss", "constant_loss", "few", "reason"),
        equations=many(equation),
        variance=number(0.0),
        choice=optional(COUNT),
        loss=_LOSS,
        constant_loss=optional(number(0.0)),
        few=optional(record(Few, rows=whole(1), price=number(0.0))),
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
    return _plain_front(EQUATION).write(replace(front, equations=tuple(kept), choice=choice))


def _front(equation: Codec) -> Codec:
    plain = _plain_front(equation)

    def read(data: Any) -> ParetoFront:
        found: ParetoFront = plain.read(data)
        check_front(found)
        return found

    return Codec(_write_front, read)


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
    parameters=many(record(Parameter, name=PARAMETER, has_default=FLAG, default=LITERAL)),
    inputs=many(
        record(TensorInput, parameter=PARAMETER, keys=many(KEY), features=COUNT, scalar=FLAG)
    ),
    outputs=many(record(TensorOutput, features=COUNT, scalar=FLAG)),
    structure=STRUCTURE,
    sample_dims=whole(0, MAX_RANK),
    one_by_one=FLAG,
)

# NaN for what was not measured.
_ERROR = number(0.0)
_PROJECTION = optional(record(Projection, mean=ARRAY, components=ARRAY))

REGION = record(
    Region,
    path=TEXT,
    target=TARGET,
    interface=INTERFACE,
    names=many(IDENTIFIER),
    dtype=one_of(*FLOATING),
    parameters=COUNT,
    calls=COUNT,
    settings=by_name(SETTING),
    projection_in=_PROJECTION,
    projection_out=_PROJECTION,
)

_AGREEMENT = record(Agreement, r2=number(-math.inf, 1.0), relative_l2=_ERROR, max_error=_ERROR)
_OUTPUT = record(
    OutputFidelity,
    equation=_AGREEMENT,
    mean=_AGREEMENT,
    linear=_AGREEMENT,
    extrapolation=_AGREEMENT,
    gradient=_ERROR,
)

_END_TO_END = record(
    EndToEnd,
    later=("finite",),
    equation=_ERROR,
    mean=_ERROR,
    linear=_ERROR,
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
    latency=many(record(Latency, batch=COUNT, neural=_ERROR, equation=_ERROR, threads=COUNT)),
    total=optional(_OUTPUT),
    unmeasured=by_name(TEXT),
    projections=by_name(record(Projected, variance=NUMBER, relative_l2=_ERROR)),
    shortfalls=many(
        record(
            Shortfall,
            output=optional(COUNT),
            problem=TEXT,
            dtype=TEXT,
            count=COUNT,
            n_samples=COUNT,
            error=_ERROR,
        )
    ),
)


def _read_provenance(data: Any) -> Any:
    """The name of an engine, or what it says of itself, is the one part that is used again."""
    found = DATA.read(data)
    if type(found) is not dict:
        raise wrong(data, "an object")
    engine = found.get("engine", {})
    if type(engine) is not dict:
        raise ArtifactError(f"engine: {wrong(engine, 'an object')}")
    if engine.get("operators"):
        OPERATORS.read(engine["operators"])
    return found


PROVENANCE = Codec(DATA.write, _read_provenance)


def _outcomes(front: Codec) -> dict[str, Codec]:
    """By status."""
    rewrite = record(
        Rewrite,
        later=("computes_in",),
        region=REGION,
        equations=by_number(EQUATION),
        fronts=by_number(front),
        fidelity=FIDELITY,
        provenance=PROVENANCE,
        ranges=many(pair(FINITE, FINITE)),
        probes=many(many(FINITE)),
        computes_in=one_of("", "float64"),
    )
    refusal = record(
        Refusal,
        path=TEXT,
        reason=TEXT,
        region=optional(REGION),
        fronts=by_number(front),
        fidelity=optional(FIDELITY),
        provenance=PROVENANCE,
    )
    return {"symbolic": rewrite, "neural": refusal}


_OUTCOMES, _WITHOUT_FRONTS = _outcomes(_front(EQUATION)), _outcomes(_front(_UNBUILT))


def region_to_json(region: Region) -> Any:
    """Plain data of a region, projections included."""
    return REGION.write(region)


def region_from_json(data: Any) -> Region:
    """Read `region_to_json` back; ArtifactError names what is wrong and where."""
    return _checked(REGION.read(data))


def _checked(region: Region) -> Region:
    with part(f"region {region.path!r}"):
        check_region(region)
    return region


def outcome_to_json(outcome: Outcome) -> Any:
    """Plain data of a rewrite or a refusal; "status" tells which."""
    status = "symbolic" if isinstance(outcome, Rewrite) else "neural"
    return {"status": status, **_OUTCOMES[status].write(outcome)}


def outcome_from_json(data: Any, *, fronts: bool = True) -> Outcome:
    """Read `outcome_to_json` back; ArtifactError names what is wrong and where.

    Without `fronts` these are checked but not built, and the outcome has none.
    """
    if type(data) is not dict or data.get("status") not in ("symbolic", "neural"):
        raise wrong(data, "an outcome with status symbolic or neural")
    rest = {name: value for name, value in data.items() if name != "status"}
    codecs = _OUTCOMES if fronts else _WITHOUT_FRONTS
    outcome: Outcome = codecs[data["status"]].read(rest)
    region = outcome.region
    if region is not None:
        with part(f"region {region.path!r}"):
            check_region(region)
            check_outcome(region, outcome)
    return outcome if fronts else replace(outcome, fronts={})
