"""A Pareto front of equations: its order, what it chooses, and its stored form."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

from symcompile.errors import ChoiceError, EngineError, ExpressionError, shown
from symcompile.expressions.equation import Equation
from symcompile.regression.choice import (
    DESCRIPTION,
    KEPT,
    ROUNDING,
    RULES,
    RunnerUp,
    check_rule,
    credible,
)
from symcompile.regression.losses import SQUARED, Loss
from symcompile.regression.older_fronts import as_before
from symcompile.regression.structure.statement import Statement, in_one_line, read_statements

T = TypeVar("T")
_MOST_LEFT_OUT = 10**6
# What reading something else than a front raises.
_MISFITS = KeyError, TypeError, ValueError, AttributeError, OverflowError, EngineError, ChoiceError


@dataclass(frozen=True)
class ParetoFront:
    """Equations by ascending complexity, each with a lower held-out loss than all before it.

    Where few rows rank them, those stay as well that the rows can't tell from the choice.

    Attributes:
        equations: the front itself.
        variance: variance of the output on held-out samples, in squared units of the output.
        behind: by how many nats the description of each equation is longer than that of the choice,
            which has 0; infinite for what is not to be chosen. Empty where nobody has the data, as
            of older files: `knee` chooses then.
        loss: what the equations were fitted and are ranked by, with its scale.
        constant_loss: that loss of the best constant; None where it is the variance.
        left_out: how many rows rank the equations where none are held out and each is left out in
            turn; else 0.
        reason: why there is no equation, where a search failed.
        rule: the name of what chooses in the place of the description, see `choice.RULES`; "" for
            none.
        findings: what is known of the output's structure, each of what those before it have left.
    """

    equations: tuple[Equation, ...]
    variance: float
    behind: tuple[float, ...] = ()
    loss: Loss = SQUARED
    constant_loss: float | None = None
    reason: str = ""
    left_out: int = 0
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
        left_out: int = 0,
    ) -> ParetoFront:
        """Keep what no simpler or equally simple equation beats; NaN losses are dropped.

        Of few rows all are kept until they are `described`.
        """
        kept = _ordered(equations) if left_out else _ranked(_ordered(equations))
        return cls(kept, float(variance), (), loss, constant_loss, left_out=left_out)

    def grown(self, more: Iterable[Equation]) -> ParetoFront:
        """The front that these and its own equations come to, not `described` yet."""
        all_of_them = _ordered([*self, *more])
        kept = all_of_them if self.left_out else _ranked(all_of_them)
        return replace(self, equations=kept, behind=(), reason="")

    def described(self, behind: Iterable[float]) -> ParetoFront:
        """The front with what its equations are behind the choice, in nats.

        Whatever is not on it by its loss stays where the choice is not decided between the two.
        """
        front = replace(self, behind=tuple(map(float, behind)))
        best = {id(equation) for equation in _ranked(self)}
        near = set(credible(front.behind, KEPT))
        return front.only([k for k, e in enumerate(self) if id(e) in best or k in near])

    def only(self, kept: Sequence[int]) -> ParetoFront:
        """Some of the equations, by number. Without the choice it is the nearest that is chosen."""
        equations = tuple(self[k] for k in kept)
        behind = [self.behind[k] for k in kept] if self.behind else []
        least = min(behind, default=math.inf)
        left = tuple(nats - least for nats in behind) if math.isfinite(least) else ()
        return replace(self, equations=equations, behind=left)

    @property
    def pareto(self) -> ParetoFront:
        """Without what is there because few rows can't tell it from the choice."""
        best = {id(equation) for equation in _ranked(self)}
        if len(best) == len(self):
            return self
        return self.only([k for k, equation in enumerate(self) if id(equation) in best])

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
        return self.select(self.rule or DESCRIPTION)

    @property
    def law(self) -> Equation:
        """What is chosen without a rule: the equation of the shortest description, or where that is
        not known the knee of the front, see `choice.knee`."""
        return self.select(DESCRIPTION)

    @property
    def runner_up(self) -> RunnerUp | None:
        """The equation that is least behind the choice; None where none is known, or a rule
        chooses, which measures nothing that a margin could be told of."""
        return next(iter(self._behind_law()), None)

    @property
    def undecided(self) -> tuple[RunnerUp, ...]:
        """The equations that the data can't tell from the choice, the nearest first: the fewest
        that are 99 % likely to be all there is to be taken seriously, see `choice.credible`."""
        others = self._behind_law()
        return tuple(others[: len(credible(self.behind)) - 1]) if others else ()

    def _behind_law(self) -> list[RunnerUp]:
        if not self.behind or self.rule not in ("", DESCRIPTION):
            return []
        law = self.law
        pairs = zip(self, self.behind, strict=True)
        others = [RunnerUp(e, nats) for e, nats in pairs if e is not law and math.isfinite(nats)]
        return sorted(others, key=lambda other: other.margin)

    @property
    def most_accurate(self) -> Equation:
        return self.select("accuracy")

    @property
    def best_score(self) -> Equation:
        """Highest -dlog(loss)/dcomplexity, PySR's score (arXiv 2602.21307, eq. 3), by the loss that
        the front is ranked by."""
        return self.select("score")

    def select(self, rule: str = DESCRIPTION) -> Equation:
        """Pick by a rule: "description" (the default), "knee", "price", "fixed", "score", "pysr",
        "plateau" or "accuracy"."""
        check_rule(rule)
        if not self.equations:
            why = self.reason or "the search found no usable equation"
            raise ChoiceError(f"the Pareto front is empty: {why}")
        front = self if rule == DESCRIPTION and self.behind else self.pareto
        return front[RULES[rule](front)]

    def at(self, complexity: int) -> Equation:
        """The equation of exactly this complexity, of several that which is least behind the
        choice; ChoiceError lists those there are."""
        behind = self.behind or [0.0] * len(self)
        numbers = [k for k, equation in enumerate(self) if equation.complexity == complexity]
        if numbers:
            return self[min(numbers, key=behind.__getitem__)]
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
        if self.behind:
            stored["behind"] = [nats if math.isfinite(nats) else None for nats in self.behind]
        if not self.loss.is_squared:
            stored |= {"loss": self.loss.to_json(), "constant_loss": self.constant_loss}
        if self.left_out:
            stored["left_out"] = self.left_out
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
            loss = Loss.from_json(data["loss"]) if "loss" in data else SQUARED
            constant = data.get("constant_loss")
            constant = None if constant is None else float(constant)
            rule = data.get("rule", "")
            if rule != "":
                check_rule(rule)
            front = cls(equations, float(data["variance"]), (), loss, constant, rule=rule)
            behind, left_out = as_before(front, data.get("choice"), data.get("few"))
            if "behind" in data:
                nats = (math.inf if nats is None else float(nats) for nats in data["behind"])
                behind = tuple(nats)
            front = replace(
                front,
                behind=behind,
                left_out=data.get("left_out", left_out),
                findings=read_statements(data.get("findings", [])),
            )
            _check_behind(front)
            return front
        except _MISFITS as error:
            raise ExpressionError(f"not a stored Pareto front: {error}") from error

    def __str__(self) -> str:
        robust = not self.loss.is_squared
        name = f"{self.loss.name} loss"
        rows = [f"{'complexity':>10}  {'R2':>10}  {f'{name:>13}  ' * robust}equation"]
        if self.left_out:
            rows.insert(0, f"R2 by leave-one-out over {self.left_out} rows")
        marks = {id(other.equation): f" <- odds {in_odds(other)}" for other in self.undecided}
        if self.equations:
            marks[id(self.best)] = " <- chosen"
        for equation, loss in zip(self, self.losses, strict=True):
            mark = marks.get(id(equation), "")
            column = f"{loss:>13.6g}  " * robust
            row = f"{equation.complexity:>10}  {self.r2(equation):>10.6f}  {column}{equation}{mark}"
            rows.append(row)
        if self.findings:
            rows.append(f"structure: {in_one_line(self.findings)}")
        return "\n".join(rows)


