"""Equations of a region that do without one of their inputs, from what was recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from symcompile.expressions.complexity import complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import slot
from symcompile.modules.region import Region
from symcompile.modules.samples import Samples
from symcompile.regression.dataset import Dataset
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
class Refitting:
    """What the equations of one region were fitted to.

    Attributes:
        names: of the columns of V.
        V: [n_samples, n_variables].
        Y: [n_samples, n_equations].
        held: which samples no fit saw [n_samples]; none of them where there are few.
        folds: of each sample, where none are held out, see `symcompile.regression.folds`.
        operators: what equations may use.
        fronts: of each output.
        loss: what equations are fitted by, see `symcompile.regression.losses`.
    """

    names: tuple[str, ...]
    V: Array
    Y: Array
    held: Array
    operators: OperatorSet
    fronts: Mapping[int, ParetoFront]
    loss: str = "auto"
    folds: Array | None = None

    @classmethod
    def of(
        cls,
        region: Region,
        samples: Samples,
        operators: OperatorSet,
        fronts: Mapping[int, ParetoFront],
    ) -> Refitting:
        V, Y = region.variable_values(samples.X), region.equation_values(samples.Y)
        held, folds = samples.holdout, samples.folds
        return cls(region.variables, V, Y, held, operators, fronts, folds=folds)

    @property
    def max_complexity(self) -> int:
        """That of the longest equation on the fronts."""
        return max(front.most_accurate.complexity for front in self.fronts.values())

    def automatic(self, equations: Mapping[int, Equation]) -> bool:
        """Whether these forms are what the fronts choose, and nobody's wish."""
        return all(
            (front := self.fronts.get(output)) is not None
            and bool(front.equations)
            and front.best.form == one.form
            for output, one in equations.items()
        )

    def others(self, equations: Mapping[int, Equation]) -> Iterator[tuple[Refitting, Equations]]:
        """Equations to try instead, each with what fits on from them.

        The longest on the fronts that are worth their length, and fits that need no search, in the
        inputs that the fronts use, under two losses.
        """
        longest = {output: self.fronts[output].select("plateau") for output in equations}
        yield self, self.completed({}, longest)
        used = self.used(one for output in equations for one in self.fronts[output])
        for loss in ("auto", STRONG) if used else ():
            other = replace(self, loss=loss)
            found = {output: other.best(output, used) for output in equations}
            new = {output: one for output, one in found.items() if one is not None}
            if len(new) == len(found):
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
            having = {k: one for k, one in equations.items() if name in names_in(one)}
            found = {k: self.best(k, [n for n in used if n != name]) for k in having}
            new = {k: one for k, one in found.items() if one is not None}
            if len(new) == len(found):
                lost = sum(self.lost(k, having[k], new[k]) for k in new)
                trials.append((lost, name, self.completed(equations, new)))
        return [trial[1:] for trial in sorted(trials, key=lambda trial: trial[0])]

    def used(self, equations: Iterable[Equation]) -> list[str]:
        """Inputs that any of these has."""
        found = set().union(*map(names_in, equations))
        return [name for name in self.names if name in found]

    def completed(
        self, equations: Mapping[int, Equation], changed: Mapping[int, Equation]
    ) -> Equations:
        """What has changed, completed by the other outputs' equations, and completed others."""
        if not 2 <= len({**equations, **changed}) <= MOST_OUTPUTS:
            return dict(changed)
        result = {output: self.shared(output, changed) for output in changed}
        equations = {**equations, **result}
        # What all consist of is known: one of them may become as long as all of them together.
        longest = max(self.max_complexity, sum(one.complexity for one in equations.values()))
        for output, equation in equations.items():
            others = [one for k, one in equations.items() if k != output]
            for loss in dict.fromkeys((self.loss, "auto", STRONG)):
                fitting = replace(self, loss=loss)
                found = completed(
                    *fitting.samples(output),
                    fitting.fitted(output, equation),
                    others,
                    operators=self.operators,
                    max_complexity=longest,
                )
                if found is not None:
                    result[output] = replace(found, symbols=self.names)
                    break
        return result

    def mixed(self, equations: Mapping[int, Equation]) -> Equations:
        """Equations that take up what others consist of, as far as samples show it.

        The samples have the constants that were left out of equations. They are fitted for the
        comparison, and left out again: beside them nothing else of an error would be seen.
        """
        found = self.completed({k: _shifted(one) for k, one in equations.items()}, {})
        result = {}
        for output, one in found.items():
            rest = None if has_constant(equations[output]) else varying(one)
            if rest is not None:
                one = replace(rest, complexity=complexity(rest.form, self.operators))
            result[output] = one
        return result

    def centred(self, equations: Mapping[int, Equation]) -> Equations:
        """Equations with a constant that makes up for what they lack of the samples' centre."""
        result = {}
        for output, one in equations.items():
            fit, _ = self.samples(output)
            rest = replace(fit, y=fit.y - one.predict(fit.X))
            finite = bool(np.isfinite(rest.y).all())
            result[output] = _plus(one, rest.centre if finite else 0.0)
        return result

    def fitted(self, output: int, equation: Equation) -> Equation:
        """The equation with its constants fitted anew."""
        fit, _ = self.samples(output)
        return replace(equation, constants=fit.fit_constants(equation).constants)

    def shared(self, output: int, changed: Mapping[int, Equation]) -> Equation:
        """This output's equation, or a form of another one if that suits it better."""
        fit, held = self.samples(output)
        others = [scaled(one, fit) for k, one in changed.items() if k != output]
        front = refine(
            [changed[output], *(one for one in others if one is not None)],
            fit,
            held,
            operators=self.operators,
            max_complexity=self.max_complexity,
        )
        return replace(front.most_accurate, symbols=self.names)

    def samples(self, output: int, columns: Sequence[int] | None = None) -> tuple[Dataset, Dataset]:
        """What equations are fitted to, and what they are ranked on: all columns, or some."""
        loss = loss_for(self.loss, self.Y[~self.held, output])
        V = self.V if columns is None else self.V[:, columns]
        fit, held = (
            Dataset(V[rows], self.Y[rows, output], None, loss) for rows in (~self.held, self.held)
        )
        return fit, held if self.folds is None else replace(fit, folds=self.folds)

    def lost(self, output: int, equation: Equation, other: Equation) -> float:
        """Nats of held-out loss from one equation to another."""
        _, held = self.samples(output)
        before, after = (held.loss_of(one) for one in (equation, other))
        return math.log(max(after, 1e-300) / max(before, 1e-300))

    def best(self, output: int, names: Sequence[str]) -> Equation | None:
        """An equation in these inputs that needs no search: the simplest of those that are as good
        as any, since what it has too much can still be left out. None if there is none."""
        fit, held = self.samples(output, [self.names.index(name) for name in names])
        limit = self.max_complexity
        candidates = without_search(fit, tuple(names), self.operators, limit)
        front = refine(candidates, fit, held, operators=self.operators, max_complexity=limit)
        if not front.equations:
            return None
        return replace(front.select("plateau"), symbols=self.names)


def names_in(equation: Equation) -> set[str]:
    """Names of the inputs that an equation uses."""
    return set(equation.uses)


def _shifted(equation: Equation) -> Equation:
    """The equation with a constant."""
    return equation if has_constant(equation) else _plus(equation, 0.0)


def _plus(equation: Equation, constant: float) -> Equation:
    form = equation.form + slot(len(equation.constants))
    return replace(equation, form=form, constants=(*equation.constants, constant))
