"""A Pareto front of equations, and the rules that pick one from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from symcompile.errors import ChoiceError, EngineError, ExpressionError
from symcompile.expressions.equation import Equation
from symcompile.expressions.slots import skeleton
from symcompile.regression.description import Few, descriptions, shortest
from symcompile.regression.losses import SQUARED, Loss

# Below this fraction of the output's variance a loss is rounding, not fit.
ROUNDING = 1e-14
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
    """The equation that the default rule would have picked next.

    `margin` is by how much it lost, as a share of the winner's value under the rule: 0 is a tie,
    and below about 0.25 a reader should look at both.
    """

    equation: Equation
    margin: float


@dataclass(frozen=True)
class ParetoFront:
    """Equations by ascending complexity, each with a lower held-out loss than all before it.

    Attributes:
        equations: the front itself.
        variance: variance of the output on held-out samples, in squared units of the output.
        choice: index of the default choice where more is known than the front itself tells, see
            `symcompile.regression.share`; None leaves it to `knee`.
        loss: what the equations were fitted and are ranked by, with its scale.
        constant_loss: that loss of the best constant; None where it is the variance.
        few: where few rows rank the equations, how many, and what a form costs to name; None where
            there are enough rows to leave the choice to `knee`.
        reason: why there is no equation, where a search failed.
    """

    equations: tuple[Equation, ...]
    variance: float
    choice: int | None = None
    loss: Loss = SQUARED
    constant_loss: float | None = None
    reason: str = ""
    few: Few | None = None

    @classmethod
    def of(
        cls,
        equations: Iterable[Equation],
        variance: float,
        *,
        loss: Loss = SQUARED,
        constant_loss: float | None = None,
        few: Few | None = None,
    ) -> ParetoFront:
        """Keep what no simpler or equally simple equation beats; NaN losses are dropped."""
        kept: list[Equation] = []
        for equation in sorted(equations, key=lambda e: (e.complexity, measured_loss(e))):
            measured = measured_loss(equation)
            if math.isfinite(measured) and (not kept or measured < measured_loss(kept[-1])):
                kept.append(equation)
        return cls(tuple(kept), float(variance), None, loss, constant_loss, few=few)

    def grown(self, more: Iterable[Equation]) -> ParetoFront:
        """The front that these and its own equations come to, without a choice of its own."""
        return ParetoFront.of(
            [*self, *more],
            self.variance,
            loss=self.loss,
            constant_loss=self.constant_loss,
            few=self.few,
        )

    def __len__(self) -> int:
        return len(self.equations)

    def __iter__(self) -> Iterator[Equation]:
        return iter(self.equations)

    def __getitem__(self, index: int) -> Equation:
        return self.equations[index]

    @property
    def complexities(self) -> tuple[int, ...]:
        return tuple(equation.complexity for equation in self)

    @property
    def best(self) -> Equation:
        """The default choice: the knee of the front, see `knee`, or what completes it. Where few
        rows rank the equations, that of the shortest description, see `description`."""
        if self.choice is not None:
            return self[self.choice]
        if self.few is None or not self.equations:
            return self.select("knee")
        return self[shortest(self._lengths)]

    @property
    def runner_up(self) -> RunnerUp | None:
        """The next-best equation under the default rule; None where there is no second one."""
        if len(self) < 2:
            return None
        if self.few is not None:
            return self._next_shortest(self._lengths)
        part, picked = _part(self), knee(self) if self.choice is None else self.choice
        offset, values = len(self) - len(part), _corners(part)
        order = [offset + i for i in sorted(range(len(part)), key=lambda i: (-values[i], i))]
        second = next((i for i in order[1:] + order[:1] if i != picked), picked - 1)
        best, other = values[order[0] - offset], values[max(second - offset, 0)]
        return RunnerUp(self[second], min((best - other) / max(best, LEAST_STEP), 1.0))

    @property
    def _lengths(self) -> list[float]:
        """Of each equation's description, for few rows."""
        assert self.few is not None
        return descriptions(self, self.few, self._constant_loss)

    @property
    def _constant_loss(self) -> float:
        return self.variance if self.constant_loss is None else self.constant_loss

    def _next_shortest(self, lengths: list[float]) -> RunnerUp:
        picked = shortest(lengths) if self.choice is None else self.choice
        second = min((i for i in range(len(self)) if i != picked), key=lambda i: (lengths[i], i))
        gained = max(lengths[0] - lengths[picked], LEAST_STEP)
        return RunnerUp(self[second], min((lengths[second] - lengths[picked]) / gained, 1.0))

    @property
    def most_accurate(self) -> Equation:
        return self.select("accuracy")

    @property
    def best_score(self) -> Equation:
        """Highest -dlog(loss)/dcomplexity, PySR's score (arXiv 2602.21307, eq. 3), by the loss that
        the front is ranked by."""
        return self.select("score")

    def select(self, rule: str = "knee") -> Equation:
        """Pick by a rule: "knee" (the default), "price", "fixed", "score", "pysr", "plateau" or
        "accuracy"."""
        if rule not in RULES:
            raise ChoiceError(f"unknown rule {rule!r}: choose from {', '.join(RULES)}")
        if not self.equations:
            why = self.reason or "the search found no usable equation"
            raise ChoiceError(f"the Pareto front is empty: {why}")
        return self.equations[RULES[rule](self)]

    def at(self, complexity: int) -> Equation:
        """The equation of exactly this complexity; ChoiceError lists those there are."""
        for equation in self:
            if equation.complexity == complexity:
                return equation
        known = ", ".join(map(str, self.complexities)) or "none"
        raise ChoiceError(f"no equation of complexity {complexity}: the front has {known}")

    def r2(self, equation: Equation) -> float:
        """Coefficient of determination of one of the equations on held-out samples: one minus mean
        squared error over variance, whatever the loss is. NaN where either is not known. Where
        nothing is held out, see `folds`, each row is left out in turn instead."""
        error = equation.holdout_mse
        if math.isnan(error) and self.loss.is_squared:
            error = measured_loss(equation)
        return 1.0 - error / self.variance if self.variance > 0 else math.nan

    def log_losses(self) -> list[float]:
        """Natural log of each loss, floored where it is but rounding."""
        floor = max(self._constant_loss * ROUNDING, 1e-300)
        return [math.log(max(measured_loss(equation), floor)) for equation in self]

    def to_json(self, *, text: bool = True) -> dict[str, Any]:
        """Plain data, see `Equation.to_json`; `reason` is left out."""
        equations = [equation.to_json(text=text) for equation in self]
        stored: dict[str, Any] = {"variance": self.variance, "equations": equations}
        if self.choice is not None:
            stored["choice"] = self.choice
        if not self.loss.is_squared:
            stored |= {"loss": self.loss.to_json(), "constant_loss": self.constant_loss}
        if self.few is not None:
            stored["few"] = list(self.few)
        return stored

    @classmethod
    def from_json(cls, data: Any) -> ParetoFront:
        """Read `to_json` back; ExpressionError if it is damaged."""
        try:
            equations = tuple(Equation.from_json(row) for row in data["equations"])
            choice = data.get("choice")
            if choice is not None and (type(choice) is not int or not 0 <= choice < len(equations)):
                raise ValueError(f"its choice is {choice!r} of {len(equations)} equations")
            loss = Loss.from_json(data["loss"]) if "loss" in data else SQUARED
            constant = data.get("constant_loss")
            constant = None if constant is None else float(constant)
            few = Few.from_json(data["few"]) if "few" in data else None
            return cls(equations, float(data["variance"]), choice, loss, constant, few=few)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
            EngineError,
        ) as error:
            raise ExpressionError(f"not a stored Pareto front: {error}") from error

    def __str__(self) -> str:
        robust = not self.loss.is_squared
        name = f"{self.loss.name} loss"
        rows = [f"{'complexity':>10}  {'R2':>10}  {f'{name:>13}  ' * robust}equation"]
        if self.few is not None:
            rows.insert(0, f"R2 by leave-one-out over {self.few.rows} rows")
        best = self.best if self.equations else None
        for equation in self:
            mark = " <- chosen" if equation is best else ""
            loss = f"{measured_loss(equation):>13.6g}  " * robust
            row = f"{equation.complexity:>10}  {self.r2(equation):>10.6f}  {loss}{equation}{mark}"
            rows.append(row)
        return "\n".join(rows)


