"""Prove an ONNX model before it is written: the checker, then ONNX Runtime against torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from symcompile.aten.export import Exported
from symcompile.aten.sizes import Sizes
from symcompile.errors import ExportError, first_line
from symcompile.exporters.onnx_batches import (
    batch_size,
    largest_that_fits,
    of_size,
    peak_bytes,
    shorter,
)
from symcompile.expressions.evaluation import Array
from symcompile.lowering.upcast import Upcast
from symcompile.modules.calling import (
    Batch,
    dtype_name,
    run,
    submodule_path,
    tensors,
    without_gradients,
)

BATCH_SIZES = (1, 7, 1000)
# What inputs and values of a run may take at once.
_MOST_BYTES = 2**27
# Elements that are compared at once, in float64.
_AT_ONCE = 2**20

# Largest accepted |difference|, as a fraction of the largest |value| of the same output feature.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2}

_NO_KERNEL = re.compile(r"implementation for (\w+)\(\d+\) node with name '([^']*)'")


class OtherSizesError(ExportError):
    """A file that is right for other batch sizes, and not for other values of its free sizes."""


@dataclass(frozen=True)
class RuntimeAgreement:
    """What ONNX Runtime was compared on.

    Attributes:
        batch_sizes: rows of each batch; empty where the batch size is fixed to the example's.
        largest: largest difference found, as a fraction of the largest value of its output feature.
        tolerance: what was accepted.
    """

    batch_sizes: tuple[int, ...]
    largest: float
    tolerance: float


def check_structure(proto: Any) -> None:
    """`onnx.checker` with full type and shape inference; ExportError with its first line."""
    import onnx

    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise ExportError(f"onnx.checker refuses the model: {first_line(error)}") from error


def check_values(
    path: Path,
    proto: Any,
    module: nn.Module,
    exported: Exported,
    *,
    example: Batch,
    dtype: torch.dtype,
    blocks: Mapping[str, str],
) -> RuntimeAgreement:
    """Run the model in ONNX Runtime and the module in torch on the same batches.

    The sizes are the example's, 1, 7 and 1000 rows, as far as the values that a run holds at once
    stay within 128 MiB, and one row in any case: what more rows would show, a kernel that works in
    other pieces and sums that round elsewhere, is seen with fewer where rows are large. A last
    batch has all other free sizes about halved.

    Args:
        path, proto: the file, and the same model, whose weights may be elsewhere.
        module, exported: what it was exported from, on the CPU, in evaluation mode, and the program
            that it was translated from, which tells the sizes that are free.
        example: recorded inputs, from which batches are made within their range.
        blocks: target of each function, by the function's name.

    Raises ExportError if ONNX Runtime has no kernel for an operator, or for values that differ;
    OtherSizesError where only the last batch does.
    """
    session = _session(path, dtype, module, blocks)
    compare = partial(_compared, session, module, exported.sizes, TOLERANCE[dtype])
    names = [value.name for value in session.get_inputs()]
    compared = [compare(versions) for versions in _batches(example, exported, proto, names)]
    if isinstance(compared[0], Exception):
        raise ExportError(f"the model does not run on its example: {first_line(compared[0])}")
    try:
        compared.append(compare(shorter(compared[0].batch, exported.sizes)))
    except ExportError as error:
        raise OtherSizesError(str(error)) from error
    done = [run for run in compared if not isinstance(run, Exception)]
    counts = dict.fromkeys(run.rows for run in done if run.rows)
    return RuntimeAgreement(tuple(counts), max(run.difference for run in done), TOLERANCE[dtype])


class _Compared(NamedTuple):
    batch: Batch
    rows: int | None
    difference: float


def _compared(
    session: Any, module: nn.Module, sizes: Sizes, limit: float, versions: Iterable[Batch]
) -> _Compared | Exception:
    """On the first version that the module can run; its error where it runs none."""
    ran = first_that_runs(module, versions)
    if isinstance(ran, Exception):
        return ran
    batch, expected = ran
    count = batch_size(batch, sizes)
    return _Compared(batch, count, _compare(session, batch, expected, limit, count))


def _batches(
    example: Batch, exported: Exported, proto: Any, names: Sequence[str]
) -> Iterator[Iterable[Batch]]:
    """Batches of several sizes, the example's first; of each, versions to be tried in turn."""
    sizes = exported.sizes
    count = batch_size(example, sizes)
    if count is None:
        yield [exported.example]
        return

    def fits(batch: Batch) -> bool:
        shapes = [tuple(tensor.shape) for tensor in tensors((batch.args, batch.kwargs))]
        return peak_bytes(proto, dict(zip(names, shapes, strict=False))) <= _MOST_BYTES

    largest = [largest_that_fits(example, sizes, size, fits) for size in (count, *BATCH_SIZES)]
    for size in dict.fromkeys(largest):
        yield [example] if size == count else of_size(example, sizes, size)


def first_that_runs(
    module: nn.Module, versions: Iterable[Batch]
) -> tuple[Batch, list[torch.Tensor]] | Exception:
    """The first batch that the module can run, and what it gives; else the first one's error."""
    errors: list[Exception] = []
    for batch in versions:
        try:
            return batch, tensors(without_gradients(partial(run, module, batch)))
        except Exception as error:  # what a user's forward raises for a size is its own answer
            errors.append(error)
    return errors[0] if errors else ValueError("there is no batch of this size")


