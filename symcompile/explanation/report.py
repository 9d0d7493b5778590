"""The report of an explanation: text of at most 100 columns, HTML, LaTeX and plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from symcompile.errors import one_line
from symcompile.explanation import words
from symcompile.expressions.printing import as_latex
from symcompile.report.plain_text import aligned, wrapped

if TYPE_CHECKING:
    from symcompile.explanation.explanation import Explanation

WIDTH = 100
_wrapped = partial(wrapped, width=WIDTH)


@dataclass(frozen=True)
class ExplanationReport:
    """Prints as text; `to_dict()` is plain data, and a notebook shows it as HTML."""

    explanation: Explanation

    def __str__(self) -> str:
        return "\n".join(one_line(line.rstrip()) for line in _lines(self.explanation))

    def _repr_html_(self) -> str:
        from symcompile.explanation.html import render

        return render(self.explanation)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: what is told, its figures, contributions and neighbourhood. What is
        not finite is None."""
        explanation = self.explanation
        link, features = explanation.link, explanation.features
        return {
            "x": dict(zip(features.titles, explanation.x.tolist(), strict=True)),
            "output_at_x": dict(zip(link.names, explanation.output_at_x.tolist(), strict=True)),
            "equations": list(_told(explanation)),
            "linear_is_as_good": explanation.linear_is_as_good,
            "fidelity": {
                name: {measure: _number(value) for measure, value in measures.items()}
                for name, measures in explanation.fidelity.items()
            },
            "effective_sample_size": explanation.effective_sample_size,
            "n_synthetic": explanation.n_synthetic,
            "n_neighbors": len(explanation.neighbourhood.neighbours),
            "bandwidth": explanation.neighbourhood.bandwidth,
            "selected": list(explanation.selected),
            "contributions": {
                link.name(k): {
                    name: {"gradient": _number(one.gradient), "integrated": _number(one.integrated)}
                    for name, one in of_output.by_feature.items()
                }
                for k, of_output in explanation.contributions.items()
            },
        }


def _told(explanation: Explanation) -> Iterator[dict[str, Any]]:
    link = explanation.link
    for k, found in explanation.told.items():
        title = link.title(k)
        yield {
            "output": link.name(k),
            "of": title,
            "text": found.equation.text(6),
            "complexity": found.equation.complexity,
            "linear": found.is_linear,
            "front": [
                {
                    "complexity": equation.complexity,
                    "explained": _number(found.front.r2(equation)),
                    "text": equation.text(6),
                }
                for equation in found.front
            ],
            "left_out": _number(explanation.left_out[title]),
            "explained": _number(explanation.explained[title]),
        }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _lines(explanation: Explanation) -> Iterator[str]:
    yield from _wrapped(words.headline(explanation))
    yield from _wrapped(" | ".join(words.setting(explanation)))
    yield ""
    for title, law in words.laws(explanation):
        yield from _wrapped(f"{title} = {law}", "  ", "      ")
    for remark in words.remarks(explanation):
        yield from _wrapped(remark, "    ", "      ")
    for table in (words.fidelity(explanation), *words.contribution_tables(explanation)):
        yield ""
        if table.title:
            yield from _wrapped(table.title, "  ", "    ")
        yield from (f"  {line}" for line in aligned(table.rows))
        if table.more:
            yield f"  {table.more}"
    if legend := words.legend(explanation):
        yield ""
        yield from _wrapped(legend, "  ", "  ")


def latex(explanation: Explanation, digits: int = 4) -> str:
    """What is told, a line of LaTeX for each equation."""
    lines = []
    for k, found in explanation.told.items():
        title = explanation.link.title(k).replace("_", r"\_")
        right = as_latex(found.equation.rounded(digits), found.equation.symbols)
        lines.append(rf"\text{{{title}}} = {right}")
    return "\n".join(lines)
