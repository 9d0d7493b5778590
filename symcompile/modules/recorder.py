"""The recorder: hooks on regions, which put what goes in and comes out into reservoirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from symcompile.errors import DataError
from symcompile.expressions.evaluation import Array
from symcompile.modules.calling import equal, map_tensors, tensors
from symcompile.modules.interface import (
    Call,
    UnsupportedError,
    bind,
    input_tensors,
    literal_settings,
    matrix_in,
    matrix_out,
    read_interface,
    settings,
)
from symcompile.modules.region import Interface
from symcompile.modules.samples import MIN_SAMPLES, Reservoir, Samples, random_holdout
from symcompile.modules.state import deepcopy
from symcompile.regression.folds import SMALL


@dataclass
class RecordedRegion:
    """What instrumentation found out about one region."""

    interface: Interface | None = None
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
    recorded: RecordedRegion = field(default_factory=RecordedRegion)
    settings: Any = None
    # The module as it was before its first call, for what is tried out on it afterwards.
    twin: nn.Module | None = None
    pending: list[tuple[Array, Array]] = field(default_factory=list)
    arguments: list[dict[str, Any]] = field(default_factory=list)

    def clear(self) -> None:
        self.pending, self.arguments = [], []

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
        self._autocast = _autocast()
        with ExitStack() as hooks:
            for path, trail in self.trails.items():
                if isinstance(trail.module, torch.jit.ScriptModule):
                    trail.recorded.refused = (
                        "it is a ScriptModule, into which nobody can look: put the Python module"
                        " that it was scripted from in its place"
                    )
                    continue
                for hook in self._hooks(path, trail):
                    hooks.enter_context(hook)
            yield

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
            trail.recorded.calls = max(trail.recorded.calls, len(trail.pending))
            for X, Y in trail.pending:
                (trail.held if held else trail.fit).add(X, Y)
        self.discard()

    def discard(self) -> None:
        """Drop the rows that wait."""
        for trail in self.trails.values():
            trail.clear()

    def finish(self) -> dict[str, RecordedRegion]:
        """What was found out about each region; DataError for too few or constant samples."""
        for path, trail in self.trails.items():
            recorded = trail.recorded
            if not recorded.refused and not trail.fit.seen and not trail.held.seen:
                recorded.refused = (
                    "it was never called while the data ran through the model (or only through its"
                    " forward method, past the hooks)"
                )
            if not recorded.refused:
                recorded.samples = self._samples(path, trail)
        return {path: trail.recorded for path, trail in self.trails.items()}

    def _hooks(self, path: str, trail: _Trail) -> tuple[RemovableHandle, RemovableHandle]:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self._listening or trail.recorded.refused:
                return
            with trail.refusing():
                if trail.recorded.interface is None and trail.twin is None:
                    with suppress(Exception):  # whatever a user's module makes deepcopy raise
                        trail.twin = deepcopy(module, module)
                # Cloned now, because the block may write into its inputs.
                bound = bind(module, args, kwargs)
                trail.arguments.append(map_tensors(lambda t: t.detach().clone(), bound))

        def after(module: nn.Module, args: Any, output: Any) -> None:
            if self._listening and not trail.recorded.refused:
                with trail.refusing():
                    self._note(path, trail, Call(trail.arguments.pop(), output))

        return (
            trail.module.register_forward_pre_hook(before, with_kwargs=True),
            trail.module.register_forward_hook(after),
        )

    def _note(self, path: str, trail: _Trail, call: Call) -> None:
        if not all(tensor.numel() for _, _, tensor in input_tensors(call.arguments)):
            return  # no samples, from which nothing can be told either
        if trail.recorded.interface is None:
            self._meet(trail, call)
        interface = trail.recorded.interface
        assert interface is not None
        before, now = trail.settings, settings(call.arguments)
        if before.keys() != now.keys() or not all(equal(before[key], now[key]) for key in now):
            raise UnsupportedError("its arguments that are no tensors change between calls")
        X = _array(matrix_in(interface, call.arguments))
        Y = _array(matrix_out(interface, call.output, len(X)))
        _require_finite(path, X, Y)
        trail.pending.append((X, Y))

    def _meet(self, trail: _Trail, call: Call) -> None:
        """Read the interface from the first call."""
        if _autocast() != self._autocast:
            raise UnsupportedError(
                "the model calls it under a torch.autocast of its own, which changes its dtypes:"
                " compile the model without that autocast, or in half precision"
            )
        _array(input_tensors(call.arguments)[0][2])
        with self.paused():
            trail.recorded.interface = read_interface(trail.twin or trail.module, call)
        trail.twin = None
        trail.recorded.dtype = str(tensors(call.output)[0].dtype).removeprefix("torch.")
        trail.recorded.settings = literal_settings(call.arguments)
        trail.settings = settings(call.arguments)

    def _samples(self, path: str, trail: _Trail) -> Samples:
        fit, held = trail.fit.rows(), trail.held.rows()
        X, Y = (np.concatenate([rows[k] for rows in (fit, held) if rows]) for k in (0, 1))
        if fit and held and len(X) >= SMALL:
            mask = np.arange(len(X)) >= len(fit[0])
        else:  # what to hold out was not decided before the model ran
            mask = random_holdout(len(X), self.holdout, self.seed)
        _require_enough(path, X)
        return Samples(X, Y, mask)


def _autocast() -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda"))


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
