"""Fits on their own, without a model around them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from symcompile.regression.distillation import Searches
from symcompile.regression.fit import Fit
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.scheduler import Progress
from symcompile.storage.journal import Journal


def distill(
    fits: Sequence[Fit],
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    run_dir: str | Path | None = None,
) -> dict[str, ParetoFront]:
    """The front of each fit by its key."""
    return Searches(fits, Journal(run_dir), executor).refined(progress)
