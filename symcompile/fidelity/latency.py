"""Time a neural block and the equations that replace it, side by side, on one thread.

With more threads than idle cores a small block waits longer for its threads than it computes.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
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
    threads, collecting = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(1)
    gc.disable()
    try:
        return tuple(
            Latency(batch, *_medians(neural, equation, arguments(batch), seconds), threads=1)
            for batch in batch_sizes
        )
    finally:
        torch.set_num_threads(threads)
        if collecting:
            gc.enable()


def _medians(
    neural: Callable[..., Any],
    equation: Callable[..., Any],
    inputs: tuple[Any, ...],
    seconds: float,
) -> tuple[float, float]:
    """Median seconds of one call of each block."""

    def both() -> tuple[float, float]:
        return _timed(neural, inputs), _timed(equation, inputs)

    with grad_mode(both)():
        both()
        times: list[tuple[float, float]] = []
        end = time.perf_counter() + seconds
        while len(times) < 5 or time.perf_counter() < end:
            times.append(both())
    neural_times, equation_times = zip(*times, strict=True)
    return statistics.median(neural_times), statistics.median(equation_times)


def _timed(block: Callable[..., Any], inputs: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    block(*inputs)
    cuda = [value.device for value in inputs if isinstance(value, torch.Tensor) and value.is_cuda]
    if cuda:
        torch.cuda.synchronize(cuda[0])
    return time.perf_counter() - start
