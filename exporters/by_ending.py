"""Choose the format of an export by the ending of the file's name."""

from __future__ import annotations

import inspect
import os
from typing import Any

from symcompile import exporters
from symcompile.errors import ExportError
from symcompile.fidelity.outcome import Hybrid

# Format of each ending; it is the name of the exporter too.
FORMATS = {".onnx": "onnx", ".json": "manifest"}


def export(hybrid: Hybrid, path: str | os.PathLike[str], **options: Any) -> Any:
    """Write a hybrid in the format that the ending of `path` names, and return what that gives:
    an OnnxFile for .onnx, the manifest as plain data for .json.

    `options` are those of the exporter. Raises ExportError for an ending or an option that there is
    not, and what the exporter raises.
    """
    exporter = getattr(exporters, format_of(path))
    parameters = inspect.signature(exporter).parameters.values()
    allowed = [option.name for option in parameters if option.kind is option.KEYWORD_ONLY]
    unknown = [name for name in options if name not in allowed]
    if unknown:
        raise ExportError(
            f"{os.fspath(path)!r}: the {format_of(path)} format has no option {unknown[0]!r}:"
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
    if ending not in FORMATS:
        raise ExportError(
            f"can't tell the format of {os.fspath(path)!r}: end it in .onnx, or .json for the"
            " manifest; Compiled.save() writes .symc, and symcompile.exporters has the rest"
        )
    return FORMATS[ending]
