"""A report as plain text: ASCII, at most 100 columns."""

from __future__ import annotations

import math
from functools import partial

from symcompile.errors import one_line
from symcompile.fidelity.outcome import Outcome, Refusal, Rewrite
from symcompile.report.equations import chosen, doubts, equations, where_from
from symcompile.report.metrics import LEGEND, figure
from symcompile.report.notes import (
    WORSE,
    Table,
    headline,
    notes,
    origin,
    real_rows,
    table,
    title,
    together,
)
from symcompile.report.plain_text import aligned, cut, wrapped
from symcompile.report.report import Report

WIDTH = 100
EQUATION_LINES = 3

_wrapped = partial(wrapped, width=WIDTH)


def render(report: Report) -> str:
    lines = [f"symcompile: {headline(report)}"]
    lines += _wrapped(" | ".join(origin(report)))
    if report.note:
        lines += _wrapped(f"not traced by torch.fx: {report.note}", rest="  ")
    lines += _wrapped(together(report))
    if len(report.outcomes) > 1:
        lines += ["", *_overview(report)]
    for path, outcome in report.outcomes.items():
        lines += ["", *_section(path, outcome)]
    if any(table(outcome) for outcome in report.outcomes.values()):
        lines += ["", *_wrapped(LEGEND)]
    # Of a loaded model any of it may be what a stranger wrote.
    return "\n".join(one_line(line.rstrip()) for line in lines)


# --- all targets -----------------------------------------------------------------------------


def _overview(report: Report) -> list[str]:
    wide = min(max(len("target"), *(len(path) for path in report.outcomes)), 28)
    header = (
        "target".ljust(wide)
        + "  outcome        equations  complexity  worst L2  end to end  parameters"
    )
    rows = [_overview_row(path, outcome, wide) for path, outcome in report.outcomes.items()]
    marked = any(_falls_short(outcome) for outcome in report.outcomes.values())
    mark = [f"(!) an equation does {WORSE}: a linear map of the same inputs is closer"] * marked
    return [header, "-" * len(header), *rows, *mark]


def _falls_short(outcome: Outcome) -> bool:
    rows = real_rows(outcome).values()
    return isinstance(outcome, Rewrite) and not all(row.beats_linear for row in rows)


def _overview_row(path: str, outcome: Outcome, wide: int) -> str:
    replaced, fidelity = isinstance(outcome, Rewrite), outcome.fidelity
    state = (
        ("replaced (!)" if _falls_short(outcome) else "replaced") if replaced else "stays neural"
    )
    costs = [equation.complexity for equation in chosen(outcome).values()] if replaced else []
    span = f"{min(costs)}-{max(costs)}" if len(set(costs)) > 1 else "".join(map(str, costs[:1]))
    errors = [row.equation.relative_l2 for row in real_rows(outcome).values()]
    worst = max((error for error in errors if not math.isnan(error)), default=math.nan)
    change = fidelity.end_to_end.equation if fidelity and fidelity.end_to_end else math.nan
    removed = -fidelity.parameters_removed if fidelity and replaced else 0
    return (
        f"{cut(path, wide):<{wide}}  {state:<13}  {len(costs):>9}  {span or '-':>10}"
        f"  {figure(worst):>8}  {figure(change):>10}  {removed:>10,}"
    )


# --- one target ------------------------------------------------------------------------------


def _section(path: str, outcome: Outcome) -> list[str]:
    name, state, sizes = title(path, outcome)
    heading, figures = f"{name}: {state}{sizes}", table(outcome)
    lines = [*_wrapped(heading, rest="  "), "-" * min(len(heading), WIDTH)]
    if isinstance(outcome, Refusal):
        lines += _wrapped(outcome.reason, "  ", "  ")
    lines += _equations(path, outcome)
    if figures is not None:
        lines += ["", *_figures(figures)]
    remarks = [
        line
        for name, text in notes(path, outcome)
        for line in _wrapped(text, f"  {name:<12}", " " * 14)
    ]
    return [*lines, "", *remarks] if remarks else lines


def _equations(path: str, outcome: Outcome) -> list[str]:
    lines, shown = [], []
    for lead, text, structure in equations(outcome):
        shown.append(_elided(text, f"  {lead}"))
        lines += shown[-1][0]
        found = _wrapped(structure, "    structure: ", "      ")
        cut_off = found[EQUATION_LINES:] and "      ..."
        lines += [*found[:EQUATION_LINES], *([cut_off] if cut_off else [])]
    for line in [*doubts(outcome), *where_from(path, outcome)]:
        lines += _wrapped(line, "    ", "      ")
    if not all(whole for _, whole in shown):
        place = "equations" if isinstance(outcome, Rewrite) else "fronts"
        lines += _wrapped(f"in full: compiled.{place}[{path!r}]", "    ", "      ")
    return lines


def _elided(text: str, lead: str) -> tuple[list[str], bool]:
    """An equation on a few lines, and whether that is all of it."""
    lines = _wrapped(text, lead, " " * min(len(lead), 12))
    if len(lines) <= EQUATION_LINES:
        return lines, True
    room = WIDTH - len(f" ... ({len(text)} more characters)")
    last = lines[EQUATION_LINES - 1]
    if len(last) > room:
        last = last[: max(last.rfind(" ", 0, room + 1), room // 2)].rstrip()
    lines = [*lines[: EQUATION_LINES - 1], last]
    shown = " ".join(line.strip() for line in lines).removeprefix(lead.strip()).strip()
    lines[-1] += f" ... ({len(text) - len(shown)} more characters)"
    return lines, False


def _figures(figures: Table) -> list[str]:
    columns = [[column.top, column.bottom, *column.cells] for column in figures.columns]
    rows = list(zip(["", "output", *figures.names], *columns, strict=True))
    lines = [f"  {line}" for line in aligned(rows)]
    mark = WORSE if len(lines[1]) + 2 + len(WORSE) <= WIDTH else "!"
    marks = ["", "", *(f"  {mark}" if worse else "" for worse in figures.worse)]
    return [line + mark for line, mark in zip(lines, marks, strict=True)]
