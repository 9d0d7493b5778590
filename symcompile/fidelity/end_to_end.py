"""How far the whole model's output moves when a region is replaced."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from symcompile.errors import DataError
from symcompile.fidelity.outcome import EndToEnd
from symcompile.modules.calling import Batch, evaluating, run, without_gradients
from symcompile.modules.region import Region
from symcompile.modules.region_call import replaced
from symcompile.modules.results import Results, floats
from symcompile.modules.state import preserving, same_random_state

# Entries that are compared at once, in float64.
_AT_ONCE = 2**22


def end_to_end(
    original: Callable[[Any], Any],
    replaced: Mapping[str, Callable[[Any], Any]],
    batches: Iterable[Any],
    data: str,
) -> EndToEnd:
    """How far the whole model's output moves when a region is replaced.

    |replaced - original|_2 / |original|_2 over all floating-point and complex tensors of all
    batches together, wherever they sit in tuples, lists, mappings and dataclasses. Integer and
    boolean tensors and everything else are left out; NaN if nothing is left. Entries that are not
    finite in the original (masks of -inf) are left out as well.

    Args:
        original: runs the model on one batch, as it was.
        replaced: runs the model with the region replaced, by "equation", "mean" and "linear"; a
            name that is missing gives NaN.
        data: which data this is, see EndToEnd.

    Raises:
        DataError: a replacement changes the structure or a shape of the model's output.
    """
    change, size, counted = dict.fromkeys(replaced, 0.0), 0.0, 0
    broken = set()
    with torch.no_grad():
        for batch in batches:
            before = [_flat(tensor) for tensor in floats(original(batch))]
            for _, reference in _pieces(before, before):
                size, counted = math.hypot(size, _norm(reference)), counted + len(reference)
            for name, run in replaced.items():
                after = [_flat(tensor) for tensor in floats(run(batch))]
                _same_shapes(name, before, after)
                for changed, reference in _pieces(after, before):
                    change[name] = math.hypot(change[name], _norm(changed - reference))
                    if not torch.isfinite(changed).all():
                        broken.add(name)
    shares = {name: _share(moved, size) for name, moved in change.items() if counted}
    equation, mean, linear = (shares.get(n, math.nan) for n in ("equation", "mean", "linear"))
    return EndToEnd(equation, mean, linear, data, "equation" not in broken)


def change_of_whole(
    original: nn.Module,
    hybrid: nn.Module,
    batches: tuple[Batch, ...],
    batches_are: str,
    known: Results | None = None,
) -> EndToEnd:
    """What all targets together do to the model's output; NaN without batches."""
    before, after = of_original(original, known or Results()), {"equation": as_it_is(hybrid)}
    with same_random_state(), evaluating(original, hybrid):
        return end_to_end(before, after, batches, batches_are)


def of_original(module: nn.Module, known: Results) -> Callable[[Batch], list[torch.Tensor]]:
    """What the original gives on a batch, run only where that is not known."""
    return partial(known.of, run=as_it_is(module))


def as_it_is(module: nn.Module) -> Callable[[Batch], Any]:
    """Runs a model on a batch, and puts its state back."""

    def call(batch: Batch) -> Any:
        with preserving(module):
            return without_gradients(lambda: run(module, batch))

    return call


def with_replaced(
    root: nn.Module, region: Region, block: Callable[..., Any]
) -> Callable[[Batch], Any]:
    """Runs a model on a batch with a block in the region's place."""

    def call(batch: Batch) -> Any:
        if region.path == ".":
            return without_gradients(lambda: block(*batch.args, **batch.kwargs))
        with preserving(root):
            return without_gradients(
                lambda: replaced(root, {region.path: block}, lambda: run(root, batch))
            )

    return call


def _share(moved: float, size: float) -> float:
    return moved / size if size else math.inf if moved > 0 else 0.0


def _same_shapes(name: str, before: list[torch.Tensor], after: list[torch.Tensor]) -> None:
    expected, sizes = [len(t) for t in before], [len(t) for t in after]
    if sizes != expected:
        raise DataError(
            f"replaced by {name!r}, the model returns tensors of {sizes} entries:"
            f" expected {expected}, as from the original"
        )


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return real.reshape(-1).cpu()


def _pieces(
    values: list[torch.Tensor], original: list[torch.Tensor]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Entries of both in float64, piece by piece, where those of the original are finite."""
    for pair in zip(values, original, strict=True):
        for piece in zip(*(flat.split(_AT_ONCE) for flat in pair), strict=True):
            changed, reference = (entries.to(torch.float64) for entries in piece)
            finite = torch.isfinite(reference)
            yield changed[finite], reference[finite]


def _norm(values: torch.Tensor) -> float:
    """Euclidean norm, safe from overflow of squares; infinity where a value is not finite."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    if not 0.0 < largest < math.inf:
        return math.inf if math.isnan(largest) else largest
    return largest * float((values / largest).square().sum().sqrt())
