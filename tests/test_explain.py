"""`explain`: one prediction of any model, by equations that hold around it."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from torch import nn

from symcompile import Explanation, SymCompileError, explain, load
from symcompile.errors import ChoiceError, DataError, EngineError
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.controls import LinearMap

RNG = np.random.default_rng(0)
ROWS = RNG.uniform(0.5, 2.0, size=(300, 3))
AT = np.array([1.0, 1.5, 1.2])
SHORT = {"restarts": 1, "population": 100, "generations": 10}
QUICK: dict[str, Any] = {"lime": False, "n_synthetic": 200, "engine_options": SHORT}


def law(X: Array) -> Array:
    """A value for each row: x2 plays no part."""
    return np.asarray(2.0 * X[:, 0] * X[:, 1] + 1.0)


def odds(X: Array) -> Array:
    """Probabilities of two classes, with log-odds 4*x0 - 3*x1."""
    p = expit(4.0 * X[:, 0] - 3.0 * X[:, 1])
    return np.column_stack([1.0 - p, p])


def three(X: Array) -> Array:
    """Probabilities of three classes."""
    scores = np.column_stack([2.0 * X[:, 0] * X[:, 1], 3.0 * X[:, 2], np.ones(len(X))])
    shares = np.exp(scores)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


@cache
def of_law() -> Explanation:
    return explain(law, AT, ROWS, **QUICK)


@cache
def of_three() -> Explanation:
    return explain(three, AT, ROWS, **QUICK)


# --- what it finds -------------------------------------------------------------------------------


def test_a_local_law_is_found() -> None:
    explanation = of_law()
    X = ROWS[:20]
    assert np.allclose(explanation.predict(X), law(X), rtol=1e-4)
    assert explanation.equations[0].uses == {"x0", "x1"}
    assert explanation.fidelity["equation"]["r2"] > 0.99999
    assert not explanation.linear_is_as_good


def test_contributions_are_those_of_the_law() -> None:
    of_output = of_law().contributions[0]
    assert of_output.by_feature["x0"].gradient == pytest.approx(2.0 * AT[1], rel=1e-3)
    assert of_output.by_feature["x1"].gradient == pytest.approx(2.0 * AT[0], rel=1e-3)
    total = sum(one.integrated for one in of_output.by_feature.values())
    assert total == pytest.approx(of_output.at_x - of_output.at_mean)


def test_probabilities_are_such() -> None:
    explanation = of_three()
    P = explanation.predict(ROWS)
    assert P.shape == (300, 3)
    assert P.min() >= 0.0
    assert np.allclose(P.sum(axis=1), 1.0)
    assert explanation.fidelity["equation"]["mse"] < 1e-4
    assert explanation.fidelity["equation"]["mse"] < 0.1 * explanation.fidelity["ridge"]["mse"]


def test_equations_are_closed_forms_of_outputs() -> None:
    """Of probabilities as well, and not of what was searched for."""
    explanation = of_three()
    for k, equation in explanation.equations.items():
        assert np.allclose(equation.predict(ROWS), explanation.predict(ROWS)[:, k])


def test_log_odds_are_told_against_the_class_at_x() -> None:
    explanation = of_three()
    reference = int(three(AT[None]).argmax())
    assert set(explanation.log_odds) == {0, 1, 2} - {reference}
    P = explanation.predict(ROWS)
    for k, equation in explanation.log_odds.items():
        assert np.allclose(equation.predict(ROWS), np.log(P[:, k] / P[:, reference]))


def test_fronts_hold_what_was_chosen_from() -> None:
    """By what is explained of the deviance on rows that constants were not fitted to."""
    explanation = of_three()
    X = explanation.neighbourhood.draw(2000, np.random.default_rng(9)).X
    for k, front in explanation.fronts.items():
        assert front.best.form == explanation.log_odds[k].form
        assert front.complexities[0] == 1
        assert front.r2(front[0]) == pytest.approx(0.0, abs=0.05)
        assert front.r2(front.best) > 0.99
        P = three(X)
        part = explanation.link.parts(P)[explanation.link.told.index(k)]
        weights = explanation.neighbourhood.kernel(X) * part.share
        for equation in front:
            loss = np.average(part.deviance(equation.predict(X)), weights=weights)
            assert np.log10(max(loss, 1e-6)) == pytest.approx(
                np.log10(max(equation.loss, 1e-6)), abs=0.7
            )


def test_a_linear_model_is_told_by_a_linear_law() -> None:
    explanation = explain(odds, AT, ROWS, **QUICK)
    equation = explanation.log_odds[1]
    assert explanation.told[1].is_linear
    assert np.allclose(equation.predict(ROWS), 4.0 * ROWS[:, 0] - 3.0 * ROWS[:, 1], atol=0.05)
    assert explanation.linear_is_as_good
    assert "a linear law of all features is as good" in str(explanation)


def test_a_coefficient_of_one_is_not_spelled_out() -> None:
    explanation = explain(lambda X: X[:, 0] - X[:, 1] + 2.5 * X[:, 2], AT, ROWS, **QUICK)
    exact = LinearMap(np.array([[1.0, -1.0, 2.5]]), np.array([3.0]))
    explanation = replace(
        explanation, linear=replace(explanation.linear, map=exact), linear_is_as_good=True
    )
    said = " ".join(str(explanation).split()).partition("as good, or better: ")[2]
    assert said.startswith("y = 3 + 2.5*x2 ")
    assert "+ x0 " in said
    assert "- x1 " in said


def test_what_is_held_against_it_is_the_ridge_of_the_same_samples() -> None:
    explanation = explain(lambda X: 3.0 * X[:, 0] - X[:, 2] + 1.0, AT, ROWS, **QUICK)
    linear = explanation.linear
    assert np.allclose(linear.predict(ROWS), 3.0 * ROWS[:, 0] - ROWS[:, 2] + 1.0)
    assert list(linear.coefficients().items())[:2] == [
        ("x0", pytest.approx(3.0)),
        ("x2", pytest.approx(-1.0)),
    ]
    assert explanation.linear_is_as_good


def test_few_of_many_features_are_held() -> None:
    rows = np.random.default_rng(1).normal(size=(400, 40))

    def fn(X: Array) -> Array:
        return np.asarray(X[:, 3] * X[:, 17] + 0.5 * X[:, 5] + 0.001 * X[:, 30])

    explanation = explain(fn, rows[0], rows, n_features=3, extrapolate=True, **QUICK)
    assert set(explanation.selected) == {"x3", "x5", "x17"}
    assert explanation.equations[0].uses <= {"x3", "x5", "x17"}
    assert explanation.fidelity["equation"]["r2"] > 0.99
    assert 0.0 < explanation.left_out["y"] < 1e-4 * explanation.explained["y"]


def wide(X: Array) -> Array:
    """A sum of twelve features, one of which counts more than all others."""
    return np.asarray(X @ np.r_[9.0, np.arange(1.0, 12.0) / 10.0] + 1.0)


def test_what_says_nearly_all_in_less_is_told_too() -> None:
    """A product explains nine tenths, and a sum of small terms what is left."""

    def fn(X: Array) -> Array:
        return np.asarray(X[:, 0] * X[:, 1] + 0.2 / X[:, 2] + 0.05 * X[:, 0] / X[:, 1])

    explanation = explain(fn, AT, ROWS, **QUICK)
    front = explanation.fronts[0]
    assert front.best.complexity <= 40
    short = front.select("price")
    assert 0.8 < front.r2(short) < front.r2(front.best)
    text = " ".join(str(explanation).split())
    assert f"a shorter one, of complexity {short.complexity}, explains" in text
    assert f"y = {short.text(4)}" in text


def test_long_laws_come_with_shorter_ones() -> None:
    rows = np.random.default_rng(1).normal(size=(200, 12))
    options = QUICK | {"extrapolate": True}
    explanation = explain(wide, rows[0], rows, **options)
    assert explanation.equations[0].complexity > 40
    text = " ".join(str(explanation).split())
    assert re.search(r"a shorter one, of complexity \d+, explains \d+\.\d% and not 100", text)
    front = explanation.fronts[0]
    assert front.complexities == tuple(sorted(set(front.complexities)))
    assert front.most_accurate.predict(rows) == pytest.approx(wide(rows), abs=0.01)
    assert front.best.uses == explanation.equations[0].uses
    short = explain(wide, rows[0], rows, max_complexity=7, **options)
    assert short.equations[0].complexity <= 7
    assert "x0" in short.equations[0].uses
    assert 0.5 < short.fronts[0].r2(short.fronts[0].most_accurate) < 1.0
    assert explain(wide, rows[0], rows, max_complexity=1, **options).equations[0].uses == set()


@pytest.mark.parametrize("dimension", [2, 30, 100])
def test_the_sample_stays_usable_in_any_dimension(dimension: int) -> None:
    rows = np.random.default_rng(1).normal(size=(200, dimension))
    explanation = explain(
        lambda X: X[:, 0] * X[:, 1], rows[0], rows, n_features=2, extrapolate=True, **QUICK
    )
    assert 0.5 * 200 < explanation.effective_sample_size < 0.7 * 200


def test_fixed_features_play_no_part() -> None:
    explanation = explain(law, AT, ROWS, fixed=["x1"], **QUICK)
    assert explanation.equations[0].uses == {"x0"}
    assert explanation.contributions[0].by_feature["x0"].gradient == pytest.approx(3.0, rel=1e-3)


def test_real_rows_count_by_their_weight() -> None:
    """Far from x fn is another one: only the nearest rows of the data see that."""
    rows = np.vstack([ROWS[:, :2], [[1.0, 1.0]] * 3])

    def fn(X: Array) -> Array:
        return np.where(np.abs(X - 1.0).max(axis=1) < 1e-12, 9.0, X[:, 0])

    options = QUICK | {"operators": ["+", "*"], "max_complexity": 5, "extrapolate": True}
    light, heavy = (
        explain(fn, [1.05, 1.0], rows, real_weight=w, n_neighbors=10, **options) for w in (0.01, 50)
    )
    at = np.array([[1.05, 1.0]])
    assert abs(light.linear.predict(at)[0] - 1.05) < abs(heavy.linear.predict(at)[0] - 1.05)


# --- what it takes -------------------------------------------------------------------------------


def test_estimators_of_scikit_learn() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=1000).fit(X, y.map(dict(enumerate("abc"))))
    for fn in (model, model.predict_proba):
        explanation = explain(fn, X.iloc[60], X, **QUICK)
        assert explanation.link.names == ("a", "b", "c")
        assert (
            np.abs(explanation.predict(X.iloc[50:60]) - model.predict_proba(X.iloc[50:60])).max()
            < 0.02
        )
    assert "petal_length_cm is petal length (cm)" in " ".join(str(explanation).split())


def test_regressors_and_modules_give_what_they_give() -> None:
    """One number for a row, or a list of one."""
    model = LinearRegression().fit(ROWS, law(ROWS))
    assert explain(model, AT, ROWS, **QUICK).predict(ROWS).shape == (300,)
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    rows = torch.from_numpy(ROWS).float()
    explanation = explain(module, rows[0], rows, **QUICK)
    with torch.no_grad():
        truth = module(rows[:1])
    assert explanation.predict(rows).shape == (300, 1)
    assert explanation.predict(rows[:1])[0, 0] == pytest.approx(float(truth), abs=0.05)


def mixed() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 80, 400),
            "income": rng.uniform(1.0, 5.0, 400),
            "color": rng.choice(["red", "green", "blue"], 400),
            "member": rng.random(400) < 0.5,
        }
    )


def value_of(frame: pd.DataFrame) -> Array:
    assert set(frame["color"]) <= {"red", "green", "blue"}
    assert frame["age"].dtype == np.int64
    assert frame["member"].dtype == bool
    assert frame["age"].between(18, 80).all()
    color = frame["color"].map({"red": 1.0, "green": 2.0, "blue": 4.0}).to_numpy(float)
    return np.asarray(0.1 * frame["age"] + color + frame["member"] * frame["income"])


def test_mixed_tables_are_explained_as_they_are() -> None:
    data = mixed()
    explanation = explain(value_of, data.iloc[7], data, **QUICK)
    assert explanation.fidelity["equation"]["r2"] > 0.99
    assert [feature.name for feature in explanation.features.features] == list(data.columns)
    assert explanation.predict(data.iloc[7:8])[0] == pytest.approx(
        value_of(data.iloc[7:8])[0], abs=0.3
    )
    assert "color" in explanation.contributions[0].by_feature


@pytest.mark.parametrize(
    ("outputs", "columns"), [(1, [1]), ("b", [1]), ([2, 0], [2, 0]), (["c", "a"], [2, 0])]
)
def test_some_classes_against_all_others(outputs: Any, columns: list[int]) -> None:
    explanation = explain(three, AT, ROWS, outputs=outputs, output_names=list("abc"), **QUICK)
    assert list(explanation.equations) == columns
    P = explanation.predict(ROWS[:50])
    assert P.shape == (50, len(columns))
    assert P.min() >= 0.0
    assert (P.sum(axis=1) <= 1.0 + 1e-12).all()
    assert explanation.fidelity["equation"]["mse"] < 1e-3
    for linear in (explanation.linear, explanation.logistic):
        assert linear is not None
        said, truth = linear.predict(ROWS[:50]), three(ROWS[:50])[:, columns]
        assert said.shape == P.shape
        assert all(np.corrcoef(a, b)[0, 1] > 0.8 for a, b in zip(said.T, truth.T, strict=True))


def test_a_probability_alone_stays_in_its_bounds_where_it_is_said_to_be_one() -> None:
    explanation = explain(lambda X: odds(X)[:, 1], AT, ROWS, link="logit", **QUICK)
    far = np.array([[50.0, -50.0, 0.0], [-50.0, 50.0, 0.0]])
    assert explanation.predict(far) == pytest.approx([1.0, 0.0], abs=1e-6)
    assert explanation.predict(ROWS) == pytest.approx(odds(ROWS)[:, 1], abs=0.02)


def test_several_values_have_an_equation_each() -> None:
    explanation = explain(lambda X: np.column_stack([law(X), X[:, 2] ** 2]), AT, ROWS, **QUICK)
    assert set(explanation.equations) == {0, 1}
    assert explanation.predict(ROWS)[:, 1] == pytest.approx(ROWS[:, 2] ** 2, rel=1e-3)


# --- seeds, workers, files -----------------------------------------------------------------------


def test_the_same_seed_explains_alike() -> None:
    again, other = (explain(three, AT, ROWS, seed=seed, **QUICK) for seed in (0, 1))
    first = of_three()
    assert first.fidelity == again.fidelity
    assert [str(e) for e in first.equations.values()] == [str(e) for e in again.equations.values()]
    assert first.fidelity != other.fidelity


def test_an_executor_runs_the_searches() -> None:
    with ThreadPoolExecutor(2) as pool:
        explanation = explain(three, AT, ROWS, executor=pool, **QUICK)
    assert explanation.fidelity == of_three().fidelity


def test_explanations_travel() -> None:
    """Without the function: it is the user's, and may not pickle."""
    copy = pickle.loads(pickle.dumps(of_law()))
    assert np.array_equal(copy.predict(ROWS), of_law().predict(ROWS))
    assert str(copy) == str(of_law())
    with pytest.raises(DataError, match=r"has been pickled.*explain again"):
        copy.stability()


