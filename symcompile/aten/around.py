"""The stored graph around a hybrid's regions: which of them it calls, and which it takes in.

A region that is an equation is a call in the graph. One that stayed neural is a call as well where
that works, so that an equation can be chosen for it after loading; where its model reaches into it
past its forward, or where it can't stand alone, its nodes are part of the graph.

Exporting a neural block takes some tenths of a second however small it is, and a model of two
hundred blocks has a handful of kinds of them, each of which is exported once: that two are of one
kind is told by their classes, settings and shapes, and then tried on the block's own arguments.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from symcompile.aten.decode import StoredModel
from symcompile.aten.graph import StoredGraph, decode, encode, with_state_of
from symcompile.aten.opaque import as_block, bound, with_opaque_blocks
from symcompile.errors import ArtifactError
from symcompile.fidelity.outcome import Outcome, Rewrite
from symcompile.modules.calling import (
    Batch,
    evaluating,
    map_tensors,
    run,
    same,
    submodule_path,
    without_gradients,
)
from symcompile.modules.region import Region
from symcompile.modules.state import preserving, same_random_state

# --- blocks that are built alike ---------------------------------------------------------------

_PLAIN = (type(None), bool, int, float, str, torch.dtype, torch.device)
_NAMES = (types.FunctionType, types.BuiltinFunctionType, type)


class _UnknownError(Exception):
    """Whether two such blocks compute the same can't be told from outside."""


def encode_alike(
    block: nn.Module, example: Batch, known: dict[Hashable, StoredGraph]
) -> StoredGraph:
    """`encode` of a neural block; `known` are the graphs of those before it, by how they are built.

    Raises ArtifactError as `encode` does.
    """
    try:
        key = _build(block, example)
    except _UnknownError:
        return encode(block, example)
    found = with_state_of(block, known[key].document) if key in known else None
    if found is None or not _computes_the_same(block, found, example):
        found = known[key] = encode(block, example)
    return found


def _computes_the_same(block: nn.Module, stored: StoredGraph, example: Batch) -> bool:
    model = decode(stored)
    with same_random_state(), preserving(block), evaluating(block, model):
        try:
            expected = without_gradients(lambda: run(block, example))
            found = without_gradients(lambda: run(model, example))
        except Exception:  # whatever a user's forward raises
            return False
    return same(expected, found)


def _build(block: nn.Module, example: Batch) -> Hashable:
    """All that decides what torch.export makes of a block but the values of its tensors."""
    leaves, structure = pytree.tree_flatten(example)
    seen: dict[int, int] = {}
    return (
        tuple((name, *_module(part, seen)) for name, part in block.named_modules()),
        str(structure),
        tuple(_value(leaf, {}) for leaf in leaves),
    )


def _module(module: nn.Module, seen: dict[int, int]) -> Iterator[Hashable]:
    yield (type(module),)
    for name, value in sorted(vars(module).items()):
        if name in ("_parameters", "_buffers"):
            yield name, tuple((key, _value(one, seen)) for key, one in value.items())
        elif name == "_modules":
            yield tuple(value)
        elif name.startswith("_") and "_hooks" in name:
            if value:
                raise _UnknownError
        else:
            yield name, _value(value, seen)


def _value(value: Any, seen: dict[int, int]) -> Hashable:
    if isinstance(value, torch.Tensor):
        tied = seen.setdefault(id(value), len(seen))
        layout = tuple(value.stride()) if value.layout is torch.strided else None
        kind = type(value), value.dtype, value.device, tuple(value.shape), layout
        return (*kind, value.requires_grad, tied)
    if type(value) in _PLAIN or isinstance(value, _NAMES):
        return type(value), value
    if type(value) in (tuple, list, set):
        items = sorted(value, key=str) if isinstance(value, set) else value
        return type(value), tuple(_value(item, seen) for item in items)
    raise _UnknownError


# --- the graph around the blocks ---------------------------------------------------------------

Regions = dict[str, Region]
T = TypeVar("T")


def stored_graphs(
    module: nn.Module, root: nn.Module | None, outcomes: Mapping[str, Outcome], example: Batch
) -> tuple[StoredGraph, Regions, dict[str, StoredGraph]]:
    """The graph of a hybrid, the regions that it calls, and the neural blocks of these: the
    original's where there is a `root`, else those that the hybrid has.

    A region that stayed neural and can't be stored as a block of its own is part of the graph.
    Raises ArtifactError naming the block, operator or argument that can't be stored.
    """
    graph, regions = encode_around(module, example, outcomes)
    neural, failed = _neural_graphs(module, root, regions, outcomes, example)
    if failed:
        graph, regions = encode_around(module, example, outcomes, taken_in=failed)
        neural = {path: one for path, one in neural.items() if path in regions}
    return graph, regions, neural


