"""Stability: what stays of an explanation when it is made again from other points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from symcompile.errors import DataError
from symcompile.expressions.evaluation import Array
from symcompile.report.plain_text import aligned
from symcompile.target import is_count

if TYPE_CHECKING:
    from symcompile.explanation.explanation import Explanation

# Points that predictions are compared on.
_POINTS = 500


@dataclass(frozen=True)
class Stability:
    """Of explanations of one prediction from several seeds.

    Attributes:
        explanations: the first one, and those of other seeds.
        present: share of them whose equations hold a feature, by its name and that of the output.
        contributions: of each feature to each output, mean and standard deviation over
            explanations of its integrated gradient; 0 where an equation does not hold it.
        spread: root mean square by which predictions of two explanations differ, as a share of the
            standard deviation of the black box's, on points around x; by output.
    """

    explanations: tuple[Explanation, ...]
    present: dict[tuple[str, str], float]
    contributions: dict[tuple[str, str], tuple[float, float]]
    spread: dict[str, float]

    def __str__(self) -> str:
        count = len(self.explanations)
        rows = [("output", "feature", "present", "contribution", "+-")]
        rows += [
            (output, feature, f"{share:.0%}", f"{mean:.4g}", f"{deviation:.2g}")
            for (output, feature), share in self.present.items()
            for mean, deviation in [self.contributions[output, feature]]
        ]
        spread = ", ".join(f"{output} {value:.2%}" for output, value in self.spread.items())
        lines = [f"stability over {count} seeds; predictions differ by (of their spread): {spread}"]
        return "\n".join([*lines, *aligned(rows, left=(0, 1))])


def stability(explanation: Explanation, seeds: int) -> Stability:
    """See `Explanation.stability`."""
    from symcompile.explanation.explaining import explained

    if not is_count(seeds) or seeds < 2:
        raise DataError(f"seeds is {seeds!r}: expected a whole number from 2 up")
    request = explanation.asked("call stability()")
    others = (
        explained(replace(request, seed=request.seed + k, lime=False)) for k in range(1, seeds)
    )
    several = (explanation, *others)
    present: dict[tuple[str, str], float] = {}
    contributed: dict[tuple[str, str], tuple[float, float]] = {}
    for k in explanation.link.outputs:
        name = explanation.link.name(k)
        found = [one.contributions[k].by_feature for one in several]
        for feature in sorted(set().union(*found)):
            values = [own[feature].integrated if feature in own else 0.0 for own in found]
            present[name, feature] = sum(feature in own for own in found) / len(found)
            contributed[name, feature] = float(np.mean(values)), float(np.std(values))
    order = sorted(present, key=lambda key: (key[0], -abs(contributed[key][0])))
    return Stability(
        several,
        {key: present[key] for key in order},
        {key: contributed[key] for key in order},
        _spread(several),
    )


def _spread(several: tuple[Explanation, ...]) -> dict[str, float]:
    first = several[0]
    sample = first.neighbourhood.draw(_POINTS, np.random.default_rng(0))
    predicted = np.stack([one.link.outputs_of(one.chosen(sample.X)) for one in several])

    def mean(values: Array) -> Array:
        return np.asarray(np.average(values, axis=-2, weights=sample.weights))

    # Twice the variance over explanations is the mean square by which two of them differ.
    differ = 2.0 * mean(predicted.var(axis=0, ddof=1))
    typical = predicted.mean(axis=0)
    spread = mean(np.square(typical - mean(typical)))
    shares = np.sqrt(differ / np.maximum(spread, 1e-300))
    names = [first.link.name(k) for k in first.link.outputs]
    return dict(zip(names, shares.tolist(), strict=True))
