"""What is installed is what is measured; and no side measurement takes a compile down."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from installed import compiled_with
from searches import QUICK
from torch import nn

from symcompile import Compiled, symcompile
from symcompile.fidelity.end_to_end import end_to_end
from symcompile.fidelity.outcome import Refusal, Rewrite

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
    compiled = symcompile(model, "0", rows(), **QUICK)
    found = outcome(compiled).fidelity
    assert found.unmeasured == {what: why}
    assert found.outputs[0].equation.r2 > 0.999
    assert math.isnan(found.outputs[0].gradient) == (what == "gradients")
    assert math.isnan(found.outputs[0].extrapolation.r2) == (what == "extrapolation")
    assert (found.latency == ()) == (what == "latency")
    assert f"{what} ({why})" in " ".join(str(compiled.report).split())


def test_a_control_that_the_model_does_not_run_with_is_left_out() -> None:
    compiled = symcompile(nn.Sequential(Square(), Root()), "0", rows().abs(), **QUICK)
    found = outcome(compiled).fidelity
    assert list(found.unmeasured) == ["end to end, linear"]
    assert found.end_to_end is not None
    assert math.isnan(found.end_to_end.linear)
    assert found.end_to_end.equation < 1e-3
    assert found.end_to_end.mean > 0.1


# --- the whole model -------------------------------------------------------------------------


class Cliff(nn.Module):
    """Infinite above 1.045, its own input below."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 1.045, x / 0.0, x)


class Capped(nn.Module):
    """x0, or x1, up to 1 at most; a straight line through it goes on above."""

    def __init__(self, column: int, scale: float) -> None:
        super().__init__()
        self.column, self.scale = column, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x[:, self.column : self.column + 1].clamp(max=1.0)


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.cliff = Capped(0, 0.4), Capped(1, 0.6), Cliff()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cliff(self.a(x) + self.b(x))  # type: ignore[no-any-return]


def test_a_model_that_is_no_longer_finite_refuses_the_block() -> None:
    model, x = nn.Sequential(Capped(0, 1.0), Cliff()), rows(400) * 1.2
    assert torch.isfinite(model(x)).all()
    compiled = compiled_with(model, {"0": ["x0"]}, x)
    refused = compiled.outcomes["0"]
    assert isinstance(refused, Refusal)
    assert "the model's output is not finite on held-out rows" in refused.reason.lower()
    assert torch.isfinite(compiled.module(x)).all()
    compiled.choose("0", "x0")
    assert "moves by inf" in str(compiled.report)


def test_blocks_that_break_the_model_together_are_not_all_installed() -> None:
    model, x = Both(), rows(400).abs() * 1.1
    texts = {"a": ["0.4*x0"], "b": ["0.6*x1"]}
    assert torch.isfinite(model(x)).all()
    for path in texts:
        alone = compiled_with(model, {path: texts[path]}, x)
        assert isinstance(alone.outcomes[path], Rewrite)
    compiled = compiled_with(model, texts, x)
    first, second = compiled.outcomes["a"], compiled.outcomes["b"]
    assert isinstance(first, Rewrite)
    assert isinstance(second, Refusal)  # it alone moves the model more than the other
    assert "together with the equations of other targets" in second.reason.lower()
    assert torch.isfinite(compiled.module(x)).all()


def test_tolerance_counts_for_the_model_as_well() -> None:
    """A block within 5 % of its own, whose small error the model makes large."""

    class Curved(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 10 + 0.1 * x[:, :1] ** 3

    class Amplified(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 50 * (x - 10)

    model, given = nn.Sequential(Curved(), Amplified()), {"0": ["10 + 0.06*x0"]}
    assert isinstance(compiled_with(model, given, rows()).outcomes["0"], Rewrite)
    refused = compiled_with(model, given, rows(), tolerance=0.05).outcomes["0"]
    assert isinstance(refused, Refusal)
    assert "the model's output moves by" in refused.reason.lower()
    assert refused.fidelity is not None
    assert refused.fidelity.outputs[0].equation.relative_l2 < 0.05


@pytest.mark.parametrize("scale", [1e-220, 1e220])
def test_sizes_of_outputs_do_not_matter(scale: float) -> None:
    """Their squares would be zero, or infinite."""
    change = end_to_end(
        lambda x: scale * x, {"equation": lambda x: 1.25 * scale * x}, [torch.ones(4).double()], ""
    )
    assert change.equation == pytest.approx(0.25, rel=1e-12)
    assert change.finite
