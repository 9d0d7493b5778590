"""Recordings: what the regions of a model saw and gave, in memory and as a safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from symcompile.errors import ArtifactError, DataError, StaleRecordingError, shown
from symcompile.expressions.evaluation import Array
from symcompile.modules.calling import Batch
from symcompile.modules.region import Region
from symcompile.modules.samples import NO_BATCHES, Samples
from symcompile.modules.state import fingerprint
from symcompile.storage.codecs import MAX_DEPTH, TEXT, Codec, by_name, integer, listed
from symcompile.storage.files import opened, replacing, size
from symcompile.storage.outcomes import region_from_json, region_to_json
from symcompile.storage.reading import at, from_json, reading
from symcompile.storage.tensors import read_tensors

# 1 had samples of float32 blocks in float64; both are read.
FORMAT = 2
# Of each region's samples; the last two may be missing.
_ARRAYS = ("X", "Y", "holdout", "weights", "metric")
_KEY = "symcompile.recording"
# How the names of their tensors begin.
_SAMPLES = "samples/"
_HEADER = {
    "regions": by_name(Codec(region_to_json, region_from_json), place="{}"),
    "refused": by_name(TEXT),
    **dict.fromkeys(("batches_are", "fingerprint", "capture", "note"), TEXT),
    "seed": integer(-(2**63)),
}


@dataclass(frozen=True)
class Recording:
    """What the regions of a model saw and gave while data ran through it.

    Attributes:
        regions, samples: by region path.
        refused: reason of each region that can't be replaced, by path.
        batches: inputs of the whole model that no fit has seen, for end-to-end figures.
        batches_are: what `batches` are: "held-out batches", "held-out rows", "recorded batches".
        fingerprint: hash of the model's weights, "" for a recording that has no model.
        capture: how the model was captured.
        note: why it was not captured by torch.fx.
        seed: seed of sampling and split.
    """

    regions: Mapping[str, Region]
    samples: Mapping[str, Samples]
    refused: Mapping[str, str] = field(default_factory=dict)
    batches: tuple[Batch, ...] = ()
    batches_are: str = NO_BATCHES
    fingerprint: str = ""
    capture: str = ""
    note: str = ""
    seed: int = 0

    def __getitem__(self, path: str) -> Samples:
        if path not in self.samples:
            recorded = ", ".join(self.samples) or "none"
            raise DataError(f"no recording of {path!r}: there are {recorded}")
        return self.samples[path]

    @property
    def X(self) -> Array:
        """Inputs [n_samples, n_inputs] of the only region."""
        return self._only().X

    @property
    def Y(self) -> Array:
        """Outputs [n_samples, n_outputs] of the only region."""
        return self._only().Y

    def _only(self) -> Samples:
        if len(self.samples) != 1:
            raise DataError(
                f"the recording has {len(self.samples)} regions ({', '.join(self.samples)}):"
                " name one, recording['path'].X"
            )
        return next(iter(self.samples.values()))

    def check(self, model: nn.Module) -> None:
        """Raise StaleRecordingError unless the model has the weights that were recorded."""
        if self.fingerprint and self.fingerprint != fingerprint(model):
            raise StaleRecordingError(
                "the recording was made with other weights than the model has now:"
                " record again with symcompile.record(model, targets, data)"
            )

    def without(self, path: str, reason: str) -> Recording:
        """The recording with one region refused."""
        return replace(
            self,
            regions={p: region for p, region in self.regions.items() if p != path},
            samples={p: samples for p, samples in self.samples.items() if p != path},
            refused={**self.refused, path: reason},
        )

    def pack(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """The recording as plain JSON and the tensors that it names."""
        tensors: dict[str, torch.Tensor] = {}
        for path, samples in self.samples.items():
            for name in _ARRAYS:
                array = getattr(samples, name)
                if array is not None:
                    tensors[f"{_SAMPLES}{path}/{name}"] = _narrow(array)
        batches = [
            {"args": _store(batch.args, tensors), "kwargs": _store(batch.kwargs, tensors)}
            for batch in self.batches
        ]
        members = {key: codec.write(getattr(self, key)) for key, codec in _HEADER.items()}
        return {"format": FORMAT, **members, "batches": batches}, tensors

    @classmethod
    def unpack(cls, header: Any, tensors: Mapping[str, torch.Tensor]) -> Recording:
        """Read `pack` back; ArtifactError if it is damaged."""
        with at("its recording"):
            return _unpack(header, tensors)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a safetensors file; ArtifactError if that can't be done."""
        from safetensors.torch import save_file

        header, tensors = self.pack()
        with replacing(path, what="recording ") as draft:
            try:
                save_file(tensors, draft, metadata={_KEY: json.dumps(header)})
            except Exception as error:  # safetensors' own error class derives from Exception alone
                raise OSError(str(error)) from error
        return Path(os.fsdecode(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read what `save` wrote; ArtifactError if it is missing or damaged."""
        with reading(path, "recording"), opened(path) as file:
            tensors, metadata = read_tensors(file, size(file))
            if _KEY not in metadata:
                raise ArtifactError(
                    "it is no recording: its header does not tell what was recorded"
                )
            with at("what its header tells"):
                header = from_json(metadata[_KEY].encode())
            return cls.unpack(header, tensors)


def _unpack(header: Any, tensors: Mapping[str, torch.Tensor]) -> Recording:
    if type(header) is not dict or header.get("format") not in range(1, FORMAT + 1):
        version = header.get("format") if type(header) is dict else header
        raise ArtifactError(f"recording of format {shown(version)}: expected up to {FORMAT}")
    members = {}
    for key, codec in _HEADER.items():
        with at(key):
            members[key] = codec.read(header.get(key))
    for path, region in members["regions"].items():
        if region.path != path:
            raise ArtifactError(f"region {shown(path)} is {shown(region.path)}")
    return Recording(
        samples={
            path: _unpack_samples(path, region, tensors)
            for path, region in members["regions"].items()
        },
        batches=tuple(_unpack_batch(row, tensors) for row in listed(header.get("batches"))),
        **members,
    )


def _unpack_batch(data: Any, tensors: Mapping[str, torch.Tensor]) -> Batch:
    with at("a batch"):
        args, kwargs = (_restore(data[key], tensors) for key in ("args", "kwargs"))
        if type(args) not in (tuple, list) or type(kwargs) is not dict:
            raise ArtifactError("its arguments are no list and no object")
        return Batch(tuple(args), kwargs)


def _unpack_samples(path: str, region: Region, tensors: Mapping[str, torch.Tensor]) -> Samples:
    places = {name: f"{_SAMPLES}{path}/{name}" for name in _ARRAYS}
    arrays = {n: _widened(tensors[key]) for n, key in places.items() if key in tensors}
    for name in ("X", "Y", "holdout"):
        if name not in arrays:
            raise ArtifactError(f"it does not hold {shown(places[name])}")
    count = len(arrays["X"]) if arrays["X"].ndim else 0
    n_in, n_out = region.interface.n_inputs, region.interface.n_outputs
    shapes = {"X": [count, n_in], "Y": [count, n_out], "metric": [n_out, n_out]}
    for name, array in arrays.items():
        shape = shapes.get(name, [count])
        kind = np.dtype(np.bool_ if name == "holdout" else np.float64)
        if list(array.shape) != shape or array.dtype != kind or not np.isfinite(array).all():
            raise ArtifactError(
                f"{name} of {path!r} is {array.dtype} {list(array.shape)}, expected finite"
                f" {kind.name} {shape}"
            )
    return Samples(**arrays)


def _narrow(array: Array) -> torch.Tensor:
    """Of a float32 block in that type, which is half as large and loses nothing."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if tensor.dtype != torch.float64:
        return tensor
    narrow = tensor.float()
    return narrow if torch.equal(narrow.double(), tensor) else tensor


def _widened(tensor: torch.Tensor) -> Array:
    return (tensor.double() if tensor.dtype == torch.float32 else tensor).numpy()


def _store(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Nested values as JSON; tensors go into the table and leave their name."""
    if isinstance(value, torch.Tensor):
        name = f"batches/{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name, "requires_grad": value.requires_grad}
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_store(v, tensors) for v in value]}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ArtifactError(f"can't store a batch with keys {list(value)}: expected text")
        return {"dict": {key: _store(item, tensors) for key, item in value.items()}}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise ArtifactError(f"can't store a batch that holds a {type(value).__name__}")


def _restore(data: Any, tensors: Mapping[str, torch.Tensor], depth: int = 0) -> Any:
    if depth > MAX_DEPTH or type(data) is not dict or not data:
        raise ArtifactError(f"found {shown(data)}, {depth} deep, expected a stored value")
    kind, value = next(iter(data.items()))
    if kind == "tensor":
        return tensors[value].requires_grad_(data["requires_grad"] is True)
    if kind in ("tuple", "list"):
        items = [_restore(v, tensors, depth + 1) for v in listed(value)]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict" and type(value) is dict:
        return {key: _restore(item, tensors, depth + 1) for key, item in value.items()}
    if kind == "value" and (value is None or isinstance(value, (bool, int, float, str))):
        return value
    raise ArtifactError(f"a batch holds {kind!r}: expected tensors and plain values")
