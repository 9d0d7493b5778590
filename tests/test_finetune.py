"""Training of what was put in the regions' places, all of it together."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch
from torch import nn

from symcompile import Compiled, Products, Target, symcompile
from symcompile.errors import ChoiceError, DataError, EngineError
from symcompile.fidelity.outcome import Rewrite

D = 6


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(D, 16), nn.Tanh(), nn.Linear(16, D))
        self.second = nn.Sequential(nn.Linear(D, 16), nn.Tanh(), nn.Linear(16, D))
        self.head = nn.Linear(D, 2)

    def forward(self, x):
        return self.head(x + self.second(x + self.first(x)))


def model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


def inputs(n: int = 600, seed: int = 1) -> torch.Tensor:
    return torch.randn((n, D), generator=torch.Generator().manual_seed(seed))


def compiled() -> Compiled:
    targets = [Target(path, reduce=Products(2, steps=10), affine=2) for path in ("first", "second")]
    return symcompile(model(), targets, inputs(), n_samples=600, progress=False)


def objective(result: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        expected = model()(x)
    return (result - expected).square().mean()


def loss(made: nn.Module) -> float:
    x = inputs(seed=2)
    with torch.no_grad():
        return float(objective(made(x), x))


def rest(made: Compiled) -> dict[str, torch.Tensor]:
    state = made.module.state_dict()
    return {name: value.clone() for name, value in state.items() if name.startswith("head")}


def test_the_model_gets_better_and_the_rest_stays() -> None:
    made = compiled()
    before, kept = loss(made.module), rest(made)
    outcomes = dict(made.outcomes)
    losses = made.finetune(list(inputs().split(100)), objective, steps=80, learning_rate=1e-2)
    assert len(losses) == 80
    assert np.mean(losses[-6:]) < 0.5 * losses[0]
    assert loss(made.module) < 0.5 * before
    for name, value in rest(made).items():
        torch.testing.assert_close(value, kept[name], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in made.module.head.parameters())
    after = made.outcomes
    for path in ("first", "second"):
        assert isinstance(after[path], Rewrite)
        assert not np.allclose(after[path].region.affine.up, outcomes[path].region.affine.up)


def test_constants_train_along_and_stay_what_they_were() -> None:
    made = compiled()
    made.choose("first", "z0*z2 + 0.5*z1", output=0)
    names = set(dict(made.module.first.named_buffers()))
    made.finetune(inputs(), objective, steps=5, learning_rate=1e-2)
    assert set(dict(made.module.first.named_buffers())) == names  # no parameter has come
    (constant,) = made.equations["first"][0].constants
    assert constant != 0.5
    assert constant == pytest.approx(0.5, abs=0.1)


def test_a_loss_that_breaks_changes_nothing() -> None:
    made = compiled()
    before = {name: value.clone() for name, value in made.module.state_dict().items()}
    steps = iter(range(100))

    def broken(result: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return objective(result, x) * (float("nan") if next(steps) > 3 else 1.0)

    with pytest.raises(ChoiceError, match="the loss of step 5 is nan"):
        made.finetune(inputs(), broken, steps=20)
    unchanged(made, before)


def unchanged(made: Compiled, before: dict[str, torch.Tensor]) -> None:
    state = made.module.state_dict()
    assert list(state) == list(before)
    for name, value in state.items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_whatever_ends_it_changes_nothing(kind) -> None:
    made = compiled()
    before = {name: value.clone() for name, value in made.module.state_dict().items()}
    with pytest.raises(kind):
        made.finetune(inputs(), ending(kind), steps=20)
    unchanged(made, before)


def ending(kind: type[BaseException]):
    steps = iter(range(100))

    def objective_that_fails(result: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if next(steps) > 3:
            raise kind
        return objective(result, x)

    return objective_that_fails


def test_mistakes() -> None:
    made = compiled()
    with pytest.raises(ChoiceError, match="steps=0 and learning_rate"):
        made.finetune(inputs(), objective, steps=0)
    with pytest.raises(DataError, match="objective= gave"):
        made.finetune(inputs(), lambda result, x: result)
    with pytest.raises(DataError, match="does not depend on what is trained"):
        made.finetune(inputs(), lambda result, x: x.mean())
    with pytest.raises(DataError, match="data is empty"):
        made.finetune([], objective)
    for path in ("first", "second"):
        made.restore(path)
    with pytest.raises(ChoiceError, match="nothing to train"):
        made.finetune(inputs(), objective)


def test_low_rank_updates_need_peft(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setitem(sys.modules, "peft.tuners.lora", None)
    with pytest.raises(EngineError, match="pip install peft"):
        compiled().finetune(inputs(), objective, lora=object())


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs peft")
def test_low_rank_updates_are_merged() -> None:
    from peft import LoraConfig

    made = compiled()
    before = rest(made)
    names = set(made.module.state_dict())
    config = LoraConfig(r=1, target_modules=["head"])
    made.finetune(inputs(), objective, steps=30, learning_rate=1e-2, lora=config)
    assert set(made.module.state_dict()) == names
    change = rest(made)["head.weight"] - before["head.weight"]
    assert torch.linalg.matrix_rank(change, tol=1e-5) == 1
    torch.testing.assert_close(rest(made)["head.bias"], before["head.bias"], rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in made.module.parameters())


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs peft")
def test_low_rank_updates_of_a_training_that_failed_are_gone() -> None:
    from peft import LoraConfig

    made = compiled()
    before = {name: value.clone() for name, value in made.module.state_dict().items()}
    config = LoraConfig(r=1, target_modules=["head"])
    with pytest.raises(ZeroDivisionError):
        made.finetune(inputs(), ending(ZeroDivisionError), steps=20, lora=config)
    unchanged(made, before)
    assert all(parameter.requires_grad for parameter in made.module.parameters())
