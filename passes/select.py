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

from symcompile.errors import DataError, TargetError
from symcompile.modules.calling import evaluating
from symcompile.modules.results import Results
from symcompile.modules.samples import NO_BATCHES
from symcompile.modules.state import same_random_state
from symcompile.modules.surgery import install, private_copy
from symcompile.options import Options
from symcompile.passes.candidates import Candidate, Candidates
from symcompile.passes.chains import capturing_passes, replacing_passes
from symcompile.pipeline import LogEntry, Refined, Request, Verified
from symcompile.regression.distillation import Searches
from symcompile.storage.journal import Journal
from symcompile.storage.recording import Recording

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
        self.options, self.selection = options, selection
        self.candidates = Candidates(request, options, selection.kept, selection.kept_batches)
        self.captured, _ = capturing_passes().run(request)
        if "." in self.captured.places:
            raise TargetError("a Selection is among regions: '.' is the whole model")
        # What becomes of the model, one region after the other.
        self.working = private_copy(self.captured.root)

    def run(self) -> Selected:
        baseline = self._measured()
        if not math.isfinite(baseline):
            raise DataError(f"metric gives {baseline} for the original: expected a finite number")
        fitted = self._all_fitted()
        alone = {path: self._alone(one) for path, one in fitted.items()}
        order = sorted(alone, key=lambda path: (math.isnan(alone[path]), alone[path]))
        tried = {path: Tried(path, alone[path]) for path in order}
        chosen: dict[str, Candidate] = {}
        for path in order[: self.selection.max_regions]:
            one = self._again(fitted[path]) if chosen else fitted[path]
            tried[path] = Tried(path, alone[path], *self._together(one, baseline))
            if not tried[path].selected:
                break
            chosen[path] = one
        state, log = self._built(chosen, self._reasons(tried, baseline))
        return Selected(state, log, Ranking(baseline, tuple(tried.values())))

    def _all_fitted(self) -> dict[str, Candidate]:
        places = iter(self.captured.places.items())
        found: dict[str, Candidate] = {}
        while group := dict(islice(places, self.selection.at_once)):
            found |= self.candidates.fitted(self.captured.root, group)
        return found

    def _again(self, one: Candidate) -> Candidate:
        """Fitted to what the model does by now, if that can be done."""
        if not self.selection.refit:
            return one
        path = one.region.path
        place = {path: self.captured.places[path]}
        return self.candidates.fitted(self.working, place).get(path, one)

    def _alone(self, one: Candidate) -> float:
        before = self._put(one)
        try:
            return self._measured()
        finally:
            install(self.working, one.region, before)

    def _together(self, one: Candidate, baseline: float) -> tuple[float, bool]:
        """The metric with this and all before it, and whether that is tolerated; if not, the model
        is as it was."""
        before = self._put(one)
        value, bound = self._measured(), self.selection.tolerance
        tolerated = bound is None or value - baseline <= bound
        if not tolerated:
            install(self.working, one.region, before)
        return value, tolerated

    def _put(self, one: Candidate) -> nn.Module:
        """Put it in its place; gives what was there."""
        before = self.working.get_submodule(one.region.path)
        install(self.working, one.region, one.lowered(self.working).module)
        return before

    def _measured(self) -> float:
        with torch.no_grad(), evaluating(self.working), same_random_state():
            value = self.selection.metric(self.working)
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            raise DataError(
                f"metric gave a {type(value).__name__}: expected a number, lower is better"
            ) from None

    def _reasons(self, tried: Mapping[str, Tried], baseline: float) -> dict[str, str]:
        """Why each region that is not selected is not."""
        reasons = dict(self.candidates.refused)
        for rank, one in enumerate(tried.values(), start=1):
            if one.selected:
                reasons.pop(one.path, None)
                continue
            alone = f"the metric is {one.alone:.5g} with it alone, {baseline:.5g} without"
            reason = f"not selected: number {rank} of {len(tried)} by harm ({alone}"
            if not math.isnan(one.together):
                reason += f", {one.together:.5g} with it and those before it"
            reasons[one.path] = f"{reason})"
        return reasons

    def _built(
        self, chosen: Mapping[str, Candidate], refused: dict[str, str]
    ) -> tuple[Verified, tuple[LogEntry, ...]]:
        """The hybrid of what was chosen, measured as any other."""
        captured, first = self.captured, next(iter(chosen.values()), None)
        recording = Recording(
            {path: one.region for path, one in chosen.items()},
            {path: one.samples for path, one in chosen.items()},
            refused,
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
        return replacing_passes(self.options).run(state)
