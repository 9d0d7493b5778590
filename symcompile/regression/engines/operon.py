"""The embedded engine: operon (C++ genetic programming) through pyoperon, no Julia.

Each run is short; several runs of different seeds find more than one long run, since a run either
meets the right form early or settles on another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import sympy

from symcompile.errors import EngineError
from symcompile.expressions.canonical import UNUSABLE, canonical
from symcompile.expressions.complexity import complexity, spellable
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array, evaluate
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.program import from_sympy
from symcompile.expressions.slots import slot
from symcompile.regression.engines.base import ProgressCallback, SearchProgress, on_stop
from symcompile.regression.engines.operon_search import Archive, Search, SearchOptions, best_first
from symcompile.regression.engines.operon_tree import TreeNode, expression
from symcompile.regression.losses import SQUARED
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
        restarts: independent searches that the compiler runs and merges for one output.
        max_rows: samples that one search looks at; each search draws its own.
        search: sizes of one run, see `SearchOptions`.
    """

    operators: OperatorSet
    max_complexity: int = 30
    restarts: int = 8
    max_rows: int = 300
    search: SearchOptions = field(default_factory=SearchOptions)

    @classmethod
    def create(
        cls, operators: OperatorSet, max_complexity: int, options: dict[str, Any]
    ) -> OperonEngine:
        """Check and build; EngineError names an option that is unknown or out of range."""
        _require(operators)
        own = {name: options[name] for name in ("restarts", "max_rows") if name in options}
        sizes = [f.name for f in fields(SearchOptions)]
        unknown = sorted(set(options) - {"restarts", "max_rows", *sizes})
        if unknown:
            known = ", ".join(["restarts", "max_rows", *sizes])
            raise EngineError(f"operon has no option {unknown[0]!r}: its options are {known}")
        for name, value in options.items():
            _check_size(name, value)
        if type(max_complexity) is not int or max_complexity < 1:
            raise EngineError(f"max_complexity is {max_complexity!r}: expected 1 or more")
        search = SearchOptions(**{name: options[name] for name in sizes if name in options})
        return cls(operators, max_complexity, search=search, **own)

    @property
    def max_length(self) -> int:
        """Operon's limit in nodes. A variable there carries its own coefficient and counts 1, here
        3, so that most trees of this length are at the limit of our complexity."""
        return max(2, round(0.6 * self.max_complexity))

    @property
    def name(self) -> str:
        return "operon"

    def describe(self) -> dict[str, Any]:
        """Name, version and options as plain data."""
        return {
            "name": self.name,
            "version": _version(),
            "operators": self.operators.to_dict(),
            "max_complexity": self.max_complexity,
            "restarts": self.restarts,
            "max_rows": self.max_rows,
            **{f.name: getattr(self.search, f.name) for f in fields(self.search)},
        }

    def fit(
        self,
        X: Array,
        y: Array,
        *,
        weights: Array | None = None,
        names: Sequence[str],
        seed: int = 0,
        budget: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> ParetoFront:
        """See `Engine.fit`. What `progress` raises ends the search and is raised again."""
        y = np.asarray(y, dtype=np.float64)
        found = self.candidates(
            X, y, weights=weights, names=names, seed=seed, budget=budget, progress=progress
        )
        found = [equation for equation in found if equation.complexity <= self.max_complexity]
        mean = np.average(y, weights=weights)
        return ParetoFront.of(found, float(np.average((y - mean) ** 2, weights=weights)))

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
    ) -> list[Equation]:
        """Everything worth refining, front or not: the best few trees of each length.

        Same arguments and errors as `fit`.
        """
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        _check_arrays(X, y, names)
        mean = self._equation(
            slot(0), [float(np.average(y, weights=weights))], X, y, weights, names
        )
        columns = _varying(X)
        if not len(columns) or not len(_varying(y[:, None])):
            return [] if mean is None else [mean]
        runs = _Runs(self, X, y, weights, names, columns)
        seconds = None if budget is None else budget * (1.0 - _READ_SHARE)
        trees = runs.search(seed, seconds, progress)
        deadline = math.inf if budget is None else time.monotonic() + budget * _READ_SHARE
        found = [mean, *runs.equations(trees, deadline, progress)]
        return _distinct(equation for equation in found if equation is not None)

    def _from_tree(self, tree: Sequence[TreeNode], runs: _Runs) -> Equation | None:
        """A tree in the original units, with the best scale and offset around it."""
        try:
            expr, constants = expression(tree, runs.symbols, runs.scales)
            program = from_sympy([expr], runs.names, len(constants))
        except UNUSABLE:
            return None
        value = evaluate(program, runs.X, constants)[:, 0]
        if not np.isfinite(value).all():
            return None
        scale, offset = _scale_and_offset(value, runs.y, runs.weights)
        n = len(constants)
        whole = slot(n) * expr + slot(n + 1)
        return self._equation(
            whole, [*constants, scale, offset], runs.X, runs.y, runs.weights, runs.names
        )

    def _equation(
        self,
        expr: sympy.Expr,
        constants: Sequence[float],
        X: Array,
        y: Array,
        weights: Array | None,
        names: Sequence[str],
    ) -> Equation | None:
        """Canonical form and loss; None if it can't be spelled or is not finite on the data."""
        try:
            form, values = canonical(expr, constants, self.operators)
            cost = complexity(form, self.operators)
            equation = Equation(form, tuple(names), values, cost)
            value = evaluate(equation.program, X, values)[:, 0]
        except UNUSABLE:
            return None
        loss = SQUARED.mean(value - y, weights)
        too_complex = cost > 2 * self.max_complexity
        if too_complex or not math.isfinite(loss) or not spellable(form, self.operators):
            return None
        return replace(equation, loss=loss)


