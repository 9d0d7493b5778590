"""Biases take up a constant that is left out before them; nothing else changes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from symcompile import Target, symcompile
from symcompile.modules.calling import Batch
from symcompile.pruning.biases import absorb

X = torch.randn(40, 3, 2, generator=torch.Generator().manual_seed(0))
EXAMPLE = Batch((X,), {})


class Shifted(nn.Module):
    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = constant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x) + self.constant


class Model(nn.Module):
    """Messages, summed, then read by layers; `product` brings them in once more, elsewhere."""

    def __init__(self, constant: float, product: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.edge = Shifted(constant)
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 2)
        self.product = product

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        received = self.edge(x).sum(dim=1)
        own = x[:, 0] * received if self.product else x[:, 0]
        return self.second(torch.tanh(self.first(input=torch.cat([own, received], dim=-1))))


@pytest.mark.parametrize("constant", [0.01, 3.0, -200.0])
def test_a_constant_goes_into_the_next_bias(constant: float) -> None:
    module, other = Model(0.0), Model(constant)
    absorb(module, other, EXAMPLE)
    torch.testing.assert_close(module(X), other(X), atol=1e-4, rtol=0)
    assert torch.equal(module.second.bias, other.second.bias)
    assert torch.equal(module.first.weight, other.first.weight)


def test_layers_called_on_a_vector_or_again_see_one_shift() -> None:
    class Twice(nn.Module):
        def __init__(self, constant: float) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.edge, self.read = Shifted(constant), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.read(self.edge(x[0, 0])) + self.read(self.edge(x[:, 1]))

    module, other = Twice(0.0), Twice(0.5)
    absorb(module, other, EXAMPLE)
    torch.testing.assert_close(module(X), other(X))


def test_what_is_no_shift_stays() -> None:
    module, other = Model(0.0, product=True), Model(0.5, product=True)
    before = copy.deepcopy(module.state_dict())
    absorb(module, other, EXAMPLE)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_a_frozen_bias_stays() -> None:
    module = Model(0.0)
    module.first.bias.requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    absorb(module, Model(0.5), EXAMPLE)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_no_hook_and_no_mode_is_left_behind() -> None:
    module = Model(0.0).train()
    absorb(module, Model(0.5), EXAMPLE)
    assert module.training
    assert not any(layer._forward_pre_hooks for layer in module.modules())


def test_constants_leave_equations_though_nothing_is_trained() -> None:
    compiled = symcompile(
        Model(3.0).eval(),
        Target("edge", names=("a", "b"), operators=["+", "*", "sin"]),
        X,
        engine="operon",
        engine_options={"population": 100, "generations": 3, "restarts": 1},
        progress=False,
    )
    compiled.choose("edge", "sin(a) + 3.0", output=0)
    compiled.choose("edge", "sin(b) + 3.0", output=1)
    goal = compiled.module(X).detach()

    def untrained(module: nn.Module) -> float:
        with torch.no_grad():
            return 1e-6 + float((module(X) - goal).square().mean())

    compiled.simplify("edge", untrained)
    assert [str(one) for one in compiled.equations["edge"].values()] == ["sin(a)", "sin(b)"]
    torch.testing.assert_close(compiled.module(X), goal, atol=1e-4, rtol=0)
