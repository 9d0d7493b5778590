"""Equations of a region that do without one of their inputs, from what was recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from symcompile.equation import Equation
from symcompile.evaluation import Array
from symcompile.losses import first_weights, loss_for
from symcompile.operators import OperatorSet
from symcompile.pareto import ParetoFront
from symcompile.passes.complete import MOST_OUTPUTS, completed
from symcompile.passes.monomials import monomial_candidates
from symcompile.passes.refine import Samples, refine
from symcompile.passes.share import scaled
from symcompile.passes.sparse import sparse_candidates
from symcompile.recording import Recording
from symcompile.region import Region

# What a network has learned where it is strong can be noise where it is weak. A loss in which large
# outputs count for more sees the law then, even if most samples are weak.
STRONG = "absolute"

Equations = dict[int, Equation]


@dataclass(frozen=True)
class Recorded:
    """What the equations of one region were fitted to.

    Attributes:
        names: of the columns of V.
        V: [n_samples, n_variables].
        Y: [n_samples, n_equations].
        held: which samples no fit saw [n_samples].
        operators: what equations may use.
        fronts: of each output.
        loss: what equations are fitted by, see `symcompile.losses`.
    """

    names: tuple[str, ...]
    V: Array
    Y: Array
    held: Array
    operators: OperatorSet
    fronts: Mapping[int, ParetoFront]
    loss: str = "auto"

    @classmethod
    def of(
        cls,
        record: Recording,
        region: Region,
        operators: OperatorSet,
        fronts: Mapping[int, ParetoFront],
    ) -> Recorded:
        samples = record.samples[region.path]
        V, Y = region.variable_values(samples.X), region.equation_values(samples.Y)
        return cls(region.variables, V, Y, samples.holdout, operators, fronts)

    @property
    def max_complexity(self) -> int:
        """That of the longest equation on the fronts."""
        return max(front.most_accurate.complexity for front in self.fronts.values())

    def others(self, equations: Mapping[int, Equation]) -> Iterator[tuple[Recorded, Equations]]:
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
        for output, equation in equations.items():
            others = [one for k, one in equations.items() if k != output]
            for fitting in (self, replace(self, loss=STRONG)):
                found = completed(
                    *fitting.samples(output),
                    equation,
                    others,
                    operators=self.operators,
                    max_complexity=self.max_complexity,
                )
                if found is not None:
                    result[output] = replace(found, symbols=self.names)
                    break
        return result

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

    def samples(self, output: int, columns: Sequence[int] | None = None) -> tuple[Samples, Samples]:
        """What equations are fitted to, and what they are ranked on: all columns, or some."""
        loss = loss_for(self.loss, self.Y[~self.held, output])
        V = self.V if columns is None else self.V[:, columns]
        fit, held = (
            Samples(V[rows], self.Y[rows, output], None, loss) for rows in (~self.held, self.held)
        )
        return fit, held

    def lost(self, output: int, equation: Equation, other: Equation) -> float:
        """Nats of held-out loss from one equation to another."""
        _, held = self.samples(output)
        before, after = (held.loss(one) for one in (equation, other))
        return math.log(max(after, 1e-300) / max(before, 1e-300))

    def best(self, output: int, names: Sequence[str]) -> Equation | None:
        """An equation in these inputs that needs no search: the simplest of those that are as good
        as any, since what it has too much can still be left out. None if there is none."""
        fit, held = self.samples(output, [self.names.index(name) for name in names])
        limit = self.max_complexity
        limits = tuple(names), self.operators, limit
        robust = first_weights(fit.measure, fit.y)
        candidates = sparse_candidates(fit.X, fit.y, robust, *limits)
        candidates += monomial_candidates(fit.X, fit.y, None, fit.measure, *limits)
        front = refine(candidates, fit, held, operators=self.operators, max_complexity=limit)
        if not front.equations:
            return None
        return replace(front.select("plateau"), symbols=self.names)


def names_in(equation: Equation) -> set[str]:
    """Names of the inputs that an equation uses."""
    return {s.name for s in equation.form.free_symbols} & set(equation.symbols)
