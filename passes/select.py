"""Select: which of many regions to replace, by what the whole model loses.

    compiled = symcompile(
        model, Target("model.layers.*.mlp", reduce=Products(64), affine=191), batches,
        select=Selection(perplexity, max_regions=7),
    )

Each region is fitted and replaced alone, and they are ranked by the metric of the model with it.
Then they are replaced one after the other, the least harmful first. Independent fits do not add up:
so each next region is recorded and fitted again on the model as it is by then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import nn

from symcompile.assembly import Assembly
from symcompile.errors import DataError, TargetError
from symcompile.fidelity.acceptance import default_choice
from symcompile.lowering.block import Lowered
from symcompile.modules.calling import Batch, evaluating
from symcompile.modules.region import Region
from symcompile.modules.results import Results
from symcompile.modules.samples import NO_BATCHES, Samples
from symcompile.modules.state import same_random_state
from symcompile.modules.surgery import install, private_copy
from symcompile.options import Options
from symcompile.passes.capture import CapturePass
from symcompile.passes.choose import ChoosePass
from symcompile.passes.distill import DistillPass
from symcompile.passes.instrument import InstrumentPass
from symcompile.passes.partition import PartitionPass
from symcompile.passes.reduce import ReducePass
from symcompile.passes.refine import RefinePass
from symcompile.passes.rewrite import RewritePass
from symcompile.passes.verify import VerifyPass
from symcompile.pipeline import (
    Known,
    LogEntry,
    Partitioned,
    Pipeline,
    Refined,
    Request,
    Verified,
)
from symcompile.regression.distillation import Searches
from symcompile.regression.engines import Engine
from symcompile.storage.journal import Journal
from symcompile.storage.recording import Recording
from symcompile.target import Target

Metric = Callable[[nn.Module], float]


@dataclass(frozen=True)
class Selection:
    """How regions are selected.

    Attributes:
        metric: what is measured of a model, lower is better, such as its perplexity on validation
            data. It gets models that are called as the user's own is.
        max_regions: replace at most so many; None for all.
        tolerance: by how much the metric may rise above that of the original, in its own units;
            None for no bound. The first region that would break it ends the selection.
        refit: record and fit each next region on the model as it has become. Else all keep what was
            fitted on the original.
        at_once: how many regions are recorded at a time, which bounds the memory.
        kept: samples of each region that are kept to judge its equations by.
        kept_batches: held-out batches of the whole model that are kept for the same.
    """

    metric: Metric
    max_regions: int | None = None
    tolerance: float | None = None
    refit: bool = True
    at_once: int = 8
    kept: int = 5000
    kept_batches: int = 2

    def __post_init__(self) -> None:
        if not callable(self.metric):
            raise DataError(
                f"metric is a {type(self.metric).__name__}: expected a function of a model that"
                " gives a number, lower is better"
            )
        for name, least in (("max_regions", 1), ("at_once", 1), ("kept", 100), ("kept_batches", 1)):
            value = getattr(self, name)
            if value is None and name == "max_regions":
                continue
            if type(value) is not int or value < least:
                raise TargetError(f"{name} is {value!r}: expected a whole number from {least}")
        bound = self.tolerance
        if bound is not None and not (isinstance(bound, (int, float)) and 0 <= bound < math.inf):
            raise TargetError(f"tolerance of a Selection is {bound!r}: expected a number from 0")


@dataclass(frozen=True)
class Tried:
    """What replacing a region does to the metric.

    Attributes:
        path: of the region.
        alone: the metric with nothing but this region replaced.
        together: the metric with it and all that were selected before it; NaN where that was not
            tried.
        selected: whether it was replaced in the end.
    """

    path: str
    alone: float
    together: float = math.nan
    selected: bool = False


@dataclass(frozen=True)
class Ranking:
    """What became of a selection; prints as a table.

    Attributes:
        baseline: the metric of the original.
        tried: of each region that could be fitted, the least harmful first.
    """

    baseline: float
    tried: tuple[Tried, ...]

    def __str__(self) -> str:
        wide = max(len("region"), *(len(one.path) for one in self.tried)) if self.tried else 6
        lines = [f"{'region':{wide}}  {'alone':>12}  {'together':>12}"]
        lines += [f"{'none':{wide}}  {self.baseline:12.6g}  {self.baseline:12.6g}"]
        for one in self.tried:
            together = "" if math.isnan(one.together) else f"{one.together:.6g}"
            mark = "" if one.selected else "  not selected"
            lines.append(f"{one.path:{wide}}  {one.alone:12.6g}  {together:>12}{mark}")
        return "\n".join(lines)


class Selected(NamedTuple):
    """The result of a selection, state and log as of any compile."""

    state: Verified
    log: tuple[LogEntry, ...]
    ranking: Ranking


@dataclass(frozen=True)
class _Candidate:
    """A region with equations, fitted on some model."""

    region: Region
    samples: Samples
    known: Known
    engine: Engine
    batches: tuple[Batch, ...]
    batches_are: str


def selected(request: Request, options: Options, selection: Selection) -> Selected:
    """Fit, rank, replace and measure; errors as of a compile.

    Raises DataError if the metric gives no number for the original.
    """
    return _Selecting(_repeatable(request), options, selection).run()


def _repeatable(request: Request) -> Request:
    """Data are run through the model several times: what can be iterated once is kept."""
    data = request.data
    return replace(request, data=list(data)) if isinstance(data, Iterator) else request


class _Selecting:
    """One run of `select`."""

    def __init__(self, request: Request, options: Options, selection: Selection) -> None:
        self.request, self.options, self.selection = request, options, selection
        self.refused: dict[str, str] = {}

    def run(self) -> Selected:
        captured, _ = Pipeline.of(CapturePass()).then(PartitionPass()).run(self.request)
        if "." in captured.places:
            raise TargetError("a Selection is among regions: '.' is the whole model")
        working = private_copy(captured.root)
        baseline = self._measured(working)
        if not math.isfinite(baseline):
            raise DataError(f"metric gives {baseline} for the original: expected a finite number")
        candidates = self._all_fitted(captured)
        alone = {path: self._alone(working, one) for path, one in candidates.items()}
        order = sorted(alone, key=lambda path: (math.isnan(alone[path]), alone[path]))
        tried = {path: Tried(path, alone[path]) for path in order}
        chosen: dict[str, _Candidate] = {}
        for path in order:
            if len(chosen) == self.selection.max_regions:
                break
            one = candidates[path]
            if chosen and self.selection.refit:
                one = self._fitted(working, {path: captured.places[path]}).get(path, one)
            before = working.get_submodule(path)
            install(working, one.region, self._lowered(working, one).module)
            together = self._measured(working)
            bound = self.selection.tolerance
            too_far = bound is not None and not together - baseline <= bound
            tried[path] = Tried(path, alone[path], together, not too_far)
            if too_far:
                install(working, one.region, before)
                break
            chosen[path] = one
        self._say_why(tried, baseline)
        state, log = self._built(captured, chosen)
        return Selected(state, log, Ranking(baseline, tuple(tried.values())))

    # --- candidates --------------------------------------------------------------------------

    def _all_fitted(self, captured: Partitioned) -> dict[str, _Candidate]:
        places = iter(captured.places.items())
        found: dict[str, _Candidate] = {}
        while group := dict(islice(places, self.selection.at_once)):
            found |= self._fitted(captured.root, group)
        return found

    def _fitted(self, model: nn.Module, places: Mapping[str, Target]) -> dict[str, _Candidate]:
        """Regions with their equations, as this model has them."""
        options = self.options
        targets = tuple(replace(target, path=path) for path, target in places.items())
        instrument = InstrumentPass(
            options.n_samples, options.holdout, options.seed, options.objective
        )
        state, _ = (
            Pipeline.of(CapturePass())
            .then(PartitionPass())
            .then(instrument)
            .then(ReducePass(options.seed))
            .then(DistillPass(options))
            .then(RefinePass(options.progress))
            .run(Request(model, targets, self.request.data))
        )
        self.refused |= state.recording.refused
        found = {}
        for path, region in state.recording.regions.items():
            engine, fronts = state.engines[path], state.fronts[path]
            if set(default_choice(region, fronts)) != set(region.equation_outputs):
                why = next((front.reason for front in fronts.values() if not front), "")
                self.refused[path] = why or "the search found no usable equation"
                continue
            known = state.known.get(path) or Known(fronts, engine.describe())
            samples = state.recording.samples[path].thinned(self.selection.kept)
            held = state.recording.batches[: self.selection.kept_batches]
            found[path] = _Candidate(
                region, samples, known, engine, held, state.recording.batches_are
            )
        return found

    def _lowered(self, root: nn.Module, one: _Candidate) -> Lowered:
        recording = Recording({one.region.path: one.region}, {one.region.path: one.samples})
        equations = default_choice(one.region, one.known.fronts)
        equations = {k: equation.with_exact_exponents() for k, equation in equations.items()}
        return Assembly(root, root, recording).lower(one.region, equations)

    # --- what the model loses ----------------------------------------------------------------

    def _alone(self, working: nn.Module, one: _Candidate) -> float:
        before = working.get_submodule(one.region.path)
        install(working, one.region, self._lowered(working, one).module)
        try:
            return self._measured(working)
        finally:
            install(working, one.region, before)

    def _measured(self, model: nn.Module) -> float:
        with torch.no_grad(), evaluating(model), same_random_state():
            value = self.selection.metric(model)
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            raise DataError(
                f"metric gave a {type(value).__name__}: expected a number, lower is better"
            ) from None

    def _say_why(self, tried: Mapping[str, Tried], baseline: float) -> None:
        for rank, one in enumerate(tried.values(), start=1):
            if one.selected:
                continue
            alone = f"the metric is {one.alone:.5g} with it alone, {baseline:.5g} without"
            reason = f"not selected: number {rank} of {len(tried)} by harm ({alone}"
            if not math.isnan(one.together):
                reason += f", {one.together:.5g} with it and those before it"
            self.refused[one.path] = f"{reason})"

    # --- the hybrid --------------------------------------------------------------------------

    def _built(
        self, captured: Partitioned, chosen: Mapping[str, _Candidate]
    ) -> tuple[Verified, tuple[LogEntry, ...]]:
        """The hybrid of what was chosen, measured as any other."""
        first = next(iter(chosen.values()), None)
        recording = Recording(
            {path: one.region for path, one in chosen.items()},
            {path: one.samples for path, one in chosen.items()},
            {path: why for path, why in self.refused.items() if path not in chosen},
            first.batches if first else (),
            first.batches_are if first else NO_BATCHES,
            fingerprint=captured.fingerprint,
            capture=captured.kind,
            note=captured.note,
            seed=self.options.seed,
        )
        state = Refined(
            **vars(captured),
            recording=recording,
            results=Results(),
            known={path: one.known for path, one in chosen.items()},
            engines={path: one.engine for path, one in chosen.items()},
            searches=Searches([], Journal(None)),
            fronts={path: one.known.fronts for path, one in chosen.items()},
        )
        return (
            Pipeline.of(ChoosePass(self.options.tolerance, self.options.beat_linear))
            .then(RewritePass())
            .then(VerifyPass(self.options.seed))
            .run(state)
        )
