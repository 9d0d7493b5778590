"""What the compiler makes of MLPs for transformer_mlps.py: our blocks, and the paper's recipe."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformer_bench import IN_SEQUENCE, OURS, Bench, Series, Sizes
from transformer_data import as_batches, loss

from symcompile import PCA, Products, Selection, Target, load, symcompile


def products(bench: Bench, *, refit: bool) -> Series:
    name = OURS + (IN_SEQUENCE if refit else "")
    asked, options = asked_of_products(bench.sizes)
    return compiled(bench, name, bench.fit, refit=refit, asked=asked, **options)


def recipe(bench: Bench) -> Series:
    """The paper's: 6,000 samples, equations among principal components."""
    n_in, n_out = bench.sizes.components
    asked = {"reduce": PCA(n_in, n_out)}
    options = {"n_samples": min(6000, bench.sizes.samples), **bench.sizes.search}
    tokens = bench.fit[: max(1, bench.sizes.fit // 5)]
    name = f"PCA {n_in}->{n_out}, equations"
    return compiled(bench, name, tokens, refit=False, asked=asked, **options)


def compiled(
    bench: Bench,
    name: str,
    tokens: torch.Tensor,
    *,
    refit: bool,
    asked: dict[str, Any],
    **options: Any,
) -> Series:
    """What the compiler selects, the least harmful first."""
    file = bench.file(name, ".symc")
    if file.exists() and f"order {name}" in bench.known:
        module = load(file).module
    else:
        module = _selected(bench, name, tokens, file, refit, asked, options)
    order = bench.known[f"order {name}"]
    return Series(name, {path: module.get_submodule(path) for path in order})


def _selected(
    bench: Bench,
    name: str,
    tokens: torch.Tensor,
    file: Path,
    refit: bool,
    asked: dict[str, Any],
    options: dict[str, Any],
) -> nn.Module:
    # Of a run that goes on from fits that there are, nobody knows what all of it takes.
    begun = bench.file(name, ".begun")
    whole = not refit and not begun.exists()
    begun.touch()
    start = time.perf_counter()
    selection = Selection(
        bench.harm,
        max_regions=max(bench.sizes.counts),
        refit=refit,
        at_once=bench.sizes.at_once,
    )
    targets = [Target(path, **asked) for path in bench.paths]
    found = symcompile(
        bench.model,
        targets,
        as_batches(tokens),
        select=selection,
        progress=False,
        run_dir=bench.work / "fits",
        **options,
    )
    assert found.selection is not None
    found.save(file, original=False)
    bench.keep(f"order {name}", [one.path for one in found.selection.tried if one.selected])
    seconds = time.perf_counter() - start
    if whole:
        bench.keep(f"seconds {name}", {"layers": len(bench.paths), "seconds": round(seconds)})
    print(f"{name}: {seconds:.0f} s\n{found.selection}", flush=True)
    return found.module


def asked_of_products(sizes: Sizes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the targets and of the compile for the symbolic block."""
    asked = {"reduce": Products(sizes.terms, steps=sizes.steps), "affine": sizes.rank}
    return asked, {"n_samples": sizes.samples, "holdout": 0.05, "objective": loss}
