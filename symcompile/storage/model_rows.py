"""The model as a whole, see `schema.ModelRow`: arguments, results, weights, and what it gives.

Manifests and artifacts hold the same, so that a comparison reads the same from both.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from symcompile.aten.decode import StoredGraph, StoredModel
from symcompile.aten.sizes import BATCH, place_of, plain_leaf
from symcompile.fidelity.outcome import Outcome, Rewrite
from symcompile.lowering.codegen import NEURAL
from symcompile.modules.arguments import bind, export_order, parameters
from symcompile.modules.calling import (
    Batch,
    dtype_name,
    evaluating,
    home,
    result_places,
    rows,
    run,
    submodule_path,
    take,
    without_gradients,
)
from symcompile.modules.region_call import row_arguments
from symcompile.modules.state import preserving, same_random_state

Json = dict[str, Any]

PROBE_ROWS = 4
PROBE_VALUES = 32
# Sums are rounded otherwise on another processor: what lies below is not the model's.
_DIGITS = {torch.float64: 12, torch.complex128: 12, torch.float32: 6, torch.complex64: 6}
_HALF_DIGITS = 3


def model_row(
    module: nn.Module,
    example: Batch | None,
    capture: str,
    graph: StoredGraph | None,
    outcomes: Mapping[str, Outcome],
) -> Json:
    """Class, arguments, results and probes of a model, and how many parameters are neural in it.

    Sizes have names where `graph` leaves them free; without one, where the model runs on fewer
    rows. Inputs, outputs and probes are None or left out where there is no example, or the model
    can't run on it.
    """
    shapes = {} if graph is None else graph.document["shapes"]
    row: Json = {"class": type(module).__name__, "capture": capture}
    row["parameters"] = _neural_parameters(module, outcomes)
    if example is None:
        return row | {"inputs": None, "outputs": None}
    count, results = rows(example), _results(module, example)

    @cache
    def free() -> bool:
        return _takes_fewer(module, example, count, results)

    def described(leaf: Any) -> list[Any]:
        if not isinstance(leaf, torch.Tensor):
            return plain_leaf(leaf)
        sizes: list[Any] = list(leaf.shape)
        if sizes and sizes[0] == count and free():
            sizes[0] = BATCH
        return [dtype_name(leaf.dtype), *sizes]

    named = shapes.get("inputs") or {}
    inputs = {
        place: (isinstance(leaf, torch.Tensor) and named.get(place)) or described(leaf)
        for place, leaf in _arguments(module, example)
    }
    outputs = shapes.get("outputs")
    if not outputs and results is not None:
        outputs = {place: described(leaf) for place, leaf in results}
    row |= {"inputs": inputs, "outputs": outputs, "arguments": list(inputs)}
    row["results"] = None if outputs is None else list(outputs)
    probes = _probes(module, example, count, results)
    return row if probes is None else {**row, "probes": probes}


def _neural_parameters(module: nn.Module, outcomes: Mapping[str, Outcome]) -> int:
    """Scalars in the parameters outside of the equations and of what belongs to them."""
    blocks = [submodule_path(p) for p, one in outcomes.items() if isinstance(one, Rewrite)]
    inside = tuple(f"{block}." for block in blocks)
    left = tuple(f"{block}.{NEURAL}." for block in blocks)
    return sum(
        parameter.numel()
        for name, parameter in module.named_parameters()
        if not name.startswith(inside) or name.startswith(left)
    )


def example_of(
    example: Batch | None, outcomes: Mapping[str, Outcome], module: nn.Module
) -> Batch | None:
    """The example of a hybrid; without one, points of a region that is the whole model.

    None where there is neither.
    """
    outcome = outcomes.get(".")
    if example is not None or outcome is None or outcome.region is None:
        return example
    region, points = outcome.region, [[0.5] * outcome.region.interface.n_inputs] * 4
    if isinstance(outcome, Rewrite) and len(outcome.probes) > 1:
        points = [list(probe) for probe in outcome.probes[:4]]
    grid = torch.tensor(points, dtype=getattr(torch, region.dtype), device=home(module)[0])
    return Batch(*row_arguments(region.interface, region.settings, grid))


# --- what runs -------------------------------------------------------------------------------


Results = list[tuple[str, Any]]


def _results(module: nn.Module, batch: Batch) -> Results | None:
    """Place and value of every result; None if the model can't run."""
    with same_random_state(), preserving(module), evaluating(module):
        torch.manual_seed(0)
        try:
            return list(result_places(without_gradients(lambda: run(module, batch))))
        except Exception:  # whatever a user's forward raises
            return None


def _takes_fewer(
    module: nn.Module, example: Batch, count: int | None, results: Results | None
) -> bool:
    """Whether the model takes fewer rows, and then gives fewer."""
    if count is None or count < 2 or results is None:
        return False
    fewer = _results(module, take(example, torch.arange(count - 1)))
    return fewer is not None and all(
        b.shape[:1] == (count - 1,)
        for (_, a), (_, b) in zip(results, fewer, strict=False)
        if isinstance(a, torch.Tensor) and a.shape[:1] == (count,)
        if isinstance(b, torch.Tensor)
    )


