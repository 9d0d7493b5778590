"""Samples of a region, what may be held out of them, and the fingerprint of a model's weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import nn

from symcompile.errors import DataError
from symcompile.expressions.evaluation import Array
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
