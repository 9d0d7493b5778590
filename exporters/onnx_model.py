"""Write a hybrid as an ONNX model whose symbolic blocks are functions that show their equations."""

from __future__ import annotations

import copy
import logging
import os
import re
import secrets
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from symcompile.calling import home, map_tensors, tensors
from symcompile.errors import ExportError
from symcompile.exporters import onnx_functions
from symcompile.exporters.onnx_check import Agreement, check_structure, check_values, first_line
from symcompile.exporters.onnx_metadata import function_metadata, model_metadata
from symcompile.exporters.onnx_operators import Signature, translations
from symcompile.hybrid import Batch, Hybrid, submodule_path
from symcompile.lowering import without_guards
from symcompile.opaque import (
    BlockCall,
    Exported,
    as_block,
    block_calls,
    export_program,
    replaced,
)
from symcompile.rewrite import Rewrite

# The lowest that torch translates to without a lossy conversion, and the most widely supported.
DEFAULT_OPSET = 18
_MOST_BYTES = 2**31 - 1
_NOISY = ("torch.onnx._internal.exporter", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class OnnxFile:
    """A written file; it can be passed wherever a path is expected.

    Attributes:
        path: where it is.
        opset: version of the standard operators.
        inputs, outputs: names, in order.
        functions: target of each symbolic function by the function's name; empty in flat mode.
        agreement: how ONNX Runtime compared with torch; None with check=False.
        note: what of the shapes is fixed, and why; empty where nothing is.
    """

    path: Path
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    functions: Mapping[str, str]
    agreement: Agreement | None
    note: str = ""

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


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
        dynamic_batch: let the first dimension vary; sizes that the model fixes stay fixed.
        check: run ONNX Runtime at several batch sizes against torch before writing the file. False
            is for other runtimes, and for forwards that draw random numbers.

    Raises ExportError, and leaves no file behind, if the model can't be exported, ONNX Runtime has
    no kernel for one of its operators, its results differ, or the file can't be written.
    """
    version, target = _opset(opset), _writable(path)
    outcomes = hybrid.outcomes
    rewrites = {p: o for p, o in outcomes.items() if isinstance(o, Rewrite)}
    module, example = _on_cpu(hybrid, dtype)
    module = _for_inference(module, rewrites)
    working = _working_dtype(module, example)
    regions = [rewrite.region for rewrite in rewrites.values()]
    exported = export_program(module, example, regions, dynamic=dynamic_batch)
    if dynamic_batch and not exported.free_batch and tensors(example):
        raise ExportError(
            f"the batch size can't vary ({exported.note}): pass dynamic_batch=False to export for"
            " the shapes of the example"
        )
    model, names = _assemble(module, exported, rewrites, version)
    calls = Counter(call.path for call in block_calls(exported.program.graph_module))
    held = names if functions else {}
    model.metadata_props.update(model_metadata(outcomes, held, calls))
    proto = _to_proto(model, functions)
    data = _serialized(proto)
    check_structure(proto)
    agreement = None
    if check:
        agreement = check_values(
            data, module, example, exported.example, free_batch=exported.free_batch, dtype=working
        )
    _write(data, target)
    return OnnxFile(
        target,
        version,
        tuple(one.name for one in proto.graph.input),
        tuple(one.name for one in proto.graph.output),
        held,
        agreement,
        exported.note,
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
    target = Path(path)
    if target.is_dir():
        raise ExportError(f"can't write {str(target)!r}: it is a directory")
    if not target.parent.is_dir():
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
    try:
        module = copy.deepcopy(hybrid.module)
    except Exception as error:  # whatever a user's module raises when it is copied
        raise ExportError(f"the model can't be copied: {first_line(error)}") from error
    wanted = None if dtype is None else getattr(torch, dtype)
    module = module.eval().to(device="cpu", dtype=wanted)

    def convert(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to("cpu", wanted if tensor.is_floating_point() else None)

    example = hybrid.example
    args, kwargs = map_tensors(convert, (tuple(example.args), dict(example.kwargs)))
    return module, Batch(args, kwargs)


def _for_inference(module: nn.Module, paths: Iterable[str]) -> nn.Module:
    """Without the operators that only keep a block's gradients finite."""
    blocks = [module.get_submodule(submodule_path(path)) for path in paths]
    plain = {id(b): without_guards(b) for b in blocks if isinstance(b, fx.GraphModule)}
    return replaced(module, dict[int, nn.Module](plain)).eval()


def _working_dtype(module: nn.Module, example: Batch) -> torch.dtype:
    """The least precise floating type there is, since results agree up to its rounding only."""
    found = {t.dtype for t in (*module.parameters(), *module.buffers(), *tensors(example))}
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        if dtype in found:
            break
    else:
        dtype = home(module)[1] if torch.float64 not in found else torch.float64
    if dtype is torch.bfloat16:
        raise ExportError(
            "ONNX Runtime's CPU kernels can't compute in bfloat16: export with dtype='float32'"
        )
    return dtype


# --- the model -----------------------------------------------------------------------------------


def _assemble(
    module: nn.Module, exported: Exported, rewrites: Mapping[str, Rewrite], opset: int
) -> tuple[Any, dict[str, str]]:
    """The onnx_ir.Model with its functions, and the target of each function."""
    calls = onnx_functions.name_functions(block_calls(exported.program.graph_module))
    names = onnx_functions.unique_names(calls)
    functions = {
        names[signature]: _function(module, call, rewrites[call.path], names[signature], opset)
        for signature, call in calls.items()
    }
    model = _translated(exported, names, opset)
    onnx_functions.insert_functions(model, functions)
    _rename_outputs(model.graph)
    _rename_sizes(model.graph)
    return model, {names[signature]: call.path for signature, call in calls.items()}


def _function(module: nn.Module, call: BlockCall, rewrite: Rewrite, name: str, opset: int) -> Any:
    region = rewrite.region
    block = module.get_submodule(submodule_path(region.path))
    alone = onnx_functions.Alone(block, as_block(block, region.interface, region.settings))
    exported = export_program(alone.eval(), onnx_functions.small_example(call))
    body = _translated(exported, {}, opset)
    return onnx_functions.as_function(body, name, region.interface, function_metadata(rewrite))


def _translated(exported: Exported, names: Mapping[Signature, str], opset: int) -> Any:
    """torch.onnx's translation of a program, optimized."""
    with _quiet():
        try:
            program = torch.onnx.export(
                exported.program,
                dynamo=True,
                opset_version=opset,
                custom_translation_table=translations(names),  # type: ignore[arg-type]
                verbose=False,
            )
        except ExportError:
            raise
        except Exception as error:  # torch's exporter lets everything through
            raise ExportError(f"torch.onnx can't translate the model: {_cause(error)}") from error
    assert program is not None
    return program.model


def _cause(error: BaseException) -> str:
    """The innermost reason: the outer ones say how to report a bug to torch."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress notes and torch's warnings about its own internals."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            warnings.filterwarnings(
                "ignore", category=DeprecationWarning, module=r"onnxscript|copyreg"
            )
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _rename_outputs(graph: Any) -> None:
    """`output`, or `output_0`, ...; an output that is an input, a constant, or there twice gets a
    value of its own."""
    import onnx_ir

    taken = {value.name for value in graph.inputs}
    seen = {id(value) for value in (*graph.inputs, *graph.initializers.values())}
    for place, value in enumerate(graph.outputs):
        if id(value) in seen:
            node = onnx_ir.node("Identity", inputs=[value], name=f"output_{place}/Identity")
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            graph.outputs[place] = value = node.outputs[0]
        seen.add(id(value))
        name = "output" if len(graph.outputs) == 1 else f"output_{place}"
        value.name = name if name not in taken else f"{name}_"


def _rename_sizes(graph: Any) -> None:
    """Call the free sizes `batch` and `<input>_<axis>` instead of torch's s17 and s27, and give
    sizes that the model fixes as numbers: torch writes them as symbols called "4"."""
    import onnx_ir

    names: dict[str, str] = {}
    for value in graph.inputs:
        for axis, size in enumerate(_symbols(value.shape)):
            if size and not size.isdigit():
                new = f"{value.name}_{axis}" if axis or "batch" in names.values() else "batch"
                names.setdefault(size, new)
    pattern = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names) or r"(?!)")

    def renamed(size: Any, symbol: str | None) -> Any:
        if symbol is None:
            return size
        return int(symbol) if symbol.isdigit() else pattern.sub(lambda m: names[m[0]], symbol)

    for value in (*graph.inputs, *(o for node in graph for o in node.outputs)):
        if value.shape is not None:
            pairs = zip(value.shape, _symbols(value.shape), strict=True)
            value.shape = onnx_ir.Shape([renamed(*pair) for pair in pairs])


def _symbols(shape: Any) -> list[str | None]:
    """Name of each size, None for numbers and for sizes without a name."""
    return [None if isinstance(size, int) else size.value for size in shape or ()]


# --- the file ------------------------------------------------------------------------------------


def _to_proto(model: Any, functions: bool) -> Any:
    import onnx_ir
    from onnx import inliner

    proto = onnx_ir.to_proto(model)
    if functions or not model.functions:
        return proto
    flat = inliner.inline_local_functions(proto)
    for place, one in reversed(list(enumerate(flat.opset_import))):
        if one.domain == onnx_functions.DOMAIN:
            del flat.opset_import[place]
    return flat


def _serialized(proto: Any) -> bytes:
    size = proto.ByteSize()
    if size > _MOST_BYTES:
        raise ExportError(
            f"the model takes {size / 2**30:.1f} GiB: an ONNX file holds at most 2 GiB; export with"
            " dtype='float32', or export the part that holds the equations on its own"
        )
    return bytes(proto.SerializeToString())


def _write(data: bytes, target: Path) -> None:
    """All of it or nothing: a temporary file beside the target takes its place."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, target)
    except OSError as error:
        raise ExportError(f"can't write {str(target)!r}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
