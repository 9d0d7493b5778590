"""The model as a whole, see `rows.ModelRow`: arguments, results, weights, and what it gives.

Manifests and artifacts hold the same, so that a comparison reads the same from both.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from symcompile.aten.decode import StoredGraph, StoredModel
from symcompile.aten.signature import arguments_of
from symcompile.aten.sizes import BATCH, dtype_name, place_of, plain_leaf
from symcompile.fidelity.outcome import Outcome, Rewrite
from symcompile.lowering.codegen import NEURAL
from symcompile.modules.calling import (
    Batch,
    evaluating,
    home,
    result_places,
    rows,
    run,
    submodule_path,
    take,
    without_gradients,
)
from symcompile.modules.region_call import arguments
from symcompile.modules.state import preserving, same_random_state

Json = dict[str, Any]

PROBE_ROWS = 4
PROBE_VALUES = 32
# Sums are rounded otherwise on another processor: what lies below is not the model's.
_DIGITS = {torch.float64: 12, torch.complex128: 12, torch.float32: 6, torch.complex64: 6}
_HALF_DIGITS = 3


def model_row(
    module: nn.Module, example: Batch | None, capture: str, graph: StoredGraph | None
) -> Json:
    """Class, arguments, results and probes of a model.

    Sizes have names where `graph` leaves them free; without one, where the model runs on fewer
    rows. Inputs, outputs and probes are None or left out where there is no example, or the model
    can't run on it.
    """
    known = {} if graph is None else graph.document["shapes"]
    row: Json = {"class": type(module).__name__, "capture": capture}
    row["parameters"] = sum(parameter.numel() for parameter in module.parameters())
    if example is None:
        return row | {"inputs": None, "outputs": None}
    runs = _Runs(module, example)
    inputs = dict(_inputs(runs, known.get("inputs")))
    outputs = known.get("outputs") or runs.outputs()
    row |= {"inputs": inputs, "outputs": outputs, "arguments": list(inputs)}
    row["results"] = None if outputs is None else list(outputs)
    probes = runs.probes()
    return row if probes is None else {**row, "probes": probes}


def example_of(
    example: Batch | None, outcomes: Mapping[str, Outcome], module: nn.Module
) -> Batch | None:
    """The example of a hybrid; without one, points of a region that is the whole model.

    None where there is neither.
    """
    whole = outcomes.get(".")
    if example is not None or whole is None or whole.region is None:
        return example
    region = whole.region
    points = whole.probes[:4] if isinstance(whole, Rewrite) and len(whole.probes) > 1 else ()
    device, _ = home(module)
    dtype = getattr(torch, region.dtype)
    grid = torch.tensor(
        points or [[0.5] * region.interface.n_inputs] * 4, dtype=dtype, device=device
    )
    return Batch(*arguments(region.interface, region.settings, grid))


# --- what runs -------------------------------------------------------------------------------


class _Runs:
    """Results of a model on its example, and on the first rows of it where it takes them."""

    def __init__(self, module: nn.Module, example: Batch) -> None:
        self.module, self.example, self.count = module, example, rows(example)
        self.whole = self.few = self.attempt(example)
        self.given = example
        found = self.first(PROBE_ROWS) if (self.count or 0) > PROBE_ROWS else None
        if found is not None:
            self.few, self.given = found, take(example, torch.arange(PROBE_ROWS))

    def first(self, count: int) -> list[tuple[str, Any]] | None:
        return self.attempt(take(self.example, torch.arange(count)))

    def attempt(self, batch: Batch) -> list[tuple[str, Any]] | None:
        """Place and value of every result; None if the model can't run."""
        with same_random_state(), preserving(self.module), evaluating(self.module):
            torch.manual_seed(0)
            try:
                return list(result_places(without_gradients(lambda: run(self.module, batch))))
            except Exception:  # whatever a user's forward raises
                return None

    @cached_property
    def free(self) -> bool:
        """Whether the model takes fewer rows, and then gives fewer."""
        fewer = None if self.count in (None, 0, 1) else self.first(self.count - 1)  # type: ignore[operator]
        if fewer is None or self.whole is None:
            return False
        return all(
            b.shape[:1] == (self.count - 1,)  # type: ignore[operator]
            for (_, a), (_, b) in zip(self.whole, fewer, strict=False)
            if isinstance(a, torch.Tensor) and a.shape[:1] == (self.count,)
            if isinstance(b, torch.Tensor)
        )

    def described(self, value: Any) -> list[Any]:
        if not isinstance(value, torch.Tensor):
            return plain_leaf(value)
        sizes: list[Any] = list(value.shape)
        if sizes and sizes[0] == self.count and self.free:
            sizes[0] = BATCH
        return [dtype_name(value.dtype), *sizes]

    def outputs(self) -> Json | None:
        found = self.whole
        return None if found is None else {place: self.described(leaf) for place, leaf in found}

    def probes(self) -> Json | None:
        if self.few is None:
            return None
        return {
            "rows": rows(self.given),
            "inputs": _digest_of(_arguments(self.module, self.given)),
            "outputs": {
                place: _values(leaf) for place, leaf in self.few if isinstance(leaf, torch.Tensor)
            },
        }


