"""Output formats, one a file; imported as `symcompile.exporters`.

    symcompile.exporters.onnx(compiled, "heat.onnx", opset=18)
    symcompile.exporters.graph_module(compiled)
    symcompile.exporters.manifest(compiled)

Each loads when it is first used, so that importing this package loads no ONNX library; `export`
chooses one by the ending of a file's name. An ONNX file is made by `onnx_model`: `onnx_translation`
gives the graph (`onnx_operators`: single operators, `onnx_functions`: blocks), `onnx_metadata` what
it says of itself, `onnx_file` its bytes, and `onnx_check` proves it on `onnx_batches`. May import
all rooms up to `storage`.
"""

from __future__ import annotations

import inspect
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from symcompile.errors import ExportError

if TYPE_CHECKING:
    from symcompile.exporters.graph import graph_module
    from symcompile.exporters.manifest_json import manifest
    from symcompile.exporters.onnx_model import onnx
    from symcompile.fidelity.outcome import Hybrid

__all__ = ["graph_module", "manifest", "onnx"]

_HOMES = {"graph_module": "graph", "manifest": "manifest_json", "onnx": "onnx_model"}
_BY_ENDING = {".onnx": "onnx", ".json": "manifest"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    exporter = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = exporter
    return exporter


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def export(hybrid: Hybrid, path: str | os.PathLike[str], **options: Any) -> Any:
    """Write a hybrid in the format that the ending of `path` names, and return what that gives:
    an OnnxFile for .onnx, the manifest as plain data for .json.

    `options` are those of the exporter. Raises ExportError for an ending or an option that there is
    not, and what the exporter raises.
    """
    name = format_of(path)
    exporter = __getattr__(name)
    parameters = inspect.signature(exporter).parameters.values()
    allowed = [option.name for option in parameters if option.kind is option.KEYWORD_ONLY]
    unknown = [option for option in options if option not in allowed]
    if unknown:
        raise ExportError(
            f"{os.fspath(path)!r}: the {name} format has no option {unknown[0]!r}:"
            f" it has {', '.join(allowed) or 'none'}"
        )
    return exporter(hybrid, path, **options)


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that a file's name stands for; ExportError that lists those there are."""
    try:
        ending = os.path.splitext(os.fspath(path))[1]
    except TypeError:
        raise ExportError(
            f"can't write to a {type(path).__name__}: expected the path of a file"
        ) from None
    ending = os.fsdecode(ending).lower()
    if ending not in _BY_ENDING:
        raise ExportError(
            f"can't tell the format of {os.fspath(path)!r}: end it in .onnx, or .json for the"
            " manifest; Compiled.save() writes .symc, and symcompile.exporters has the rest"
        )
    return _BY_ENDING[ending]
