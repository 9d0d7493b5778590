"""A report as self-contained HTML for notebooks.

No scripts, no outside assets; colours are the page's own, so light and dark themes both work.
"""

from __future__ import annotations

import html
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
    title,
    where_from,
)
from symcompile.report.metrics import LEGEND
from symcompile.report.notes import Row, columns, notes, together

# An equation longer than this is folded.
LONG = 240

_STYLE = """
.symcompile-report { font-family: system-ui, sans-serif; line-height: 1.45; max-width: 72em }
.symcompile-report h3 { margin: .2em 0; font-size: 1.15em }
.symcompile-report h4 { margin: 1.3em 0 .4em; font-size: 1em; padding-bottom: .2em;
  border-bottom: 1px solid rgba(128, 128, 128, .45) }
.symcompile-report p { margin: .3em 0 }
.symcompile-report .quiet { opacity: .75; font-size: .88em }
.symcompile-report .equation { margin: .25em 0; padding-left: 4.5em; text-indent: -3.5em }
.symcompile-report code { font-family: ui-monospace, monospace; font-size: .92em;
  background: none; color: inherit; overflow-wrap: anywhere }
.symcompile-report details { text-indent: 0; display: inline }
.symcompile-report summary { display: inline; cursor: pointer }
.symcompile-report table { border-collapse: collapse; margin: .6em 0; font-size: .92em;
  font-variant-numeric: tabular-nums; background: none }
.symcompile-report th, .symcompile-report td { padding: .2em .8em; text-align: right;
  border: none; border-bottom: 1px solid rgba(128, 128, 128, .25); background: none }
.symcompile-report th:first-child, .symcompile-report td:first-child,
.symcompile-report td.mark { text-align: left }
.symcompile-report th { font-weight: 600; vertical-align: bottom }
.symcompile-report td.control, .symcompile-report th.control { opacity: .75 }
.symcompile-report .mark, .symcompile-report .bad { color: #d9534f; font-weight: 600 }
.symcompile-report .good { color: #3a9d5d; font-weight: 600 }
.symcompile-report .notes td { border: none; text-align: left; vertical-align: top;
  padding: .1em .8em }
.symcompile-report .notes td:first-child { white-space: nowrap }
.symcompile-report p.where { padding-left: 2em }
"""


def render(report: Report) -> str:
    parts = [f"<style>{_STYLE}</style>", f"<h3>{_plain(headline(report))}</h3>"]
    parts.append(_quiet(" · ".join(origin(report))))
    if report.note:
        parts.append(_quiet(f"not traced by torch.fx: {report.note}"))
    parts.append(_quiet(together(report)))
    parts += [_section(path, outcome) for path, outcome in report.outcomes.items()]
    if any(metrics_rows(outcome) for outcome in report.outcomes.values()):
        parts.append(_quiet(LEGEND))
    return f'<div class="symcompile-report">{"".join(parts)}</div>'


def _section(path: str, outcome: Outcome) -> str:
    parts = [f"<h4>{_title(path, outcome)}</h4>"]
    if isinstance(outcome, Refusal):
        parts.append(f"<p>{_plain(outcome.reason)}</p>")
    parts += [_equation(outcome, output) for output in chosen(outcome)]
    if chosen(outcome) and outcome.region is not None:
        parts += [_quiet(f"where {line}", "quiet where") for line in where_from(outcome.region)]
    rows = metrics_rows(outcome)
    parts += [_figures(rows)] if rows else []
    remarks = "".join(
        f'<tr><td class="quiet">{_plain(name)}</td><td>{_plain(text)}</td></tr>'
        for name, text in notes(path, outcome)
    )
    return "".join(parts) + (f'<table class="notes">{remarks}</table>' if remarks else "")


def _title(path: str, outcome: Outcome) -> str:
    name, _, rest = title(path, outcome).rpartition(": ")
    state, comma, sizes = rest.partition(", ")
    kind = "good" if isinstance(outcome, Rewrite) else "bad"
    return f'{_plain(name)}: <span class="{kind}">{_plain(state)}</span>{comma}{_plain(sizes)}'


def _equation(outcome: Outcome, output: int) -> str:
    text = chosen(outcome)[output].text()
    sign = "=" if isinstance(outcome, Rewrite) else "~"
    lead = _plain(f"{label(outcome.region, output)} {sign} ")
    if len(text) <= LONG:
        return f'<div class="equation"><code>{lead}{_plain(text)}</code></div>'
    end = max(text.rfind(" ", 0, LONG), LONG // 2)
    start, rest = _plain(text[:end]), _plain(text[end:])
    return (
        f'<div class="equation"><code>{lead}{start}<details><summary> ...'
        f" ({len(text) - end} more characters)</summary>{rest}</details></code></div>"
    )


def _figures(rows: Sequence[Row]) -> str:
    shown = columns(rows)
    kinds = [' class="control"' if c.top in ("mean", "linear") else "" for c in shown]
    heads = [
        f"<th{kind}>{_plain(c.top)}{'' if c.top.endswith('-') else '<br>'}{_plain(c.bottom)}</th>"
        for c, kind in zip(shown, kinds, strict=True)
    ]
    lines = [
        f"<tr><th>output</th>{''.join(heads)}<th></th></tr>".replace("com-plexity", "complexity")
    ]
    for row in rows:
        cells = [
            f"<td{kind}>{_plain(c.cell(row))}</td>" for c, kind in zip(shown, kinds, strict=True)
        ]
        mark = "" if row[2].beats_linear else WORSE
        lines.append(
            f'<tr><td>{_plain(row[0])}</td>{"".join(cells)}<td class="mark">{mark}</td></tr>'
        )
    return f"<table>{''.join(lines)}</table>"


def _plain(text: str) -> str:
    """Text that a stranger may have written as HTML."""
    return html.escape(one_line(text))


def _quiet(text: str, kind: str = "quiet") -> str:
    return f'<p class="{kind}">{_plain(text)}</p>' if text else ""
