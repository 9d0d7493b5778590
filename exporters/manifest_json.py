"""Give a compiled model as a JSON manifest: made to be committed, reviewed and compared.

The manifest says what the model computes and how well, never when or how fast: the same compile
gives the same bytes. Regions stand in the order of their paths, an equation on one line, each
constant on a line of its own, so that a plain text diff reads well. Its schema:

| key | holds |
|---|---|
| manifest | version of this schema |
| symcompile | version of the compiler |
| model | class, capture, arguments and results with dtypes and shapes, number of parameters |
| regions | by path: status, inputs with ranges, equations, fidelity, provenance, probes |
| weights | dtype, shape and digest of every parameter and buffer outside of the regions |
| graph | nodes around the regions: [name, operator, input nodes, weights, arguments] |

Numbers are written in full (`repr`), those that are not finite as null. Equation texts are for
people; `program` is what a reader evaluates.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from symcompile._version import __version__
from symcompile.aten.graph import encode
from symcompile.calling import evaluating, rows, run
from symcompile.equation import Equation
from symcompile.errors import ArtifactError, ExportError
from symcompile.evaluation import Array
from symcompile.hybrid import Batch, Hybrid, submodule_path
from symcompile.program import LEAVES
from symcompile.region import Region
from symcompile.rewrite import Agreement, Fidelity, Outcome, OutputFidelity, Refusal, Rewrite
from symcompile.state import same_random_state
from symcompile.storage.codecs import DATA
from symcompile.storage.schemas import MANIFEST

# A list longer than this stands on several lines.
_WIDTH = 100
_DIGITS = 6

Json = dict[str, Any]


@same_random_state()
def manifest(hybrid: Hybrid, path: str | os.PathLike[str] | None = None) -> Json:
    """The manifest of a compiled model as plain data; written to `path` too if one is given.

    Raises ExportError if the file can't be written.
    """
    outcomes = {name: hybrid.outcomes[name] for name in sorted(hybrid.outcomes)}
    data = {
        "manifest": MANIFEST,
        "symcompile": __version__,
        "model": _model(hybrid),
        "regions": {name: _region(hybrid.module, name, one) for name, one in outcomes.items()},
        "weights": _weights(hybrid.module, outcomes),
        "graph": _graph(hybrid, outcomes),
    }
    if path is not None:
        _write(path, text(data))
    return data


def text(data: Any) -> str:
    """The manifest as JSON text: each row of a table on one line, everything else on its own."""
    return _lines(data, "") + "\n"


# --- the model -----------------------------------------------------------------------------------


def _model(hybrid: Hybrid) -> Json:
    module, example = hybrid.module, hybrid.example
    return {
        "class": type(module).__name__,
        "capture": hybrid.capture,
        "inputs": None if example is None else _signature((example.args, example.kwargs), example),
        "outputs": None if example is None else _results(module, example),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }


def _results(module: nn.Module, example: Batch) -> Json | None:
    with evaluating(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            results = run(module, example)
        except Exception:  # a model that can't run on its example has no signature to show
            return None
    return _signature(results, example)


def _signature(value: Any, example: Batch) -> Json:
    """Dtype and shape of each tensor by its place; the dimension of the rows is "batch"."""
    count = rows(example)
    found = {}
    for key, leaf in pytree.tree_flatten_with_path(value)[0]:
        if isinstance(leaf, torch.Tensor):
            shape: list[Any] = list(leaf.shape)
            if shape and shape[0] == count:
                shape[0] = "batch"
            found[_place(key)] = [_name(leaf.dtype), *shape]
        else:
            found[_place(key)] = [type(leaf).__name__, repr(leaf)[:_WIDTH]]
    return found


def _place(key: Any) -> str:
    return "".join(str(part) for part in key) or "result"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# --- regions -------------------------------------------------------------------------------------


def _region(module: nn.Module, path: str, outcome: Outcome) -> Json:
    region = outcome.region
    row: Json = {"status": "symbolic" if isinstance(outcome, Rewrite) else "neural"}
    if isinstance(outcome, Refusal):
        row["reason"] = outcome.reason
    if region is not None:
        row |= _described(region, outcome)
    if isinstance(outcome, Rewrite):
        row["equations"] = {
            str(output): _equation(outcome, output) for output in sorted(outcome.equations)
        }
        row["probes"] = _probes(outcome)
    elif region is not None:
        row["digest"] = _digest(module.get_submodule(submodule_path(path)))
    if outcome.fidelity is not None:
        row |= _whole_fidelity(outcome.fidelity)
    row["provenance"] = _sorted(DATA.write(outcome.provenance))
    return row


def _described(region: Region, outcome: Outcome) -> Json:
    ranges = outcome.ranges if isinstance(outcome, Rewrite) else ()
    spans: list[Any] = [list(map(_number, span)) for span in ranges]
    spans = spans or [None] * len(region.names)
    row: Json = {
        "dtype": region.dtype,
        "calls": region.calls,
        "inputs": dict(zip(region.names, spans, strict=True)),
        "outputs": region.interface.n_outputs,
    }
    if region.target.features:
        row["features"] = dict(region.target.features)
    for side, projection in (("in", region.projection_in), ("out", region.projection_out)):
        if projection is not None:
            shape = list(projection.components.shape)
            row[f"projection_{side}"] = [
                *shape,
                _array_digest(projection.mean, projection.components),
            ]
    return row


def _equation(rewrite: Rewrite, output: int) -> Json:
    equation = rewrite.equations[output]
    row: Json = {
        "equation": equation.text(_DIGITS),
        "form": str(equation.form),
        "constants": {f"c[{k}]": _number(c) for k, c in enumerate(equation.constants)},
        "variables": list(equation.symbols),
        "complexity": equation.complexity,
        "operators": _operators(equation),
        "loss": _number(equation.loss),
        "holdout_loss": _number(equation.holdout_loss),
    }
    found = rewrite.fidelity.outputs.get(output)
    if found is not None:
        row["fidelity"] = _fidelity(found)
    row["program"] = equation.program.to_json()
    return row


def _operators(equation: Equation) -> int:
    return sum(instruction.op not in LEAVES for instruction in equation.program.instructions)


def _fidelity(found: OutputFidelity) -> Json:
    return {
        **_agreement(found.equation),
        "gradient_relative_l2": _number(found.gradient),
        "extrapolation": _agreement(found.extrapolation),
        "controls": {"mean": _agreement(found.mean), "linear": _agreement(found.linear)},
    }


def _agreement(found: Agreement) -> Json:
    return {
        "r2": _number(found.r2),
        "relative_l2": _number(found.relative_l2),
        "max_error": _number(found.max_error),
    }


def _whole_fidelity(fidelity: Fidelity) -> Json:
    row: Json = {"parameters_removed": fidelity.parameters_removed}
    if fidelity.total is not None:
        row["fidelity"] = _fidelity(fidelity.total)
    change = fidelity.end_to_end
    if change is not None:
        row["end_to_end"] = {
            "relative_l2": _number(change.equation),
            "mean": _number(change.mean),
            "linear": _number(change.linear),
            "data": change.data,
        }
    if fidelity.domain:
        row["domain"] = [
            f"output {issue.output}: {issue.operation}: {issue.problem}"
            for issue in fidelity.domain
        ]
    return row


def _probes(rewrite: Rewrite) -> Json:
    """Recorded inputs, the variables of the equations there, and what the equations give.

    A reader needs only the variables to compare two equations; [n_probes, n] each. Without features
    and projection they are the inputs themselves.
    """
    X = np.array(rewrite.probes, dtype=np.float64).reshape(-1, len(rewrite.region.names))
    variables = rewrite.region.variable_values(X)
    found: Json = {"inputs": _matrix(X)}
    if rewrite.region.variables != rewrite.region.names:
        found["variables"] = _matrix(variables)
    outputs = {
        str(k): _vector(rewrite.equations[k].predict(variables)) for k in sorted(rewrite.equations)
    }
    return {**found, "outputs": outputs}


def _matrix(values: Array) -> list[list[float | None]]:
    return [_vector(row) for row in values]


def _vector(values: Array) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


# --- weights and graph ---------------------------------------------------------------------------


def _weights(module: nn.Module, outcomes: Mapping[str, Outcome]) -> Json:
    inside = tuple(submodule_path(path) + "." for path, one in outcomes.items() if one.region)
    return {
        name: [_name(tensor.dtype), list(tensor.shape), _tensor_digest(tensor)]
        for name, tensor in sorted(_named_tensors(module))
        if not name.startswith(inside)
    }


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _tensor_digest(tensor: torch.Tensor) -> str:
    plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(plain.numpy().tobytes()).hexdigest()[:16]


def _digest(module: nn.Module) -> str:
    lines = [f"{name}:{tensor.dtype}:{list(tensor.shape)}:{_tensor_digest(tensor)}"
             for name, tensor in sorted(_named_tensors(module))]  # fmt: skip
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _array_digest(*arrays: Array) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()[:16]


def _graph(hybrid: Hybrid, outcomes: Mapping[str, Outcome]) -> Json:
    """The nodes around the regions: of the exported graph, else of the traced one."""
    regions = [one.region for one in outcomes.values() if one.region is not None]
    note = "the compiler saw no data for the model itself"
    if hybrid.example is not None:
        try:
            stored = encode(hybrid.module, hybrid.example, regions, training=False)
            return {"level": "aten", "nodes": list(_aten_rows(stored.document))}
        except ArtifactError as error:
            note = str(error)
    if isinstance(hybrid.module, fx.GraphModule):
        return {"level": "fx", "nodes": [_fx_row(node) for node in hybrid.module.graph.nodes]}
    return {"level": None, "note": note, "nodes": []}


def _aten_rows(document: Json) -> Iterator[list[Any]]:
    for row in document["inputs"]:
        keys = "".join(f"[{key!r}]" for key in row["keys"])
        yield [row["name"], "input", [], [], row["parameter"] + keys]
    for row in document["nodes"]:
        pattern = _Pattern()
        shown = [pattern.of(value) for value in row["args"]]
        shown += [f"{key}={pattern.of(row['kwargs'][key])}" for key in sorted(row["kwargs"])]
        operator = f"region:{row['path']}" if "path" in row else row["op"]
        yield [row["name"], operator, pattern.nodes, pattern.weights, ", ".join(shown)]
    pattern = _Pattern()
    returned = pattern.of(document["output"])
    yield ["output", "output", pattern.nodes, pattern.weights, returned]


class _Pattern:
    """Writes arguments as text in which % is the next input node and @ the next weight.

    So a renamed node changes the list of inputs only, never the pattern.
    """

    def __init__(self) -> None:
        self.nodes: list[str] = []
        self.weights: list[str] = []

    def of(self, value: Any) -> str:
        if isinstance(value, list):
            return "[" + ", ".join(map(self.of, value)) + "]"
        if not isinstance(value, dict):
            return json.dumps(value, ensure_ascii=False)
        if set(value) == {"node"}:
            self.nodes.append(value["node"])
            return "%"
        if set(value) == {"state"}:
            self.weights.append(value["state"])
            return "@"
        return self.tagged(value)

    def tagged(self, value: Json) -> str:
        tag, content = next(iter(value.items()))
        if tag == "tuple":
            return "(" + ", ".join(map(self.of, content)) + ")"
        if tag == "dict":
            return "{" + ", ".join(f"{key!r}: {self.of(item)}" for key, item in content) + "}"
        if tag == "named":
            fields = ", ".join(f"{key}={self.of(item)}" for key, item in value["fields"])
            return f"{content}({fields})"
        return f"{tag} {content}"


def _fx_row(node: fx.Node) -> list[Any]:
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return [node.name, f"{node.op}:{target}", [one.name for one in node.all_input_nodes], [], ""]


# --- text ----------------------------------------------------------------------------------------


def _lines(value: Any, indent: str) -> str:
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, (dict, list)) or not value:
        return flat
    plain = isinstance(value, list) and not any(isinstance(item, dict) for item in value)
    if plain and (len(flat) + len(indent) <= _WIDTH or not isinstance(value[0], list)):
        return flat
    inner = indent + "  "
    if isinstance(value, list):
        items = [inner + _lines(item, inner) for item in value]
        return "[\n" + ",\n".join(items) + f"\n{indent}]"
    pairs = [
        f"{inner}{json.dumps(key, ensure_ascii=False)}: {_lines(item, inner)}"
        for key, item in value.items()
    ]
    return "{\n" + ",\n".join(pairs) + f"\n{indent}}}"


def _write(path: str | os.PathLike[str], content: str) -> None:
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, target)
    except OSError as error:
        raise ExportError(f"can't write {str(target)!r}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
