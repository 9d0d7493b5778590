"""What else could be in the place of a wide block, measured beside its equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from searches import QUICK
from torch import nn

from symcompile import PCA, Compiled, Products, Target, load, symcompile
from symcompile.modules.region import Region

D = 8


class Residual(nn.Module):
    """A block whose output is far smaller than what it is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(D, 20), nn.Tanh(), nn.Linear(20, D))
        self.head = nn.Linear(D, 2)

    def forward(self, x):
        return self.head(x + 0.1 * self.block(x))


def model() -> Residual:
    torch.manual_seed(0)
    return Residual().eval()


def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    spread = torch.logspace(0, -1, D)
    return list((torch.randn((900, D), generator=generator) * spread).split(150))


def compiled(**asked) -> Compiled:
    return symcompile(model(), Target("block", **asked), batches(), **QUICK)


@pytest.fixture(scope="module")
def products() -> Compiled:
    return compiled(reduce=Products(2, steps=30), affine=3)


def stand_ins(made: Compiled):
    return made.outcomes["block"].fidelity.stand_ins


def test_a_block_beside_an_affine_map(products) -> None:
    found = stand_ins(products)
    assert list(found) == ["zero output", "input passed through", "linear map of rank 3"]
    fidelity = products.outcomes["block"].fidelity
    alone = found["linear map of rank 3"]
    assert fidelity.total.equation.relative_l2 < alone.relative_l2 < 1.0
    assert fidelity.end_to_end.equation < alone.end_to_end < found["zero output"].end_to_end


def test_figures_are_those_of_the_model(products) -> None:
    """Computed here once more, without the compiler."""
    (samples,) = products.recording.samples.values()
    X, Y = samples.X_holdout, samples.Y_holdout
    held = products.recording.batches
    one, zero = model(), stand_ins(products)["zero output"]
    size = np.linalg.norm(Y)
    assert zero.relative_l2 == 1.0
    passed = stand_ins(products)["input passed through"]
    assert passed.relative_l2 == pytest.approx(np.linalg.norm(X - Y) / size, rel=1e-5)
    for name, instead in (("zero output", 0.0), ("input passed through", 1.0)):
        x = torch.cat([batch.args[0] for batch in held])
        with torch.no_grad():
            before, after = one(x), one.head(x + 0.1 * instead * x)
        moved = float((after - before).norm() / before.norm())
        assert stand_ins(products)[name].end_to_end == pytest.approx(moved, rel=1e-4)


def test_a_block_between_projections() -> None:
    made = compiled(reduce=PCA(4, 3))
    found = stand_ins(made)
    assert list(found)[2:] == ["linear map of rank 3", "the block between its projections"]
    between = found["the block between its projections"]
    # What both projections lose is more than what that of the outputs does.
    assert (
        1.0
        > between.relative_l2
        > made.outcomes["block"].fidelity.projections["outputs"].relative_l2
    )


def test_only_what_fits_is_passed_through() -> None:
    class Narrowing(Residual):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(D, 20), nn.Tanh(), nn.Linear(20, 2))

        def forward(self, x):
            return self.block(x)

    torch.manual_seed(0)
    target = Target("block", reduce=PCA(3, None))
    made = symcompile(Narrowing().eval(), target, batches(), **QUICK)
    names = list(stand_ins(made))
    assert names == ["zero output", "linear map of rank 3", "the block between its projections"]


def test_narrow_blocks_have_none() -> None:
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Linear(2, 1)

        def forward(self, x):
            return self.block(x[:, :2])

    torch.manual_seed(0)
    made = symcompile(Narrow().eval(), "block", batches(), **QUICK)
    assert stand_ins(made) == {}
    assert "off by" not in str(made.report)


def test_they_are_reported_and_stored(products, tmp_path) -> None:
    found = stand_ins(products)
    text = " ".join(str(products.report).split())
    zero = found["zero output"]
    assert f"instead zero output: the block's outputs are off by {zero.relative_l2:.2f}" in text
    assert "linear map of rank 3: the block's outputs are off by" in text
    stored = products.report.to_dict()["targets"][0]["stand_ins"]
    assert set(stored) == set(found)
    assert stored["zero output"]["end_to_end"] == pytest.approx(zero.end_to_end)
    assert stand_ins(load(products.save(tmp_path / "a.symc"))) == found


def test_one_that_can_not_stand_in_the_model_has_no_figure() -> None:
    class Picky(Residual):
        """It refuses a block that gives nothing."""

        def forward(self, x):
            inner = self.block(x)
            if not inner.any():
                raise ValueError("nothing came")
            return self.head(x + 0.1 * inner)

    torch.manual_seed(0)
    target = Target("block", reduce=Products(2, steps=30), affine=3)
    made = symcompile(Picky().eval(), target, batches(), **QUICK)
    assert "zero output" not in stand_ins(made)
    assert "nothing came" in made.outcomes["block"].fidelity.unmeasured["zero output"]
    assert not math.isnan(stand_ins(made)["input passed through"].end_to_end)


# --- after training ----------------------------------------------------------------------------


def trained(made: Compiled) -> None:
    """Every layer and constant of the block is another one."""
    made.trainable_constants(True)
    with torch.no_grad():
        for parameter in made.module.get_submodule("block").parameters():
            parameter.mul_(1.1)


@pytest.mark.parametrize("asked", [{"reduce": Products(2, steps=30), "affine": 3}, {"affine": 3}])
def test_training_moves_only_what_depends_on_the_block(asked) -> None:
    made = compiled(**asked)
    before = made.outcomes["block"].fidelity
    trained(made)
    after = made.outcomes["block"].fidelity
    assert after.stand_ins == before.stand_ins
    assert after.end_to_end.equation > before.end_to_end.equation
    assert after.end_to_end.mean == before.end_to_end.mean
    assert after.end_to_end.linear == before.end_to_end.linear
    assert after.total.equation.relative_l2 > before.total.equation.relative_l2


def test_what_the_projections_lose_is_measured_again() -> None:
    name = "the block between its projections"
    made = compiled(reduce=PCA(4, 3))
    before = stand_ins(made)[name]
    trained(made)
    assert stand_ins(made)[name] != before


def test_the_model_runs_with_no_control_again() -> None:
    runs = []
    counted = model()
    counted.head.register_forward_hook(lambda *_: runs.append(1))
    target = Target("block", reduce=Products(2, steps=30), affine=3)
    made = symcompile(counted, target, batches(), **QUICK)
    trained(made)
    runs.clear()
    assert made.outcomes["block"].fidelity is not None
    # The original, and the model with the block.
    assert len(runs) == 2 * len(made.recording.batches) > 0


def test_a_block_of_many_equations_is_scored_on_samples_computed_once(monkeypatch) -> None:
    made = compiled(reduce=Products(2, steps=30), affine=3)
    computed = []
    compute = Region.equation_samples

    def counted(self, samples):
        computed.append(self.path)
        return compute(self, samples)

    trained(made)
    monkeypatch.setattr(Region, "equation_samples", counted)
    assert len(made.equations["block"]) == 2
    assert computed == ["block"]
