"""Instrument: run data through a captured model and record what each region receives and gives.

Recording happens in evaluation mode by forward hooks, which are gone afterwards; the model's modes
are left as found. Samples go through reservoirs, so memory is bounded by `n_samples`.

Held-out data is kept apart as early as possible. Where the rows of a batch do not influence each
other (tested on the first batch), rows are split before the model runs, so that a held-out sample
comes from a held-out input. Else every k-th batch is held out. Only where there are too few batches
for that, samples are split after the fact, and end-to-end figures are named accordingly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from symcompile.calling import evaluating, rows, run, same, take, tensors
from symcompile.errors import DataError
from symcompile.evaluation import Array
from symcompile.hybrid import Batch
from symcompile.passes import interface
from symcompile.passes.interface import Call, Unsupported
from symcompile.passes.sampling import Reservoir
from symcompile.recording import (
    HELD_OUT_BATCHES,
    HELD_OUT_ROWS,
    NO_BATCHES,
    RECORDED_BATCHES,
    Samples,
)
from symcompile.region import Interface

MIN_SAMPLES = 10
# End-to-end figures need a model run per control and choice: that many elements are plenty.
MAX_KEPT_ELEMENTS = 20_000_000


@dataclass
class Observed:
    """What instrumentation found out about one region."""

    face: Interface | None = None
    samples: Samples | None = None
    refused: str = ""
    dtype: str = "float32"
    calls: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """All regions, and the inputs of the whole model kept for end-to-end figures."""

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
    recorder = _Recorder(root, tuple(paths), n_samples, holdout, seed)
    with evaluating(root), recorder.attached():
        splitter = _Splitter(root, recorder, holdout, seed)
        for batch in batches:
            splitter.feed(batch)
    if not splitter.count:
        raise DataError("data is empty: give at least one batch")
    return Observation(recorder.finish(), tuple(splitter.kept()), splitter.kind())


@dataclass
class _Trail:
    """One region while it is being recorded."""

    module: nn.Module
    fit: Reservoir
    held: Reservoir
    found: Observed = field(default_factory=Observed)
    settings: Any = None
    pending: list[tuple[Array, Array]] = field(default_factory=list)
    arguments: list[dict[str, Any]] = field(default_factory=list)


class _Recorder:
    """Hooks on the regions; rows wait in `pending` until their batch has run to its end."""

    def __init__(
        self, root: nn.Module, paths: tuple[str, ...], n_samples: int, holdout: float, seed: int
    ) -> None:
        held = max(1, round(n_samples * holdout))
        self.seed, self.holdout = seed, holdout
        self.paused = False
        self.trails = {
            path: _Trail(
                root if path == "." else root.get_submodule(path),
                Reservoir(max(1, n_samples - held), seed),
                Reservoir(held, seed + 1),
            )
            for path in paths
        }

    @contextmanager
    def attached(self) -> Iterator[None]:
        handles = []
        try:
            for path, trail in self.trails.items():
                before, after = self._hooks(path, trail)
                handles.append(trail.module.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(trail.module.register_forward_hook(after, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, path: str, trail: _Trail) -> tuple[Any, Any]:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            # Cloned now, because the block may write into its inputs.
            if not self.paused and not trail.found.refused:
                trail.arguments.append(_bind(module, args, kwargs))

        def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if not self.paused and not trail.found.refused:
                self._note(path, trail, Call(trail.arguments.pop(), output))

        return before, after

    def _note(self, path: str, trail: _Trail, call: Call) -> None:
        found = trail.found
        try:
            if found.face is None:
                found.face = interface.interface(trail.module, call, self._shorter(trail.module))
                found.dtype = str(tensors(call.output)[0].dtype).removeprefix("torch.")
                trail.settings = interface.settings(call.arguments)
                found.settings = {name: v for (name, keys), v in trail.settings.items() if not keys}
            if trail.settings != interface.settings(call.arguments):
                raise Unsupported("its arguments that are no tensors change between calls")
            X = interface.matrix_in(found.face, call.arguments)
            Y = interface.matrix_out(found.face, call.output, len(X))
        except Unsupported as reason:
            found.refused = str(reason)
            return
        _require_finite(path, found.face, X.numpy(), Y.numpy())
        trail.pending.append((X.numpy(), Y.numpy()))

    def _shorter(self, module: nn.Module) -> Any:
        def again(call: Call) -> Any:
            self.paused = True
            try:
                cut = {n: v[:-1] if v.ndim else v for n, v in call.arguments.items()}
                return module(**cut)
            finally:
                self.paused = False

        return again

    def commit(self, held: bool) -> None:
        """The batch ran to its end: its rows count."""
        for trail in self.trails.values():
            trail.found.calls = max(trail.found.calls, len(trail.pending))
            for X, Y in trail.pending:
                (trail.held if held else trail.fit).add(X, Y)
            self._clear(trail)

    def discard(self) -> None:
        for trail in self.trails.values():
            self._clear(trail)

    def _clear(self, trail: _Trail) -> None:
        trail.pending, trail.arguments = [], []

    def finish(self) -> dict[str, Observed]:
        for path, trail in self.trails.items():
            found = trail.found
            if not found.refused and not trail.fit.seen and not trail.held.seen:
                found.refused = (
                    "it was never called while the data ran through the model (or only through its"
                    " forward method, past the hooks)"
                )
            if not found.refused:
                found.samples = self._samples(path, trail)
        return {path: trail.found for path, trail in self.trails.items()}

    def _samples(self, path: str, trail: _Trail) -> Samples:
        fit, held = trail.fit.rows(), trail.held.rows()
        parts = [rows for rows in (fit, held) if rows]
        X, Y = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        mask = np.zeros(len(X), dtype=bool)
        if fit and held:
            mask[len(fit[0]) :] = True
        else:
            order = np.random.default_rng(self.seed).permutation(len(X))
            mask[order[: math.ceil(len(X) * self.holdout)]] = True
        _require_enough(path, trail.found.face, X, mask)
        return Samples(X, Y, mask)


class _Splitter:
    """Decides what is held out, and runs the model."""

    def __init__(self, root: nn.Module, recorder: _Recorder, holdout: float, seed: int) -> None:
        self.root, self.recorder, self.holdout = root, recorder, holdout
        self.random = torch.Generator().manual_seed(seed)
        self.every = max(2, round(1 / holdout))
        self.by_rows: bool | None = None
        self.without_grad = True
        self.count = self.quota = 0.0
        self.held: list[Batch] = []
        self.first: Batch | None = None
        self.elements = 0

    def feed(self, batch: Batch) -> None:
        if self.by_rows is None:
            self.by_rows, self.first = self._rows_are_independent(batch), batch
        self.count += 1
        if self.by_rows and rows(batch) is not None:
            self._feed_rows(batch)
        elif self.count % self.every == 0:
            self._run(batch, held=True)
        else:
            self._run(batch, held=False)

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
        self._forward(batch)
        self.recorder.commit(held)
        if held and self.elements <= MAX_KEPT_ELEMENTS:
            self.held.append(batch)
            self.elements += sum(t.numel() for t in tensors((batch.args, batch.kwargs)))

    def _forward(self, batch: Batch) -> Any:
        """Without gradients, unless the forward itself differentiates."""
        if self.without_grad:
            try:
                with torch.no_grad():
                    return run(self.root, batch)
            except RuntimeError as error:
                self.recorder.discard()
                if "grad" not in str(error):
                    raise
                self.without_grad = False
        return run(self.root, batch)

    def _rows_are_independent(self, batch: Batch) -> bool:
        size = rows(batch)
        if size is None or size < self.every:
            return False
        some = torch.arange(0, size, 2)
        try:
            whole, part = self._forward(batch), self._forward(take(batch, some))
            picked = take(Batch((whole,), {}), some).args[0] if _splits(whole, size) else None
            return picked is not None and same(picked, part)
        except (RuntimeError, ValueError, IndexError, TypeError):
            return False
        finally:
            self.recorder.discard()

    def kept(self) -> list[Batch]:
        return self.held or ([self.first] if self.first is not None else [])

    def kind(self) -> str:
        if self.held:
            return HELD_OUT_ROWS if self.by_rows else HELD_OUT_BATCHES
        return RECORDED_BATCHES if self.first is not None else NO_BATCHES


def _splits(output: Any, size: int) -> bool:
    found = tensors(output)
    return bool(found) and all(t.ndim and t.shape[0] == size for t in found)


def _bind(module: nn.Module, args: Any, kwargs: Any) -> dict[str, Any]:
    from symcompile.calling import map_tensors

    bound = interface.bind(module, args, kwargs)
    return dict(map_tensors(lambda t: t.detach().clone(), bound))


def _require_finite(path: str, face: Interface, X: Array, Y: Array) -> None:
    for what, values in (("input", X), ("output", Y)):
        bad = ~np.isfinite(values)
        if bad.any():
            row, column = (int(k) for k in np.argwhere(bad)[0])
            raise DataError(
                f"target {path!r}: {what} {column} is {values[row, column]} in"
                f" {int(bad.any(axis=1).sum())} of {len(values)} samples: expected finite numbers;"
                " leave those samples out of data, or mend the model"
            )


def _require_enough(path: str, face: Interface | None, X: Array, held: Array) -> None:
    count = len(X)
    if count < MIN_SAMPLES:
        raise DataError(
            f"target {path!r}: {count} sample{'s' * (count != 1)} recorded, at least {MIN_SAMPLES}"
            " are needed (hundreds are better): give more data"
        )
    if np.all(X[0] == X):
        raise DataError(
            f"target {path!r}: its inputs never change over {count} samples, so there is nothing to"
            " learn from: give data that varies"
        )
