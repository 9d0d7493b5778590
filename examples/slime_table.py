"""What the SLIME benchmark shows: measures by data set and method, and who is ahead.

A measure of a data set is the mean over all rows of it that were explained. The equation is ahead
of another method where each such mean is better; of the agreement, which both often have in full,
it is enough that it is no worse.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from study import markdown

from symcompile.explanation.fidelity import MEASURES

# The columns, where they were measured; any other stands before the equation.
METHODS = ("LIME", "LIME, continuous", "mean", "ridge", "logistic ridge", "equation")
EQUATION, AGREEMENT, ERROR = METHODS[-1], "agreement", "mse"
# What the equation is compared with: of several methods the best one, in each measure.
RIVALS = {
    "LIME": ("LIME",),
    "better LIME": ("LIME", "LIME, continuous"),
    "ridge": ("ridge",),
    "logistic ridge": ("logistic ridge",),
    "better ridge": ("ridge", "logistic ridge"),
}
# Features of tables whose seconds are counted together.
BANDS = (range(8), range(8, 31), range(31, 10_000))
# Two shares of the same points may differ in their last digits.
ROUNDING = 1e-9
Fidelity = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Told:
    """One equation, and what it is of."""

    title: str
    text: str
    complexity: int
    is_linear: bool


@dataclass(frozen=True)
class Outcome:
    """One explanation, and how near it is to its black box.

    Attributes:
        row: its number among the test rows.
        n_features: of the table.
        quality: of the black box on test rows, the share that is right, or R2.
        fidelity: measures by method; of values in standard deviations of the training target.
        linear_is_as_good: what the explanation says of its equation.
        effective_sample_size: how many of the points that it is fitted to count.
        selected: features that equations may hold.
        seconds: that the explanation took.
    """

    table: str
    seed: int
    row: int
    n_features: int
    quality: float
    fidelity: Fidelity
    linear_is_as_good: bool
    effective_sample_size: float
    selected: tuple[str, ...]
    equations: tuple[Told, ...]
    seconds: float


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Plain data; a measure that is no number is None."""
    fidelity = {
        method: {name: value if math.isfinite(value) else None for name, value in one.items()}
        for method, one in outcome.fidelity.items()
    }
    return asdict(outcome) | {"fidelity": fidelity}


def from_json(stored: Mapping[str, Any]) -> Outcome:
    fidelity = {
        method: {name: math.nan if value is None else value for name, value in one.items()}
        for method, one in stored["fidelity"].items()
    }
    told = tuple(Told(**one) for one in stored["equations"])
    known = {"fidelity": fidelity, "equations": told, "selected": tuple(stored["selected"])}
    return Outcome(**{**stored, **known})


def stored(folder: Path) -> list[Outcome]:
    """What an earlier run left there."""
    results = json.loads((folder / "slime.json").read_text(encoding="utf-8"))["results"]
    return [from_json(one) for one in results]


def by_table(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.table, []).append(outcome)
    return found