def check_front(front: ParetoFront) -> None:
    """Raise ExpressionError for a front that was read and is none.

    The rules divide by the steps of complexity, so each equation has to be longer than the one
    before it.
    """
    costs, choice = front.complexities, front.choice
    if any(a >= b for a, b in pairwise(costs)):
        raise ExpressionError(f"complexities {list(costs[:20])} of a front do not ascend")
    if choice is not None and (type(choice) is not int or not 0 <= choice < len(front)):
        raise ExpressionError(f"choice: is {choice!r}, of {len(front)} equations")


def measured_loss(equation: Equation) -> float:
    """What a front is ranked by: the held-out loss where it was measured, else that of the fit."""
    return equation.loss if math.isnan(equation.holdout_loss) else equation.holdout_loss


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
    complete: what comes before is cut off, and the corner of the rest taken, see `_part`. Laws with
    many terms begin with a steep step, the first of their terms.

    The factors: a later equation of the same terms with more of their factors fitted (an amplitude,
    a coefficient that was 1) is no new hypothesis, and needs less to be taken: each factor has to
    halve the loss, or to leave nothing to gain, see `_completed`. An offset is a new term, and gets
    no such favour: on fronts of networks it mostly traces the network's own error.

    `examples/selection_study.py` measures this rule beside the others, on fronts of networks and of
    synthetic laws; its settings were chosen on such fronts.
    """
    part = _part(front)
    return _completed(front, len(front) - len(part) + _sharpest(part))


def _part(front: ParetoFront) -> ParetoFront:
    """The end of the front, from the last corner that left more to gain than it had gained."""
    logs, start = front.log_losses(), 0
    while True:
        part = replace(front, equations=front.equations[start:])
        corner = start + _sharpest(part)
        if corner == start or logs[corner] - logs[-1] <= logs[0] - logs[corner]:
            return part
        start = corner


def _sharpest(front: ParetoFront) -> int:
    values = _corners(front)
    return max(range(len(front)), key=lambda i: (values[i], -i))


def _completed(front: ParetoFront, corner: int) -> int:
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


def _corners(front: ParetoFront) -> list[float]:
    """What `knee` compares; a constant, which no step leads to, has the value 0.

    A step is measured from the last equation that gained something: where a front has stood still
    for a while, the next gain cost all of the complexity in between.
    """
    logs, counts = front.log_losses(), front.complexities

    def slope(i: int, j: int) -> float:
        return (logs[i] - logs[j]) / (counts[j] - counts[i])

    values, before = [0.0], 0
    for i in range(1, len(front)):
        step = slope(before, i)
        later = max((slope(i, j) for j in range(i + 1, len(front))), default=0.0)
        value = step - REMAINDER * later
        values.append(value if step >= LEAST_STEP else min(value, 0.0) - LEAST_STEP)
        if slope(i - 1, i) >= LEAST_STEP:
            before = i
    return values


def price(front: ParetoFront) -> int:
    """Lowest log-loss plus price times complexity, at the front's own mean price.

    The price of a unit of complexity is 1/30 of all the log-loss that the front gains (30 is the
    default limit of complexity). Where a law needs most of the front's length, such as a sum over
    ten variables, it is lowered to MARGIN of what that law pays.
    """
    logs, first = front.log_losses(), front[0].complexity
    gains = [logs[0] - log for log in logs]
    slopes = [
        gain / (equation.complexity - first)
        for gain, equation in zip(gains, front, strict=True)
        if equation.complexity > first and gain >= MAIN_GAIN * gains[-1]
    ]
    mean = min(PRICE_SHARE * gains[-1], MARGIN * max(slopes, default=0.0))
    return _cheapest(front, max(mean, LEAST_STEP))


def fixed(front: ParetoFront) -> int:
    """The same at FIXED_PRICE: too dear where the data is noisy."""
    return _cheapest(front, FIXED_PRICE)


def _cheapest(front: ParetoFront, unit_price: float) -> int:
    logs = front.log_losses()
    return min(range(len(front)), key=lambda i: (logs[i] + unit_price * front[i].complexity, i))


def score(front: ParetoFront) -> int:
    """PySR's score: the steepest single step, -dlog(loss)/dcomplexity."""
    return _steepest(front, range(len(front)))


