"""Choice: which equation of a front is the law, and other rules to choose by.

The default is the shortest description, see `description`: it is told by the data, and a front
holds by how many nats each of its equations is behind. A front that nobody has data of, such as one
of an older file, is left to `knee`, which picks its sharpest corner. The other rules are there for
who wants them; they see the losses of a front and its complexities, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from symcompile.errors import ChoiceError, shown
from symcompile.expressions.equation import Equation
from symcompile.expressions.slots import skeleton

if TYPE_CHECKING:
    from symcompile.regression.pareto import ParetoFront

# Below this fraction of the loss of a constant a loss is rounding, not fit.
ROUNDING = 1e-14
# The probability that a choice and what the data can't tell from it hold together; and that fronts
# of few rows hold.
CREDIBLE, KEPT = 0.99, 0.999
# Odds beyond these are no number worth telling, and soon none at all.
_MOST_NATS = 500.0
# The default, by its name.
DESCRIPTION = "description"
# `knee`: weight of what the rest of the front still has to give, against the step that was made.
REMAINDER = 0.5
# `knee`: nats for a unit of complexity below which a step is noise.
LEAST_STEP = 0.05
# `knee`: a further factor of the same form is taken if it halves the loss, or if it buys this share
# of what the front has left and this many nats: then the rest is noise.
HALVED, REST_SHARE, REST_GAIN = math.log(2.0), 0.9, 0.3
# `price`: a unit of complexity must buy this share of all the log-loss that the front gains;
# what reaches MAIN_GAIN of it must stay affordable, with this margin.
PRICE_SHARE, MAIN_GAIN, MARGIN = 1.0 / 30.0, 0.9, 0.8
# `fixed`: nats of log-loss that one unit of complexity must buy.
FIXED_PRICE = 0.5
# `plateau`: share of the lowest loss by which an equation may be worse.
LEVEL = 0.05


class RunnerUp(NamedTuple):
    """An equation that was not chosen, and by how many nats its description is longer."""

    equation: Equation
    margin: float

    @property
    def odds(self) -> float:
        """How much likelier the data are by the choice than by this: the odds against it."""
        return math.exp(min(self.margin, _MOST_NATS))


def credible(behind: Sequence[float], level: float = CREDIBLE) -> list[int]:
    """The fewest of some equations that hold so much of the probability between them, the choice
    first, by the nats that each is behind: an equation's share is exp(-nats)."""
    order = sorted(range(len(behind)), key=behind.__getitem__)
    shares = [math.exp(-behind[k]) for k in order]
    total = list(accumulate(shares))
    return order[: 1 + sum(share < level * total[-1] for share in total)]


def knee(front: ParetoFront) -> int:
    """Index of the sharpest corner, completed by factors that its form lacks.

    The corner: an equation's value is the slope of the step from its predecessor (nats of log-loss
    for a unit of complexity, PySR's score), less half the best mean slope from it to any later
    equation. The step that completes a law is the steepest of a front: before it a term or a phase
    is missing, after it equations only trace the network's own error, or noise. The second half of
    the rule is for laws that are completed in two steps of like steepness, where the score alone
    stops at the first. No price of complexity is involved, which is why the rule holds for exact
    data (thirty nats to gain) and for noisy sums of five terms (five nats, of which each single
    term buys less than half) alike. A front without a step of LEAST_STEP is that of a constant.

    Where the rest of the front has more to gain than all that led to the corner, the law is not
    complete: what comes before is cut off, and the corner of the rest taken, see `_last_corners`.
    Laws with many terms begin with a steep step, the first of their terms.

    The factors: a later equation of the same terms with more of their factors fitted (an amplitude,
    a coefficient that was 1) is no new hypothesis, and needs less to be taken: each factor has to
    halve the loss, or to leave nothing to gain, see `_with_factors`. An offset is a new term, and
    gets no such favour: on fronts of networks it mostly traces the network's own error.

    `examples/selection_study.py` measures this rule beside the others, on fronts of networks and of
    synthetic laws; its settings were chosen on such fronts.
    """
    corners = _last_corners(front)
    return _with_factors(front, max(corners, key=lambda i: (corners[i], -i)))


def _last_corners(front: ParetoFront) -> dict[int, float]:
    """What `knee` compares, by index, in the part of the front in which its law is completed: it
    begins at the last corner that left more to gain than it had gained."""
    logs, costs, start = front.log_losses(), front.complexities, 0
    while True:
        corners = dict(enumerate(_corners(logs[start:], costs[start:]), start))
        sharpest = max(corners, key=lambda i: (corners[i], -i))
        if sharpest == start or logs[sharpest] - logs[-1] <= logs[0] - logs[sharpest]:
            return corners
        start = sharpest


def _corners(logs: Sequence[float], costs: Sequence[int]) -> list[float]:
    """How sharp each corner is; a constant, which no step leads to, has the value 0.

    A step is measured from the last equation that gained something: where a front has stood still
    for a while, the next gain cost all of the complexity in between.
    """

    def slope(i: int, j: int) -> float:
        return (logs[i] - logs[j]) / (costs[j] - costs[i])

    values, before = [0.0], 0
    for i in range(1, len(logs)):
        step = slope(before, i)
        later = max((slope(i, j) for j in range(i + 1, len(logs))), default=0.0)
        value = step - REMAINDER * later
        values.append(value if step >= LEAST_STEP else min(value, 0.0) - LEAST_STEP)
        if slope(i - 1, i) >= LEAST_STEP:
            before = i
    return values


