"""Compare two models: which equations are identical, drifted, or another law, and what is around.

Both sides are read into a `Snapshot` each; everything after that looks at snapshots only. It
may import all rooms before it but `passes`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from symcompile.diff.compare import diff
    from symcompile.diff.result import GraphDiff
    from symcompile.diff.rules import Rules
else:
    _HOME = {"GraphDiff": "result", "Rules": "rules", "diff": "compare"}

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


__all__ = ["GraphDiff", "Rules", "diff"]
