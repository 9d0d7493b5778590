"""The black box: asked with rows as its user holds them, refused where it gives no numbers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from symcompile.errors import DataError, TargetError
from symcompile.explanation.black_box import BlackBox
from symcompile.explanation.features import Features
from symcompile.expressions.evaluation import Array

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
Y = X @ [1.0, -2.0, 0.5]
COLORS = np.array(["red", "blue", "green"])[np.arange(30) % 3]


def frame(**columns: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns)


def named() -> Any:
    return frame(a=X[:, 0], b=X[:, 1], c=X[:, 2])


def mixed() -> Any:
    """Of all types that a data frame of people may have."""
    return frame(
        size=X[:, 0].astype(np.float32),
        color=COLORS,
        owner=np.arange(30) % 4 == 1,
        age=np.arange(30) * 3,
    )


def asked(fn: Any, data: Any, **options: Any) -> tuple[BlackBox, Array]:
    """The black box, and the data as numbers."""
    features, numbers = Features.of(data, **options)
    return BlackBox.of(fn, features, data), numbers


class Seen:
    """A function that keeps what it is called with, and gives zeros for it."""

    def __init__(self) -> None:
        self.rows: Any = None

    def __call__(self, rows: Any) -> Array:
        self.rows = rows
        return np.zeros(len(rows))


# --- torch modules -------------------------------------------------------------------------------


class Watched(nn.Module):
    """A linear layer that keeps what it gets, and whether gradients are on."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2, dtype=dtype)
        self.rows: Tensor | None = None
        self.gradients = True

    def forward(self, rows: Tensor) -> Tensor:
        self.rows, self.gradients = rows, torch.is_grad_enabled()
        result: Tensor = self.linear(rows)
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("held", [np.asarray, torch.tensor, lambda rows: named()])
def test_a_module_gets_the_dtype_of_its_parameters_and_no_gradients(
    dtype: torch.dtype, held: Callable[[Array], Any]
) -> None:
    module = Watched(dtype)
    black_box, numbers = asked(module, held(X))
    outputs = black_box(numbers)
    assert module.rows is not None
    assert module.rows.dtype == dtype
    assert not module.gradients
    expected = module.linear(torch.from_numpy(X).to(dtype)).detach().double().numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)
    assert outputs.dtype == np.float64


def test_a_module_is_asked_on_the_device_of_its_parameters() -> None:
    """What lies on the meta device holds no values, which is how it is known to be there."""
    black_box, numbers = asked(nn.Linear(3, 1, device="meta"), X)
    with pytest.raises(DataError, match="what fn gives is on the meta device"):
        black_box(numbers)


def test_a_module_without_parameters_gets_what_torch_computes_in() -> None:
    black_box, numbers = asked(nn.Tanh(), X)
    np.testing.assert_allclose(black_box(numbers), np.tanh(X), atol=1e-6)


def test_a_module_takes_no_text() -> None:
    with pytest.raises(DataError, match="column 'color' of data holds text or codes"):
        asked(nn.Linear(6, 1), mixed())


# --- estimators ----------------------------------------------------------------------------------


def test_a_classifier_is_asked_for_probabilities_and_knows_its_classes() -> None:
    model = LogisticRegression().fit(X, np.array(["no", "yes"])[(Y > 0).astype(int)])
    black_box, numbers = asked(model, X)
    np.testing.assert_allclose(black_box(numbers), model.predict_proba(X))
    assert black_box.classes == ("no", "yes")


def test_an_estimator_without_probabilities_is_asked_for_predictions() -> None:
    model = LinearSVC().fit(X, Y > 0)
    black_box, numbers = asked(model, X)
    np.testing.assert_array_equal(black_box(numbers)[:, 0], model.predict(X))
    np.testing.assert_array_equal(np.unique(black_box(numbers)), [0.0, 1.0])


def test_an_estimator_gets_the_names_that_it_was_fitted_with() -> None:
    """scikit-learn warns where names are missing, or not expected; warnings are errors here."""
    with_names, without = LinearRegression().fit(named(), Y), LinearRegression().fit(X, Y)
    for model, data in ((with_names, named()), (without, named()), (without, X)):
        black_box, numbers = asked(model, data)
        np.testing.assert_allclose(black_box(numbers)[:, 0], Y)
        assert black_box.classes == ()


def test_a_bound_method_is_asked_as_its_owner_is() -> None:
    model = LogisticRegression().fit(named(), Y > 0)
    for method in (model.decision_function, model.predict_log_proba, model.predict):
        black_box, numbers = asked(method, named())
        expected = np.reshape(method(named()), (30, -1))
        np.testing.assert_allclose(black_box(numbers), expected)
    assert black_box.classes == ("False", "True")