def _inputs(runs: _Runs, known: Mapping[str, Any] | None) -> Iterator[tuple[str, list[Any]]]:
    for place, leaf in _arguments(runs.module, runs.example):
        found = (known or {}).get(place) if isinstance(leaf, torch.Tensor) else None
        yield place, found or runs.described(leaf)


def _arguments(module: nn.Module, example: Batch) -> Iterator[tuple[str, Any]]:
    """Everything that is passed to the model, by the name of the parameter that takes it."""
    order = {name: k for k, name in enumerate(inspect.signature(module.forward).parameters)}
    named = sorted(example.kwargs, key=lambda name: (order.get(name, len(order)), name))
    for parameter, start, value in arguments_of(module, example, named):
        for path, leaf in pytree.tree_flatten_with_path(value)[0]:
            keys = [getattr(key, "idx", getattr(key, "key", str(key))) for key in path]
            yield place_of({"parameter": parameter, "keys": [*start, *keys]}), leaf


def _digest_of(given: Iterable[tuple[str, Any]]) -> str:
    digest = hashlib.sha256()
    for place, leaf in given:
        said = tensor_row(leaf) if isinstance(leaf, torch.Tensor) else plain_leaf(leaf)
        digest.update(f"{place}={said}\n".encode())
    return digest.hexdigest()[:16]


def _values(tensor: torch.Tensor) -> list[float | None]:
    digits = _DIGITS.get(tensor.dtype, _HALF_DIGITS if tensor.is_floating_point() else 17)
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    plain = torch.view_as_real(plain) if plain.is_complex() else plain
    values = plain.reshape(-1)[:PROBE_VALUES].double().tolist()
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]


# --- weights -------------------------------------------------------------------------------------


def weight_rows(
    module: nn.Module, outcomes: Mapping[str, Outcome], graph: StoredGraph | None
) -> Json:
    """Dtype, shape and digest of every weight outside of the equations and the neural blocks."""
    found = dict(_rest_of_blocks(module, outcomes))
    if graph is not None:
        found |= stored_weights(graph)
    else:
        paths = tuple(submodule_path(path) + "." for path, one in outcomes.items() if one.region)
        found |= {name: t for name, t in own_tensors(module) if not name.startswith(paths)}
    return {name: tensor_row(found[name]) for name in sorted(found)}


def stored_weights(graph: StoredGraph) -> dict[str, torch.Tensor]:
    """By name, tensors that the forward makes itself included."""
    return {row["name"]: graph.tensors[row["tensor"]] for row in graph.document["state"]}


def tensors_inside(graph: StoredGraph, path: str) -> dict[str, torch.Tensor]:
    """Those of `own_tensors` of a module that is part of a stored graph."""
    found: dict[str, torch.Tensor] = {}
    seen: set[str] = set()
    rows = [r for r in graph.document["state"] if r["name"].startswith(path + ".")]
    for row in sorted(rows, key=lambda row: bool(row["kind"] != "parameter")):
        if row["kind"] != "constant" and row["tensor"] not in seen:
            seen.add(row["tensor"])
            found[row["name"].removeprefix(path + ".")] = graph.tensors[row["tensor"]]
    return found


def _rest_of_blocks(
    module: nn.Module, outcomes: Mapping[str, Outcome]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights of what is left of a neural block beside its equations."""
    for path, outcome in outcomes.items():
        if isinstance(outcome, Rewrite):
            home = submodule_path(path)
            yield from rest_of_block(home, dict(own_tensors(module.get_submodule(home))))


def rest_of_block(
    home: str, state: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The same from the block's own tensors, by their names in the model."""
    yield from ((f"{home}.{k}", one) for k, one in state.items() if k.startswith(f"{NEURAL}."))


def tensor_row(tensor: torch.Tensor) -> list[Any]:
    return [dtype_name(tensor.dtype), list(tensor.shape), tensor_digest(tensor)]


def own_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers, tied ones once; not what a loaded model holds as its constants."""
    constants = _constants(module)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if name not in constants:
            yield name, tensor


def _constants(module: nn.Module) -> set[str]:
    origin = module.__dict__.get("_origin") if isinstance(module, StoredModel) else None
    return set() if origin is None else constants_of(origin.document)


def constants_of(document: Json) -> set[str]:
    """Names of the tensors in a graph document that are neither parameters nor buffers."""
    return {row["name"] for row in document["state"] if row["kind"] == "constant"}


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Of names, dtypes, shapes and values."""
    lines = [f"{name}:{state[name].dtype}:{list(state[name].shape)}:{tensor_digest(state[name])}"
             for name in sorted(state)]  # fmt: skip
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def tensor_digest(tensor: torch.Tensor) -> str:
    """Of the values; a tensor without dense values of its own has that of their description."""
    try:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        data = plain.view(torch.uint8).numpy().tobytes()
    except (NotImplementedError, RuntimeError):  # sparse, on the meta device, ...
        data = f"{tensor.layout} {tensor.dtype} {list(tensor.shape)}".encode()
    return hashlib.sha256(data).hexdigest()[:16]
