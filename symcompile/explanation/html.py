"""An explanation as self-contained HTML for notebooks: no scripts, no outside assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symcompile.explanation import words
from symcompile.report.templates import fragment

if TYPE_CHECKING:
    from symcompile.explanation.explanation import Explanation


def render(explanation: Explanation) -> str:
    values = {"explanation": explanation, "words": words}
    return fragment(__package__, "explanation.html.j2", {}, values)