def test_stability_tells_what_stays() -> None:
    found = of_law().stability(3)
    assert len(found.explanations) == 3
    assert found.present == {("y", "x0"): 1.0, ("y", "x1"): 1.0}
    assert found.spread["y"] < 1e-3
    assert "100%" in str(found)
    with pytest.raises(DataError, match="from 2 up"):
        of_law().stability(1)


def test_it_is_a_block_as_any_other(tmp_path: Path) -> None:
    explanation = of_three()
    compiled = explanation.compiled
    X = torch.from_numpy(ROWS)
    assert compiled.module(X).numpy() == pytest.approx(explanation.predict(ROWS))
    explanation.export(tmp_path / "law.onnx")
    explanation.save(tmp_path / "law.symc")
    assert load(tmp_path / "law.symc").module(X).numpy() == pytest.approx(explanation.predict(ROWS))


# --- what it refuses -----------------------------------------------------------------------------


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(5, random_state=0).fit(ROWS, np.zeros(300))


def with_nan(values: Array, *place: int) -> Array:
    changed = values.copy()
    changed[place] = np.nan
    return changed


def raises(X: Array) -> Array:
    raise KeyError("age")


FRAME = pd.DataFrame(ROWS, columns=["a", "b", "c"])
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "outside": (
        lambda: explain(law, [9.0, 1.5, 1.2], ROWS),
        r"outside of the data.*x0 is 9.*extrapolate=True",
    ),
    "constant": (
        lambda: explain(law, AT, np.column_stack([ROWS[:, :2], np.ones(300)])),
        r"feature 'x2' is the same in all 300 rows.*leave the column out",
    ),
    "one class": (lambda: explain(forest(), AT, ROWS), "knows one class only"),
    "nothing varies": (lambda: explain(lambda X: np.ones(len(X)), AT, ROWS), "gives 1 for all"),
    "certain": (
        lambda: explain(lambda X: np.tile([0.0, 1.0], (len(X), 1)), AT, ROWS),
        r"class 'y1' with probability 1 for all .* rows around x",
    ),
    "NaN in x": (lambda: explain(law, with_nan(AT, 1), ROWS), "'x1' of x holds NaN"),
    "NaN in data": (lambda: explain(law, AT, with_nan(ROWS, 3, 2)), r"'x2' of data .* 1 of 300"),
    "NaN from fn": (lambda: explain(lambda X: X[:, 0] * np.nan, AT, ROWS), "fn gives NaN"),
    "too few values": (lambda: explain(law, AT[:2], ROWS), "x has 2 features, and data 3"),
    "several rows": (lambda: explain(law, ROWS[:2], ROWS), "x has 2 rows"),
    "no such column": (lambda: explain(law, {"a": 1.0, "b": 1.0}, FRAME), "no column 'c'"),
    "fn raises": (lambda: explain(raises, AT, ROWS), r"can't be called.*KeyError: 'age'"),
    "wrong shape": (
        lambda: explain(lambda X: X[:5, 0], AT, ROWS),
        r"fn gave \[2\] for 2|fn gave \[5\]",
    ),
    "a scalar": (lambda: explain(lambda X: 1.0, AT, ROWS), r"fn gave \[\] for 2 rows"),
    "labels": (lambda: explain(lambda X: ["a"] * len(X), AT, ROWS), "what fn gives holds text"),
    "random": (lambda: explain(lambda X: RNG.normal(size=len(X)), AT, ROWS), "different outputs"),
    "no function": (lambda: explain(3, AT, ROWS), "fn is a int"),
    "outputs": (lambda: explain(three, AT, ROWS, outputs=5), "outputs names 5, which is no output"),
    "neighbours": (lambda: explain(law, AT, ROWS, n_neighbors=301), "and data has 300 rows"),
    "points": (lambda: explain(law, AT, ROWS, n_synthetic=3), "n_synthetic is 3"),
    "weight": (lambda: explain(law, AT, ROWS, real_weight=-1), "real_weight is -1"),
    "variance": (lambda: explain(law, AT, ROWS, variance=[1.0, 2.0]), "one for each of 3 features"),
    "bandwidth": (
        lambda: explain(law, AT, ROWS, bandwidth=1e-6),
        r"bandwidth is 1e-06 .* too far from it to count: give a larger one",
    ),
    "metric": (lambda: explain(law, AT, ROWS, metric="mine"), "metric='mine'"),
    "link": (lambda: explain(law, AT, ROWS, link="probit"), "link is 'probit'"),
    "fixed": (lambda: explain(law, AT, ROWS, fixed=["age"]), "fixed names 'age'"),
    "all fixed": (lambda: explain(law, AT, ROWS, fixed=[0, 1, 2]), "nothing varies around x"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(DataError, match=message):
        call()


def test_other_errors_are_of_the_family() -> None:
    with pytest.raises(EngineError, match="unknown engine"):
        explain(law, AT, ROWS, engine="mine")
    assert issubclass(DataError, SymCompileError)
    with pytest.raises((ChoiceError, DataError)):
        explain(law, AT, ROWS, outputs=[])


# --- what it shows -------------------------------------------------------------------------------


def test_the_report_prints_what_matters() -> None:
    text = str(of_three().report)
    assert max(map(len, text.splitlines())) <= 100
    for piece in ("log(p[", "KL at x", "ridge", "mean", "contribution", "say as much as"):
        assert piece in text


def test_plain_data_html_and_latex() -> None:
    explanation = of_three()
    data = json.loads(json.dumps(explanation.to_dict()))
    assert data["effective_sample_size"] == explanation.effective_sample_size
    assert [row["output"] for row in data["equations"]] == ["y0", "y2"]
    page = explanation._repr_html_()
    assert page.count("<table>") == page.count("</table>") == 4
    assert "<script" not in page
    assert explanation.latex().count(" = ") == 2


def test_names_of_features_are_escaped_in_html() -> None:
    data = pd.DataFrame(ROWS, columns=["<b>a</b>", "b", "c"])
    explanation = explain(
        lambda f: law(f.to_numpy()), data.iloc[3], data, extrapolate=True, **QUICK
    )
    assert "<b>a</b>" not in explanation._repr_html_()
    assert "&lt;b&gt;a" in explanation._repr_html_()


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    figure = of_three().plot(path=tmp_path / "law.png")
    assert (tmp_path / "law.png").stat().st_size > 10_000
    assert len(figure.axes) == 2
    with pytest.raises(DataError, match="output is 7"):
        of_three().plot(7)


def test_a_request_is_kept_for_what_comes_later() -> None:
    request = of_law().asked("stay")
    assert replace(request, seed=3).seed == 3
