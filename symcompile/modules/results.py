"""What a model returns: tensors in containers, and what is neither.

Language models return dataclasses that are mappings too, with caches in them; other models return
distributions, or objects of their own. The tensors are what measurements compare and files hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

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
        return _rebuilt(value, pytree.SUPPORTED_NODES[node])
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return (tuple if isinstance(value, tuple) else list)(plain(one) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    return Left(type(value).__name__)


def _rebuilt(value: Any, node: pytree.NodeDef) -> Any:
    children, context = node.flatten_fn(value)
    found = [plain(child) for child in children]
    if all(new is old for new, old in zip(found, children, strict=True)):
        return value
    return node.unflatten_fn(found, context)


def storable(value: Any) -> Any:
    """A result as torch.export takes it: None in the place of what is neither tensor nor number."""
    found = plain(value)
    if all(map(_is_storable, pytree.tree_leaves(found))):
        return found
    return pytree.tree_map(lambda leaf: leaf if _is_storable(leaf) else None, found)


def left_out(value: Any) -> list[str]:
    """Places and classes of what `storable` leaves out: "['past_key_values'] (DynamicCache)"."""
    return [
        f"{place} ({leaf.kind if isinstance(leaf, Left) else type(leaf).__name__})"
        for place, leaf in result_places(plain(value))
        if not _is_storable(leaf)
    ]


def opaque_objects(value: Any) -> list[str]:
    """Places and classes of what nobody can look into."""
    found = result_places(plain(value))
    return [f"{place} ({leaf.kind})" for place, leaf in found if isinstance(leaf, Left)]


def _is_storable(leaf: Any) -> bool:
    return leaf is None or isinstance(leaf, (torch.Tensor, *_NUMBERS))


def result_places(value: Any) -> Iterator[tuple[str, Any]]:
    """Place and value of everything that a model returns; a single tensor is the "result"."""
    try:
        found = [
            ("".join(map(str, key)), leaf) for key, leaf in pytree.tree_flatten_with_path(value)[0]
        ]
    except ValueError:  # a container of the user's that does not tell its keys
        found = [(f"[{k}]", leaf) for k, leaf in enumerate(pytree.tree_leaves(value))]
    yield from ((place or "result", leaf) for place, leaf in found)
