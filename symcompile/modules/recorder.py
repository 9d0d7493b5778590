"""The recorder: runs a model on data, and keeps what its regions are given and what they give.

Where the rows of a batch do not influence each other (tested on the first batch), rows are split
before the model runs, so that a held-out sample comes from a held-out input. Else every k-th batch
is held out. Where there are too few batches for that, samples have to be split after the fact.
Samples that are too few to set any aside are put together again, see `symcompile.regression.folds`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from symcompile.errors import DataError, SymCompileError, described
from symcompile.expressions.evaluation import Array
from symcompile.modules.arguments import (
    UnsupportedError,
    bind,
    input_tensors,
    literal_settings,
    parameters,
    settings,
)
from symcompile.modules.calling import (
    Batch,
    dtype_name,
    equal,
    evaluating,
    map_tensors,
    rows,
    run,
    same,
    take,
    tensors,
    to_float64,
)
from symcompile.modules.interface import Call, matrix_in, matrix_out, read_interface
from symcompile.modules.objective import Objective, independent, loss_of
from symcompile.modules.region import Interface
from symcompile.modules.results import Results
from symcompile.modules.samples import (
    HELD_OUT_BATCHES,
    HELD_OUT_ROWS,
    MIN_SAMPLES,
    RECORDED_BATCHES,
    Reservoir,
    Samples,
    random_holdout,
)
from symcompile.modules.state import deepcopy, preserving
from symcompile.regression.folds import SMALL

# End-to-end figures need a model run per control and choice: that many elements are plenty.
MAX_KEPT_ELEMENTS = 20_000_000
# Rows of the first batch that serve to find out whether rows are independent.
_TRIED_ROWS = 256


@dataclass
class RecordedRegion:
    """What instrumentation found out about one region."""

    interface: Interface | None = None
    samples: Samples | None = None
    refused: str = ""
    dtype: str = "float32"
    calls: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedModel:
    """All regions, and the inputs of the whole model kept for end-to-end figures.

    Attributes:
        regions: by path.
        batches: held-out inputs where there are any, else the first batch.
        batches_are: which of these, in the words of `Recording`.
        results: what the model gave on those that were held out.
    """

    regions: Mapping[str, RecordedRegion]
    batches: tuple[Batch, ...]
    batches_are: str
    results: Results


@dataclass
class _OngoingRegion:
    """One region while it is being recorded."""

    path: str
    module: nn.Module
    fit: Reservoir
    held: Reservoir
    recorded: RecordedRegion = field(default_factory=RecordedRegion)
    settings: Any = None
    # The module as it was before its first call, for what is tried out on it afterwards.
    untouched: nn.Module | None = None
    pending: list[tuple[Array, Array]] = field(default_factory=list)
    arguments: list[dict[str, Any]] = field(default_factory=list)
    # What each call returned, to be differentiated by; sums of g g^T, and of how many samples.
    returned: list[Any] = field(default_factory=list)
    losses: Array | None = None
    counted: int = 0

    def clear(self) -> None:
        self.pending, self.arguments, self.returned = [], [], []

    def lost(self, gradients: Array) -> None:
        """Take in gradients of what the model is to minimise by the outputs [n, n_outputs]."""
        squares = gradients.T @ gradients
        self.losses = squares if self.losses is None else self.losses + squares
        self.counted += len(gradients)

    @property
    def metric(self) -> Array | None:
        return None if self.losses is None else self.losses / self.counted

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """What the region can't be an equation for inside is why it is refused."""
        try:
            yield
        except UnsupportedError as reason:
            self.recorded.refused = str(reason)
            self.clear()


