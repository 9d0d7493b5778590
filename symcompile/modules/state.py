"""State of modules: kept while they run, copied, and put back as it was.

Inside of `preserving`, buffers and everything else that modules hold are copies, made by deepcopy;
outside, the very objects that were there come back, untouched. Parameters stay, since gradients
are asked for by their identity and since they are large: those that a forward was once seen to
write into (`put_back`) get their values back as well.
"""

from __future__ import annotations

import copy
import hashlib
import random
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.jit import ScriptModule
from torch.utils import _pytree as pytree

from symcompile.errors import DataError

T = TypeVar("T")

# Names of parameters that forwards write into, by the module that owns them.
_written: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()

# Random generators, filters of warnings and what torch.fx patches belong to the whole process: of
# two threads that compile, one runs its model after the other.
_one_thread = threading.RLock()

# What a forward can't change in place.
_ATOMIC = (bool, int, float, complex, str, bytes, type(None), type, torch.dtype, torch.device)
_SHARED = (*_ATOMIC, nn.Module, fx.Graph)
_CONTAINERS = (list, dict, set, tuple, frozenset)
_EMPTIED = (dict, OrderedDict, list, set)


@contextmanager
def preserving(*modules: nn.Module) -> Iterator[None]:
    """What a forward leaves behind on the modules (counters, caches, moved buffers) is undone."""
    submodules = _submodules(modules).values()
    plain = [module for module in submodules if not isinstance(module, ScriptModule)]
    before = [(module, dict(module.__dict__)) for module in plain]
    undo = list(_kept_tensors(submodules))
    for module, attributes in zip(plain, _copied(plain, {}), strict=True):
        module.__dict__.update(attributes)
    try:
        yield
    finally:
        for module, own in before:
            for key in module.__dict__.keys() - own.keys():
                del module.__dict__[key]
            module.__dict__.update(own)
        for tensor, value, grad in undo:
            tensor.grad = grad
            if value is not None and not _same_bits(tensor, value):
                with torch.no_grad():
                    tensor.copy_(value)


def put_back(copied: nn.Module, original: nn.Module) -> None:
    """Give a copy the parameters of its original again where a forward wrote into them, and
    remember which: `preserving` keeps them from now on.

    Modules are found by their names; what the copy has under another name is left as it is.
    """
    theirs = dict(original.named_parameters(remove_duplicate=False))
    for prefix, module in copied.named_modules(remove_duplicate=False):
        for name, own in module._parameters.items():
            other = theirs.get(f"{prefix}.{name}" if prefix else name)
            if own is None or other is None or _same_bits(own, other):
                continue
            with torch.no_grad():
                own.copy_(other)
            _written[module] = _written.get(module, frozenset()) | {name}


@contextmanager
def same_random_state() -> Iterator[None]:
    """Random numbers that models and loaders draw inside are given back: Python's, numpy's and
    torch's generators are outside as they were. One thread at a time is inside."""
    with _one_thread:
        python, numpy = random.getstate(), np.random.get_state()
        try:
            # Devices that were never used have no state to keep.
            used = torch.cuda.is_available() and torch.cuda.is_initialized()
            with torch.random.fork_rng(devices=None if used else []):
                yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a is b:
        return True
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.detach(), b.detach())


def _submodules(modules: Iterable[nn.Module]) -> dict[int, nn.Module]:
    """All submodules by id; one that is not registered counts as any other object."""
    return {id(module): module for root in modules for module in root.modules()}


def _kept_tensors(
    submodules: Iterable[nn.Module],
) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
    """Tensors that forwards get themselves, each with its values if they may change, and its grad:
    parameters, and buffers of ScriptModules, whose attributes are C++ values."""
    for module in submodules:
        noted = _written.get(module, frozenset())
        for name, own in module.named_parameters(recurse=False):
            yield own, own.detach().clone() if name in noted else None, own.grad
        if isinstance(module, ScriptModule):
            for buffer in module.buffers(recurse=False):
                yield buffer, buffer.detach().clone(), buffer.grad


# --- copies of what modules hold ---------------------------------------------------------------


class _CantCopyError(Exception):
    """Of the value that is its only argument."""


def uncopyable(*modules: nn.Module) -> dict[int, Any]:
    """What modules hold of which there is only one, such as locks and files, by identity."""
    shared: dict[int, Any] = {}
    submodules = _submodules(modules).values()
    _copied([m for m in submodules if not isinstance(m, ScriptModule)], shared)
    return shared


def _copied(submodules: list[nn.Module], shared: dict[int, Any]) -> list[dict[str, Any]]:
    """For each module, copies of what it holds, which share what the modules share.

    What can't be copied is noted in `shared`.
    """
    while True:
        memo = _memo(submodules) | shared
        try:
            attributes = (module.__dict__.items() for module in submodules)
            return [
                {key: _copy(value, memo) for key, value in items if not isinstance(value, _SHARED)}
                for items in attributes
            ]
        except _CantCopyError as error:
            # A lock, a file, an open connection: there is one of it.
            shared[id(error.args[0])] = error.args[0]


