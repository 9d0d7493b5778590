"""The controls of `examples/transformer_mlps.py`, its splits, its rates and its table."""

from __future__ import annotations

from pathlib import Path
from types import MethodType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from symcompile.modules.samples import Samples

EXAMPLES = Path(__file__).parents[1] / "examples"
D = 12


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import transformer_bench
        import transformer_blocks
        import transformer_data
        import transformer_fits
        import transformer_speed
        import transformer_table
        import transformer_training

        yield SimpleNamespace(
            bench=transformer_bench,
            blocks=transformer_blocks,
            data=transformer_data,
            fits=transformer_fits,
            speed=transformer_speed,
            table=transformer_table,
            training=transformer_training,
        )


# --- controls ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case(example):
    """A block that is linear but for a little."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(D, D)) * np.logspace(0, -2, D)
    X = random.normal(size=(800, D)) @ random.normal(size=(D, D)) + 1.0
    Y = X @ weight + 0.5 + 0.01 * np.sin(X)
    held = np.arange(800) % 4 == 0
    mlp = nn.Linear(D, D)
    with torch.no_grad():
        mlp.weight.copy_(torch.from_numpy(weight.T))
        mlp.bias.fill_(0.5)
    return example.blocks.Case(mlp, Samples(X, Y, held))


def values(block: nn.Module, case) -> np.ndarray:
    x = torch.from_numpy(case.samples.X_holdout).float()
    with torch.no_grad():
        return block(x[None])[0].numpy()


def errors(example, case) -> dict[str, float]:
    made = example.blocks.controls(5, 6, 3)
    Y = case.samples.Y_holdout
    return {
        name: float(np.linalg.norm(values(make(case), case) - Y) / np.linalg.norm(Y - Y.mean(0)))
        for name, make in made.items()
    }


def test_every_control_is_what_its_name_says(example, case) -> None:
    made = {name: make(case) for name, make in example.blocks.controls(5, 6, 3).items()}
    assert list(made) == [
        "zero output",
        "input passed through",
        "mean output",
        "PCA 6->3, MLP kept",
        "PCA 6->3, linear between",
        "linear map of rank 3",
        "linear map of rank 6",
        "linear map of rank 5",
        "full linear map",
    ]
    assert not values(made["zero output"], case).any()
    np.testing.assert_allclose(
        values(made["input passed through"], case), case.samples.X_holdout, rtol=1e-6
    )
    mean = case.samples.Y_fit.mean(axis=0)
    np.testing.assert_allclose(values(made["mean output"], case)[7], mean, rtol=1e-6)
    for name, rank in (("PCA 6->3, MLP kept", 3), ("linear map of rank 5", 5)):
        found = values(made[name], case)
        assert np.linalg.matrix_rank(found - found.mean(axis=0), tol=1e-3) == rank


def test_the_more_a_control_may_the_better_it_is(example, case) -> None:
    error = errors(example, case)
    assert error["full linear map"] < 0.02
    assert (
        error["full linear map"]
        < error["linear map of rank 6"]
        < error["linear map of rank 5"]
        < error["linear map of rank 3"]
        < error["PCA 6->3, linear between"]
        < error["mean output"] + 0.02
    )
    # Of a block that is all but linear, the map between components is as good as the block itself.
    assert error["PCA 6->3, linear between"] < error["PCA 6->3, MLP kept"] + 0.02


# --- text --------------------------------------------------------------------------------------


def test_no_document_is_in_two_parts(example) -> None:
    documents = [[number] * 10 for number in range(100)]
    language = example.data.Language("none", nn.Identity(), None, documents)
    text = language.split(0, 16)
    parts = [set(part.flatten().tolist()) for part in (text.fit, text.validation, text.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert len(parts[0]) >= 79
    assert text.fit.shape == (50, 16)
    another = language.split(1, 16)
    assert not torch.equal(text.test, another.test)


def test_perplexity_is_that_of_all_tokens(example) -> None:
    class Uniform(nn.Module):
        def forward(self, input_ids):
            return {"logits": torch.zeros(*input_ids.shape, 50)}

    tokens = torch.arange(48).reshape(3, 16)
    found = example.data.perplexity(example.data.losses(Uniform(), tokens))
    assert found == pytest.approx(50.0, rel=1e-5)


# --- learning rates ----------------------------------------------------------------------------


class Bench:
    """Stands where training is: what a rate comes to is known."""

    def __init__(self, best: float) -> None:
        self.sizes = SimpleNamespace(searched_for=7, counts=(1, 7))
        self.best, self.known = best, {}
        self.trained: list[tuple[int, float]] = []

    def keep(self, key, value) -> None:
        self.known[key] = value


@pytest.mark.parametrize("best", [1e-5, 3e-4, 1e-3, 3e-2])
def test_the_best_learning_rate_is_found(example, monkeypatch, best) -> None:
    def trained(bench, series, count, rate):
        bench.trained.append((count, rate))
        off = abs(np.log(rate / bench.best))
        return {"validation": off, "test": count + off}

    monkeypatch.setattr(example.training, "_training", trained)
    bench = Bench(best)
    bench.once = MethodType(example.bench.Bench.once, bench)
    example.training.tuned(bench, SimpleNamespace(name="some"))
    assert bench.known["tuned some"] == {"rate": best, "rises": {"1": 1.0, "7": 7.0}}
    searched = [rate for count, rate in bench.trained if count == 7]
    assert len(searched) <= 7


# --- what is kept ------------------------------------------------------------------------------


def test_linear_maps_are_kept_in_their_order(example, tmp_path) -> None:
    torch.manual_seed(0)
    language = example.data.Language("none", made(12, 3), None, [[1] * 64] * 100)
    bench = example.bench.Bench(language, example.bench.QUICK, 0, tmp_path)
    paths = [f"layers.{k}.mlp" for k in (7, 11, 2, 0, 9, 10, 3, 4, 5, 6, 1)]
    series = example.bench.Series("full linear map", {path: nn.Linear(3, 2) for path in paths})
    example.fits.keep_linear(bench, series)
    found = example.fits.kept_linear(bench, "full linear map")
    assert list(found.blocks) == paths
    assert found.parameters == series.parameters == 8
    for path, block in found.blocks.items():
        assert torch.equal(block.weight, series.blocks[path].weight)
        assert torch.equal(block.bias, series.blocks[path].bias)


def test_blocks_go_back_whatever_happens(example) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = list(model)
    with example.bench.replaced(model, {"1": nn.Identity()}):
        assert isinstance(model[1], nn.Identity)
    assert list(model) == before

    def failing() -> None:
        with example.bench.replaced(model, {"0": nn.Identity()}):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert list(model) == before


# --- sizes -------------------------------------------------------------------------------------


def made(layers: int, width: int) -> nn.Module:
    model = nn.Module()
    model.config = SimpleNamespace(hidden_size=width)
    model.layers = nn.ModuleList(nn.ModuleDict({"mlp": nn.Identity()}) for _ in range(layers))
    return model


@pytest.mark.parametrize(("layers", "width"), [(30, 576), (24, 896), (6, 64), (1, 9)])
def test_sizes_are_those_that_a_model_has(example, layers, width) -> None:
    sizes = example.bench.Sizes().of(made(layers, width))
    assert max(sizes.counts) <= layers
    assert sizes.searched_for in sizes.counts
    assert max(*sizes.components, *sizes.swept_in, *sizes.swept_out) <= width

    def parameters(rank: int) -> int:
        products = sizes.terms * (2 * (width + 1) + width)
        return products + 2 * rank * width + width

    assert parameters(sizes.rank) <= width * width + width < parameters(sizes.rank + 1)


def test_those_of_the_readme_are_its_own(example) -> None:
    assert example.bench.Sizes().of(made(30, 576)) == example.bench.Sizes()


def test_a_model_without_mlps_is_told(example) -> None:
    with pytest.raises(SystemExit, match="Sequential has no module called mlp"):
        example.bench.mlps(nn.Sequential(nn.Linear(2, 2)))


# --- speed -------------------------------------------------------------------------------------


def test_a_slow_turn_moves_no_speed(example) -> None:
    seconds = np.outer([1.0, 1.0, 3.0, 1.0, 2.0], [1.0, 0.8])
    assert example.speed.faster(seconds) == pytest.approx(1.25)
    seconds[0, 1], seconds[3, 0] = 5.0, 0.1
    assert example.speed.faster(seconds) == pytest.approx(1.25)


# --- the table ---------------------------------------------------------------------------------


def test_the_table_tells_rises_rates_and_speed(example) -> None:
    found = {
        "base": 15.362,
        "row full linear map": {"parameters": 332352, "rises": {"1": 0.4, "7": 123.4}},
        "row affine map and products": {"parameters": 331904, "rises": {"1": -0.2, "7": 3.9}},
        "tuned full linear map": {"rate": 0.003, "rises": {"1": -0.2, "7": 2.5}},
        "tuned affine map and products": {"rate": 0.001, "rises": {"1": -0.3, "7": 1.0}},
        "tuned the MLPs themselves": {"rate": 1e-05, "rises": {"1": -1.0, "7": -1.5}},
        "speed": {"tokens a second": 600.0, "MB": 538.0},
        "speed full linear map": {
            "1": {"faster": 1.02, "MB": 528.0},
            "7": {"faster": 1.15, "MB": 473.0},
        },
        "faster than the recipe": {"1": 0.99, "7": 0.98},
        "seconds affine map and products": {"layers": 30, "seconds": 1710},
        "sweep": {"8": {"2": 1.0, "8": 0.5}, "all": {"2": 0.75, "8": 0.25}},
    }
    lines = example.table.table("SmolLM2", "0", found).splitlines()
    assert lines[0] == "SmolLM2, split 0: the perplexity of 15.36 rises by"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert ["full linear map", "0.40", "123", "332,352", "x 1.150", "473.0"] in cells
    trained = "affine map and products, then trained at 0.001"
    assert [trained, "-0.30", "1.00", "331,904", "", ""] in cells
    assert ["the MLPs themselves, trained at 1e-05", "-1.00", "-1.50", "", "", ""] in cells
    assert ["all", "0.75", "0.25"] in cells
    assert ["fitted alone", "-0.50", "0.03"] in cells
    assert ["fitted alone, then trained", "-", "0.40"] in cells
    above = "fitted alone, then trained, above the MLPs themselves"
    assert [above, "0.87", "0.62"] in cells
    assert ["full linear map", "x 1.020, 528.0", "x 1.150, 473.0"] in cells
    beside = "affine map and products, by the tokens a second of the recipe"
    assert [beside, "x 0.990", "x 0.980"] in cells
    (time,) = [line for line in lines if "minutes" in line]
    assert time.startswith("affine map and products: 30 layers fitted")
    assert "28.5 minutes" in time


def test_the_readme_shows_what_was_measured(example) -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    of_split = example.table.stored(EXAMPLES / "results")
    first, second = of_split.values()
    assert example.table.rises(first) in readme
    alone, trained, above = (of["7"] for of in example.table.shares(second).values())
    told = f"{alone} fitted alone, {trained} trained, {above} above the trained MLPs"
    assert told in " ".join(readme.split())
    tables = [example.table.table("SmolLM2-135M-Instruct.Q4_1", *one) for one in of_split.items()]
    stored = (EXAMPLES / "results" / "transformer_mlps.md").read_text(encoding="utf-8")
    assert stored == "\n\n".join(tables) + "\n"
