"""LIME as a control: what it is asked, and that its predictions are its own."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from symcompile.errors import SymCompileError
from symcompile.explanation import lime_control
from symcompile.explanation.black_box import BlackBox
from symcompile.explanation.features import Features
from symcompile.explanation.lime_control import CONTINUOUS, DEFAULT, is_wanted, lime_surrogates
from symcompile.explanation.link import Link, link_of
from symcompile.expressions.evaluation import Array

RNG = np.random.default_rng(0)
# Three numbers of different units, a flag, and three columns of which one is 1.
NUMBERS = RNG.normal(size=(200, 3)) * [1.0, 20.0, 0.3] + [0.0, 5.0, 0.0]
LEVELS = np.eye(3)[RNG.integers(0, 3, 200)]
TABLE = np.column_stack([NUMBERS, RNG.integers(0, 2, 200), LEVELS])
SLOPES = np.array([2.0, -0.1, 0.0, 1.0, 0.0, 0.5, -0.5])
WEIGHTS = RNG.normal(size=(7, 3)) * [[1.0], [0.05], [1.0], [1.0], [1.0], [1.0], [1.0]]


def line(X: Array) -> Array:
    return np.asarray(X @ SLOPES)


def classes(X: Array) -> Array:
    return np.asarray(softmax(X @ WEIGHTS, axis=1))


def link_for(fn: Any, table: Array, outputs: tuple[int, ...] | None = None) -> Link:
    Y = fn(table).reshape(len(table), -1)
    names = tuple(f"y{k}" for k in range(Y.shape[1]))
    return link_of("auto", Y, Y[0], outputs or tuple(range(len(names))), names)


def surrogates(
    fn: Any, table: Array = TABLE, outputs: tuple[int, ...] | None = None, row: int = 0
) -> tuple[dict[str, Any], Link]:
    pytest.importorskip("lime")
    features, numbers = Features.of(table)
    link = link_for(fn, table, outputs)
    black_box = BlackBox.of(fn, features, table)
    return lime_surrogates(black_box, features, link, numbers[row], numbers, 0), link


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> dict[bool, list[float]]:
    """What LIME says its own model predicts at x, of each output; by whether it discretizes."""
    tabular = pytest.importorskip("lime.lime_tabular")
    found: dict[bool, list[float]] = {True: [], False: []}
    explain = tabular.LimeTabularExplainer.explain_instance

    def kept(explainer: Any, *given: Any, **options: Any) -> Any:
        result = explain(explainer, *given, **options)
        found[explainer.discretizer is not None].append(float(result.local_pred[0]))
        return result

    monkeypatch.setattr(tabular.LimeTabularExplainer, "explain_instance", kept)
    return found


# --- what it predicts ----------------------------------------------------------------------------


@pytest.mark.parametrize("row", [0, 5])
@pytest.mark.parametrize("fn", [line, classes])
def test_predictions_at_x_are_those_of_limes_own_model(
    fn: Any, row: int, local: dict[bool, list[float]]
) -> None:
    found, link = surrogates(fn, row=row)
    assert list(found) == [DEFAULT, CONTINUOUS]
    for name, predict in found.items():
        own = np.array(local[name == DEFAULT])[None]
        assert own.shape == (1, len(link.names))
        np.testing.assert_allclose(predict(TABLE[row : row + 1]), link.chosen(own), rtol=1e-9)


def test_of_some_classes_all_others_are_one() -> None:
    found, link = surrogates(classes, outputs=(2,))
    for predict in found.values():
        P = predict(TABLE[:20])
        assert P.shape == (20, len(link.classes)) == (20, 2)
        np.testing.assert_allclose(P.sum(axis=1), 1.0)


def test_on_a_linear_function_slopes_are_those_of_the_function() -> None:
    """LIME's ridge makes them a little smaller; of a category it knows whether it is as at x."""
    predict = surrogates(line)[0][CONTINUOUS]
    for column, step in ((0, 1.0), (1, 20.0)):
        there = np.tile(TABLE[0], (2, 1))
        there[1, column] += step
        before, after = predict(there)[:, 0]
        assert after - before == pytest.approx(SLOPES[column] * step, rel=0.05)
    other = np.tile(TABLE[0], (2, 1))
    other[1, 3] = 1.0 - other[1, 3]
    before, after = predict(other)[:, 0]
    assert after - before == pytest.approx(1.0 - 2.0 * TABLE[0, 3], rel=0.1)


