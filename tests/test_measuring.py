"""What is installed is what is measured; and no side measurement takes a compile down."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from symcompile import Compiled, symcompile
from symcompile.rewrite import Rewrite

QUICK: dict[str, Any] = {
    "engine_options": {"restarts": 1, "population": 50, "generations": 2},
    "progress": False,
}


# --- side measurements -----------------------------------------------------------------------


class Force(nn.Module):
    """A field that is the slope of an energy: its forward differentiates."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


class Square(nn.Module):
    """x0^2, as the subclasses allow it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1] ** 2


class OnlyWithin(Square):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.abs().max() > 1:
            raise LookupError("a table ends at 1")
        return super().forward(x)


class _NoWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        raise NotImplementedError("there is no way back")


class OneWay(Square):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _NoWayBack.apply(super().forward(x))  # type: ignore[no-any-return,no-untyped-call]


class NotOneByOne(Square):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) == 1:
            raise ValueError("expected more than 1 value per channel")
        return super().forward(x)


class Root(nn.Module):
    """Needs what the block gives to be positive."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if (x < 0).any():
            raise ArithmeticError("a negative number")
        return x.sqrt()


def rows(count: int = 200) -> torch.Tensor:
    return 2 * torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) - 1


def outcome(compiled: Compiled, path: str = "0") -> Rewrite:
    found = compiled.outcomes[path]
    assert isinstance(found, Rewrite), found
    return found


@pytest.mark.parametrize("path", ["0", "."])
def test_a_block_that_differentiates_is_compiled_and_timed(path: str) -> None:
    model = nn.Sequential(Force(), nn.Linear(2, 2)) if path == "0" else Force()
    found = outcome(symcompile(model, path, rows(), **QUICK), path).fidelity
    assert not found.unmeasured
    assert [one.batch for one in found.latency] == [1, 1024]
    assert all(one.neural > 0 for one in found.latency)


@pytest.mark.parametrize(
    ("block", "what", "why"),
    [
        (OnlyWithin(), "extrapolation", "LookupError: a table ends at 1"),
        (OneWay(), "gradients", "NotImplementedError: there is no way back"),
        (NotOneByOne(), "latency", "ValueError: expected more than 1 value per channel"),
    ],
)
def test_what_a_block_does_not_allow_is_left_out_with_a_note(
    block: nn.Module, what: str, why: str
) -> None:
    model = nn.Sequential(block, nn.Linear(1, 1))
    compiled = symcompile(model, "0", rows(), operators=["+", "*"], **QUICK)
    found = outcome(compiled).fidelity
    assert found.unmeasured == {what: why}
    assert found.outputs[0].equation.r2 > 0.999
    assert math.isnan(found.outputs[0].gradient) == (what == "gradients")
    assert math.isnan(found.outputs[0].extrapolation.r2) == (what == "extrapolation")
    assert (found.latency == ()) == (what == "latency")
    assert f"{what} ({why})" in " ".join(str(compiled.report).split())


def test_a_control_that_the_model_does_not_run_with_is_left_out() -> None:
    compiled = symcompile(
        nn.Sequential(Square(), Root()), "0", rows().abs(), operators=["+", "*"], **QUICK
    )
    found = outcome(compiled).fidelity
    assert list(found.unmeasured) == ["end to end, linear"]
    assert found.end_to_end is not None
    assert math.isnan(found.end_to_end.linear)
    assert found.end_to_end.equation < 1e-3
    assert found.end_to_end.mean > 0.1
