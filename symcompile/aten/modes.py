"""One stored graph for evaluation and training mode.

torch.export freezes the mode. Exporting in both and comparing shows what depends on it: flags
(dropout on, batch statistics used), rates that are zero in evaluation, and the counting of batches.
Those become `{"training": path}`, the mode of the module at that path, with `"times": rate` for a
rate, so that `train()` and `eval()` work on a loaded model as they did on the saved one. Where the
two graphs differ in more than that, there is no common graph.
"""

from __future__ import annotations

from typing import Any

from symcompile.aten.operators import resolve

Json = dict[str, Any]


def merge_modes(evaluating: Json, training: Json) -> Json | None:
    """One graph document for both modes; None if the graphs have different forms."""
    if any(evaluating[part] != training[part] for part in ("state", "inputs", "constants")):
        return None
    names: dict[str, str] = {}
    nodes: list[Json] = []
    waiting = list(evaluating["nodes"])
    for row in training["nodes"]:
        if _is_counter(row) and not (waiting and _same_call(waiting[0], row)):
            flag = {"training": row["scope"]}
            counter = {
                **row,
                "args": [row["args"][0], flag],
                "name": _free(row["name"], evaluating),
            }
            names[row["name"]] = counter["name"]
            nodes.append(counter)
            continue
        if not waiting:
            return None
        merged = _merge_row(waiting.pop(0), row, names)
        if merged is None:
            return None
        names[row["name"]] = merged["name"]
        nodes.append(merged)
    output = _merge(evaluating["output"], training["output"], names, "")
    if waiting or output is _DIFFERENT:
        return None
    return {**evaluating, "nodes": nodes, "output": output}


def _is_counter(row: Json) -> bool:
    """`num_batches_tracked.add_(1)`, which a batch norm does in training mode only."""
    args = row["args"]
    counts = row["op"] == "aten.add_.Tensor" and len(args) == 2 and args[1] == 1
    return counts and isinstance(args[0], dict) and "state" in args[0]


def _same_call(first: Json, second: Json) -> bool:
    return bool(first["op"] == second["op"] and first["args"] == second["args"])


def _free(name: str, document: Json) -> str:
    taken = {row["name"] for row in document["nodes"]} | {row["name"] for row in document["inputs"]}
    while name in taken:
        name += "_"
    return name


def _merge_row(first: Json, second: Json, names: dict[str, str]) -> Json | None:
    if (first["op"], first.get("path")) != (second["op"], second.get("path")):
        return None
    longest = max(len(first["args"]), len(second["args"]))
    one, two = (_with_defaults(row["op"], row["args"], longest) for row in (first, second))
    args = _merge(one, two, names, second["scope"])
    kwargs = _merge(first["kwargs"], second["kwargs"], names, second["scope"])
    if args is _DIFFERENT or kwargs is _DIFFERENT:
        return None
    return {**first, "args": args, "kwargs": kwargs}


def _with_defaults(op: str, args: list[Any], count: int) -> list[Any]:
    """The arguments, filled up with what the operator's schema says of those left out."""
    if len(args) == count or not op.startswith("aten."):
        return args
    schema = resolve(op)._schema.arguments  # type: ignore[attr-defined]
    return args + [argument.default_value for argument in schema[len(args) : count]]


_DIFFERENT = object()


def _merge(first: Any, second: Any, names: dict[str, str], scope: str) -> Any:
    """Both values in one, `names` telling what the second graph's nodes are called in the first."""
    if first is False and second is True:
        return {"training": scope}
    if first == 0.0 and type(first) is type(second) is float and second > 0.0:
        return {"training": scope, "times": second}
    if type(first) is not type(second):
        return _DIFFERENT
    if isinstance(first, list):
        if len(first) != len(second):
            return _DIFFERENT
        items = [_merge(a, b, names, scope) for a, b in zip(first, second, strict=True)]
        return _DIFFERENT if any(item is _DIFFERENT for item in items) else items
    if isinstance(first, dict):
        if set(first) == set(second) == {"node"}:
            name = second["node"]
            return first if names.get(name, name) == first["node"] else _DIFFERENT
        pairs = {key: _merge(first[key], second.get(key), names, scope) for key in first}
        unequal = set(first) != set(second) or any(v is _DIFFERENT for v in pairs.values())
        return _DIFFERENT if unequal else pairs
    return first if first == second else _DIFFERENT