def _probes(
    module: nn.Module, example: Batch, count: int | None, results: Results | None
) -> Json | None:
    """What the model gives on the first rows of its example, or on all where it takes no fewer."""
    probed = example
    if (count or 0) > PROBE_ROWS:
        first = take(example, torch.arange(PROBE_ROWS))
        few = _results(module, first)
        probed, results = (example, results) if few is None else (first, few)
    if results is None:
        return None
    digest = hashlib.sha256()
    for place, leaf in _arguments(module, probed):
        row = tensor_row(leaf) if isinstance(leaf, torch.Tensor) else plain_leaf(leaf)
        digest.update(f"{place}={row}\n".encode())
    values = {place: _values(leaf) for place, leaf in results if isinstance(leaf, torch.Tensor)}
    return {"rows": rows(probed), "inputs": digest.hexdigest()[:16], "outputs": values}


def _arguments(module: nn.Module, example: Batch) -> Iterator[tuple[str, Any]]:
    """Everything that is passed to the model, by the name of the parameter that takes it."""
    taken = parameters(module)
    order = {parameter.name.lstrip("*"): k for k, parameter in enumerate(taken)}
    named = sorted(example.kwargs, key=lambda name: (order.get(name, len(order)), name))
    for parameter, start, value in export_order(bind(taken, *example), len(example.args), named):
        for path, leaf in pytree.tree_flatten_with_path(value)[0]:
            keys = [getattr(key, "idx", getattr(key, "key", str(key))) for key in path]
            yield place_of({"parameter": parameter, "keys": [*start, *keys]}), leaf


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
    weights: dict[str, torch.Tensor] = {}
    for path, outcome in outcomes.items():
        if isinstance(outcome, Rewrite):
            place = submodule_path(path)
            weights |= rest_of_block(place, dict(own_tensors(module.get_submodule(place))))
    if graph is not None:
        weights |= stored_weights(graph)
    else:
        inside = tuple(submodule_path(path) + "." for path, o in outcomes.items() if o.region)
        weights |= {name: t for name, t in own_tensors(module) if not name.startswith(inside)}
    return {name: tensor_row(weights[name]) for name in sorted(weights)}


def stored_weights(graph: StoredGraph) -> dict[str, torch.Tensor]:
    """By name, tensors that the forward makes itself included."""
    return {row["name"]: graph.tensors[row["tensor"]] for row in graph.document["state"]}


def tensors_inside(graph: StoredGraph, path: str) -> dict[str, torch.Tensor]:
    """Those of `own_tensors` of a module that is part of a stored graph."""
    names: dict[str, str] = {}  # by the stored tensor's
    rows = [r for r in graph.document["state"] if r["name"].startswith(path + ".")]
    for row in sorted(rows, key=lambda row: bool(row["kind"] != "parameter")):
        if row["kind"] != "constant":
            names.setdefault(row["tensor"], row["name"].removeprefix(path + "."))
    return {name: graph.tensors[tensor] for tensor, name in names.items()}


def rest_of_block(place: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What is left of a neural block beside its equations, from the block's own tensors: by their
    names in the model."""
    left = {name: tensor for name, tensor in state.items() if name.startswith(f"{NEURAL}.")}
    return {f"{place}.{name}": tensor for name, tensor in left.items()}


def tensor_row(tensor: torch.Tensor) -> list[Any]:
    return [dtype_name(tensor.dtype), list(tensor.shape), tensor_digest(tensor)]


def own_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers, tied ones once; not what a loaded model holds as its constants."""
    origin = module.__dict__.get("_origin") if isinstance(module, StoredModel) else None
    constants = set() if origin is None else constants_of(origin.document)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if name not in constants:
            yield name, tensor


def constants_of(document: Json) -> set[str]:
    """Names of the tensors in a graph document that are neither parameters nor buffers."""
    return {row["name"] for row in document["state"] if row["kind"] == "constant"}


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Of names, dtypes, shapes and values."""
    lines = [f"{name}:{state[name].dtype}:{list(state[name].shape)}:{tensor_digest(state[name])}"
             for name in sorted(state)]  # fmt: skip
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def block_digest(module: nn.Module, path: str, outcome: Outcome) -> str | None:
    """Of the weights of the neural block that stands at a path; None for any other outcome."""
    if outcome.region is None or isinstance(outcome, Rewrite):
        return None
    return state_digest(dict(own_tensors(module.get_submodule(submodule_path(path)))))


def tensor_digest(tensor: torch.Tensor) -> str:
    """Of the values; a tensor without dense values of its own has that of their description."""
    try:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        data = plain.view(torch.uint8).numpy().tobytes()
    except (NotImplementedError, RuntimeError):  # sparse, on the meta device, ...
        data = f"{tensor.layout} {tensor.dtype} {list(tensor.shape)}".encode()
    return hashlib.sha256(data).hexdigest()[:16]
