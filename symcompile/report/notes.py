"""What a report says, however it is written: headings, equations, figures and remarks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from symcompile.errors import SymCompileError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.fidelity.outcome import (
    OVERRULED,
    RULE,
    DomainIssue,
    EndToEnd,
    Fidelity,
    Latency,
    Outcome,
    OutputFidelity,
    Refusal,
    Rewrite,
)
from symcompile.regression.pareto import in_odds
from symcompile.report.equations import RUNNERS_UP, chosen, label, shown, undecided
from symcompile.report.metrics import CONTROLS, METRICS, figure, r2
from symcompile.report.plain_text import count, cut

if TYPE_CHECKING:
    from symcompile.report.report import Report

WORSE = "worse than linear"
DOMAIN_ISSUES = 4

_LEFT_OUT = (
    ", since all were fitted to: in place of held-out samples, each row is predicted by constants,"
    " and by controls, that were fitted without it. That the form was chosen with all of them in"
    " sight is not in these figures"
)

Note = tuple[str, str]

# --- the whole model -------------------------------------------------------------------------


def headline(report: Report) -> str:
    """How many targets were replaced, and what that removed."""
    done, total = len(report.rewrites), len(report.outcomes)
    removed = f", {count(report.parameters_removed, 'parameter')} removed" if done else ""
    return f"{done} of {count(total, 'target')} replaced by equations{removed}"


def origin(report: Report) -> list[str]:
    """Capture, engines, seeds and sample counts, each named once."""
    lines = [f"capture {report.capture}"] if report.capture else []
    keys = {"engine": "engine", "seed": "seed", "fitted": "n_fit", "held out": "n_holdout"}
    for name, key in {**keys, "judged by": "judged_by"}.items():
        values = [outcome.provenance.get(key) for outcome in report.outcomes.values()]
        texts = dict.fromkeys(_as_text(value) for value in values if value is not None)
        texts.pop("", None)
        lines += [f"{name} {', '.join(texts)}"] if texts else []
    return lines


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):  # an engine
        return " ".join(str(value[key]) for key in ("name", "version") if value.get(key))
    return str(value)


def together(report: Report) -> str:
    """What all replacements at once do to the model, "" where it was not measured."""
    if math.isnan(report.end_to_end) or not report.rewrites:
        return ""
    return (
        f"all of it in place, the model's output moves by {figure(report.end_to_end)} (relative L2)"
    )


# --- one target ------------------------------------------------------------------------------


def title(path: str, outcome: Outcome) -> tuple[str, str, str]:
    """A target, what became of it, and sizes, "" where it stays neural."""
    name = "the whole model (.)" if path == "." else path
    if isinstance(outcome, Refusal):
        return name, "stays neural", ""
    interface, removed = outcome.region.interface, outcome.fidelity.parameters_removed
    n, m = interface.n_inputs, interface.n_outputs
    sizes = f"{n} input{'s' * (n != 1)} -> {m} output{'s' * (m != 1)}"
    return name, "replaced", f", {sizes}, {count(removed, 'parameter')} removed"


# --- its figures -----------------------------------------------------------------------------


def real_rows(outcome: Outcome) -> dict[str, OutputFidelity]:
    """Figures of the block's own outputs: of each one, after a projection of all together."""
    fidelity, region = outcome.fidelity, outcome.region
    if fidelity is None:
        return {}
    if region is not None and region.projection_out is not None and fidelity.total is not None:
        return {"together": fidelity.total}
    return {label(region, output): row for output, row in sorted(fidelity.outputs.items())}


class Column(NamedTuple):
    """Both header lines, whether it is that of a control, and the cells below."""

    top: str
    bottom: str
    control: bool
    cells: list[str]


class Table(NamedTuple):
    """The figures of an outcome: a row for each equation, then one for all of them together where
    that says something new.

    Attributes:
        names: of the rows.
        columns: those that hold a figure in any row.
        worse: of each row, whether a linear map does better.
    """

    names: list[str]
    columns: list[Column]
    worse: list[bool]