def _with_factors(front: ParetoFront, corner: int) -> int:
    """The last equation of the corner's form whose further factors pay for themselves."""
    logs, form = front.log_losses(), skeleton(front[corner].form)
    best = corner
    for index in range(corner + 1, len(front)):
        added = len(front[index].constants) - len(front[best].constants)
        gain = logs[best] - logs[index]
        if added < 1 or gain < REST_GAIN * added:
            continue
        rest = gain >= REST_SHARE * (logs[best] - logs[-1])
        if (rest or gain >= HALVED * added) and skeleton(front[index].form) == form:
            best = index
    return best


def shortest(front: ParetoFront) -> int:
    """The shortest description where that is known, else the knee."""
    return _lowest(front.behind) if front.behind else knee(front)


def price(front: ParetoFront) -> int:
    """Lowest log-loss plus price times complexity, at the front's own mean price.

    The price of a unit of complexity is 1/30 of all the log-loss that the front gains (30 is the
    default limit of complexity). Where a law needs most of the front's length, such as a sum over
    ten variables, it is lowered to MARGIN of what that law pays.
    """
    logs, costs = front.log_losses(), front.complexities
    steps = [(logs[0] - log, cost - costs[0]) for log, cost in zip(logs, costs, strict=True)]
    most = steps[-1][0]
    slopes = [gain / step for gain, step in steps[1:] if gain >= MAIN_GAIN * most]
    mean = min(PRICE_SHARE * most, MARGIN * max(slopes, default=0.0))
    return _cheapest(front, max(mean, LEAST_STEP))


def _cheapest(front: ParetoFront, unit_price: float) -> int:
    pairs = zip(front.log_losses(), front.complexities, strict=True)
    return _lowest([log + unit_price * cost for log, cost in pairs])


def _lowest(values: Sequence[float]) -> int:
    """Index of the lowest; of equal ones the first."""
    return min(range(len(values)), key=values.__getitem__)


def pysr_best(front: ParetoFront) -> int:
    """PySR's own default: the best score among losses within 1.5 times the lowest."""
    limit = 1.5 * min(front.losses)
    near = [i for i, loss in enumerate(front.losses) if loss <= limit]
    return steepest(front.log_losses(), front.complexities, near)


def plateau(front: ParetoFront) -> int:
    """The simplest equation whose loss (by which the front is ranked) is within LEVEL of the best.

    Where an equation goes on in a model its accuracy counts and its length does not; a front still
    ends in forms that gain nothing. A polynomial with all of its terms has no corner for `knee`,
    but an edge after which nothing is left.
    """
    logs = front.log_losses()
    return next(i for i, log in enumerate(logs) if log <= logs[-1] + math.log1p(LEVEL))


def steepest(
    logs: Sequence[float], costs: Sequence[int], among: Iterable[int] | None = None
) -> int:
    """Index of the steepest step down from the equation before it, of these or of all."""

    def slope(i: int) -> float:
        return (logs[i - 1] - logs[i]) / (costs[i] - costs[i - 1]) if i else 0.0

    return max(range(len(logs)) if among is None else among, key=slope)


RULES: dict[str, Callable[[ParetoFront], int]] = {
    DESCRIPTION: shortest,
    "knee": knee,
    "price": price,
    # The same at FIXED_PRICE: too dear where the data is noisy.
    "fixed": lambda front: _cheapest(front, FIXED_PRICE),
    # PySR's score: the steepest single step, -dlog(loss)/dcomplexity.
    "score": lambda front: steepest(front.log_losses(), front.complexities),
    "pysr": pysr_best,
    "plateau": plateau,
    # The equation of the lowest loss, by which the front is ranked.
    "accuracy": lambda front: len(front) - 1,
}
# What an equation is for, in words, and the rule that chooses it.
PREFERENCES = {"law": DESCRIPTION, "accuracy": "plateau"}


def check_rule(rule: object) -> None:
    """Raise ChoiceError for what is no name of a rule."""
    if not isinstance(rule, str) or rule not in RULES:
        raise ChoiceError(f"unknown rule {shown(rule)}: choose from {', '.join(RULES)}")


def rule_of(rule: object, prefer: object) -> str | None:
    """The rule that a user asked for by its name or by what equations are for, "" for the default;
    None where nothing was asked for. ChoiceError where it makes no sense."""
    if rule is not None and prefer is not None:
        raise ChoiceError(
            f"rule={shown(rule)} and prefer={shown(prefer)} both choose an equation: give one"
        )
    if prefer is not None:
        if not isinstance(prefer, str) or prefer not in PREFERENCES:
            raise ChoiceError(f"prefer is {shown(prefer)}: expected {' or '.join(PREFERENCES)}")
        rule = PREFERENCES[prefer]
    if rule is None:
        return None
    check_rule(rule)
    return "" if rule == DESCRIPTION else str(rule)
