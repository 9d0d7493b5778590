"""Selection: which features an equation may hold.

The rule: of each feature, how far what is explained moves when the feature is put back to what it
is at x, everywhere around x and with all others as they are there (what is known as a total effect,
Homma and Saltelli 1996); the `n_features` that move it most. A category counts once, with all of
its levels. What all the others move together, put back at once, is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from symcompile.explanation.features import Feature
from symcompile.explanation.link import Link
from symcompile.explanation.neighbourhood import Neighbourhood, Sample
from symcompile.expressions.evaluation import Array

# Points that features are put back on.
_POINTS = 200


def effects(
    place: Neighbourhood,
    sample: Sample,
    known: Array,
    ask: Callable[[Array], Array],
    link: Link,
    groups: Sequence[Sequence[Feature]],
) -> Array:
    """What putting the features of each group back to what they are at x moves [n_groups, n_parts]:
    the weighted mean deviance between what fn says before, as is known of the sample, and after."""
    X, weights = sample.X[:_POINTS], sample.weights[:_POINTS]
    before = link.parts(known[: len(X)])
    moved = []
    for group in groups:
        columns = [column for feature in group for column in feature.columns]
        Z = X.copy()
        Z[:, columns] = place.x[columns]
        moved.append(Z)
    after = np.split(ask(np.vstack(moved)), len(groups)) if moved else []
    result = np.zeros((len(groups), len(before)))
    for k, Y in enumerate(after):
        for p, (part, other) in enumerate(zip(before, link.parts(Y), strict=True)):
            change = part.deviance(other.target)
            result[k, p] = float(np.average(change, weights=weights * part.share + 1e-300))
    return result
