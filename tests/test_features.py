"""Features: tables of all kinds as numbers and back, categories as columns of 0 and 1."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

from symcompile.errors import DataError
from symcompile.explanation.features import CATEGORY, NUMBER, WHOLE, Feature, Features

RNG = np.random.default_rng(0)
# A number, a whole number, and one that is 0 or 1.
PLAIN = np.column_stack([RNG.normal(size=40), RNG.integers(2, 90, 40), RNG.integers(0, 2, 40)])
COLORS = np.array(["red", "blue", "green"])[RNG.integers(0, 3, 40)]
# A number beside three columns of which one is 1, and two that have nothing to do with them.
LEVELS = np.eye(3)[RNG.integers(0, 3, 40)]
FLAGS = RNG.integers(0, 2, (40, 2)).astype(float)


def frame(**columns: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns)


def people() -> Any:
    """A data frame with a number, text, a truth value and a whole number."""
    return frame(
        income=PLAIN[:, 0], color=COLORS, owner=PLAIN[:, 2] == 1, age=PLAIN[:, 1].astype(int)
    )


def kinds(features: Features) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {feature.name: (feature.kind, feature.columns) for feature in features.features}


# --- what the columns are ----------------------------------------------------------------------


def as_it_is(values: np.ndarray) -> Any:
    return values


TABLES = {
    "array": as_it_is,
    "array of objects": lambda values: values.astype(object),
    "float32": lambda values: values.astype(np.float32),
    "list": lambda values: values.tolist(),
    "tensor": torch.from_numpy,
    "tensor with a gradient": lambda values: torch.from_numpy(values).requires_grad_(),
}


@pytest.mark.parametrize("name", TABLES)
def test_numbers_whole_numbers_and_categories_are_told_apart(name: str) -> None:
    features, numbers = Features.of(TABLES[name](PLAIN))
    np.testing.assert_allclose(numbers, PLAIN, rtol=1e-6)
    assert numbers.dtype == np.float64
    low, high = float(numbers[:, 0].min()), float(numbers[:, 0].max())
    assert features.features == (
        Feature("x0", NUMBER, (0,), low, high),
        Feature("x1", WHOLE, (1,), float(PLAIN[:, 1].min()), float(PLAIN[:, 1].max())),
        Feature("x2", CATEGORY, (2,)),
    )
    assert features.titles == features.symbols == ("x0", "x1", "x2")
    assert not features.by_name


def test_text_and_truth_values_of_a_data_frame_are_categories() -> None:
    features, numbers = Features.of(people())
    assert kinds(features) == {
        "income": (NUMBER, (0,)),
        "color": (CATEGORY, (1, 2, 3)),
        "owner": (CATEGORY, (4,)),
        "age": (WHOLE, (5,)),
    }
    assert features.titles[1:4] == ("color=blue", "color=green", "color=red")
    for column, level in enumerate(["blue", "green", "red"], start=1):
        np.testing.assert_array_equal(numbers[:, column], level == COLORS)
    np.testing.assert_array_equal(numbers[:, 4], PLAIN[:, 2])
    assert features.by_name


def test_text_in_an_array_of_objects_is_a_category_beside_numbers() -> None:
    table = np.empty((40, 2), dtype=object)
    table[:, 0], table[:, 1] = PLAIN[:, 0], COLORS
    features, numbers = Features.of(table)
    assert kinds(features) == {"x0": (NUMBER, (0,)), "x1": (CATEGORY, (1, 2, 3))}
    np.testing.assert_allclose(numbers[:, 0], PLAIN[:, 0])


def test_truth_values_in_an_array_are_categories_of_one_column() -> None:
    features, numbers = Features.of(FLAGS.astype(bool))
    assert [feature.kind for feature in features.features] == [CATEGORY, CATEGORY]
    np.testing.assert_array_equal(numbers, FLAGS)


def test_columns_that_are_numbered_get_the_names_of_an_array() -> None:
    pandas = pytest.importorskip("pandas")
    features, _ = Features.of(pandas.DataFrame(PLAIN))
    assert features.titles == ("x0", "x1", "x2")
    assert not features.by_name


def test_columns_in_a_dict_are_a_table() -> None:
    features, numbers = Features.of({"a": PLAIN[:, 0], "c": COLORS})
    assert features.titles == ("a", "c=blue", "c=green", "c=red")
    np.testing.assert_allclose(numbers[:, 0], PLAIN[:, 0])


def test_names_are_given_to_what_has_none() -> None:
    features, _ = Features.of(PLAIN, names=["a", "b", "c"])
    assert features.titles == ("a", "b", "c")
    for names in (["a", "b"], ["a", "b", "b"]):
        with pytest.raises(DataError, match="names has 2 different names: data has 3 features"):
            Features.of(PLAIN, names=names)


def test_a_feature_is_found_by_each_of_its_columns() -> None:
    features, _ = Features.of(people())
    found = [features.feature_of(column).name for column in range(6)]
    assert found == ["income", "color", "color", "color", "owner", "age"]


# --- categories that hold codes ------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["code", 1, np.int64(1)])
@pytest.mark.parametrize("listed", [True, False])
def test_codes_are_levels_where_their_column_is_named(entry: Any, listed: bool) -> None:
    codes = RNG.permutation(np.arange(40) % 3 + 5)
    table = np.column_stack([PLAIN[:, 0], codes])
    given = [entry] if listed or not isinstance(entry, str) else entry
    features, numbers = Features.of(table, ["size", "code"], given)
    assert kinds(features) == {"size": (NUMBER, (0,)), "code": (CATEGORY, (1, 2, 3))}
    assert features.titles[1:] == ("code=5.0", "code=6.0", "code=7.0")
    np.testing.assert_array_equal(numbers[:, 1:].argmax(axis=1) + 5, codes)
    np.testing.assert_array_equal(features.decode(numbers)[1], codes)


@pytest.mark.parametrize("group", [["a", "b", "c"], (3, 1, 2), ["c", 1, "b"]])
def test_columns_in_a_list_are_levels_of_one_category(group: list[Any]) -> None:
    table = np.column_stack([PLAIN[:, 0], LEVELS])
    features, numbers = Features.of(table, ["size", "a", "b", "c"], [group])
    assert [f.columns for f in features.features] == [(0,), (1, 2, 3)]
    assert features.features[1].kind == CATEGORY
    np.testing.assert_array_equal(numbers, table)


def test_columns_that_are_apart_are_joined_when_asked_for() -> None:
    table = np.column_stack([LEVELS[:, 0], PLAIN[:, 0], LEVELS[:, 1:]])
    found = Features.of(table, ["k_a", "size", "k_b", "k_c"], [["k_c", "k_a", "k_b"]])[0]
    assert kinds(found) == {"k": (CATEGORY, (0, 2, 3)), "size": (NUMBER, (1,))}
    alone = Features.of(table, ["k_a", "size", "k_b", "k_c"])[0]
    assert [f.columns for f in alone.features] == [(0,), (1,), (2,), (3,)]


def test_categories_of_pandas_are_categories_also_of_numbers() -> None:
    pandas = pytest.importorskip("pandas")
    table = frame(size=PLAIN[:, 0], code=pandas.Categorical(np.arange(40) % 3 * 4 + 1))
    features, _ = Features.of(table)
    assert features.titles == ("size", "code=1", "code=5", "code=9")


# --- categories that are found -------------------------------------------------------------------


def test_neighbouring_columns_of_which_one_is_1_are_joined() -> None:
    table = np.column_stack([FLAGS[:, 0], LEVELS, PLAIN[:, 0], FLAGS[:, 1]])
    names = ["vip", "color_red", "color_green", "color_blue", "size", "new"]
    assert kinds(Features.of(table, names)[0]) == {
        "vip": (CATEGORY, (0,)),
        "color": (CATEGORY, (1, 2, 3)),
        "size": (NUMBER, (4,)),
        "new": (CATEGORY, (5,)),
    }


def test_two_groups_side_by_side_are_two_categories() -> None:
    others = np.eye(2)[RNG.integers(0, 2, 40)]
    names = ["a=1", "a=2", "a=3", "b=1", "b=2"]
    found = kinds(Features.of(np.column_stack([LEVELS, others]), names)[0])
    assert found == {"a": (CATEGORY, (0, 1, 2)), "b": (CATEGORY, (3, 4))}


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_level_that_no_row_has_belongs_to_its_group(place: int) -> None:
    """Alone it would be a feature that never changes."""
    table = np.column_stack([np.insert(LEVELS, place, 0.0, axis=1), PLAIN[:, 0]])
    features, _ = Features.of(table)
    assert [f.columns for f in features.features] == [(0, 1, 2, 3), (4,)]


def test_a_level_that_no_row_has_is_not_taken_from_behind_another_column() -> None:
    table = np.column_stack([LEVELS, PLAIN[:, 0], np.zeros(40)])
    with pytest.raises(DataError, match="feature 'x4' is the same in all 40 rows"):
        Features.of(table)


def test_two_independent_columns_of_0_and_1_are_two_features() -> None:
    found = kinds(Features.of(FLAGS)[0])
    assert found == {"x0": (CATEGORY, (0,)), "x1": (CATEGORY, (1,))}


def test_what_names_of_levels_have_in_common_is_the_name_of_their_category() -> None:
    def name(*titles: str) -> str:
        return Features.of(LEVELS, titles)[0].features[0].name

    assert name("color=red", "color=green", "color=blue") == "color"
    assert name("job: chef", "job: cook", "job: maid") == "job"
    assert name("red", "green", "blue") == "red/green/blue"


def test_a_name_does_not_end_within_a_word() -> None:
    names = ["color_red", "color_rose", "color_rust"]
    assert Features.of(LEVELS, names)[0].features[0].name == "color"


def test_no_two_features_have_one_name() -> None:
    table = np.column_stack([RNG.normal(size=(40, 10)), LEVELS])
    names = [feature.name for feature in Features.of(table)[0].features]
    assert len(set(names)) == len(names) == 11


# --- symbols -------------------------------------------------------------------------------------

SYMBOLS = {
    "sepal length (cm)": "sepal_length_cm",
    "a<b": "a_lt_b",
    "a<=b": "a_le_b",
    "a>=b": "a_ge_b",
    "share %": "share_percent",
    "?": "unknown",
    "lambda": "x_lambda",
    "None": "x_None",
    "2nd try": "x_2nd_try",
    "x=-1.5": "x_1_5",
    "___": "x",
    "größe": "größe",
}


@pytest.mark.parametrize("title", SYMBOLS)
def test_names_become_symbols_of_python(title: str) -> None:
    features, _ = Features.of(PLAIN[:, :2], [title, "other"])
    assert features.symbols == (SYMBOLS[title], "other")
    assert features.titles == (title, "other")


def test_names_that_become_the_same_symbol_are_numbered() -> None:
    features, _ = Features.of(np.column_stack([PLAIN, PLAIN[:, 0]]), ["a b", "a-b", "a_b_2", "a_b"])
    assert features.symbols == ("a_b", "a_b_2", "a_b_2_2", "a_b_3")


@pytest.mark.parametrize("title", ["R²", "area (m²)", "½"])
def test_raised_digits_and_fractions_are_no_part_of_a_symbol(title: str) -> None:
    symbol = Features.of(PLAIN[:, :2], [title, "other"])[0].symbols[0]
    assert symbol.isidentifier()


# --- rows there and back -------------------------------------------------------------------------


def test_rows_of_a_data_frame_come_back_as_they_were() -> None:
    table = people()
    features, numbers = Features.of(table)
    back = features.decode(numbers)
    for name, values in zip(table.columns, back, strict=True):
        np.testing.assert_array_equal(values, table[name].to_numpy())
    again = features.encode(dict(zip(table.columns, back, strict=True)), "x")
    np.testing.assert_array_equal(again, numbers)


def test_columns_in_another_order_and_more_of_them_are_taken_by_name() -> None:
    table = people()
    features, numbers = Features.of(table)
    other = table[["age", "owner", "color", "income"]].assign(more=1.0)
    np.testing.assert_array_equal(features.encode(other, "x"), numbers)


ONE_ROW = {
    "series": lambda table: table.iloc[3],
    "series in another order": lambda table: table.iloc[3][::-1],
    "dict": lambda table: dict(table.iloc[3]),
    "dict of lists": lambda table: {name: [value] for name, value in table.iloc[3].items()},
    "ordered dict": lambda table: OrderedDict(table.iloc[3][::-1]),
    "data frame": lambda table: table.iloc[3:4],
    "array of objects": lambda table: table.to_numpy()[3],
}


@pytest.mark.parametrize("form", ONE_ROW)
def test_one_row_comes_in_many_forms(form: str) -> None:
    table = people()
    features, numbers = Features.of(table)
    np.testing.assert_array_equal(features.encode(ONE_ROW[form](table), "x"), numbers[3:4])


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_text_and_numbers_is_a_row(kind: type) -> None:
    features, numbers = Features.of(people())
    row = kind([PLAIN[3, 0], str(COLORS[3]), bool(PLAIN[3, 2]), int(PLAIN[3, 1])])
    np.testing.assert_array_equal(features.encode(row, "x"), numbers[3:4])


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, np.atleast_2d])
def test_a_list_of_numbers_is_a_row(kind: Any) -> None:
    features, _ = Features.of(PLAIN)
    np.testing.assert_array_equal(features.encode(kind([0.5, 3.0, 1.0]), "x"), [[0.5, 3.0, 1.0]])


def test_a_data_frame_is_taken_by_position_where_data_has_no_names() -> None:
    features, numbers = Features.of(PLAIN)
    given = frame(a=PLAIN[:, 0], b=PLAIN[:, 1], c=PLAIN[:, 2])
    np.testing.assert_array_equal(features.encode(given, "x"), numbers)


def test_levels_of_codes_are_found_whatever_the_type_of_a_number() -> None:
    table = frame(size=PLAIN[:, 0], code=np.arange(40) % 3)
    features, _ = Features.of(table, categories=["code"])
    for two in (2, 2.0, np.float32(2)):
        np.testing.assert_array_equal(
            features.encode({"size": 0.0, "code": two}, "x"), [[0.0, 0.0, 0.0, 1.0]]
        )


# --- what is refused -----------------------------------------------------------------------------


def with_gaps(*rows: int, value: float = np.nan) -> np.ndarray:
    found = PLAIN.copy()
    found[list(rows), 1] = value
    return found


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_numbers_are_counted_in_the_column_that_has_them(value: float) -> None:
    message = r"column 'b' of data holds NaN or infinity in 2 of 40 rows"
    for table in (with_gaps(3, 7, value=value), torch.from_numpy(with_gaps(3, 7, value=value))):
        with pytest.raises(DataError, match=message):
            Features.of(table, ["a", "b", "c"])


def test_missing_numbers_of_x_are_told_as_such() -> None:
    features, _ = Features.of(PLAIN)
    with pytest.raises(DataError, match=r"column 'x1' of x holds NaN or infinity in 1 of 1 rows"):
        features.encode([0.0, np.nan, 1.0], "x")


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_text_is_refused(missing: Any) -> None:
    with pytest.raises(DataError, match="column 'color' of data has missing values in 1 of 40"):
        Features.of(frame(a=PLAIN[:, 0], color=[missing, *COLORS[1:]]))


def test_missing_text_of_pandas_own_kind_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    text = pandas.array([None, *COLORS[1:].tolist()], dtype="string")
    with pytest.raises(DataError, match="missing values"):
        Features.of(frame(a=PLAIN[:, 0], color=text))


def test_missing_text_of_pandas_own_kind_is_no_level() -> None:
    pandas = pytest.importorskip("pandas")
    features, _ = Features.of(frame(a=PLAIN[:, 0], color=COLORS))
    with pytest.raises(DataError, match="column 'color' of x"):
        features.encode({"a": 0.0, "color": pandas.NA}, "x")


def test_a_feature_that_never_changes_is_refused_by_name() -> None:
    tables = {
        "b": np.column_stack([PLAIN[:, 0], np.full(40, 3.5)]),
        "a": np.column_stack([np.zeros(40), PLAIN[:, 0]]),
    }
    for name, table in tables.items():
        message = f"feature '{name}' is the same in all 40 rows of data"
        with pytest.raises(DataError, match=message):
            Features.of(table, ["a", "b"])
    with pytest.raises(DataError, match="feature 'color' is the same"):
        Features.of(frame(a=PLAIN[:, 0], color=["red"] * 40))


def test_a_level_that_data_does_not_have_is_refused_with_those_it_has() -> None:
    features, _ = Features.of(people())
    row = dict(people().iloc[0]) | {"color": "mauve"}
    message = (
        "column 'color' of x holds 'mauve', which data does not have: expected one of"
        " 'blue', 'green', 'red'"
    )
    with pytest.raises(DataError, match=message):
        features.encode(row, "x")


def test_a_column_that_is_missing_is_named() -> None:
    features, _ = Features.of(people())
    with pytest.raises(DataError, match="x has no column 'owner': data has it"):
        features.encode(people().drop(columns="owner"), "x")


@pytest.mark.parametrize("row", [[1.0, 2.0], [1.0, 2.0, 1.0, 4.0]])
def test_another_number_of_features_is_refused(row: list[float]) -> None:
    features, _ = Features.of(PLAIN, ["a", "b", "c"])
    message = rf"x has {len(row)} features, and data 3: give one value for each of a, b, c"
    with pytest.raises(DataError, match=message):
        features.encode(row, "x")


def test_two_columns_of_one_name_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(PLAIN, columns=["a", "b", "a"])
    with pytest.raises(DataError, match="data has two columns 'a': rename one"):
        Features.of(table)


BAD_CATEGORIES: dict[str, tuple[Any, str]] = {
    "an unknown name": (["d"], "categories names 'd', which is no feature: there are a, b, c"),
    "an unknown number": ([7], "categories names 7, which is no feature"),
    "a number below zero": ([-1], "categories names -1, which is no feature"),
    "an unknown name in a list": ([["b", "d"]], "categories names 'd', which is no feature"),
    "one of no kind": ([1.5], "categories names 1.5, which is no feature"),
    "numbers in a list": ([["a", "c"]], "categories joins a, c: expected one 1 among them"),
    "two independent flags": ([["b", "c"]], "categories joins b, c: expected one 1 among them"),
    "codes in a list": (["b", ["b", "c"]], "categories joins b, c: 'b' is a category by itself"),
}


@pytest.mark.parametrize("name", BAD_CATEGORIES)
def test_categories_that_make_no_sense_are_named(name: str) -> None:
    categories, message = BAD_CATEGORIES[name]
    table = np.column_stack([PLAIN[:, 0], FLAGS])
    with pytest.raises(DataError, match=message):
        Features.of(table, ["a", "b", "c"], categories)


def test_text_can_be_no_part_of_a_group() -> None:
    table = frame(color=COLORS, b=FLAGS[:, 0], a=PLAIN[:, 0])
    with pytest.raises(DataError, match="'color' is a category by itself"):
        Features.of(table, categories=[["b", "color"]])


def test_a_column_is_in_one_category_only() -> None:
    flag = FLAGS[:, 0]
    table = np.column_stack([PLAIN[:, 0], flag, 1 - flag, flag])
    with pytest.raises(DataError, match="categories"):
        Features.of(table, categories=[[1, 2], [2, 3]])


NO_TABLES: dict[str, tuple[Any, str]] = {
    "three dimensions": (np.zeros((2, 3, 4)), r"data has shape \[2, 3, 4\]"),
    "no rows": (np.zeros((0, 3)), r"data has shape \[0, 3\]"),
    "text": ("data.csv", "data is a str"),
    "nothing": (None, "data is a NoneType"),
}


@pytest.mark.parametrize("name", NO_TABLES)
def test_what_is_no_table_is_refused(name: str) -> None:
    data, message = NO_TABLES[name]
    with pytest.raises(DataError, match=message):
        Features.of(data)


@pytest.mark.parametrize("name", ["complex", "no columns", "no rows by name", "ragged"])
def test_what_is_no_table_is_refused_by_an_error_of_our_own(name: str) -> None:
    tables: dict[str, Any] = {
        "complex": PLAIN + 1j,
        "no columns": {},
        "no rows by name": {"a": [], "b": []},
        "ragged": {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0]},
    }
    with pytest.raises(DataError, match="data"):
        Features.of(tables[name])
