"""The reservoir: a bounded, uniform sample that does not depend on how a stream is cut."""

import numpy as np
import pytest

from symcompile.modules.samples import Reservoir


def sample(size: int, rows: np.ndarray, cuts: int, seed: int) -> np.ndarray:
    reservoir = Reservoir(size, seed)
    for part in np.array_split(rows, cuts):
        reservoir.add(part, -part)
        assert len(reservoir) <= size
        assert all(len(kept) == len(reservoir) for kept in reservoir.rows())
    x, y = reservoir.rows()
    np.testing.assert_array_equal(x, -y)
    assert reservoir.seen == len(rows)
    return x


@pytest.mark.parametrize("cuts", [1, 2, 7, 100, 1000])
def test_the_cut_does_not_matter(cuts: int) -> None:
    rows = np.arange(1000.0)[:, None]
    np.testing.assert_array_equal(sample(50, rows, cuts, seed=3), sample(50, rows, 1, seed=3))


def test_seeds() -> None:
    rows = np.arange(1000.0)[:, None]
    assert set(sample(50, rows, 4, seed=1)[:, 0]) != set(sample(50, rows, 4, seed=2)[:, 0])


def test_less_than_fits_stays_in_order() -> None:
    rows = np.arange(30.0)[:, None]
    np.testing.assert_array_equal(sample(50, rows, 4, seed=0), rows)


def test_the_order_of_the_stream_is_kept() -> None:
    kept = sample(50, np.arange(1000.0)[:, None], 13, seed=0)[:, 0]
    assert (np.diff(kept) > 0).all()


def test_every_row_is_as_likely() -> None:
    rows = np.arange(40.0)[:, None]
    counts = np.zeros(40)
    for seed in range(2000):
        counts[sample(10, rows, 3, seed)[:, 0].astype(int)] += 1
    # Binomial(2000, 1/4): mean 500, standard deviation 19.4; five of these for 40 rows.
    assert np.abs(counts - 500).max() < 97
    assert counts.std() < 30


def test_empty_batches() -> None:
    reservoir = Reservoir(5, 0)
    reservoir.add(np.empty((0, 2)))
    reservoir.add(np.ones((3, 2)))
    reservoir.add(np.empty((0, 2)))
    assert (len(reservoir), reservoir.seen) == (3, 3)
