"""A report as plain text: ASCII, at most 100 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from symcompile.errors import one_line
from symcompile.fidelity.outcome import Outcome, Refusal, Rewrite
from symcompile.report import (
    WORSE,
    Report,
    chosen,
    headline,
    label,
    metrics_rows,
    origin,
    real_rows,
    title,
    where_from,
    worst,
)
from symcompile.report.metrics import LEGEND, figure
from symcompile.report.notes import Row, columns, cut, notes, together

WIDTH = 100
EQUATION_LINES = 3


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
    if any(metrics_rows(outcome) for outcome in report.outcomes.values()):
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


def _state(outcome: Outcome) -> str:
    if not isinstance(outcome, Rewrite):
        return "stays neural"
    return "replaced (!)" if _falls_short(outcome) else "replaced"


def _falls_short(outcome: Outcome) -> bool:
    rows = real_rows(outcome).values()
    return isinstance(outcome, Rewrite) and not all(row.beats_linear for row in rows)


def _overview_row(path: str, outcome: Outcome, wide: int) -> str:
    replaced, fidelity = isinstance(outcome, Rewrite), outcome.fidelity
    costs = [equation.complexity for equation in chosen(outcome).values()] if replaced else []
    span = f"{min(costs)}-{max(costs)}" if len(set(costs)) > 1 else "".join(map(str, costs[:1]))
    change = fidelity.end_to_end.equation if fidelity and fidelity.end_to_end else math.nan
    removed = -fidelity.parameters_removed if fidelity and replaced else 0
    return "  ".join(
        [
            cut(path, wide).ljust(wide),
            _state(outcome).ljust(13),
            str(len(costs)).rjust(9),
            (span or "-").rjust(10),
            figure(worst(outcome)).rjust(8),
            figure(change).rjust(10),
            f"{removed:,}".rjust(10),
        ]
    )


# --- one target ------------------------------------------------------------------------------


def _section(path: str, outcome: Outcome) -> list[str]:
    heading = title(path, outcome)
    lines = [*_wrapped(heading, rest="  "), "-" * min(len(heading), WIDTH)]
    if isinstance(outcome, Refusal):
        lines += _wrapped(outcome.reason, "  ", "  ")
    lines += _equations(path, outcome)
    rows = metrics_rows(outcome)
    if rows:
        lines += ["", *_figures(rows)]
    remarks = [
        line
        for name, text in notes(path, outcome)
        for line in _wrapped(text, f"  {name:<12}", " " * 14)
    ]
    return [*lines, "", *remarks] if remarks else lines


def _equations(path: str, outcome: Outcome) -> list[str]:
    lines: list[str] = []
    cut_short = False
    sign = "=" if isinstance(outcome, Rewrite) else "~"
    for output, equation in chosen(outcome).items():
        lead = f"  {label(outcome.region, output)} {sign} "
        shown, all_of_it = _elided(equation.text(), lead)
        lines, cut_short = lines + shown, cut_short or not all_of_it
    if lines and outcome.region is not None:
        for line in where_from(outcome.region):
            lines += _wrapped(line, "    where ", "      ")
    if cut_short:
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


def _figures(rows: Sequence[Row]) -> list[str]:
    shown = columns(rows)
    wide = max(len("output"), *(len(row[0]) for row in rows))
    sizes = [max(len(c.top), len(c.bottom), *(len(c.cell(row)) for row in rows)) for c in shown]

    def line(first: str, cells: Sequence[str]) -> str:
        padded = (cell.rjust(size) for cell, size in zip(cells, sizes, strict=True))
        return "  " + "  ".join([first.ljust(wide), *padded])

    header = [line("", [c.top for c in shown]), line("output", [c.bottom for c in shown])]
    mark = WORSE if len(header[1]) + 2 + len(WORSE) <= WIDTH else "!"
    return header + [
        line(row[0], [c.cell(row) for c in shown]) + ("" if row[2].beats_linear else f"  {mark}")
        for row in rows
    ]


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
