"""Blocks called on rows of X, and functions of rows in the place of blocks."""

from typing import Any

import pytest
import torch
from models import Block, Net, state_of
from torch import nn

from symcompile.modules.arguments import bind, literal_settings, parameters
from symcompile.modules.interface import Call, matrix_in, read_interface
from symcompile.modules.region import Region
from symcompile.modules.region_call import in_place_of, on_rows, replaced
from symcompile.target import Target

torch.manual_seed(0)
A, B, S = torch.randn(6, 3), torch.randn(6, 2), torch.randn(6)


def region_of(
    block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Region, Call]:
    call = Call(bind(parameters(block), args, kwargs), block(*args, **kwargs))
    face = read_interface(block, call)
    names = tuple(f"x{k}" for k in range(face.n_inputs))
    settings = literal_settings(call.arguments)
    return Region("block", Target("block"), face, names, settings=settings), call


CASES: dict[str, tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = {
    "one": (nn.Linear(3, 2), (A,), {}),
    "rank 4": (nn.Linear(3, 2), (torch.randn(2, 1, 5, 3),), {}),
    "rank 3 only": (Block(lambda x: x.flatten(0, 1).view_as(x) * 2), (torch.randn(2, 4, 3),), {}),
    "features of one sample": (nn.Linear(6, 2), (S,), {}),
    "one sample at a time": (Block(lambda x: torch.dot(x, x).reshape(1)), (S,), {}),
    "elements": (Block(lambda x: x.sin()), (S,), {}),
    "0-D": (Block(lambda x, t: x * t), (A, torch.tensor(2.0)), {}),
    "several": (Block(lambda x, y, *, t: {"a": x[:, :2] * y, "b": [t]}), (A, B), {"t": S}),
    "settings": (Block(lambda x, power, up=True: x**power if up else x), (A, 2), {"up": True}),
    "settings before *args": (
        Block(lambda power, *xs, up=True: xs[0] ** power + up),
        (2, A),
        {"up": False},
    ),
    "variadic": (Block(lambda *xs: xs[0][..., :2] * xs[1]), (A, B), {}),
    "nested": (Block(lambda pair: pair[0][..., :2] - pair[1]["b"]), ((A, {"b": B}),), {}),
    "double": (nn.Linear(3, 2).double(), (A.double(),), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_give_what_the_call_gave(name: str) -> None:
    block, args, kwargs = CASES[name]
    region, call = region_of(block, args, kwargs)
    X = matrix_in(region.interface, call.arguments)
    rows = on_rows(region, block)(X.to(_dtype(call.output)))
    again = in_place_of(region, on_rows(region, block))(*args, **kwargs)
    torch.testing.assert_close(again, call.output, rtol=1e-6, atol=1e-6)
    assert rows.shape == (len(X), region.interface.n_outputs)


def _dtype(output: Any) -> torch.dtype:
    return torch.utils._pytree.tree_leaves(output)[0].dtype


def test_gradients_go_through_rows() -> None:
    block = nn.Linear(3, 2).double()
    region, _ = region_of(block, (A.double(),), {})
    rows = A.double().requires_grad_(True)
    (slope,) = torch.autograd.grad(on_rows(region, block)(rows)[:, 1].sum(), rows)
    torch.testing.assert_close(slope, block.weight[1].expand(6, 3))


def test_replaced_swaps_results_and_leaves_no_trace() -> None:
    model = Net()
    x = torch.randn(5, 2)
    before = state_of(model)
    found = replaced(model, {"block": lambda h: h[..., :1] * 0 + 3}, lambda: model(x))
    torch.testing.assert_close(found, model.after(torch.full((5, 1), 3.0)))
    with pytest.raises(KeyError):
        replaced(model, {"block": lambda h: {}["missing"]}, lambda: model(x))
    assert state_of(model) == before