class _Runs:
    """The data of one fit, and its runs of the search: one, or as many as the time allows."""

    def __init__(
        self,
        engine: OperonEngine,
        X: Array,
        y: Array,
        weights: Array | None,
        names: Sequence[str],
        columns: Array,
    ) -> None:
        self.engine, self.X, self.y, self.weights, self.names = engine, X, y, weights, names
        self.columns = columns
        self.symbols = [names[column] for column in columns]
        self.scales = 1.0 / X[:, columns].std(axis=0)
        self.types = _node_types(engine.operators)
        self.shown: tuple[tuple[TreeNode, ...], str] = ((), "")

    def search(
        self, seed: int, budget: float | None, progress: ProgressCallback | None
    ) -> list[tuple[TreeNode, ...]]:
        """The trees of one run, or under a budget of as many as it allows, the best first."""
        started = time.monotonic()
        deadline = math.inf if budget is None else started + budget
        archives: list[Archive] = []
        run = 0
        while not run or (budget is not None and time.monotonic() < deadline):

            def each(done: float, archive: Archive) -> None:
                if progress is None:
                    return
                used = (time.monotonic() - started) / budget if budget else done
                loss = archive.lowest()[0] * float(self.y.var())
                progress(SearchProgress(min(used, 1.0), self._shown(archive), loss))

            search = self._search(seed + run * _SEED_STEP)
            on_stop(progress, search.halt)
            archive = search.run(deadline, each)
            archives.append(archive)
            run += 1
            if archive.lowest()[0] <= 1e-12:
                break
        return archives[0].trees() if budget is None else best_first(archives)

    def equations(
        self,
        trees: Iterable[tuple[TreeNode, ...]],
        deadline: float,
        progress: ProgressCallback | None,
    ) -> Iterator[Equation | None]:
        """What trees say, as far as they are read by the deadline; None for one of no use."""
        for tree in trees:
            if time.monotonic() >= deadline:
                return
            if progress is not None:
                progress(SearchProgress(1.0))
            yield self.engine._from_tree(tree, self)

    def _shown(self, archive: Archive) -> str:
        """The best equation so far as text, made again only when its tree is another."""
        tree = archive.corner()
        if tree is not None and tree != self.shown[0]:
            equation = self.engine._from_tree(tree, self)
            self.shown = tree, equation.text() if equation is not None else ""
        return self.shown[1]

    def _search(self, seed: int) -> Search:
        seed %= 2**63
        rows = self._rows(np.random.default_rng(seed))
        y = self.y[rows]
        spread = float(y.std()) or 1.0
        data = np.column_stack(
            [self.X[np.ix_(rows, self.columns)] * self.scales, (y - y.mean()) / spread]
        )
        length = self.engine.max_length
        return Search(data, self.types, length, self.engine.search, seed)

    def _rows(self, rng: np.random.Generator) -> Array:
        """Rows to look at: drawn by weight if there are weights, repeated if there are few."""
        n = len(self.y)
        size = min(n, self.engine.max_rows)
        if self.weights is not None:
            p = self.weights / self.weights.sum()
            rows = rng.choice(n, size=max(size, _MIN_ROWS), p=p)
        else:
            rows = np.arange(n) if size == n else rng.choice(n, size=size, replace=False)
        return np.resize(rows, max(len(rows), _MIN_ROWS))


def _require(operators: OperatorSet) -> None:
    missing = [name for name in ("+", "*") if name not in operators]
    if missing:
        raise EngineError(
            f"operon scales and shifts whatever it finds: add {missing[0]!r} to the operators"
            f" {list(operators)}"
        )


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


def _distinct(equations: Iterable[Equation]) -> list[Equation]:
    """One equation for each form: the one with the lowest loss."""
    best: dict[sympy.Expr, Equation] = {}
    for equation in equations:
        held = best.get(equation.form)
        if held is None or equation.loss < held.loss:
            best[equation.form] = equation
    return list(best.values())


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pyoperon")
    except PackageNotFoundError:
        return "unknown"