def test_by_default_it_is_told_whether_a_number_is_in_the_quartile_of_x() -> None:
    predict = surrogates(line)[0][DEFAULT]
    there = np.tile(TABLE[0], (3, 1))
    inside, outside = np.quantile(NUMBERS[:, 0], [0.6, 0.1])
    low, high = np.quantile(NUMBERS[:, 0], [0.5, 0.75])
    assert low < TABLE[0, 0] < high
    there[1:, 0] = inside, outside
    at_x, near, far = predict(there)[:, 0]
    assert near == pytest.approx(at_x)
    assert abs(far - at_x) > 0.1


def test_the_same_seed_gives_the_same_predictions() -> None:
    first, second = surrogates(classes)[0], surrogates(classes)[0]
    for name in (DEFAULT, CONTINUOUS):
        np.testing.assert_array_equal(first[name](TABLE[:9]), second[name](TABLE[:9]))


# --- what it asks --------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", [line, classes])
def test_the_black_box_is_only_asked_for_rows_that_can_be(fn: Any) -> None:
    """Of columns of 0 and 1 each on its own LIME makes rows with two colors, or with none."""
    asked = []

    def watched(X: Array) -> Array:
        asked.append(X.copy())
        return np.asarray(fn(X))

    surrogates(watched)
    rows = np.vstack(asked[1:])
    assert len(rows) > 5000
    np.testing.assert_array_equal(np.unique(rows[:, 3:]), [0.0, 1.0])
    np.testing.assert_array_equal(rows[:, 4:].sum(axis=1), 1.0)
    assert (rows[:, 4:].mean(axis=0) > 0.2).all()


def test_points_are_around_x_where_features_are_as_they_are() -> None:
    """And not around the mean of the data."""
    asked = []

    def watched(X: Array) -> Array:
        asked.append(X.copy())
        return line(X)

    row = int(NUMBERS[:, 1].argmax())
    surrogates(watched, row=row)
    spread = NUMBERS.std(axis=0)
    apart = (asked[-1][:, :3].mean(axis=0) - NUMBERS[row]) / spread
    assert (NUMBERS[row, 1] - NUMBERS[:, 1].mean()) / spread[1] > 2.0
    np.testing.assert_allclose(apart, 0.0, atol=0.1)
    np.testing.assert_allclose(asked[-1][:, :3].std(axis=0), spread, rtol=0.1)


def test_a_table_of_categories_alone_is_explained() -> None:
    found, _ = surrogates(lambda X: X @ [1.0, 0.0, 3.0, -2.0], TABLE[:, 3:])
    for predict in found.values():
        values = predict(TABLE[:, 3:])
        assert values.shape == (200, 1)
        assert len(np.unique(np.round(values, 9))) == 4  # flag and color are as at x, or not


# --- whether it is measured ----------------------------------------------------------------------


def test_it_is_measured_where_it_is_there_or_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lime_control, "find_spec", lambda name: importlib.util.find_spec("numpy"))
    assert is_wanted(None)
    assert is_wanted(True)
    assert not is_wanted(False)


def test_where_it_is_missing_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lime_control, "find_spec", lambda name: None)
    assert not is_wanted(None)
    assert not is_wanted(False)
    with pytest.raises(SymCompileError, match=r"lime=True .* pip install 'symcompile\[lime\]'"):
        is_wanted(True)
