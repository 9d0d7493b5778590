"""Equations of a region that do without one of their inputs, from what was recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import slot
from symcompile.modules.region import Region
from symcompile.modules.samples import Samples
from symcompile.regression.dataset import Dataset
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.limits import Limits
from symcompile.regression.losses import loss_for
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.refine import refine
from symcompile.regression.share import MOST_OUTPUTS, completed, has_constant, scaled, varying
from symcompile.regression.sparse import without_search

# What a network has learned where it is strong can be noise where it is weak. A loss in which large
# outputs count for more sees the law then, even if most samples are weak.
STRONG = "absolute"

Equations = dict[int, Equation]


@dataclass(frozen=True)
class Alternatives:
    """What the equations of one region were fitted to.

    Attributes:
        names: of the inputs that equations have.
        samples: of these inputs, and of what the equations have to give.
        operators: what equations may use.
        fronts: of each output.
        loss: what equations are fitted by, see `symcompile.regression.losses`.
    """

    names: tuple[str, ...]
    samples: Samples
    operators: OperatorSet
    fronts: Mapping[int, ParetoFront]
    loss: str = "auto"

    @classmethod
    def of(
        cls,
        region: Region,
        samples: Samples,
        operators: OperatorSet,
        fronts: Mapping[int, ParetoFront],
    ) -> Alternatives:
        unweighted = replace(region.equation_samples(samples), weights=None)
        return cls(region.variables, unweighted, operators, fronts)

    @property
    def max_complexity(self) -> int:
        """That of the longest equation on the fronts."""
        return max(front.most_accurate.complexity for front in self.fronts.values())

    @property
    def limits(self) -> Limits:
        return Limits(self.operators, self.max_complexity)

    def automatic(self, equations: Mapping[int, Equation]) -> bool:
        """Whether these forms are what the fronts choose, and nobody's wish."""
        return all(
            (front := self.fronts.get(output)) is not None
            and bool(front.equations)
            and front.best.form == equation.form
            for output, equation in equations.items()
        )

    def others(self, equations: Mapping[int, Equation]) -> Iterator[tuple[Alternatives, Equations]]:
        """Equations to try instead, each with what fits on from them.

        The longest on the fronts that are worth their length, and fits that need no search, in the
        inputs that the fronts use, under two losses.
        """
        longest = {output: self.fronts[output].select("plateau") for output in equations}
        yield self, self.completed({}, longest)
        used = self.used(equation for output in equations for equation in self.fronts[output])
        for loss in ("auto", STRONG) if used else ():
            other = replace(self, loss=loss)
            new = other.all_best(equations, used)
            if new:
                yield other, other.completed({}, new)

    def fewer(
        self, equations: Mapping[int, Equation], needed: Set[str]
    ) -> list[tuple[str, Equations]]:
        """For each input but those needed: its name, and new equations for the outputs that had it;
        the one first that the samples miss least. Empty where there is but one input.

        Other outputs have a new one too where they take up what these consist of now."""
        used = self.used(equations.values())
        trials = []
        for name in used if len(used) > 1 else []:
            if name in needed:
                continue
            having = [k for k, equation in equations.items() if name in equation.uses]
            new = self.all_best(having, [n for n in used if n != name])
            if new:
                lost = sum(self.lost(k, equations[k], new[k]) for k in new)
                trials.append((lost, name, self.completed(equations, new)))
        return [trial[1:] for trial in sorted(trials, key=lambda trial: trial[0])]

    def used(self, equations: Iterable[Equation]) -> list[str]:
        """Inputs that any of these has."""
        names = {name for equation in equations for name in equation.uses}
        return [name for name in self.names if name in names]

    def completed(
        self, equations: Mapping[int, Equation], changed: Mapping[int, Equation]
    ) -> Equations:
        """What has changed, completed by the other outputs' equations, and completed others."""
        if not 2 <= len({**equations, **changed}) <= MOST_OUTPUTS:
            return dict(changed)
        result = {output: self.shared(output, changed) for output in changed}
        equations = {**equations, **result}
        # What all consist of is known: one of them may become as long as all of them together.
        longest = max(self.max_complexity, sum(e.complexity for e in equations.values()))
        for output, equation in equations.items():
            others = [other for k, other in equations.items() if k != output]
            for loss in dict.fromkeys((self.loss, "auto", STRONG)):
                fitting = replace(self, loss=loss)
                longer = completed(
                    *fitting.datasets(output),
                    fitting.fitted(output, equation),
                    others,
                    Limits(self.operators, longest),
                )
                if longer is not None:
                    result[output] = replace(longer, symbols=self.names)
                    break
        return result

    def mixed(self, equations: Mapping[int, Equation]) -> Equations:
        """Equations that take up what others consist of, as far as samples show it.

        The samples have the constants that were left out of equations. They are fitted for the
        comparison, and left out again: beside them nothing else of an error would be seen.
        """
        shifted = {k: e if has_constant(e) else _plus(e, 0.0) for k, e in equations.items()}
        result = self.completed(shifted, {})
        for output, equation in result.items():
            rest = None if has_constant(equations[output]) else varying(equation)
            if rest is not None:
                result[output] = rest.with_form(rest.form, rest.constants, self.operators)
        return result

    def centred(self, equations: Mapping[int, Equation]) -> Equations:
        """Equations with a constant that makes up for what they lack of the samples' centre."""
        result = {}
        for output, equation in equations.items():
            fit, _ = self.datasets(output)
            rest = replace(fit, y=fit.y - equation.predict(fit.X))
            finite = bool(np.isfinite(rest.y).all())
            result[output] = _plus(equation, rest.centre if finite else 0.0)
        return result

    def fitted(self, output: int, equation: Equation) -> Equation:
        """The equation with its constants fitted anew."""
        fit, _ = self.datasets(output)
        return replace(equation, constants=fit_constants(equation, fit).constants)

    def shared(self, output: int, changed: Mapping[int, Equation]) -> Equation:
        """This output's equation, or a form of another one if that suits it better."""
        fit, holdout = self.datasets(output)
        others = [scaled(other, fit) for k, other in changed.items() if k != output]
        front = refine(
            [changed[output], *(other for other in others if other is not None)],
            fit,
            holdout,
            self.limits,
        )
        return replace(front.most_accurate, symbols=self.names)

    def datasets(
        self, output: int, columns: Sequence[int] | None = None
    ) -> tuple[Dataset, Dataset]:
        """What equations are fitted to, and what they are ranked on: all columns, or some."""
        loss = loss_for(self.loss, self.samples.Y_fit[:, output])
        X = self.samples.X if columns is None else self.samples.X[:, columns]
        return replace(self.samples, X=X).datasets(output, loss)

    def lost(self, output: int, equation: Equation, other: Equation) -> float:
        """Nats of held-out loss from one equation to another."""
        _, holdout = self.datasets(output)
        before, after = holdout.loss_of(equation), holdout.loss_of(other)
        return math.log(max(after, 1e-300) / max(before, 1e-300))

    def all_best(self, outputs: Iterable[int], names: Sequence[str]) -> Equations:
        """The best equations of these outputs in these inputs; none where one has none."""
        best = {output: self.best(output, names) for output in outputs}
        new = {output: equation for output, equation in best.items() if equation is not None}
        return new if len(new) == len(best) else {}

    def best(self, output: int, names: Sequence[str]) -> Equation | None:
        """An equation in these inputs that needs no search: the simplest of those that are as good
        as any, since what it has too much can still be left out. None if there is none."""
        fit, holdout = self.datasets(output, [self.names.index(name) for name in names])
        front = refine(without_search(fit, names, self.limits), fit, holdout, self.limits)
        if not front.equations:
            return None
        return replace(front.select("plateau"), symbols=self.names)


def _plus(equation: Equation, constant: float) -> Equation:
    form = equation.form + slot(len(equation.constants))
    return replace(equation, form=form, constants=(*equation.constants, constant))
