"""Compare the equations of two compiled models: what is identical, drifted, or another law.

Blocks are matched by qualified name and output. Whether two equations are the same function is
decided numerically, on seeded points inside the recorded ranges; their forms say the rest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sympy

from symcompile.equation import Equation
from symcompile.errors import ArtifactError
from symcompile.evaluation import Array
from symcompile.hybrid import Hybrid
from symcompile.rewrite import Outcome, Rewrite

IDENTICAL = "identical"
REWRITTEN = "rewritten, same function"
DRIFTED = "coefficients drifted"
CHANGED = "structure changed"
SIGNATURE = "signature changed"
ADDED, REMOVED = "added", "removed"

_POINTS = 256
# Relative difference up to which two values are the same: rounding of a rearranged formula.
_SAME = 1e-9


@dataclass(frozen=True)
class EquationDiff:
    """What became of one equation.

    Attributes:
        path, output: which one.
        change: one of the classes of this module, such as "coefficients drifted".
        old, new: texts of the equations; None where there is none.
        coefficients: (old, new) of each constant, where the form is the same.
        difference: largest difference of the two, as a share of the old one's largest value; NaN
            where they can't be compared.
    """

    path: str
    output: int
    change: str
    old: str | None
    new: str | None
    coefficients: tuple[tuple[float, float], ...] = ()
    difference: float = float("nan")


@dataclass(frozen=True)
class GraphDiff:
    """Differences between two compiled models, equation by equation; prints as text."""

    equations: tuple[EquationDiff, ...]

    @property
    def same(self) -> bool:
        """Whether every equation is identical, or the same function in another form."""
        return all(one.change in (IDENTICAL, REWRITTEN) for one in self.equations)

    def to_dict(self) -> dict[str, Any]:
        return {"same": self.same, "equations": [asdict(one) for one in self.equations]}

    def __str__(self) -> str:
        if not self.equations:
            return "no equations in either"
        lines = []
        for one in self.equations:
            lines.append(f"{one.path}[{one.output}]: {one.change}")
            if one.change != IDENTICAL:
                lines += [f"  - {one.old}"] * (one.old is not None)
                lines += [f"  + {one.new}"] * (one.new is not None)
            for old, new in one.coefficients:
                if old != new:
                    lines.append(f"    {old:.6g} -> {new:.6g} ({_change(old, new)})")
        return "\n".join(lines)


def diff(a: Hybrid | str | os.PathLike[str], b: Hybrid | str | os.PathLike[str]) -> GraphDiff:
    """Compare the equations of two Compiled models or `.symc` artifacts (objects or paths).

    Raises ArtifactError for a file that can't be read, or anything else.
    """
    old, new = _equations(a), _equations(b)
    keys = sorted({*old, *new})
    return GraphDiff(tuple(_compare(key, old.get(key), new.get(key)) for key in keys))


@dataclass(frozen=True)
class _Side:
    """One equation with where its variables live."""

    equation: Equation
    features: tuple[sympy.Expr, ...]
    names: tuple[str, ...]
    points: Array


def _equations(source: Any) -> dict[tuple[str, int], _Side]:
    found = {}
    for path, outcome in _outcomes(source).items():
        if isinstance(outcome, Rewrite):
            region, points = outcome.region, _points(outcome)
            for output, equation in outcome.equations.items():
                found[path, output] = _Side(equation, region.features, region.names, points)
    return found


def _outcomes(source: Any) -> Mapping[str, Outcome]:
    if isinstance(source, (str, os.PathLike)):
        from symcompile import artifact

        return artifact.outcomes(source)[0]
    outcomes = getattr(source, "outcomes", None)
    if not isinstance(outcomes, Mapping):
        raise ArtifactError(
            f"can't compare a {type(source).__name__}: expected a Compiled, or the path of a .symc"
            " artifact"
        )
    return outcomes


def _points(outcome: Rewrite) -> Array:
    """Values of the equations' variables on seeded points inside the recorded ranges."""
    low, high = np.array(outcome.ranges, dtype=float).reshape(-1, 2).T
    X = np.random.default_rng(0).uniform(low, high, (_POINTS, len(low)))
    return outcome.region.variable_values(X)


def _compare(key: tuple[str, int], old: _Side | None, new: _Side | None) -> EquationDiff:
    path, output = key
    if old is None or new is None:
        before = None if old is None else old.equation.text()
        after = None if new is None else new.equation.text()
        return EquationDiff(path, output, ADDED if old is None else REMOVED, before, after)
    a, b = old.equation, new.equation
    before, after = a.text(), b.text()
    if (a.symbols, old.features, old.names) != (b.symbols, new.features, new.names):
        return EquationDiff(path, output, SIGNATURE, before, after)
    difference = max(_difference(a, b, side.points) for side in (old, new))
    if a.form == b.form:
        pairs = tuple(zip(a.constants, b.constants, strict=True))
        change = IDENTICAL if a.constants == b.constants else DRIFTED
        return EquationDiff(path, output, change, before, after, pairs, difference)
    change = REWRITTEN if difference <= _SAME else CHANGED
    return EquationDiff(path, output, change, before, after, (), difference)


def _difference(a: Equation, b: Equation, points: Array) -> float:
    first, second = a.predict(points), b.predict(points)
    finite = np.isfinite(first) & np.isfinite(second)
    if not finite.any() or not np.array_equal(np.isfinite(first), np.isfinite(second)):
        return float("inf")
    size = float(np.abs(first[finite]).max()) or 1.0
    return float(np.abs(first[finite] - second[finite]).max()) / size


def _change(old: float, new: float) -> str:
    return f"{(new - old) / abs(old):+.3%}" if old else "from 0"


__all__ = ["EquationDiff", "GraphDiff", "diff"]
