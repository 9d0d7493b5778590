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
from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils import _pytree as pytree

from symcompile.aten.decode import StoredGraph, StoredModel, decode
from symcompile.aten.document import encode, with_state_of
from symcompile.aten.opaque import as_block, bound, with_opaque_blocks
from symcompile.errors import ArtifactError
from symcompile.fidelity.outcome import Outcome, Rewrite
from symcompile.modules.agreement import agree
from symcompile.modules.calling import (
    Batch,
    evaluating,
    map_tensors,
    run,
    same,
    submodule_path,
    watched,
    without_gradients,
)
from symcompile.modules.region import Region
from symcompile.modules.state import preserving, same_random_state

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
        neural = {path: stored for path, stored in neural.items() if path in regions}
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
    stored = {p: outcome.region for p, outcome in outcomes.items() if outcome.region is not None}
    replaced = {p: r for p, r in stored.items() if p == "." or isinstance(outcomes[p], Rewrite)}
    neural = {p: r for p, r in stored.items() if p not in replaced and p not in taken_in}
    for regions in _fewer_and_fewer(module, example, replaced, called(module, neural)):
        try:
            return encode(module, example, regions.values()), regions
        except ArtifactError as error:
            failure = error
    raise failure


def called(module: nn.Module, regions: Mapping[str, T]) -> dict[str, T]:
    """The regions whose blocks can be exchanged: in a loaded model, those that its graph calls."""
    if not isinstance(module, StoredModel):
        return dict(regions)
    names = {str(node.target) for node in module.graph.nodes if node.op == "call_module"}
    return {path: region for path, region in regions.items() if submodule_path(path) in names}


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
    block = module.get_submodule(submodule_path(region.path))
    with same_random_state(), preserving(module), evaluating(module):
        try:
            surrogate = with_opaque_blocks(module, [region])
            expected = without_gradients(lambda: run(module, example))
            with bound({region.path: as_block(block, region)}):
                result = without_gradients(lambda: run(surrogate, example))
        except Exception:  # whatever a user's forward raises
            return False
    return same(expected, result)


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
        homes = {path: submodule_path(path) for path in regions if path not in equations}
    else:
        homes = {path: "" if path == "." else path for path in regions}
    model = module if root is None else root
    blocks = {path: model.get_submodule(home) for path, home in homes.items()}
    received = _received(model, blocks, example)
    graphs: dict[str, StoredGraph] = {}
    by_build: dict[Hashable, StoredGraph] = {}
    failed: set[str] = set()
    for path, block in blocks.items():
        try:
            if path not in received:
                raise ArtifactError(f"the model does not call {path!r} on its example")
            graphs[path] = encode_alike(block, received[path], by_build)
        except ArtifactError as error:
            if path == "." or path in equations:
                raise ArtifactError(f"block {path!r}: {error}") from error
            failed.add(path)
    return graphs, failed


def _received(model: nn.Module, blocks: Mapping[str, nn.Module], batch: Batch) -> dict[str, Batch]:
    """The arguments of each block's first call while the model runs on the batch."""
    received: dict[str, Batch] = {}

    def note(path: str, call: Batch) -> None:
        received.setdefault(path, map_tensors(lambda t: t.detach().clone(), call))

    with (
        watched(blocks, note),
        evaluating(model),
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
    ):
        run(model, batch)
    return received


# --- neural blocks that are built alike --------------------------------------------------------


class _UnknownError(Exception):
    """Whether two such blocks compute the same can't be told from outside."""


def encode_alike(
    block: nn.Module, example: Batch, by_build: dict[Hashable, StoredGraph]
) -> StoredGraph:
    """`encode` of a neural block; `by_build` has the graphs of those before it.

    Raises ArtifactError as `encode` does.
    """
    try:
        build = _build(block, example)
    except _UnknownError:
        return encode(block, example)
    stored = with_state_of(block, by_build[build].document) if build in by_build else None
    if stored is not None:
        model = decode(stored)
        with same_random_state(), evaluating(block, model):
            if agree(block, model, example):
                return stored
    by_build[build] = encode(block, example)
    return by_build[build]


def _build(block: nn.Module, example: Batch) -> Hashable:
    """All that decides what torch.export makes of a block but the values of its tensors."""
    leaves, structure = pytree.tree_flatten(example)
    seen: dict[int, int] = {}
    return (
        tuple((name, *_module(module, seen)) for name, module in block.named_modules()),
        str(structure),
        tuple(_value(leaf, {}) for leaf in leaves),
    )


def _module(module: nn.Module, seen: dict[int, int]) -> Iterator[Hashable]:
    yield (type(module),)
    for name, value in sorted(vars(module).items()):
        if value and name.startswith("_") and "_hooks" in name:
            raise _UnknownError
        yield name, tuple(value) if name == "_modules" else _value(value, seen)


def _value(value: Any, seen: dict[int, int]) -> Hashable:
    if isinstance(value, torch.Tensor):
        tied = seen.setdefault(id(value), len(seen))
        layout = tuple(value.stride()) if value.layout is torch.strided else None
        kind = type(value), value.dtype, value.device, tuple(value.shape), layout
        return (*kind, value.requires_grad, tied)
    plain = type(value) in (type(None), bool, int, float, str, torch.dtype, torch.device)
    if plain or isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type)):
        return type(value), value
    if type(value) in (dict, OrderedDict):
        return type(value), _value([*value, *value.values()], seen)
    if type(value) in (tuple, list, set):
        items = sorted(value, key=str) if isinstance(value, set) else value
        return type(value), tuple(_value(item, seen) for item in items)
    raise _UnknownError
