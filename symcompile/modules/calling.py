"""Call a model on a batch, look into nested values, and compare what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from symcompile.expressions.evaluation import Array

# Where a region for the whole model (".") sits in the hybrid.
WHOLE = "body"

# Largest difference that counts as the same result, by dtype: a few roundings of an accumulation.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}

T = TypeVar("T")


class Batch(NamedTuple):
    """Arguments of one call of a model."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def submodule_path(path: str) -> str:
    """Where the block of a region sits in the hybrid module."""
    return WHOLE if path == "." else path


def run(module: nn.Module, batch: Batch) -> Any:
    """What one forward gives, in plain containers (`plain`). Hooks are included, and the model gets
    copies of the batch: some write into their inputs."""
    batch = map_tensors(torch.clone, batch)
    return plain(quiet_call(module)(*batch.args, **batch.kwargs))


def quiet_call(module: nn.Module) -> Callable[..., Any]:
    """The module's call, hooks included. A GraphModule's own prints an error to stderr, source and
    all, before raising it."""
    return partial(nn.Module.__call__, module) if isinstance(module, fx.GraphModule) else module


@contextmanager
def watched(modules: Mapping[str, nn.Module], note: Callable[[str, Batch], None]) -> Iterator[None]:
    """Inside, `note` is told of every call of the modules: by which name, and its arguments."""
    with ExitStack() as hooks:
        for name, module in modules.items():

            def watch(_: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                note(name, Batch(args, kwargs))

            hooks.enter_context(module.register_forward_pre_hook(watch, with_kwargs=True))
        yield


def without_gradients(call: Callable[[], T]) -> T:
    """The result of a call under no_grad, or with gradients where the forward differentiates."""
    try:
        with torch.no_grad():
            return call()
    except RuntimeError as error:
        if "grad" not in str(error):
            raise
    with torch.enable_grad():
        return call()


def grad_mode(call: Callable[[], Any]) -> type[torch.no_grad] | type[torch.enable_grad]:
    """The mode in which `without_gradients` runs a call."""

    def mode() -> bool:
        call()
        return torch.is_grad_enabled()

    return torch.enable_grad if without_gradients(mode) else torch.no_grad


def tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in nested tuples, lists, dicts and named tuples (a Batch is one), in order."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def map_tensors(function: Callable[[torch.Tensor], Any], value: T) -> T:
    """The same structure with `function` applied to each tensor."""
    mapped: T = pytree.tree_map_only(torch.Tensor, function, value)
    return mapped


@contextmanager
def in_mode(training: bool, *modules: nn.Module) -> Iterator[None]:
    """Training or evaluation mode inside; outside every submodule has the mode that it had."""
    before = [
        (submodule, submodule.training) for module in modules for submodule in module.modules()
    ]
    try:
        for module in modules:
            module.train(training)
        yield
    finally:
        for submodule, mode in before:
            submodule.training = mode


def evaluating(*modules: nn.Module) -> AbstractContextManager[None]:
    """Evaluation mode inside, see `in_mode`."""
    return in_mode(False, *modules)


def same(first: Any, second: Any) -> bool:
    """Whether two results have the same structure and agree up to rounding."""
    a, b = pytree.tree_leaves(first), pytree.tree_leaves(second)
    return len(a) == len(b) and type(first) is type(second) and all(map(_same_leaf, a, b))


def _same_leaf(a: Any, b: Any) -> bool:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return type(a) is type(b) and equal(a, b)
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    limit = TOLERANCE.get(a.dtype, 1e-4)
    # Rounding of a sum grows with the largest value, not with each one.
    scale = float(a.detach().abs().max()) if a.numel() else 0.0
    atol = limit * max(scale, 1e-30) if scale == scale and scale != float("inf") else limit
    return torch.allclose(a, b, rtol=limit, atol=atol, equal_nan=True)


def equal(a: Any, b: Any) -> bool:
    """Plain equality; values that can't tell (arrays) count as different."""
    try:
        return a is b or bool(a == b)
    except Exception:  # whatever a user's __eq__ or __bool__ raises
        return False


def rows(batch: Batch) -> int | None:
    """Size of the first dimension where all tensors of the batch share it, else None.

    Tensors without dimensions belong to every row.
    """
    sizes = {tensor.shape[0] for tensor in tensors(batch) if tensor.ndim}
    return sizes.pop() if len(sizes) == 1 else None


def take(batch: Batch, index: torch.Tensor) -> Batch:
    """The rows `index` of every tensor that has rows."""
    return map_tensors(lambda t: t[index.to(t.device)] if t.ndim else t, batch)


def to_float64(tensor: torch.Tensor) -> Array:
    """The values of a real tensor on any device."""
    return np.asarray(tensor.detach().to("cpu", torch.float64).numpy())


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype in files and messages: "float32"."""
    return str(dtype).removeprefix("torch.")


def home(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and floating dtype of a module, by its first floating parameter or buffer."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.get_default_dtype()


# --- what a model returns ----------------------------------------------------------------------

_NUMBERS = (bool, int, float, str, torch.SymInt, torch.SymFloat, torch.SymBool, torch.Size)
_CONSTANTS = (*_NUMBERS, complex, bytes, torch.dtype, torch.device, torch.layout)


@dataclass(frozen=True)
class Left:
    """Stands where an object was that is neither a tensor, nor a container, nor a constant."""

    kind: str


def plain(value: Any) -> Any:
    """A result with every object in it that nobody can look into replaced by a Left.

    Containers that torch knows keep their class; other mappings and dataclasses become dicts.
    """
    if value is None or isinstance(value, (torch.Tensor, *_CONSTANTS, Left)):
        return value
    node = pytree._get_node_type(value)
    if node in pytree.SUPPORTED_NODES:
        before, context = pytree.SUPPORTED_NODES[node].flatten_fn(value)
        children = [plain(child) for child in before]
        if all(new is old for new, old in zip(children, before, strict=True)):
            return value
        return pytree.SUPPORTED_NODES[node].unflatten_fn(children, context)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return (tuple if isinstance(value, tuple) else list)(map(plain, value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return Left(type(value).__name__)


def storable(value: Any) -> Any:
    """A result as torch.export takes it: None in the place of what is neither tensor nor number."""
    result = plain(value)
    if all(map(_is_storable, pytree.tree_leaves(result))):
        return result
    return pytree.tree_map(lambda leaf: leaf if _is_storable(leaf) else None, result)


def left_out(value: Any) -> list[str]:
    """Places and classes of what `storable` leaves out: "['past_key_values'] (DynamicCache)"."""
    return [
        f"{place} ({leaf.kind if isinstance(leaf, Left) else type(leaf).__name__})"
        for place, leaf in result_places(plain(value))
        if not _is_storable(leaf)
    ]


def opaque_objects(value: Any) -> list[str]:
    """Places and classes of what nobody can look into."""
    leaves = result_places(plain(value))
    return [f"{place} ({leaf.kind})" for place, leaf in leaves if isinstance(leaf, Left)]


def _is_storable(leaf: Any) -> bool:
    return leaf is None or isinstance(leaf, (torch.Tensor, *_NUMBERS))


def result_places(value: Any) -> Iterator[tuple[str, Any]]:
    """Place and value of everything that a model returns; a single tensor is the "result"."""
    try:
        flat, _ = pytree.tree_flatten_with_path(value)
        leaves = [(pytree.keystr(path), leaf) for path, leaf in flat]
    except ValueError:  # a container of the user's that does not tell its keys
        leaves = [(f"[{k}]", leaf) for k, leaf in enumerate(pytree.tree_leaves(value))]
    yield from ((place or "result", leaf) for place, leaf in leaves)
