"""Latency is measured in turns, at the sizes asked for."""

from __future__ import annotations

import gc
import time

import torch

from symcompile.fidelity.latency import latency


def test_a_slower_block_takes_longer() -> None:
    calls: list[tuple[str, int]] = []

    def neural(x: torch.Tensor) -> None:
        calls.append(("neural", len(x)))
        time.sleep(0.004)

    def equation(x: torch.Tensor) -> None:
        calls.append(("equation", len(x)))
        time.sleep(0.001)

    found = latency(neural, equation, lambda n: (torch.zeros(n, 1),), (1, 32), seconds=0.05)
    assert [one.batch for one in found] == [1, 32]
    for one in found:
        assert one.neural >= 0.004
        assert 0.001 <= one.equation < one.neural
        assert one.threads == 1
    names = [name for name, _ in calls]
    assert names == ["neural", "equation"] * (len(calls) // 2)
    assert {size for _, size in calls} == {1, 32}


def test_the_collector_is_left_as_it_was() -> None:
    assert gc.isenabled()
    seen: list[bool] = []
    found = latency(
        lambda: seen.append(gc.isenabled()), lambda: None, lambda n: (), (1,), seconds=0.0
    )
    assert len(seen) == 7  # two to warm up, five measured
    assert not any(seen)
    assert gc.isenabled()
    assert found[0].neural > 0
