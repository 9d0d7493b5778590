"""Blocks that are built alike are exported once, and only these."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from symcompile.aten import hybrid
from symcompile.aten.decode import decode
from symcompile.modules.calling import Batch


class Scaled(nn.Module):
    def __init__(self, scale: float = 2.0, **settings: Any) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(3, 2), scale
        self.__dict__.update(settings)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.dropout(self.linear(x), 0.5, self.training) * self.scale


X = Batch((torch.randn(5, 3),), {})
TABLE: dict[int, float] = {}


class Looked(Scaled):
    """What it computes is nothing that it holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * TABLE[id(self)]


def exported(*blocks: nn.Module, batches: tuple[Batch, ...] = ()) -> int:
    """How many exports they take; each of them computes what its block does."""
    known: dict[Any, Any] = {}
    for block, batch in zip(blocks, batches or (X,) * len(blocks), strict=True):
        block.eval()
        model = decode(hybrid.encode_alike(block, batch, known)).eval()
        torch.testing.assert_close(model(*batch.args), block(*batch.args))
        assert list(model.state_dict()) == list(block.state_dict())
        assert not model.linear.training
    return len({id(one.document["nodes"]) for one in known.values()})


def test_one_export_serves_blocks_of_one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encode = hybrid.encode
    monkeypatch.setattr(hybrid, "encode", lambda *given: calls.append(given) or encode(*given))
    assert exported(*(Scaled() for _ in range(4))) == 1
    assert len(calls) == 1


def hooked() -> nn.Module:
    block = Scaled()
    block.linear.register_forward_hook(lambda module, args, result: result + 1)
    return block


def tied() -> nn.Module:
    block = Scaled()
    block.other = block.linear
    return block


OTHERS = {
    "another setting": lambda: Scaled(3.0),
    "a setting of another type": lambda: Scaled(2),
    "a hook": hooked,
    "a second name": tied,
    "a frozen weight": lambda: Scaled().requires_grad_(False),
    "double precision": lambda: Scaled().double(),
    "an object": lambda: Scaled(helper=object()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_built_otherwise_is_exported_anew(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    encode = hybrid.encode
    monkeypatch.setattr(hybrid, "encode", lambda *given: calls.append(given) or encode(*given))
    other = OTHERS[name]().eval()
    batch = Batch((X.args[0].to(other.linear.weight.dtype),), {})
    exported(Scaled(), other, batches=(X, batch))
    assert len(calls) == 2


def test_another_example_is_exported_anew() -> None:
    known: dict[Any, Any] = {}
    for batch in (X, Batch((), {"x": X.args[0]}), Batch((torch.randn(1, 2, 3),), {})):
        hybrid.encode_alike(Scaled(), batch, known)
    assert len(known) == 3


def test_what_turns_out_to_compute_something_else_is_exported_anew() -> None:
    blocks = [Looked(), Looked()]
    TABLE.update({id(blocks[0]): 1.0, id(blocks[1]): 2.0})
    exported(*blocks)