def _session(path: Path, dtype: torch.dtype, module: nn.Module, blocks: Mapping[str, str]) -> Any:
    """An ONNX Runtime session on the CPU; ExportError names an operator that has no kernel."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # An arena would keep what the largest batch took, beside what torch takes for it.
    options.enable_cpu_mem_arena = False
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its error classes share no public root
        raise _no_session(error, dtype, module, blocks) from error


def _no_session(
    error: Exception, dtype: torch.dtype, module: nn.Module, blocks: Mapping[str, str]
) -> ExportError:
    missing = _NO_KERNEL.search(str(error))
    if missing is None:
        return ExportError(f"ONNX Runtime can't load the model: {first_line(error)}")
    operator, node = missing.groups()
    # Node names in a function begin with its name, which ONNX Runtime repeats before them.
    held = [name for name in blocks if f"{name}/" in node]
    target = blocks[max(held, key=len)] if held else None
    place = f"node {node!r}" if target is None else f"target {target!r}"
    block = None if target is None else module.get_submodule(submodule_path(target))
    inner = block.inner if isinstance(block, Upcast) else None  # wider than the model's
    name = dtype_name(inner or dtype)
    advice = "export with dtype='float32'"
    if inner is not None:
        advice = (
            f"it computes in {name} since {dtype} does not hold its way; give features= that scale"
            " its inputs towards 1, or check=False for another runtime"
        ).replace("torch.", "")
    elif name != "float64":
        advice = "choose another opset, or check=False for another runtime"
    return ExportError(
        f"ONNX Runtime's CPU kernels have no {operator} for {name}, which {place} needs: {advice}"
    )


def run_session(session: Any, batch: Batch) -> list[Array]:
    """Outputs of a session for a batch; its tensors in the order of the graph's inputs."""
    arguments, inputs = tensors(batch), session.get_inputs()
    if len(arguments) != len(inputs):
        raise ExportError(
            f"the ONNX graph has {len(inputs)} inputs, but the batch holds {len(arguments)} tensors"
        )
    pairs = zip(inputs, arguments, strict=True)
    feed = {value.name: tensor.detach().cpu().numpy() for value, tensor in pairs}
    try:
        return list(session.run(None, feed))
    except Exception as error:  # its error classes share no public root
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feed.items())
        raise ExportError(f"ONNX Runtime fails on {shapes}: {first_line(error)}") from error


def _compare(
    session: Any, batch: Batch, expected: Sequence[torch.Tensor], limit: float, size: int | None
) -> float:
    """The largest difference; ExportError names the output whose shape or values are others."""
    results = run_session(session, batch)
    if len(expected) != len(results):
        raise ExportError(f"the ONNX graph has {len(results)} outputs, the model {len(expected)}")
    worst = 0.0
    for value, ours, theirs in zip(session.get_outputs(), expected, results, strict=True):
        where = f"output {value.name!r}" + (f" at batch size {size}" if size is not None else "")
        if tuple(ours.shape) != theirs.shape:
            shapes = f"{list(theirs.shape)} from ONNX Runtime, {list(ours.shape)} from torch"
            raise ExportError(f"{where} has another shape: {shapes}")
        difference = relative_difference(ours.detach().cpu().numpy(), theirs)
        if difference == float("inf"):
            raise ExportError(
                f"{where} has infinities or NaN in other places in ONNX Runtime than in torch: no"
                " file was written"
            )
        if not difference <= limit:
            raise ExportError(
                f"{where} differs by {difference:.3g} of its largest value, allowed is {limit:.3g}:"
                " no file was written (a forward that draws random numbers can't be checked:"
                " pass check=False)"
            )
        worst = max(worst, difference)
    return worst


def relative_difference(a: Array, b: Array) -> float:
    """Largest |a - b| of each feature as a fraction of its largest |a|; NaN and infinities have to
    sit at the same places, else the result is infinite."""
    a, b = np.asarray(a), np.asarray(b)
    if a.size == 0:
        return 0.0
    features = a.shape[-1] if a.ndim > 1 else 1
    a, b = (values.reshape(-1, features) for values in (a, b))
    scale, difference = np.zeros(features), np.zeros(features)
    rows = max(1, _AT_ONCE // features)
    for start in range(0, len(a), rows):
        x, y = (v[start : start + rows].astype(np.float64) for v in (a, b))
        finite = np.isfinite(x)
        if not np.array_equal(np.where(finite, 0.0, x), np.where(np.isfinite(y), 0.0, y), True):
            return float("inf")
        x, y = np.where(finite, x, 0.0), np.where(finite, y, 0.0)
        scale = np.maximum(scale, np.abs(x).max(axis=0))
        difference = np.maximum(difference, np.abs(x - y).max(axis=0))
    # A feature that is but rounding (sin(pi), say) is judged by the scale of its neighbours.
    floor = max(float(scale.max()) * 1e-6, 1e-30)
    return float((difference / np.maximum(scale, floor)).max())
