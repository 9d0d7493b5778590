"""Compare two models: which equations are identical, drifted, or another law, and what is around.

Both sides are read into a `Snapshot` each; everything after that looks at snapshots only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from symcompile.comparison.result import GraphDiff
from symcompile.comparison.rules import Rules, categories
from symcompile.errors import ComparisonError


def diff(
    a: Any,
    b: Any,
    *,
    fail_on: str | Collection[str] | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    max_fidelity_drop: float = 0.0,
    time_limit: float = 5.0,
) -> GraphDiff:
    """Compare two models, the old one first.

    Args:
        a, b: any two of a Compiled, a traced GraphModule, or the path of a `.symc` artifact, a
            manifest or an ONNX file. Of a GraphModule, and of an ONNX file that symcompile has not
            written, only the structure is known.
        fail_on: what counts as a difference: categories of `Rules`, as a list or "a,b"; all
            of them by default, "none" for none.
        rtol, atol: a constant that moved by up to `atol + rtol * max(|old|, |new|)` is the same.
        max_fidelity_drop: how far R2 may fall and a relative L2 error may rise.
        time_limit: seconds, in all, for symbolic proofs that two equations are the same function.

    Raises:
        ArtifactError: a file is missing, damaged, tampered with, or of no known kind. Nothing of a
            file is executed.
        ComparisonError: rules that make no sense, or objects that can't be compared.
    """
    from symcompile.comparison.compare import compare
    from symcompile.comparison.readers import read_pair
    from symcompile.storage.reading import wall

    if not time_limit >= 0:
        raise ComparisonError(f"time_limit is {time_limit!r}: expected seconds from 0")
    rules = Rules(categories(fail_on), rtol, atol, max_fidelity_drop)
    old, new = read_pair(a, b)
    files = [one.source for one in (old, new) if one.from_file]
    if not files:
        return compare(old, new, rules, time_limit)
    with wall("can't compare", *files, kind=ComparisonError):
        return compare(old, new, rules, time_limit)


__all__ = ["GraphDiff", "Rules", "diff"]
