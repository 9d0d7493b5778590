"""Surgery on models: a copy of the captured one whose regions are vacant, ready for new blocks.

Everything outside of the regions is copied, so training the hybrid leaves the original untouched;
nothing inside a region is, so the hybrid holds no parameter of a replaced block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import fx, nn

from symcompile.errors import CaptureError, TargetError
from symcompile.modules.arguments import call_like, placeholders
from symcompile.modules.calling import WHOLE, submodule_path
from symcompile.modules.region import Region
from symcompile.modules.resolve import aliases
from symcompile.modules.state import deepcopy, match_persistence, uncopyable


class Vacant(nn.Module):
    """Where a block will be put; calling it is an error of the compiler."""

    def forward(self, *args: object, **kwargs: object) -> object:
        raise RuntimeError("a vacant region was called: no block was put in its place")


def private_copy(model: nn.Module, *, sharing: bool = False) -> nn.Module:
    """A copy of the user's model, which runs in its place: no forward can touch the original.

    With `sharing` what can't be copied (a lock, a file) is held by both.
    Raises CaptureError if the model can't be copied.
    """
    try:
        return _deepcopy(model, {})
    except CaptureError:
        if not sharing:
            raise
    return _deepcopy(model, uncopyable(model))


def vacate(root: nn.Module, paths: Iterable[str]) -> nn.Module:
    """Copy `root` with a Vacant in the place of each module at `paths`.

    A module that is reachable under several names is vacant under all of them.
    Raises CaptureError if the model can't be copied.
    """
    memo: dict[int, object] = {}
    for path in paths:
        block = root.get_submodule(path)
        vacancy = Vacant()
        vacancy.train(block.training)
        memo[id(block)] = vacancy
        # deepcopy drops what memo keeps alive; the block itself outlives this call.
    return _deepcopy(root, memo)


def copy_block(root: nn.Module, path: str, hybrid: nn.Module) -> nn.Module:
    """A copy of the neural block at `path`; what it shares with the rest of the model is shared
    with the rest of the hybrid. The path "." is the whole model, which has no rest."""
    if path == ".":
        return _deepcopy(root, {})
    memo: dict[int, object] = {}
    ours = dict(hybrid.named_parameters(remove_duplicate=False))
    for name, parameter in root.named_parameters(remove_duplicate=False):
        if name in ours and not name.startswith(path + "."):
            memo[id(parameter)] = ours[name]
    return _deepcopy(root.get_submodule(path), memo)


def install(root: nn.Module, region: Region, block: nn.Module) -> None:
    """Put `block` into the region's place in `root`, in place, under every name that the replaced
    module is registered by, in the mode that it had. Hooks of the replaced module go with it.

    Raises TargetError if there is no module at the region's path.
    """
    path = submodule_path(region.path)
    try:
        replaced = root.get_submodule(path)
    except AttributeError as error:
        raise TargetError(
            f"region {region.path!r}: {type(root).__name__} has no submodule {path!r} to replace"
        ) from error
    if block is replaced:
        return
    block.train(replaced.training)
    for name in aliases(root, path):
        root.set_submodule(name, block)


def root_for(region: Region, model: nn.Module) -> fx.GraphModule:
    """A root that is called as the model is and has its class's name, with a Vacant as all that it
    calls: where the target is ".".

    Raises TargetError for a forward with `*args` or `**kwargs`.
    """
    parameters = region.interface.parameters
    for parameter in parameters:
        if parameter.name.startswith("*"):
            raise TargetError(
                f"target '.': forward takes {parameter.name}: name a submodule instead of '.'"
            )
    graph = fx.Graph()
    graph.output(call_like(graph, WHOLE, model, placeholders(graph, parameters)))
    root = nn.Module()
    root.add_module(WHOLE, Vacant())
    return fx.GraphModule(root, graph, type(model).__name__)


def _deepcopy(module: nn.Module, memo: dict[int, object]) -> nn.Module:
    try:
        copied: nn.Module = deepcopy(module, module, memo=memo)
    except Exception as error:  # whatever a user's module makes deepcopy raise
        raise CaptureError(
            f"{type(module).__name__} can't be copied, and the original must stay untouched:"
            f" {error}; something kept on the module beside its parameters and buffers is the usual"
            " cause (a lock, a file, a tensor inside of an object): delete it first"
        ) from error
    if isinstance(copied, fx.GraphModule):
        copied.training = module.training
        # A GraphModule has a class of its own, whose name copying drops as well.
        type(copied).__name__ = type(module).__name__
        _name_again(copied, module)
    _hook_again(copied, module, memo)
    match_persistence(copied, module)
    return copied


def _hook_again(copied: nn.Module, original: nn.Module, memo: dict[int, object]) -> None:
    """The hooks of GraphModules, wherever they stand, which copying them drops."""
    places = dict(copied.named_modules(remove_duplicate=False))
    for name, module in original.named_modules(remove_duplicate=False):
        place = places.get(name)
        if isinstance(module, fx.GraphModule) and isinstance(place, fx.GraphModule):
            hooks = {key: value for key, value in vars(module).items() if "_hook" in key}
            if any(hooks.values()):  # a walk over the whole model
                vars(place).update(deepcopy(hooks, original, memo=memo))


def _name_again(copied: nn.Module, original: nn.Module) -> None:
    """Second names of modules and parameters, which copying a GraphModule drops."""
    places = dict(copied.named_modules(remove_duplicate=False))
    twins: dict[int, Any] = {}
    for name, submodule in original.named_modules(remove_duplicate=False):
        if name in places:
            twins[id(submodule)] = places[name]
            own = dict(places[name].named_parameters(recurse=False))
            theirs = submodule.named_parameters(recurse=False)
            twins |= {id(parameter): own[key] for key, parameter in theirs if key in own}
    for name, module_or_parameter in (
        *original.named_modules(remove_duplicate=False),
        *original.named_parameters(remove_duplicate=False),
    ):
        parent, _, key = name.rpartition(".")
        owner = places.get(parent)
        if not key or owner is None or isinstance(owner, Vacant) or hasattr(owner, key):
            continue
        if id(module_or_parameter) in twins:
            setattr(owner, key, twins[id(module_or_parameter)])
