"""Speed and size of a model with blocks in the place of MLPs, for transformer_mlps.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from transformer_bench import BESIDE_RECIPE, Bench, Blocks, Series, replaced
from transformer_blocks import Case
from transformer_data import as_batches

from symcompile import record
from symcompile.expressions.evaluation import Array


def speeds(bench: Bench, names: Sequence[str], of_paper: Series, ours: Series) -> None:
    """Of every series, how many times the tokens per second of the original it gives, and the bytes
    of all weights; of ours, how many times those of the recipe as well. Controls by their names."""
    if BESIDE_RECIPE in bench.known:
        return
    none: Blocks = {}
    turns, more = bench.sizes.turns, bench.sizes.turns_beside_recipe

    def original() -> dict[str, float]:
        taken = in_turn(bench, none, none, turns)
        rate = bench.sizes.length / float(np.median(taken))
        return {"tokens a second": rate, "MB": round(megabytes(bench.model), 1)}

    def of_series(one: Series) -> dict[str, Any]:
        return {str(count): of_blocks(one.first(count)) for count in bench.sizes.counts}

    def of_blocks(blocks: Blocks) -> dict[str, float]:
        with replaced(bench.model, blocks):
            size = round(megabytes(bench.model), 1)
        return {"faster": faster(in_turn(bench, none, blocks, turns)), "MB": size}

    def compared() -> dict[str, float]:
        pairs = {str(k): (of_paper.first(k), ours.first(k)) for k in bench.sizes.counts}
        return {count: faster(in_turn(bench, *pair, more)) for count, pair in pairs.items()}

    bench.once("speed", original)
    for one in (*stand_ins(bench, names), of_paper, ours):
        bench.once(f"speed {one.name}", partial(of_series, one))
    bench.once(BESIDE_RECIPE, compared)


def in_turn(bench: Bench, first: Blocks, second: Blocks, turns: int) -> Array:
    """Seconds of one chunk with these blocks and with those [n_turns, 2]. Nothing runs between the
    two of a turn, and which of them is first changes from turn to turn: a machine that is slower
    for a while is so for both."""
    taken = np.empty((1 + turns, 2))
    for turn, seconds in enumerate(taken):
        for k in (0, 1) if turn % 2 else (1, 0):
            with replaced(bench.model, (first, second)[k]):
                seconds[k] = _seconds(bench)
    # The first turn is to warm up.
    return taken[1:]


def faster(seconds: Array) -> float:
    """How many times as fast the second is [n_turns, 2], by the median turn."""
    return float(np.median(seconds[:, 0] / seconds[:, 1]))


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
