"""What an explanation was asked for: the function, the data, and all options, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symcompile.errors import DataError, shown
from symcompile.explanation.black_box import BlackBox
from symcompile.explanation.features import Features, title_of
from symcompile.explanation.neighbourhood import default_neighbours
from symcompile.expressions.evaluation import Array
from symcompile.options import Operators, Options
from symcompile.regression.engines import Engine
from symcompile.target import is_count, is_number, is_positive

LINKS = ("auto", "identity", "logit")
# Fewer points than this tell nothing.
_FEWEST = 20
# Complexity of what is searched for where nothing else is asked for.
LONGEST = 40
# What a search may take where nothing else is asked for, by the name of the engine: what holds
# around a point is short, and whoever asks waits for it.
_QUICK: dict[str, dict[str, Any]] = {
    "operon": {"restarts": 1, "population": 400},
    "pysr": {"niterations": 10, "populations": 8},
}


@dataclass(frozen=True)
class Request:
    """The arguments of `explain`, by the same names; see there."""

    fn: Any
    x: Any
    data: Any
    n_neighbors: int | None = None
    n_synthetic: int = 500
    real_weight: float = 1.0
    metric: str | Callable[[Array, Array], float] = "euclidean"
    variance: Any = None
    bandwidth: float | None = None
    outputs: Any = None
    link: str = "auto"
    names: Sequence[str] | None = None
    output_names: Sequence[str] | None = None
    categories: Sequence[Any] = ()
    fixed: Sequence[Any] = ()
    n_features: int = 15
    extrapolate: bool = False
    operators: Operators = ("+", "*", "inv")
    max_complexity: int | None = None
    engine: str | Engine = "auto"
    engine_options: Mapping[str, Any] | None = None
    budget: float | None = None
    executor: Executor | None = None
    lime: bool | None = None
    seed: int = 0
    search: Engine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._check(
            "n_neighbors",
            self.n_neighbors is None or is_count(self.n_neighbors),
            "a whole number from 1 up",
        )
        count = is_count(self.n_synthetic) and self.n_synthetic >= _FEWEST
        self._check("n_synthetic", count, f"a whole number from {_FEWEST} up")
        weight = is_number(self.real_weight) and 0.0 <= self.real_weight < np.inf
        self._check("real_weight", weight, "a number from 0 up")
        self._check(
            "bandwidth", self.bandwidth is None or is_positive(self.bandwidth), "a number above 0"
        )
        self._check("n_features", is_count(self.n_features), "a whole number from 1 up")
        self._check("link", self.link in LINKS, " or ".join(map(repr, LINKS)))
        object.__setattr__(self, "search", self._engine())

    def _check(self, name: str, makes_sense: bool, expected: str) -> None:
        if not makes_sense:
            raise DataError(f"{name} is {shown(getattr(self, name))}: expected {expected}")

    def _engine(self) -> Engine:
        """The engine, for a quick search if no options are given."""

        def options(own: Mapping[str, Any] | None) -> Options:
            return Options(
                self.operators if isinstance(self.engine, str) else None,
                LONGEST if self.max_complexity is None else self.max_complexity,
                self.engine,
                own,
                seed=self.seed,
                budget=self.budget,
                executor=self.executor,
            )

        search = options(self.engine_options).search
        if isinstance(self.engine, str) and self.engine_options is None:
            search = options(_QUICK.get(search.name)).search
        return search


@dataclass(frozen=True)
class Case:
    """A request whose table has been read: x among the rows, and the black box.

    Attributes:
        x: [n_columns].
        rows: [n_rows, n_columns].
    """

    request: Request
    features: Features
    x: Array
    rows: Array
    black_box: BlackBox

    @classmethod
    def of(cls, request: Request) -> Case:
        """Raises DataError for a table, a row or a function that makes no sense."""
        features, rows = Features.of(request.data, request.names, request.categories)
        x = features.encode(request.x, "x")
        if len(x) != 1:
            raise DataError(f"x has {len(x)} rows: expected one, explain() takes them one by one")
        black_box = BlackBox.of(request.fn, features, request.data)
        return cls(request, features, x[0], rows, black_box)

    @property
    def n_neighbors(self) -> int:
        asked = self.request.n_neighbors
        if asked is not None and asked > len(self.rows):
            raise DataError(f"n_neighbors is {asked}, and data has {len(self.rows)} rows")
        return asked or default_neighbours(len(self.rows))

    @property
    def fixed(self) -> list[int]:
        """Columns that stay as they are at x."""
        names = [feature.name for feature in self.features.features]
        chosen = {title_of(entry, names, "fixed") for entry in self.request.fixed}
        every = (f.columns for f in self.features.features if f.name in chosen)
        return [column for columns in every for column in columns]

    @property
    def variance(self) -> Array | None:
        """Of new points [n_columns], NaN for the default; None for that throughout."""
        given = self.request.variance
        if given is None:
            return None
        result = np.full(len(self.x), np.nan)
        own = self._variances(given)
        for feature in self.features.features:
            value = own.get(feature.name, np.nan)
            if value < 0.0 or np.isinf(value):
                raise DataError(f"variance of {feature.name!r} is {value}: expected 0 or more")
            result[list(feature.columns)] = value
        return result

    def _variances(self, given: Any) -> dict[str, float]:
        names = [feature.name for feature in self.features.features]
        if isinstance(given, Mapping):
            return {title_of(k, names, "variance"): float(v) for k, v in given.items()}
        try:
            values = np.asarray(given, dtype=float)
        except (TypeError, ValueError):
            values = np.empty((0, 0))
        if values.ndim == 0:
            return dict.fromkeys(names, float(values))
        if values.shape != (len(names),):
            raise DataError(
                f"variance is {shown(given)}: expected a number, one for each of {len(names)}"
                " features, or a dict by their names"
            )
        return dict(zip(names, values.tolist(), strict=True))

    def output_names(self, count: int, flat: bool) -> tuple[str, ...]:
        """What all outputs are called; of classes of an unknown name their numbers."""
        given = self.request.output_names
        if given is not None:
            names = tuple(map(str, given))
            if len(set(names)) != count or len(names) != count:
                raise DataError(
                    f"output_names is {shown(given)}: fn has {count} outputs, which want as many"
                    " different names"
                )
            return names
        if len(self.black_box.classes) == count:
            return self.black_box.classes
        return ("y",) if flat else tuple(f"y{k}" for k in range(count))

    def output_numbers(self, names: Sequence[str]) -> tuple[int, ...]:
        """The outputs that are asked for, of all there are."""
        given = self.request.outputs
        if given is None:
            return tuple(range(len(names)))
        entries = given if isinstance(given, (list, tuple, range, np.ndarray)) else [given]
        numbers = [
            list(names).index(title_of(entry, names, "outputs", "output")) for entry in entries
        ]
        if not numbers or len(set(numbers)) < len(numbers):
            raise DataError(f"outputs is {given!r}: expected different outputs, at least one")
        return tuple(numbers)