def encode_around(
    module: nn.Module,
    example: Batch,
    outcomes: Mapping[str, Outcome],
    taken_in: Collection[str] = (),
) -> tuple[StoredGraph, Regions]:
    """The graph of a hybrid, and the regions that it calls.

    Regions in `taken_in` stand in the graph with their own nodes if they are neural.
    Raises ArtifactError if the model can't be stored even with all neural blocks taken in.
    """
    known = {path: one.region for path, one in outcomes.items() if one.region is not None}
    replaced = {p: r for p, r in known.items() if p == "." or isinstance(outcomes[p], Rewrite)}
    neural = {p: r for p, r in known.items() if p not in replaced and p not in taken_in}
    attempts = _fewer_and_fewer(module, example, replaced, called(module, neural))
    for regions in attempts:
        try:
            return encode(module, example, regions.values()), regions
        except ArtifactError as error:
            failure = error
    raise failure


def called(module: nn.Module, regions: Mapping[str, T]) -> dict[str, T]:
    """The regions whose blocks can be exchanged: in a loaded model, those that its graph calls."""
    if not isinstance(module, StoredModel):
        return dict(regions)
    names = set(_called_modules(module))
    return {path: one for path, one in regions.items() if submodule_path(path) in names}


def _called_modules(module: fx.GraphModule) -> Iterable[str]:
    return (str(node.target) for node in module.graph.nodes if node.op == "call_module")


def _fewer_and_fewer(
    module: nn.Module, example: Batch, replaced: Regions, neural: Regions
) -> Iterator[Regions]:
    """All regions; then those whose blocks turn out to be called by their forward alone; then none
    but the equations."""
    yield replaced | neural
    alone = {p: r for p, r in neural.items() if _works_as_a_call(module, example, r)}
    if alone and len(alone) < len(neural):
        yield replaced | alone
    if neural:
        yield replaced


def _works_as_a_call(module: nn.Module, example: Batch, region: Region) -> bool:
    """Whether the model gives the same where nothing of a block but its forward is there."""
    block = _block(module, region.path)
    with same_random_state(), preserving(module), evaluating(module):
        try:
            surrogate = with_opaque_blocks(module, [region])
            expected = without_gradients(lambda: run(module, example))
            with bound({region.path: as_block(block, region.interface, region.settings)}):
                found = without_gradients(lambda: run(surrogate, example))
        except Exception:  # whatever a user's forward raises
            return False
    return same(expected, found)


# --- neural blocks -----------------------------------------------------------------------------


def _neural_graphs(
    module: nn.Module,
    root: nn.Module | None,
    regions: Regions,
    outcomes: Mapping[str, Outcome],
    example: Batch,
) -> tuple[dict[str, StoredGraph], set[str]]:
    """The neural blocks, and the regions among those that stayed neural of which there is none."""
    equations = {path for path in regions if isinstance(outcomes[path], Rewrite)}
    if root is None:
        model, blocks = module, {p: _block(module, p) for p in regions if p not in equations}
    else:
        model, blocks = root, {p: root if p == "." else root.get_submodule(p) for p in regions}
    received = _received(model, blocks, example)
    graphs: dict[str, StoredGraph] = {}
    known: dict[Hashable, StoredGraph] = {}
    failed: set[str] = set()
    for path, block in blocks.items():
        try:
            graphs[path] = encode_alike(block, _first_call(received, path), known)
        except ArtifactError as error:
            if path == "." or path in equations:
                raise ArtifactError(f"block {path!r}: {error}") from error
            failed.add(path)
    return graphs, failed


def _block(module: nn.Module, path: str) -> nn.Module:
    return module.get_submodule(submodule_path(path))


def _first_call(received: Mapping[str, Batch], path: str) -> Batch:
    if path not in received:
        raise ArtifactError(f"the model does not call {path!r} on its example")
    return received[path]


def _received(model: nn.Module, blocks: Mapping[str, nn.Module], batch: Batch) -> dict[str, Batch]:
    """The arguments of each block's first call while the model runs on the batch."""
    received: dict[str, Batch] = {}
    handles = []
    for path, block in blocks.items():

        def note(_: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
            detached = map_tensors(lambda t: t.detach().clone(), (args, dict(kwargs)))
            received.setdefault(path, Batch(*detached))

        handles.append(block.register_forward_pre_hook(note, with_kwargs=True))
    try:
        with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
            run(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return received
