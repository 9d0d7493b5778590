"""Why equations must not stand in a block's place, from what was measured of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import torch

from symcompile.fidelity.outcome import LOSES_DIGITS, Fidelity, OutputFidelity
from symcompile.modules.region import Region

# Number of an output, None for all of them together; and what is wrong with it.
Problem = tuple[int | None, str]
# What is wrong by one condition, and what helps against it.
Check = tuple[list[Problem], str]
Rows = Mapping[int | None, OutputFidelity]


class Refused(NamedTuple):
    """Why equations must not stand in a block's place.

    `outputs` are those whose equations are to blame; none where it is all of them together. `what`
    was found, in a sentence, and advice what to type instead.
    """

    what: str
    advice: str = ""
    outputs: tuple[int, ...] = ()

    def reason(self, path: str, closest: str = "") -> str:
        """In full, with the best that there was."""
        others = f". No other equation of the front passes: {closest}" if closest else ""
        if not self.advice:
            return f"{self.what}{others}"
        insist = f"or insist with compiled.choose({path!r}, complexity=...)"
        return f"{self.what}{others}. {self.advice}, {insist}."


def refusal(
    fidelity: Fidelity, tolerance: float | None, beat_linear: bool, *, region: Region
) -> Refused | None:
    """Why a rewrite must not be made, with the figures and what to type; None if it may be.

    Refused are equations undefined on recorded samples or not finite on held-out ones, and blocks
    that do not compute their equations, since their floating type has not the range or the digits,
    and what makes the model's output other than finite, always; those above `tolerance` (relative
    L2, held out, of the block and of the model's output) where one is given; and those worse than a
    linear map under `beat_linear`. Each output counts for itself; after a projection of the
    outputs, the real outputs count together.
    """
    rows: dict[int | None, OutputFidelity] = dict(fidelity.outputs.items())
    if region.projection_out is not None and fidelity.total is not None:
        rows = {None: fidelity.total}
    checks = chain(
        _always(fidelity, rows, region),
        [] if tolerance is None else _above(fidelity, rows, tolerance),
        [(_worse_than_linear(rows), _WORSE)] if beat_linear else [],
    )
    for problems, advice in checks:
        if problems:
            blamed = dict.fromkeys(output for output, _ in problems)
            text = _listed([text for _, text in problems])
            return Refused(text, advice, tuple(k for k in blamed if k is not None))
    return None


_OTHER_FORM = (
    "Try operators= without the one in trouble, features= that stay clear of it, another seed="
)
_RESCALE = (
    "Numbers of that size need another scale or type: give features= or a model that scale inputs"
    " and outputs towards 1, compile model.double()"
)
_SEARCH_MORE = "a larger max_complexity=, more operators=, features=, a longer budget="
_CLOSER = (
    "What comes after the block does not take what the equations give: try tolerance=, a larger"
    " max_complexity=, more data"
)
_ABOVE = "Tolerance is {tolerance}: raise tolerance=, try " + _SEARCH_MORE
_WORSE = "Try " + _SEARCH_MORE + ", leave out beat_linear="


def _always(fidelity: Fidelity, rows: Rows, region: Region) -> Iterator[Check]:
    """What nobody can wish for."""
    yield _out_of_range(fidelity, region), _RESCALE
    what = "output {0.output} is undefined on recorded samples: {0} at {1}"
    undefined: list[Problem] = [
        (issue.output, what.format(issue, issue.point or "every input"))
        for issue in fidelity.domain
        if issue.on_data
    ]
    yield undefined, _OTHER_FORM
    infinite = [
        (output, f"{_name(output)} is not finite on held-out samples")
        for output, row in rows.items()
        if not math.isfinite(row.equation.max_error)
    ]
    yield infinite, _OTHER_FORM
    change = fidelity.end_to_end
    if change is not None and not change.finite:
        where = f"on {change.data}, where the original's is"
        yield [(None, f"the model's output is not finite {where}")], _CLOSER


def _above(fidelity: Fidelity, rows: Rows, tolerance: float) -> Iterator[Check]:
    advice, change = _ABOVE.format(tolerance=tolerance), fidelity.end_to_end
    far = [
        (output, f"{_name(output)}: relative L2 {error:.3g} on held-out samples")
        for output, row in rows.items()
        if not (error := row.equation.relative_l2) <= tolerance
    ]
    yield far, advice
    if change is not None and change.equation > tolerance:
        moved = f"{change.equation:.3g} (relative L2) on {change.data}"
        yield [(None, f"the model's output moves by {moved}")], advice


def _worse_than_linear(rows: Rows) -> list[Problem]:
    what = "{} is worse than a linear map of the same inputs: relative L2 {:.3g} against {:.3g}"
    return [
        (output, what.format(_name(output), row.equation.relative_l2, row.linear.relative_l2))
        for output, row in rows.items()
        if not row.beats_linear
    ]


def _name(output: int | None) -> str:
    return "outputs" if output is None else f"output {output}"


def _out_of_range(fidelity: Fidelity, region: Region) -> list[Problem]:
    """Lost digits count where they, not the equation, make most of the error."""
    half = math.sqrt(torch.finfo(getattr(torch, region.dtype)).eps)
    problems: list[Problem] = []
    for shortfall in fidelity.shortfalls:
        output = shortfall.output
        row = fidelity.total if output is None else fidelity.outputs.get(output)
        error = math.inf if row is None else row.equation.relative_l2
        if shortfall.problem != LOSES_DIGITS or not error <= 2 * shortfall.error + half:
            problems.append((output, f"{_name(output)} {shortfall}"))
    return problems


def _listed(problems: list[str], most: int = 3) -> str:
    more = [f"and {len(problems) - most} more"] if len(problems) > most else []
    text = "; ".join(problems[:most] + more)
    return text[0].upper() + text[1:]