def table(outcome: Outcome) -> Table | None:
    """None where nothing was measured."""
    fidelity, region, used = outcome.fidelity, outcome.region, chosen(outcome)
    if fidelity is None:
        return None
    order = [k for k in shown(outcome) if k in fidelity.outputs] or sorted(fidelity.outputs)
    rows = {label(region, output): fidelity.outputs[output] for output in order}
    costs = [str(used[k].complexity) if k in used else "" for k in order]
    projected = region is not None and region.projection_out is not None
    if fidelity.total is not None and (len(rows) > 1 or projected):
        rows["together"] = fidelity.total
        costs.append("")
    columns = [Column("com-", "plexity", False, costs)]
    for metric in METRICS:
        cells = [metric.show(metric.of(row)) for row in rows.values()]
        columns.append(Column(*metric.column, metric.key in CONTROLS, cells))
    columns = [column for column in columns if not {*column.cells} <= {"", "-"}]
    worse = [not row.beats_linear for row in rows.values()]
    return Table(list(rows), columns, worse) if rows else None


# --- remarks on it ---------------------------------------------------------------------------


def notes(path: str, outcome: Outcome) -> Iterator[Note]:
    """Remarks on one target: a name, "" where it goes on with that of the one before; a text."""
    fidelity = outcome.fidelity
    if fidelity is not None:
        yield from _named("warning", list(_warnings(outcome)))
        yield from _named("projection", list(_projections(fidelity)))
        yield from _named("precision", list(_precision(outcome, fidelity)))
        issues = [_domain(issue, outcome) for issue in fidelity.domain]
        yield from _named("domain", issues, DOMAIN_ISSUES)
        if "judged_by" in outcome.provenance:
            yield "judged by", f"{outcome.provenance['judged_by']}{_LEFT_OUT}"
        if fidelity.end_to_end is not None:
            yield "end to end", _end_to_end(fidelity.end_to_end)
        yield from _named("instead", list(_stand_ins(fidelity)))
        for what, why in fidelity.unmeasured.items():
            yield "not measured", f"{what} ({cut(why, 120)})"
    if isinstance(outcome, Rewrite):
        if OVERRULED in outcome.provenance:
            why = outcome.provenance[OVERRULED]
            yield "choice", f"the simplest that passes, since of the default choice: {why}"
        yield from _asked(outcome)
        if RULE in outcome.provenance:
            yield "rule", f"{outcome.provenance[RULE]!r} of ParetoFront.select chose"
        more = f" in compiled.fronts[{path!r}]"
        yield from _named("runner-up", list(_runners_up(outcome)), RUNNERS_UP, more)
        yield from _named("latency", [_latency(timing) for timing in outcome.fidelity.latency])


def _asked(outcome: Outcome) -> Iterator[Note]:
    """Units that equations go together in, and operators of the user's own."""
    engine = outcome.provenance.get("engine")
    if not isinstance(engine, Mapping) or not engine.get("operators"):
        return
    try:
        operators = OperatorSet.described(engine)
    except SymCompileError:  # of an engine with words of its own
        return
    for own in operators.custom:
        arguments = ", ".join("ab"[: own.arity])
        yield (
            "operator",
            f"{own.name}({arguments}) = {cut(own.text, 80)}, of complexity {own.complexity}",
        )
    dimensions = operators.dimensions
    if dimensions is not None:
        known = ", ".join(f"{name} {dimensions.text(of)}" for name, of in dimensions.inputs)
        yield "units", f"{cut(known, 200)}: all equations of the fronts go together in them"


def _named(name: str, texts: Sequence[str], most: int = 99, more: str = "") -> Iterator[Note]:
    shown = list(texts[:most])
    if len(texts) > most:
        shown.append(f"and {len(texts) - most} more{more}")
    yield from ((name if k == 0 else "", text) for k, text in enumerate(shown))


def _warnings(outcome: Outcome) -> Iterator[str]:
    """Of constants, since a reader has to know that nothing of the inputs is left; and of equations
    that are worse than a linear map."""
    used = chosen(outcome)
    constant = [output for output, equation in used.items() if not equation.uses]
    if constant and isinstance(outcome, Rewrite):
        labels = ", ".join(label(outcome.region, output) for output in constant)
        removed = outcome.fidelity.parameters_removed if len(constant) == len(used) else 0
        of = f" of {count(removed, 'parameter')}" if removed else ""
        yield (
            f"{labels}: a constant stands in place of the block{of}, which no input moves any more."
            " Either the block hardly varies on this data, or no equation in reach says how it does"
        )
    worse = [name for name, row in real_rows(outcome).items() if not row.beats_linear]
    if worse:
        yield (
            f"{', '.join(worse)}: {WORSE}. A linear map of the block's inputs is closer to it;"
            " beat_linear=True takes another equation, or refuses"
        )


