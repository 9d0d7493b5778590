"""The change of a whole model's output, whatever its structure."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch

from symcompile.errors import DataError
from symcompile.fidelity.end_to_end import end_to_end
from symcompile.modules.results import Results

BATCHES = [torch.tensor([3.0, 4.0]), torch.tensor([[12.0]])]


def test_change_is_taken_over_all_batches_together() -> None:
    change = end_to_end(
        lambda x: x,
        {
            "equation": lambda x: x + (x.ndim == 2) * 1.3,
            "mean": torch.zeros_like,
            "linear": lambda x: x * 1.1,
        },
        BATCHES,
        "held-out batches",
    )
    assert change.equation == pytest.approx(1.3 / 13, rel=1e-6)
    assert change.mean == 1.0
    assert change.linear == pytest.approx(0.1, rel=1e-6)
    assert change.data == "held-out batches"


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]
    name: str = "x"


@pytest.mark.parametrize(
    "pack",
    [
        lambda x: (x, [x, {"a": x}]),
        lambda x: OrderedDict(a=x, b=(x, None)),
        lambda x: Answer(x, (x, x)),
        lambda x: (x, x.argmax(), "text", 3),  # what is not floating point is left out
        lambda x: torch.complex(x, x),
        lambda x: x.to(torch.bfloat16),
        lambda x: x.to_sparse(),
    ],
)
def test_any_structure_counts_its_floating_tensors(pack: Callable[[Any], Any]) -> None:
    """All figures here are exact in every type, so the change is 1/4 to rounding."""
    change = end_to_end(pack, {"equation": pack, "linear": lambda x: pack(1.25 * x)}, BATCHES, "")
    assert change.equation == 0.0
    assert change.linear == pytest.approx(0.25, rel=1e-12)
    assert math.isnan(change.mean)


def test_nothing_to_compare_gives_nan_and_broken_outputs_infinity() -> None:
    integers = end_to_end(lambda x: x.long(), {"equation": lambda x: x.long() + 1}, BATCHES, "")
    assert math.isnan(integers.equation)
    assert math.isnan(end_to_end(lambda x: x, {"equation": lambda x: x}, [], "").equation)
    broken = {"equation": lambda x: x * math.nan, "linear": lambda x: x / 0}
    change = end_to_end(lambda x: x, broken, BATCHES, "")
    assert (change.equation, change.linear) == (math.inf, math.inf)


def test_masked_entries_of_the_original_are_left_out() -> None:
    def masked(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.reshape(-1), torch.tensor([-math.inf])])

    change = end_to_end(masked, {"equation": lambda x: masked(2 * x)}, BATCHES, "")
    assert change.equation == pytest.approx(1.0)


def test_another_shape_is_an_error() -> None:
    with pytest.raises(DataError, match="equation"):
        end_to_end(lambda x: x, {"equation": lambda x: x.reshape(-1)[:1]}, BATCHES, "")
    with pytest.raises(DataError, match="linear"):
        end_to_end(lambda x: (x, x), {"linear": lambda x: x}, BATCHES, "")


def test_no_graph_is_recorded() -> None:
    weight = torch.ones(2, requires_grad=True)
    seen: list[bool] = []

    def run(x: torch.Tensor) -> torch.Tensor:
        out = weight * x
        seen.append(out.requires_grad)
        return out

    end_to_end(run, {"equation": run}, [torch.ones(2)], "")
    assert seen == [False, False]


def test_results_of_the_original_are_computed_once_while_they_are_small(monkeypatch) -> None:
    calls: list[int] = []

    def run(batch: torch.Tensor) -> dict[str, object]:
        calls.append(len(batch))
        return {"values": batch, "rest": (batch[:0], 7)}

    monkeypatch.setattr("symcompile.modules.results._ROOM", 100)
    results = partial(Results().of, run=run)
    small, large = torch.ones(20), torch.ones(30)
    for _ in range(3):
        for batch in (small, large):
            values, empty = results(batch)
            assert torch.equal(values, batch)
            assert empty.numel() == 0
    assert calls == [20, 30, 30, 30]
    small += 1.0  # what a model gives out may be its own
    assert torch.equal(results(small)[0], torch.ones(20))


def test_large_results_are_compared_piece_by_piece(monkeypatch) -> None:
    values = torch.arange(1000.0)
    values[17], values[501] = torch.inf, -torch.inf
    whole = end_to_end(lambda x: x, {"equation": lambda x: x * 1.5}, [values], "data")
    monkeypatch.setattr("symcompile.fidelity.end_to_end._AT_ONCE", 7)
    pieces = end_to_end(lambda x: x, {"equation": lambda x: x * 1.5}, [values], "data")
    assert whole.equation == pytest.approx(0.5, rel=1e-12)
    assert pieces.equation == pytest.approx(0.5, rel=1e-12)
    assert pieces.finite
    broken = end_to_end(lambda x: x, {"equation": lambda x: x / (x - 3.0)}, [values], "data")
    assert not broken.finite
