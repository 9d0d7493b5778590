"""Acceptance: which equations of its fronts stand in a block's place.

The default choice of each output, where it passes. Else the simplest equation that does: a block is
refused only where no equation of a front passes. What is measured on the whole model, or in the
block's own floating type, is dear, so equations are screened first by their values in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from symcompile.errors import ChoiceError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.domain_check import check
from symcompile.fidelity.measuring import Comparison
from symcompile.fidelity.metrics import agreement, relative_l2
from symcompile.fidelity.outcome import Fidelity, not_above
from symcompile.fidelity.reference import Reference
from symcompile.fidelity.refusal import Refused, refusal
from symcompile.lowering.block import Lowered
from symcompile.modules.region import Region
from symcompile.regression.pareto import ParetoFront


@dataclass(frozen=True)
class Conditions:
    """What equations have to fulfil; fields as the arguments of `symcompile.symcompile`."""

    tolerance: float | None = None
    beat_linear: bool = False

    def met(self, error: float, linear: float) -> bool:
        """By relative L2 errors of an equation and of the linear map."""
        if not math.isfinite(error) or (self.tolerance is not None and error > self.tolerance):
            return False
        return not self.beat_linear or not_above(error, linear)


@dataclass(frozen=True)
class Judged:
    """Equations that were lowered and judged; `refused` if they must not be installed, `fidelity`
    if the model runs with them."""

    equations: dict[int, Equation]
    lowered: Lowered
    fidelity: Fidelity | None
    refused: Refused | None


@dataclass(frozen=True)
class Choice:
    """What the fronts of a region offer in its place.

    Attributes:
        refused: why the region has to stay neural; "" where it has not.
        judged: the equations to install, or where none may be, those of the default choice; None
            where an output has none.
        overruled: why the equations are not those of the default choice; "" where they are.
    """

    refused: str
    judged: Judged | None = None
    overruled: str = ""


def default_choice(region: Region, fronts: Mapping[int, ParetoFront]) -> dict[int, Equation]:
    """The best equation of each output, where there is one."""
    return {k: fronts[k].best for k in region.equation_outputs if fronts.get(k)}


def accepted(
    comparison: Comparison,
    fronts: Mapping[int, ParetoFront],
    conditions: Conditions,
    lower: Callable[[dict[int, Equation]], Lowered],
) -> Choice:
    """The first equations to pass on the way from the default choice to all that there are."""
    for output in comparison.reference.region.equation_outputs:
        if not fronts[output]:
            why = fronts[output].reason or "the search found no usable equation"
            return Choice(f"no equation for output {output}: {why}")

    def judged(equations: dict[int, Equation]) -> Judged:
        """By what is measured on the lowered block."""
        lowered, limits = lower(equations), (conditions.tolerance, conditions.beat_linear)
        try:
            fidelity = comparison.judge(equations, lowered)
        except ChoiceError as error:
            return Judged(equations, lowered, None, Refused(str(error)))
        refused = refusal(fidelity, *limits, region=comparison.reference.region)
        return Judged(equations, lowered, fidelity, refused)

    search = _Search(fronts, comparison.reference, conditions)
    first = trial = judged(dict(search.chosen))
    while trial.refused is not None:
        if not search.advance(trial.refused.outputs):
            assert first.refused is not None
            path, closest = comparison.reference.region.path, search.closest(first.refused)
            return Choice(first.refused.reason(path, closest), first)
        trial = judged(dict(search.chosen))
    return Choice("", trial, "" if first.refused is None else first.refused.what)


class _Search:
    """From the default choice of a region to the simplest that passes.

    Attributes:
        chosen: the equations to try now, by output.
    """

    def __init__(
        self,
        fronts: Mapping[int, ParetoFront],
        reference: Reference,
        conditions: Conditions,
    ) -> None:
        self.fronts, self.reference, self.conditions = fronts, reference, conditions
        self.region = reference.region
        self.chosen = default_choice(self.region, fronts)
        self.truth = reference.equation_values
        projection = self.region.projection_out
        directions = np.eye(1) if projection is None else projection.directions
        self.sizes = np.square(directions).sum(axis=1)
        self._values: dict[tuple[int, Equation], Array] = {}
        self._defined: dict[tuple[int, Equation], bool] = {}
        self._left = {output: self._alone(output) for output in self.chosen}

    def advance(self, blamed: Collection[int]) -> bool:
        """Go on to other equations of the outputs that are to blame, or where there are none of all
        outputs together. False if nothing is left to try."""
        if not blamed:
            return self._rebuilt() if self.region.projection_out is not None else self._all()
        others = {output: next(self._left[output], None) for output in blamed}
        self.chosen |= {k: equation for k, equation in others.items() if equation is not None}
        return None not in others.values()

    def closest(self, refused: Refused) -> str:
        """The best that there was, in words; "" where no other equation can help."""
        if all(len(self.fronts[output]) == 1 for output in self.chosen):
            return ""
        if self.region.projection_out is not None:
            best = {output: self._most_accurate(output) for output in self.chosen}
            lost = self.reference.projections["outputs"].relative_l2
            return (
                f"the closest of all have relative L2 {self._together(best):.3g} together, and the"
                f" projection of the outputs alone makes {lost:.3g}"
            )
        texts = []
        for output in refused.outputs or sorted(self.chosen):
            equation = self._most_accurate(output)
            error = self._error(output, equation)
            texts.append(f"{error:.3g} at complexity {equation.complexity} for output {output}")
        more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
        return f"the lowest relative L2 is {', '.join(texts[:3])}{more}"

    # --- one output --------------------------------------------------------------------------

    def _alone(self, output: int) -> Iterator[Equation]:
        """Equations of a front that may do instead of the default one, the simplest first."""
        default = self.chosen[output]
        for equation in self.fronts[output]:
            if equation != default and self._passes(output, equation):
                yield equation

    def _passes(self, output: int, equation: Equation) -> bool:
        """Components have nothing to fulfil by themselves, but to be defined."""
        error = self._error(output, equation)
        if self.region.projection_out is not None:
            return math.isfinite(error) and self._is_defined(output, equation)
        real = self.reference.Y[:, output]
        linear = relative_l2(self.reference.control_outputs[1][:, output], real)
        return self.conditions.met(error, linear) and self._is_defined(output, equation)

    def _value(self, output: int, equation: Equation) -> Array:
        key = (output, equation)
        if key not in self._values:
            values = equation.predict(self.reference.variables)
            self._values[key] = values + self.reference.fold_shift_of(output, equation)
        return self._values[key]

    def _error(self, output: int, equation: Equation) -> float:
        """Relative L2 of an output, or after a projection of a component."""
        value, truth = self._value(output, equation), self.truth[:, output]
        if self.region.projection_out is not None:
            return relative_l2(value, truth)
        real = self.reference.Y[:, output]
        return relative_l2(value + (real - truth), real)

    def _is_defined(self, output: int, equation: Equation) -> bool:
        key = (output, equation)
        if key not in self._defined:
            recorded, seed = self.reference.recorded, self.reference.seed
            # A block that its own type is too narrow for computes in float64.
            issues = check(equation, self.region, recorded, output, seed=seed, dtype="float64")
            self._defined[key] = not any(issue.on_data for issue in issues)
        return self._defined[key]

    def _most_accurate(self, output: int) -> Equation:
        return min(self.fronts[output], key=lambda e: (self._error(output, e), e.complexity))

    # --- all outputs together ----------------------------------------------------------------

    def _more_accurate(self, output: int) -> Iterator[Equation]:
        """Usable equations that are closer than the one chosen now, the simplest first."""
        now = self._error(output, self.chosen[output])
        for equation in self.fronts[output]:
            if self._error(output, equation) < now and self._passes(output, equation):
                yield equation

    def _all(self) -> bool:
        """Every output one step on, as far as its front goes."""
        others = {output: next(self._more_accurate(output), None) for output in self.chosen}
        better = {k: equation for k, equation in others.items() if equation is not None}
        self.chosen |= better
        return bool(better)

    def _rebuilt(self) -> bool:
        """More accurate components, each time the one that lowers the error of the real outputs by
        most for its complexity, until these are close enough."""
        while True:
            steps = [
                (self._gain(output, equation), output, equation)
                for output in self.chosen
                for equation in self._more_accurate(output)
            ]
            if not steps:
                return False
            _, output, equation = max(steps, key=lambda step: (step[0], -step[1]))
            self.chosen[output] = equation
            real = self.reference.Y
            linear = relative_l2(self.reference.control_outputs[1], real)
            if self.conditions.met(self._together(self.chosen), linear):
                return True

    def _gain(self, output: int, equation: Equation) -> float:
        """By how much a component lowers the squared error of real outputs, as if these components
        were orthogonal: principal ones are."""
        before, after = (
            float(np.square(self._value(output, e) - self.truth[:, output]).sum())
            for e in (self.chosen[output], equation)
        )
        gain = (before - after) * self.sizes[output] if math.isfinite(before) else math.inf
        return gain / max(equation.complexity - self.chosen[output].complexity, 1)

    def _together(self, chosen: Mapping[int, Equation]) -> float:
        """Relative L2 of real outputs; components that stay neural are exact."""
        components = self.truth.copy()
        for output, equation in chosen.items():
            components[:, output] = self._value(output, equation)
        real = self.reference.Y
        with np.errstate(all="ignore"):
            rebuilt = self.region.output_values(self.reference.X, components)
            return agreement(rebuilt, real).relative_l2
