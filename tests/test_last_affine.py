"""The affine layer that gives a block's outputs row by row, found or refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from models import Block, state_of
from torch import nn
from torch.nn.utils import parametrizations

from symcompile.errors import PruningError
from symcompile.pruning.shrink import last_affine


class Custom(nn.Module):
    """Two layers; `forward` is given by the subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.last = nn.Linear(4, 4)


class Functional(Custom):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(2.0 * torch.tanh(self.last(self.first(x).relu())) + 1, min=-1)


class Nested(Custom):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), nn.Identity())

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return nn.functional.softplus(self.last(self.first(x) * scale))


class Residual(Custom):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return h + self.last(h)


class Twice(Custom):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.last(self.first(x)))


class Used(Custom):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.last(self.first(x))
        return h.sigmoid() * h


class Wasteful(Custom):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.last(self.first(x))
        nn.functional.layer_norm(h, (4,))  # would fail on fewer columns
        return h


class Weighted(Custom):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x)) * torch.arange(4)


class Branching(Custom):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x)) if x.sum() > 0 else self.first(x)


class ByMode(Custom):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x)) if self.training else self.first(x)


class Transposed(Custom):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x)).transpose(0, 1)


class Passing(Custom):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.tanh()


def model_of(block: nn.Module) -> nn.Module:
    return nn.ModuleDict({"block": block, "after": nn.Linear(4, 4)})


@pytest.mark.parametrize(
    ("block", "path"),
    [
        (nn.Linear(3, 4), ""),
        (nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)), "2"),
        (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.1)), "0"),
        (nn.Sequential(Branching(), nn.Linear(4, 4, bias=False)), "1"),
        (Functional(), "last"),
        (Nested(), "last.0.0"),
    ],
)
def test_found(block: nn.Module, path: str) -> None:
    model = model_of(block)
    before = state_of(model)
    assert last_affine(model, "block") is block.get_submodule(path)
    assert state_of(model) == before


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), "comes from a LayerNorm"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1)), "comes from a Softmax"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(4)), "comes from a PReLU"),
        (lambda: nn.Sequential(nn.Tanh()), "it holds no nn.Linear"),
        (lambda: nn.Conv1d(3, 4, 1), "its output comes from a Conv1d"),
        (Residual, "its output comes from add()"),
        (Weighted, "its output comes from mul()"),
        (Transposed, "its output comes from transpose()"),
        (Passing, "its output comes from its input"),
        (Twice, "last is called more than once"),
        (Used, "its output comes from mul()"),
        (Wasteful, "what its last layer gives is used more than once"),
        (Branching, "torch.fx can't trace a Branching (TraceError)"),
        (ByMode, "other layers come last in training than in evaluation"),
        (lambda: Block(lambda x: x), "the forward of a Block was replaced"),
        (
            lambda: parametrizations.weight_norm(nn.Linear(3, 4)),
            "the weight of a ParametrizedLinear is not a plain parameter",
        ),
    ],
)
def test_refused(make: Callable[[], nn.Module], reason: str) -> None:
    model = model_of(make())
    before = state_of(model)
    with pytest.raises(PruningError, match=f"block 'block' can't be .*: .*{re.escape(reason)}"):
        last_affine(model, "block")
    assert state_of(model) == before


def test_a_refusal_names_the_layer_to_take_instead() -> None:
    with pytest.raises(PruningError, match=r"or name that layer, for example 'block\.last'"):
        last_affine(model_of(Residual()), "block")


def test_weights_that_another_module_uses() -> None:
    model = model_of(nn.Sequential(nn.Linear(4, 4)))
    model["after"].weight = model["block"][0].weight
    with pytest.raises(PruningError, match="a Linear shares the weights of its last layer"):
        last_affine(model, "block")


def test_a_layer_that_is_in_another_place_too() -> None:
    layer = nn.Linear(4, 4)
    model = nn.ModuleDict({"block": nn.Sequential(nn.Tanh(), layer), "after": layer})
    with pytest.raises(PruningError, match="its last layer serves in another place as well"):
        last_affine(model, "block")


def test_a_block_of_two_names_is_one_block() -> None:
    block = nn.Sequential(nn.Linear(4, 4))
    model = nn.ModuleDict({"block": block, "again": block})
    assert last_affine(model, "again") is block[0]
