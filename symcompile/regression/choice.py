"""Choice: which equation of a front is the law.

`knee` picks the sharpest corner of a front. With few rows a corner says little: among the many
forms that a search has tried on these very rows there is one for every step. What counts then is
whether a form with its constants is shorter than what it saves (minimum message length, Wallace and
Freeman 1987), see `descriptions`. The other rules are there for who wants them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from symcompile.errors import ChoiceError, ExpressionError, shown
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import skeleton

if TYPE_CHECKING:
    from symcompile.regression.pareto import ParetoFront

# Below this fraction of the loss of a constant a loss is rounding, not fit.
ROUNDING = 1e-14
# More than few.
_MOST = 10**6
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


class Few(NamedTuple):
    """How many rows rank a front, and the nats that it takes to name a form for each unit of its
    complexity, see `nats_per_node`."""

    rows: int
    price: float

    @classmethod
    def from_json(cls, data: Any) -> Few:
        """From a list of both; ExpressionError if it is none."""
        if type(data) is list and len(data) == 2:
            rows, price = data
            sound = type(rows) is int and type(price) in (int, float)
            if sound and 1 <= rows <= _MOST and 0 < price <= _MOST:
                return cls(rows, float(price))
        raise ExpressionError("few: expected a number of rows and the price of a node")


def descriptions(equations: Iterable[Equation], few: Few, constant_loss: float) -> list[float]:
    """Nats that it takes to write down the outputs by each equation.

    To name its form has its price for each unit of complexity. To give n outputs to within their
    errors takes n / 2 * ln(loss), and to give k constants as exactly as the errors need it
    k / 2 * (ln(n) - ln(loss)), with losses as shares of that of a constant: each constant uses up
    one row, whatever it gains on it. The loss is that of the fit, over the rows that are left.
    Which equations are on the front at all has been decided by leaving rows out, whose errors
    depend on single rows too much for this.
    """
    lengths = []
    for equation in equations:
        k = len(equation.constants)
        share = equation.loss * few.rows / max(few.rows - k, 1) / max(constant_loss, 1e-300)
        outputs = 0.5 * (few.rows - k) * math.log(max(share, ROUNDING))
        constants = 0.5 * k * math.log(few.rows)
        lengths.append(outputs + constants + few.price * equation.complexity)
    return lengths


def nats_per_node(operators: OperatorSet, n_inputs: int) -> float:
    """By how many nats the number of forms grows with each unit of complexity.

    Forms are counted up to the order of arguments, functions of functions left out, for these are
    mostly other forms spelled anew: with L leaves (inputs and a constant), their generating
    function is T = (1 + U) (L z + B T^2 / 2), U and B the sums of z^cost over functions and over
    operators of two arguments. It ends, and forms grow by a factor 1 / z, where
    2 L z B (1 + U)^2 = 1 (Flajolet and Sedgewick, Analytic Combinatorics, VII.3). At least ln 2:
    a node says one of two things.
    """
    low, high = 0.0, 0.5
    for _ in range(60):
        z = (low + high) / 2
        functions, pairs = (
            sum(z ** operators.cost(name) for name in names)
            for names in (operators.unary, operators.binary)
        )
        grows = 2 * (n_inputs + 1) * z * pairs * (1 + functions) ** 2
        low, high = (low, z) if grows > 1 else (z, high)
    return -math.log(high)


class RunnerUp(NamedTuple):
    """The equation that the default rule would have picked next.

    `margin` is by how much it lost, as a share of the winner's value under the rule: 0 is a tie,
    and below about 0.25 a reader should look at both.
    """

    equation: Equation
    margin: float


def default(front: ParetoFront) -> int:
    """By the rule that the front was given, else `law`."""
    return RULES[front.rule](front) if front.rule else law(front)


def law(front: ParetoFront) -> int:
    """What the front was told to choose, or the shortest description where few rows rank the
    equations, else the knee."""
    if front.choice is not None:
        return front.choice
    if front.few is None:
        return knee(front)
    return _lowest(descriptions(front, front.few, front.loss_of_constant))


def next_best(front: ParetoFront) -> RunnerUp | None:
    """The next-best equation as a law; None where there is no second one, or where a rule chooses,
    which measures nothing that a margin could be told of."""
    if len(front) < 2 or front.rule:
        return None
    picked = default(front)
    if front.few is not None:
        lengths = descriptions(front, front.few, front.loss_of_constant)
        second = min(set(range(len(front))) - {picked}, key=lambda i: (lengths[i], i))
        margin = (lengths[second] - lengths[picked]) / max(lengths[0] - lengths[picked], LEAST_STEP)
    else:
        corners = _last_corners(front)
        first, *others = sorted(corners, key=lambda i: (-corners[i], i))
        second = next((i for i in (*others, first) if i != picked), picked - 1)
        margin = corners[first] - corners[max(second, min(corners))]
        margin /= max(corners[first], LEAST_STEP)
    return RunnerUp(front[second], min(margin, 1.0))


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
# What an equation is for, in words, and the rule that chooses it; "" for `law`.
PREFERENCES = {"law": "", "accuracy": "plateau"}


def check_rule(rule: object) -> None:
    """Raise ChoiceError for what is no name of a rule."""
    if not isinstance(rule, str) or rule not in RULES:
        raise ChoiceError(f"unknown rule {shown(rule)}: choose from {', '.join(RULES)}")


def rule_of(rule: object, prefer: object) -> str | None:
    """The rule that a user asked for by its name or by what equations are for, "" for `law`; None
    where nothing was asked for. ChoiceError where it makes no sense."""
    if rule is not None and prefer is not None:
        raise ChoiceError(
            f"rule={shown(rule)} and prefer={shown(prefer)} both choose an equation: give one"
        )
    if rule is not None:
        check_rule(rule)
        return str(rule)
    if prefer is not None and (not isinstance(prefer, str) or prefer not in PREFERENCES):
        raise ChoiceError(f"prefer is {shown(prefer)}: expected {' or '.join(PREFERENCES)}")
    return None if prefer is None else PREFERENCES[prefer]
