"""Distill: fit one equation front to each recorded output, over any executor."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from symcompile.regression.distillation import Fit, Progress, distilled
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.journal import Journal


def distill(
    fits: Sequence[Fit],
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    run_dir: str | Path | None = None,
) -> dict[str, ParetoFront]:
    """Run every fit and give its front by key, in the order of `fits`.

    An interrupt (Ctrl-C) ends it within seconds, and what was finished is in the journal: threads
    of its own that do not stop by then are left alone. Those of an executor that was given are told
    to stop as well, but whoever closes it has to wait for them. An engine that says `one_thread`
    has to heed the interrupt, and its budget, by itself.

    Args:
        executor: runs the searches; None for one thread a core, or for this thread where an engine
            says `one_thread`.
        progress: told how far each fit is.
        run_dir: journal of finished searches and fronts; what it holds for the same data, options
            and seed is taken from there.

    Returns:
        A front for each fit. Where its search failed, ignored its budget by far, or took its worker
        down twice, the front is empty and `front.reason` says why; the others are not affected.

    Raises:
        EngineError: all searches failed (the message names the first), the executor takes no more
            work, or two fits share a key.
        ArtifactError: `run_dir` can't be written to.
    """
    return distilled(fits, Journal(run_dir), executor, progress)
