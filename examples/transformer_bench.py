"""Fits, ranks and measures what transformer_mlps.py compares, on one split of the text."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformer_blocks import LINEAR, Case, between, controls, of_rank
from transformer_data import Language, as_batches, fast, loss, losses, perplexity

from symcompile import PCA, Products, Selection, Target, load, record, symcompile
from symcompile.passes.finetune import finetune

Blocks = dict[str, nn.Module]
IN_SEQUENCE = ", fitted in sequence"
# Learning rates that are tried, each about three times the one before it, from the middle of them.
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Attributes:
        length: tokens of a chunk.
        fit, validation, test: chunks of each part, at most.
        counts: how many layers are replaced.
        searched_for: the number of layers that learning rates are searched for at.
        samples: of each MLP that fits see.
        at_once: layers that are recorded together.
        rank, terms: of the symbolic block.
        components: of inputs and outputs in the paper's recipe.
        swept_in, swept_out: numbers of them that are tried, at `swept_at` layers.
        steps: of its fit.
        tuning: steps of the joint training.
        search: options of the compile in the paper's recipe.
        rounds: of the measurement of speed.
    """

    length: int = 1024
    fit: int = 60
    validation: int = 2
    test: int = 16
    counts: tuple[int, ...] = (1, 3, 5, 7, 10)
    searched_for: int = 7
    samples: int = 60_000
    at_once: int = 6
    rank: int = 191
    terms: int = 64
    components: tuple[int, int] = (32, 8)
    swept_in: tuple[int, ...] = (8, 32, 128, 512)
    swept_out: tuple[int, ...] = (2, 8, 32, 128)
    swept_at: int = 3
    steps: int = 600
    tuning: int = 100
    search: dict[str, Any] = field(
        default_factory=lambda: {
            "engine_options": {"restarts": 1, "population": 100, "generations": 10}
        }
    )
    rounds: int = 5


QUICK = Sizes(
    length=32,
    fit=40,
    validation=4,
    test=8,
    counts=(1, 2),
    searched_for=2,
    samples=1200,
    at_once=4,
    rank=20,
    terms=6,
    components=(4, 2),
    swept_in=(4, 16),
    swept_out=(2, 8),
    swept_at=1,
    steps=60,
    tuning=6,
    search={
        "engine_options": {"restarts": 1, "population": 50, "generations": 2},
        "budget": 1.0,
    },
    rounds=1,
)


@dataclass(frozen=True)
class Series:
    """Blocks in the order in which they replace MLPs; what serves k of them serves fewer."""

    name: str
    blocks: Blocks

    def first(self, count: int) -> Blocks:
        return dict(list(self.blocks.items())[:count])

    @property
    def parameters(self) -> int:
        """Scalars of one block."""
        block = next(iter(self.blocks.values()))
        return sum(tensor.numel() for tensor in block.state_dict().values())


