"""Importance: how much each output dimension of a block carries, and the ranking by it.

A message that a network does not need is driven to a constant by what punishes it, or left at the
noise of its first weights: its standard deviation is small. Gaussian messages that carry nothing
fall back to the prior: their Kullback-Leibler divergence from it is small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from symcompile.errors import DataError, PruningError

Measure = Callable[[torch.Tensor], torch.Tensor]


def standard_deviation(outputs: torch.Tensor) -> torch.Tensor:
    """Standard deviation of each dimension over all samples, in float64 [d].

    Args:
        outputs: what the block gave [..., d]; everything before the last dimension is samples.

    Raises DataError if it is no floating tensor or holds no sample.
    """
    return rows_of(outputs).std(dim=0, correction=0)


def kl_divergence(outputs: torch.Tensor) -> torch.Tensor:
    """Mean divergence KL(N(mu, sigma^2) || N(0, 1)) of each Gaussian dimension, in nats [d].

    Args:
        outputs: what a variational block gave [..., 2 d]: d means, then d log-variances
            (log sigma^2), so that dimension k is the pair of columns k and d + k.

    The closed form is 0.5 (mu^2 + sigma^2 - log sigma^2 - 1), averaged over samples in float64
    (Kingma and Welling 2014, appendix B). Raises DataError as `standard_deviation` does, and if the
    number of columns is odd.
    """
    rows = rows_of(outputs)
    if rows.shape[1] % 2:
        raise DataError(
            f"outputs have {rows.shape[1]} columns: expected an even number, d means and then"
            " d log-variances"
        )
    mean, log_variance = rows.chunk(2, dim=1)
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).mean(dim=0)


MEASURES: dict[str, Measure] = {"std": standard_deviation, "kl": kl_divergence}


def rank(outputs: torch.Tensor, importance: str | Measure = "std") -> torch.Tensor:
    """Indices of the dimensions [d], the most important first; among equals the lower index.

    Args:
        outputs: what the block gave [..., d], or [..., 2 d] for "kl".
        importance: "std", "kl", or a function from [n, d] to [d].

    Raises PruningError for an unknown importance, DataError as the measures do.
    """
    return measure_of(importance)(rows_of(outputs)).argsort(descending=True, stable=True)


def measure_of(importance: str | Measure) -> Measure:
    """The function behind a name; functions are returned as they are."""
    if callable(importance):
        return importance
    if importance not in MEASURES:
        raise PruningError(
            f"importance is {importance!r}: expected {' or '.join(map(repr, MEASURES))},"
            " or a function from outputs [n, d] to importances [d]"
        )
    return MEASURES[importance]


def rows_of(outputs: torch.Tensor) -> torch.Tensor:
    """Samples by dimensions [n, d] in float64, cut off from the graph."""
    if not isinstance(outputs, torch.Tensor) or not outputs.is_floating_point():
        kind = outputs.dtype if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise DataError(f"outputs are {kind}: expected a floating tensor [..., d]")
    if not outputs.ndim or not outputs.numel():
        raise DataError(f"outputs have shape {list(outputs.shape)}: expected samples [..., d]")
    rows = outputs.detach().reshape(-1, outputs.shape[-1])
    if rows.device.type == "mps":  # has no float64
        rows = rows.cpu()
    return rows.double()


# --- importance over many forward passes, in constant memory --------------------------------


class Average:
    """A measure's value for each pass, averaged with the number of samples as weight.

    Exact for measures that are means over samples, as the divergence is.

    Attributes:
        count: samples seen.
    """

    fields: tuple[str, ...] = ("count", "total")

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.count = 0
        self.total = torch.zeros((), dtype=torch.float64)

    def add(self, outputs: torch.Tensor) -> None:
        rows = rows_of(outputs)
        # Statistics that were loaded may lie on another device.
        self.total = self.total.to(rows) + len(rows) * self.measure(rows).to(rows)
        self.count += len(rows)

    def importance(self) -> torch.Tensor:
        return self.total / self.count

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.fields}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.fields:
            setattr(self, name, state[name])


class Spread(Average):
    """Standard deviation over all samples of all passes.

    Means and squared deviations of the passes are merged pairwise (Chan, Golub and LeVeque 1983):
    sums of squares would lose the spread of values far from zero.
    """

    fields = ("count", "mean", "squares")

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, outputs: torch.Tensor) -> None:
        rows = rows_of(outputs)
        n, mean = len(rows), rows.mean(dim=0)
        before, squares = self.mean.to(rows), self.squares.to(rows)
        total = self.count + n
        between = (mean - before).square() * (self.count * n / total)
        self.squares = squares + (rows - mean).square().sum(dim=0) + between
        self.mean = before + (mean - before) * (n / total)
        self.count = total

    def importance(self) -> torch.Tensor:
        return (self.squares / self.count).sqrt()


def stream(measure: Measure) -> Average:
    """Statistics of a measure that grow by one pass at a time, empty."""
    return Spread() if measure is standard_deviation else Average(measure)
