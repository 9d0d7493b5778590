"""What a module holds besides its parameters: attributes, buffers, and which of them are stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def preserving(*modules: nn.Module) -> Iterator[None]:
    """What a forward leaves behind on the modules (counters, caches, moved buffers) is undone."""
    parts = {id(part): part for module in modules for part in module.modules()}.values()
    plain = [(part, dict(part.__dict__)) for part in parts]
    buffers = [(part, dict(part._buffers)) for part in parts]
    kept = [(b, b.detach().clone()) for _, own in buffers for b in own.values() if b is not None]
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


def match_persistence(copied: nn.Module, original: nn.Module) -> None:
    """Leave out of the copy's state_dict the buffers that the original's leaves out.

    torch.fx registers every buffer that it moves to a GraphModule as a persistent one.
    """
    originals = dict(original.named_modules(remove_duplicate=False))
    for name, part in copied.named_modules(remove_duplicate=False):
        if name in originals and part is not originals[name]:
            hidden = originals[name]._non_persistent_buffers_set
            part._non_persistent_buffers_set |= hidden & set(part._buffers)