def _projections(fidelity: Fidelity) -> Iterator[str]:
    lost = {
        "outputs": "; rebuilt from them, the outputs are off by {} (relative L2), and no equations"
        " of them can be closer",
        "inputs": "; on inputs rebuilt from them, the neural block itself is off by {} (relative"
        " L2)",
    }
    sides = {side: kept for side, kept in fidelity.projections.items() if side in lost}
    if (alone := fidelity.projections.get("affine")) is not None:
        yield (
            f"the affine map explains {_share(alone.variance)} of the variance of the outputs;"
            f" alone it is off by {figure(alone.relative_l2)} (relative L2)"
        )
    for side, kept in sides.items():
        part = _share(kept.variance)
        text = "" if math.isnan(kept.relative_l2) else lost[side].format(figure(kept.relative_l2))
        yield f"components hold {part} of the variance of the {side}{text}"
    if "outputs" in fidelity.projections:
        yield (
            "mean and linear map of a component are projected onto it; together, real outputs are"
            " compared, and the map is that of the block itself"
        )


def _stand_ins(fidelity: Fidelity) -> Iterator[str]:
    for name, instead in fidelity.stand_ins.items():
        moved = instead.end_to_end
        whole = "" if math.isnan(moved) else f", the model's by {figure(moved)}"
        yield f"{name}: the block's outputs are off by {figure(instead.relative_l2)}{whole}"


def _share(variance: float) -> str:
    """Rounded down, so that what is lost shows."""
    if not math.isfinite(variance):
        return figure(variance)
    return f"{math.floor(variance * 1e4) / 1e2:.4g} %"


def _precision(outcome: Outcome, fidelity: Fidelity) -> Iterator[str]:
    for shortfall in fidelity.shortfalls:
        output = shortfall.output
        yield f"{'together' if output is None else label(outcome.region, output)} {shortfall}"
    if isinstance(outcome, Rewrite) and outcome.computes_in:
        yield (
            f"computes in {outcome.computes_in} inside: {outcome.region.dtype} has not the range or"
            " the digits for it"
        )


def _end_to_end(change: EndToEnd) -> str:
    worse = "" if change.beats_linear else f"; {WORSE}"
    return (
        f"the model's output moves by {figure(change.equation)} (mean instead:"
        f" {figure(change.mean)}, linear map: {figure(change.linear)}), relative L2 on"
        f" {change.data}{worse}"
    )


def runner_up(outcome: Outcome, output: int) -> tuple[Equation, str] | None:
    """The other equation that came closest to being chosen, and a word on it.

    Where a user chose by hand, that is what the compiler would have chosen.
    """
    front, equation = outcome.fronts.get(output), chosen(outcome).get(output)
    if front is None or len(front) == 0:
        return None
    if equation != front.best:
        return front.best, "the automatic choice"
    if front.rule:
        return None if equation == front.law else (front.law, "the choice without a rule")
    second = front.runner_up
    if second is None:
        return None
    if second in front.undecided:
        return second.equation, f"odds {in_odds(second)}"
    return second.equation, f"{second.margin:.3g} nats behind"


def _runners_up(outcome: Rewrite) -> Iterator[str]:
    for output in chosen(outcome):
        second = runner_up(outcome, output)
        if second is not None and not undecided(outcome, output):
            equation, word = second
            text = f"{label(outcome.region, output)} = {cut(equation.text(), 60)}"
            share = r2(outcome.fronts[output].r2(equation))
            yield f"{text}  (complexity {equation.complexity}, R2 {share}; {word})"


def _latency(timing: Latency) -> str:
    ratio = timing.neural / timing.equation if timing.equation > 0 else math.nan
    faster = ratio if ratio >= 1 else 1 / ratio
    shown = f"{faster:.0f}" if faster >= 10 else f"{faster:.2g}"
    speed = f"{shown} times as {'fast' if ratio >= 1 else 'slow'}" if shown != "1" else "as fast"
    neural, equation = (
        f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
        for seconds in (timing.neural, timing.equation)
    )
    return (
        f"batch {timing.batch}: neural {neural}, equations {equation}, {speed}"
        f" ({count(timing.threads, 'thread')})"
    )


def _domain(issue: DomainIssue, outcome: Outcome) -> str:
    place = "on recorded samples" if issue.on_data else "inside the recorded range"
    near = f", near {issue.point}" if issue.point else ""
    return f"{label(outcome.region, issue.output)}: {issue} {place}{near}"
