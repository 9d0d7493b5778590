"""Data of other libraries: taken with its names, or refused by name; never silently changed."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from searches import QUICK
from torch import nn

from symcompile import Recording, SymCompileError, Target, distill, load, record, symcompile
from symcompile.errors import ArtifactError, ChoiceError, DataError, ExpressionError, TargetError
from symcompile.modules.arrays import as_array, input_names, is_frame, real_numbers

X = np.random.default_rng(0).normal(size=(60, 2))
Y = X[:, 0] * X[:, 1]


def masked(value: Any, *places: Any) -> Any:
    found = np.ma.masked_array(value)
    for place in places:
        found[place] = np.ma.masked
    return found


# --- arrays ------------------------------------------------------------------------------------

NO_NUMBERS: dict[str, tuple[Any, str]] = {
    "complex": (X + 1j, r"X is complex \(complex128\).*numpy\.stack"),
    "complex tensor": (torch.tensor(X + 1j), "X is complex"),
    "complex in a list": ([[1, 2j]], "X is complex"),
    "complex objects": (np.array([[1.0, 2j]], dtype=object), r"X\[0, 1\] is complex"),
    "masked": (masked(X, (3, 1)), "X is a masked array with 1 masked entries.*compress_rows"),
    "masked rows": ([masked(X[0], 1), X[1]], "X is a masked array with 1 masked"),
    "text": (X.astype(str), "X holds text"),
    "text in a list": ([["1.5", "2"]], "X holds text"),
    "text among objects": (np.array([[1.0, "2"]], dtype=object), r"X\[0, 1\] is '2', of str"),
    "None": ([[1.0, None]], r"X\[0, 1\] is None"),
    "dates": (X.astype("M8[s]"), "X holds dates"),
    "spans of time": (X.astype("m8[s]"), "X holds spans of time"),
    "records": (np.zeros(9, dtype=[("a", float)]), "X holds records"),
    "ragged": ([[1.0], [1.0, 2.0]], "X is not numeric"),
    "too large": ([[10**400, 1]], r"X\[0, 0\] is larger than any float64"),
    "generator": ((row for row in X), "X is a generator"),
    "set": ({1.0, 2.0}, "X is a set"),
    "map": (map(float, Y), "X is a map"),
    "text alone": ("data.csv", "X is a str"),
    "nothing": (None, "X is a NoneType"),
    "a class": (dict, "X is a type"),
    "a module": (nn.Linear(1, 1), "X is a Linear"),
    "meta tensor": (torch.empty(3, 2, device="meta"), "X is on the meta device"),
    "no columns": ({}, "X is a dict without columns"),
    "columns of two lengths": ({"a": [1.0], "b": [1.0, 2.0]}, "the columns of X have shapes"),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_what_is_no_real_number_is_refused_by_name(name: str) -> None:
    value, message = NO_NUMBERS[name]
    with pytest.raises(DataError, match=message):
        real_numbers(value, "X")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused() -> None:
    nested = torch.nested.nested_tensor([torch.rand(2), torch.rand(3)])
    for give in (lambda: distill(nested, Y), lambda: record(nn.Linear(2, 1), ".", nested)):
        with pytest.raises(DataError, match="is a nested tensor"):
            give()


NUMBERS: dict[str, Any] = {
    "float16": X.astype(np.float16),
    "long double": X.astype(np.longdouble),
    "bfloat16": torch.tensor(X).bfloat16(),
    "with a gradient": torch.tensor(X).requires_grad_(),
    "sparse": torch.tensor(X).to_sparse(),
    "decimals and fractions": [[Decimal(float(a)), Fraction(float(b))] for a, b in X],
    "objects": X.astype(object),
    "masked nowhere": np.ma.masked_array(X, mask=np.zeros_like(X, dtype=bool)),
    "columns": {"a": X[:, 0], "b": X[:, 1].tolist()},
    "lists": X.tolist(),
    "rows": list(X),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_every_real_number_is_taken(name: str) -> None:
    found = real_numbers(NUMBERS[name], "X")
    assert found.dtype == np.float64
    tolerance = 0.01 if name in ("float16", "bfloat16") else 0.0
    np.testing.assert_allclose(found, X, rtol=tolerance)


def test_whole_numbers_and_truths_keep_their_kind() -> None:
    assert as_array(np.array([1, 2]), "X").dtype == np.int64
    assert as_array([True, False], "X").dtype == np.bool_
    assert real_numbers([True, False], "X").tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((lambda x: x[:, 0] + 1j, X), "Y is complex"),
        ((lambda x: 1 / 0, X), r"can't be called with X \(ndarray\): ZeroDivisionError"),
        ((lambda x: None, X), "Y is a NoneType"),
        ((X, Y + 1j), "Y is complex"),
        ((X, np.ma.masked_greater(Y, 1)), "Y is a masked array"),
    ],
)
def test_distill_refuses_them_at_the_door(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        distill(*given, **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": np.ones(60) * 1j}, "weights is complex"),
        ({"weights": np.ones((60, 2))}, "weights: expected 60 numbers"),
        ({"weights": "abc"}, "weights is a str"),
        ({"names": "ab"}, r"1 names \(ab\) for 2 inputs"),
        ({"names": 3}, "names is 3, expected a tuple"),
        ({"names": {"a", "b"}}, "a set has no order"),
    ],
)
def test_weights_and_names_are_read_as_strictly(options: Any, message: str) -> None:
    with pytest.raises(SymCompileError, match=message):
        distill(X, Y, **options, **QUICK)


# --- data frames -------------------------------------------------------------------------------


class Column:
    """A series of polars: it gives its numbers, and nothing else that numpy knows."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def to_numpy(self) -> Any:
        return self.values


