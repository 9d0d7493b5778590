"""A block that loses output columns for good gives the same model."""

from __future__ import annotations

import copy
import io
import re
from typing import Any

import pytest
import torch
from models import state_of
from torch import nn

from symcompile.errors import PruningError
from symcompile.modules.calling import Batch
from symcompile.pruning.shrink import Scatter, Shrunk, shrink


class Pair(nn.Module):
    """A block with two arguments, one by keyword, under two names of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 6)

    def forward(self, x: torch.Tensor, *, y: torch.Tensor) -> torch.Tensor:
        return torch.cos(self.inner(x + y))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.edge = Pair()
        self.alias = self.edge
        self.node = nn.Linear(6, 1)
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.node(self.edge(x, y=2 * x) + self.alias(x, y=x))


def data(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def masked(columns: list[int]) -> Any:
    """A forward hook that leaves some columns only."""

    def hook(block: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        keep = torch.zeros(output.shape[-1], dtype=output.dtype)
        keep[columns] = 1
        return output * keep

    return hook


@pytest.mark.parametrize("columns", [[0], [1, 4], [5], [0, 1, 2, 3, 4, 5]])
def test_the_model_is_that_with_zeros(columns: list[int]) -> None:
    model, x = Model(), data(5, 3, 2)
    handle = model.edge.register_forward_hook(masked(columns))
    expected = model(x)
    handle.remove()
    shrink(model, "edge", columns, example=Batch((x,), {"y": x}))
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)
    live = model.get_submodule("edge.live")
    assert live(x, y=x).shape == (5, 3, len(columns))
    assert live.inner.out_features == len(columns)
    assert sum(p.numel() for p in live.parameters()) == 3 * len(columns)
    assert model.alias is model.edge


def test_gradients_are_those_with_zeros() -> None:
    model, x = Model(), data(5, 2)
    whole = copy.deepcopy(model)
    whole.edge.register_forward_hook(masked([1, 4]))
    shrink(model, "edge", [1, 4])
    for one in (model, whole):
        one(x).square().sum().backward()
    found, expected = model.edge.live.inner.weight.grad, whole.edge.inner.weight.grad
    torch.testing.assert_close(found, expected[[1, 4]], rtol=0, atol=1e-12)


def test_modes_types_and_freezing_stay() -> None:
    model = Model().eval()
    model.edge.inner.bias.requires_grad_(False)
    shrink(model, "edge", [2])
    assert not any(part.training for part in model.modules())
    small = model.edge.live.inner
    assert (small.weight.requires_grad, small.bias.requires_grad) == (True, False)
    assert small.weight.dtype == torch.float64


def test_without_bias() -> None:
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.Linear(4, 1))
    shrink(model, "0", [3])
    assert model[0].live.bias is None
    assert model(torch.ones(2)).shape == (1,)


def test_scatter_is_exact_and_lets_nothing_spill_over() -> None:
    found = Scatter([1, 3], 5)(torch.tensor([[float("inf"), float("nan")]]))
    torch.testing.assert_close(
        found, torch.tensor([[0.0, float("inf"), 0.0, float("nan"), 0.0]]), equal_nan=True
    )


def test_checkpoints_copies_and_pickles() -> None:
    model, x = Model(), data(4, 2)
    shrink(model, "edge", [0, 5])
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    fresh = Model()
    shrink(fresh, "edge", [0, 5])
    fresh.load_state_dict(model.state_dict())
    for other in (copy.deepcopy(model), torch.load(stored, weights_only=False), fresh):
        assert torch.equal(other(x), model(x))


def test_shrunk_twice() -> None:
    model, x = Model(), data(4, 2)
    shrink(model, "edge", [0, 2, 5])
    expected = model.edge.live(x, y=x)[..., [1]]
    shrink(model, "edge.live", [1])
    assert isinstance(model.edge.live, Shrunk)
    torch.testing.assert_close(model.edge.live.live(x, y=x), expected)
    torch.testing.assert_close(model.edge(x, y=x)[..., 2:3], expected)


@pytest.mark.parametrize("columns", [[], [6], [-1], [1, 1], [2, 0], [0.5]])
def test_columns_that_make_no_sense(columns: list[Any]) -> None:
    model = Model()
    before = state_of(model)
    with pytest.raises(PruningError, match=re.escape(f"6 outputs can't keep columns {columns}")):
        shrink(model, "edge", columns)
    assert state_of(model) == before


def test_a_block_that_would_give_other_values_is_left_alone() -> None:
    model, x = Model(), data(4, 2)
    model.edge.inner.register_forward_hook(lambda part, args, output: output.flip(-1))
    before, expected = state_of(model), model(x)
    with pytest.raises(PruningError, match=r"'edge' can't be .*: it would give other values"):
        shrink(model, "edge", [0, 1], example=Batch((x,), {"y": x}))
    assert state_of(model) == before
    assert torch.equal(model(x), expected)
