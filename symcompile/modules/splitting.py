"""Splitting: decide what is held out, before the model runs wherever that can be done.

Where the rows of a batch do not influence each other (tested on the first batch), rows are split
before the model runs, so that a held-out sample comes from a held-out input. Else every k-th batch
is held out. Where there are too few batches for that, samples have to be split after the fact.
Samples that are too few to set any aside are put together again, see `symcompile.regression.folds`.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from symcompile.errors import DataError, SymCompileError, described
from symcompile.modules.calling import Batch, map_tensors, rows, run, same, take, tensors
from symcompile.modules.recorder import Recorder
from symcompile.modules.samples import HELD_OUT_BATCHES, HELD_OUT_ROWS, RECORDED_BATCHES
from symcompile.modules.state import preserving
from symcompile.regression.folds import SMALL

# End-to-end figures need a model run per control and choice: that many elements are plenty.
MAX_KEPT_ELEMENTS = 20_000_000
# Rows of the first batch that serve to find out whether rows are independent.
_TRIED_ROWS = 256


class Splitter:
    """Runs the model on batches, and tells the recorder what is held out."""

    def __init__(self, root: nn.Module, recorder: Recorder, holdout: float, seed: int) -> None:
        self.root, self.recorder, self.holdout = root, recorder, holdout
        self.random = torch.Generator().manual_seed(seed)
        self.every = max(2, round(1 / holdout)) if holdout else sys.maxsize
        self.by_rows: bool | None = None
        self.without_grad = True
        self.count, self.quota, self.elements = 0, 0.0, 0
        self.held: list[Batch] = []
        self.first: list[Batch] = []
        self.few: list[Batch] = []
        self.rows = 0

    def feed(self, batch: Batch) -> None:
        """Run the model on all rows of a batch, some of them held out."""
        if self.by_rows is None:
            self.by_rows, self.first = self._rows_are_independent(batch), [_alone(batch)]
        self.count += 1
        self.rows += rows(batch) or 1
        if self.rows >= SMALL:
            self.few = []
        else:
            self.few.append(_alone(batch))
        if self.by_rows and rows(batch) is not None:
            self._feed_rows(batch)
        else:
            self._run(batch, held=not self.by_rows and self.count % self.every == 0)

    def kept(self, held_out: bool) -> tuple[tuple[Batch, ...], str]:
        """Inputs for end-to-end figures, and what they are: those held out where any are and shall
        be, else all if they are few."""
        if held_out and self.held:
            return tuple(self.held), HELD_OUT_ROWS if self.by_rows else HELD_OUT_BATCHES
        return tuple(self.first if held_out else self.few or self.first), RECORDED_BATCHES

    def _feed_rows(self, batch: Batch) -> None:
        size = rows(batch) or 0
        self.quota += size * self.holdout
        held = int(self.quota)
        self.quota -= held
        order = torch.randperm(size, generator=self.random)
        for index, is_held in ((order[held:], False), (order[:held], True)):
            if len(index):
                self._run(take(batch, index.sort().values), is_held)

    def _run(self, batch: Batch, held: bool) -> None:
        try:
            self._forward(batch)
        except SymCompileError:
            raise
        except Exception as error:  # whatever a user's forward raises
            dtypes = ((t, str(t.dtype).removeprefix("torch.")) for t in tensors(batch))
            shapes = ", ".join(f"{dtype} {list(tensor.shape)}" for tensor, dtype in dtypes)
            raise DataError(
                f"the model can't be run on batch {self.count} of data ({shapes}):"
                f" {described(error)}; give it what the model takes, in shape and dtype"
            ) from error
        self.recorder.commit(held)
        if held and self.elements <= MAX_KEPT_ELEMENTS:
            self.held.append(_alone(batch))
            self.elements += sum(t.numel() for t in tensors(batch))

    def _forward(self, batch: Batch) -> Any:
        """Without gradients, unless the forward itself differentiates; always from the state that
        the model had, so that no batch depends on those before it."""
        if self.without_grad:
            try:
                with torch.no_grad(), preserving(self.root):
                    return run(self.root, batch)
            except RuntimeError as error:
                self.recorder.discard()
                if "grad" not in str(error):
                    raise
                self.without_grad = False
        with torch.enable_grad(), preserving(self.root):
            return map_tensors(torch.Tensor.detach, run(self.root, batch))

    def _rows_are_independent(self, batch: Batch) -> bool:
        size = rows(batch)
        if size is None or size < self.every:
            return False
        # Reversed and without the first row, which a model may measure all others against.
        size = min(size, _TRIED_ROWS)
        index = torch.arange(1, size, 2).flip(0)
        every = some = None
        # Whatever a user's forward raises on these rows; on its own batches it will be seen.
        with self.recorder.paused(), suppress(Exception):
            every = self._forward(take(batch, torch.arange(size)))
            some = self._forward(take(batch, index))
        outputs = tensors(every)
        if not outputs or not all(t.ndim and t.shape[0] == size for t in outputs):
            return False
        return same(some, map_tensors(lambda t: t[index.to(t.device)], every))


def _alone(batch: Batch) -> Batch:
    """The batch without the history of its tensors."""
    return map_tensors(lambda t: t.detach().requires_grad_(t.requires_grad), batch)
