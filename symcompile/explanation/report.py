"""The report of an explanation: text of at most 100 columns, HTML, LaTeX and plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from symcompile.explanation.features import CATEGORY
from symcompile.explanation.fidelity import MEASURES
from symcompile.explanation.link import REST
from symcompile.expressions.printing import as_latex
from symcompile.report.metrics import figure
from symcompile.report.plain_text import aligned, count, cut, wrapped

if TYPE_CHECKING:
    from symcompile.explanation.explanation import Explanation
    from symcompile.explanation.linear import LinearLaw

WIDTH = 100
# Features of the table of contributions, terms of a linear law, and characters of a name.
_MOST_ROWS, _MOST_TERMS, _LONGEST_NAME = 12, 12, 32
_wrapped = partial(wrapped, width=WIDTH)


@dataclass(frozen=True)
class ExplanationReport:
    """Prints as text; `to_dict()` is plain data, and a notebook shows it as HTML."""

    explanation: Explanation

    def __str__(self) -> str:
        sections = [_head, _equations, _verdict, _fidelity, _contributions, _names]
        parts = [list(section(self.explanation)) for section in sections]
        return "\n".join("\n".join(part) for part in parts if part)

    def _repr_html_(self) -> str:
        from symcompile.explanation.html import render

        return render(self.explanation)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: what is told, its figures, contributions and neighbourhood."""
        explanation = self.explanation
        link = explanation.link
        return {
            "x": dict(zip(explanation.features.titles, explanation.x.tolist(), strict=True)),
            "output_at_x": dict(zip(link.names, explanation.output_at_x.tolist(), strict=True)),
            "equations": [
                {
                    "output": link.name(k),
                    "of": link.title(k),
                    "text": found.equation.text(6),
                    "complexity": found.equation.complexity,
                    "linear": found.is_linear,
                    "left_out": _number(explanation.left_out[link.title(k)]),
                    "explained": _number(explanation.explained[link.title(k)]),
                }
                for k, found in explanation.told.items()
            ],
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


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


# --- the parts of the text -----------------------------------------------------------------------


def _head(explanation: Explanation) -> Iterator[str]:
    link, place = explanation.link, explanation.neighbourhood
    said = zip(link.names, explanation.output_at_x.tolist(), strict=True)
    shown = sorted(said, key=lambda pair: -pair[1])[:6] if link.is_odds else list(said)[:6]
    more = ", ..." * (len(link.names) > len(shown))
    yield from _wrapped(
        "explanation of " + ", ".join(f"{name} = {value:.4g}" for name, value in shown) + more
    )
    yield from _wrapped(
        f"{count(len(place.neighbours), 'neighbour')} | {explanation.n_synthetic} points around x"
        f" that say as much as {explanation.effective_sample_size:.0f}"
        f" | bandwidth {place.bandwidth:.3g} standard deviations"
        f" | {len(explanation.selected)} of {len(explanation.features.features)} features"
    )
    yield ""


def _equations(explanation: Explanation) -> Iterator[str]:
    link = explanation.link
    for k, found in explanation.told.items():
        text = law_text(explanation, k) if found.is_linear else found.equation.text(4)
        yield from _wrapped(f"{link.title(k)} = {text}", "  ", "      ")
    if link.is_odds:
        last = "any other" if link.reference == REST else link.name(link.reference or 0)
        yield from _wrapped(
            f"p are probabilities; the one of {last} is what the others leave of 1", "    ", "      "
        )
    for title, left in explanation.left_out.items():
        whole = explanation.explained[title]
        share = left / whole if whole > 0 else 0.0
        if share > 0.005:
            yield from _wrapped(
                f"features that are left out move {title} by {share:.1%} of what all do",
                "    ",
                "      ",
            )


def law_text(explanation: Explanation, output: int) -> str:
    """A linear law, levels of a category in brackets: what they add where x had them."""
    equation = explanation.told[output].equation
    expr = equation.sympy.as_coefficients_dict()
    symbols = {name: k for k, name in enumerate(equation.symbols)}
    weights = {
        symbols[term.name]: float(value) for term, value in expr.items() if term.is_Symbol
    }
    constant = sum(float(value * term) for term, value in expr.items() if term.is_number)
    parts = [f"{constant:.4g}"]
    for feature in explanation.features.features:
        own = {c: weights[c] for c in feature.columns if c in weights}
        if feature.kind == CATEGORY and len(feature.columns) > 1 and own:
            levels = ", ".join(
                f"{_level(explanation.features.titles[c], feature.name)} {w:+.4g}"
                for c, w in own.items()
            )
            parts.append(f"+ {feature.name}[{levels}]")
        else:
            for c, w in own.items():
                parts.append(f"{'-' if w < 0 else '+'} {abs(w):.4g}*{equation.symbols[c]}")
    return " ".join(parts)


def _level(title: str, feature: str) -> str:
    return title.removeprefix(feature).lstrip("=_:- .") or title


def _verdict(explanation: Explanation) -> Iterator[str]:
    if not explanation.linear_is_as_good:
        return
    better, law = explanation.logistic or explanation.linear, None
    law = better
    yield from _wrapped(
        f"a linear law of all features is as good: {linear_text(law)}", "    ", "      "
    )


def linear_text(law: LinearLaw) -> str:
    """The largest terms of a linear law, by what they move."""
    texts = []
    titles = law.titles
    for number, title in enumerate(titles):
        weights = law.map.weight[number]
        scale = law.spread
        order = sorted(range(len(weights)), key=lambda k: -abs(weights[k] * scale[k]))
        kept = [k for k in order if weights[k]][:_MOST_TERMS]
        terms = " ".join(
            f"{'-' if weights[k] < 0 else '+'} {abs(weights[k]):.4g}*{law.features.symbols[k]}"
            for k in kept
        )
        rest = sum(1 for k in order if weights[k]) - len(kept)
        more = f" and {rest} more" if rest else ""
        texts.append(f"{title} = {law.map.bias[number]:.4g} {terms}{more}")
    return "; ".join(texts)


def _fidelity(explanation: Explanation) -> Iterator[str]:
    names = list(explanation.fidelity)
    if not names:
        return
    measures = list(explanation.fidelity[names[0]])
    header = ["on fresh points around x", *(MEASURES[measure][0] for measure in measures)]
    rows = [header]
    for name in names:
        own = explanation.fidelity[name]
        rows.append([name, *(figure(own[measure]) for measure in measures)])
    yield ""
    yield from (f"  {line}" for line in aligned(rows))


def _contributions(explanation: Explanation) -> Iterator[str]:
    features = explanation.features
    for k, of_output in explanation.contributions.items():
        name = explanation.link.name(k)
        if explanation.link.is_odds and len(explanation.link.outputs) == 2 and k != explanation.link.told[0]:
            continue  # what one class loses the other one gains
        lead = f"p[{name}]" if explanation.link.is_odds else name
        rows = [["feature", "at x", "slope", "contribution"]]
        for feature_name, one in list(of_output.by_feature.items())[:_MOST_ROWS]:
            feature = next(f for f in features.features if f.name == feature_name)
            rows.append(
                [
                    cut(feature_name, _LONGEST_NAME),
                    value_text(explanation, feature.columns),
                    figure(one.gradient),
                    f"{one.integrated:+.4g}",
                ]
            )
        yield ""
        yield from _wrapped(
            f"{lead}: {of_output.at_x:.4g} at x, {of_output.at_mean:.4g} at its neighbours' mean;"
            " contributions add up to the difference",
            "  ",
            "    ",
        )
        yield from (f"  {line}" for line in aligned(rows))
        if len(of_output.by_feature) > _MOST_ROWS:
            yield f"  and {len(of_output.by_feature) - _MOST_ROWS} more"


def value_text(explanation: Explanation, columns: tuple[int, ...]) -> str:
    """What x has: a number, or the level of a category."""
    x, titles = explanation.x, explanation.features.titles
    if len(columns) == 1:
        return f"{x[columns[0]]:.5g}"
    feature = explanation.features.feature_of(columns[0])
    here = next((c for c in columns if x[c] == 1.0), None)
    return "none" if here is None else cut(_level(titles[here], feature.name), _LONGEST_NAME)


def _names(explanation: Explanation) -> Iterator[str]:
    """What symbols stand for, where that is not their name."""
    features = explanation.features
    used = {name for found in explanation.told.values() for name in found.equation.uses}
    pairs = zip(features.symbols, features.titles, strict=True)
    other = [f"{symbol} is {title}" for symbol, title in pairs if symbol in used and symbol != title]
    if other:
        yield ""
        yield from _wrapped("; ".join(other), "  ", "  ")


def latex(explanation: Explanation, digits: int = 4) -> str:
    """What is told, a line of LaTeX for each equation."""
    lines = []
    for k, found in explanation.told.items():
        name = explanation.link.title(k).replace("_", r"\_")
        right = as_latex(found.equation.rounded(digits), found.equation.symbols)
        lines.append(rf"\text{{{name}}} = {right}")
    return "\n".join(lines)
