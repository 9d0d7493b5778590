"""The best sums of two forms, against as many least squares as there are pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from symcompile.expressions.evaluation import Array
from symcompile.regression.computed import pairs
from symcompile.regression.computed.pairs import Found, best_sums, best_thirds

RNG = np.random.default_rng(0)
N, ROWS, ALL = 24, 60, 10_000
VALUES = RNG.normal(size=(N, ROWS)) + 3.0 * RNG.normal(size=(N, 1))
SIZES = np.sort(RNG.integers(1, 4, N))
TARGET = 2.0 * VALUES[3] - 0.5 * VALUES[17] + 4.0 + 0.3 * RNG.normal(size=ROWS)
WEIGHT = RNG.uniform(0.2, 2.0, ROWS)


def left(places: tuple[int, ...], values: Array, target: Array, weight: Array) -> float:
    """Share of the variance, with a constant, in weighted squares."""

    def residual(columns: list[Array]) -> float:
        A = np.column_stack([*columns, np.ones(ROWS)]) * weight[:, None]
        b = target * weight
        return float(np.square(b - A @ np.linalg.lstsq(A, b, rcond=None)[0]).sum())

    return residual([values[p] for p in places]) / residual([])


def brute(values: Array, sizes: Array, target: Array, weight: Array) -> dict[int, list[Found]]:
    """Of each sum of sizes, every form and pair, the best first."""
    every = [(k,) for k in range(N)] + list(combinations(range(N), 2))
    result: dict[int, list[Found]] = {}
    for places in every:
        size = int(sum(sizes[list(places)]))
        result.setdefault(size, []).append(Found(places, left(places, values, target, weight)))
    return {s: sorted(result[s], key=lambda f: f.left) for s in sorted(result)}


EXPECTED = brute(VALUES, SIZES, TARGET, WEIGHT)


@pytest.mark.parametrize("block", [1024, 5])
def test_all_pairs_are_ranked_as_least_squares_rank_them(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_BLOCK", block)
    found = best_sums(VALUES, SIZES, TARGET, WEIGHT, ALL)
    assert list(found) == list(EXPECTED)
    for size, sums in EXPECTED.items():
        shares = {f.places: f.left for f in found[size]}
        assert len(shares) == len(found[size]) == len(sums)
        for one in sums:
            assert shares[one.places] == pytest.approx(one.left, abs=2e-6)
        assert [f.left for f in found[size]] == sorted(f.left for f in found[size])


def test_a_third_is_the_best_beside_its_pair() -> None:
    pairs_ = [Found((3, 17), 0.0), Found((0, 9), 0.0)]
    expected: dict[int, dict[tuple[int, ...], float]] = {}
    for pair in pairs_:
        for size in np.unique(SIZES):
            thirds = [k for k in np.flatnonzero(size == SIZES).tolist() if k not in pair.places]
            triples = [tuple(sorted((*pair.places, k))) for k in thirds]
            shares = {three: left(three, VALUES, TARGET, WEIGHT) for three in triples}
            best = min(shares, key=shares.__getitem__)
            expected.setdefault(int(SIZES[list(best)].sum()), {})[best] = shares[best]
    found = best_thirds(VALUES, SIZES, TARGET, WEIGHT, pairs_, ALL)
    assert list(found) == sorted(expected)
    for total, sums in found.items():
        assert {f.places for f in sums} == set(expected[total])
        assert [f.left for f in sums] == pytest.approx(sorted(expected[total].values()))
    (one,) = best_thirds(VALUES[:4], SIZES[:4], TARGET, WEIGHT, [Found((0, 1), 0.0)], 1).values()
    assert len(one) == 1


def test_the_best_are_kept_of_each_two_sizes() -> None:
    found = best_sums(VALUES, SIZES, TARGET, WEIGHT, 2)
    for size, sums in EXPECTED.items():
        assert found[size][0].places == sums[0].places
        assert len(found[size]) <= 2 * 3  # a form alone and two ways to add sizes up to 3
    assert min((s for sums in found.values() for s in sums), key=lambda f: f.left).places == (3, 17)


def test_weights_count() -> None:
    """Rows of no weight may hold anything."""
    spoiled, weight = TARGET.copy(), np.ones(ROWS)
    spoiled[::3], weight[::3] = 1e6, 0.0
    found = best_sums(VALUES, SIZES, spoiled, weight, 1)
    assert min((s for sums in found.values() for s in sums), key=lambda f: f.left).places == (3, 17)


def test_forms_that_are_one_add_nothing_to_each_other() -> None:
    values = np.array([VALUES[0], 1e-4 * VALUES[0] + 7.0, VALUES[1]])
    found = best_sums(values, np.ones(3, int), VALUES[0] + VALUES[1], np.ones(ROWS), ALL)
    shares = {f.places: f.left for f in found[2]}
    assert shares[0, 1] == pytest.approx(
        left((0,), values, VALUES[0] + VALUES[1], np.ones(ROWS)), abs=1e-4
    )
    assert shares[0, 2] == pytest.approx(0.0, abs=1e-5)


def test_what_is_no_form_is_passed_over() -> None:
    values = VALUES[:4].copy()
    values[0], values[1, 3], values[2, 5] = 2.5, np.nan, np.inf
    found = best_sums(values, np.ones(4, int), VALUES[3], np.ones(ROWS), ALL)
    assert {f.places for sums in found.values() for f in sums} == {(3,)}
    assert best_sums(values[:2], np.ones(2, int), VALUES[3], np.ones(ROWS), 3) == {}
    assert best_sums(VALUES, SIZES, np.full(ROWS, 3.0), np.ones(ROWS), 3) == {}