def pysr_best(front: ParetoFront) -> int:
    """PySR's own default: the best score among losses within 1.5 times the lowest."""
    limit = 1.5 * min(measured_loss(equation) for equation in front)
    near = [i for i in range(len(front)) if measured_loss(front[i]) <= limit]
    return _steepest(front, near)


def plateau(front: ParetoFront) -> int:
    """The simplest equation whose loss (by which the front is ranked) is within LEVEL of the best.

    Where an equation goes on in a model its accuracy counts and its length does not; a front still
    ends in forms that gain nothing. A polynomial with all of its terms has no corner for `knee`,
    but an edge after which nothing is left.
    """
    logs = front.log_losses()
    return next(i for i, log in enumerate(logs) if log <= logs[-1] + math.log1p(LEVEL))


def accuracy(front: ParetoFront) -> int:
    """The equation of the lowest loss, by which the front is ranked."""
    return len(front) - 1


def _steepest(front: ParetoFront, among: Iterable[int]) -> int:
    logs = front.log_losses()

    def slope(index: int) -> float:
        if index == 0:
            return 0.0
        step = front[index].complexity - front[index - 1].complexity
        return (logs[index - 1] - logs[index]) / step

    return max(among, key=slope)


RULES: dict[str, Callable[[ParetoFront], int]] = {
    "knee": knee,
    "price": price,
    "fixed": fixed,
    "score": score,
    "pysr": pysr_best,
    "plateau": plateau,
    "accuracy": accuracy,
}
