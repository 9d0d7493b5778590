"""Regions and outcomes as `.symc` files hold them: whole, fronts and losses included.

Equations and figures are those of every file, see `equations` and `schema`. Whatever does not fit
raises ArtifactError that names the place.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from symcompile.aten.values import DTYPES, decode_value, encode_value, no_leaf
from symcompile.errors import ArtifactError, EngineError, ExpressionError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import LIMITS, OperatorSet
from symcompile.expressions.size_limits import check_equation
from symcompile.fidelity.outcome import (
    DomainIssue,
    Fidelity,
    Latency,
    Outcome,
    Refusal,
    Rewrite,
    Shortfall,
    StandIn,
)
from symcompile.modules.region import (
    Interface,
    LowRankMap,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
)
from symcompile.regression.older_fronts import as_before
from symcompile.regression.pareto import ParetoFront, check_front
from symcompile.storage.codecs import (
    COUNT,
    DATA,
    ERROR,
    FINITE,
    FLAG,
    IDENTIFIER,
    KEY,
    LITERAL,
    MAX_DEPTH,
    MAX_RANK,
    NUMBER,
    PARAMETER,
    TEXT,
    Codec,
    by_name,
    by_number,
    integer,
    many,
    one_of,
    optional,
    ordered,
    pair,
    record,
    without_nan,
    wrong,
)
from symcompile.storage.consistency import check_outcome, check_region
from symcompile.storage.equations import EQUATION_ROW, FINDINGS, LOSS, EquationRow
from symcompile.storage.reading import MisfitError, at, placed
from symcompile.storage.schema import MAX_PROBES
from symcompile.target import GATES, PCA, Products, ReducedRank, Reduction, Target

FLOATING = tuple(name for name, dtype in DTYPES.items() if dtype.is_floating_point)


# Arguments of a block that are no tensors.
SETTING = Codec(encode_value, lambda data: decode_value(data, no_leaf, torch.device("cpu")))


# --- equations and fronts ------------------------------------------------------------------------


def _equation(row: Callable[..., EquationRow], read: Callable[[EquationRow], Equation]) -> Codec:
    def write(equation: Equation) -> Any:
        try:
            check_equation(equation.to_json(text=False))
        except ExpressionError as error:
            raise ArtifactError(f"{equation} could not be read back: {error}") from error
        return EQUATION_ROW.write(row(equation, holdout_mse=equation.holdout_mse))

    return Codec(write, lambda data: read(EQUATION_ROW.read(data)))


EQUATION = _equation(EquationRow.for_people, EquationRow.checked)
_OF_FRONT = _equation(EquationRow.of, EquationRow.checked)
_UNBUILT = _equation(EquationRow.of, EquationRow.unbuilt)
# How a front of before tells its choice, see `older_fronts`.
_BEFORE = ("choice", "few")


def _front(equation: Codec) -> Codec:
    plain = record(
        ParetoFront,
        later=("behind", "loss", "constant_loss", "left_out", "reason", "rule", "findings"),
        equations=many(equation),
        behind=many(ERROR),
        left_out=COUNT,
        loss=LOSS,
        findings=FINDINGS,
    )

    def write(front: ParetoFront) -> Any:
        """What could not be read back is left out: nobody has chosen it."""
        rows: dict[int, Any] = {}
        for index, candidate in enumerate(front.equations):
            with suppress(ArtifactError):
                rows[index] = equation.write(candidate)
        kept = replace(front.only(list(rows)), equations=())
        return plain.write(kept) | {"equations": list(rows.values())}

    def read(data: Any) -> ParetoFront:
        if type(data) is not dict or "behind" in data:
            front: ParetoFront = plain.read(data)
        else:
            before = {key: data.get(key) for key in _BEFORE}
            front = plain.read({key: data[key] for key in data if key not in _BEFORE})
            behind, left_out = as_before(front, **before)
            front = replace(front, behind=behind, left_out=left_out or front.left_out)
        check_front(front)
        return front

    return Codec(write, read)


FRONT = _front(_OF_FRONT)

# --- regions -------------------------------------------------------------------------------------

# Larger arrays are packed: spelled out they would take three times the room, and be for nobody.
_SPELLED_OUT = 1000


def _write_array(value: Any) -> Any:
    array = np.asarray(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ArtifactError("can't store an array that is not finite")
    if array.size <= _SPELLED_OUT:
        return {"shape": list(array.shape), "values": array.ravel().tolist()}
    packed = base64.b64encode(array.astype("<f8").tobytes()).decode("ascii")
    return {"shape": list(array.shape), "float64": packed}


def _read_array(data: Any) -> Any:
    try:
        shape, values = data["shape"], _read_values(data)
        sound = len(shape) <= MAX_RANK and all(type(size) is int and size >= 0 for size in shape)
        if not sound or math.prod(shape) != len(values):
            raise placed("its shape", wrong(shape, f"that of {len(values)} values"))
        return values.reshape(shape)
    except (KeyError, TypeError) as error:
        raise wrong(data, "an array") from error


def _read_values(data: Any) -> Any:
    """The numbers of an array, one by one or packed."""
    if "float64" not in data:
        return np.array([FINITE.read(value) for value in data["values"]], dtype=np.float64)
    try:
        raw = base64.b64decode(data["float64"], validate=True)
        values = np.frombuffer(raw, dtype="<f8").astype(np.float64)
    except (TypeError, ValueError) as error:  # no base64, or no whole number of numbers
        raise wrong(data["float64"], "numbers in base64") from error
    if not np.isfinite(values).all():
        raise MisfitError("holds a number that is not finite")
    return values


ARRAY = Codec(_write_array, _read_array)


def _write_structure(value: Any) -> Any:
    """What a region returns: numbers of outputs in nested tuples, lists and dicts."""
    if isinstance(value, Mapping):
        return {"dict": [[key, _write_structure(item)] for key, item in value.items()]}
    if isinstance(value, (tuple, list)):
        items = [_write_structure(item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    return value


def _read_structure(data: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise MisfitError("is nested too deeply")
    if data is None or type(data) is int:
        return data
    inner = Codec(_write_structure, lambda item: _read_structure(item, depth + 1))
    if type(data) is list:
        return list(many(inner).read(data))
    if type(data) is dict and set(data) == {"tuple"}:
        return many(inner).read(data["tuple"])
    if type(data) is dict and set(data) == {"dict"}:
        return dict(many(pair(KEY, inner)).read(data["dict"]))
    raise wrong(data, "the structure of an output")


STRUCTURE = Codec(_write_structure, _read_structure)
OPERATORS = Codec(
    lambda operators: OperatorSet.of(operators).to_dict(),
    lambda data: OperatorSet.of(by_name(DATA).read(data)),
)
UNITS = ("units", "output_units", "dimensionless_constants")
# Numbers of outputs are keys, and so texts in JSON.
UNITS_OF_OUTPUTS = Codec(
    lambda units: (
        {str(k): unit for k, unit in units.items()} if isinstance(units, Mapping) else units
    ),
    lambda data: by_number(TEXT).read(data) if type(data) is dict else DATA.read(data),
)
_SIDES = pair(optional(COUNT), optional(COUNT))
_REDUCTIONS = {
    "reduced rank": record(ReducedRank, inputs=optional(COUNT), outputs=optional(COUNT)),
    "products": record(Products, gate=optional(one_of(*GATES))),
}


def _write_reduction(value: Reduction) -> Any:
    """Principal components are their numbers, as they were before there was anything else."""
    if isinstance(value, PCA):
        return _SIDES.write(value)
    kind = "products" if isinstance(value, Products) else "reduced rank"
    return {kind: _REDUCTIONS[kind].write(value)}


def _read_reduction(data: Any) -> Reduction:
    if type(data) is not dict:
        return PCA(*_SIDES.read(data))
    if len(data) != 1 or not set(data) <= set(_REDUCTIONS):
        raise wrong(data, f"one of {', '.join(_REDUCTIONS)}")
    ((kind, row),) = data.items()
    reduction: Reduction = _REDUCTIONS[kind].read(row)
    return reduction


REDUCTION = Codec(_write_reduction, _read_reduction)
record(
    Target,
    later=("rule", "prefer", *LIMITS, *UNITS, "guesses", "affine"),
    **dict.fromkeys((*LIMITS, "units"), DATA),
    output_units=UNITS_OF_OUTPUTS,
    dimensionless_constants=optional(FLAG),
    guesses=Codec(lambda guesses: None, lambda data: None),  # of a search that is over
    names=optional(many(IDENTIFIER)),
    domain=optional(ordered(pair(NUMBER, NUMBER))),
    features=optional(ordered(TEXT)),
    reduce=optional(REDUCTION),
    operators=optional(OPERATORS),
    tolerance=optional(NUMBER),
)
record(Parameter, name=PARAMETER, default=LITERAL)
record(TensorInput, parameter=PARAMETER, keys=many(KEY))
record(TensorOutput)
record(Interface, structure=STRUCTURE, sample_dims=integer(0, MAX_RANK))
_ONE_SIDED = dict.fromkeys(("basis", "offset"), optional(ARRAY))
record(Projection, later=("basis", "offset"), mean=ARRAY, components=ARRAY, **_ONE_SIDED)
record(LowRankMap, down=ARRAY, up=ARRAY, bias=ARRAY)
REGION = record(
    Region,
    later=("affine",),
    names=many(IDENTIFIER),
    dtype=one_of(*FLOATING),
    settings=by_name(SETTING),
)


# --- outcomes ------------------------------------------------------------------------------------

record(DomainIssue, where=by_name(NUMBER))
record(Latency)
record(Shortfall)
record(StandIn)
record(Fidelity, later=("unmeasured", "projections", "shortfalls", "shares", "stand_ins"))


def _read_provenance(data: Any) -> Any:
    """The name of an engine, or what it says of itself, is the one part that is used again."""
    provenance = DATA.read(data)
    if type(provenance) is not dict:
        raise wrong(data, "an object")
    engine = provenance.get("engine", {})
    if type(engine) is not dict:
        raise placed("engine", wrong(engine, "an object"))
    if engine.get("operators"):
        OPERATORS.read(engine["operators"])
    try:
        OperatorSet.described(engine)
    except EngineError as error:
        raise placed("engine", error) from None
    return provenance


PROVENANCE = Codec(DATA.write, _read_provenance)


def _outcomes(front: Codec) -> dict[str, Codec]:
    """By status."""
    rewrite = record(
        Rewrite,
        later=("computes_in",),
        equations=by_number(EQUATION),
        fronts=by_number(front),
        provenance=PROVENANCE,
        ranges=many(pair(FINITE, FINITE)),
        probes=many(many(FINITE), MAX_PROBES),
        computes_in=one_of("", "float64"),
    )
    refusal = record(Refusal, fronts=by_number(front), provenance=PROVENANCE)
    return {"symbolic": rewrite, "neural": refusal}


_OUTCOMES, _WITHOUT_FRONTS = _outcomes(FRONT), _outcomes(_front(_UNBUILT))


def region_to_json(region: Region) -> Any:
    """Plain data of a region, projections included."""
    return without_nan(REGION.write(region), infinite=True)


def region_from_json(data: Any) -> Region:
    """Read `region_to_json` back; ArtifactError names what is wrong and where."""
    region: Region = REGION.read(data)
    with at(f"region {region.path!r}"):
        check_region(region)
    return region


def outcome_to_json(outcome: Outcome) -> Any:
    """Plain data of a rewrite or a refusal; "status" tells which."""
    status = "symbolic" if isinstance(outcome, Rewrite) else "neural"
    return without_nan({"status": status, **_OUTCOMES[status].write(outcome)}, infinite=True)


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
        with at(f"region {region.path!r}"):
            check_region(region)
            check_outcome(region, outcome)
    return outcome if fronts else replace(outcome, fronts={})
