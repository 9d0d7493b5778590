"""What transformer_mlps.py measures on one split of the text, and keeps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn
from transformer_blocks import Case, controls
from transformer_data import Language, as_batches, fast, losses, perplexity

from symcompile import record

Blocks = dict[str, nn.Module]
# The symbolic block, and what is added to the names of series that are fitted in sequence.
OURS, IN_SEQUENCE = "affine map and products", ", fitted in sequence"
THEMSELVES = "the MLPs themselves"
# The key of how many times as fast the symbolic block is as the paper's recipe.
BESIDE_RECIPE = "faster than the recipe"


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
        rank, terms: of the symbolic block, here for a width of 576.
        components: of inputs and outputs in the paper's recipe.
        swept_in, swept_out: numbers of them that are tried, at `swept_at` layers.
        steps: of its fit.
        tuning: steps of the joint training.
        search: options of the compile in the paper's recipe.
        turns: of each measurement of speed beside the original.
        turns_beside_recipe: of that of the symbolic block beside the recipe, of which 3 % matter.
    """

    length: int = 1024
    fit: int = 60
    validation: int = 2
    test: int = 16
    counts: tuple[int, ...] = (1, 3, 5, 7, 10)
    searched_for: int = 7
    samples: int = 60_000
    at_once: int = 10
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
    turns: int = 7
    turns_beside_recipe: int = 40

    def of(self, model: Any) -> Sizes:
        """For a model: no more than it has of layers and of coordinates of what goes through them.
        Products are a ninth of its width, and the rank is the highest at which a block has no more
        parameters than a full linear map."""
        layers, width = len(mlps(model)), model.config.hidden_size
        terms = max(1, width // 9)
        # A product reads two coordinates, with a bias each, and writes one.
        room = width * width - terms * (2 * (width + 1) + width)
        return replace(
            self,
            counts=tuple(count for count in self.counts if count <= layers),
            searched_for=max(k for k in self.counts if k <= min(layers, self.searched_for)),
            rank=max(1, room // (2 * width)),
            terms=terms,
            components=(min(self.components[0], width), min(self.components[1], width)),
            swept_in=tuple(count for count in self.swept_in if count <= width),
            swept_out=tuple(count for count in self.swept_out if count <= width),
            swept_at=min(self.swept_at, layers),
        )


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
    turns=1,
    turns_beside_recipe=2,
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
    """A model and the parts of a split; what is measured is kept in a folder, and found again."""

    def __init__(self, language: Language, sizes: Sizes, seed: int, work: Path) -> None:
        self.model, self.sizes, self.seed = language.model, sizes, seed
        text = language.split(seed, sizes.length)
        self.fit = text.fit[: sizes.fit]
        self.more = text.fit[sizes.fit :]
        self.validation, self.test = text.validation[: sizes.validation], text.test[: sizes.test]
        self.paths = mlps(self.model)
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

    def file(self, name: str, ending: str) -> Path:
        """Where blocks of a series are kept."""
        stem = name.replace(" ", "-").replace(",", "").replace(">", "")
        return self.work / f"{stem}{ending}"

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

    def row(self, series: Series) -> dict[str, Any]:
        def compute() -> dict[str, Any]:
            rises = self.rises(series)
            order = list(series.blocks)
            return {"parameters": series.parameters, "order": order, "rises": rises}

        found: dict[str, Any] = self.once(f"row {series.name}", compute)
        return found

    def recorded(self, paths: Sequence[str]) -> Iterator[tuple[str, Case]]:
        """MLPs of the original, and what each does in the model as it is now."""
        originals = {path: self.model.get_submodule(path) for path in paths}
        recording = record(
            self.model, paths, as_batches(self.fit), n_samples=self.sizes.samples, holdout=0.05
        )
        for path in paths:
            yield path, Case(originals[path], recording.samples[path])


def mlps(model: nn.Module) -> list[str]:
    """Paths of the MLPs, as models of most families call them."""
    found = [name for name, _ in model.named_modules() if name.endswith(".mlp")]
    if not found:
        raise SystemExit(
            f"{type(model).__name__} has no module called mlp: give a model whose layers have one"
        )
    return found


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
