"""How often a compile runs a model and its targets on the same data: no more than it has to."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from symcompile import Compiled, Target, record, symcompile
from symcompile.fidelity.outcome import Rewrite

OPTIONS: dict[str, Any] = {
    "operators": ["+", "*"],
    "max_complexity": 8,
    "engine": "operon",
    "engine_options": {"restarts": 1, "population": 30, "generations": 1},
    "progress": False,
}
# Held out of each batch.
HELD, SEEN = 60, Counter[tuple[str, bytes]]()
BATCHES = [torch.randn(5 * HELD, 2, generator=torch.manual_seed(k)) for k in range(3)]


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


class Counted(nn.Module):
    """What it is called on is counted by its bytes, which a tracer has none of."""

    name = "block"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        SEEN[self.name, bytes(x.detach().numpy())] += 1
        return self.of(x)


class Block(Counted):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.linear = name, nn.Linear(2, 2)

    def of(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tanh(self.linear(x))


class Plain(Counted):
    name = "model"

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Block("first"), Block("second")

    def of(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class Reused(Plain):
    def of(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(self.first(x)))


class Outer(Counted):
    """Two blocks in a block."""

    name = "outer"

    def __init__(self) -> None:
        super().__init__()
        self.inner = Plain()

    def of(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def compiled(model: nn.Module, targets: Any, data: Any = None) -> tuple[Compiled, list[bytes]]:
    """The compiled model, and the inputs on which it is compared with the original."""
    result = symcompile(model, targets, BATCHES if data is None else data, **OPTIONS)
    assert all(isinstance(outcome, Rewrite) for outcome in result.outcomes.values())
    batches = result._assembly.recording.batches
    return result, [batch.args[0].numpy().tobytes() for batch in batches]


def runs(name: str, inputs: list[bytes]) -> list[int]:
    return [SEEN[name, x] for x in inputs]


@pytest.mark.parametrize("model", [Plain, Reused])
def test_the_original_runs_on_held_out_data_once(model: type[Plain]) -> None:
    """For the recording. Then with the equation, the mean and a linear map in the block's place,
    and the hybrid on the first batch, to see that it runs."""
    _, held = compiled(model(), "first")
    assert len(held) == len(BATCHES)
    assert runs("model", held) == [5, 4, 4]
    assert runs("first", held) == [1, 1, 1]


def test_of_several_targets_the_original_still_runs_once() -> None:
    """Three stand-ins for each of two, and the hybrid once."""
    _, held = compiled(Plain(), ["first", "second"])
    assert runs("model", held) == [8, 8, 8]
    # When it is recorded, and before what stands in the place of the second.
    assert runs("first", held) == [4, 4, 4]


def test_a_block_in_a_block_runs_once() -> None:
    model = Outer()
    _, held = compiled(model, "inner.first")
    assert runs("outer", held) == runs("model", held) == [5, 4, 4]
    assert runs("first", held) == [1, 1, 1]


def test_the_whole_model_runs_once() -> None:
    _, held = compiled(Plain(), ".")
    assert runs("model", held) == runs("first", held) == [1, 1, 1]


def test_no_data_runs_through_the_model_twice_to_be_recorded() -> None:
    record(Plain(), [Target("first"), "second"], BATCHES)
    assert set(SEEN.values()) == {1}


def test_a_recording_is_not_recorded_again() -> None:
    """To be captured, a model runs on an example: without data, on one of the recording."""
    model = Plain()
    recording = record(model, "first", BATCHES)
    SEEN.clear()
    _, held = compiled(model, "first", recording)
    assert runs("first", held) == [2, 1, 1]
