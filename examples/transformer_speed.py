"""Speed and size of a model with blocks in the place of MLPs, for transformer_mlps.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformer_bench import Bench, Series, replaced
from transformer_blocks import Case
from transformer_data import as_batches

from symcompile import record


def speeds(bench: Bench, many: Sequence[Series]) -> None:
    """Tokens per second of one chunk: of every series and the original in turn, so that all see
    the same machine; medians over the rounds. And the bytes of all weights."""
    every = [(Series("none", {}), 0)]
    every += [(one, count) for one in many for count in bench.sizes.counts]

    def compute() -> dict[str, Any]:
        seconds: dict[str, list[float]] = {}
        for warm in range(-1, bench.sizes.rounds):
            for one, count in every:
                with replaced(bench.model, one.first(count)):
                    took = _seconds(bench)
                if warm >= 0:
                    seconds.setdefault(label(one, count), []).append(took)
        found = {}
        for one, count in every:
            some = sorted(seconds[label(one, count)])
            rate = bench.sizes.length / some[len(some) // 2]
            with replaced(bench.model, one.first(count)):
                size = round(megabytes(bench.model), 1)
            found[label(one, count)] = {"tokens a second": rate, "MB": size}
        return found

    bench.once("speeds", compute)


def megabytes(module: nn.Module) -> float:
    """Of all weights."""
    return sum(one.numel() * one.element_size() for one in module.parameters()) / 1e6


@torch.no_grad()
def _seconds(bench: Bench) -> float:
    start = time.perf_counter()
    bench.model(input_ids=bench.test[:1])
    return time.perf_counter() - start


def stand_ins(bench: Bench, names: Sequence[str]) -> list[Series]:
    """Controls of the right shapes, whatever they compute."""
    few = as_batches(bench.fit[:2])
    path = bench.paths[0]
    recording = record(bench.model, path, few, n_samples=2 * bench.sizes.length, holdout=0.05)
    many = []
    for name in names:
        order = bench.known[f"row {name}"]["order"]
        case = {p: Case(bench.model.get_submodule(p), recording.samples[path]) for p in order}
        many.append(Series(name, {p: bench.made[name](one) for p, one in case.items()}))
    return many


def label(series: Series, count: int) -> str:
    return f"{series.name} {count}" if count else series.name
