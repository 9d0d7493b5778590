"""Which differences make a comparison fail: chosen by the team, checked here."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from symcompile.errors import ComparisonError

STRUCTURE, COEFFICIENT, FIDELITY = "structure", "coefficient", "fidelity"
SIGNATURE, WEIGHTS = "signature", "weights"
CATEGORIES = (STRUCTURE, COEFFICIENT, FIDELITY, SIGNATURE, WEIGHTS)


@dataclass(frozen=True)
class Rules:
    """What counts as a difference.

    Attributes:
        fail_on: any of
            structure: an equation changed its form, came or went; the graph around the blocks has
                other nodes;
            coefficient: a constant drifted beyond the tolerances;
            fidelity: R2 fell, or a relative L2 error rose, by more than `max_fidelity_drop`;
            signature: inputs, outputs, dtypes, names of blocks or the opset changed;
            weights: neural weights changed.
        rtol, atol: a constant that moved by up to `atol + rtol * max(|old|, |new|)` is the same.
        max_fidelity_drop: in units of R2 and of relative L2 error.
    """

    fail_on: tuple[str, ...] = CATEGORIES
    rtol: float = 1e-6
    atol: float = 0.0
    max_fidelity_drop: float = 0.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.fail_on if name not in CATEGORIES]
        if unknown:
            raise ComparisonError(
                f"fail_on names {unknown[0]!r}: expected any of {', '.join(CATEGORIES)}"
            )
        for name in ("rtol", "atol", "max_fidelity_drop"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
                raise ComparisonError(f"{name} is {value!r}: expected a finite number from 0")

    def allows(self, old: float, new: float) -> bool:
        """Whether a constant may move from one value to the other."""
        return abs(new - old) <= self.atol + self.rtol * max(abs(old), abs(new))


def categories(fail_on: str | Collection[str] | None) -> tuple[str, ...]:
    """Names as a list or as "structure,coefficient"; "none" is none of them, None all.

    Raises ComparisonError for anything else.
    """
    if fail_on is None:
        return CATEGORIES
    names = fail_on.split(",") if isinstance(fail_on, str) else fail_on
    if not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise ComparisonError(f"fail_on is {fail_on!r}: expected any of {', '.join(CATEGORIES)}")
    chosen = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    return () if chosen == ("none",) else chosen
