"""An equation as it is compared: with its constants in slots, over the variables of both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array, trace
from symcompile.expressions.program import Program, to_sympy

# Values of all instructions that are held at once.
_HELD = 4_000_000


@dataclass(frozen=True)
class Law:
    """An equation as it is compared: its variables are columns, in the old one's order and names.

    Attributes:
        form: with slots `c[0]`, `c[1]`, ...
    """

    form: sympy.Expr
    constants: tuple[float, ...]
    program: Program
    columns: int
    order: tuple[int, ...]

    def values(self, X: Array) -> tuple[Array, Array]:
        """Values [n_points] for X [n_points, n_variables], and the largest number that came up on
        the way to each: rounding is relative to that."""
        X = X[:, self.order]
        rows = max(1, _HELD // max(1, len(self.program.instructions)))
        parts = [self._values(X[k : k + rows]) for k in range(0, len(X), rows)]
        empty = np.empty(0)
        values, peaks = zip(*parts, strict=True) if parts else ((empty,), (empty,))
        return np.concatenate(values), np.concatenate(peaks)

    def _values(self, X: Array) -> tuple[Array, Array]:
        with np.errstate(all="ignore"):
            steps = trace(self.program, X, self.constants)
        peak = np.zeros(len(X))
        for step in steps:
            size = np.abs(np.asarray(step, dtype=np.float64))
            peak = np.maximum(peak, np.where(np.isfinite(size), size, 0.0))
        last = np.asarray(steps[self.program.outputs[0]], dtype=np.float64)
        return np.broadcast_to(last, len(X)), peak


def laws(old: Equation, new: Equation) -> tuple[Law, Law]:
    """Both over the same columns: variables by name, or in their order if the names are others."""
    names = old.symbols
    others = new.symbols
    if len(names) == len(others) and set(names) != set(others):
        others = names
    columns = tuple(dict.fromkeys([*names, *others]))
    return _law(old, names, columns), _law(new, others, columns)


def _law(equation: Equation, names: tuple[str, ...], columns: tuple[str, ...]) -> Law:
    # By way of its program, so that it is the same from memory and from a file.
    form = to_sympy(equation.program, names)[0]
    order = tuple(columns.index(name) for name in names)
    return Law(form, equation.constants, equation.program, len(columns), order)
