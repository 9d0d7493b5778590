"""Importance of dimensions, at once and over many passes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from symcompile.errors import DataError, PruningError
from symcompile.pruning.importance import (
    kl_divergence,
    measure_of,
    rank,
    standard_deviation,
    stream,
)


def outputs(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Samples whose columns have different means and spreads."""
    random = torch.Generator().manual_seed(seed)
    columns = torch.arange(1.0, shape[-1] + 1)
    return (torch.randn(shape, generator=random) * columns.flip(0) + 3 * columns).to(dtype)


def test_standard_deviation_is_over_all_leading_dimensions() -> None:
    given = outputs(7, 5, 3)
    expected = given.double().flatten(0, 1).numpy().std(axis=0)
    torch.testing.assert_close(standard_deviation(given), torch.from_numpy(expected))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_standard_deviation_is_float64_without_gradient(dtype: torch.dtype) -> None:
    found = standard_deviation(outputs(20, 3, dtype=dtype).requires_grad_())
    assert (found.dtype, found.requires_grad) == (torch.float64, False)


def test_kl_divergence_is_that_of_torch() -> None:
    given = outputs(40, 6, dtype=torch.float64) / 5
    mean, log_variance = given.chunk(2, dim=1)
    expected = torch_kl(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).mean(dim=0)
    torch.testing.assert_close(kl_divergence(given), expected)


def test_kl_divergence_of_the_prior_is_zero() -> None:
    assert kl_divergence(torch.zeros(5, 4)).tolist() == [0.0, 0.0]


def test_rank_puts_the_most_important_first_and_equals_in_order() -> None:
    given = torch.tensor([[0.0, 1.0, 5.0, 1.0, 0.0], [0.0, 2.0, 9.0, 0.0, 0.0]])
    assert rank(given).tolist() == [2, 1, 3, 0, 4]
    assert rank(given, lambda rows: -rows.mean(dim=0)).tolist() == [0, 4, 3, 1, 2]


def test_rank_by_divergence_counts_pairs() -> None:
    given = torch.tensor([[0.0, 3.0, 0.0, 0.0, 0.0, -1.0]])
    assert rank(given, "kl").tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.int64), "outputs are torch.int64: expected a floating"),
        ([[1.0]], "outputs are list: expected a floating tensor"),
        (torch.zeros(0, 4), "outputs have shape [0, 4]: expected samples"),
        (torch.tensor(1.0), "outputs have shape []: expected samples"),
    ],
)
def test_what_is_no_sample_is_refused(given: Any, message: str) -> None:
    for measure in (standard_deviation, kl_divergence, rank):
        with pytest.raises(DataError, match=re.escape(message)):
            measure(given)


def test_divergence_of_an_odd_number_of_columns() -> None:
    with pytest.raises(DataError, match="3 columns: expected an even number, d means and then d"):
        kl_divergence(torch.zeros(4, 3))


def test_unknown_importance() -> None:
    with pytest.raises(PruningError, match="importance is 'kurtosis': expected 'std' or 'kl'"):
        rank(outputs(4, 3), "kurtosis")


# --- over many passes ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["std", "kl"])
def test_passes_of_any_size_give_what_all_samples_at_once_give(name: str) -> None:
    whole = outputs(101, 4, dtype=torch.float64)
    grown = stream(measure_of(name))
    for part in whole.split([1, 40, 3, 57]):
        grown.add(part)
    assert grown.count == 101
    torch.testing.assert_close(grown.importance(), measure_of(name)(whole), rtol=1e-12, atol=0)


def test_spread_far_from_zero_is_not_lost() -> None:
    whole = outputs(100, 3, dtype=torch.float64) * 1e-3 + 1e6
    grown = stream(standard_deviation)
    for part in whole.split(10):
        grown.add(part)
    torch.testing.assert_close(grown.importance(), standard_deviation(whole), rtol=1e-6, atol=0)


def test_memory_does_not_grow() -> None:
    grown = stream(standard_deviation)
    for seed in range(5):
        grown.add(outputs(50, 3, seed=seed))
        held = [v for v in vars(grown).values() if isinstance(v, torch.Tensor)]
        assert sum(tensor.numel() for tensor in held) == 6


def test_other_measures_are_averaged_by_samples() -> None:
    grown = stream(lambda rows: rows.amax(dim=0))
    grown.add(torch.tensor([[1.0, 0.0]]))
    grown.add(torch.tensor([[4.0, 0.0], [2.0, 3.0], [0.0, 0.0]]))
    assert grown.importance().tolist() == [(1 + 3 * 4) / 4, 3 * 3 / 4]


@pytest.mark.parametrize("name", ["std", "kl"])
def test_streams_are_resumed(name: str) -> None:
    first, rest = outputs(30, 4).split([20, 10])
    begun, resumed = stream(measure_of(name)), stream(measure_of(name))
    begun.add(first)
    resumed.load_state_dict(begun.state_dict())
    for one in (begun, resumed):
        one.add(rest)
    assert torch.equal(begun.importance(), resumed.importance())
