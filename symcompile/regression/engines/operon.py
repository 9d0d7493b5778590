"""The embedded engine: operon (C++ genetic programming) through pyoperon, no Julia.

Each run is short; several runs of different seeds find more than one long run, since a run either
meets the right form early or settles on another.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from symcompile.errors import EngineError
from symcompile.expressions.canonical import UNUSABLE, Algebra
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.light_algebra import add, mul
from symcompile.expressions.light_code import Values
from symcompile.expressions.light_tree import LightTree, slot
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines.engine import ProgressCallback, SearchProgress, described
from symcompile.regression.engines.guesses import spelled
from symcompile.regression.engines.operon_search import (
    EXACT,
    OperonRun,
    SearchOptions,
    Trees,
    merged,
)
from symcompile.regression.engines.operon_tree import Tree, expression, postfix, respelled
from symcompile.regression.forms import candidate
from symcompile.regression.pareto import ParetoFront

# Fewer rows than this are repeated: operon needs a batch to work on.
_MIN_ROWS = 32
# A column or output that varies by less than this share of its size is constant.
_CONSTANT = 1e-12
_SEED_STEP = 0x9E3779B97F4A7C15
# Share of a budget that is kept back to read the trees that were found.
_READ_SHARE = 0.2


@dataclass(frozen=True)
class OperonEngine:
    """Search options; build it with `create`, which checks them.

    Attributes:
        operators: what equations may use, with complexities.
        max_complexity: no equation is more complex than this.
        restarts: independent searches that the compiler runs and merges for one output, at most.
        max_rows: samples that one search looks at; each search draws its own.
        search: sizes of one run, see `SearchOptions`.
        turn: number of the search, which says how its runs differ from those of others.
    """

    operators: OperatorSet
    max_complexity: int = 30
    restarts: int = 8
    max_rows: int = 300
    search: SearchOptions = field(default_factory=SearchOptions)
    turn: int = 0
    name: str = field(default="operon", init=False)

    @classmethod
    def create(
        cls, operators: OperatorSet, max_complexity: int, options: dict[str, Any]
    ) -> OperonEngine:
        """Check and build; EngineError names an option that is unknown or out of range."""
        for name in operators:
            if not VOCABULARY[name].operon:
                has = ", ".join(other for other, row in VOCABULARY.items() if row.operon)
                raise EngineError(
                    f"engine 'operon' has no operator {name!r}: it has {has}; use"
                    " engine='pysr', which has them all"
                )
        for name in ("+", "*"):
            if name not in operators:
                raise EngineError(
                    f"operon scales and shifts whatever it finds: add {name!r} to the operators"
                    f" {list(operators)}"
                )
        for custom in operators.custom:
            warnings.warn(
                f"engine 'operon' can't search for operator {custom.name!r}: it is only met where"
                " forms that need no search, or guesses, hold its definition; engine='pysr'"
                " searches for it",
                stacklevel=2,
            )
        sizes = [f.name for f in fields(SearchOptions)]
        names = ["restarts", "max_rows", *sizes]
        for name in sorted(set(options) - set(names)):
            raise EngineError(f"operon has no option {name!r}: its options are {', '.join(names)}")
        for name, value in options.items():
            _check_size(name, value)
        if type(max_complexity) is not int or max_complexity < 1:
            raise EngineError(f"max_complexity is {max_complexity!r}: expected 1 or more")
        search = SearchOptions(**{name: options[name] for name in sizes if name in options})
        own = {name: value for name, value in options.items() if name not in sizes}
        return cls(operators, max_complexity, search=search, **own)

    @property
    def max_length(self) -> int:
        """Operon's limit in nodes. A variable there carries its own coefficient and counts 1, here
        3, so that most trees of this length are at the limit of our complexity."""
        return max(2, round(0.6 * self.max_complexity))

    def varied(self, restart: int) -> OperonEngine:
        """See `Engine`."""
        return replace(self, turn=restart)

    def describe(self) -> dict[str, Any]:
        """Name, version and options as plain data."""
        own = {"restarts": self.restarts, "max_rows": self.max_rows}
        return described(self, "pyoperon", **own, **asdict(self.search))

    def fit(
        self,
        X: Array,
        y: Array,
        *,
        weights: Array | None = None,
        names: Sequence[str],
        **options: Any,
    ) -> ParetoFront:
        """See `Engine.fit`. What `progress` raises ends the search and is raised again."""
        candidates = self.candidates(X, y, weights=weights, names=names, **options)
        short = [equation for equation in candidates if equation.complexity <= self.max_complexity]
        return ParetoFront.of(short, Dataset(X, np.asarray(y, float), weights).variance)

    def candidates(
        self,
        X: Array,
        y: Array,
        *,
        weights: Array | None = None,
        names: Sequence[str],
        seed: int = 0,
        budget: float | None = None,
        progress: ProgressCallback | None = None,
        guesses: Sequence[Equation] = (),
    ) -> list[Equation]:
        """Everything worth refining, front or not: the best few trees of each length, and of those
        that have one form the best.

        Same arguments and errors as `fit`.
        """
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        _check_arrays(X, y, names)
        search = _OperonFit(self, Dataset(X, y, weights), names, tuple(guesses))
        candidates = [search.equation(slot(0), [float(np.average(y, weights=weights))])]
        if len(search.columns) and len(_varying(y[:, None])):
            seconds = None if budget is None else budget * (1.0 - _READ_SHARE)
            trees = search.trees(seed, seconds, progress)
            deadline = math.inf if budget is None else time.monotonic() + budget * _READ_SHARE
            candidates += search.equations(trees, deadline, progress)
        best: dict[LightTree, Equation] = {}
        for equation in candidates:
            if equation is not None:
                form, _ = equation.tree
                rival = best.get(form, equation)
                best[form] = equation if equation.loss < rival.loss else rival
        return list(best.values())


@dataclass(frozen=True)
class _OperonFit:
    """The search of one fit: one run, or as many as the time allows."""

    engine: OperonEngine
    data: Dataset
    names: Sequence[str]
    guesses: tuple[Equation, ...] = ()

    @cached_property
    def columns(self) -> Array:
        return _varying(self.data.X)

    @cached_property
    def symbols(self) -> list[str]:
        return [self.names[column] for column in self.columns]

    @cached_property
    def scales(self) -> Array:
        """What columns are multiplied by before a run sees them."""
        return np.asarray(1.0 / self.data.X[:, self.columns].std(axis=0))

    def trees(
        self, seed: int, budget: float | None, progress: ProgressCallback | None
    ) -> list[Tree]:
        """The trees of one run, or under a budget of as many as it allows, the best first."""
        started = time.monotonic()
        deadline = math.inf if budget is None else started + budget
        shown: dict[Tree | None, str] = {None: ""}
        on_stop = getattr(progress, "on_stop", None)

        def each(done: float, trees: Trees) -> None:
            if progress is None:
                return
            corner = trees.corner()
            if corner is not None and corner not in shown:
                equation = self.from_tree(corner)
                shown[corner] = equation.text() if equation is not None else ""
            used = (time.monotonic() - started) / budget if budget else done
            loss = trees.lowest()[0] * float(self.data.y.var())
            progress(SearchProgress(min(used, 1.0), shown[corner], loss))

        runs: list[Trees] = []
        while not runs or (budget is not None and time.monotonic() < deadline):
            run = self.run(seed + len(runs) * _SEED_STEP, self.engine.turn + len(runs))
            if on_stop is not None:
                on_stop(run.halt)
            runs.append(run.run(deadline, each))
            if runs[-1].lowest()[0] <= EXACT:
                break
        return runs[0].by_length() if budget is None else merged(runs)

    def run(self, seed: int, number: int = 0) -> OperonRun:
        seed %= 2**63
        rows = self.rows(np.random.default_rng(seed))
        X, y = self.data.X[np.ix_(rows, self.columns)], self.data.y[rows]
        data = np.column_stack([X * self.scales, (y - y.mean()) / (float(y.std()) or 1.0)])
        types = _node_types(self.engine.operators)
        size = self.engine.max_length, self.engine.search.turn(number)
        return OperonRun(data, types, *size, seed, self.planted(types))

    def planted(self, types: Collection[str]) -> list[Tree]:
        """The guesses as trees of these node types, as far as they can be."""
        found = spelled(self.guesses, self.engine.operators, 2 * self.engine.max_complexity)
        trees = (postfix(one.tree, self.symbols, self.scales, one.value, types) for one in found)
        return list(dict.fromkeys(tree for tree in trees if tree))

    def rows(self, rng: np.random.Generator) -> Array:
        """Rows to look at: drawn by weight if there are weights, repeated if there are few."""
        n, weights = len(self.data.y), self.data.weights
        size = min(n, self.engine.max_rows)
        if weights is not None:
            rows = rng.choice(n, size=max(size, _MIN_ROWS), p=weights / weights.sum())
        else:
            rows = np.arange(n) if size == n else rng.choice(n, size=size, replace=False)
        return np.resize(rows, max(len(rows), _MIN_ROWS))

    def equations(
        self, trees: Sequence[Tree], deadline: float, progress: ProgressCallback | None
    ) -> Iterator[Equation | None]:
        """What trees say, as far as they are read by the deadline; None for one of no use."""
        for tree in trees:
            if time.monotonic() >= deadline:
                return
            if progress is not None:
                progress(SearchProgress(1.0))
            yield self.from_tree(tree)

    def from_tree(self, tree: Tree) -> Equation | None:
        """A tree in the original units, with the best scale and offset around it."""
        try:
            form, constants = expression(tree, self.columns.tolist(), self.scales.tolist())
            form = respelled(form, self.engine.operators)
        except UNUSABLE:
            return None
        value = Values(self.data.X, constants).of(form)
        if not np.isfinite(value).all():
            return None
        n = len(constants)
        around = _scale_and_offset(value, self.data.y, self.data.weights)
        return self.equation(add((mul((slot(n), form)), slot(n + 1))), [*constants, *around])

    def equation(self, tree: LightTree, constants: Sequence[float]) -> Equation | None:
        """None if it is of no use: pruning won't bring it below the limit of complexity."""
        algebra = Algebra(constants, self.engine.operators, self.names)
        equation = candidate(tree, algebra, tuple(self.names), self.data)
        short = equation is not None and equation.complexity <= 2 * self.engine.max_complexity
        return equation if short else None


