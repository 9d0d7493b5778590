"""An explanation as self-contained HTML for notebooks: no scripts, no outside assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symcompile.errors import one_line
from symcompile.explanation import words
from symcompile.report.templates import asset, environment

if TYPE_CHECKING:
    from symcompile.explanation.explanation import Explanation


def render(explanation: Explanation) -> str:
    template = environment(__package__, one_line).get_template("explanation.html.j2")
    page = template.render(explanation=explanation, words=words)
    # Lines of the template; whatever it shows is on one.
    lines = "".join(line.strip() for line in page.split("\n"))
    style = asset(__package__, "explanation.css")
    return f'<div class="symcompile-explanation"><style>\n{style}</style>{lines}</div>'
