"""Results: what a model gives on batches, kept so that it does not have to run on them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from symcompile.modules.calling import Batch, plain, tensors

# Bytes that all of them may take.
_ROOM = 2**28


class Results:
    """Floating-point and complex tensors that a model gave, by batch, as long as all are small."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Batch, list[torch.Tensor]]] = {}
        self._room = _ROOM

    def of(self, batch: Batch, run: Callable[[Batch], Any]) -> list[torch.Tensor]:
        """On a batch: known, or by running the model now."""
        known = self._known.get(id(batch))
        return self.keep(batch, run(batch)) if known is None else known[1]

    def keep(self, batch: Batch, result: Any) -> list[torch.Tensor]:
        """The tensors of a result, which are kept if there is room."""
        found = floats(result)
        size = sum(tensor.numel() * tensor.element_size() for tensor in found)
        if size <= self._room:
            self._room -= size
            # Cloned, since a model may give out what it writes into; and the batch keeps its id.
            self._known[id(batch)] = batch, [tensor.clone() for tensor in found]
        return found


def floats(value: Any) -> list[torch.Tensor]:
    """Floating-point and complex tensors anywhere in a model's output, in order."""
    every = tensors(plain(value))
    return [t.detach() for t in every if t.is_floating_point() or t.is_complex()]