def in_odds(other: RunnerUp) -> str:
    """The odds against an equation: "3 to 1"."""
    return f"{other.odds:.2g} to 1"


def check_front(front: ParetoFront) -> None:
    """Raise ExpressionError for a front that was read and is none.

    The rules divide by the steps of complexity. So each equation has to be longer than the one
    before it, but for those beside the front itself, which no rule sees.
    """
    costs = front.complexities
    if any(a > b or (a == b and not front.left_out) for a, b in pairwise(costs)):
        raise ExpressionError(f"complexities {list(costs[:20])} of a front do not ascend")
    _check_behind(front)
    if front.rule not in ("", *RULES):
        raise ExpressionError(f"rule: is {shown(front.rule)}, expected one of {', '.join(RULES)}")


def _check_behind(front: ParetoFront) -> None:
    behind, rows = front.behind, front.left_out
    if behind and (len(behind) != len(front) or min(behind) != 0 or any(map(math.isnan, behind))):
        said = shown(list(behind[:20]))
        raise ExpressionError(f"behind: is {said}, of {len(front)} equations, and 0 for one")
    if type(rows) is not int or not 0 <= rows <= _MOST_LEFT_OUT:
        raise ExpressionError(f"left_out: is {shown(rows)}, expected a number of rows")


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


def _ordered(equations: Iterable[Equation]) -> tuple[Equation, ...]:
    """By complexity, then loss; without what has none."""
    measured = (equation for equation in equations if _measured(equation) < math.inf)
    return tuple(sorted(measured, key=lambda e: (e.complexity, _measured(e))))


def _ranked(ordered: Iterable[Equation]) -> tuple[Equation, ...]:
    """Of equations by complexity and loss those that nothing before them beats."""
    ranked: list[Equation] = []
    lowest = math.inf
    for equation in ordered:
        if _measured(equation) < lowest:
            ranked.append(equation)
            lowest = _measured(equation)
    return tuple(ranked)


def _measured(equation: Equation) -> float:
    return equation.loss if math.isnan(equation.holdout_loss) else equation.holdout_loss
