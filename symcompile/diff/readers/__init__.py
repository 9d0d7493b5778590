"""Read one side of a comparison, whatever it is, into a `Snapshot`."""

from __future__ import annotations

import codecs
import os
import sys
from typing import Any

from symcompile.diff.readers import manifest
from symcompile.diff.snapshot import Snapshot
from symcompile.errors import ComparisonError
from symcompile.storage import files

ACCEPTED = (
    "a Compiled, a torch.fx.GraphModule, or the path of a .symc artifact, a manifest or an ONNX"
    " file"
)


def read(source: Any, *, level: str | None = None) -> Snapshot:
    """A file, a compiled model or a traced module as a snapshot.

    Files are told apart by their content, never by their names; /dev/null is a side without
    anything. `level` "fx" asks for the graph that torch.fx traced.

    Raises:
        ArtifactError: a file is missing, damaged, edited, or of no known kind.
        ComparisonError: this can't be compared; the message says what can.
    """
    if isinstance(source, (str, os.PathLike)):
        return _read_file(source)
    if _is_graph_module(source):
        from symcompile.diff.readers import graph_module

        return graph_module.read(source)
    if _is_hybrid(source):
        return _read_hybrid(source, level)
    raise ComparisonError(f"can't compare a {type(source).__name__}: expected {ACCEPTED}")


def read_pair(a: Any, b: Any) -> tuple[Snapshot, Snapshot]:
    """Both sides, with graphs of the same level where that can be."""
    plain = any(map(_is_graph_module, (a, b)))
    traced = all(_is_graph_module(s.module if _is_hybrid(s) else s) for s in (a, b))
    level = "fx" if plain and traced else None
    return read(a, level=level), read(b, level=level)


def _is_hybrid(source: Any) -> bool:
    """Whether it is a `Hybrid`; outcomes that take time are not asked for."""
    return hasattr(source, "module") and any(hasattr(o, "outcomes") for o in (type(source), source))


def _is_graph_module(source: Any) -> bool:
    """Where torch was never imported there is none: of a manifest it takes most of the time."""
    fx = sys.modules.get("torch.fx")
    return fx is not None and isinstance(source, fx.GraphModule)


def _read_hybrid(hybrid: Any, level: str | None) -> Snapshot:
    """A compiled model that is in memory, by its manifest; ComparisonError where it has no graph
    of this level."""
    from symcompile.exporters import manifest_json

    data = manifest_json.manifest(hybrid)
    if level == "fx":
        data["graph"] = manifest_json.traced_graph(hybrid)
        if data["graph"] is None:
            raise ComparisonError(
                f"{type(hybrid.module).__name__} was not traced by torch.fx: it has no graph to"
                " compare with that of a GraphModule"
            )
    return manifest.snapshot(data, type(hybrid).__name__, "Compiled")


def _read_file(path: str | os.PathLike[str]) -> Snapshot:
    if files.is_nothing(path):
        return Snapshot(os.fspath(path), "nothing")
    head = files.head(path)
    if head.startswith(b"PK"):
        from symcompile.diff.readers import artifact

        return artifact.read(path)
    if not head.strip(b"\0"):
        raise files.unreadable(path, "it holds nothing but zeros, so it was damaged")
    if head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"{", b"["):
        return manifest.read(path)
    from symcompile.diff.readers import onnx_file

    return onnx_file.read(os.fspath(path))
