"""Write a compiled model to a `.symc` file and read its parts back.

| member | holds |
|---|---|
| manifest.json | versions, capture, the model under "about" (see `model_rows`), caller's notes |
| outcomes.json | rewrite or refusal of each region, with fronts and fidelity |
| graph.json | the model around the regions, see `symcompile.aten.document` |
| tensors.safetensors | its parameters, buffers and constants |
| original.safetensors | those that the original has with other values |
| neural/0.json, .safetensors | the neural block of the first region, and so on |
| blocks.json, .safetensors | tensors of the blocks that are in the hybrid now |
| example.json, .safetensors | the batch that everything was traced with |
| recording.json, .safetensors | what the regions saw and gave, where it was asked for |

The file is compared with the model before it is kept. Reading builds modules from checked data and
runs none of them.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from symcompile._version import __version__
from symcompile.aten.decode import StoredGraph, decode
from symcompile.aten.hybrid import stored_graphs
from symcompile.aten.signature import check_signature
from symcompile.aten.values import decode_value, encode_value
from symcompile.errors import ArtifactError, shown
from symcompile.fidelity.outcome import Hybrid, Outcome, Refusal, Rewrite, check_constants
from symcompile.modules.calling import Batch, map_tensors, submodule_path
from symcompile.modules.region import Region
from symcompile.modules.state import deepcopy, same_random_state
from symcompile.storage import container
from symcompile.storage.model_rows import example_of, model_row
from symcompile.storage.older import outcomes_of_format_1
from symcompile.storage.outcomes import outcome_from_json, outcome_to_json, region_to_json
from symcompile.storage.reading import at, reading, said
from symcompile.storage.recording import Recording
from symcompile.storage.verification import differences

State = Mapping[str, torch.Tensor]
# The document of a member, and its tensors; None where it has none.
Member = tuple[Any, Mapping[str, torch.Tensor] | None]


class Empty(nn.Module):
    """Where the block of a rewritten region belongs; calling it is an error."""

    def forward(self, *args: object, **kwargs: object) -> object:
        raise ArtifactError("the block of a region was called before it was put in its place")


@dataclass(frozen=True)
class Loaded:
    """The parts of an artifact.

    Attributes:
        module: the hybrid; an `Empty` stands in the place of each rewritten region, neural blocks
            are there.
        root: the original model with its neural blocks; None if they were not saved.
        outcomes: by region path.
        example: the batch that it was traced with.
        capture: how the model was captured when it was compiled.
        blocks: parameters and buffers of each rewritten region's block when it was saved.
        recording: what was recorded, or None.
        notes: what the caller had to say, as plain data.
        differences: what the loaded model does otherwise than the one that was saved: sentences,
            none in most cases.
    """

    module: nn.Module
    root: nn.Module | None
    outcomes: Mapping[str, Outcome]
    example: Batch
    capture: str
    blocks: Mapping[str, State] = field(default_factory=dict)
    recording: Recording | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    differences: tuple[str, ...] = ()


# --- writing ---------------------------------------------------------------------------------


@same_random_state()
def write(
    path: str | os.PathLike[str],
    hybrid: Hybrid,
    root: nn.Module | None = None,
    *,
    example: Batch | None = None,
    recording: Recording | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write an artifact.

    Args:
        hybrid, root: what is stored, and the original for `restore` after loading; not changed.
        example: a batch to trace the model with, instead of the hybrid's own. Neither is needed
            where the region is the whole model.

    Warns where a loaded model will differ from this one in training. Raises ArtifactError if the
    model's forward can't be stored (which operator or argument it is about is named), if a constant
    is not finite, if what was stored computes something else, or if the file can't be written.
    """
    module, outcomes, capture = hybrid.module, hybrid.outcomes, hybrid.capture
    check_constants(outcomes, ArtifactError)
    outcomes, recording = _storable(outcomes, recording)
    example = example_of(example or hybrid.example, outcomes, module)
    if example is None:
        raise ArtifactError(
            "the model was compiled without sample data of its own, so it can't be traced:"
            " pass a batch, save(path, example=batch)"
        )
    batch = map_tensors(lambda tensor: tensor.detach().to("cpu"), example)
    original = None if root is None else _on_the_cpu(root)
    facts, members = _contents(_on_the_cpu(module), original, outcomes, batch, capture, recording)
    for difference in facts["differences"]:
        warnings.warn(f"{os.fspath(path)}: {difference}", stacklevel=3)
    head = {"symcompile": __version__, "model": _class_name(module), "capture": capture}
    manifest = {**head, **facts, "notes": dict(notes or {})}
    documents = {name: content for name, (content, _) in members.items() if content is not None}
    tensors = {name: content for name, (_, content) in members.items() if content is not None}
    return container.write(path, manifest, documents, tensors)


