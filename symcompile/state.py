"""What a module holds besides its parameters: attributes, buffers, and which of them are stored."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

T = TypeVar("T")


@contextmanager
def preserving(*modules: nn.Module) -> Iterator[None]:
    """What a forward leaves behind on the modules (counters, caches, moved buffers) is undone."""
    # A ScriptModule's attributes are C++ values; its buffers are here as everyone's.
    every = {id(part): part for module in modules for part in module.modules()}.values()
    parts = [part for part in every if not isinstance(part, torch.jit.ScriptModule)]
    scripted = [
        buffer
        for part in every
        if isinstance(part, torch.jit.ScriptModule)
        for buffer in part.buffers(recurse=False)
    ]
    plain = [(part, dict(part.__dict__)) for part in parts]
    buffers = [(part, dict(part._buffers)) for part in parts]
    kept = [(b, b.detach().clone()) for _, own in buffers for b in own.values() if b is not None]
    kept += [(buffer, buffer.detach().clone()) for buffer in scripted]
    try:
        yield
    finally:
        for part, attributes in plain:
            part.__dict__.clear()
            part.__dict__.update(attributes)
        for part, own in buffers:
            part._buffers.clear()
            part._buffers.update(own)
        with torch.no_grad():
            for buffer, value in kept:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


@contextmanager
def same_random_state() -> Iterator[None]:
    """Random numbers that models and loaders draw inside are given back: Python's, numpy's and
    torch's generators are outside as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        # Devices that were never used have no state to keep.
        used = torch.cuda.is_available() and torch.cuda.is_initialized()
        with torch.random.fork_rng(devices=None if used else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def deepcopy(thing: T, *modules: nn.Module, memo: dict[int, object] | None = None) -> T:
    """copy.deepcopy of `thing`, which may hold `modules` that keep tensors with a history.

    Such a tensor is an activation that the last forward left on the module, or a weight that a hook
    computes anew at each call (torch.nn.utils.weight_norm): copied as a value, since torch refuses
    to copy its history.
    """
    known = {} if memo is None else memo
    for part in (part for module in modules for part in module.modules()):
        for leaf in pytree.tree_leaves(_attributes(part)):
            if isinstance(leaf, torch.Tensor) and not leaf.is_leaf:
                known.setdefault(id(leaf), leaf.detach().clone())
    copied = copy.deepcopy(thing, known)
    for part in pytree.tree_leaves(copied):
        if isinstance(part, nn.Module):
            _cut_off(part)
    return copied


def _cut_off(copied: nn.Module) -> None:
    """A copied ScriptModule's tensors are computed from the original's, whose gradients they would
    move: end that history."""
    for part in copied.modules():
        if isinstance(part, torch.jit.ScriptModule):
            for tensor in (*part.parameters(), *part.buffers()):
                if not tensor.is_leaf:
                    tensor.detach_().requires_grad_()


def _attributes(part: nn.Module) -> dict[str, Any]:
    return {} if isinstance(part, torch.jit.ScriptModule) else dict(part.__dict__)


def match_persistence(copied: nn.Module, original: nn.Module) -> None:
    """Leave out of the copy's state_dict the buffers that the original's leaves out.

    torch.fx registers every buffer that it moves to a GraphModule as a persistent one.
    """
    originals = dict(original.named_modules(remove_duplicate=False))
    for name, part in copied.named_modules(remove_duplicate=False):
        if isinstance(part, torch.jit.ScriptModule):
            continue  # copied as it is
        if name in originals and part is not originals[name]:
            hidden = originals[name]._non_persistent_buffers_set
            part._non_persistent_buffers_set |= hidden & set(part._buffers)