def _check_size(name: str, value: Any) -> None:
    if name == "mutation":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise EngineError(f"operon option 'mutation' is {value!r}: expected 0 to 1")
    elif type(value) is not int or value < (0 if name == "local_iterations" else 1):
        raise EngineError(f"operon option {name!r} is {value!r}: expected a whole number above 0")


def _check_arrays(X: Array, y: Array, names: Sequence[str]) -> None:
    if X.ndim != 2 or y.shape != (len(X),) or len(names) != X.shape[1] or not len(y):
        raise EngineError(
            f"X {list(X.shape)}, y {list(y.shape)} and {len(names)} names do not fit together:"
            " expected [n_samples, n_inputs], [n_samples] and n_inputs names"
        )
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise EngineError("the samples hold NaN or infinity")


def _varying(X: Array) -> Array:
    """Columns of X [n_samples, n_inputs] that are not constant."""
    size = np.abs(X).max(axis=0, initial=0.0)
    return np.flatnonzero(np.ptp(X, axis=0) > _CONSTANT * np.maximum(size, 1e-300))


def _node_types(operators: OperatorSet) -> tuple[str, ...]:
    """Node types for the operators. Sub and negation are left out: constants carry the sign."""
    wanted = [VOCABULARY[name].operon for name in operators if name not in ("-", "neg")]
    return tuple(sorted({node for nodes in wanted for node in nodes}))


def _scale_and_offset(value: Array, y: Array, weights: Array | None) -> tuple[float, float]:
    """Weighted least squares of y on value, both [n_samples]; 1 where values overflow."""
    mean, target = np.average(value, weights=weights), np.average(y, weights=weights)
    centred = value - mean
    with np.errstate(over="ignore"):
        variance = np.average(centred * centred, weights=weights)
    if not np.isfinite(variance) or variance <= 0:
        return 1.0, float(target - mean)
    scale = np.average(centred * (y - target), weights=weights) / variance
    return float(scale), float(target - scale * mean)
