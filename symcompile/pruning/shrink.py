"""Shrink: take output dimensions out of a block for good.

The rows of the block's last nn.Linear that gave them are removed. What reads the block still gets
tensors of the old width, with zeros in their place: the block at `path` becomes a `Shrunk`, whose
part `path.live` is the smaller block. That one gives the live dimensions alone, and is a target for
the compiler.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from symcompile.errors import PruningError
from symcompile.modules.agreement import attempt
from symcompile.modules.calling import Batch, evaluating, same
from symcompile.pruning.last_affine import last_affine


class Scatter(nn.Module):
    """Puts the columns of [..., n_live] among zeros: [..., width]."""

    index: torch.Tensor

    def __init__(self, columns: Sequence[int], width: int) -> None:
        super().__init__()
        # Each column is one of the live ones, or the column of zeros that is put after them.
        index = torch.full((width,), len(columns))
        index[list(columns)] = torch.arange(len(columns))
        self.register_buffer("index", index)

    def forward(self, live: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(live, (0, 1)).index_select(-1, self.index)


class Shrunk(nn.Module):
    """A block that lost output columns, and what gives its readers the width that they expect."""

    def __init__(self, live: nn.Module, scatter: Scatter) -> None:
        super().__init__()
        self.live = live
        self.scatter = scatter
        self.training = scatter.training = live.training

    def forward(self, *args: object, **kwargs: object) -> torch.Tensor:
        return self.scatter(self.live(*args, **kwargs))


def shrink(
    model: nn.Module, path: str, columns: Sequence[int], *, example: Batch | None = None
) -> None:
    """Keep the given output columns of the block at `path`, in place; the others become zeros.

    The parameters of the last layer are new tensors: build the optimizer anew. To load a checkpoint
    of a shrunk model, build the model, shrink it to the same columns, then `load_state_dict`.

    Args:
        columns: indices of the output columns to keep, rising.
        example: arguments of the block; where given, the outputs before and after are compared.

    Raises PruningError, with the model as it was, if `columns` makes no sense, if no layer is known
    to give the outputs row by row (`last_affine`), or if the comparison fails.
    """
    linear = last_affine(model, path)
    block, width, kept = model.get_submodule(path), linear.out_features, list(columns)
    inside = all(isinstance(c, int) and 0 <= c < width for c in kept)
    if not kept or not inside or kept != sorted(set(kept)):
        raise PruningError(
            f"block {path!r} of {width} outputs can't keep columns {kept}: expected at"
            f" least one index from 0 to {width - 1}, each once, rising"
        )
    shrunk = Shrunk(block, Scatter(kept, width).to(linear.weight.device))
    before, parameters = _outputs(block, example), dict(linear._parameters)
    for name, rows in parameters.items():
        if rows is not None:
            fewer = nn.Parameter(rows.detach()[kept].clone(), requires_grad=rows.requires_grad)
            linear._parameters[name] = fewer
    linear.out_features = len(kept)
    if not _agree(before, _outputs(shrunk, example), kept):
        linear._parameters.update(parameters)
        linear.out_features = width
        raise PruningError(
            f"block {path!r} can't be made smaller: it would give other values. Something else than"
            " its last nn.Linear has a say in them, such as a hook: prune that nn.Linear itself"
        )
    _replace(model, block, shrunk)


def _replace(model: nn.Module, block: nn.Module, other: nn.Module) -> None:
    """Put another module in the block's place, under every name that it has in the model."""
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is block:
                parent._modules[name] = other


def _outputs(block: nn.Module, example: Batch | None) -> object:
    with evaluating(block):
        return None if example is None else attempt(block, example)


def _agree(before: object, after: object, columns: list[int]) -> bool:
    """Whether the outputs are those before, with zeros in all other columns; a block that failed
    before proves nothing."""
    if not isinstance(before, torch.Tensor):
        return True
    expected = torch.zeros_like(before)
    expected[..., columns] = before[..., columns]
    return same(expected, after)
