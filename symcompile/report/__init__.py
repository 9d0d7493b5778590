"""What became of every target: the table that a user sees first.

`str(report)` is plain text of at most 100 columns, notebooks show `_repr_html_`, and `to_dict()`
is plain data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

from symcompile.expressions.equation import Equation
from symcompile.fidelity.outcome import Outcome, OutputFidelity, Refusal, Rewrite
from symcompile.modules.region import Region

WORSE = "worse than linear"
# A choice that won by less than this share of its value is one that a reader should look at.
CLOSE = 0.25


@dataclass(frozen=True)
class Report:
    """Equations of a compiled model, how faithful they are, and what was refused and why.

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
        return {path: one for path, one in self.outcomes.items() if isinstance(one, Rewrite)}

    @property
    def refusals(self) -> dict[str, Refusal]:
        return {path: one for path, one in self.outcomes.items() if isinstance(one, Refusal)}

    @property
    def parameters_removed(self) -> int:
        return sum(one.fidelity.parameters_removed for one in self.rewrites.values())

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
        `shortfalls` (equations that the block itself does not compute), `computes_in` (the wider
        type inside of it, "" where there is none).

        Each of `outputs` has `output`, `equation` (text), `latex`, `complexity`, `constant` (if
        nothing moves it), `constants` (values), `runner_up` (text, or None) and the metrics
        `equation_agreement`, `mean`, `linear`, `extrapolation` (each `r2`, `relative_l2`,
        `max_error`), `gradient`, `worse_than_linear`.

        What was not measured (NaN) is None; infinities are the strings "inf" and "-inf".
        """
        return {
            "capture": self.capture,
            "note": self.note,
            "parameters_removed": self.parameters_removed,
            "end_to_end": plain(self.end_to_end),
            "targets": [_target_dict(path, one) for path, one in self.outcomes.items()],
        }


def headline(report: Report) -> str:
    """How many targets were replaced, and what that removed."""
    done, total = len(report.rewrites), len(report.outcomes)
    removed = f", {_removed(report.parameters_removed)}" if done else ""
    return f"{done} of {total} target{'s' * (total != 1)} replaced by equations{removed}"


def _removed(parameters: int) -> str:
    return f"{parameters:,} parameter{'s' * (parameters != 1)} removed"


def origin(report: Report) -> list[str]:
    """Capture, engines, seeds and sample counts, each named once."""
    found = [f"capture {report.capture}"] if report.capture else []
    found += _distinct("engine", (_engine(one.provenance) for one in report.outcomes.values()))
    counts = ("fitted", "n_fit"), ("held out", "n_holdout"), ("judged by", "judged_by")
    for label, key in (("seed", "seed"), *counts):
        values = (one.provenance.get(key) for one in report.outcomes.values())
        found += _distinct(label, (None if v is None else str(v) for v in values))
    return found


def _distinct(label: str, values: Iterator[str | None]) -> list[str]:
    known = list(dict.fromkeys(value for value in values if value))
    return [f"{label} {', '.join(known)}"] if known else []


def _engine(provenance: Mapping[str, Any]) -> str | None:
    engine = provenance.get("engine")
    if isinstance(engine, Mapping):
        return " ".join(str(engine[key]) for key in ("name", "version") if engine.get(key))
    return None if engine is None else str(engine)


def label(region: Region | None, output: int) -> str:
    """What an equation is called: y[0] is output 0, component[0] the first component of
    projected outputs."""
    projected = region is not None and region.projection_out is not None
    return f"component[{output}]" if projected else f"y[{output}]"


def where_from(region: Region) -> list[str]:
    """What the equations' symbols stand for, where they are not the inputs themselves."""
    lines = []
    if region.projection_in is not None:
        count, size = region.projection_in.components.shape
        lines.append(f"z0..z{count - 1}: {count} principal components of the {size} inputs")
    for name, definition in (region.target.features or {}).items():
        lines.append(f"{name} = {definition}")
    if region.projection_out is not None:
        count, size = region.projection_out.components.shape
        lines.append(f"components: {count} principal components of the {size} outputs")
    return lines


def chosen(outcome: Outcome) -> dict[int, Equation]:
    """The equations of an outcome; of a refusal those that were refused."""
    if isinstance(outcome, Rewrite):
        return dict(sorted(outcome.equations.items()))
    fronts = sorted(outcome.fronts.items())
    return {output: front.best for output, front in fronts if len(front)}


