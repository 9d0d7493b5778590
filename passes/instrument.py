"""Instrument: run data through a captured model and record what each region receives and gives.

Recording happens in evaluation mode by forward hooks, which are gone afterwards; modes, buffers and
attributes of the model are left as found, after each batch. Samples go through reservoirs, so that
memory is bounded by `n_samples` and the largest batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from symcompile.errors import DataError
from symcompile.modules.calling import Batch, evaluating
from symcompile.modules.recorder import Observed, Recorder
from symcompile.modules.recording import RECORDED_BATCHES
from symcompile.modules.splitting import Splitter


@dataclass(frozen=True)
class Observation:
    """All regions, and the inputs of the whole model kept for end-to-end figures.

    Attributes:
        regions: what was found out about each, by path.
        batches: held-out inputs where there are any, else the first batch.
        batches_are: which of these, in the words of `Recording`.
    """

    regions: Mapping[str, Observed]
    batches: tuple[Batch, ...]
    batches_are: str


def instrument(
    root: nn.Module,
    paths: Iterable[str],
    batches: Iterable[Batch],
    *,
    n_samples: int,
    holdout: float,
    seed: int,
) -> Observation:
    """Run all batches and record the regions at `paths`.

    Raises DataError if there is no data, a region sees NaN or infinity, its inputs never vary, or
    there are too few samples. A region that can't be an equation is no error: `refused` says why.
    """
    recorder = Recorder(root, tuple(paths), n_samples, holdout, seed)
    splitter = Splitter(root, recorder, holdout, seed)
    with evaluating(root), recorder.attached():
        for batch in batches:
            splitter.feed(batch)
    if not splitter.count:
        raise DataError("data is empty: give at least one batch")
    regions = recorder.finish()
    recorded = [one.samples for one in regions.values() if one.samples is not None]
    if recorded and not all(samples.holdout.any() for samples in recorded):
        return Observation(regions, tuple(splitter.recorded()), RECORDED_BATCHES)
    return Observation(regions, tuple(splitter.kept()), splitter.kind())
