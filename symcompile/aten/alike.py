"""Neural blocks that are built alike compute alike: one export serves them all.

Exporting a block takes some tenths of a second however small it is, and a model of two hundred
blocks has a handful of kinds of them. That two are of one kind is told by their classes, settings
and shapes, and then tried on the block's own arguments.
"""

from __future__ import annotations

import types
from collections.abc import Hashable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from symcompile.aten.graph import StoredGraph, decode, encode, with_state_of
from symcompile.modules.batch import Batch
from symcompile.modules.calling import evaluating, run, same, without_gradients
from symcompile.modules.preserving import preserving
from symcompile.modules.state import same_random_state

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
    leaves, structure = pytree.tree_flatten((tuple(example.args), dict(example.kwargs)))
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
