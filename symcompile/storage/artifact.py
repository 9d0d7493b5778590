"""Write a compiled model to a `.symc` file and read its parts back.

| member | holds |
|---|---|
| manifest.json | versions, capture, the model under "about" (see `model`), caller's notes |
| outcomes.json | rewrite or refusal of each region, with fronts and fidelity |
| graph.json | the model around the regions, see `symcompile.aten.graph` |
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from symcompile._version import __version__
from symcompile.aten.around import stored_graphs
from symcompile.aten.decode import StoredGraph, decode
from symcompile.aten.signature import check_signature
from symcompile.aten.values import decode_value, encode_value
from symcompile.errors import ArtifactError, shown
from symcompile.fidelity.outcome import Outcome, Refusal, Rewrite, check_constants
from symcompile.modules.calling import Batch, map_tensors, submodule_path
from symcompile.modules.region import Region
from symcompile.modules.state import deepcopy, same_random_state
from symcompile.storage import container
from symcompile.storage.check import differences
from symcompile.storage.model import example_of, model_row
from symcompile.storage.older import outcomes_of_format_1
from symcompile.storage.outcomes import outcome_from_json, outcome_to_json, region_to_json
from symcompile.storage.reading import part, reading, said
from symcompile.storage.recording import Recording

State = Mapping[str, torch.Tensor]


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
    *,
    module: nn.Module,
    root: nn.Module | None,
    outcomes: Mapping[str, Outcome],
    example: Batch | None,
    capture: str,
    recording: Recording | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write an artifact.

    Args:
        module: the hybrid. Neither it nor `root` is changed.
        root: the original; without it `restore` is not possible after loading.
        example: a batch to trace the model with; may be None where the region is the whole model.

    Warns where a loaded model will differ from this one in training. Raises ArtifactError if the
    model's forward can't be stored (which operator or argument it is about is named), if a constant
    is not finite, if what was
    stored computes something else, or if the file can't be written.
    """
    check_constants(outcomes, ArtifactError)
    outcomes, recording = _storable(outcomes, recording)
    given = example_of(example, outcomes, module)
    if given is None:
        raise ArtifactError(
            "the model was compiled without sample data of its own, so it can't be traced:"
            " pass a batch, save(path, example=batch)"
        )
    batch = _on_cpu(given)
    with _on_the_cpu(module) as plain, _on_the_cpu(root) as original:
        assert plain is not None
        graph, regions, neural = stored_graphs(plain, original, outcomes, batch)
        found = differences(plain, graph, regions, batch)
        documents, tensors = _blocks(plain, regions)
        changed = {} if original is None else _changed(original, graph)
        about = model_row(plain, batch, capture, graph)
    documents |= {
        "graph": graph.document,
        "outcomes": {name: _outcome(name, outcome) for name, outcome in outcomes.items()},
    }
    tensors |= {"tensors": graph.tensors, "original": changed}
    for number, name in enumerate(neural):
        documents[f"neural/{number}"] = neural[name].document
        tensors[f"neural/{number}"] = neural[name].tensors
    documents["example"], tensors["example"] = _pack_batch(batch)
    if recording is not None:
        documents["recording"], tensors["recording"] = recording.pack()
    manifest = {
        "symcompile": __version__,
        "model": _class_name(module),
        "capture": capture,
        "about": about,
        "neural": list(neural),
        "original": root is not None,
        "differences": found,
        "notes": dict(notes or {}),
    }
    for difference in found:
        warnings.warn(f"{os.fspath(path)}: {difference}", stacklevel=3)
    return container.write(path, manifest, documents, tensors)


@contextmanager
def _on_the_cpu(module: nn.Module | None) -> Iterator[nn.Module | None]:
    """The module itself where it is on the CPU, else a copy that is."""
    devices = (
        {t.device.type for t in (*module.parameters(), *module.buffers())} if module else set()
    )
    if module is None or devices <= {"cpu"}:
        yield module
        return
    yield deepcopy(module, module).to("cpu")


def _on_cpu(batch: Batch) -> Batch:
    return map_tensors(lambda t: t.detach().to("cpu"), batch)


def _storable(
    outcomes: Mapping[str, Outcome], recording: Recording | None
) -> tuple[dict[str, Outcome], Recording | None]:
    """Of a region that stayed neural and that a file can't describe, since it receives objects
    beside its tensors, the reason alone."""
    found = dict(outcomes)
    for path, one in outcomes.items():
        if not isinstance(one, Refusal) or one.region is None:
            continue
        try:
            region_to_json(one.region)
        except ArtifactError:
            found[path] = Refusal(path, one.reason)
            recording = None if recording is None else recording.without(path, one.reason)
    return found, recording


def _outcome(path: str, outcome: Outcome) -> Any:
    try:
        return outcome_to_json(outcome)
    except ArtifactError as error:
        raise ArtifactError(f"block {path!r}: {error}") from error


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


def _blocks(
    module: nn.Module, regions: Mapping[str, Region]
) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]]:
    """Parameters and buffers of the blocks that are in the hybrid now."""
    rows: dict[str, dict[str, str]] = {}
    tensors: dict[str, torch.Tensor] = {}
    for path in regions:
        block = module.get_submodule(submodule_path(path))
        rows[path] = {}
        for name, tensor in (*block.named_parameters(), *block.named_buffers()):
            rows[path][name] = str(len(tensors))
            tensors[rows[path][name]] = tensor.detach()
    return {"blocks": rows}, {"blocks": tensors}


