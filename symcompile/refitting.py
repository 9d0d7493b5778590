"""Equations of a region that do without one of their inputs, from what was recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from symcompile.equation import Equation
from symcompile.evaluation import Array
from symcompile.losses import Loss, first_weights, loss_for
from symcompile.operators import OperatorSet
from symcompile.passes.monomials import monomial_candidates
from symcompile.passes.refine import Samples, refine
from symcompile.passes.sparse import sparse_candidates
from symcompile.recording import Recording
from symcompile.region import Region


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

    def inputs(self, equations: Mapping[int, Equation]) -> list[str]:
        """Inputs that some equation uses, from the one that matters least for all outputs."""
        used = {
            name: sum(self.cost(output, one, name) for output, one in equations.items())
            for name in self.names
            if any(name in names_in(one) for one in equations.values())
        }
        return sorted(used, key=lambda name: used[name])

    def cost(self, output: int, equation: Equation, name: str) -> float:
        """Nats of loss that an equation loses with this input at its median, scaled anew."""
        if name not in names_in(equation):
            return 0.0
        y, loss = self.Y[self.held, output], self.loss(output)
        V = self.V[self.held].copy()
        full = loss.mean(equation.predict(V) - y, None)
        V[:, self.names.index(name)] = np.median(self.V[:, self.names.index(name)])
        with np.errstate(all="ignore"):
            basis = np.column_stack([equation.predict(V), np.ones(len(V))])
        if not np.isfinite(basis).all():
            return math.inf
        weights = first_weights(loss, y)
        root = np.ones(len(y)) if weights is None else np.sqrt(weights)
        found = np.linalg.lstsq(basis * root[:, None], y * root, rcond=None)[0]
        return math.log(max(loss.mean(basis @ found - y, None), 1e-300) / max(full, 1e-300))

    def without(self, output: int, equation: Equation, name: str) -> Equation | None:
        """The best equation without this input that needs no search and is not more complex."""
        columns = [k for k, one in enumerate(self.names) if one != name]
        names = tuple(self.names[k] for k in columns)
        loss, V = self.loss(output), self.V[:, columns]
        fit, held = (
            Samples(V[rows], self.Y[rows, output], None, loss) for rows in (~self.held, self.held)
        )
        limits = names, self.operators, equation.complexity
        robust = first_weights(loss, fit.y)
        candidates = sparse_candidates(fit.X, fit.y, robust, *limits)
        candidates += monomial_candidates(fit.X, fit.y, None, loss, *limits)
        front = refine(
            candidates, fit, held, operators=self.operators, max_complexity=equation.complexity
        )
        return replace(front.best, symbols=self.names) if front.equations else None

    def loss(self, output: int) -> Loss:
        return loss_for("auto", self.Y[~self.held, output])


def names_in(equation: Equation) -> set[str]:
    """Names of the inputs that an equation uses."""
    return {s.name for s in equation.form.free_symbols} & set(equation.symbols)