def metrics_rows(outcome: Outcome) -> list[tuple[str, Equation | None, OutputFidelity]]:
    """Rows of the table: one an equation, then all together where that says something new."""
    fidelity, region = outcome.fidelity, outcome.region
    if fidelity is None:
        return []
    equations = chosen(outcome)
    rows: list[tuple[str, Equation | None, OutputFidelity]] = [
        (label(region, output), equations.get(output), row)
        for output, row in sorted(fidelity.outputs.items())
    ]
    projected = region is not None and region.projection_out is not None
    if fidelity.total is not None and (len(rows) > 1 or projected):
        rows.append(("together", None, fidelity.total))
    return rows


def real_rows(outcome: Outcome) -> dict[str, OutputFidelity]:
    """Figures of the block's own outputs: of each one, after a projection of all together."""
    fidelity, region = outcome.fidelity, outcome.region
    if fidelity is None:
        return {}
    if region is not None and region.projection_out is not None and fidelity.total is not None:
        return {"together": fidelity.total}
    return {label(region, output): row for output, row in sorted(fidelity.outputs.items())}


def worst(outcome: Outcome) -> float:
    """Largest held-out relative L2 among real outputs, NaN if nothing was measured."""
    values = [row.equation.relative_l2 for row in real_rows(outcome).values()]
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def title(path: str, outcome: Outcome) -> str:
    """What became of one target."""
    name = "the whole model (.)" if path == "." else path
    if isinstance(outcome, Refusal):
        return f"{name}: stays neural"
    interface, removed = outcome.region.interface, outcome.fidelity.parameters_removed
    n, m = interface.n_inputs, interface.n_outputs
    sizes = f"{n} input{'s' * (n != 1)} -> {m} output{'s' * (m != 1)}"
    return f"{name}: replaced, {sizes}, {_removed(removed)}"


def _target_dict(path: str, outcome: Outcome) -> dict[str, Any]:
    region, fidelity = outcome.region, outcome.fidelity
    return {
        "path": path,
        "replaced": isinstance(outcome, Rewrite),
        "reason": outcome.reason if isinstance(outcome, Refusal) else None,
        "inputs": list(region.names) if region else [],
        "features": dict(region.target.features or {}) if region else {},
        "provenance": plain(outcome.provenance),
        "parameters_removed": fidelity.parameters_removed if fidelity else 0,
        "outputs": [_output_dict(output, outcome) for output in chosen(outcome)],
        "total": _metrics_dict(fidelity.total if fidelity else None),
        "end_to_end": plain(asdict(fidelity.end_to_end))
        if fidelity and fidelity.end_to_end
        else None,
        "latency": [plain(asdict(one)) for one in fidelity.latency] if fidelity else [],
        "projections": plain({s: asdict(one) for s, one in fidelity.projections.items()})
        if fidelity
        else {},
        "unmeasured": dict(fidelity.unmeasured) if fidelity else {},
        "shortfalls": [plain(asdict(one)) for one in fidelity.shortfalls] if fidelity else [],
        "computes_in": outcome.computes_in if isinstance(outcome, Rewrite) else "",
        "domain": [plain(asdict(one)) for one in fidelity.domain] if fidelity else [],
    }


def _output_dict(output: int, outcome: Outcome) -> dict[str, Any]:
    equation = chosen(outcome)[output]
    row = outcome.fidelity.outputs.get(output) if outcome.fidelity else None
    second = runner_up(outcome, output)
    return {
        "output": output,
        "equation": equation.text(),
        "latex": equation.latex(),
        "complexity": equation.complexity,
        "constant": not equation.uses,
        "constants": plain(equation.constants),
        "runner_up": second[0].text() if second else None,
        **(_metrics_dict(row) or {}),
    }


def _metrics_dict(row: OutputFidelity | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "equation_agreement": plain(asdict(row.equation)),
        "mean": plain(asdict(row.mean)),
        "linear": plain(asdict(row.linear)),
        "extrapolation": plain(asdict(row.extrapolation)),
        "gradient": plain(row.gradient),
        "worse_than_linear": not row.beats_linear,
    }


def runner_up(outcome: Outcome, output: int) -> tuple[Equation, str] | None:
    """The other equation that came closest to being chosen, and a word on it.

    Where a user chose by hand, that is what the compiler would have chosen.
    """
    front, equation = outcome.fronts.get(output), chosen(outcome).get(output)
    if front is None or len(front) == 0:
        return None
    if equation != front.best:
        return front.best, "the automatic choice"
    second = front.runner_up
    if second is None:
        return None
    close = "a close call, " if second.margin < CLOSE else ""
    return second.equation, f"{close}margin {second.margin:.2f} of 1"


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
