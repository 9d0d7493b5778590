"""Instrument: run data through a captured model and record what each region receives and gives.

Recording happens in evaluation mode by forward hooks, which are gone afterwards; modes, buffers and
attributes of the model are left as they were, after each batch. Samples go through reservoirs, so
that memory is bounded by `n_samples` and the largest batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from symcompile.errors import DataError, TargetError
from symcompile.modules.batches import Columns, sampled_batch
from symcompile.modules.calling import Batch
from symcompile.modules.objective import Objective
from symcompile.modules.recorder import RecordedModel, RecordedRegion, Recorder
from symcompile.modules.region import Interface, Region
from symcompile.modules.results import Results
from symcompile.modules.state import put_back, same_random_state
from symcompile.passes.capture import BOUNDARIES
from symcompile.pipeline import Instrumented, Partitioned
from symcompile.storage.recording import Recording
from symcompile.target import Target


@dataclass(frozen=True)
class InstrumentPass:
    """Record the regions, from the data or from the domains of their targets; or take a recording
    that there is. Fields as the arguments of `symcompile.record`."""

    n_samples: int
    holdout: float
    seed: int
    objective: Objective | None = None
    name: ClassVar[str] = "instrument"

    def run(self, state: Partitioned) -> Instrumented:
        source = state.source
        if isinstance(source, Recording):
            recording = _retargeted(source, state.places)
            return Instrumented(**vars(state), recording=recording, results=Results())
        with same_random_state():
            if source is None:
                recording, results = self._sampled(state)
            else:
                recording, results = self._recorded(state, source, state.root, state.places)
            put_back(state.root, state.model)
        return Instrumented(**vars(state), recording=recording, results=results)

    def _recorded(
        self,
        state: Partitioned,
        batches: Iterable[Batch],
        root: nn.Module,
        targets: Mapping[str, Target],
    ) -> tuple[Recording, Results]:
        """Name the inputs, and gather what was observed into one immutable value; what the model
        gave is for those who go on from here."""
        seen = self.record(root, targets, batches)
        regions, samples, refused = {}, {}, {}
        for path, recorded in seen.regions.items():
            if recorded.interface is None or recorded.samples is None:
                refused[path] = recorded.refused
                continue
            samples[path] = recorded.samples
            module = root if path == "." else root.get_submodule(path)
            regions[path] = _region(path, targets[path], module, recorded, state.columns)
        recording = Recording(
            regions,
            samples,
            refused,
            seen.batches,
            seen.batches_are,
            state.fingerprint,
            state.kind,
            state.note,
            self.seed,
        )
        return recording, seen.results

    def record(
        self, root: nn.Module, paths: Iterable[str], batches: Iterable[Batch]
    ) -> RecordedModel:
        """Run all batches and record the regions at `paths`.

        Raises DataError if there is no data, a region sees NaN or infinity, its inputs never vary,
        or there are too few samples. A region that can't be an equation is no error: `refused` says
        why.
        """
        options = (self.n_samples, self.holdout, self.seed, self.objective)
        recorder = Recorder(root, tuple(paths), *options)
        with recorder.attached():
            for batch in batches:
                recorder.feed(batch)
        return recorder.finish()

    def _sampled(self, state: Partitioned) -> tuple[Recording, Results]:
        """Draw the inputs of each target from its domain: nothing is known of the whole model's,
        unless the target is all of it."""
        alone = {}
        for path, target in state.places.items():
            module = state.copy if path == "." else state.copy.get_submodule(path)
            batch = sampled_batch(target, module, self.n_samples, self.seed)
            alone[path] = self._recorded(state, [batch], module, {".": target})
        if "." in alone:
            return alone["."]
        parts = {path: recording for path, (recording, _) in alone.items()}
        recording = Recording(
            {p: replace(region, path=p) for p, r in parts.items() for region in r.regions.values()},
            {path: samples for path, r in parts.items() for samples in r.samples.values()},
            {path: reason for path, r in parts.items() for reason in r.refused.values()},
            fingerprint=state.fingerprint,
            capture=BOUNDARIES,
            note=state.note,
            seed=self.seed,
        )
        return recording, Results()  # of the parts, not of the model


# --- regions ---------------------------------------------------------------------------------


def _region(
    path: str, target: Target, module: nn.Module, seen: RecordedRegion, columns: Columns | None
) -> Region:
    assert seen.interface is not None
    assert seen.samples is not None
    by_column = columns is not None and columns.are(seen.samples.X)
    region = Region(
        path,
        target,
        seen.interface,
        _names(path, target, seen.interface, columns.names if columns and by_column else None),
        seen.dtype,
        sum(p.numel() for p in module.parameters()),
        seen.calls,
        seen.settings,
    )
    _check_outputs(region)
    if target.reduce is None:  # else they are of coordinates that there are not yet
        region.features  # noqa: B018  (reads the feature expressions, so that a typo is found now)
    return region


def _names(
    path: str, target: Target, interface: Interface, columns: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    """Names of the inputs: those of the target, else of a data frame's columns, else numbers."""
    count = interface.n_inputs
    names = target.names or columns or tuple(f"x{k}" for k in range(count))
    if len(names) != count:
        raise TargetError(
            f"target {path!r}: {len(names)} names ({', '.join(names)}) for {count} input features:"
            " give one name for each"
        )
    return names


def _check_outputs(region: Region) -> None:
    """TargetError if the target names outputs that the region does not have."""
    too_large = [o for o in region.target.outputs or () if o >= region.n_equations]
    if too_large:
        raise TargetError(
            f"target {region.path!r}: outputs {too_large} do not exist: it has"
            f" {region.n_equations} (0 to {region.n_equations - 1})"
        )


def _retargeted(recording: Recording, targets: Mapping[str, Target]) -> Recording:
    """A recording under the targets, and their options, of now."""
    missing = [p for p in targets if p not in recording.regions and p not in recording.refused]
    if missing:
        paths = ", ".join([*recording.regions, *recording.refused])
        raise DataError(f"the recording has {paths}, not {', '.join(missing)}: record those too")
    regions = {}
    for path, target in targets.items():
        if path in recording.regions:
            region = recording.regions[path]
            names = _names(target.path, target, region.interface)
            regions[path] = replace(
                region, target=target, names=names, projection_in=None, projection_out=None
            )
            _check_outputs(regions[path])
    samples = {path: recording.samples[path] for path in regions}
    refused = {path: reason for path, reason in recording.refused.items() if path in targets}
    return replace(recording, regions=regions, samples=samples, refused=refused)
