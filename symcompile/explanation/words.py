"""What is said of an explanation, line by line and table by table, for text and HTML alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from symcompile.explanation.features import CATEGORY, PARTING, Feature
from symcompile.explanation.fidelity import MEASURES
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
        (
            explanation.link.title(k),
            sum_text(explanation, k) if found.is_linear else found.equation.text(4),
        )
        for k, found in explanation.told.items()
    ]


def sum_text(explanation: Explanation, output: int) -> str:
    """A linear law; levels of a category in brackets, with what they add to the one of x."""
    equation, features = explanation.told[output].equation, explanation.features
    terms = equation.sympy.as_coefficients_dict()
    weights = {term.name: float(value) for term, value in terms.items() if term.is_Symbol}
    constant = sum(float(value * term) for term, value in terms.items() if term.is_number)
    parts = [f"{constant:.4g}"]
    for feature in features.features:
        own = [
            (c, weights[features.symbols[c]])
            for c in feature.columns
            if features.symbols[c] in weights
        ]
        if len(feature.columns) > 1 and own:
            levels = (f"{level(features.titles[c], feature)} {w:+.4g}" for c, w in own)
            parts.append(f"+ {feature.name}[{', '.join(levels)}]")
        else:
            parts += (_term(w, features.symbols[c]) for c, w in own)
    return " ".join(parts)


def remarks(explanation: Explanation) -> Iterator[str]:
    """What has to be said of the equations."""
    link = explanation.link
    if link.reference is not None:
        yield f"p are probabilities; that of {link.name(link.reference)} is what is left of 1"
    for title, left in explanation.left_out.items():
        whole = explanation.explained[title]
        if left > _WORTH_TELLING * whole:
            yield f"features that are left out move {title} by {left / whole:.1%} of what all do"
    if explanation.linear_is_as_good:
        law = explanation.logistic or explanation.linear
        yield f"a linear law of all features is as good, or better: {law_text(law)}"


def law_text(law: LinearLaw) -> str:
    """A linear law of all features, by the terms that move it most."""
    texts = []
    for number, title in enumerate(law.titles):
        weights = law.map.weight[number]
        order = sorted(range(len(weights)), key=lambda k: -abs(weights[k] * law.spread[k]))
        used = [k for k in order if weights[k]]
        terms = [_term(weights[k], law.features.symbols[k]) for k in used[:_MOST_TERMS]]
        more = f" and {len(used) - len(terms)} terms more" * (len(used) > len(terms))
        texts.append(" ".join([f"{title} = {law.map.bias[number]:.4g}", *terms]) + more)
    return "; ".join(texts)


def _term(weight: float, symbol: str) -> str:
    return f"{'-' if weight < 0 else '+'} {abs(weight):.4g}*{symbol}"


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
        name = f"p[{link.name(k)}]" if link.is_odds else link.name(k)
        title = (
            f"{name}: {of_output.at_x:.4g} at x, {of_output.at_mean:.4g} at the mean of its"
            " neighbours; contributions add up to the difference"
        )
        own = of_output.by_feature
        shown = list(own.items())[:_MOST_ROWS]
        rows = [_contribution_row(explanation, name, one) for name, one in shown]
        more = f"and {len(own) - len(rows)} features more" * (len(own) > len(rows))
        yield Table(title, [["feature", "at x", "slope", "contribution"], *rows], more)


def _contribution_row(explanation: Explanation, name: str, one: Contribution) -> list[str]:
    feature = next(f for f in explanation.features.features if f.name == name)
    # A category can't change a little.
    slope = "-" if feature.kind == CATEGORY else figure(one.gradient)
    return [
        cut(name, _LONGEST_NAME),
        value_at_x(explanation, feature),
        slope,
        f"{one.integrated:+.4g}",
    ]


def value_at_x(explanation: Explanation, feature: Feature) -> str:
    """A number, or the level of a category."""
    x, titles = explanation.x, explanation.features.titles
    if len(feature.columns) == 1:
        return f"{x[feature.columns[0]]:.5g}"
    here = next((c for c in feature.columns if x[c] == 1.0), None)
    return "none" if here is None else cut(level(titles[here], feature), _LONGEST_NAME)


def legend(explanation: Explanation) -> str:
    """What symbols stand for, where that is not their name, as far as they are shown as such."""
    features = explanation.features
    shown: set[str] = set()
    for found in explanation.told.values():
        used = found.equation.uses
        for feature in features.features:
            own = {features.symbols[c] for c in feature.columns} & used
            if not (found.is_linear and len(feature.columns) > 1):
                shown |= own
    pairs = zip(features.symbols, features.titles, strict=True)
    other = [
        f"{symbol} is {title}" for symbol, title in pairs if symbol in shown and symbol != title
    ]
    return "; ".join(other)
