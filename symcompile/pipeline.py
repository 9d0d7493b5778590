"""The pass manager: what flows between the passes, what holds of it, and how it is checked.

A pass takes what the one before it gives, and gives something that has more: the types say what it
may rely on, and mypy that they follow each other. It changes none of it in place. What a type can't
say, `problems` says, and it is asked of the RESULT of every pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Never, Protocol, TypeAlias, TypeVar, cast, get_type_hints

import torch
from torch import nn

from symcompile.assembly import Assembly, InstalledBlock
from symcompile.fidelity.acceptance import Choice
from symcompile.fidelity.controls import Controls
from symcompile.fidelity.outcome import Rewrite
from symcompile.lowering.block import Lowered
from symcompile.modules.batches import Columns
from symcompile.modules.calling import Batch
from symcompile.modules.region import Region
from symcompile.modules.results import Results
from symcompile.regression.distillation import Searches
from symcompile.regression.engines import Engine
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.recording import Recording
from symcompile.target import Target


class PassError(AssertionError):
    """A pass broke its contract: a bug of the compiler, never of its user."""


# --- what flows ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What the user passed, checked."""

    model: nn.Module
    targets: tuple[Target, ...]
    data: object

    def problems(self) -> Iterator[str]:
        """What is wrong with it, in words."""
        yield from ()


@dataclass(frozen=True)
class Captured(Request):
    """A copy of the model, captured as far as that can be done.

    Attributes:
        root: an fx.GraphModule, or the copy itself.
        kind: "fx", "module boundaries" or "whole model".
        note: why torch.fx was not used; "" where it was.
        copy: runs where data has to run through the model: the user's own is only ever read.
        places: the target of each path in `root`, or range of nodes.
        fingerprint: of the weights, before anything ran.
        source: what there is to record: batches, or a recording of before.
        columns: what the data came as, if it was a data frame.
    """

    root: nn.Module
    kind: str
    note: str
    copy: nn.Module
    places: Mapping[str, Target]
    fingerprint: str
    source: Iterator[Batch] | Recording | None
    columns: Columns | None


@dataclass(frozen=True)
class Partitioned(Captured):
    """Every place is a submodule of `root`, or "." for all of it."""

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        submodules = dict(self.root.named_modules(remove_duplicate=False))
        lost = [path for path in self.places if path != "." and path not in submodules]
        if lost:
            yield f"{lost} are no submodules"


@dataclass(frozen=True)
class Instrumented(Partitioned):
    """What the regions saw and gave; targets that can't be replaced, with their reasons.

    Attributes:
        results: what the model gave on the batches of the recording, as far as it is known.
    """

    recording: Recording
    results: Results

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        lost = set(self.places) - set(self.recording.regions) - set(self.recording.refused)
        if lost:
            yield f"targets {sorted(lost)} are lost"
        for path, region in self.recording.regions.items():
            yield from (f"region {path!r} {problem}" for problem in self.problems_of(region))

    def problems_of(self, region: Region) -> Iterator[str]:
        samples = self.recording.samples.get(region.path)
        if samples is None:
            yield "has no samples"
            return
        shapes = samples.X.shape[1], samples.Y.shape[1]
        expected = region.interface.n_inputs, region.interface.n_outputs
        if shapes != expected:
            yield f"has samples of {shapes}, not {expected}"
        if samples.holdout.all():
            yield "has nothing to fit"


@dataclass(frozen=True)
class Known:
    """The equations of a region that need no search.

    Attributes:
        fronts: by output.
        described: what made them, as an engine describes itself.
    """

    fronts: Mapping[int, ParetoFront]
    described: Mapping[str, Any]


@dataclass(frozen=True)
class Reduced(Instrumented):
    """Regions have the projections and affine maps that their targets ask for.

    Attributes:
        known: equations of the regions that need no search, by path.
    """

    known: Mapping[str, Known]


@dataclass(frozen=True)
class Distilled(Reduced):
    """A search of each output of each region, with the region's engine.

    They run while the next pass asks for what they find: what is found for one output is refined
    while others are still searched for, by the same workers.
    """

    engines: Mapping[str, Engine]
    searches: Searches

    def problems_of(self, region: Region) -> Iterator[str]:
        yield from super().problems_of(region)
        fits = self.searches.keys
        if region.path in self.known:
            return
        lost = [k for k in region.equation_outputs if fit_key(region.path, k) not in fits]
        if lost:
            yield f"has no search for outputs {lost}"


@dataclass(frozen=True)
class Refined(Distilled):
    """A Pareto front for each equation that a region asks for."""

    fronts: Mapping[str, Mapping[int, ParetoFront]]

    def problems_of(self, region: Region) -> Iterator[str]:
        yield from super().problems_of(region)
        fronts = self.fronts.get(region.path, {})
        lost = set(region.equation_outputs) - set(fronts)
        if lost:
            yield f"has no front for outputs {sorted(lost)}"
        if any(e.symbols != region.variables for front in fronts.values() for e in front):
            yield "has equations in other variables than its own"


