"""A selection that was ended goes on from the regions that its run_dir has, and from no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_select import TARGET, Model, inputs, metric_of, model
from torch import nn

from symcompile import Compiled, Products, Selection, Target, symcompile
from symcompile.errors import ArtifactError
from symcompile.options import Options
from symcompile.passes import candidates
from symcompile.passes.candidates import Candidates
from symcompile.pipeline import Request


@pytest.fixture
def fits(monkeypatch) -> list[str]:
    """The regions that are fitted from now on, in their order."""
    seen: list[str] = []
    real = candidates.fitting_passes

    def noting(options):
        passes = real(options)

        class Noting:
            def run(self, request):
                seen.extend(target.path for target in request.targets)
                return passes.run(request)

        return Noting()

    monkeypatch.setattr(candidates, "fitting_passes", noting)
    return seen


def squares(results, x) -> torch.Tensor:
    return results.square().mean()


def made(one: nn.Module, folder: Path, metric=None, **options) -> Compiled:
    selection = Selection(metric or metric_of(one), max_regions=2, at_once=3)
    asked = {"select": selection, "progress": False, "run_dir": folder, "objective": squares}
    return symcompile(one, TARGET, batches(), **{**asked, **options})


def batches(seed: int = 1) -> list[torch.Tensor]:
    return list(inputs(1200, seed).split(200))


LAYERS = [f"layers.{k}" for k in range(4)]


def test_what_was_fitted_is_found_again(fits, tmp_path) -> None:
    first = made(model(), tmp_path)
    assert fits == [*LAYERS, "layers.3"]  # the last of them on the model as it is then
    fits.clear()
    again = made(model(), tmp_path)
    assert fits == []
    assert str(again.selection) == str(first.selection)
    assert str(again.equations) == str(first.equations)
    x = inputs(50, seed=5)
    with torch.no_grad():
        assert torch.equal(again.module(x), first.module(x))


def test_an_ended_run_goes_on(fits, tmp_path) -> None:
    one, calls = model(), []
    real = metric_of(one)

    def dying(made: nn.Module) -> float:
        calls.append(1)
        if len(calls) > 5:  # the original, and each layer alone
            raise KeyboardInterrupt
        return real(made)

    with pytest.raises(KeyboardInterrupt):
        made(one, tmp_path, dying)
    assert fits == LAYERS
    fits.clear()
    found = made(model(), tmp_path)
    assert fits == ["layers.3"]
    whole = made(model(), tmp_path / "another")
    assert str(found.selection) == str(whole.selection)


def test_it_does_not_matter_what_is_recorded_together_nor_how_it_is_named(fits, tmp_path) -> None:
    first = made(model(), tmp_path)
    fits.clear()
    targets = [Target(path, reduce=TARGET.reduce, affine=TARGET.affine) for path in LAYERS]
    selection = Selection(metric_of(model()), max_regions=2, at_once=1)
    asked = {"progress": False, "objective": squares}
    for folder, expected in ((tmp_path, []), (tmp_path / "another", [*LAYERS, "layers.3"])):
        fits.clear()
        found = symcompile(model(), targets, batches(), select=selection, run_dir=folder, **asked)
        assert fits == expected
        assert str(found.selection) == str(first.selection)


class Changed(Model):
    """The same weights, another forward."""

    def forward(self, x):
        return 1.25 * super().forward(x)


def test_results_of_searches_are_kept_as_well(fits, tmp_path) -> None:
    target = Target("layers.*", outputs=[0])
    options = {"engine_options": {"population": 20, "generations": 2}, "budget": 5.0}
    asked = {**options, "select": Selection(metric_of(model()), max_regions=1)}
    found = []
    for _ in range(2):
        options = {**asked, "run_dir": tmp_path, "progress": False}
        found.append(symcompile(model(), target, inputs(300), **options).fronts)
    assert fits == LAYERS
    assert str(found[0]) == str(found[1])


OTHERS: dict[str, Callable[[], dict]] = {
    "seed": lambda: {"options": Options(seed=1, objective=squares)},
    "n_samples": lambda: {"options": Options(n_samples=800, objective=squares)},
    "no objective": lambda: {"options": Options()},
    "objective of the same name": lambda: {
        "options": Options(objective=lambda results, x: 2.0 * results.square().mean())
    },
    "operators": lambda: {"options": Options(["+", "*"], objective=squares)},
    "rule": lambda: {"options": Options(rule="knee", objective=squares)},
    "target": lambda: {"target": Target("layers.0", reduce=Products(2, steps=60), affine=6)},
    "steps": lambda: {"target": Target("layers.0", reduce=Products(3, steps=61), affine=6)},
    "path": lambda: {"target": Target("layers.1", reduce=Products(3, steps=60), affine=6)},
    "weights": lambda: {"model": moved()},
    "code": lambda: {"model": changed()},
    "data": lambda: {"data": batches(seed=9)},
    "later data": lambda: {"data": [*batches(), inputs(7, seed=9)]},
    "kept": lambda: {"kept": 4000},
}


def moved() -> nn.Module:
    one = model()
    with torch.no_grad():
        one.layers[3].up.bias[0] += 1e-6
    return one


def changed() -> nn.Module:
    torch.manual_seed(0)
    return Changed().eval()


def name(folder: Path, **given) -> str | None:
    options = given.get("options") or Options(objective=squares)
    object.__setattr__(options, "run_dir", folder)
    one = given.get("model") or model()
    target = given.get("target") or Target("layers.0", reduce=Products(3, steps=60), affine=6)
    request = Request(one, (target,), given.get("data") or batches())
    found = Candidates(request, options, given.get("kept", 5000), 2)._names(
        one, {target.path: target}
    )
    return found[target.path]


@pytest.mark.parametrize("changed", OTHERS)
def test_whatever_determines_a_fit_is_in_its_name(changed, tmp_path) -> None:
    assert name(tmp_path) == name(tmp_path)
    assert name(tmp_path, **OTHERS[changed]()) not in (None, name(tmp_path))


def test_a_model_that_counts_its_calls_has_one_name(tmp_path) -> None:
    class Counting(Model):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x) + self.calls

    torch.manual_seed(0)
    one = Counting().eval()
    assert name(tmp_path, model=one) == name(tmp_path, model=one)
    assert float(one.calls) == 0.0


def test_what_does_not_is_not(tmp_path) -> None:
    quiet = Options(objective=squares, progress=False, tolerance=0.1)
    assert name(tmp_path, options=quiet) == name(tmp_path)


def test_what_can_not_be_told_has_no_name(tmp_path) -> None:
    class Opaque:
        """An argument that is no tensor and no constant."""

    class Told(Model):
        def forward(self, x, extra=None):
            return super().forward(x)

    batch = {"x": inputs(200), "extra": Opaque()}
    assert name(tmp_path, options=Options(guesses=["x0"])) is None
    assert name(tmp_path, model=Told().eval(), data=[batch]) is None
    assert (
        name(
            tmp_path,
            model=Told().eval(),
            data=[{"x": inputs(200), "extra": None}],
            options=Options(),
        )
        is not None
    )


@pytest.mark.parametrize("place", [0.0, 0.02, 0.5, 0.999])
def test_a_damaged_file_counts_as_none(fits, tmp_path, place) -> None:
    made(model(), tmp_path)
    fits.clear()
    for file in (tmp_path / "regions").iterdir():
        content = bytearray(file.read_bytes())
        content[int(place * len(content))] ^= 1
        file.write_bytes(content)
    made(model(), tmp_path)
    assert fits == [*LAYERS, "layers.3"]


def test_a_refusal_is_kept(fits, tmp_path) -> None:
    class Wide(nn.Module):
        """Its second output is as long as the batch is."""

        def forward(self, x):
            return x.sum(1).expand(2, len(x))

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = model().layers[1], Wide()

        def forward(self, x):
            return self.first(x) + self.second(x).sum()

    reasons = []
    for _ in range(2):
        found = symcompile(
            Mixed().eval(),
            [Target("first", reduce=Products(2, steps=20), affine=2), "second"],
            inputs(400),
            select=Selection(lambda made: 0.0),
            run_dir=tmp_path,
            progress=False,
        )
        reasons.append(found.outcomes["second"].reason)
    assert fits == ["first", "second"]
    assert reasons[0] == reasons[1] != ""


def test_a_folder_that_can_not_be_written_to(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="can't write to run_dir"):
        made(model(), tmp_path / "file")


def test_samples_are_kept_to_the_bit(tmp_path) -> None:
    first, again = (made(model(), tmp_path).recording for _ in range(2))
    for path, samples in first.samples.items():
        for part in ("X", "Y", "holdout", "metric"):
            np.testing.assert_array_equal(
                getattr(again.samples[path], part), getattr(samples, part)
            )


@pytest.mark.parametrize(("dtype", "bytes_of_a_number"), [(torch.float32, 4), (torch.float64, 8)])
def test_a_file_has_no_more_digits_than_the_block(tmp_path, dtype, bytes_of_a_number) -> None:
    one = model().to(dtype)
    generator = torch.Generator().manual_seed(1)
    data = [torch.randn((200, 6), generator=generator, dtype=dtype) for _ in range(6)]
    selection = Selection(lambda made: 0.0, max_regions=1)
    symcompile(one, TARGET, data, select=selection, run_dir=tmp_path, progress=False)
    files = list((tmp_path / "regions").iterdir())
    assert len(files) == 4
    for file in files:
        sizes = {tensor.element_size() for tensor in load_file(file).values()}
        assert sizes == {bytes_of_a_number, 1}
