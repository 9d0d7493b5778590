"""Recordings in memory: sampled inputs and outputs of regions, and of what model they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import nn

from symcompile.errors import DataError, StaleRecordingError
from symcompile.expressions.evaluation import Array
from symcompile.modules.calling import Batch
from symcompile.modules.region import Region
from symcompile.regression.folds import fold_numbers

# From fewer rows nothing can be told: a line has two constants, and is judged on a third row.
MIN_SAMPLES = 4

HELD_OUT_BATCHES = "held-out batches"
HELD_OUT_ROWS = "held-out rows"
RECORDED_BATCHES = "recorded batches"
NO_BATCHES = "none"


@dataclass(frozen=True)
class Samples:
    """Inputs and outputs of one region.

    Attributes:
        X: inputs [n_samples, n_inputs], float64.
        Y: outputs [n_samples, n_outputs], float64.
        holdout: which samples no fit may see [n_samples], bool; none of them where there are few,
            see `folds`.
        weights: weight of each sample's squared error [n_samples], or None.
    """

    X: Array
    Y: Array
    holdout: Array
    weights: Array | None = None

    @property
    def folds(self) -> Array | None:
        """The fold of each sample [n_samples], where none is held out: equations are then judged on
        each fold by constants that are fitted to the others."""
        return None if self.holdout.any() else fold_numbers(len(self.holdout))

    @property
    def judged(self) -> Array:
        """Which samples equations are judged on [n_samples]: those held out, else all."""
        return self.holdout if self.holdout.any() else ~self.holdout

    @property
    def X_fit(self) -> Array:
        return self.X[~self.holdout]

    @property
    def Y_fit(self) -> Array:
        return self.Y[~self.holdout]

    @property
    def weights_fit(self) -> Array | None:
        return None if self.weights is None else self.weights[~self.holdout]

    @property
    def X_holdout(self) -> Array:
        return self.X[self.holdout]

    @property
    def Y_holdout(self) -> Array:
        return self.Y[self.holdout]

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Lowest and highest value of each input."""
        return tuple((float(c.min()), float(c.max())) for c in self.X.T)


@dataclass(frozen=True)
class Recorded:
    """What the regions of a model saw and gave while data ran through it.

    Attributes:
        regions, samples: by region path.
        refused: reason of each region that can't be replaced, by path.
        batches: inputs of the whole model that no fit has seen, for end-to-end figures.
        batches_are: what `batches` are: "held-out batches", "held-out rows", "recorded batches".
        fingerprint: hash of the model's weights, "" for a recording that has no model.
        capture: how the model was captured.
        note: why it was not captured by torch.fx.
        seed: seed of sampling and split.
    """

    regions: Mapping[str, Region]
    samples: Mapping[str, Samples]
    refused: Mapping[str, str] = field(default_factory=dict)
    batches: tuple[Batch, ...] = ()
    batches_are: str = NO_BATCHES
    fingerprint: str = ""
    capture: str = ""
    note: str = ""
    seed: int = 0

    def __getitem__(self, path: str) -> Samples:
        if path not in self.samples:
            known = ", ".join(self.samples) or "none"
            raise DataError(f"no recording of {path!r}: there are {known}")
        return self.samples[path]

    @property
    def X(self) -> Array:
        """Inputs [n_samples, n_inputs] of the only region."""
        return self._only().X

    @property
    def Y(self) -> Array:
        """Outputs [n_samples, n_outputs] of the only region."""
        return self._only().Y

    def _only(self) -> Samples:
        if len(self.samples) != 1:
            raise DataError(
                f"the recording has {len(self.samples)} regions ({', '.join(self.samples)}):"
                " name one, recording['path'].X"
            )
        return next(iter(self.samples.values()))

    def check(self, model: nn.Module) -> None:
        """Raise StaleRecordingError unless the model has the weights that were recorded."""
        if self.fingerprint and self.fingerprint != fingerprint(model):
            raise StaleRecordingError(
                "the recording was made with other weights than the model has now:"
                " record again with symcompile.record(model, targets, data)"
            )

    def without(self, path: str, reason: str) -> Self:
        """The recording with one region refused."""
        return replace(
            self,
            regions={p: region for p, region in self.regions.items() if p != path},
            samples={p: samples for p, samples in self.samples.items() if p != path},
            refused={**self.refused, path: reason},
        )


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, shapes, types and bytes of all parameters and stored buffers.

    Raises DataError for a model on the meta device, which has no bytes.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict(keep_vars=True).items()):
        if not isinstance(tensor, torch.Tensor):
            continue  # extra state: its printed form may differ from one process to the next
        if tensor.is_meta:
            raise DataError(f"{name!r} is on the meta device: load the model's weights first")
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{plain.dtype}:{list(plain.shape)}".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
