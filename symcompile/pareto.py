"""A Pareto front of equations, and the rules that pick one from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from symcompile.equation import Equation
from symcompile.errors import ChoiceError, ExpressionError

# Below this fraction of the output's variance a loss is rounding, not fit.
ROUNDING = 1e-14
# Nats of log-loss that one unit of complexity must buy, see `knee`.
KNEE = 0.5


@dataclass(frozen=True)
class ParetoFront:
    """Equations by ascending complexity, each with a lower held-out loss than all before it.

    Attributes:
        equations: the front itself.
        variance: variance of the output on held-out samples, so that a loss can be read as R2.
    """

    equations: tuple[Equation, ...]
    variance: float

    @classmethod
    def of(cls, equations: Iterable[Equation], variance: float) -> ParetoFront:
        """Keep what no simpler or equally simple equation beats; NaN losses are dropped."""
        kept: list[Equation] = []
        for equation in sorted(equations, key=lambda e: (e.complexity, measured_loss(e))):
            loss = measured_loss(equation)
            if math.isfinite(loss) and (not kept or loss < measured_loss(kept[-1])):
                kept.append(equation)
        return cls(tuple(kept), float(variance))

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
        """The default choice: the knee of the front, see `knee`."""
        return self.select("knee")

    @property
    def most_accurate(self) -> Equation:
        return self.select("accuracy")

    @property
    def best_score(self) -> Equation:
        """Highest -dlog(loss)/dcomplexity, PySR's score (arXiv 2602.21307, eq. 3)."""
        return self.select("score")

    def select(self, rule: str = "knee") -> Equation:
        """Pick by a rule: "knee" (the default), "score", "pysr" or "accuracy"."""
        if rule not in RULES:
            raise ChoiceError(f"unknown rule {rule!r}: choose from {', '.join(RULES)}")
        if not self.equations:
            raise ChoiceError("the Pareto front is empty: the search found no usable equation")
        return self.equations[RULES[rule](self)]

    def at(self, complexity: int) -> Equation:
        """The equation of exactly this complexity; ChoiceError lists those there are."""
        for equation in self:
            if equation.complexity == complexity:
                return equation
        known = ", ".join(map(str, self.complexities)) or "none"
        raise ChoiceError(f"no equation of complexity {complexity}: the front has {known}")

    def r2(self, equation: Equation) -> float:
        """Held-out coefficient of determination of one of the equations."""
        return 1.0 - measured_loss(equation) / self.variance if self.variance > 0 else math.nan

    def log_losses(self) -> list[float]:
        """Natural log of each loss, floored where it is but rounding."""
        floor = max(self.variance * ROUNDING, 1e-300)
        return [math.log(max(measured_loss(equation), floor)) for equation in self]

    def to_json(self) -> dict[str, Any]:
        return {"variance": self.variance, "equations": [e.to_json() for e in self]}

    @classmethod
    def from_json(cls, data: Any) -> ParetoFront:
        """Read `to_json` back; ExpressionError if it is damaged."""
        try:
            return cls(
                tuple(Equation.from_json(row) for row in data["equations"]),
                float(data["variance"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ExpressionError(f"not a stored Pareto front: {error}") from error

    def __str__(self) -> str:
        rows = [f"{'complexity':>10}  {'R2':>10}  equation"]
        best = self.best if self.equations else None
        for equation in self:
            mark = " <- chosen" if equation is best else ""
            rows.append(f"{equation.complexity:>10}  {self.r2(equation):>10.6f}  {equation}{mark}")
        return "\n".join(rows)


def measured_loss(equation: Equation) -> float:
    """Held-out loss where it was measured, else the loss of the fit."""
    return equation.loss if math.isnan(equation.holdout_loss) else equation.holdout_loss


def knee(front: ParetoFront) -> int:
    """Index of the most complex equation that still pays for itself.

    Walking down the front from the simplest equation, a later one is taken if the log of its loss
    is lower than that of the one held by at least KNEE nats for each unit of complexity between
    them. The comparison is with the equation held, not with its neighbour on the front, so a long
    run of small gains does not add up to a choice unless they pay on average.
    """
    logs = front.log_losses()
    held = 0
    for index in range(1, len(front)):
        gain = logs[held] - logs[index]
        if gain >= KNEE * (front[index].complexity - front[held].complexity):
            held = index
    return held


def score(front: ParetoFront) -> int:
    """PySR's score: the steepest single step, -dlog(loss)/dcomplexity."""
    return _steepest(front, range(len(front)))


def pysr_best(front: ParetoFront) -> int:
    """PySR's own default: the best score among losses within 1.5 times the lowest."""
    limit = 1.5 * min(measured_loss(equation) for equation in front)
    near = [i for i in range(len(front)) if measured_loss(front[i]) <= limit]
    return _steepest(front, near)


def accuracy(front: ParetoFront) -> int:
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
    "score": score,
    "pysr": pysr_best,
    "accuracy": accuracy,
}
