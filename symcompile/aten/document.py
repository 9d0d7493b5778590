"""A model's computation as data: plain JSON over a whitelist of ATen operators.

`torch.export.load` falls back to unpickling, which runs code, so a file from a stranger must never
reach it. This format can say only what `operators.ALLOWED` lists.

The document:

| key | holds |
|---|---|
| state | parameters, buffers and constants by name; tied ones name the same tensor |
| signature | parameters of the forward, with stars and literal defaults |
| inputs | for each input node the parameter that it comes from, and the keys inside of it |
| constants | arguments that are no tensors and are baked in: a call with others is refused |
| containers | number of items of each tuple, list or dict among the arguments |
| nodes | name, op, args, kwargs, and as scope the module that made it |
| output | what is returned, with nodes in the place of tensors |
| modes | "both" if train() and eval() act as in the original, "eval" if the graph is eval()'s |
| modules | names of all modules outside of the blocks, in order |
| aliases | further names of a block that is registered more than once |
| shapes | how free the sizes are, see `export.Exported`; inputs and outputs, see `sizes` |
| training | the mode that the model was saved in, and the modules whose mode differs from it |

The op "region" calls the block at `path`. Values are those of `values`, and {"node": name},
{"state": name} and {"training": path}, the mode of a module (with "times": a rate that is zero in
evaluation). A document is read without recursion deeper than `values.MAX_DEPTH`.

Operators are kept as torch.export writes them, not decomposed: decomposing drops `torch.no_grad`
and the composite operators whose derivatives are the stable ones. Operators that write in place
are kept and run in order.

torch.export freezes the mode, and one graph serves both modes: exporting in each and comparing
shows what depends on it: flags (dropout on, batch statistics used), rates that are zero in
evaluation, and the counting of batches. Those become `{"training": path}`, the mode of the module
at that path, with `"times": rate` for a rate, so that `train()` and `eval()` work on a loaded model
as they did on the saved one. Where the two graphs differ in more than that, there is no common
graph.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from symcompile.aten.decode import StoredGraph, StoredModel, origin_of
from symcompile.aten.encode import encode_program, read_state
from symcompile.aten.export import Exported, export_program
from symcompile.aten.operators import resolve
from symcompile.aten.signature import Json
from symcompile.aten.sizes import read_shapes
from symcompile.errors import ArtifactError, ExportError
from symcompile.modules.calling import Batch, in_mode, submodule_path
from symcompile.modules.region import Region


def encode(
    module: nn.Module, example: Batch, regions: Iterable[Region] = (), *, training: bool = True
) -> StoredGraph:
    """The computation of `module`, its regions left as calls, with every parameter outside of them.

    Neither the module nor its mode is changed. With `training=False` only evaluation mode is read.
    Raises ArtifactError if its forward can't be exported or uses an operator that is not on the
    whitelist.
    """
    regions = tuple(regions)
    kept = origin_of(module, {region.path for region in regions}) if training else None
    stored = None if kept is None else with_state_of(module, kept, regions)
    if stored is not None:
        return stored
    document, tensors, exported = _encode_in(False, module, example, regions)
    merged = None
    # Of a loaded model edited since, which module a node came from is known no more.
    if training and not isinstance(module, StoredModel):
        with suppress(ArtifactError):  # the forward takes other steps in training mode
            merged = merge_modes(document, _encode_in(True, module, example, regions)[0])
    freedom = {"dynamic": exported.dynamic, "note": exported.note}
    document = {
        "modes": "eval" if merged is None else "both",
        "training": _modes(module, regions),
        "shapes": {**freedom, **read_shapes(exported.program, document["inputs"])},
        **(merged or document),
    }
    return StoredGraph(document, tensors)


def with_state_of(
    module: nn.Module, document: Json, regions: tuple[Region, ...] = ()
) -> StoredGraph | None:
    """A document with the weights and modes of a module that computes the same.

    None if it holds tensors that the module does not have, or lacks one.
    """
    state, tensors = read_state(module, {region.path: region for region in regions})
    if {row["name"] for row in state} != {row["name"] for row in document["state"]}:
        return None
    return StoredGraph({**document, "state": state, "training": _modes(module, regions)}, tensors)


def _encode_in(
    training: bool, module: nn.Module, example: Batch, regions: tuple[Region, ...]
) -> tuple[Json, dict[str, torch.Tensor], Exported]:
    with in_mode(training, module), warnings.catch_warnings():
        # torch.export tells of every attribute that a module caches; the check after saving counts.
        warnings.simplefilter("ignore")
        try:
            exported = export_program(module, example, regions)
        except ExportError as error:
            raise ArtifactError(f"can't save the model: {error}") from error
        return *encode_program(exported.program, exported.example, module, regions), exported


def _modes(module: nn.Module, regions: Iterable[Region]) -> Json:
    """Mode of the model, and the modules outside of the blocks that are in the other mode."""
    blocks = [submodule_path(region.path) for region in regions]
    inside = tuple(f"{path}." for path in blocks)
    others = [
        name
        for name, submodule in module.named_modules()
        if name and submodule.training != module.training
        if name not in blocks and not name.startswith(inside)
    ]
    return {"model": module.training, "others": others}


# --- one graph for both modes ------------------------------------------------------------------


class _OtherFormError(Exception):
    """Two graphs differ in more than what depends on the mode."""


def merge_modes(evaluating: Json, training: Json) -> Json | None:
    """One graph document for both modes; None if the graphs have different forms."""
    if any(evaluating[key] != training[key] for key in ("state", "inputs", "constants")):
        return None
    taken = {row["name"] for row in (*evaluating["nodes"], *evaluating["inputs"])}
    names: dict[str, str] = {}
    nodes: list[Json] = []
    waiting = deque(evaluating["nodes"])
    try:
        for row in training["nodes"]:
            counts = _is_counter(row)
            if counts and not (waiting and all(waiting[0][k] == row[k] for k in ("op", "args"))):
                name = row["name"]
                while name in taken:
                    name += "_"
                args = [row["args"][0], {"training": row["scope"]}]
                merged = {**row, "args": args, "name": name}
            elif waiting:
                merged = _merge_row(waiting.popleft(), row, names)
            else:
                return None
            names[row["name"]] = merged["name"]
            nodes.append(merged)
        output = _merge(evaluating["output"], training["output"], names, "")
    except _OtherFormError:
        return None
    return None if waiting else {**evaluating, "nodes": nodes, "output": output}


def _is_counter(row: Json) -> bool:
    """`num_batches_tracked.add_(1)`, which a batch norm does in training mode only."""
    args = row["args"]
    counts = row["op"] == "aten.add_.Tensor" and len(args) == 2 and args[1] == 1
    return counts and isinstance(args[0], dict) and "state" in args[0]


def _merge_row(first: Json, second: Json, names: dict[str, str]) -> Json:
    if (first["op"], first.get("path")) != (second["op"], second.get("path")):
        raise _OtherFormError
    ours, theirs = first["args"], second["args"]
    if len(ours) != len(theirs) and first["op"].startswith("aten."):
        # What was left out is what the operator's schema says.
        schema = resolve(first["op"])._schema.arguments  # type: ignore[attr-defined]
        defaults = [argument.default_value for argument in schema[: max(len(ours), len(theirs))]]
        ours, theirs = ours + defaults[len(ours) :], theirs + defaults[len(theirs) :]
    return {
        **first,
        "args": _merge(ours, theirs, names, second["scope"]),
        "kwargs": _merge(first["kwargs"], second["kwargs"], names, second["scope"]),
    }


def _merge(first: Any, second: Any, names: dict[str, str], scope: str) -> Any:
    """Both values in one, `names` telling what the second graph's nodes are called in the first."""
    if first is False and second is True:
        return {"training": scope}
    if type(first) is type(second) is float and first == 0.0 < second:
        return {"training": scope, "times": second}
    if type(first) is type(second) is list and len(first) == len(second):
        return [_merge(a, b, names, scope) for a, b in zip(first, second, strict=True)]
    if type(first) is type(second) is dict and set(first) == set(second):
        if set(first) != {"node"}:
            return {key: _merge(first[key], second[key], names, scope) for key in first}
        second = {"node": names.get(second["node"], second["node"])}
    if type(first) is not type(second) or first != second:
        raise _OtherFormError
    return first
