"""Real models, exported and traced: an edit of the model is found as that edit."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from node_graphs import Graph, report
from torch import Tensor, fx, nn
from torch.nn import functional as F

from symcompile.aten.document import encode
from symcompile.diff import snapshot
from symcompile.modules.calling import Batch
from symcompile.storage.graph_rows import aten_rows, fx_rows


class Residual(nn.Module):
    """Convolutions with skip connections.

    `activations` differ from ReLU in some blocks, `before` a block comes another convolution.
    """

    class Block(nn.Module):
        def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.first, self.second = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
            self.norm = nn.BatchNorm2d(4)
            self.activation = activation

        def forward(self, x: Tensor) -> Tensor:
            inner = self.norm(self.first(x))
            return self.activation(self.second(self.activation(inner)) + x)

    def __init__(
        self,
        blocks: int = 3,
        *,
        activations: dict[int, Any] | None = None,
        before: int | None = None,
        stride: int = 1,
        skip: bool = False,
        head: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=stride)
        chosen = [(activations or {}).get(k, F.relu) for k in range(blocks)]
        self.blocks = nn.ModuleList(self.Block(one) for one in chosen)
        self.extra = None if before is None else nn.Conv2d(4, 4, 1)
        self.fc, self.second = nn.Linear(4, 5), nn.Linear(4, 2) if head else None
        self.before, self.skip = before, skip

    def forward(self, x: Tensor) -> Any:
        x = start = self.stem(x)
        for k, block in enumerate(self.blocks):
            if self.extra is not None and k == self.before:
                x = self.extra(x)
            x = block(x)
        x = (x + start if self.skip else x).mean((2, 3))
        return self.fc(x) if self.second is None else (self.fc(x), self.second(x))


class Attention(nn.Module):
    """A small transformer; `order` says which of the blocks come, `tied` whether ends share."""

    class Block(nn.Module):
        def __init__(self, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
            self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
            self.first, self.second = nn.LayerNorm(8), nn.LayerNorm(8)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            parts = self.qkv(self.first(x)).unflatten(-1, (3, self.heads, -1))
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
            weights = (q @ k.transpose(-1, -2) / 2 + mask).softmax(-1)
            x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
            return x + self.down(F.gelu(self.up(self.second(x))))

    def __init__(
        self, order: tuple[int, ...] = (0, 1, 2), heads: int = 2, tied: bool = True
    ) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
        self.blocks = nn.ModuleList(self.Block(heads) for _ in range(max(order) + 1))
        self.register_buffer("mask", torch.full((5, 5), -1e9).triu(1))
        if tied:
            self.head.weight = self.embedding.weight
        self.order = order

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for k in self.order:
            x = self.blocks[k](x, self.mask)
        return self.head(x)


def filled(model: nn.Module, seed: int) -> nn.Module:
    """Weights that follow from their names: a layer has the same ones in every variant."""
    for name, weight in model.named_parameters():
        generator = torch.Generator().manual_seed(random.Random(f"{name} {seed}").randrange(2**31))
        nn.init.normal_(weight, generator=generator)
    return model.eval()


def weights(model: nn.Module) -> dict[str, snapshot.Tensor]:
    every = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    return {
        name: snapshot.Tensor(
            str(one.dtype),
            tuple(one.shape),
            hashlib.sha256(one.detach().numpy().tobytes()).hexdigest()[:16],
        )
        for name, one in every
    }


def as_graph(rows: Any, model: nn.Module) -> Graph:
    found = [
        snapshot.Node(name, operator, tuple(inputs), tuple(read), attributes)
        for name, operator, inputs, read, attributes in rows
    ]
    return Graph(tuple(found), weights(model))


# Rows say nothing of values, so that every variant is exported once.
ROWS: dict[str, list[Any]] = {}


def exported(kind: Callable[..., nn.Module], *args: Any, seed: int = 0, **options: Any) -> Graph:
    model = filled(kind(*args, **options), seed)
    key = f"{kind.__name__} {args} {options}"
    if key not in ROWS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document = encode(model, Batch((INPUTS[kind],), {}), training=False).document
        ROWS[key] = list(aten_rows(document))
    return as_graph(ROWS[key], model)


def traced(kind: Callable[..., nn.Module], *args: Any, seed: int = 0, **options: Any) -> Graph:
    model = filled(kind(*args, **options), seed)
    return as_graph(fx_rows(fx.symbolic_trace(model)), model)


def numbered(*widths: int, extra: int | None = None) -> nn.Sequential:
    """Layers whose names are numbers; after one of them may come two more."""
    layers: list[nn.Module] = []
    for number, (a, b) in enumerate(pairwise(widths)):
        layers += [nn.Linear(a, b), nn.ReLU()]
        if number == extra:
            layers += [nn.LayerNorm(b), nn.Dropout(0.1)]
    return nn.Sequential(*layers)


INPUTS: dict[Callable[..., nn.Module], Tensor] = {
    Residual: torch.zeros(2, 3, 6, 6),
    Attention: torch.zeros(2, 5, dtype=torch.long),
    numbered: torch.zeros(2, 4),
}


# --- convolutions --------------------------------------------------------------------------------

BLOCK = ["conv2d_5", "batch_norm_2", "relu_4", "conv2d_6", "add_2", "relu_5"]
RESIDUAL = {
    "block_added": ({"blocks": 4}, "+", ["conv2d_7", "batch_norm_3", "relu_6", "conv2d_8",
                                          "add_3", "relu_7"]),
    "block_removed": ({"blocks": 2}, "-", BLOCK),
    "layer_in_front": ({"before": 0}, "+", ["conv2d_1"]),
    "layer_in_the_middle": ({"before": 2}, "+", ["conv2d_5"]),
    "skip_added": ({"skip": True}, "+", ["add_3"]),
    "activation": (
        {"activations": {1: torch.tanh}},
        "~",
        ["relu_2 ~ tanh: aten.tanh.default instead of aten.relu.default",
         "relu_3 ~ tanh_1: aten.tanh.default instead of aten.relu.default"],
    ),
    "stride": ({"stride": 2}, "~", ["conv2d ~ conv2d: argument 4 ([2, 2]) is new"]),
}  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("edit", RESIDUAL)
def test_edits_of_a_residual_network(edit: str, seed: int) -> None:
    options, sign, expected = RESIDUAL[edit]
    found = report(exported(Residual), exported(Residual, seed=seed, **options))
    assert found == [f"{sign} {name}" if sign != "~" else name for name in expected]


def test_a_second_result() -> None:
    assert report(exported(Residual), exported(Residual, head=True)) == [
        "+ linear_1",
        "output ~ output: argument 1 is (%, %) instead of a node; reads linear_1 too",
    ]


def test_several_edits_at_once() -> None:
    new = exported(Residual, before=1, skip=True, activations={2: torch.tanh}, seed=1)
    assert report(exported(Residual), new) == [
        "+ conv2d_3",
        "+ add_3",
        "relu_4 ~ tanh: aten.tanh.default instead of aten.relu.default",
        "relu_5 ~ tanh_1: aten.tanh.default instead of aten.relu.default",
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_edits_of_a_traced_network(seed: int) -> None:
    old = traced(Residual)
    assert report(old, traced(Residual, before=2, seed=seed)) == ["+ extra"]
    assert report(old, traced(Residual, stride=2, seed=seed)) == [
        "stem ~ stem: stride=(2, 2) instead of stride=(1, 1)"
    ]


# --- attention -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2), (1, 2), (0, 1, 1, 2)])
def test_blocks_of_a_transformer_come_and_go(order: tuple[int, ...], seed: int) -> None:
    old, new = exported(Attention), exported(Attention, order, seed=seed)
    found = report(old, new)
    assert {line[0] for line in found} == {"+" if len(order) > 3 else "-"}
    assert len(found) == abs(len(new.nodes) - len(old.nodes)) > 15


@pytest.mark.parametrize("seed", [0, 1])
def test_blocks_of_a_transformer_change_places(seed: int) -> None:
    """What they read is other, and what reads them: eight nodes of sixty."""
    found = report(exported(Attention), exported(Attention, (0, 2, 1), seed=seed))
    assert 6 <= len(found) <= 8
    assert not any("~" in line for line in found)


@pytest.mark.parametrize("seed", [0, 1])
def test_other_heads(seed: int) -> None:
    found = report(exported(Attention), exported(Attention, heads=4, seed=seed))
    assert len(found) == 3
    assert all("[3, 4, -1] instead of [3, 2, -1]" in line for line in found)


def test_ends_that_are_no_longer_tied() -> None:
    (found,) = report(exported(Attention), exported(Attention, tied=False, seed=1))
    assert "reads weight" in found


# --- layers by number ----------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize("graph", [exported, traced])
def test_layers_whose_numbers_shift_in_a_model_trained_anew(
    graph: Callable[..., Graph], place: int
) -> None:
    """Names of weights behind the new layers are those of others now."""
    widths = (4, 8, 8, 8, 8, 8, 8)
    found = report(graph(numbered, *widths), graph(numbered, *widths, extra=place, seed=1))
    assert [line[0] for line in found] == ["+", "+"]