class Table:
    """A data frame of polars."""

    def __init__(self, **columns: Any) -> None:
        self.columns = list(columns)
        self._held = [Column(values) for values in columns.values()]
        self.shape = (len(self._held[0].values), len(columns))

    def to_series(self, position: int) -> Column:
        return self._held[position]

    def __iter__(self) -> Any:
        return iter(self._held)


def frames() -> list[Any]:
    found: list[Any] = [Table(mass=X[:, 0], speed=X[:, 1])]
    try:
        import pandas

        found.append(pandas.DataFrame(X, columns=["mass", "speed"]))
    except ImportError:
        pass
    return found


@pytest.mark.parametrize("frame", frames(), ids=lambda one: type(one).__module__)
def test_data_frames_give_their_column_names(frame: Any) -> None:
    assert distill(frame, Y, **QUICK)[0].best.symbols == ("mass", "speed")
    assert distill(lambda _: Y, frame, **QUICK)[0].best.symbols == ("mass", "speed")
    assert distill(frame, Y, names=("a", "b"), **QUICK)[0].best.symbols == ("a", "b")
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    recording = record(model, ["0", "1"], frame)
    assert recording.regions["0"].names == ("mass", "speed")
    assert recording.regions["1"].names == ("x0", "x1")
    assert sorted(recording["0"].X[:, 0]) == sorted(X[:, 0].astype(np.float32))
    assert record(model, Target("0", names=("u", "v")), frame).regions["0"].names == ("u", "v")
    compiled = symcompile(model, ".", frame, **QUICK)
    assert compiled.equations["."][0].symbols == ("mass", "speed")


def test_columns_go_to_parameters_of_their_names() -> None:
    class Kinetic(nn.Module):
        def forward(self, speed: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
            return mass * speed**2 / 2

    table = Table(mass=np.abs(X[:, 0]) + 1, speed=X[:, 1])
    found = record(Kinetic(), ".", table)
    assert found.regions["."].names == ("speed", "mass")
    np.testing.assert_allclose(found.Y[:, 0], found.X[:, 1] * found.X[:, 0] ** 2 / 2, rtol=1e-5)


def test_columns_that_cannot_be_names() -> None:
    for names, message in ((("mass (kg)", "b"), "column 'mass"), (("if", "b"), "column 'if'")):
        with pytest.raises(DataError, match=message):
            distill(Table(**dict(zip(names, X.T, strict=True))), Y, **QUICK)
    table = Table(**{"mass (kg)": X[:, 0], "b": X[:, 1]})
    assert distill(table, Y, names=("m", "b"), **QUICK)[0].best.symbols == ("m", "b")
    assert record(nn.Linear(2, 1), ".", table).regions["."].names == ("x0", "x1")


def test_columns_are_numbers_each() -> None:
    with pytest.raises(DataError, match="column 'b' of X holds text"):
        distill(Table(a=X[:, 0], b=X[:, 1].astype(str)), Y)
    with pytest.raises(DataError, match="column 'b' of data holds dates"):
        record(nn.Linear(2, 1), ".", Table(a=X[:, 0], b=X[:, 1].astype("M8[s]")))
    assert record(nn.Linear(2, 1), ".", Table(a=np.arange(9), b=np.arange(9) ** 2)).X.shape == (
        9,
        2,
    )


def test_datasets_with_column_names_are_iterated() -> None:
    class Dataset:
        column_names, shape = ["x"], (60, 1)

        def __iter__(self) -> Any:
            return iter(torch.tensor(X).float().split(20))

    assert record(nn.Linear(2, 1), ".", Dataset()).X.shape == (60, 2)


def test_series_and_frames_inside_of_batches() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
            return x * gain.unsqueeze(-1)

    table, gain = Table(a=X[:, 0], b=X[:, 1]), Column(Y)
    given = ((table, gain), {"x": table, "gain": gain}, [(table, gain), (table, gain)])
    for data in given:
        assert record(Two(), ".", data).X.shape[1] == 3


def test_frames_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["mass", "speed"])
    assert is_frame(frame)
    assert not is_frame(frame["mass"])
    assert input_names(pandas.DataFrame(X)) is None
    assert distill(pandas.DataFrame(X), Y, **QUICK)[0].best.symbols == ("x0", "x1")
    for bad, message in (
        (frame.assign(k="a"), "column 'k' of X"),
        (frame.assign(k=pandas.Categorical(["a"] * 60)), "column 'k' of X"),
        (frame.assign(k=pandas.Timestamp("2020-01-01")), "column 'k' of X holds dates"),
        (frame.assign(k=np.nan), "NaN or infinity"),
        (frame.assign(k=pandas.array([1] * 59 + [None], dtype="Int64")), "NaN|NA"),
        (frame.astype(complex), "X is complex"),
        (pandas.DataFrame(X, columns=["a", "a"]), "occurs twice"),
    ):
        with pytest.raises(DataError, match=message):
            distill(bad, Y)
    assert distill(frame["mass"], frame["speed"], **QUICK)[0].best.symbols == ("x0",)


