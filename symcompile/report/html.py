"""A report as self-contained HTML for notebooks.

No scripts, no outside assets; colours are the page's own, so light and dark themes both work.
"""

from __future__ import annotations

from symcompile.report import equations, notes
from symcompile.report.metrics import LEGEND
from symcompile.report.report import Report
from symcompile.report.templates import fragment

# An equation longer than this is folded.
LONG = 240


def render(report: Report) -> str:
    values = {"report": report, "notes": notes, "equations": equations, "legend": LEGEND}
    return fragment(__package__, "report.html.j2", {"folded": _folded}, values)


def _folded(equation: str) -> tuple[str, str]:
    """What is shown of an equation, and what is folded."""
    if len(equation) <= LONG:
        return equation, ""
    end = max(equation.rfind(" ", 0, LONG), LONG // 2)
    return equation[:end], equation[end:]
