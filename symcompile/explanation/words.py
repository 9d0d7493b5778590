"""What is said of an explanation, line by line and table by table, for text and HTML alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from symcompile.explanation.features import CATEGORY, PARTING, Feature
from symcompile.explanation.fidelity import MEASURES
from symcompile.explanation.request import LONGEST
from symcompile.explanation.surrogate import Found, is_linear
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.report.metrics import figure
from symcompile.report.plain_text import count, cut

if TYPE_CHECKING:
    from symcompile.explanation.contributions import Contribution
    from symcompile.explanation.explanation import Explanation
    from symcompile.explanation.linear import LinearLaw

# Outputs that are told in the first line, features of a table, terms of a linear law of all
# features, and characters of a name.
_MOST_OUTPUTS, _MOST_ROWS, _MOST_TERMS, _LONGEST_NAME = 6, 12, 12, 40
# What is left out is told from this share of what all features move on.
_WORTH_TELLING = 0.005
# A contribution below this share of the largest one is none.
_ROUNDING = 1e-9


class Table(NamedTuple):
    """Rows of text, the first of them the header."""

    title: str
    rows: list[list[str]]
    more: str = ""


def headline(explanation: Explanation) -> str:
    """What fn says at x: of classes the most probable ones."""
    said = list(zip(explanation.link.names, explanation.output_at_x.tolist(), strict=True))
    if explanation.link.is_odds:
        said.sort(key=lambda pair: -pair[1])
    shown = ", ".join(f"{name} = {value:.4g}" for name, value in said[:_MOST_OUTPUTS])
    return f"explanation of {shown}{', ...' * (len(said) > _MOST_OUTPUTS)}"


def setting(explanation: Explanation) -> list[str]:
    """Where it holds."""
    place = explanation.neighbourhood
    return [
        count(len(place.neighbours), "neighbour"),
        f"{explanation.n_synthetic} points around x that say as much as"
        f" {explanation.effective_sample_size:.0f}",
        f"bandwidth {place.bandwidth:.3g} standard deviations",
        f"{len(explanation.selected)} of {count(len(explanation.features.features), 'feature')}",
    ]


def laws(explanation: Explanation) -> list[tuple[str, str]]:
    """What each equation is of, and the equation."""
    return [
        (explanation.link.title(k), _law(explanation, found.equation))
        for k, found in explanation.told.items()
    ]


def _law(explanation: Explanation, equation: Equation) -> str:
    if not is_linear(equation):
        return equation.text(4)
    terms = equation.sympy.as_coefficients_dict()
    weights = {term.name: float(value) for term, value in terms.items() if term.is_Symbol}
    constant = sum(float(value * term) for term, value in terms.items() if term.is_number)
    row = np.array([weights.get(symbol, 0.0) for symbol in explanation.features.symbols])
    return _sum_text(explanation.linear, constant, row)


def _sum_text(law: LinearLaw, constant: float, weights: Array, most: int | None = None) -> str:
    """A sum of terms, or those that move it most around x; features that move it most first, levels
    of a category in brackets, each with what it adds."""
    features, moves = law.features, np.square(weights * law.spread)
    order = sorted(np.flatnonzero(weights).tolist(), key=lambda column: -moves[column])
    shown = set(order[:most])
    held = [f for f in features.features if shown & set(f.columns)]
    held.sort(key=lambda feature: -float(moves[list(feature.columns)].sum()))
    parts = [f"{constant:.4g}"]
    for feature in held:
        own = [(c, float(weights[c])) for c in feature.columns if c in shown]
        if len(feature.columns) > 1:
            levels = (f"{level(features.titles[c], feature)} {w:+.4g}" for c, w in own)
            parts.append(f"+ {feature.name}[{', '.join(levels)}]")
        else:
            parts += [_term(w, features.symbols[c]) for c, w in own]
    left = len(order) - len(shown)
    return " ".join(parts) + f" and {count(left, 'term')} more" * (left > 0)


def _term(weight: float, symbol: str) -> str:
    size = "" if abs(weight) == 1.0 else f"{abs(weight):.4g}*"
    return f"{'-' if weight < 0 else '+'} {size}{symbol}"


def remarks(explanation: Explanation) -> Iterator[str]:
    """What has to be said of the equations."""
    link = explanation.link
    if link.reference is not None:
        yield f"p are probabilities; that of {link.name(link.reference)} is what is left of 1"
    for title, left in explanation.left_out.items():
        whole = explanation.explained[title]
        if left > _WORTH_TELLING * whole:
            yield f"features that are left out move {title} by {left / whole:.1%} of what all do"
    for k, found in explanation.told.items():
        yield from _shorter(explanation, link.title(k), found)
    if explanation.linear_is_as_good:
        law = explanation.logistic or explanation.linear
        yield f"a linear law of all features is as good, or better: {_law_text(law)}"


def _shorter(explanation: Explanation, title: str, found: Found) -> Iterator[str]:
    """An equation that is easier to read, if there is one that says something: the longest of those
    that pay for their length, or of a long equation the most accurate one that is not."""
    front = found.front
    if front.best.complexity > LONGEST:
        short = [equation for equation in front if equation.complexity <= LONGEST][-1]
    else:
        short = front.select("price")
    if short.complexity < front.best.complexity and short.uses:
        yield (
            f"a shorter one, of complexity {short.complexity}, explains {front.r2(short):.1%} and"
            f" not {front.r2(front.best):.1%}: {title} = {_law(explanation, short)}"
        )


def _law_text(law: LinearLaw) -> str:
    """A linear law of all features, by the terms that move it most."""
    laws = zip(law.titles, law.map.bias.tolist(), law.map.weight, strict=True)
    return "; ".join(f"{t} = {_sum_text(law, bias, row, _MOST_TERMS)}" for t, bias, row in laws)


def level(title: str, feature: Feature) -> str:
    """The level of a category that a column is of."""
    return title.removeprefix(feature.name).lstrip(PARTING) or title


def fidelity(explanation: Explanation) -> Table:
    """Measures of the equation and its controls."""
    names = list(explanation.fidelity)
    measures = list(explanation.fidelity[names[0]])
    header = ["on fresh points around x", *(MEASURES[measure][0] for measure in measures)]
    rows = [
        [name, *(figure(explanation.fidelity[name][measure]) for measure in measures)]
        for name in names
    ]
    return Table("", [header, *rows])


def contribution_tables(explanation: Explanation) -> Iterator[Table]:
    """What features do to each output. Of two classes one is enough: the other loses what it
    gains."""
    link = explanation.link
    for k, of_output in explanation.contributions.items():
        if link.is_odds and len(link.outputs) == 2 == len(link.classes) and k == link.reference:
            continue
        title = (
            f"{link.said(k)}: {of_output.at_x:.4g} at x, {of_output.at_mean:.4g} at the mean of its"
            " neighbours; contributions add up to the difference"
        )
        own = of_output.by_feature
        shown = list(own.items())[:_MOST_ROWS]
        largest = max((abs(one.integrated) for one in own.values()), default=0.0)
        rows = [_contribution_row(explanation, name, one, largest) for name, one in shown]
        left = len(own) - len(rows)
        more = f"and {count(left, 'feature')} more" * (left > 0)
        yield Table(title, [["feature", "at x", "slope", "contribution"], *rows], more)


def _contribution_row(
    explanation: Explanation, name: str, one: Contribution, largest: float
) -> list[str]:
    feature = next(f for f in explanation.features.features if f.name == name)
    # A category can't change a little.
    slope = "-" if feature.kind == CATEGORY else figure(one.gradient)
    # x as its neighbours are on average, but for rounding.
    integrated = one.integrated if abs(one.integrated) > _ROUNDING * largest else 0.0
    return [
        cut(name, _LONGEST_NAME),
        value_at_x(explanation, feature),
        slope,
        f"{integrated:+.4g}",
    ]


def value_at_x(explanation: Explanation, feature: Feature) -> str:
    """A number, or the level of a category."""
    x, titles = explanation.x, explanation.features.titles
    if len(feature.columns) == 1:
        return f"{x[feature.columns[0]]:.5g}"
    here = next((c for c in feature.columns if x[c] == 1.0), None)
    return "none" if here is None else cut(level(titles[here], feature), _LONGEST_NAME)


def legend(explanation: Explanation) -> str:
    """What symbols stand for, where that is not their name, as far as they are shown."""
    features = explanation.features
    said = [*(law for _, law in laws(explanation)), *remarks(explanation)]
    shown = set(re.findall(r"\w+", " ".join(said)))
    pairs = zip(features.symbols, features.titles, strict=True)
    return "; ".join(f"{symbol} is {t}" for symbol, t in pairs if symbol in shown and symbol != t)
