"""Write a hybrid as an ONNX model whose symbolic blocks are functions that show their equations."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import fx, nn

from symcompile.aten.export import Exported, export_program
from symcompile.aten.opaque import block_calls, with_modules
from symcompile.errors import ExportError, first_line
from symcompile.exporters.onnx_batches import batch_size, of_size, with_one_row_more
from symcompile.exporters.onnx_check import (
    OtherSizesError,
    RuntimeAgreement,
    check_structure,
    check_values,
    first_that_runs,
)
from symcompile.exporters.onnx_file import set_aside, without_weights, write
from symcompile.exporters.onnx_functions import flat_calls, inlined
from symcompile.exporters.onnx_metadata import model_metadata
from symcompile.exporters.onnx_operators import Signature
from symcompile.exporters.onnx_translation import assemble
from symcompile.fidelity.outcome import Hybrid, Rewrite, check_constants
from symcompile.lowering.block import without_guards
from symcompile.modules.calling import Batch, home, map_tensors, submodule_path, tensors
from symcompile.modules.state import deepcopy, same_random_state
from symcompile.storage.files import refuse_special, replacing

# The lowest that torch translates to without a lossy conversion, and the most widely supported.
DEFAULT_OPSET = 18
_FIXING = "len(x) and int(x.shape[0]) fix the number of rows, x.shape[0] does not"


@dataclass(frozen=True)
class OnnxFile:
    """A written file; it can be passed wherever a path is expected.

    Attributes:
        path: where it is.
        opset: version of the standard operators.
        inputs, outputs: names, in order.
        functions: target of each symbolic function by the function's name; empty in flat mode.
        agreement: how ONNX Runtime compared with torch; None with check=False.
        note: what of the shapes is fixed, and why, and which results are left out since they are no
            tensors; empty where nothing is.
        weights: the file beside it that holds the weights, where they pass the 2 GiB that one file
            can hold; the model finds it by its name, in its own folder. None in other cases.
    """

    path: Path
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    functions: Mapping[str, str]
    agreement: RuntimeAgreement | None
    note: str = ""
    weights: Path | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


@same_random_state()
def onnx(
    hybrid: Hybrid,
    path: str | os.PathLike[str],
    *,
    opset: int | None = None,
    dtype: str | None = None,
    functions: bool = True,
    dynamic_batch: bool = True,
    check: bool = True,
) -> OnnxFile:
    """Export a hybrid to ONNX, in evaluation mode.

    Inputs have the names of the forward's parameters; outputs are `output`, or `output_0`, ... Each
    symbolic block is a local function `symcompile::<target>` with its equations, LaTeX, fidelity
    and recorded input range as metadata, repeated as JSON in the model's own metadata.

    Args:
        opset: version of the standard operators, 18 by default.
        dtype: "float32" or "float64" to convert to; the model's own by default.
        functions: False inlines the functions, for toolchains without them.
        dynamic_batch: let the first dimension vary, and others where the file is right for them;
            sizes that the model fixes stay fixed.
        check: run ONNX Runtime at several batch sizes against torch before writing the file. False
            is for other runtimes, and for forwards that draw random numbers.

    A model of more than 2 GiB gets its weights in a second file, `<path>.data`. Raises ExportError,
    and leaves no file behind, if the model can't be exported, ONNX Runtime has no kernel for one of
    its operators, its results differ, or the file can't be written.
    """
    version, target = _opset(opset), _writable(path)
    check_constants(hybrid.outcomes, ExportError)
    source = _Source.of(hybrid, dtype)
    written = partial(_written, source, target, version, functions=functions, check=check)
    try:
        return written(source.program(dynamic_batch))
    except OtherSizesError as error:
        file = written(source.program("batch"))
        why = f"only the batch size is free: with other sizes freed, {error}"
        return replace(file, note="; ".join([why, *file.note.split("; ")[1:]]))


@dataclass(frozen=True)
class _Source:
    """What is exported: a copy for inference, on the CPU, and an example to match."""

    hybrid: Hybrid
    module: nn.Module
    example: Batch
    rewrites: Mapping[str, Rewrite]

    @classmethod
    def of(cls, hybrid: Hybrid, dtype: str | None) -> _Source:
        rewrites = {p: o for p, o in hybrid.outcomes.items() if isinstance(o, Rewrite)}
        module, example = _on_cpu(hybrid, dtype)
        return cls(hybrid, _for_inference(module, rewrites), example, rewrites)

    def program(self, dynamic: bool | Literal["batch"]) -> Exported:
        regions = [rewrite.region for rewrite in self.rewrites.values()]
        exported = export_program(self.module, self.example, regions, dynamic=dynamic)
        if dynamic:
            _require_free_batch(self.module, self.example, exported)
        return exported


def _written(
    source: _Source, target: Path, version: int, exported: Exported, *, functions: bool, check: bool
) -> OnnxFile:
    working = _working_dtype(source.module, source.example)
    model, signatures = assemble(source.module, exported, source.rewrites, version)
    weights = set_aside(model)
    proto = _to_proto(source.hybrid, exported, model, signatures, functions)
    del model
    check_structure(without_weights(proto))
    names = {name: signature[0] for name, signature in signatures.items()}
    lost = ", ".join(exported.left_out)
    lost = f"results that are no tensors are left out: {lost}" if lost else ""
    agreement, files = None, []
    with replacing(target, ExportError, with_others=True) as draft:
        files = write(proto, weights, draft)
        if check:
            agreement = check_values(
                draft, proto, source.module, exported,
                example=source.example, dtype=working, blocks=names,
            )  # fmt: skip
    return OnnxFile(
        target,
        version,
        tuple(value.name for value in proto.graph.input),
        tuple(value.name for value in proto.graph.output),
        names if functions else {},
        agreement,
        "; ".join(filter(None, (exported.note, lost))),
        target.with_name(files[0].name) if len(files) > 1 else None,
    )


# --- what is asked for -------------------------------------------------------------------------


def _opset(opset: int | None) -> int:
    from onnx.defs import onnx_opset_version
    from torch.onnx._constants import ONNX_MAX_OPSET

    highest = min(onnx_opset_version(), ONNX_MAX_OPSET)
    version = DEFAULT_OPSET if opset is None else opset
    if type(version) is not int or not DEFAULT_OPSET <= version <= highest:
        raise ExportError(
            f"opset is {opset!r}: expected a number from {DEFAULT_OPSET} to {highest}, which this"
            " torch can translate to"
        )
    return version


def _writable(path: str | os.PathLike[str]) -> Path:
    """Before anything is exported that could not be kept."""
    refuse_special(path, ExportError)
    target = Path(path)
    if not os.path.isdir(target.parent):
        raise ExportError(f"can't write {str(target)!r}: there is no directory {target.parent}")
    return target


def _on_cpu(hybrid: Hybrid, dtype: str | None) -> tuple[nn.Module, Batch]:
    """A copy in evaluation mode, on the CPU, converted to `dtype`, with an example to match."""
    if dtype not in (None, "float32", "float64"):
        raise ExportError(f"dtype is {dtype!r}: expected 'float32', 'float64', or None")
    if hybrid.example is None:
        raise ExportError(
            "there is no example batch to trace the model with: compile with data=, then export"
        )
    wanted = None if dtype is None else getattr(torch, dtype)
    try:
        module = deepcopy(hybrid.module, hybrid.module, memo=_shared(hybrid.module, wanted))
    except Exception as error:  # whatever a user's module raises when it is copied
        raise ExportError(f"the model can't be copied: {first_line(error)}") from error
    module = module.eval().to(device="cpu", dtype=wanted)

    def convert(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to("cpu", wanted if tensor.is_floating_point() else None)

    return module, map_tensors(convert, hybrid.example)


def _shared(module: nn.Module, dtype: torch.dtype | None) -> dict[int, object]:
    """What a copy for reading has in common with the module: its parameters, unless they have to be
    moved or converted. Buffers are copied, since a forward may write into them."""
    parameters = list(module.parameters())
    as_wanted = all(
        p.device.type == "cpu" and (dtype in (None, p.dtype) or not p.is_floating_point())
        for p in parameters
    )
    return {id(p): p for p in parameters} if as_wanted else {}


def _for_inference(module: nn.Module, paths: Iterable[str]) -> nn.Module:
    """Without the operators that only keep a block's gradients finite."""
    blocks = [module.get_submodule(submodule_path(path)) for path in paths]
    plain = {id(b): without_guards(b) for b in blocks if isinstance(b, fx.GraphModule)}
    return with_modules(module, dict[int, nn.Module](plain)).eval()