class Recorder:
    """Records the regions at `paths` while `attached`; rows wait until their batch has run."""

    def __init__(
        self,
        root: nn.Module,
        paths: tuple[str, ...],
        n_samples: int,
        holdout: float,
        seed: int,
        objective: Objective | None = None,
    ) -> None:
        self.root, self.holdout, self.seed, self.objective = root, holdout, seed, objective
        self._differentiates = False
        self.random = torch.Generator().manual_seed(seed)
        self.every = max(2, round(1 / holdout)) if holdout else sys.maxsize
        self.by_rows: bool | None = None
        self.without_grad = True
        self.batches, self.rows, self.quota, self.elements = 0, 0, 0.0, 0
        self.held: list[Batch] = []
        self.results = Results()
        self.first: list[Batch] = []
        self.few: list[Batch] = []
        self._listening, self._autocast = True, _autocast()
        held = max(1, round(n_samples * holdout)) if holdout else 0
        self.ongoing = {
            path: _OngoingRegion(
                path,
                root if path == "." else root.get_submodule(path),
                Reservoir(max(1, n_samples - held), seed),
                Reservoir(max(1, held), seed + 1),
            )
            for path in paths
        }

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Hooks on all regions and evaluation mode inside, as it was outside."""
        self._autocast = _autocast()
        with evaluating(self.root), ExitStack() as hooks:
            for region in self.ongoing.values():
                if isinstance(region.module, torch.jit.ScriptModule):
                    region.recorded.refused = (
                        "it is a ScriptModule, into which nobody can look: put the Python module"
                        " that it was scripted from in its place"
                    )
                    continue
                for hook in self._hooks(region):
                    hooks.enter_context(hook)
            yield

    def feed(self, batch: Batch) -> None:
        """Run the model on all rows of a batch, some of them held out."""
        if self.by_rows is None:
            self.by_rows, self.first = self._rows_are_independent(batch), [_detached(batch)]
        self.batches += 1
        self.rows += rows(batch) or 1
        if self.rows >= SMALL:
            self.few = []
        else:
            self.few.append(_detached(batch))
        if self.by_rows and rows(batch) is not None:
            self._feed_rows(batch)
        else:
            self._run(batch, held=not self.by_rows and self.batches % self.every == 0)

    def finish(self) -> RecordedModel:
        """What was found out about each region, and inputs for end-to-end figures: those held out
        where any are and shall be, else all if they are few.

        DataError for no data, and for too few or constant samples.
        """
        if not self.batches:
            raise DataError("data is empty: give at least one batch")
        regions: dict[str, RecordedRegion] = {}
        for path in list(self.ongoing):
            # Out of here, so that no samples are held twice but those of one region.
            region = self.ongoing.pop(path)
            regions[path] = recorded = region.recorded
            if not recorded.refused and not region.fit.seen and not region.held.seen:
                recorded.refused = (
                    "it was never called while the data ran through the model (or only through its"
                    " forward method, past the hooks)"
                )
            if not recorded.refused:
                recorded.samples = self._samples(region)
        recordings = (region.samples for region in regions.values())
        held_out = all(samples is None or samples.holdout.any() for samples in recordings)
        if held_out and self.held:
            kind = HELD_OUT_ROWS if self.by_rows else HELD_OUT_BATCHES
            return RecordedModel(regions, tuple(self.held), kind, self.results)
        kept = self.first if held_out else self.few or self.first
        return RecordedModel(regions, tuple(kept), RECORDED_BATCHES, self.results)

    # --- running the model -------------------------------------------------------------------

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
            differentiated = self.objective is not None and not held
            result = self._differentiated(batch) if differentiated else self._forward(batch)
        except SymCompileError:
            raise
        except Exception as error:  # whatever a user's forward raises
            shapes = ", ".join(f"{dtype_name(t.dtype)} {list(t.shape)}" for t in tensors(batch))
            raise DataError(
                f"the model can't be run on batch {self.batches} of data ({shapes}):"
                f" {described(error)}; give it what the model takes, in shape and dtype"
            ) from error
        self._commit(held)
        if held and self.elements <= MAX_KEPT_ELEMENTS:
            self.held.append(_detached(batch))
            self.results.keep(self.held[-1], result)
            self.elements += sum(t.numel() for t in tensors(batch))

    def _forward(self, batch: Batch) -> Any:
        """Without gradients, unless the forward itself differentiates; always from the state that
        the model had, so that no batch depends on those before it."""
        if self.without_grad:
            try:
                with torch.no_grad(), preserving(self.root):
                    return run(self.root, batch)
            except RuntimeError as error:
                self._discard()
                if "grad" not in str(error):
                    raise
                self.without_grad = False
        with torch.enable_grad(), preserving(self.root):
            return map_tensors(torch.Tensor.detach, run(self.root, batch))

    def _differentiated(self, batch: Batch) -> Any:
        """A run whose objective is differentiated by what the regions give."""
        assert self.objective is not None
        self._differentiates = True
        try:
            with torch.enable_grad(), preserving(self.root):
                result = run(self.root, batch)
                loss = loss_of(self.objective, result, batch)
            regions = [region for region in self.ongoing.values() if region.returned]
            outputs = [tensors(output) for region in regions for output in region.returned]
            flat = [tensor for of_call in outputs for tensor in of_call]
            gradients = iter(_gradients(loss, flat))
            for region in regions:
                for (X, _), output in zip(region.pending, region.returned, strict=True):
                    interface = region.recorded.interface
                    assert interface is not None
                    of_call = map_tensors(lambda _: next(gradients), output)
                    # The objective is a mean, as far as anybody knows: of each sample's share.
                    region.lost(len(X) * _array(matrix_out(interface, of_call, len(X))))
        finally:
            self._differentiates = False
        return map_tensors(torch.Tensor.detach, result)

    def _rows_are_independent(self, batch: Batch) -> bool:
        size = rows(batch)
        if size is None or size < self.every:
            return False
        # Reversed and without the first row, which a model may measure all others against.
        size = min(size, _TRIED_ROWS)
        index = torch.arange(1, size, 2).flip(0)
        every = some = None
        # Whatever a user's forward raises on these rows; on its own batches it will be seen.
        with self._paused(), suppress(Exception):
            every = self._forward(take(batch, torch.arange(size)))
            some = self._forward(take(batch, index))
        outputs = tensors(every)
        if not outputs or not all(t.ndim and t.shape[0] == size for t in outputs):
            return False
        return same(some, map_tensors(lambda t: t[index.to(t.device)], every))

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Calls inside are not recorded."""
        before, self._listening = self._listening, False
        try:
            yield
        finally:
            self._listening = before

    def _commit(self, held: bool) -> None:
        """The batch ran to its end: its rows count."""
        for region in self.ongoing.values():
            region.recorded.calls = max(region.recorded.calls, len(region.pending))
            for X, Y in region.pending:
                (region.held if held else region.fit).add(X, Y)
        self._discard()

    def _discard(self) -> None:
        """Drop the rows that wait."""
        for region in self.ongoing.values():
            region.clear()

    # --- what the regions are given and give -------------------------------------------------

    def _hooks(self, region: _OngoingRegion) -> tuple[RemovableHandle, RemovableHandle]:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self._listening or region.recorded.refused:
                return
            with region.refusing():
                if region.recorded.interface is None and region.untouched is None:
                    with suppress(Exception):  # whatever a user's module makes deepcopy raise
                        region.untouched = deepcopy(module, module)
                # Cloned now, because the block may write into its inputs.
                bound = bind(parameters(module), args, kwargs)
                region.arguments.append(map_tensors(lambda t: t.detach().clone(), bound))

        def after(module: nn.Module, args: Any, output: Any) -> Any:
            if not self._listening or region.recorded.refused:
                return None
            with region.refusing():
                before = len(region.pending)
                self._note(region, Call(region.arguments.pop(), output))
                if self._differentiates and len(region.pending) > before:
                    region.returned.append(map_tensors(_differentiable, output))
                    # The model may write into what it is given back.
                    return map_tensors(torch.clone, region.returned[-1])
            return None

        return (
            region.module.register_forward_pre_hook(before, with_kwargs=True),
            region.module.register_forward_hook(after),
        )

    def _note(self, region: _OngoingRegion, call: Call) -> None:
        if not all(tensor.numel() for _, _, tensor in input_tensors(call.arguments)):
            return  # no samples, from which nothing can be told either
        if region.recorded.interface is None:
            self._meet(region, call)
        interface = region.recorded.interface
        assert interface is not None
        before, now = region.settings, settings(call.arguments)
        if before.keys() != now.keys() or not all(equal(before[key], now[key]) for key in now):
            raise UnsupportedError("its arguments that are no tensors change between calls")
        X = _array(matrix_in(interface, call.arguments))
        Y = _array(matrix_out(interface, call.output, len(X)))
        _require_finite(region.path, X, Y)
        region.pending.append((X, Y))

    def _meet(self, region: _OngoingRegion, call: Call) -> None:
        """Read the interface from the first call."""
        if _autocast() != self._autocast:
            raise UnsupportedError(
                "the model calls it under a torch.autocast of its own, which changes its dtypes:"
                " compile the model without that autocast, or in half precision"
            )
        _array(input_tensors(call.arguments)[0][2])
        with self._paused():
            region.recorded.interface = read_interface(region.untouched or region.module, call)
        region.untouched = None
        region.recorded.dtype = dtype_name(tensors(call.output)[0].dtype)
        region.recorded.settings = literal_settings(call.arguments)
        region.settings = settings(call.arguments)

    def _samples(self, region: _OngoingRegion) -> Samples:
        fit, held = region.fit.rows(), region.held.rows()
        X, Y = (np.concatenate([rows[k] for rows in (fit, held) if rows]) for k in (0, 1))
        if fit and held and len(X) >= SMALL:
            mask = np.arange(len(X)) >= len(fit[0])
        else:  # what to hold out was not decided before the model ran
            mask = random_holdout(len(X), self.holdout, self.seed)
        _require_enough(region.path, X)
        return Samples(X, Y, mask, metric=region.metric)