def _contents(
    module: nn.Module,
    root: nn.Module | None,
    outcomes: Mapping[str, Outcome],
    batch: Batch,
    capture: str,
    recording: Recording | None,
) -> tuple[dict[str, Any], dict[str, Member]]:
    """What the manifest tells of a model on the CPU, and the members that hold it."""
    graph, regions, neural = stored_graphs(module, root, outcomes, batch)
    rows = {}
    for path, outcome in outcomes.items():
        with at(f"block {path!r}"):
            rows[path] = outcome_to_json(outcome)
    facts = {
        "about": model_row(module, batch, capture, graph, outcomes),
        "neural": list(neural),
        "original": root is not None,
        "differences": differences(module, graph, regions, batch),
    }
    return facts, {
        "blocks": _blocks(module, regions),
        "example": _packed(batch),
        "graph": (graph.document, None),
        "original": (None, {} if root is None else _changed(root, graph)),
        "outcomes": (rows, None),
        "tensors": (None, graph.tensors),
        **{
            f"neural/{k}": (block.document, block.tensors)
            for k, block in enumerate(neural.values())
        },
        **({} if recording is None else {"recording": recording.pack()}),
    }


def _on_the_cpu(module: nn.Module) -> nn.Module:
    """The module itself where it is on the CPU, else a copy that is."""
    devices = {tensor.device.type for tensor in (*module.parameters(), *module.buffers())}
    return module if devices <= {"cpu"} else deepcopy(module, module).to("cpu")


def _storable(
    outcomes: Mapping[str, Outcome], recording: Recording | None
) -> tuple[dict[str, Outcome], Recording | None]:
    """Of a region that stayed neural and that a file can't describe, since it receives objects
    beside its tensors, the reason alone."""
    storable_outcomes = dict(outcomes)
    for path, outcome in outcomes.items():
        if not isinstance(outcome, Refusal) or outcome.region is None:
            continue
        try:
            region_to_json(outcome.region)
        except ArtifactError:
            storable_outcomes[path] = Refusal(path, outcome.reason)
            recording = None if recording is None else recording.without(path, outcome.reason)
    return storable_outcomes, recording


def _class_name(module: nn.Module) -> str:
    name = type(module).__name__
    return name if re.fullmatch(r"[A-Za-z]\w{0,99}", name) else "Model"


def _changed(original: nn.Module, graph: StoredGraph) -> dict[str, torch.Tensor]:
    """Tensors of the original that the hybrid has with other values, by their name in the graph."""
    state: dict[str, torch.Tensor] = {
        **dict(original.named_parameters(remove_duplicate=False)),
        **dict(original.named_buffers(remove_duplicate=False)),
    }
    return {
        key: state[key].detach()
        for key, tensor in graph.tensors.items()
        if key in state and not torch.equal(state[key].detach(), tensor)
    }


def _blocks(module: nn.Module, regions: Mapping[str, Region]) -> Member:
    """Parameters and buffers of the blocks that are in the hybrid now."""
    rows: dict[str, dict[str, str]] = {}
    tensors: dict[str, torch.Tensor] = {}
    for path in regions:
        block = module.get_submodule(submodule_path(path))
        rows[path] = {}
        for name, tensor in (*block.named_parameters(), *block.named_buffers()):
            rows[path][name] = str(len(tensors))
            tensors[rows[path][name]] = tensor.detach()
    return rows, tensors


