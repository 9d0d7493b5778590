"""Controls of transformer_mlps.py, fitted, ranked and measured; linear maps are kept in files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from safetensors.torch import load_file, save_file
from torch import nn
from transformer_bench import IN_SEQUENCE, Bench, Blocks, Series, replaced
from transformer_blocks import LINEAR, Case, between, of_rank

# The files of linear maps.
MAPS = ".safetensors"


def controls(bench: Bench, names: Sequence[str]) -> None:
    """Each fitted on the original model, ranked, and measured."""
    if all(f"row {name}" in bench.known for name in names):
        return
    blocks: dict[str, Blocks] = {name: {} for name in names}
    for start in range(0, len(bench.paths), bench.sizes.at_once):
        for path, case in bench.recorded(bench.paths[start : start + bench.sizes.at_once]):
            for name in names:
                blocks[name][path] = bench.made[name](case)
    for name, of_method in blocks.items():
        alone = {path: bench.harm_of({path: block}) for path, block in of_method.items()}
        order = sorted(alone, key=lambda path: alone[path])[: max(bench.sizes.counts)]
        series = Series(name, {path: of_method[path] for path in order})
        if name == LINEAR:
            keep_linear(bench, series)
        bench.row(series)


def sweep(bench: Bench) -> None:
    """Rises by the number of principal components, with linear maps between them; and of the
    best linear maps of the same rank, which have no such inputs."""
    n_in, n_out = bench.sizes.components
    name = f"PCA {n_in}->{n_out}, linear between"

    def compute() -> dict[str, dict[str, float]]:
        order = bench.known[f"row {name}"]["order"][: bench.sizes.swept_at]
        cases = list(bench.recorded(order))
        made: dict[str, Callable[..., nn.Module]] = {
            str(inputs): partial(between, n_in=inputs) for inputs in bench.sizes.swept_in
        }
        made["all, reduced-rank regression"] = of_rank
        return {
            inputs: {
                str(outputs): bench.rise({path: make(case, n_out=outputs) for path, case in cases})
                for outputs in bench.sizes.swept_out
            }
            for inputs, make in made.items()
        }

    bench.once("sweep", compute)


def linear(bench: Bench, *, refit: bool) -> Series:
    """Full linear maps of the layers; of each on the model with those before it."""
    if not refit:
        controls(bench, [LINEAR])
        return kept_linear(bench, LINEAR)
    name = LINEAR + IN_SEQUENCE
    order = bench.known[f"row {LINEAR}"]["order"]
    known = kept_linear(bench, name) if bench.file(name, MAPS).exists() else Series(name, {})
    blocks = dict(known.blocks)
    for path in order[len(blocks) :]:
        case = _in_place(bench, path, blocks)
        blocks[path] = bench.made[LINEAR](case)
        keep_linear(bench, Series(name, blocks))
    return Series(name, blocks)


def _in_place(bench: Bench, path: str, blocks: Blocks) -> Case:
    with replaced(bench.model, blocks):
        ((_, case),) = bench.recorded([path])
    return case


def keep_linear(bench: Bench, series: Series) -> None:
    """One layer each, in the order of their numbers."""
    blocks = enumerate(series.blocks.items())
    states = {f"{k}/{p}/{n}": t for k, (p, b) in blocks for n, t in b.state_dict().items()}
    save_file(states, bench.file(series.name, MAPS))


def kept_linear(bench: Bench, name: str) -> Series:
    states = load_file(bench.file(name, MAPS))
    places = sorted({tuple(key.split("/")[:2]) for key in states}, key=lambda one: int(one[0]))
    blocks: Blocks = {}
    for number, path in places:
        weight, bias = (states[f"{number}/{path}/{n}"] for n in ("weight", "bias"))
        blocks[path] = nn.Linear(*reversed(weight.shape))
        blocks[path].load_state_dict({"weight": weight, "bias": bias})
    return Series(name, blocks)