# --- data of a model ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("data.csv", "data is a str"),
        (b"data", "data is a bytes"),
        ({1.0, 2.0}, "data is a set"),
        (len, "data is a builtin"),
        ([1.0, 2.0], "a batch is a float"),
        ([None], "a batch is a NoneType"),
        (X.astype(str), "data holds text"),
        (np.array([[1.0, None]] * 9), r"data\[0, 1\] is None"),
        (masked(X, (3, 1)), "data is a masked array"),
        (torch.empty(9, 2, device="meta"), "data is on the meta device"),
        ({"y": X}, "does not fit Linear.forward"),
    ],
)
def test_data_that_is_none_says_what_to_give(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        symcompile(nn.Linear(2, 1), ".", data, **QUICK)


# --- equations, paths and files ------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled() -> Any:
    return symcompile(nn.Sequential(nn.Linear(2, 1)), "0", torch.tensor(X).float(), **QUICK)


x0 = sympy.Symbol("x0")
NO_EQUATIONS: list[Any] = [
    *(lambda x0, x1: x0, ["x0"], ("x0",), {"a": 1}, {x0}, np.array([1.0]), np.array("x0")),
    *(True, 1j, b"x0", sympy.Eq(x0, 1), sympy.Matrix([x0]), sympy.true, sympy.Interval(0, 1)),
    *(torch.tensor(1.0), nn.Linear(1, 1), np.sin, range(3), type, sympy.Poly(x0)),
]


@pytest.mark.parametrize("given", NO_EQUATIONS, ids=lambda one: type(one).__name__)
def test_what_is_no_equation_is_refused(compiled: Any, given: Any) -> None:
    before = compiled.equations["0"][0]
    with pytest.raises(ExpressionError, match="is no equation: expected an Equation of the front"):
        compiled.choose("0", given)
    assert compiled.equations["0"][0] == before


@pytest.mark.parametrize(
    "constant", [sympy.GoldenRatio, sympy.EulerGamma, sympy.Catalan * x0], ids=str
)
def test_constants_that_equations_do_not_know(compiled: Any, constant: Any) -> None:
    with pytest.raises(ExpressionError, match=r"pi and E are: give its value, \d\.\d+"):
        compiled.choose("0", constant)


def test_numbers_and_symbols_of_every_make_are_equations(compiled: Any) -> None:
    for given in (3, 2.5, np.float64(2.5), np.float32(2.5), Fraction(1, 3), Decimal("0.5")):
        compiled.choose("0", given)
        assert compiled.equations["0"][0].predict(X[:1])[0] == pytest.approx(float(given))
    for symbol in (sympy.Symbol("x0", positive=True), sympy.Dummy("x0")):
        compiled.choose("0", 2 * symbol)
        assert compiled.equations["0"][0].sympy.free_symbols == {x0}


@pytest.mark.parametrize("path", [3, None, ["0"], b"0", Target("0")], ids=repr)
def test_regions_are_named_by_text(compiled: Any, path: Any) -> None:
    for call in (lambda: compiled.choose(path, "x0"), lambda: compiled.restore(path)):
        with pytest.raises(ChoiceError, match="expected its path, such as '0'"):
            call()


@pytest.mark.parametrize("path", [3, None, [], nn.Linear(1, 1)], ids=lambda one: type(one).__name__)
def test_files_are_named_by_paths(compiled: Any, path: Any) -> None:
    recording = compiled.recording
    for call in (load, Recording.load, compiled.save, recording.save):
        with pytest.raises(ArtifactError, match="expected the path of a file"):
            call(path)


def test_paths_may_be_bytes_and_never_empty(compiled: Any, tmp_path: Path) -> None:
    name = bytes(tmp_path / "m.symc")
    assert load(compiled.save(name)).equations.keys() == {"0"}
    for save in (compiled.save, compiled.recording.save):
        with pytest.raises(ArtifactError, match="expected the name of a file"):
            save("")


def test_targets_have_no_order_in_sets() -> None:
    with pytest.raises(TargetError, match="a set has no order"):
        Target("0", names={"a", "b"})  # type: ignore[arg-type]
    assert [type(name) for name in Target("0", names=np.array(["a"])).names or ()] == [str]