def _packed(batch: Batch) -> Member:
    tensors: dict[str, torch.Tensor] = {}

    def leaf(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return NotImplemented
        tensors[str(len(tensors))] = value.detach()
        return {"tensor": str(len(tensors) - 1)}

    return [encode_value(tuple(batch.args), leaf), encode_value(dict(batch.kwargs), leaf)], tensors


# --- reading ---------------------------------------------------------------------------------


class Artifact(container.Archive):
    """An open artifact, each part of it checked when it is read."""

    @cached_property
    def graph(self) -> StoredGraph:
        """The model around the regions."""
        document = self.document("graph")
        if type(document) is not dict:
            raise ArtifactError("graph: it is not the JSON object of a graph")
        check_signature(document)
        return StoredGraph(document, self.tensors("tensors"))

    @cached_property
    def states(self) -> dict[str, State]:
        """Parameters and buffers of the blocks that are in the hybrid, by region path."""
        tensors = self.tensors("blocks")
        return {
            path: {name: tensors[key] for name, key in row.items()}
            for path, row in self.document("blocks").items()
        }

    @cached_property
    def outcome_rows(self) -> dict[str, Any]:
        rows = self.document("outcomes")
        if type(rows) is not dict:
            raise ArtifactError("outcomes.json is not an object")
        return outcomes_of_format_1(rows) if self.manifest["format"] == 1 else rows

    def outcomes(self, *, fronts: bool = True) -> dict[str, Outcome]:
        """By region path, with or without their fronts; ArtifactError names one that is none."""
        outcomes = {}
        for path, row in self.outcome_rows.items():
            with at(f"outcome of {shown(path)}"):
                outcomes[path] = outcome_from_json(row, fronts=fronts)
                if outcomes[path].path != path:
                    raise ArtifactError(f"it is that of {shown(outcomes[path].path)}")
        return outcomes

    def neural(self, path: str) -> StoredGraph:
        """The neural block of a region."""
        member = f"neural/{self.manifest['neural'].index(path)}"
        return StoredGraph(self.document(member), self.tensors(member))


def outcomes(path: str | os.PathLike[str]) -> tuple[dict[str, Outcome], dict[str, Any]]:
    """The outcomes and the manifest of an artifact, without its model."""
    with reading(path), Artifact(path) as archive:
        _ = archive.graph
        return archive.outcomes(), archive.manifest


def read(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Loaded:
    """Read an artifact onto a device.

    Raises ArtifactError if the file is missing, damaged, or written by a newer version.
    """
    try:
        place = torch.empty(0, device=torch.device(device)).device
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ArtifactError(
            f"device is {device!r}, which this torch can't use ({said(error)}): pass device='cpu'"
        ) from error
    with reading(path), Artifact(path) as archive:
        return _loaded(archive, place)


def _loaded(archive: Artifact, device: torch.device) -> Loaded:
    manifest, outcomes = archive.manifest, archive.outcomes()
    states, name = archive.states, manifest["model"]
    rewrites = {path for path, outcome in outcomes.items() if isinstance(outcome, Rewrite)}
    regions = [path for path, outcome in outcomes.items() if outcome.region is not None]
    # A region that stayed neural may be part of the graph.
    paths = [path for path in regions if path in rewrites or path in states]

    def neural(path: str) -> nn.Module:
        return decode(archive.neural(path), device=device, name="NeuralBlock")

    blocks: dict[str, nn.Module] = {}
    for path in paths:
        blocks[path] = Empty() if path in rewrites else neural(path)
        if path not in rewrites:
            blocks[path].load_state_dict(dict(states[path]), strict=False)
    root = None
    if manifest["original"]:
        root = neural(".") if paths == ["."] else _original(archive, paths, neural, device, name)
    recording = None
    if "recording.json" in archive.names:
        header, tensors = archive.document("recording"), archive.tensors("recording")
        recording = Recording.unpack(header, tensors)
    return Loaded(
        module=decode(archive.graph, blocks, device=device, name=name),
        root=root,
        outcomes=outcomes,
        example=_example_of(archive, device),
        capture=str(manifest["capture"]),
        blocks={path: states[path] for path in paths if path in rewrites},
        recording=recording,
        notes=dict(manifest["notes"]),
        differences=tuple(map(str, manifest["differences"])),
    )


def _original(
    archive: Artifact,
    paths: list[str],
    neural: Callable[[str], nn.Module],
    device: torch.device,
    name: str,
) -> nn.Module:
    tensors = {key: tensor.clone() for key, tensor in archive.graph.tensors.items()}
    stored = StoredGraph(archive.graph.document, tensors | archive.tensors("original"))
    return decode(stored, {path: neural(path) for path in paths}, device=device, name=name)


def _example_of(archive: Artifact, device: torch.device) -> Batch:
    tensors = archive.tensors("example")

    def leaf(data: dict[str, Any]) -> Any:
        return tensors[data["tensor"]].to(device) if set(data) == {"tensor"} else NotImplemented

    args, kwargs = (decode_value(packed, leaf, device) for packed in archive.document("example"))
    return Batch(tuple(args), dict(kwargs))
