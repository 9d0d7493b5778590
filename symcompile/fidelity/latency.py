"""Time a neural block and the equations that replace it, side by side, on one thread.

With more threads than idle cores a small block waits longer for its threads than it computes.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from symcompile.fidelity.outcome import Latency
from symcompile.modules.calling import grad_mode


def latency(
    neural: Callable[..., Any],
    equation: Callable[..., Any],
    arguments: Callable[[int], tuple[Any, ...]],
    batch_sizes: Sequence[int] = (1, 1024),
    *,
    seconds: float = 0.3,
) -> tuple[Latency, ...]:
    """Median time of one call of both blocks, taken in turns so that load hits both alike.

    Without gradients, or both with them where the neural block differentiates in its forward.

    Args:
        arguments: positional arguments of both blocks for a batch size.
        seconds: how long to measure each batch size, after warming up; at least five calls each.
    """
    found = []
    enabled = gc.isenabled()
    with _one_thread():
        for batch in batch_sizes:
            given = arguments(batch)
            gc.disable()
            try:
                with grad_mode(partial(_once, neural, equation, given))():
                    times = _interleaved(neural, equation, given, seconds)
            finally:
                if enabled:
                    gc.enable()
            found.append(Latency(batch, *times, threads=1))
    return tuple(found)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _interleaved(
    neural: Callable[..., Any], equation: Callable[..., Any], given: tuple[Any, ...], seconds: float
) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    _once(neural, equation, given)
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or time.perf_counter() < end:
        for block, taken in zip((neural, equation), times, strict=True):
            taken.append(_timed(block, given))
    return statistics.median(times[0]), statistics.median(times[1])


def _once(neural: Callable[..., Any], equation: Callable[..., Any], given: tuple[Any, ...]) -> None:
    for block in (neural, equation):
        _timed(block, given)


def _timed(block: Callable[..., Any], given: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    block(*given)
    for one in given:
        if isinstance(one, torch.Tensor) and one.is_cuda:
            torch.cuda.synchronize(one.device)
            break
    return time.perf_counter() - start