class Bench:
    """Methods and measurements; what they give is kept in a folder, and found there again."""

    def __init__(self, language: Language, sizes: Sizes, seed: int, work: Path) -> None:
        self.model, self.sizes, self.seed = language.model, sizes, seed
        text = language.split(seed, sizes.length)
        self.fit = text.fit[: sizes.fit]
        self.more = text.fit[sizes.fit :]
        self.validation, self.test = text.validation[: sizes.validation], text.test[: sizes.test]
        self.paths = [name for name, _ in self.model.named_modules() if name.endswith(".mlp")]
        self.made = controls(sizes.rank, *sizes.components)
        self.work = work / f"seed{seed}"
        self.work.mkdir(parents=True, exist_ok=True)
        self._file = self.work / "results.json"
        self.known = json.loads(self._file.read_text()) if self._file.exists() else {}

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """What was computed before, or now."""
        if key not in self.known:
            start = time.perf_counter()
            self.keep(key, compute())
            print(f"{key}: {time.perf_counter() - start:.0f} s", flush=True)
        return self.known[key]

    def keep(self, key: str, value: Any) -> None:
        self.known[key] = value
        self._file.write_text(json.dumps(self.known, indent=1))

    # --- measuring ---------------------------------------------------------------------------

    def rise(self, blocks: Blocks) -> float:
        """Of the perplexity of test text, with these blocks in place."""
        base = self.once("base", lambda: perplexity(losses(self.model, self.test)))
        with replaced(self.model, blocks):
            return perplexity(losses(self.model, self.test)) - base

    def rises(self, series: Series) -> dict[str, float]:
        """By the number of layers replaced."""
        return {str(count): self.rise(series.first(count)) for count in self.sizes.counts}

    def harm(self, model: nn.Module) -> float:
        """The perplexity of validation text, good enough to rank by."""
        with fast():
            return perplexity(losses(model, self.validation))

    def harm_of(self, blocks: Blocks) -> float:
        with replaced(self.model, blocks):
            return self.harm(self.model)

    # --- controls ----------------------------------------------------------------------------

    def recorded(self, paths: Sequence[str]) -> Iterator[tuple[str, Case]]:
        """MLPs of the original, and what each does in the model as it is now."""
        originals = {path: self.model.get_submodule(path) for path in paths}
        recording = record(
            self.model, paths, as_batches(self.fit), n_samples=self.sizes.samples, holdout=0.05
        )
        for path in paths:
            yield path, Case(originals[path], recording.samples[path])

    def controls(self, names: Sequence[str]) -> None:
        """Each fitted on the original model, ranked, and measured."""
        if all(f"row {name}" in self.known for name in names):
            return
        blocks: dict[str, Blocks] = {name: {} for name in names}
        for start in range(0, len(self.paths), self.sizes.at_once):
            for path, case in self.recorded(self.paths[start : start + self.sizes.at_once]):
                for name in names:
                    blocks[name][path] = self.made[name](case)
        for name, of_method in blocks.items():
            alone = {path: self.harm_of({path: block}) for path, block in of_method.items()}
            order = sorted(alone, key=lambda path: alone[path])[: max(self.sizes.counts)]
            series = Series(name, {path: of_method[path] for path in order})
            if name == LINEAR:
                self.keep_linear(series)
            self.row(series)

    def sweep(self) -> None:
        """Rises by the number of principal components, with linear maps between them; and of the
        best linear maps of the same rank, which have no such inputs."""
        n_in, n_out = self.sizes.components
        name = f"PCA {n_in}->{n_out}, linear between"

        def compute() -> dict[str, dict[str, float]]:
            order = self.known[f"row {name}"]["order"][: self.sizes.swept_at]
            cases = list(self.recorded(order))
            made: dict[str, Callable[..., nn.Module]] = {
                str(inputs): partial(between, n_in=inputs) for inputs in self.sizes.swept_in
            }
            made["all, reduced-rank regression"] = of_rank
            return {
                inputs: {
                    str(outputs): self.rise(
                        {path: make(case, n_out=outputs) for path, case in cases}
                    )
                    for outputs in self.sizes.swept_out
                }
                for inputs, make in made.items()
            }

        self.once("sweep", compute)

    def linear(self, *, refit: bool) -> Series:
        """Full linear maps of the layers; of each on the model with those before it."""
        if not refit:
            self.controls([LINEAR])
            return self.kept_linear(LINEAR)
        name = LINEAR + IN_SEQUENCE
        order = self.known[f"row {LINEAR}"]["order"]
        known = self.kept_linear(name) if self._linear(name).exists() else Series(name, {})
        blocks = dict(known.blocks)
        for path in order[len(blocks) :]:
            case = self._in_place(path, blocks)
            blocks[path] = self.made[LINEAR](case)
            self.keep_linear(Series(name, blocks))
        return Series(name, blocks)

    def _in_place(self, path: str, blocks: Blocks) -> Case:
        with replaced(self.model, blocks):
            ((_, case),) = self.recorded([path])
        return case

    def _linear(self, name: str) -> Path:
        return self.work / f"{name.replace(' ', '-').replace(',', '')}.safetensors"

    def keep_linear(self, series: Series) -> None:
        """One layer each, in the order of their numbers."""
        blocks = enumerate(series.blocks.items())
        states = {f"{k}/{p}/{n}": t for k, (p, b) in blocks for n, t in b.state_dict().items()}
        save_file(states, self._linear(series.name))

    def kept_linear(self, name: str) -> Series:
        states = load_file(self._linear(name))
        places = sorted({tuple(key.split("/")[:2]) for key in states}, key=lambda one: int(one[0]))
        blocks: Blocks = {}
        for number, path in places:
            weight, bias = (states[f"{number}/{path}/{n}"] for n in ("weight", "bias"))
            blocks[path] = nn.Linear(*reversed(weight.shape))
            blocks[path].load_state_dict({"weight": weight, "bias": bias})
        return Series(name, blocks)

    # --- what the compiler makes ---------------------------------------------------------------

    def products(self, *, refit: bool) -> Series:
        name = "affine map and products" + (IN_SEQUENCE if refit else "")
        asked, options = asked_of_products(self.sizes)
        return self.compiled(name, self.fit, refit=refit, asked=asked, **options)

    def recipe(self) -> Series:
        """The paper's: 6,000 samples, equations among principal components."""
        n_in, n_out = self.sizes.components
        asked = {"reduce": PCA(n_in, n_out)}
        options = {"n_samples": min(6000, self.sizes.samples), **self.sizes.search}
        tokens = self.fit[: max(1, self.sizes.fit // 5)]
        name = f"PCA {n_in}->{n_out}, equations"
        return self.compiled(name, tokens, refit=False, asked=asked, **options)

    def compiled(
        self, name: str, tokens: torch.Tensor, *, refit: bool, asked: dict[str, Any], **options: Any
    ) -> Series:
        """What the compiler selects, the least harmful first."""
        file = self.work / f"{name.replace(' ', '-').replace(',', '').replace('>', '')}.symc"
        if file.exists() and f"order {name}" in self.known:
            module = load(file).module
        else:
            module = self._selected(name, tokens, file, refit, asked, options)
        order = self.known[f"order {name}"]
        return Series(name, {path: module.get_submodule(path) for path in order})

    def _selected(
        self,
        name: str,
        tokens: torch.Tensor,
        file: Path,
        refit: bool,
        asked: dict[str, Any],
        options: dict[str, Any],
    ) -> nn.Module:
        start = time.perf_counter()
        selection = Selection(
            self.harm,
            max_regions=max(self.sizes.counts),
            refit=refit,
            at_once=self.sizes.at_once,
        )
        targets = [Target(path, **asked) for path in self.paths]
        found = symcompile(
            self.model,
            targets,
            as_batches(tokens),
            select=selection,
            progress=False,
            run_dir=self.work / "fits",
            **options,
        )
        assert found.selection is not None
        found.save(file)
        self.keep(f"order {name}", [one.path for one in found.selection.tried if one.selected])
        self.keep(f"seconds {name}", round(time.perf_counter() - start))
        print(f"{name}: {time.perf_counter() - start:.0f} s\n{found.selection}", flush=True)
        return found.module

    def row(self, series: Series) -> dict[str, Any]:
        def compute() -> dict[str, Any]:
            rises = self.rises(series)
            order = list(series.blocks)
            return {"parameters": series.parameters, "order": order, "rises": rises}

        found: dict[str, Any] = self.once(f"row {series.name}", compute)
        return found

    # --- joint training ------------------------------------------------------------------------

    def tuned(self, series: Series) -> None:
        """Rises after joint training, at the learning rate that is best on validation text: it is
        searched for at one number of layers, from the middle on, until both its neighbours are
        worse, and kept for the others."""
        at = self.sizes.searched_for
        harms: dict[float, float] = {}

        def harm(rate: float) -> float:
            if rate not in harms:
                harms[rate] = self._trained(series, at, rate)["validation"]
            return harms[rate]

        best = len(RATES) // 2
        while True:
            near = [k for k in (best - 1, best, best + 1) if 0 <= k < len(RATES)]
            better = min(near, key=lambda k: harm(RATES[k]))
            if better == best:
                break
            best = better
        rises = {
            str(count): self._trained(series, count, RATES[best])["test"]
            for count in self.sizes.counts
        }
        self.keep(f"tuned {series.name}", {"rate": RATES[best], "rises": rises})

    def _trained(self, series: Series, count: int, rate: float) -> dict[str, float]:
        def compute() -> dict[str, float]:
            blocks = {path: copy.deepcopy(block) for path, block in series.first(count).items()}
            parameters = [one for block in blocks.values() for one in block.parameters()]
            batches = as_batches(self.more.reshape(-1, self.sizes.length // 2))
            with replaced(self.model, blocks), fast():
                options = {"steps": self.sizes.tuning, "learning_rate": rate}
                finetune(self.model, parameters, batches, loss, **options)
            return {"validation": self.harm_of(blocks), "test": self.rise(blocks)}

        found: dict[str, float] = self.once(f"train {series.name}, {count} at {rate:g}", compute)
        return found

    def originals(self, series: Series) -> Series:
        """The MLPs of the same layers, to be given the same training."""
        blocks = {path: self.model.get_submodule(path) for path in series.blocks}
        return Series("the MLPs themselves", blocks)

    # --- speed ---------------------------------------------------------------------------------

    def speeds(self, many: Sequence[Series]) -> None:
        """Tokens per second of one chunk: of every series and the original in turn, so that all see
        the same machine; medians over the rounds. And the bytes of all weights."""
        every = [(Series("none", {}), 0)]
        every += [(one, count) for one in many for count in self.sizes.counts]

        def compute() -> dict[str, Any]:
            seconds: dict[str, list[float]] = {}
            for warm in range(-1, self.sizes.rounds):
                for one, count in every:
                    with replaced(self.model, one.first(count)):
                        took = self._seconds()
                    if warm >= 0:
                        seconds.setdefault(label(one, count), []).append(took)
            return {
                name: {"tokens a second": self.sizes.length / sorted(some)[len(some) // 2]}
                for name, some in seconds.items()
            }

        found = self.once("speeds", compute)
        for one, count in every:
            with replaced(self.model, one.first(count)):
                size = sum(p.numel() * p.element_size() for p in self.model.parameters())
            found[label(one, count)]["MB"] = round(size / 1e6, 1)
        self.keep("speeds", found)

    @torch.no_grad()
    def _seconds(self) -> float:
        start = time.perf_counter()
        self.model(input_ids=self.test[:1])
        return time.perf_counter() - start

    def stand_ins(self, names: Sequence[str]) -> list[Series]:
        """Controls of the right shapes, whatever they compute."""
        few = as_batches(self.fit[:2])
        path = self.paths[0]
        recording = record(self.model, path, few, n_samples=2 * self.sizes.length, holdout=0.05)
        many = []
        for name in names:
            order = self.known[f"row {name}"]["order"]
            case = {p: Case(self.model.get_submodule(p), recording.samples[path]) for p in order}
            many.append(Series(name, {p: self.made[name](one) for p, one in case.items()}))
        return many


def asked_of_products(sizes: Sizes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the targets and of the compile for the symbolic block."""
    asked = {"reduce": Products(sizes.terms, steps=sizes.steps), "affine": sizes.rank}
    return asked, {"n_samples": sizes.samples, "holdout": 0.05, "objective": loss}


def label(series: Series, count: int) -> str:
    return f"{series.name} {count}" if count else series.name


@contextmanager
def replaced(model: nn.Module, blocks: Blocks) -> Iterator[None]:
    """Blocks in the place of MLPs inside of it."""
    before = {path: model.get_submodule(path) for path in blocks}
    for path, block in blocks.items():
        model.set_submodule(path, block)
    try:
        yield
    finally:
        for path, block in before.items():
            model.set_submodule(path, block)
