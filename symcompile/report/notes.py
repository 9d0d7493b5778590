"""Figures and remarks of a report in words, shared by its plain and its HTML form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from symcompile.expressions.equation import Equation
from symcompile.fidelity.outcome import (
    MOVED,
    DomainIssue,
    EndToEnd,
    Fidelity,
    Latency,
    Outcome,
    OutputFidelity,
    Rewrite,
)
from symcompile.report import WORSE, Report, chosen, label, real_rows, runner_up
from symcompile.report.metrics import METRICS, Metric, figure, r2

RUNNERS_UP = 3
DOMAIN_ISSUES = 4

Row = tuple[str, Equation | None, OutputFidelity]
Note = tuple[str, str]


class Column(NamedTuple):
    """A column of figures: its two header lines, and what stands in it."""

    top: str
    bottom: str
    cell: Callable[[Row], str]


def _column(metric: Metric) -> Column:
    return Column(*metric.column, lambda row: metric.show(metric.of(row[2])))


COLUMNS = (
    Column("com-", "plexity", lambda row: str(row[1].complexity) if row[1] else ""),
    *map(_column, METRICS),
)


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns that hold a figure in any of the rows."""
    return [one for one in COLUMNS if any(one.cell(row) not in ("", "-") for row in rows)]


def together(report: Report) -> str:
    """What all replacements at once do to the model, "" where it was not measured."""
    if math.isnan(report.end_to_end) or not report.rewrites:
        return ""
    return (
        f"all of it in place, the model's output moves by {figure(report.end_to_end)} (relative L2)"
    )


def notes(path: str, outcome: Outcome) -> Iterator[Note]:
    """Remarks on one target: a name, "" where it goes on with that of the one before; a text."""
    fidelity = outcome.fidelity
    if fidelity is not None:
        yield from _named("warning", [*_constant(outcome), *_worse(outcome)])
        yield from _named("projection", list(_projections(fidelity)))
        yield from _named("precision", list(_precision(outcome, fidelity)))
        yield from _named(
            "domain", [_domain(one, outcome) for one in fidelity.domain], DOMAIN_ISSUES
        )
        if "judged_by" in outcome.provenance:
            yield "judged by", _folds(str(outcome.provenance["judged_by"]))
        if fidelity.end_to_end is not None:
            yield "end to end", _end_to_end(fidelity.end_to_end)
        for what, why in fidelity.unmeasured.items():
            yield "not measured", f"{what} ({cut(why, 120)})"
    if isinstance(outcome, Rewrite):
        if MOVED in outcome.provenance:
            found = outcome.provenance[MOVED]
            yield "choice", f"the simplest that passes, since of the default choice: {found}"
        yield from _runners_up(path, outcome)
        yield from _named("latency", [_latency(one) for one in outcome.fidelity.latency])


def _named(name: str, texts: Sequence[str], most: int = 99, more: str = "") -> Iterator[Note]:
    shown = list(texts[:most])
    if len(texts) > most:
        shown.append(f"and {len(texts) - most} more{more}")
    yield from ((name if k == 0 else "", text) for k, text in enumerate(shown))


def _worse(outcome: Outcome) -> Iterator[str]:
    labels = [name for name, row in real_rows(outcome).items() if not row.beats_linear]
    if labels:
        yield (
            f"{', '.join(labels)}: {WORSE}. A linear map of the block's inputs is closer to it;"
            " beat_linear=True takes another equation, or refuses"
        )


def _constant(outcome: Outcome) -> Iterator[str]:
    """Whatever the inputs are: a reader has to know that nothing of them is left."""
    found = chosen(outcome)
    constant = [output for output, one in found.items() if not one.uses]
    if not constant or not isinstance(outcome, Rewrite):
        return
    labels = ", ".join(label(outcome.region, output) for output in constant)
    removed = outcome.fidelity.parameters_removed if len(constant) == len(found) else 0
    of = f" of {count(removed, 'parameter')}" if removed else ""
    yield (
        f"{labels}: a constant stands in place of the block{of}, which no input moves any more."
        " Either the block hardly varies on this data, or no equation in reach says how it does"
    )


def _folds(judged_by: str) -> str:
    return (
        f"{judged_by}, since all were fitted to: in place of held-out samples, each row is"
        " predicted by constants, and by controls, that were fitted without it. That the form was"
        " chosen with all of them in sight is not in these figures"
    )


def _projections(fidelity: Fidelity) -> Iterator[str]:
    for side, one in fidelity.projections.items():
        text = f"components hold {_percent(one.variance)} of the variance of the {side}"
        if not math.isnan(one.relative_l2):
            text += (
                f"; rebuilt from them, the outputs are off by {figure(one.relative_l2)} (relative"
                " L2), and no equations of them can be closer"
                if side == "outputs"
                else f"; on inputs rebuilt from them, the neural block itself is off by"
                f" {figure(one.relative_l2)} (relative L2)"
            )
        yield text
    if "outputs" in fidelity.projections:
        yield (
            "mean and linear map of a component are projected onto it; together, real outputs are"
            " compared, and the map is that of the block itself"
        )


def _percent(share: float) -> str:
    """Rounded down, so that what is lost shows."""
    return f"{math.floor(share * 1e4) / 1e2:.4g} %" if math.isfinite(share) else figure(share)


def _precision(outcome: Outcome, fidelity: Fidelity) -> Iterator[str]:
    region = outcome.region
    for one in fidelity.shortfalls:
        yield f"{'together' if one.output is None else label(region, one.output)} {one}"
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


def _runners_up(path: str, outcome: Rewrite) -> Iterator[Note]:
    texts = []
    for output in chosen(outcome):
        second = runner_up(outcome, output)
        if second is not None:
            equation, word = second
            text = cut(equation.text(), 60)
            about = f"complexity {equation.complexity}"
            about += f", R2 {r2(outcome.fronts[output].r2(equation))}; {word}"
            texts.append(f"{label(outcome.region, output)} = {text}  ({about})")
    yield from _named("runner-up", texts, RUNNERS_UP, f" in compiled.fronts[{path!r}]")


def _latency(timing: Latency) -> str:
    ratio = timing.neural / timing.equation if timing.equation > 0 else math.nan
    faster = ratio if ratio >= 1 else 1 / ratio
    shown = f"{faster:.0f}" if faster >= 10 else f"{faster:.2g}"
    speed = f"{shown} times as {'fast' if ratio >= 1 else 'slow'}" if shown != "1" else "as fast"
    return (
        f"batch {timing.batch}: neural {_time(timing.neural)}, equations {_time(timing.equation)},"
        f" {speed} ({count(timing.threads, 'thread')})"
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _domain(issue: DomainIssue, outcome: Outcome) -> str:
    place = "on recorded samples" if issue.on_data else "inside the recorded range"
    point = ", ".join(f"{name} = {value:.4g}" for name, value in list(issue.where.items())[:4])
    point += ", ..." if len(issue.where) > 4 else ""
    near = f", near {point}" if point else ""
    operation = cut(issue.operation, 60)
    return f"{label(outcome.region, issue.output)}: in {operation} {issue.problem} {place}{near}"


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
