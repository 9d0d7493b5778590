"""Files of before, in the form of today: what was written in another arrangement.

Nothing is checked that the readers of today check; whatever else is wrong ends at the wall around
every reader, see `reading`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from symcompile.errors import shown
from symcompile.storage.codecs import integer, listed, mapping
from symcompile.storage.equations import FIDELITY
from symcompile.storage.reading import MisfitError, at

Json = dict[str, Any]


# --- .symc of format 1 ---------------------------------------------------------------------------


def outcomes_of_format_1(document: Mapping[str, Any]) -> Json:
    """Outcomes whose equations were those of `Equation.to_json`, and figures named as in memory."""
    return {path: _outcome(row) for path, row in document.items()}


def _outcome(row: Json) -> Json:
    outcome = dict(row)
    if "equations" in row:
        outcome["equations"] = {k: _equation(equation) for k, equation in row["equations"].items()}
    outcome["fronts"] = {
        k: {**front, "equations": [_equation(equation) for equation in front["equations"]]}
        for k, front in row["fronts"].items()
    }
    figures = row["fidelity"]
    if figures is not None:
        change, total = figures["end_to_end"], figures["total"]
        outcome["fidelity"] = {
            **figures,
            "outputs": {k: _fidelity(figure) for k, figure in figures["outputs"].items()},
            "total": None if total is None else _fidelity(total),
            "end_to_end": None if change is None else {**change, "relative_l2": change["equation"]},
        }
    return outcome


def _equation(row: Json) -> Json:
    constants = {f"c[{k}]": value for k, value in enumerate(listed(row["constants"]))}
    rest = {key: row[key] for key in row if key not in ("text", "symbols")}
    return {**rest, "variables": row["symbols"], "constants": constants}


def _fidelity(row: Json) -> Json:
    return {
        **row["equation"],
        "gradient_relative_l2": row["gradient"],
        "extrapolation": row["extrapolation"],
        "controls": {"mean": row["mean"], "linear": row["linear"]},
    }


# --- blocks whose projections were buffers -------------------------------------------------------

_BUFFERS = re.compile(r"projection_(in|out)(\d*)_(weight|bias)")


def as_layers(state: Mapping[str, Any]) -> Json:
    """Parameters and buffers of a block, those of projections by the names of Linear layers."""
    return {_of_layer(name): tensor for name, tensor in state.items()}


def _of_layer(name: str) -> str:
    found = _BUFFERS.fullmatch(name)
    if found is None:
        return name
    side, number, kind = found.groups()
    return f"project_{side}{number.lstrip('0')}.{kind}"


# --- ONNX metadata of before it was a manifest's -------------------------------------------------


def is_older_metadata(row: Json) -> bool:
    return "neural" in row or "status" not in row or type(row.get("equations")) is list


def older_metadata(row: Json) -> Json:
    """The row of a target whose equations stood in a list, with what viewers show beside them.

    Raises ArtifactError where the two say different things.
    """
    target = {**row, "end_to_end": row.get("end_to_end") or None}
    if "neural" in row:
        return {**target, "reason": row["neural"], "status": "neural"}
    equations: Json = {}
    for equation in listed(row.get("equations")):
        number = str(integer(0, 999_999).read(mapping(equation).get("output")))
        if number in equations:
            raise MisfitError(f"has output {number} twice")
        with at(f"output {number}"):
            equations[number] = _shown_equation(equation)
    target |= {"status": "symbolic", "equations": equations, "probes": None}
    if "probe_outputs" in row:
        variables = row.get("probe_variables")
        target["probes"] = {"inputs": row.get("probes"), "outputs": row["probe_outputs"]}
        target["probes"] |= {} if variables is None else {"variables": variables}
    return target


def _shown_equation(row: Json) -> Json:
    stored = mapping(row.get("equation"))
    for key in ("text", "complexity"):
        if row.get(key) != stored.get(key):
            said = f"{shown(row.get(key))} and {shown(stored.get(key))}"
            raise MisfitError(f"was edited: its {key} is {said}")
    more = {key: row.get(key) for key in ("form", "operators")}
    return {**_equation(stored), **more, "equation": row.get("text"), "fidelity": _shown(row)}


def _shown(row: Json) -> Any:
    """What stands there for viewers has to be the same."""
    if "r2" not in row:
        return None
    plain: Json = {key: row.get(key) for key in ("r2", "relative_l2", "max_error")}
    plain["extrapolation"] = {"relative_l2": row.get("extrapolation_relative_l2")}
    plain["controls"] = {"linear": {"relative_l2": row.get("linear_relative_l2")}}
    full = row.get("fidelity", plain)
    ours, theirs = (_of_viewers(FIDELITY.read(said)) for said in (plain, full))
    if ours != theirs:
        raise MisfitError("was edited: its fidelity says two things")
    return full


def _of_viewers(fidelity: Any) -> str:
    return repr(
        (fidelity.equation, fidelity.extrapolation.relative_l2, fidelity.linear.relative_l2)
    )
