"""Points: what the black box is asked around x, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symcompile.errors import DataError
from symcompile.explanation.link import Link, link_of
from symcompile.explanation.neighbourhood import Neighbourhood, Sample, effective_sample_size
from symcompile.explanation.request import Case
from symcompile.expressions.evaluation import Array

# A change of an output below this share of its size is rounding.
ROUNDING = 1e-9
# Points that have to count.
_FEWEST = 2.0


@dataclass(frozen=True)
class Points:
    """What the black box was asked, and says.

    Attributes:
        synthetic: new points that constants are fitted to; `fitted` has the nearest rows as well.
        judged, fresh: points to choose by, and to measure on.
        Y: outputs of fitted, judged and fresh points, and of x.
    """

    synthetic: Sample
    fitted: Sample
    judged: Sample
    fresh: Sample
    Y: tuple[Array, Array, Array, Array]
    link: Link

    @property
    def seen(self) -> Sample:
        """All that anything is fitted to."""
        return self.fitted.joined(self.judged)


def asked(case: Case, place: Neighbourhood) -> Points:
    """Raises DataError where fn says the same of all points, and what `BlackBox` does."""
    request = case.request
    streams = np.random.default_rng(request.seed).spawn(3)
    synthetic, judged, fresh = (place.draw(request.n_synthetic, stream) for stream in streams)
    _check_counts(place, (synthetic, judged, fresh))
    real = Sample(place.neighbours, np.full(len(place.neighbours), request.real_weight))
    fitted = synthetic.joined(real)
    flat = case.black_box.is_flat(case.x)
    samples = [fitted.X, judged.X, fresh.X, case.x[None]]
    Y = case.black_box(np.vstack(samples))
    case.black_box.check_repeats(fitted.X, Y)
    names = case.output_names(Y.shape[1], flat)
    link = link_of(request.link, Y, Y[-1], case.output_numbers(names), names, flat=flat)
    _check_varies(link, Y, case.black_box.classes)
    ends = np.cumsum([len(sample) for sample in samples])[:-1]
    return Points(synthetic, fitted, judged, fresh, tuple(np.split(Y, ends)), link)  # type: ignore[arg-type]


def _check_counts(place: Neighbourhood, samples: Sequence[Sample]) -> None:
    """DataError where the kernel leaves next to no point."""
    if min(effective_sample_size(sample.weights) for sample in samples) < _FEWEST:
        raise DataError(
            f"bandwidth is {place.bandwidth:.3g} standard deviations, and the new points around x"
            " are too far from it to count: give a larger one, or leave it out"
        )


def _check_varies(link: Link, Y: Array, classes: tuple[str, ...]) -> None:
    """DataError where fn says the same of all points."""
    chosen = link.chosen(Y)
    size = np.maximum(np.abs(chosen).max(axis=0), 1e-300)
    if (np.ptp(chosen, axis=0) > ROUNDING * size).any():
        return
    if classes and Y.shape[1] == 1:
        said = f"fn knows one class only, {classes[0]!r}"
    elif link.is_odds:
        likely = int(chosen[0].argmax())
        said = (
            f"fn says class {link.name(link.classes[likely])!r} with probability"
            f" {chosen[0, likely]:.6g} for all {len(Y)} rows around x"
        )
    else:
        said = f"fn gives {', '.join(f'{value:.6g}' for value in chosen[0])} for all {len(Y)} rows"
    raise DataError(
        f"{said}, so there is nothing to explain: give more n_neighbors, or a larger variance"
    )
