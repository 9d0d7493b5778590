"""The rewrite pass: put a block into a region's place, and take it out again.

Requires a hybrid whose regions are submodules. Ensures that the path holds the new block, in the
training mode that the old one had, and that the hybrid keeps no parameter of the old one alive
except where another part of the model, or the new block itself, uses it.
"""

from __future__ import annotations

from torch import nn

from symcompile.errors import TargetError
from symcompile.modules.calling import submodule_path
from symcompile.modules.region import Region


def install(root: nn.Module, region: Region, block: nn.Module) -> None:
    """Put `block` into the region's place in `root`, in place, under every name that the replaced
    module is registered by. Hooks of the replaced module go with it.

    Raises TargetError if there is no module at the region's path.
    """
    _swap(root, region, block)


def restore(root: nn.Module, region: Region, neural: nn.Module) -> None:
    """Put the neural block back into the region's place in `root`, in place."""
    _swap(root, region, neural)


def still_reachable(root: nn.Module, replaced: nn.Module) -> tuple[str, ...]:
    """Names under which `root` still holds parameters or buffers of a replaced block: those shared
    with another part of the model, and those of outputs that stay neural."""
    gone = {id(t) for t in (*replaced.parameters(), *replaced.buffers())}
    named = (
        *root.named_parameters(remove_duplicate=False),
        *root.named_buffers(remove_duplicate=False),
    )
    return tuple(name for name, tensor in named if id(tensor) in gone)


def parameters_removed(root: nn.Module, replaced: nn.Module) -> int:
    """How many scalars of the replaced block's parameters `root` no longer holds."""
    kept = {id(p) for p in root.parameters()}
    return sum(p.numel() for p in replaced.parameters() if id(p) not in kept)


def _swap(root: nn.Module, region: Region, block: nn.Module) -> None:
    path = submodule_path(region.path)
    try:
        replaced = root.get_submodule(path)
    except AttributeError as error:
        raise TargetError(
            f"region {region.path!r}: {type(root).__name__} has no submodule {path!r} to replace"
        ) from error
    if block is replaced:
        return
    names = [n for n, m in root.named_modules(remove_duplicate=False) if m is replaced]
    block.train(replaced.training)
    for name in names:
        root.set_submodule(name, block)
