"""Record: from a model and its targets to a Recording, through capture, partition, instrument."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from torch import nn
from torch.nn.parameter import is_lazy

from symcompile.errors import DataError, TargetError
from symcompile.expressions.evaluation import Array
from symcompile.modules.agreement import attempt
from symcompile.modules.assemble import private_copy
from symcompile.modules.calling import Batch, evaluating
from symcompile.modules.recorder import Observed
from symcompile.modules.recording import NO_BATCHES, fingerprint
from symcompile.modules.region import Region
from symcompile.modules.resolve import Resolved, resolve
from symcompile.modules.state import put_back
from symcompile.passes.capture import Capture, capture, require_fx
from symcompile.passes.instrument import Observation, instrument
from symcompile.passes.partition import partition, refuse_overlap
from symcompile.storage.recording import Recording
from symcompile.target import Target


@dataclass(frozen=True)
class Columns:
    """The data frame that the model's data came as: names, and rows [n_rows, n_columns]."""

    names: tuple[str, ...]
    rows: Array

    def are(self, X: Array) -> bool:
        """Whether recorded inputs are rows of the frame, just as they are."""
        if X.shape[1] != len(self.names):
            return False
        known = {row.tobytes() for row in self.rows}
        return all(row.tobytes() in known for row in np.ascontiguousarray(X))


@dataclass(frozen=True)
class Captured:
    """A captured model whose every target is a submodule of `root` (or "." for `root` itself).

    `model` is the copy of the user's model that was captured: it runs where data has to run through
    the model, and the original never does. `fingerprint` is the original's, before anything ran.
    `columns` is what the data came as, if it was a data frame.
    """

    root: nn.Module
    kind: str
    note: str
    targets: dict[str, Target]
    model: nn.Module
    fingerprint: str = ""
    columns: Columns | None = None


def capture_targets(
    original: nn.Module,
    targets: Iterable[Target],
    example: Batch | None,
    *,
    known: str = "",
    sharing: bool = False,
) -> Captured:
    """Resolve, copy, capture and partition.

    The model is only ever read. `known` is its fingerprint, if somebody knows it already. With
    `sharing` the copy shares with the model what can't be copied.
    Raises TargetError or CaptureError.
    """
    require_weights(original)
    resolved = resolve(original, targets)
    known = known or fingerprint(original)
    model = private_copy(original, sharing=sharing)
    paths = [one.path for one in resolved if not one.target.is_node_range and one.path != "."]
    if any(one.path == "." for one in resolved):
        captured = Capture(model, "whole model")
    else:
        captured = capture(model, paths, example)
    if example is not None:
        with evaluating(captured.root):
            attempt(captured.root, example)  # at least once, to see what it writes into
    for one in (model, captured.root):
        put_back(one, original)
    return _partitioned(captured, resolved, model, known)


def observe(
    captured: Captured, batches: Iterator[Batch], n_samples: int, holdout: float, seed: int
) -> Observation:
    return instrument(
        captured.root,
        captured.targets,
        batches,
        n_samples=n_samples,
        holdout=holdout,
        seed=seed,
    )


def recording(captured: Captured, observation: Observation, seed: int) -> Recording:
    """Name the inputs and gather what was observed into one immutable value."""
    regions, samples, refused = {}, {}, {}
    for path, found in observation.regions.items():
        if found.face is None or found.samples is None:
            refused[path] = found.refused
            continue
        regions[path] = _region(captured, path, found)
        samples[path] = found.samples
    return Recording(
        regions,
        samples,
        refused,
        observation.batches,
        observation.batches_are,
        captured.fingerprint,
        captured.kind,
        captured.note,
        seed,
    )


def without_model(record: Recording) -> Recording:
    """For regions that were sampled on their own: nothing is known of the whole model's inputs."""
    return replace(record, batches=(), batches_are=NO_BATCHES)


def _partitioned(
    captured: Capture, resolved: Sequence[Resolved], model: nn.Module, known: str
) -> Captured:
    ranges = [one.path for one in resolved if one.target.is_node_range]
    if ranges:
        paths = [one.path for one in resolved if one.path not in ranges]
        refuse_overlap(require_fx(captured, ranges[0]), ranges, paths)
    targets = {}
    for one in resolved:
        path = one.path
        if one.target.is_node_range:
            path = partition(require_fx(captured, path), path)
        targets[path] = one.target
    return Captured(captured.root, captured.kind, captured.note, targets, model, known)


def _region(captured: Captured, path: str, found: Observed) -> Region:
    target = captured.targets[path]
    assert found.face is not None
    module = captured.root if path == "." else captured.root.get_submodule(path)
    region = Region(
        path,
        target,
        found.face,
        _names(path, target, found, captured.columns),
        found.dtype,
        sum(p.numel() for p in module.parameters()),
        found.calls,
        found.settings,
    )
    check_outputs(region)
    region.features  # noqa: B018  (reads the feature expressions, so that a typo is found now)
    return region


def _names(path: str, target: Target, found: Observed, columns: Columns | None) -> tuple[str, ...]:
    assert found.face is not None
    assert found.samples is not None
    count = found.face.n_inputs
    by_column = columns is not None and columns.are(found.samples.X)
    default = columns.names if columns is not None and by_column else None
    names = target.names or default or tuple(f"x{k}" for k in range(count))
    if len(names) != count:
        raise TargetError(
            f"target {path!r}: {len(names)} names ({', '.join(names)}) for {count} input features:"
            " give one name for each"
        )
    return names


def check_outputs(region: Region) -> None:
    """TargetError if the target names outputs that the region does not have."""
    too_large = [o for o in region.target.outputs or () if o >= region.n_equations]
    if too_large:
        raise TargetError(
            f"target {region.path!r}: outputs {too_large} do not exist: it has"
            f" {region.n_equations} (0 to {region.n_equations - 1})"
        )


def require_weights(model: nn.Module) -> None:
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise DataError(f"{name!r} has no shape yet: run the model on a batch once")
        if tensor.is_inference():
            raise DataError(
                f"{name!r} is an inference tensor (the model was made under torch.inference_mode),"
                " which can't be differentiated: copy the model outside of that mode first,"
                " model = copy.deepcopy(model)"
            )
        if tensor.is_meta:
            raise DataError(
                f"{name!r} is on the meta device, so the model has no weights: load them first"
                " (model.to_empty(device='cpu'), then load_state_dict)"
            )