def _require_free_batch(module: nn.Module, example: Batch, exported: Exported) -> None:
    """A graph may be free where the model is not: `x.reshape(2, 3, -1)` constrains only a product
    of sizes. So the model is run with one row more. And a graph may fix what the model leaves free,
    in one input of several."""
    reason = "" if exported.free_batch or not tensors(example) else f"{exported.note}; {_FIXING}"
    count = batch_size(example, exported.sizes)
    if not reason and count is not None:
        more = first_that_runs(module, of_size(example, exported.sizes, count + 1))
        if isinstance(more, Exception):
            reason = f"with {count + 1} rows instead of {count}, {first_line(more)}"
        elif _takes_more(module, example, exported, more[1]):
            reason = f"the graph fixes the {count} rows of an input; {_FIXING}"
    if reason:
        raise ExportError(
            f"the batch size can't vary ({reason}): pass dynamic_batch=False to export for the"
            " shapes of the example"
        )


def _takes_more(
    module: nn.Module, example: Batch, exported: Exported, results: Sequence[torch.Tensor]
) -> bool:
    """Whether results get more rows only if inputs get them whose rows the graph fixes."""
    everywhere = with_one_row_more(example, exported.sizes)
    more = first_that_runs(module, everywhere)
    if isinstance(more, Exception) or len(more[1]) != len(results):
        return False
    pairs = zip(results, more[1], strict=True)
    return any(len(a) < len(b) for a, b in pairs if a.ndim and b.ndim)


def _working_dtype(module: nn.Module, example: Batch) -> torch.dtype:
    """The least precise floating type there is, since results agree up to its rounding only."""
    dtypes = {t.dtype for t in (*module.parameters(), *module.buffers(), *tensors(example))}
    ascending = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    dtype = next((dtype for dtype in ascending if dtype in dtypes), home(module)[1])
    if dtype is torch.bfloat16:
        raise ExportError(
            "ONNX Runtime's CPU kernels can't compute in bfloat16: export with dtype='float32'"
        )
    return dtype


# --- the file ------------------------------------------------------------------------------------


def _to_proto(
    hybrid: Hybrid,
    exported: Exported,
    model: Any,
    signatures: Mapping[str, Signature],
    functions: bool,
) -> Any:
    """The model with its metadata, as an onnx.ModelProto whose weights are set aside."""
    import onnx_ir

    proto = onnx_ir.to_proto(model)
    calls = Counter(call.path for call in block_calls(exported.program.graph_module))
    flat = None if functions else flat_calls(proto, signatures)
    for key, text in sorted(model_metadata(hybrid, signatures, calls, flat).items()):
        proto.metadata_props.add(key=key, value=text)
    return proto if functions else inlined(proto)