def _pack_batch(batch: Batch) -> tuple[Any, dict[str, torch.Tensor]]:
    tensors: dict[str, torch.Tensor] = {}

    def leaf(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return NotImplemented
        tensors[str(len(tensors))] = value.detach()
        return {"tensor": str(len(tensors) - 1)}

    return [encode_value(tuple(batch.args), leaf), encode_value(dict(batch.kwargs), leaf)], tensors


# --- reading ---------------------------------------------------------------------------------


def read(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Loaded:
    """Read an artifact onto a device.

    Raises ArtifactError if the file is missing, damaged, or written by a newer version.
    """
    place = _usable(device)
    with reading(path), container.Archive(path) as archive:
        return _read(archive, place)


def _usable(device: torch.device | str) -> torch.device:
    try:
        return torch.empty(0, device=torch.device(device)).device
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ArtifactError(
            f"device is {device!r}, which this torch can't use ({said(error)}): pass device='cpu'"
        ) from error


def outcomes(path: str | os.PathLike[str]) -> tuple[dict[str, Outcome], dict[str, Any]]:
    """The outcomes and the manifest of an artifact, without its model."""
    with reading(path), container.Archive(path) as archive:
        check_signature(graph_document(archive))
        return read_outcomes(archive), archive.manifest


def graph_document(archive: container.Archive) -> Any:
    """What the graph of an open artifact says, checked to be an object."""
    document = archive.document("graph")
    if type(document) is not dict:
        raise ArtifactError("graph: it is not the JSON object of a graph")
    return document


def _read(archive: container.Archive, device: torch.device) -> Loaded:
    manifest, found = archive.manifest, read_outcomes(archive)
    graph = StoredGraph(graph_document(archive), archive.tensors("tensors"))
    states = _block_states(archive)
    # A region that stayed neural may be part of the graph.
    paths = [path for path, outcome in found.items() if outcome.region is not None]
    paths = [path for path in paths if path in states or isinstance(found[path], Rewrite)]
    neural = _Neural(archive, device)
    blocks: dict[str, nn.Module] = {}
    for path in paths:
        rewritten = isinstance(found[path], Rewrite)
        blocks[path] = Empty() if rewritten else neural.block(path, states[path])
    name = manifest["model"]
    has_recording = "recording.json" in archive.names
    return Loaded(
        module=decode(graph, blocks, device=device, name=name),
        root=_original(archive, graph, paths, neural, name) if manifest["original"] else None,
        outcomes=found,
        example=_example_of(archive, device),
        capture=str(manifest["capture"]),
        blocks={path: states[path] for path in paths if isinstance(found[path], Rewrite)},
        recording=Recording.unpack(archive.document("recording"), archive.tensors("recording"))
        if has_recording
        else None,
        notes=dict(manifest["notes"]),
        differences=tuple(map(str, manifest["differences"])),
    )


def read_outcomes(archive: container.Archive, *, fronts: bool = True) -> dict[str, Outcome]:
    """The outcomes in an open artifact, by region path, with or without their fronts.

    Raises ArtifactError naming the region whose outcome is none.
    """
    found = {}
    for path, data in _outcome_rows(archive).items():
        with part(f"outcome of {shown(path)}"):
            found[path] = outcome_from_json(data, fronts=fronts)
            if found[path].path != path:
                raise ArtifactError(f"it is that of {shown(found[path].path)}")
    return found


def _outcome_rows(archive: container.Archive) -> dict[str, Any]:
    document = archive.document("outcomes")
    if type(document) is not dict:
        raise ArtifactError("outcomes.json is not an object")
    return outcomes_of_format_1(document) if archive.manifest["format"] == 1 else document


def programs(archive: container.Archive) -> Iterator[tuple[str, Any]]:
    """Programs of the chosen equations of an open artifact, each with its place."""
    for path, row in _outcome_rows(archive).items():
        for output, equation in row.get("equations", {}).items():
            yield f"region {path!r}, output {output}", equation["program"]


class _Neural:
    """The neural blocks of an artifact, decoded when asked for."""

    def __init__(self, archive: container.Archive, device: torch.device) -> None:
        self.archive, self.device = archive, device
        self.numbers = {path: number for number, path in enumerate(archive.manifest["neural"])}

    def block(self, path: str, state: State | None = None) -> nn.Module:
        """The block at a path, with other values of its parameters and buffers if given."""
        member = f"neural/{self.numbers[path]}"
        graph = StoredGraph(self.archive.document(member), self.archive.tensors(member))
        block = decode(graph, device=self.device, name="NeuralBlock")
        if state is not None:
            block.load_state_dict(dict(state), strict=False)
        return block


def _original(
    archive: container.Archive,
    graph: StoredGraph,
    paths: list[str],
    neural: _Neural,
    name: str,
) -> nn.Module:
    if paths == ["."]:
        return neural.block(".")
    tensors = {key: tensor.clone() for key, tensor in graph.tensors.items()}
    stored = StoredGraph(graph.document, tensors | archive.tensors("original"))
    blocks = {path: neural.block(path) for path in paths}
    return decode(stored, blocks, device=neural.device, name=name)


def _block_states(archive: container.Archive) -> dict[str, State]:
    rows, tensors = archive.document("blocks"), archive.tensors("blocks")
    return {path: {name: tensors[key] for name, key in row.items()} for path, row in rows.items()}


def _example_of(archive: container.Archive, device: torch.device) -> Batch:
    tensors = archive.tensors("example")

    def leaf(data: dict[str, Any]) -> Any:
        return tensors[data["tensor"]].to(device) if set(data) == {"tensor"} else NotImplemented

    args, kwargs = (decode_value(part, leaf, device) for part in archive.document("example"))
    return Batch(tuple(args), dict(kwargs))
