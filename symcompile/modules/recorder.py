"""The recorder: hooks on regions, which put what goes in and comes out into reservoirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from symcompile.errors import DataError
from symcompile.expressions.evaluation import Array
from symcompile.modules import interface
from symcompile.modules.calling import equal, map_tensors, tensors
from symcompile.modules.interface import Call, UnsupportedError
from symcompile.modules.recording import MIN_SAMPLES, Samples
from symcompile.modules.region import Interface
from symcompile.modules.sampling import Reservoir
from symcompile.modules.state import deepcopy
from symcompile.regression.folds import SMALL


@dataclass
class Observed:
    """What instrumentation found out about one region."""

    face: Interface | None = None
    samples: Samples | None = None
    refused: str = ""
    dtype: str = "float32"
    calls: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Trail:
    """One region while it is being recorded."""

    module: nn.Module
    fit: Reservoir
    held: Reservoir
    found: Observed = field(default_factory=Observed)
    settings: Any = None
    # The module as it was before its first call, for what is tried out on it afterwards.
    twin: nn.Module | None = None
    pending: list[tuple[Array, Array]] = field(default_factory=list)
    arguments: list[dict[str, Any]] = field(default_factory=list)

    def clear(self) -> None:
        self.pending, self.arguments = [], []


class Recorder:
    """Records the regions at `paths` while `attached`; rows wait until their batch has run."""

    def __init__(
        self, root: nn.Module, paths: tuple[str, ...], n_samples: int, holdout: float, seed: int
    ) -> None:
        held = max(1, round(n_samples * holdout)) if holdout else 0
        self.seed, self.holdout = seed, holdout
        self._listening, self._autocast = True, _autocast()
        self.trails = {
            path: _Trail(
                root if path == "." else root.get_submodule(path),
                Reservoir(max(1, n_samples - held), seed),
                Reservoir(max(1, held), seed + 1),
            )
            for path in paths
        }

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Hooks on all regions inside, none outside."""
        handles = []
        self._autocast = _autocast()
        try:
            for path, trail in self.trails.items():
                if isinstance(trail.module, torch.jit.ScriptModule):
                    trail.found.refused = (
                        "it is a ScriptModule, into which nobody can look: put the Python module"
                        " that it was scripted from in its place"
                    )
                    continue
                before, after = self._hooks(path, trail)
                handles.append(trail.module.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(trail.module.register_forward_hook(after, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Calls inside are not recorded."""
        before, self._listening = self._listening, False
        try:
            yield
        finally:
            self._listening = before

    def commit(self, held: bool) -> None:
        """The batch ran to its end: its rows count."""
        for trail in self.trails.values():
            trail.found.calls = max(trail.found.calls, len(trail.pending))
            for X, Y in trail.pending:
                (trail.held if held else trail.fit).add(X, Y)
            trail.clear()

    def discard(self) -> None:
        """The batch did not run to its end: its rows are dropped."""
        for trail in self.trails.values():
            trail.clear()

    def finish(self) -> dict[str, Observed]:
        """What was found out about each region; DataError for too few or constant samples."""
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

    def _hooks(self, path: str, trail: _Trail) -> tuple[Any, Any]:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self._listening and not trail.found.refused:
                with _refusing(trail):
                    if trail.found.face is None and trail.twin is None:
                        trail.twin = _twin(module)
                    # Cloned now, because the block may write into its inputs.
                    bound = interface.bind(module, args, kwargs)
                    trail.arguments.append(map_tensors(lambda t: t.detach().clone(), bound))

        def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if self._listening and not trail.found.refused:
                with _refusing(trail):
                    self._note(path, trail, Call(trail.arguments.pop(), output))

        return before, after

    def _note(self, path: str, trail: _Trail, call: Call) -> None:
        if not all(tensor.numel() for _, _, tensor in interface.input_tensors(call.arguments)):
            return  # no samples, from which nothing can be told either
        if trail.found.face is None:
            self._meet(trail, call)
        found = trail.found
        assert found.face is not None
        if not _unchanged(trail.settings, interface.settings(call.arguments)):
            raise UnsupportedError("its arguments that are no tensors change between calls")
        X = _array(interface.matrix_in(found.face, call.arguments))
        Y = _array(interface.matrix_out(found.face, call.output, len(X)))
        _require_finite(path, X, Y)
        trail.pending.append((X, Y))

    def _meet(self, trail: _Trail, call: Call) -> None:
        """Read the interface from the first call."""
        if _autocast() != self._autocast:
            raise UnsupportedError(
                "the model calls it under a torch.autocast of its own, which changes its dtypes:"
                " compile the model without that autocast, or in half precision"
            )
        _array(interface.input_tensors(call.arguments)[0][2])
        with self.paused():
            trail.found.face = interface.interface(trail.twin or trail.module, call)
        trail.twin = None
        trail.found.dtype = str(tensors(call.output)[0].dtype).removeprefix("torch.")
        trail.found.settings = interface.literal_settings(call.arguments)
        trail.settings = interface.settings(call.arguments)

    def _samples(self, path: str, trail: _Trail) -> Samples:
        fit, held = trail.fit.rows(), trail.held.rows()
        parts = [rows for rows in (fit, held) if rows]
        X, Y = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        mask = np.zeros(len(X), dtype=bool)
        if len(X) >= SMALL and self.holdout:
            split = trail.fit.seen and trail.held.seen
            mask[self._afterwards(len(X)) if not split else slice(len(fit[0]), None)] = True
        _require_enough(path, X)
        return Samples(X, Y, mask)

    def _afterwards(self, count: int) -> Array:
        """Rows to hold out where that was not decided before the model ran."""
        order = np.random.default_rng(self.seed).permutation(count)
        return order[: math.ceil(count * self.holdout)]


@contextmanager
def _refusing(trail: _Trail) -> Iterator[None]:
    try:
        yield
    except UnsupportedError as reason:
        trail.found.refused = str(reason)
        trail.clear()


def _twin(module: nn.Module) -> nn.Module | None:
    try:
        return deepcopy(module, module)
    except Exception:  # whatever a user's module makes deepcopy raise
        return None


def _autocast() -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda"))


def _unchanged(first: Mapping[Any, Any], second: Mapping[Any, Any]) -> bool:
    return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)


def _array(tensor: torch.Tensor) -> Array:
    try:
        return tensor.detach().to("cpu", torch.float64).numpy()
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