def _memo(submodules: list[nn.Module]) -> dict[int, Any]:
    """What is no copy inside of copies: modules and parameters; and the copies of buffers."""
    memo: dict[int, Any] = {}
    for module in submodules:
        memo[id(module)] = module
        memo |= {id(parameter): parameter for parameter in module._parameters.values()}
        for buffer in module._buffers.values():
            if buffer is not None and id(buffer) not in memo:
                memo[id(buffer)] = buffer.detach().clone().requires_grad_(buffer.requires_grad)
    return memo


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    if type(value) in _EMPTIED and not value:  # most of what a module holds
        return type(value)()
    for leaf in pytree.tree_leaves(value) if isinstance(value, _CONTAINERS) else (value,):
        if isinstance(leaf, Tensor) and not leaf.is_leaf:
            memo.setdefault(id(leaf), leaf.detach().clone())  # torch refuses to copy a history
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # whatever a user's object makes deepcopy raise
        raise _CantCopyError(value) from None


# --- copies of whole models --------------------------------------------------------------------


def deepcopy(value: T, *modules: nn.Module, memo: dict[int, object] | None = None) -> T:
    """copy.deepcopy of `value`, which may hold `modules` that keep tensors with a history.

    Such a tensor is an activation that the last forward left on the module, or a weight that a hook
    computes anew at each call (torch.nn.utils.weight_norm): copied as a value, since torch refuses
    to copy its history.
    """
    memo = {} if memo is None else memo
    submodules = _submodules(modules)
    open_cells: list[tuple[CellType, nn.Module]] = []
    for module in submodules.values():
        for leaf in () if isinstance(module, ScriptModule) else pytree.tree_leaves(module.__dict__):
            if isinstance(leaf, Tensor) and not leaf.is_leaf:
                memo.setdefault(id(leaf), leaf.detach().clone())
            elif isinstance(leaf, FunctionType):
                twin, cells = _unbound(leaf, submodules)
                if cells:
                    memo[id(leaf)] = twin
                    open_cells += cells
    copied = copy.deepcopy(value, memo)
    for cell, module in open_cells:
        cell.cell_contents = memo.get(id(module), module)
    for module in submodules.values():
        # What is known of a module holds for its copy.
        if id(module) in memo and module in _written:
            _written[memo[id(module)]] = _written[module]  # type: ignore[index]
    for module in pytree.tree_leaves(copied):
        if isinstance(module, nn.Module):
            _cut_off(module)
    return copied


def _unbound(
    function: FunctionType, submodules: Collection[int]
) -> tuple[FunctionType, list[tuple[CellType, nn.Module]]]:
    """A twin of a function that modules hold, whose cells with modules in them are still empty, and
    each of these with the module whose copy it gets: deepcopy shares functions, and those of a copy
    would call the original."""
    cells: list[tuple[CellType, nn.Module]] = []
    closure = []
    for cell in function.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # it is empty
            content = None
        if isinstance(content, nn.Module) and id(content) in submodules:
            cell = CellType()
            cells.append((cell, content))
        closure.append(cell)
    code, defaults = function.__code__, function.__defaults__
    twin = FunctionType(
        code, function.__globals__, function.__name__, defaults, tuple(closure) or None
    )
    twin.__dict__.update(function.__dict__)
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin, cells


def _cut_off(copied: nn.Module) -> None:
    """A copied ScriptModule's tensors are computed from the original's, whose gradients they would
    move: end that history."""
    for module in copied.modules():
        if isinstance(module, ScriptModule):
            for tensor in (*module.parameters(), *module.buffers()):
                if not tensor.is_leaf:
                    tensor.detach_().requires_grad_()


def match_persistence(copied: nn.Module, original: nn.Module) -> None:
    """Leave out of the copy's state_dict the buffers that the original's leaves out.

    torch.fx registers every buffer that it moves to a GraphModule as a persistent one.
    """
    originals = dict(original.named_modules(remove_duplicate=False))
    for name, module in copied.named_modules(remove_duplicate=False):
        if isinstance(module, ScriptModule):
            continue  # copied as it is
        if name in originals and module is not originals[name]:
            hidden = originals[name]._non_persistent_buffers_set
            module._non_persistent_buffers_set |= hidden & set(module._buffers)


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, shapes, types and bytes of all parameters and stored buffers.

    Raises DataError for a model on the meta device, which has no bytes.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict(keep_vars=True).items()):
        if not isinstance(tensor, Tensor):
            continue  # extra state: its printed form may differ from one process to the next
        if tensor.is_meta:
            raise DataError(f"{name!r} is on the meta device: load the model's weights first")
        digest_tensor(digest, name, tensor)
    return digest.hexdigest()


def digest_tensor(digest: Any, name: str, tensor: Tensor) -> None:
    """Add name, type, shape and bytes of a tensor to a hash."""
    plain = tensor.detach().cpu().contiguous()
    digest.update(f"{name}:{plain.dtype}:{list(plain.shape)}".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
