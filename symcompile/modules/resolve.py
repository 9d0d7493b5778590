"""Resolve: turn what the user named into paths of submodules."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from symcompile.errors import TargetError
from symcompile.target import Target

# Containers that hold modules but are never called themselves.
_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def resolve(model: nn.Module, targets: Iterable[Target]) -> dict[str, Target]:
    """Every place that the targets name, in the order given, globs in module order: the target by
    module path, node range, or ".".

    Raises TargetError if a target matches nothing (near misses are suggested), names something
    that is never called, or overlaps another one.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    places = [(path, target) for target in targets for path in _paths(modules, target)]
    _refuse_overlap(modules, [path for path, _ in places])
    return dict(places)


def aliases(model: nn.Module, path: str) -> tuple[str, ...]:
    """All paths under which the module at `path` can be reached, `path` first."""
    module = model.get_submodule(path)
    names = [n for n, m in model.named_modules(remove_duplicate=False) if m is module]
    return (path, *(name for name in names if name != path))


def _paths(modules: Mapping[str, nn.Module], target: Target) -> list[str]:
    if target.path == "." or target.is_node_range:
        return [target.path]
    if target.is_glob:
        names = [name for name in modules if name and _matches(name, target.path)]
        # A module that is reachable under two names counts under the first.
        first = {id(modules[name]): name for name in reversed(names)}
        matches = [name for name in names if first[id(modules[name])] == name]
    else:
        matches = [target.path] if target.path in modules else []
    if not matches:
        raise TargetError(_no_match(modules, target.path))
    paths = [path for path in matches if not isinstance(modules[path], _NEVER_CALLED)]
    if not paths:
        kind = type(modules[matches[0]]).__name__
        raise TargetError(
            f"target {matches[0]!r} is a {kind}, which is never called itself:"
            f" name what it holds, for example {matches[0] + '.*'!r}"
        )
    return paths


def _matches(name: str, pattern: str) -> bool:
    """Glob match segment by segment, so that `*` stays within one level."""
    names, patterns = name.split("."), pattern.split(".")
    return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))


def _no_match(modules: Mapping[str, nn.Module], path: str) -> str:
    names = [name for name in modules if name]
    near = difflib.get_close_matches(path, names, 3, 0.5)
    near += [name for name in names if name.endswith("." + path) and name not in near][:3]
    if near:
        hint = "did you mean " + " or ".join(map(repr, near)) + "?"
    elif names:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        hint = f"the model has {shown}"
    else:
        hint = "the model has no submodules: use '.' for all of it"
    return f"target {path!r} matches no submodule: {hint}"


def _refuse_overlap(modules: Mapping[str, nn.Module], paths: list[str]) -> None:
    for position, path in enumerate(paths):
        for other in paths[:position]:
            if path == other:
                raise TargetError(f"target {path!r} is named twice: name each part once")
            if "." in (path, other) or _share(modules.get(path), modules.get(other)):
                raise TargetError(
                    f"targets {other!r} and {path!r} overlap: replace one or the other"
                )


def _share(first: nn.Module | None, second: nn.Module | None) -> bool:
    """Whether one holds the other, under whatever name. Modules shared inside of both are fine."""
    if first is None or second is None:  # a node range: partition tells
        return False
    return any(m is second for m in first.modules()) or any(m is first for m in second.modules())
