"""Joint training of what stands in the place of MLPs, for transformer_mlps.py."""

from __future__ import annotations

import copy

from transformer_bench import THEMSELVES, Bench, Series, replaced
from transformer_data import as_batches, fast, loss

from symcompile.passes.finetune import finetune

# Learning rates that are tried, each about three times the one before it, from the middle of them.
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def tuned(bench: Bench, series: Series) -> None:
    """Rises after joint training, at the learning rate that is best on validation text: it is
    searched for at one number of layers, from the middle on, until both its neighbours are
    worse, and kept for the others."""
    at = bench.sizes.searched_for

    def harm(rate: float) -> float:
        return _trained(bench, series, at, rate)["validation"]

    best = len(RATES) // 2
    while True:
        near = [k for k in (best - 1, best, best + 1) if 0 <= k < len(RATES)]
        better = min(near, key=lambda k: harm(RATES[k]))
        if better == best:
            break
        best = better
    rises = {
        str(count): _trained(bench, series, count, RATES[best])["test"]
        for count in bench.sizes.counts
    }
    bench.keep(f"tuned {series.name}", {"rate": RATES[best], "rises": rises})


def _trained(bench: Bench, series: Series, count: int, rate: float) -> dict[str, float]:
    """Perplexity of validation text, and the rise of that of test text; each trained once."""
    key = f"train {series.name}, {count} at {rate:g}"
    found: dict[str, float] = bench.once(key, lambda: _training(bench, series, count, rate))
    return found


def _training(bench: Bench, series: Series, count: int, rate: float) -> dict[str, float]:
    blocks = {path: copy.deepcopy(block) for path, block in series.first(count).items()}
    parameters = [one for block in blocks.values() for one in block.parameters()]
    batches = as_batches(bench.more.reshape(-1, bench.sizes.length // 2))
    with replaced(bench.model, blocks), fast():
        options = {"steps": bench.sizes.tuning, "learning_rate": rate}
        finetune(bench.model, parameters, batches, loss, **options)
    return {"validation": bench.harm_of(blocks), "test": bench.rise(blocks)}


def originals(bench: Bench, series: Series) -> Series:
    """The MLPs of the same layers, to be given the same training."""
    blocks = {path: bench.model.get_submodule(path) for path in series.blocks}
    return Series(THEMSELVES, blocks)
