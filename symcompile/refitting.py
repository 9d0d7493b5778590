"""Equations of a region that do without one of their inputs, from what was recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

from symcompile.equation import Equation
from symcompile.evaluation import Array
from symcompile.losses import Loss, first_weights, loss_for
from symcompile.operators import OperatorSet
from symcompile.passes.monomials import monomial_candidates
from symcompile.passes.refine import Samples, refine
from symcompile.passes.sparse import sparse_candidates
from symcompile.recording import Recording
from symcompile.region import Region

# An equation may be so much more complex than the one that it stands for, and has an input less.
LONGER = 4


@dataclass(frozen=True)
class Recorded:
    """What the equations of one region were fitted to.

    Attributes:
        names: of the columns of V.
        V: [n_samples, n_variables].
        Y: [n_samples, n_equations].
        held: which samples no fit saw [n_samples].
        operators: what equations may use.
    """

    names: tuple[str, ...]
    V: Array
    Y: Array
    held: Array
    operators: OperatorSet

    @classmethod
    def of(cls, record: Recording, region: Region, operators: OperatorSet) -> Recorded:
        samples = record.samples[region.path]
        V, Y = region.variable_values(samples.X), region.equation_values(samples.Y)
        return cls(region.variables, V, Y, samples.holdout, operators)

    def fewer(
        self, equations: Mapping[int, Equation], needed: Set[str]
    ) -> list[tuple[str, dict[int, Equation]]]:
        """For each input but those needed: its name, and the equations that had it without it; the
        one first that the samples miss least. Empty where there is but one input."""
        used = [n for n in self.names if any(n in names_in(one) for one in equations.values())]
        trials = []
        for name in used if len(used) > 1 else []:
            having = {k: one for k, one in equations.items() if name in names_in(one)}
            if name in needed:
                continue
            found = {k: self.without(k, one, name) for k, one in having.items()}
            kept = {k: one for k, one in found.items() if one is not None}
            if len(kept) == len(found):
                lost = sum(self.lost(k, having[k], kept[k]) for k in kept)
                trials.append((lost, name, kept))
        return [trial[1:] for trial in sorted(trials, key=lambda trial: trial[0])]

    def lost(self, output: int, equation: Equation, other: Equation) -> float:
        """Nats of held-out loss from one equation to another."""
        V, y, loss = self.V[self.held], self.Y[self.held, output], self.loss(output)
        before, after = (loss.mean(one.predict(V) - y, None) for one in (equation, other))
        return math.log(max(after, 1e-300) / max(before, 1e-300))

    def without(self, output: int, equation: Equation, name: str) -> Equation | None:
        """The best equation without this input that needs no search and is hardly longer."""
        columns = [k for k, one in enumerate(self.names) if one != name]
        names = tuple(self.names[k] for k in columns)
        loss, V = self.loss(output), self.V[:, columns]
        fit, held = (
            Samples(V[rows], self.Y[rows, output], None, loss) for rows in (~self.held, self.held)
        )
        limit = equation.complexity + LONGER
        limits = names, self.operators, limit
        robust = first_weights(loss, fit.y)
        candidates = sparse_candidates(fit.X, fit.y, robust, *limits)
        candidates += monomial_candidates(fit.X, fit.y, None, loss, *limits)
        front = refine(candidates, fit, held, operators=self.operators, max_complexity=limit)
        return replace(front.best, symbols=self.names) if front.equations else None

    def loss(self, output: int) -> Loss:
        return loss_for("auto", self.Y[~self.held, output])


def names_in(equation: Equation) -> set[str]:
    """Names of the inputs that an equation uses."""
    return {s.name for s in equation.form.free_symbols} & set(equation.symbols)
