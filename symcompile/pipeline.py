"""The pass manager: what flows between passes, what each may rely on, and how it is checked.

A pass takes a Compilation and gives another; it never changes one in place. A pass that has nothing
to do gives back the very one that it got, and the log says so.

| field | is there after | holds |
|---|---|---|
| model, targets, data | - | what the user passed, checked |
| captured | capture | the root, every target one submodule of it |
| recording | instrument | regions and their samples; refused targets with their reasons |
| fronts | distill | a Pareto front for each equation that a region asks for |
| compiled | rewrite | the hybrid, measured |

`check` is the written form of this table. It runs on the RESULT of every pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from symcompile.modules.region import Region
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.recording import Recording
from symcompile.target import Target


class PassError(AssertionError):
    """A pass broke its contract: a bug of the compiler, never of its user."""


@dataclass(frozen=True)
class Compilation:
    """The state between two passes; see the table above."""

    model: nn.Module
    targets: tuple[Target, ...]
    data: Any = None
    captured: Any = None
    recording: Recording | None = None
    fronts: Mapping[str, Mapping[int, ParetoFront]] | None = None
    compiled: Any = None

    def with_(self, **changes: Any) -> Compilation:
        return replace(self, **changes)


@dataclass(frozen=True)
class Pass:
    """One step.

    Attributes:
        name: what the log calls it.
        requires: fields of the Compilation that must be there before it runs.
        ensures: fields that are there afterwards.
        run: the step itself.
    """

    name: str
    requires: tuple[str, ...]
    ensures: tuple[str, ...]
    run: Callable[[Compilation], Compilation]


@dataclass(frozen=True)
class LogEntry:
    """What a pass did: the seconds it took, and whether it changed anything."""

    name: str
    seconds: float
    changed: bool


def run_passes(
    passes: Sequence[Pass],
    state: Compilation,
    watch: Callable[[LogEntry, Compilation], None] | None = None,
) -> tuple[Compilation, tuple[LogEntry, ...]]:
    """Run passes in order, each one's contract checked before and after it.

    `watch` is called after each with its log entry and its result.
    Raises PassError if a pass is out of order or its result breaks the table; what a pass itself
    raises goes through.
    """
    log = []
    for one in passes:
        _require(one.name, "needs", one.requires, state)
        start = time.perf_counter()
        # What is made under inference mode could never be trained.
        with torch.inference_mode(False):
            result = one.run(state)
        entry = LogEntry(one.name, time.perf_counter() - start, result is not state)
        _require(one.name, "did not provide", one.ensures, result)
        check(result, one.name)
        log.append(entry)
        if watch is not None:
            watch(entry, result)
        state = result
    return state, tuple(log)


def check(state: Compilation, after: str) -> None:
    """Raise PassError, naming the pass it came `after`, unless the state fits the table."""
    recording = state.recording
    if recording is None:
        return
    targets = set(state.captured.targets) if state.captured is not None else set()
    known = set(recording.regions) | set(recording.refused)
    _hold(after, targets <= known, f"targets {sorted(targets - known)} are lost")
    for path, region in recording.regions.items():
        _check_samples(after, path, region, recording)
        if state.fronts is not None:
            _check_fronts(after, path, region, state.fronts.get(path, {}))
    if state.compiled is not None:
        missing = known - set(state.compiled.outcomes)
        _hold(after, not missing, f"{sorted(missing)} have no outcome")


def _check_samples(after: str, path: str, region: Region, recording: Recording) -> None:
    samples = recording.samples.get(path)
    _hold(after, samples is not None, f"region {path!r} has no samples")
    assert samples is not None
    shapes = samples.X.shape[1], samples.Y.shape[1]
    expected = region.interface.n_inputs, region.interface.n_outputs
    _hold(after, shapes == expected, f"region {path!r} has samples of {shapes}, not {expected}")
    _hold(after, not samples.holdout.all(), f"region {path!r} has nothing to fit")


def _check_fronts(after: str, path: str, region: Region, fronts: Mapping[int, ParetoFront]) -> None:
    missing = set(region.equation_outputs) - set(fronts)
    _hold(after, not missing, f"region {path!r} has no front for outputs {sorted(missing)}")
    for front in fronts.values():
        other = [e for e in front if e.symbols != region.variables]
        _hold(after, not other, f"region {path!r} has equations in other variables than its own")


def _require(name: str, verb: str, wanted: Sequence[str], state: Compilation) -> None:
    known = {one.name for one in fields(state)}
    missing = [field for field in wanted if field not in known or getattr(state, field) is None]
    if missing:
        raise PassError(f"pass {name!r} {verb} {', '.join(missing)}")


def _hold(after: str, holds: bool, problem: str) -> None:
    if not holds:
        raise PassError(f"after pass {after!r}: {problem}")