def means(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Each measure of each method, over all explanations of a data set."""
    first = outcomes[0].fidelity
    return {
        method: {
            name: fmean(one.fidelity[method][name] for one in outcomes) for name in first[method]
        }
        for method in methods(outcomes)
    }


def methods(outcomes: Iterable[Outcome]) -> list[str]:
    """Those that were measured, in the order of columns."""
    seen = dict.fromkeys(method for one in outcomes for method in one.fidelity)
    others = [method for method in seen if method not in METHODS]
    return [name for name in (*METHODS[:-1], *others, EQUATION) if name in seen]


def not_ahead(fidelity: Fidelity, rivals: Iterable[str]) -> list[str]:
    """Measures in which the equation is not ahead of the best of these."""
    return [
        name
        for name, own in fidelity[EQUATION].items()
        if any(not is_ahead(name, own, fidelity[rival][name]) for rival in there(fidelity, rivals))
    ]


def there(fidelity: Fidelity, rivals: Iterable[str]) -> list[str]:
    return [rival for rival in rivals if rival in fidelity]


def is_ahead(measure: str, own: float, other: float) -> bool:
    """What is no number is behind of all that is one, and not ahead of another."""
    sign = -1.0 if MEASURES[measure][1] else 1.0
    loss, others = (math.inf if math.isnan(value) else sign * value for value in (own, other))
    return loss < others or (measure == AGREEMENT and loss <= others + ROUNDING)


# --- tables ----------------------------------------------------------------------------------


def table(outcomes: Sequence[Outcome]) -> str:
    """All tables, each below a line that says what it shows."""
    parts = {
        "Means over the explained rows; the best is bold": fidelity_table(outcomes),
        "Where the equation is ahead in every measure, or those in which it is not": verdict_table(
            outcomes
        ),
        "Explanations whose equation is not ahead in some measure": exception_table(outcomes),
        "Black boxes and explanations, medians": overview(outcomes),
        "Seconds of an explanation": seconds_table(outcomes),
    }
    return "\n\n".join(f"{title}:\n\n{text}" for title, text in parts.items() if text)


def summary(outcomes: Sequence[Outcome]) -> str:
    """As the README shows it: the error of each method, and what the equation is ahead of."""
    groups, rows = [RIVALS[key] for key in ("better LIME", "ridge", "logistic ridge")], []
    for name, own in by_table(outcomes).items():
        found = means(own)
        rivals = [there(found, group) for group in groups]
        errors = [
            min((found[rival][ERROR] for rival in known), default=math.nan) for known in rivals
        ]
        cells = [f"{value:.2g}" if math.isfinite(value) else "-" for value in errors]
        ahead = [_words(not_ahead(found, known)) or "yes" if known else "-" for known in rivals]
        seconds = f"{max(one.seconds for one in own):.1f}"
        error = f"{found[EQUATION][ERROR]:.2g}"
        rows.append([name, own[0].n_features, *cells, error, *ahead, seconds])
    columns = ["data set", "features", "MSE: LIME", "ridge", "logistic", "equation"]
    columns += ["ahead of LIME", "of the ridge", "of the logistic one", "seconds, at most"]
    return markdown(columns, rows)


def fidelity_table(outcomes: Sequence[Outcome]) -> str:
    """A block for each data set: a line for each measure, a column for each method."""
    columns, rows = methods(outcomes), list[list[str]]()
    for name, own in by_table(outcomes).items():
        found = means(own)
        for k, measure in enumerate(found[EQUATION]):
            line = {method: one[measure] for method, one in found.items()}
            best = [m for m in line if all(_no_worse(measure, line[m], v) for v in line.values())]
            cells = [_cell(line.get(method), method in best) for method in columns]
            rows.append(["" if k else name, MEASURES[measure][0], *cells])
    return markdown(["data set", "measure", *columns], rows)


def _no_worse(measure: str, own: float, other: float) -> bool:
    return math.isfinite(own) and (own == other or is_ahead(measure, own, other))


def _cell(value: float | None, is_best: bool) -> str:
    if value is None:
        return "-"
    return f"**{value:.4g}**" if is_best else f"{value:.4g}"


def verdict_table(outcomes: Sequence[Outcome]) -> str:
    """A column for each rival, a line for each data set: "yes", or the measures in which the
    equation is not ahead. Below, how many data sets are ahead in every measure, how many single
    explanations are not ahead in MSE, and how many of these say that a linear law is as good."""
    columns = {
        rival: verdict(outcomes, among) for rival, among in RIVALS.items() if _of(outcomes, among)
    }
    lines = next(iter(columns.values()), {})
    rows = [[line, *(column[line] for column in columns.values())] for line in lines]
    return markdown(["ahead of", *columns], rows)


def verdict(outcomes: Sequence[Outcome], rivals: Sequence[str]) -> dict[str, str]:
    """One column of that table."""
    behind = {
        name: not_ahead(means(own), rivals) if _of(own, rivals) else None
        for name, own in by_table(outcomes).items()
    }
    known = [measures for measures in behind.values() if measures is not None]
    single = _of(outcomes, rivals)
    errors = [one for one in single if ERROR in not_ahead(one.fidelity, rivals)]
    said = sum(one.linear_is_as_good for one in errors)
    cells = {name: "-" if m is None else _words(m) or "yes" for name, m in behind.items()}
    return cells | {
        "in every measure": f"{sum(not measures for measures in known)} of {len(known)}",
        "explanations not ahead in MSE": f"{len(errors)} of {len(single)}",
        "that say so": f"{said} of {len(errors)}" if errors else "-",
    }


def _of(outcomes: Iterable[Outcome], rivals: Sequence[str]) -> list[Outcome]:
    """Those in which one of these was measured."""
    return [one for one in outcomes if there(one.fidelity, rivals)]


def _words(measures: Iterable[str]) -> str:
    return ", ".join(MEASURES[measure][0] for measure in measures)


def exception_table(outcomes: Sequence[Outcome]) -> str:
    """A line for each explanation that is not ahead in some measure, and whether it says so; empty
    if there is none."""
    groups, rows = ("better LIME", "better ridge"), list[list[object]]()
    for one in outcomes:
        behind = [not_ahead(one.fidelity, RIVALS[group]) for group in groups]
        if any(behind):
            says = "yes" if one.linear_is_as_good else "no"
            rows.append([one.table, one.seed, one.row, *(_words(m) or "-" for m in behind), says])
    heads = (f"not ahead of the {group} in" for group in groups)
    columns = ["data set", "seed", "row", *heads, "says that a linear law is as good"]
    return markdown(columns, rows) if rows else ""


def overview(outcomes: Sequence[Outcome]) -> str:
    """A line for each data set."""
    columns = ["data set", "features", "black box right, or R2", "effective sample size"]
    columns += ["features to choose from", "complexity", "linear equations", "seconds"]
    rows = []
    for name, own in by_table(outcomes).items():
        told = [equation for one in own for equation in one.equations]
        linear = f"{sum(one.is_linear for one in told)} of {len(told)}"
        quality = f"{median(one.quality for one in own):.2f}"
        size = f"{median(one.effective_sample_size for one in own):.0f}"
        selected = f"{median(len(one.selected) for one in own):g}"
        complexity = f"{median(one.complexity for one in told):g}"
        seconds = f"{median(one.seconds for one in own):.1f}"
        rows.append([name, own[0].n_features, quality, size, selected, complexity, linear, seconds])
    return markdown(columns, rows)


def seconds_table(outcomes: Sequence[Outcome]) -> str:
    """Median and largest, by the number of features."""
    rows = []
    for band in BANDS:
        own = [one for one in outcomes if one.n_features in band]
        if own:
            counts, seconds = [one.n_features for one in own], [one.seconds for one in own]
            ends = " to ".join(map(str, sorted({min(counts), max(counts)})))
            rows.append([ends, len(own), f"{median(seconds):.1f}", f"{max(seconds):.1f}"])
    return markdown(["features", "explanations", "median", "largest"], rows)
