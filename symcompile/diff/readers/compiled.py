"""Read a compiled model that is in memory."""

from __future__ import annotations

from symcompile.diff.readers import manifest
from symcompile.diff.snapshot import Snapshot
from symcompile.errors import ComparisonError
from symcompile.exporters.manifest_json import manifest as exported
from symcompile.exporters.manifest_json import traced_graph
from symcompile.fidelity.outcome import Hybrid


def read(hybrid: Hybrid, level: str | None = None) -> Snapshot:
    """A hybrid as a snapshot of its manifest.

    With level "fx" its graph is the one that torch.fx traced, to be compared with another one's.
    ComparisonError if there is none.
    """
    data = exported(hybrid)
    if level == "fx":
        data["graph"] = traced_graph(hybrid)
        if data["graph"] is None:
            raise ComparisonError(
                f"{type(hybrid.module).__name__} was not traced by torch.fx: it has no graph to"
                " compare with that of a GraphModule"
            )
    return manifest.snapshot(data, type(hybrid).__name__, "Compiled")
