"""Output formats, one a file; imported as `symcompile.exporters`.

    symcompile.exporters.onnx(compiled, "heat.onnx", opset=18)
    symcompile.exporters.graph_module(compiled)
    symcompile.exporters.manifest(compiled)

Each loads when it is first used, so that importing this package loads no ONNX library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symcompile.exporters.graph import graph_module
    from symcompile.exporters.manifest_json import manifest
    from symcompile.exporters.onnx_model import onnx

__all__ = ["graph_module", "manifest", "onnx"]

_HOMES = {"graph_module": "graph", "manifest": "manifest_json", "onnx": "onnx_model"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    exporter = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = exporter
    return exporter


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