def test_what_merely_has_predict_is_asked_by_it() -> None:
    model = SimpleNamespace(predict=lambda rows: rows[:, 0] * rows[:, 1])
    black_box, numbers = asked(model, X)
    np.testing.assert_allclose(black_box(numbers)[:, 0], X[:, 0] * X[:, 1])


class Ages:
    """A model of one's own, which wants the columns of its data frame."""

    def predict(self, rows: Any) -> Any:
        return rows["age"] + (rows["color"] == "red")


@pytest.mark.parametrize("of", [lambda: Ages(), lambda: Ages().predict])
def test_a_model_of_ones_own_gets_the_data_frame(of: Callable[[], Any]) -> None:
    black_box, numbers = asked(of(), mixed())
    np.testing.assert_array_equal(black_box(numbers)[:, 0], Ages().predict(mixed()))


# --- functions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int16, np.uint8])
def test_a_function_of_arrays_gets_their_dtype(dtype: Any) -> None:
    table, seen = RNG.integers(2, 99, (30, 3)).astype(dtype), Seen()
    black_box, numbers = asked(seen, table)
    black_box(numbers)
    assert isinstance(seen.rows, np.ndarray)
    assert seen.rows.dtype == dtype
    np.testing.assert_array_equal(seen.rows, table)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_a_function_of_tensors_gets_their_dtype(dtype: torch.dtype) -> None:
    table, seen = torch.from_numpy(RNG.integers(2, 99, (30, 3))).to(dtype), Seen()
    black_box, numbers = asked(seen, table)
    black_box(numbers)
    assert torch.equal(seen.rows, table)
    assert seen.rows.dtype == dtype


def test_outputs_that_have_gradients_are_numbers() -> None:
    weight = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    black_box, numbers = asked(lambda rows: rows @ weight, torch.from_numpy(X))
    np.testing.assert_allclose(black_box(numbers)[:, 0], Y)


def test_a_function_of_data_frames_gets_their_columns_and_types() -> None:
    pandas, seen = pytest.importorskip("pandas"), Seen()
    black_box, numbers = asked(seen, mixed())
    black_box(numbers)
    pandas.testing.assert_frame_equal(seen.rows, mixed())


def test_a_function_of_columns_in_a_dict_gets_a_dict() -> None:
    black_box, numbers = asked(lambda rows: rows["a"] - rows["b"], {"a": X[:, 0], "b": X[:, 1]})
    np.testing.assert_allclose(black_box(numbers)[:, 0], X[:, 0] - X[:, 1])


def test_a_function_of_objects_gets_text_and_numbers() -> None:
    table, seen = np.empty((30, 2), dtype=object), Seen()
    table[:, 0], table[:, 1] = X[:, 0], COLORS
    black_box, numbers = asked(seen, table)
    black_box(numbers)
    assert seen.rows.dtype == object
    np.testing.assert_array_equal(seen.rows, table)


def test_codes_come_back_in_an_array_of_numbers() -> None:
    table, seen = np.column_stack([np.arange(30) * 2, np.arange(30) % 3 + 5]), Seen()
    black_box, numbers = asked(seen, table, categories=[1])
    black_box(numbers)
    assert seen.rows.dtype == table.dtype
    np.testing.assert_array_equal(seen.rows, table)


def test_codes_come_back_in_a_tensor() -> None:
    table, seen = torch.tensor([[k * 2, k % 3 + 5] for k in range(30)]), Seen()
    black_box, numbers = asked(seen, table, categories=[1])
    black_box(numbers)
    assert torch.equal(seen.rows, table)


def test_numbered_columns_of_a_data_frame_keep_their_numbers() -> None:
    pandas = pytest.importorskip("pandas")
    black_box, numbers = asked(lambda rows: rows[0] + rows[2], pandas.DataFrame(X))
    np.testing.assert_allclose(black_box(numbers)[:, 0], X[:, 0] + X[:, 2])


def test_names_that_are_given_are_not_those_of_the_data_frame() -> None:
    black_box, numbers = asked(lambda rows: rows["a"], named(), names=["one", "two", "three"])
    np.testing.assert_allclose(black_box(numbers)[:, 0], X[:, 0])


def test_a_table_of_arrow_comes_back_as_one() -> None:
    arrow = pytest.importorskip("pyarrow")
    table, seen = arrow.table({"a": X[:, 0], "b": X[:, 1]}), Seen()
    black_box, numbers = asked(seen, table)
    black_box(numbers)
    assert seen.rows.equals(table)


# --- shapes --------------------------------------------------------------------------------------


def test_one_number_for_a_row_is_told_from_a_list_of_one() -> None:
    for fn, flat in ((lambda rows: rows[:, 0], True), (lambda rows: rows[:, :1], False)):
        black_box, numbers = asked(fn, X)
        assert black_box.is_flat(numbers[0]) is flat
        np.testing.assert_array_equal(black_box(numbers), X[:, :1])


