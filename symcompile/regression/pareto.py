"""A Pareto front of equations: its order, what it chooses, and its stored form."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

from symcompile.errors import ChoiceError, EngineError, ExpressionError, shown
from symcompile.expressions.equation import Equation
from symcompile.regression.choice import (
    ROUNDING,
    RULES,
    Few,
    RunnerUp,
    check_rule,
    default,
    law,
    next_best,
)
from symcompile.regression.losses import SQUARED, Loss
from symcompile.regression.structure.statement import Statement, in_one_line, read_statements

T = TypeVar("T")
# What reading something else than a front raises.
_MISFITS = KeyError, TypeError, ValueError, AttributeError, OverflowError, EngineError, ChoiceError


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
        rule: the name of what chooses in the place of all that, see `choice.RULES`; "" for none.
        findings: what is known of the output's structure, each of what those before it have left.
    """

    equations: tuple[Equation, ...]
    variance: float
    choice: int | None = None
    loss: Loss = SQUARED
    constant_loss: float | None = None
    reason: str = ""
    few: Few | None = None
    rule: str = ""
    findings: tuple[Statement, ...] = ()

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
        return cls(_ranked(equations), float(variance), None, loss, constant_loss, few=few)

    def grown(self, more: Iterable[Equation]) -> ParetoFront:
        """The front that these and its own equations come to, without a choice of its own."""
        return replace(self, equations=_ranked([*self, *more]), choice=None, reason="")

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
    def losses(self) -> tuple[float, ...]:
        """What each equation is ranked by: its held-out loss where it was measured, else that of
        the fit."""
        return tuple(map(_measured, self))

    @property
    def loss_of_constant(self) -> float:
        """Loss of the best constant."""
        return self.variance if self.constant_loss is None else self.constant_loss

    @property
    def best(self) -> Equation:
        """The default choice: that of `rule` where one is given, else `law`."""
        return self._picked(default)

    @property
    def law(self) -> Equation:
        """What is chosen without a rule: equation number `choice` where that is given; of few rows,
        that of the shortest description; else the knee of the front, see `choice.knee`."""
        return self._picked(law)

    @property
    def runner_up(self) -> RunnerUp | None:
        """The next-best equation as a law; None where there is no second one, or a rule chooses."""
        return next_best(self)

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
        check_rule(rule)
        return self._picked(RULES[rule])

    def _picked(self, rule: Callable[[ParetoFront], int]) -> Equation:
        if not self.equations:
            why = self.reason or "the search found no usable equation"
            raise ChoiceError(f"the Pareto front is empty: {why}")
        return self[rule(self)]

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
            error = _measured(equation)
        return 1.0 - error / self.variance if self.variance > 0 else math.nan

    def log_losses(self) -> list[float]:
        """Natural log of each loss, floored where it is but rounding."""
        floor = max(self.loss_of_constant * ROUNDING, 1e-300)
        return [math.log(max(loss, floor)) for loss in self.losses]

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
        if self.rule:
            stored["rule"] = self.rule
        if self.findings:
            stored["findings"] = [finding.to_json() for finding in self.findings]
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
            rule = data.get("rule", "")
            if rule != "":
                check_rule(rule)
            variance = float(data["variance"])
            found = read_statements(data.get("findings", []))
            return cls(equations, variance, choice, loss, constant, "", few, rule, found)
        except _MISFITS as error:
            raise ExpressionError(f"not a stored Pareto front: {error}") from error

    def __str__(self) -> str:
        robust = not self.loss.is_squared
        name = f"{self.loss.name} loss"
        rows = [f"{'complexity':>10}  {'R2':>10}  {f'{name:>13}  ' * robust}equation"]
        if self.few is not None:
            rows.insert(0, f"R2 by leave-one-out over {self.few.rows} rows")
        best = self.best if self.equations else None
        for equation, loss in zip(self, self.losses, strict=True):
            mark = " <- chosen" if equation is best else ""
            column = f"{loss:>13.6g}  " * robust
            row = f"{equation.complexity:>10}  {self.r2(equation):>10.6f}  {column}{equation}{mark}"
            rows.append(row)
        if self.findings:
            rows.append(f"structure: {in_one_line(self.findings)}")
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
    if front.rule not in ("", *RULES):
        raise ExpressionError(f"rule: is {shown(front.rule)}, expected one of {', '.join(RULES)}")


def layers(items: Iterable[T], key: Callable[[T], tuple[int, float]]) -> list[T]:
    """The best of each complexity, then the second best of each, and so on; by `key`, which gives
    complexity and loss."""
    seen: Counter[int] = Counter()
    ranked = []
    for item in sorted(items, key=lambda item: key(item)[1]):
        complexity, _ = key(item)
        ranked.append((seen[complexity], complexity, item))
        seen[complexity] += 1
    return [item for *_, item in sorted(ranked, key=lambda entry: entry[:2])]


def _ranked(equations: Iterable[Equation]) -> tuple[Equation, ...]:
    ranked: list[Equation] = []
    lowest = math.inf
    for equation in sorted(equations, key=lambda e: (e.complexity, _measured(e))):
        if _measured(equation) < lowest:
            ranked.append(equation)
            lowest = _measured(equation)
    return tuple(ranked)


def _measured(equation: Equation) -> float:
    return equation.loss if math.isnan(equation.holdout_loss) else equation.holdout_loss
