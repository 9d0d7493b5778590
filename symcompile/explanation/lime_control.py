"""LIME as a control: what its own explanation predicts, by the package `lime`.

LIME (Ribeiro, Singh and Guestrin 2016, arXiv 1602.04938) fits a linear model of ten features to
5,000 points around the mean of the data; by default not of the features themselves, but of whether
they are in the same quartile as x. It is given categories as categories, and measured in two ways:
as it is by default, and with features as they are and points around x.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from symcompile.errors import SymCompileError
from symcompile.explanation.black_box import BlackBox
from symcompile.explanation.features import CATEGORY, Features
from symcompile.explanation.link import Link
from symcompile.expressions.evaluation import Array

DEFAULT, CONTINUOUS = "LIME", "LIME, continuous"


def is_wanted(lime: bool | None) -> bool:
    """Whether LIME is to be measured; SymCompileError where it is asked for and not there."""
    there = find_spec("lime") is not None
    if lime and not there:
        raise SymCompileError("lime=True needs the package lime: pip install 'symcompile[lime]'")
    return there if lime is None else bool(lime)


def lime_surrogates(
    black_box: BlackBox, features: Features, link: Link, x: Array, rows: Array, seed: int
) -> dict[str, Callable[[Array], Array]]:
    """What LIME predicts for numbers [n_rows, n_columns], as `Link.chosen` gives it, by name."""
    table = _Table(features)
    return {
        name: _surrogate(table, black_box, link, x, rows, seed, discretized=name == DEFAULT)
        for name in (DEFAULT, CONTINUOUS)
    }


def _surrogate(
    table: _Table,
    black_box: BlackBox,
    link: Link,
    x: Array,
    rows: Array,
    seed: int,
    *,
    discretized: bool,
) -> Callable[[Array], Array]:
    from lime.lime_tabular import LimeTabularExplainer

    row, labels = table.coded(x[None])[0], range(len(link.names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = LimeTabularExplainer(
            table.coded(rows),
            mode="classification" if link.is_odds and len(labels) > 1 else "regression",
            categorical_features=table.categories,
            discretize_continuous=discretized,
            sample_around_instance=not discretized,
            random_state=seed,
        )
        explained = [_explained(explainer, table, black_box, row, label) for label in labels]

    def predict(X: Array) -> Array:
        Z = _interpretable(explainer, table, row, table.coded(X))
        values = np.column_stack([bias + Z @ weights for bias, weights in explained])
        return link.chosen(values)

    return predict


def _explained(
    explainer: Any, table: _Table, black_box: BlackBox, row: Array, label: int
) -> tuple[float, Array]:
    """Bias and weights [n_features] of LIME's linear model of one output."""
    classes = explainer.mode == "classification"

    def ask(coded: Array) -> Array:
        Y = black_box(table.numbers(coded))
        return Y if classes else Y[:, label]

    found = explainer.explain_instance(row, ask, labels=(label,), num_features=10)
    key = label if classes else 1  # a regression is kept as the second of two classes
    weights = np.zeros(len(row))
    for feature, weight in found.local_exp[key]:
        weights[feature] = weight
    return float(found.intercept[key]), weights


def _interpretable(explainer: Any, table: _Table, row: Array, coded: Array) -> Array:
    """What LIME's linear model is of: what is as at x, and numbers in standard deviations."""
    if explainer.discretizer is not None:
        same = explainer.discretizer.discretize(coded) == explainer.discretizer.discretize(row)
        return np.asarray(same, dtype=float)
    Z = (coded - explainer.scaler.mean_) / explainer.scaler.scale_
    Z[:, table.categories] = coded[:, table.categories] == row[table.categories]
    return np.asarray(Z)


class _Table:
    """Rows as LIME wants them: a column for each feature, categories as codes."""

    def __init__(self, features: Features) -> None:
        self.features = features.features
        self.width = len(features.titles)
        self.categories = [k for k, f in enumerate(self.features) if f.kind == CATEGORY]

    def coded(self, X: Array) -> Array:
        columns = []
        for feature in self.features:
            own = X[:, feature.columns]
            columns.append(own[:, 0] if len(feature.columns) == 1 else own.argmax(axis=1))
        return np.column_stack(columns).astype(float)

    def numbers(self, coded: Array) -> Array:
        X = np.zeros((len(coded), self.width))
        for k, feature in enumerate(self.features):
            if len(feature.columns) == 1:
                X[:, feature.columns[0]] = coded[:, k]
            else:
                X[np.arange(len(X)), np.array(feature.columns)[coded[:, k].astype(int)]] = 1.0
        return X