def test_many_rows_are_asked_in_parts_and_come_back_in_order() -> None:
    parts = []

    def fn(rows: Array) -> Array:
        parts.append(len(rows))
        return rows[:, 0]

    black_box, _ = asked(fn, X)
    many = RNG.normal(size=(25_000, 3))
    np.testing.assert_array_equal(black_box(many)[:, 0], many[:, 0])
    assert max(parts) <= 10_000
    assert sum(parts) == 25_000


# --- what is refused -----------------------------------------------------------------------------


def raising(rows: Array) -> Array:
    raise RuntimeError("no rows today\nor tomorrow")


REFUSED: dict[str, tuple[Any, str]] = {
    "raises": (
        raising,
        r"fn can't be called with 30 rows \(ndarray\): RuntimeError: no rows today$",
    ),
    "NaN": (lambda rows: np.log(np.abs(rows[:, 0])) * [np.nan, *[1.0] * 29], "for 1 of 30 rows"),
    "infinity": (lambda rows: np.where(rows > 0, np.inf, 1.0)[:, :1], "NaN or infinity for"),
    "one row less": (lambda rows: rows[1:, 0], r"fn gave \[29\] for 30 rows: expected \[30\]"),
    "one for all": (lambda rows: rows[:1], r"fn gave \[1, 3\] for 30 rows"),
    "three dimensions": (lambda rows: rows[:, :, None], r"fn gave \[30, 3, 1\] for 30 rows"),
    "a scalar": (lambda rows: 1.5, r"fn gave \[\] for 30 rows"),
    "no outputs": (lambda rows: rows[:, :0], r"fn gave \[30, 0\] for 30 rows"),
    "text": (lambda rows: ["yes"] * len(rows), "what fn gives holds text"),
    "nothing": (lambda rows: None, "what fn gives is a NoneType"),
    "complex": (lambda rows: rows[:, 0] + 1j, "what fn gives is complex"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_number_for_each_row_is_refused(name: str) -> None:
    fn, message = REFUSED[name]
    black_box, numbers = asked(fn, X)
    with pytest.raises(DataError, match=message):
        black_box(numbers)


def test_what_fn_raises_is_kept_as_the_cause() -> None:
    black_box, numbers = asked(raising, X)
    with pytest.raises(DataError) as caught:
        black_box(numbers)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_error_of_our_own_passes_as_it_is() -> None:
    def fn(rows: Array) -> Array:
        raise TargetError("no such target")

    black_box, numbers = asked(fn, X)
    with pytest.raises(TargetError, match="no such target"):
        black_box(numbers)


def test_a_module_for_other_rows_is_refused() -> None:
    black_box, numbers = asked(nn.Linear(5, 1), X)
    with pytest.raises(DataError, match=r"fn can't be called with 30 rows \(Tensor\)"):
        black_box(numbers)


def test_another_number_of_outputs_than_before_is_refused() -> None:
    black_box, numbers = asked(lambda rows: rows[:, : 1 + (len(rows) > 5)], X)
    outputs = black_box(numbers).shape[1]
    with pytest.raises(DataError, match="fn gave 1 outputs, and 2 when it was called first"):
        black_box(numbers[:2], outputs)


def test_a_number_of_outputs_that_changes_between_parts_is_refused() -> None:
    black_box, _ = asked(lambda rows: rows[:, : 1 + (len(rows) > 5)], X)
    with pytest.raises(DataError, match="fn gave"):
        black_box(RNG.normal(size=(10_002, 3)))


def test_answers_that_do_not_repeat_are_refused() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.Linear(64, 1))
    black_box, numbers = asked(module.train(), X)
    with pytest.raises(DataError, match=r"different outputs for the same rows.*model\.eval\(\)"):
        black_box.check_repeats(numbers, black_box(numbers))
    module.eval()
    black_box.check_repeats(numbers, black_box(numbers))


def growing(size: float, share: float) -> Callable[[Array], Array]:
    """What differs by a share of its size for each row that is asked at once."""
    return lambda rows: size * Y[: len(rows)] * (1 + share * len(rows))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_rounding_is_no_other_answer(size: float) -> None:
    """Of batches of other sizes a network's single precision differs a little."""
    black_box, numbers = asked(growing(size, 1e-7), X)
    black_box.check_repeats(numbers, black_box(numbers))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_what_is_more_than_rounding_is_another_answer_in_any_unit(size: float) -> None:
    black_box, numbers = asked(growing(size, 0.01), X)
    with pytest.raises(DataError, match="different outputs for the same rows"):
        black_box.check_repeats(numbers, black_box(numbers))


@pytest.mark.parametrize("fn", [None, "model.pt", X, torch.tensor(X)])
def test_what_cannot_be_called_is_refused_by_its_type(fn: Any) -> None:
    message = rf"fn is a {type(fn).__name__}: expected a function of rows, a torch\.nn\.Module"
    with pytest.raises(DataError, match=message):
        asked(fn, X)