def _differentiable(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.requires_grad or not tensor.is_floating_point():
        return tensor
    return tensor.detach().requires_grad_()


def _gradients(loss: torch.Tensor, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Of the loss by each of these; zero where it does not depend on one."""
    sources = [tensor for tensor in outputs if tensor.requires_grad]
    if not sources or not loss.requires_grad:
        raise independent("what the targets give")
    found = iter(torch.autograd.grad(loss, sources, allow_unused=True))
    gradients = [next(found) if tensor.requires_grad else None for tensor in outputs]
    pairs = zip(gradients, outputs, strict=True)
    return [torch.zeros_like(out) if gradient is None else gradient for gradient, out in pairs]


def _detached(batch: Batch) -> Batch:
    """The batch without the history of its tensors."""
    return map_tensors(lambda t: t.detach().requires_grad_(t.requires_grad), batch)


def _autocast() -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda"))


def _array(tensor: torch.Tensor) -> Array:
    try:
        return to_float64(tensor)
    except RuntimeError:
        raise UnsupportedError(
            "its tensors hold no values of their own: it is called inside of a transform such as"
            " torch.func.vmap or jacrev; compute those derivatives with torch.autograd instead"
        ) from None


def _require_finite(path: str, X: Array, Y: Array) -> None:
    for what, values in (("input", X), ("output", Y)):
        bad = ~np.isfinite(values)
        if bad.any():
            row, column = (int(k) for k in np.argwhere(bad)[0])
            raise DataError(
                f"target {path!r}: {what} {column} is {values[row, column]} in"
                f" {int(bad.any(axis=1).sum())} of {len(values)} samples: expected finite numbers;"
                " leave those samples out of data, or mend the model"
            )


def _require_enough(path: str, X: Array) -> None:
    count = len(X)
    if count < MIN_SAMPLES:
        raise DataError(
            f"target {path!r}: {count} sample{'s' * (count != 1)} recorded, at least {MIN_SAMPLES}"
            " are needed: give more data"
        )
    if np.all(X[0] == X):
        raise DataError(
            f"target {path!r}: its inputs never change over {count} samples, so there is nothing to"
            " learn from: give data that varies"
        )
