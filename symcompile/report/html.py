"""A report as self-contained HTML for notebooks.

No scripts, no outside assets; colours are the page's own, so light and dark themes both work.
"""

from __future__ import annotations

from symcompile.errors import one_line
from symcompile.report import notes
from symcompile.report.metrics import LEGEND
from symcompile.report.report import Report
from symcompile.report.templates import asset, environment

# An equation longer than this is folded.
LONG = 240


def render(report: Report) -> str:
    template = environment(__package__, one_line, folded=_folded).get_template("report.html.j2")
    style = asset(__package__, "report.css")
    page = template.render(report=report, notes=notes, legend=LEGEND)
    # Lines of the template; whatever it shows is on one.
    lines = "".join(line.strip() for line in page.split("\n"))
    return f'<div class="symcompile-report"><style>\n{style}</style>{lines}</div>'


def _folded(equation: str) -> tuple[str, str]:
    """What is shown of an equation, and what is folded."""
    if len(equation) <= LONG:
        return equation, ""
    end = max(equation.rfind(" ", 0, LONG), LONG // 2)
    return equation[:end], equation[end:]
