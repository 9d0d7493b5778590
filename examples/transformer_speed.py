"""Speed and size of a model with blocks in the place of MLPs, for transformer_mlps.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformer_bench import Bench, Series, replaced
from transformer_blocks import Case
from transformer_data import as_batches

from symcompile import record
from symcompile.expressions.evaluation import Array


def speeds(bench: Bench, many: Sequence[Series]) -> None:
    """Tokens per second of one chunk: of every series and the original in turn, so that all see
    the same machine. And the bytes of all weights."""
    every = [(Series("none", {}), 0)]
    every += [(one, count) for one in many for count in bench.sizes.counts]

    def compute() -> dict[str, Any]:
        taken = np.empty((1 + bench.sizes.rounds, len(every)))
        sizes = []
        for seconds in taken:
            for k, (one, count) in enumerate(every):
                with replaced(bench.model, one.first(count)):
                    seconds[k] = _seconds(bench)
        for one, count in every:
            with replaced(bench.model, one.first(count)):
                sizes.append(round(megabytes(bench.model), 1))
        # The first round is to warm up.
        rates = bench.sizes.length / typical(taken[1:])
        return {
            label(one, count): {"tokens a second": float(rate), "MB": size}
            for (one, count), rate, size in zip(every, rates, sizes, strict=True)
        }

    bench.once("speeds", compute)


def typical(seconds: Array) -> Array:
    """Of each column of rounds [n_rounds, n]: medians of what they are of their round, since a
    machine that is slower for a while is so for all of a round."""
    rounds = np.median(seconds, axis=1, keepdims=True)
    found: Array = np.median(seconds / rounds, axis=0) * np.median(rounds)
    return found


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
