"""The report of a compiled model: its text, HTML and plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import Any

from symcompile.fidelity.outcome import Fidelity, Outcome, OutputFidelity, Refusal, Rewrite
from symcompile.regression.structure.statement import Statement
from symcompile.report.equations import chosen, undecided
from symcompile.report.notes import runner_up


@dataclass(frozen=True)
class Report:
    """Equations of a compiled model, how faithful they are, and what was refused and why.

    `str(report)` is plain text of at most 100 columns, notebooks show `_repr_html_`, and
    `to_dict()` is plain data.

    Attributes:
        outcomes: rewrite or refusal of each region, by path.
        capture: how the model was captured: "fx", "module boundaries" or "artifact".
        note: why it was not captured by torch.fx, "" where it was.
        end_to_end: relative L2 change of the model's output with all targets replaced at once; NaN
            where it was not measured.

    Of an outcome's provenance it shows, where they are there: `engine` (a name, or a mapping with
    `name` and `version`), `seed`, `n_fit` and `n_holdout` (samples), `judged_by` (in words, where
    none are held out).
    """

    outcomes: Mapping[str, Outcome]
    capture: str = ""
    note: str = ""
    end_to_end: float = math.nan

    @property
    def rewrites(self) -> dict[str, Rewrite]:
        return {path: made for path, made in self.outcomes.items() if isinstance(made, Rewrite)}

    @property
    def refusals(self) -> dict[str, Refusal]:
        return {path: made for path, made in self.outcomes.items() if isinstance(made, Refusal)}

    @property
    def parameters_removed(self) -> int:
        return sum(made.fidelity.parameters_removed for made in self.rewrites.values())

    def __str__(self) -> str:
        from symcompile.report.text import render

        return render(self)

    def _repr_html_(self) -> str:
        from symcompile.report.html import render

        return render(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for `json.dumps`.

        Keys: `capture`, `note`, `parameters_removed`, `end_to_end` (all targets at once), and
        `targets`, a list with for each target `path`, `replaced`, `reason` (of a refusal, else
        None), `inputs` (names), `features`, `provenance`, `parameters_removed`, `outputs` (a list,
        see below), `total` (metrics of all replaced outputs together), `end_to_end`, `latency`,
        `domain` (fields of the types of these names in `fidelity.outcome`), `unmeasured` (why, by
        what could not be measured), `projections` (what projected inputs and outputs keep),
        `shortfalls` (equations that the block itself does not compute), `stand_ins` (of a block
        with projections, what else could be in its place), `computes_in` (the wider type inside of
        it, "" where there is none).

        Each of `outputs` has `output`, `equation` (text), `latex`, `complexity`, `constant` (if
        nothing moves it), `constants` (values), `runner_up` (text, or None), `undecided` (a list
        of `equation`, text, and `odds` against it: what the samples can't tell from the choice, by
        odds of 20 to 1), `findings` (where something is known of its structure: a list with `text`,
        `form`, `before`, `after`, `certain`, `law`, `asked`, see `Statement`) and the metrics
        `equation_agreement`, `mean`, `linear`, `extrapolation` (each `r2`, `relative_l2`,
        `max_error`), `gradient`, `worse_than_linear`.

        What was not measured (NaN) is None; infinities are the strings "inf" and "-inf".
        """
        return {
            "capture": self.capture,
            "note": self.note,
            "parameters_removed": self.parameters_removed,
            "end_to_end": plain(self.end_to_end),
            "targets": [plain(_target(path, made)) for path, made in self.outcomes.items()],
        }


def _target(path: str, outcome: Outcome) -> dict[str, Any]:
    region, fidelity = outcome.region, outcome.fidelity or Fidelity({})
    measured = asdict(fidelity)
    return {
        "path": path,
        "replaced": isinstance(outcome, Rewrite),
        "reason": outcome.reason if isinstance(outcome, Refusal) else None,
        "inputs": region.names if region else (),
        "features": (region.target.features if region else None) or {},
        "provenance": outcome.provenance,
        "parameters_removed": fidelity.parameters_removed,
        "outputs": [_output(output, outcome) for output in chosen(outcome)],
        "total": None if fidelity.total is None else _metrics(fidelity.total),
        **{key: measured[key] for key in ("end_to_end", "latency", "projections", "unmeasured")},
        **{key: measured[key] for key in ("shortfalls", "stand_ins")},
        "computes_in": outcome.computes_in if isinstance(outcome, Rewrite) else "",
        "domain": measured["domain"],
    }


def _output(output: int, outcome: Outcome) -> dict[str, Any]:
    equation, second = chosen(outcome)[output], runner_up(outcome, output)
    measured = outcome.fidelity.outputs.get(output) if outcome.fidelity else None
    return {
        "output": output,
        "equation": equation.text(),
        "latex": equation.latex(),
        "complexity": equation.complexity,
        "constant": not equation.uses,
        "constants": equation.constants,
        "runner_up": second[0].text() if second else None,
        "undecided": [
            {"equation": other.equation.text(), "odds": other.odds}
            for other in undecided(outcome, output)
        ],
        **_findings(output, outcome),
        **({} if measured is None else _metrics(measured)),
    }


def _findings(output: int, outcome: Outcome) -> dict[str, Any]:
    front = outcome.fronts.get(output)
    found = () if front is None else front.findings
    names = [field.name for field in fields(Statement) if field.name != "claim"]
    rows = [{name: getattr(finding, name) for name in names} for finding in found]
    return {"findings": rows} if rows else {}


def _metrics(row: OutputFidelity) -> dict[str, Any]:
    measured = asdict(row)
    return {
        "equation_agreement": measured.pop("equation"),
        **measured,
        "worse_than_linear": not row.beats_linear,
    }


def plain(value: Any) -> Any:
    """JSON data: NaN as None, infinities as strings, everything unknown as its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (str, bool)):
        return value
    return int(value) if isinstance(value, Integral) else str(value)