@dataclass(frozen=True)
class Chosen(Refined):
    """The equations that are to stand in each region's place, or why none may."""

    controls: Mapping[str, Controls]
    choices: Mapping[str, Choice]

    def problems_of(self, region: Region) -> Iterator[str]:
        yield from super().problems_of(region)
        choice = self.choices.get(region.path)
        if choice is None or (choice.judged is None and not choice.refused):
            yield "has no choice"


@dataclass(frozen=True)
class Rewritten(Chosen):
    """The hybrid, and the equations that stand in each region's place in it; None for a copy of
    its neural block."""

    assembly: Assembly
    lowered: Mapping[str, Lowered | None]

    def problems_of(self, region: Region) -> Iterator[str]:
        yield from super().problems_of(region)
        if region.path not in self.lowered:
            yield "has no block"
            return
        lowered = self.lowered[region.path]
        if lowered and self.assembly.installed(region) is not lowered.module:
            yield "has another block in its place"


@dataclass(frozen=True)
class Verified(Rewritten):
    """Every block with its outcome, and the hybrid without those that had to be refused."""

    blocks: Mapping[str, InstalledBlock]

    def problems_of(self, region: Region) -> Iterator[str]:
        yield from super().problems_of(region)
        block = self.blocks.get(region.path)
        if block is None:
            yield "has no outcome"
        elif isinstance(block.outcome, Rewrite) != (block.lowered is not None):
            yield "has an outcome that its block is not"


def fit_key(path: str, output: int) -> str:
    """What errors, progress and the journal call the fit of an output."""
    return f"{path}[{output}]"


# --- how it is run ---------------------------------------------------------------------------

In = TypeVar("In", bound=Request, contravariant=True)
Out = TypeVar("Out", bound=Request, covariant=True)
Start = TypeVar("Start", bound=Request)
End = TypeVar("End", bound=Request)
Next = TypeVar("Next", bound=Request)


class Pass(Protocol[In, Out]):
    """One step; its options are its fields."""

    @property
    def name(self) -> str:
        """What the log calls it."""
        ...

    def run(self, state: In) -> Out:
        """The step itself: everything of `state`, and what it adds."""
        ...


AnyPass: TypeAlias = Pass[Never, Request]


@dataclass(frozen=True)
class LogEntry:
    """What a pass did: the seconds it took, and whether it changed anything.

    Searches run, and count, while `refine` asks for what they find.
    """

    name: str
    seconds: float
    changed: bool


@dataclass(frozen=True)
class Pipeline(Generic[Start, End]):
    """Passes in their order; begin with `Pipeline.of` the first, and add to it by `then`."""

    passes: tuple[AnyPass, ...]

    @classmethod
    def of(cls, first: Pass[Start, End]) -> Pipeline[Start, End]:
        return cls((first,))

    def then(self, following: Pass[End, Next]) -> Pipeline[Start, Next]:
        return Pipeline((*self.passes, following))

    def followed_by(self, others: Pipeline[End, Next]) -> Pipeline[Start, Next]:
        return Pipeline(self.passes + others.passes)

    def run(self, state: Start) -> tuple[End, tuple[LogEntry, ...]]:
        """What all passes come to, and what each of them did; errors as `run_passes`."""
        result, log = run_passes(self.passes, state)
        return cast(End, result), log


def run_passes(
    passes: Sequence[AnyPass],
    state: Request,
    watch: Callable[[LogEntry, Request], None] | None = None,
) -> tuple[Request, tuple[LogEntry, ...]]:
    """Run passes in order, each one's contract checked before and after it.

    `watch` is called after each with its log entry and its result.
    Raises PassError if a pass is out of order or its result is not what it ensures; what a pass
    itself raises goes through.
    """
    log = []
    for step in passes:
        contract = get_type_hints(type(step).run)
        _require(step.name, "needs", contract["state"], state)
        start = time.perf_counter()
        # What is made under inference mode could never be trained.
        with torch.inference_mode(False):
            result = cast("Pass[Request, Request]", step).run(state)
        entry = LogEntry(step.name, time.perf_counter() - start, _changed(state, result))
        _require(step.name, "did not provide", contract["return"], result)
        for problem in result.problems():
            raise PassError(f"after pass {step.name!r}: {problem}")
        log.append(entry)
        if watch is not None:
            watch(entry, result)
        state = result
    return state, tuple(log)


def _changed(before: Request, after: Request) -> bool:
    """Whether there is anything new: a field that has come and is empty says nothing."""
    was = vars(before)
    return any(
        value is not was[key] if key in was else value != {} for key, value in vars(after).items()
    )


def _require(name: str, verb: str, kind: type[Request], state: Request) -> None:
    if isinstance(state, kind):
        return
    missing = [field.name for field in fields(kind) if not hasattr(state, field.name)]
    raise PassError(f"pass {name!r} {verb} {', '.join(missing) or kind.__name__}")
