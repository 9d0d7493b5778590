"""What a module holds besides its parameters: attributes, buffers, and which of them are stored."""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import CellType, FunctionType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from symcompile.modules.preserving import carry_notes

T = TypeVar("T")


# Random generators, filters of warnings and what torch.fx patches belong to the whole process: of
# two threads that compile, one runs its model after the other.
_alone = threading.RLock()


@contextmanager
def same_random_state() -> Iterator[None]:
    """Random numbers that models and loaders draw inside are given back: Python's, numpy's and
    torch's generators are outside as they were. One thread at a time is inside."""
    with _alone:
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
    parts = [part for module in modules for part in module.modules()]
    leaves = [leaf for part in parts for leaf in pytree.tree_leaves(_attributes(part))]
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor) and not leaf.is_leaf:
            known.setdefault(id(leaf), leaf.detach().clone())
    bound = [_unbound(leaf, parts) for leaf in leaves if isinstance(leaf, FunctionType)]
    known |= {id(function): twin for function, twin, _ in bound if twin is not function}
    copied = copy.deepcopy(thing, known)
    for _, _, cells in bound:
        for cell, part in cells:
            cell.cell_contents = known.get(id(part), part)
    carry_notes((part, known[id(part)]) for part in parts if id(part) in known)  # type: ignore[misc]
    for part in pytree.tree_leaves(copied):
        if isinstance(part, nn.Module):
            _cut_off(part)
    return copied


def _unbound(
    function: FunctionType, parts: Sequence[nn.Module]
) -> tuple[FunctionType, FunctionType, list[tuple[CellType, nn.Module]]]:
    """A function that modules hold, and a twin whose cells with modules in them are still empty,
    each with the module whose copy it gets: deepcopy shares functions, and those of a copy would
    call the original."""
    cells: list[tuple[CellType, nn.Module]] = []
    closure: list[CellType] = []
    for cell in function.__closure__ or ():
        content = _content(cell)
        if isinstance(content, nn.Module) and any(content is part for part in parts):
            cells.append((CellType(), content))
            closure.append(cells[-1][0])
        else:
            closure.append(cell)
    if not cells:
        return function, function, []
    twin = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(closure),
    )
    twin.__dict__.update(function.__dict__)
    twin.__kwdefaults__ = function.__kwdefaults__
    return function, twin, cells


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


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
