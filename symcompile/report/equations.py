"""The equations of a report: which of them are shown, what they are called, and what their symbols
stand for."""

from __future__ import annotations

from symcompile.expressions.equation import Equation
from symcompile.fidelity.outcome import Outcome, Rewrite
from symcompile.modules.region import Region
from symcompile.regression.choice import RunnerUp
from symcompile.regression.pareto import in_odds
from symcompile.regression.structure.statement import in_one_line
from symcompile.report.plain_text import cut
from symcompile.target import Products

RUNNERS_UP = 3
# Of more components those that add most are shown.
MOST_COMPONENTS = 12


def chosen(outcome: Outcome) -> dict[int, Equation]:
    """The equations of an outcome; of a refusal those that were refused."""
    if isinstance(outcome, Rewrite):
        return dict(sorted(outcome.equations.items()))
    fronts = sorted(outcome.fronts.items())
    return {output: front.best for output, front in fronts if len(front)}


def shown(outcome: Outcome) -> list[int]:
    """The numbers of the equations that are shown: all, or of many components those that add most
    to the outputs. Terms and directions that were fitted come by what they add, principal
    components, which have an order, in theirs."""
    numbers = list(chosen(outcome))
    shares = outcome.fidelity.shares if outcome.fidelity is not None else {}
    if not shares:
        return numbers
    largest = sorted(numbers, key=lambda number: -shares.get(number, 0.0))[:MOST_COMPONENTS]
    region = outcome.region
    fitted = (
        region is not None and region.projection_out and region.projection_out.basis is not None
    )
    return largest if fitted else sorted(largest)


def label(region: Region | None, output: int) -> str:
    """What an equation is called: y[0] is output 0, component[0] the first component of projected
    outputs, term[0] the first of a sum of products."""
    if region is None or region.projection_out is None:
        return f"y[{output}]"
    return f"{'term' if isinstance(region.target.reduce, Products) else 'component'}[{output}]"


def equations(outcome: Outcome) -> list[tuple[str, str, str]]:
    """What stands before each equation, the equation, and what is known of its output."""
    sign = "=" if isinstance(outcome, Rewrite) else "~"
    used, rows = chosen(outcome), []
    shares = outcome.fidelity.shares if outcome.fidelity is not None else {}
    for output in shown(outcome):
        share = f" ({percent(shares[output])})" if output in shares else ""
        lead = f"{label(outcome.region, output)}{share} {sign} "
        rows.append((lead, used[output].text(), structure(outcome, output)))
    return rows


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def structure(outcome: Outcome, output: int) -> str:
    """What is known of an output's structure, and how well; "" for nothing."""
    front = outcome.fronts.get(output)
    return "" if front is None else in_one_line(front.findings)


def undecided(outcome: Outcome, output: int) -> tuple[RunnerUp, ...]:
    """The equations that the samples can't tell from the one that was chosen, the nearest first;
    none where a user or a rule chose."""
    front, equation = outcome.fronts.get(output), chosen(outcome).get(output)
    if front is None or len(front) == 0 or equation != front.best:
        return ()
    return front.undecided


def doubts(outcome: Outcome) -> list[str]:
    """What is said under the equations where samples do not decide."""
    used = chosen(outcome)
    lines = []
    for output in used:
        others = undecided(outcome, output)
        named = [f"{cut(e.equation.text(), 60)} (odds {in_odds(e)})" for e in others[:RUNNERS_UP]]
        if len(others) > RUNNERS_UP:
            named.append(f"and {len(others) - RUNNERS_UP} more")
        it = label(outcome.region, output) if len(used) > 1 else "this"
        if named:
            lines.append(f"the samples can't decide between {it} and: {'; '.join(named)}")
    return lines


def where_from(path: str, outcome: Outcome) -> list[str]:
    """What is left out, and what the equations' symbols stand for where they are not the inputs
    themselves."""
    region, used = outcome.region, chosen(outcome)
    if region is None or not used:
        return []
    lines = []
    left = set(used) - set(shown(outcome))
    if left and outcome.fidelity is not None:
        share = percent(sum(outcome.fidelity.shares.get(k, 0.0) for k in left))
        place = "equations" if isinstance(outcome, Rewrite) else "fronts"
        lines.append(f"and {len(left)} more ({share}) in compiled.{place}[{path!r}]")
    if outcome.fidelity is not None and outcome.fidelity.shares:
        lines.append("(%): the variance that each adds to the outputs, as a share of all of it")
    lines += _inputs(region)
    for name, definition in (region.target.features or {}).items():
        lines.append(f"where {name} = {definition}")
    return [*lines, *_outputs(region)]


def _inputs(region: Region) -> list[str]:
    projection = region.projection_in
    if projection is None:
        return []
    n, size = projection.components.shape
    if projection.basis is None:
        return [f"where z0..z{n - 1}: {n} principal components of the {size} inputs"]
    return [f"where z0..z{n - 1}: {n} fitted coordinates of the {size} inputs"]


def _outputs(region: Region) -> list[str]:
    projection, lines = region.projection_out, []
    if projection is not None:
        n, size = projection.components.shape
        if isinstance(region.target.reduce, Products):
            lines.append(f"where each of {n} terms moves the {size} outputs in its own direction")
        else:
            kind = "principal components" if projection.basis is None else "fitted directions"
            lines.append(f"where components: {n} {kind} of the {size} outputs")
    if region.affine is not None:
        what = "all of it is" if projection is not None else "each is"
        lines.append(f"{what} added to an affine map of the inputs, of rank {region.affine.rank}")
    return lines
