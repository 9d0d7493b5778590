"""The operon engine: laws found, limits kept, data of every odd shape."""

import threading
import time
from typing import Any

import numpy as np
import pytest
import sympy

from symcompile.errors import EngineError, ExpressionError
from symcompile.expressions.complexity import spellable
from symcompile.expressions.light_code import Values
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed.laws import Computed
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import Engine, SearchProgress, create
from symcompile.regression.engines.operon import OperonEngine, _scale_and_offset
from symcompile.regression.engines.operon_search import OperonRun, SearchOptions, Trees
from symcompile.regression.engines.operon_tree import TreeNode, expression
from symcompile.regression.fit import Fit, searched

SMALL = {"population": 200, "generations": 8, "max_rows": 100}


def engine(operators: Any = None, max_complexity: int = 30, **options: Any) -> Engine:
    sizes = {**SMALL, **options}
    return create("operon", operators=operators, max_complexity=max_complexity, options=sizes)


def uniform(n: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 2.0, (n, columns))


def test_finds_a_law_and_scores_it_with_our_own_evaluation() -> None:
    X = uniform(200, 2)
    y = 1.7 * X[:, 0] * np.sin(X[:, 1]) + 0.3
    front = engine(population=500, generations=15).fit(X, y, names=("a", "b"))
    best = front.most_accurate
    assert best.loss < 1e-8
    np.testing.assert_allclose(best.loss, np.mean((best.predict(X) - y) ** 2))


def test_same_seed_same_front() -> None:
    X = uniform(150, 2)
    y = np.exp(-X[:, 0]) * X[:, 1]
    fronts = [engine().fit(X, y, names=("a", "b"), seed=seed) for seed in (3, 3, 4)]
    assert fronts[0] == fronts[1]
    assert fronts[0] != fronts[2]


@pytest.mark.parametrize(
    "operators", [["+", "*"], ["+", "*", "inv", "sqrt"], ["+", "*", "abs", "min", "max"], None]
)
def test_equations_keep_to_the_operators_and_the_limit(operators: Any) -> None:
    X = uniform(100, 2)
    y = np.sqrt(X[:, 0]) / X[:, 1] + np.abs(X[:, 0] - 1)
    front = engine(operators, max_complexity=12).fit(X, y, names=("a", "b"))
    assert max(front.complexities) <= 12
    assert all(spellable(equation.form, OperatorSet.of(operators)) for equation in front)


def test_every_operator_of_the_vocabulary_runs() -> None:
    from symcompile.expressions.operators import VOCABULARY

    X = uniform(60, 2)
    y = np.tanh(X[:, 0]) ** 3 + np.log(X[:, 1])
    known = [name for name, row in VOCABULARY.items() if row.operon]
    front = engine(known, generations=3).fit(X, y, names=("a", "b"))
    assert len(front) > 1


@pytest.mark.parametrize("name", ["asinh", "erf", "softplus"])
def test_an_operator_that_operon_lacks_is_named_with_those_that_it_has(name: str) -> None:
    with pytest.raises(EngineError, match=f"has no operator '{name}': it has .*cbrt.*; use"):
        engine(["+", "*", name])


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("asin", lambda a: np.arcsin(0.7 * a - 0.6)),
        ("floor", lambda a: np.floor(2 * a)),
        ("cbrt", lambda a: np.cbrt(a - 1.1)),
        ("log1p", lambda a: np.log1p(3 * a)),
        ("sigmoid", lambda a: 2 / (1 + np.exp(3 - 2 * a))),
        ("log2", lambda a: np.log2(a + 0.5)),
        ("mod", lambda a: np.mod(a, 1)),
    ],
)
def test_functions_of_the_table_are_found(name: str, law) -> None:
    X = uniform(200, 1)
    front = engine(["+", "*", name], generations=8).fit(X, law(X[:, 0]), names=("a",))
    assert front.most_accurate.loss < 0.05
    assert name in front.most_accurate.text().replace("ceiling", "ceil")


def test_a_constant_output_gives_a_constant() -> None:
    front = engine().fit(uniform(50, 3), np.full(50, 2.5), names=("a", "b", "c"))
    assert [str(equation) for equation in front] == ["2.5"]


def test_a_constant_column_is_never_used() -> None:
    X = uniform(100, 3)
    X[:, 1] = 7.0
    front = engine().fit(X, X[:, 0] * X[:, 2], names=("a", "b", "c"))
    assert not any(sympy.Symbol("b") in equation.form.free_symbols for equation in front)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 1), (5, 2), (40, 2000)])
def test_odd_shapes(rows: int, columns: int) -> None:
    X = uniform(rows, columns)
    names = tuple(f"x{i}" for i in range(columns))
    front = engine(generations=3).fit(X, 2 * X[:, 0] + 1, names=names)
    assert len(front) >= 1


def test_float32_in_c_order_and_large_units() -> None:
    X = (uniform(100, 2) * 1e6).astype(np.float32)
    y = (3e8 + X[:, 0] * X[:, 1]).astype(np.float32)
    front = engine().fit(X, y, names=("a", "b"))
    assert front.r2(front.most_accurate) > 0.999999


def test_weights_decide_which_samples_count() -> None:
    X = uniform(200, 1)
    y = np.where(np.arange(200) < 100, 2 * X[:, 0], -5 * X[:, 0])
    weights = np.where(np.arange(200) < 100, 1.0, 0.0)
    best = engine().fit(X, y, weights=weights, names=("x",)).most_accurate
    np.testing.assert_allclose(best.predict(X), 2 * X[:, 0], rtol=1e-4)


def test_a_budget_is_used_and_kept() -> None:
    X = uniform(300, 2)
    y = np.sin(5 * X[:, 0]) * X[:, 1] + 0.01 * np.random.default_rng(1).normal(size=300)
    started = time.monotonic()
    engine().fit(X, y, names=("a", "b"), budget=1.0)
    assert 0.9 < time.monotonic() - started < 5.0


def test_progress_is_told_and_may_stop_the_search() -> None:
    class Enough(Exception):  # noqa: N818
        pass

    told: list[SearchProgress] = []

    def watch(progress: SearchProgress) -> None:
        told.append(progress)
        if len(told) == 3:
            raise Enough

    X = uniform(100, 2)
    with pytest.raises(Enough):
        engine().fit(X, X[:, 0] / X[:, 1] + np.sin(X[:, 0]), names=("a", "b"), progress=watch)
    assert len(told) == 3
    assert 0 <= told[0].done <= told[-1].done <= 1


def test_options_are_checked_by_name() -> None:
    with pytest.raises(EngineError, match=r"no option 'popsize'.*population"):
        create("operon", options={"popsize": 10})
    with pytest.raises(EngineError, match="'population' is -1"):
        create("operon", options={"population": -1})
    with pytest.raises(EngineError, match="'mutation' is 2"):
        create("operon", options={"mutation": 2})
    with pytest.raises(EngineError, match="add '\\*'"):
        create("operon", operators=["+", "sin"])
    with pytest.raises(EngineError, match="max_complexity"):
        OperonEngine.create(OperatorSet.of(None), 0, {})


def test_bad_arrays_are_refused() -> None:
    X = uniform(10, 2)
    with pytest.raises(EngineError, match="do not fit together"):
        engine().fit(X, X[:5, 0], names=("a", "b"))
    with pytest.raises(EngineError, match="NaN"):
        engine().fit(X, np.full(10, np.nan), names=("a", "b"))


def test_description_is_plain_and_complete() -> None:
    described = engine(population=123).describe()
    assert described["name"] == "operon"
    assert described["population"] == 123
    assert set(described["operators"]) == {"+", "*", "inv", "sin", "exp"}


@pytest.mark.parametrize(("name", "function"), [("min", np.minimum), ("max", np.maximum)])
def test_min_and_max_are_what_they_say(name: str, function: Any) -> None:
    X = uniform(100, 2)
    y = function(X[:, 0], X[:, 1])
    front = engine(["+", "*", name]).fit(X, y, names=("a", "b"))
    assert front.most_accurate.loss < 1e-10


def test_nodes_become_expressions_in_operon_order() -> None:
    # Postfix, and the first argument of an operator stands right before it: b, a, Div is a / b.
    nodes = [
        TreeNode("variable", 0, 2.0, 1),
        TreeNode("variable", 0, 3.0, 0),
        TreeNode("Div", 2, 1.0),
    ]
    tree, constants = expression(nodes, (0, 2), (1.0, 10.0))
    assert constants == [20.0, 3.0]
    value = Values(np.array([[2.0, 7.0, 5.0]]), constants).of(tree)
    assert value == pytest.approx(3.0 * 2.0 / (20.0 * 5.0))


def test_trees_that_sympy_would_be_busy_with_are_not_built() -> None:
    leaf = TreeNode("variable", 0, 2.0, 0)
    turn = [TreeNode("Tanh", 1, 1.0), TreeNode("Constant", 0, 3.0), TreeNode("Div", 2, 1.0)]
    assert expression([leaf, *turn * 2], (0,), (1.0,))[1] == [2.0, 3.0, 3.0]
    with pytest.raises(ExpressionError, match="too many functions nested"):
        expression([leaf, *[TreeNode("Tanh", 1, 1.0), leaf, TreeNode("Sub", 2, 1.0)] * 6], [0], [1])
    root = [TreeNode(name, 1, 1.0) for name in ("Exp", "Square", "Sqrt")]
    assert expression([leaf, *root * 2], [0], [1])[1] == [2.0]
    with pytest.raises(ExpressionError, match="too many functions nested"):
        expression([leaf, *root * 5], [0], [1])


def test_trees_agree_with_operons_own_evaluation() -> None:
    from symcompile.regression.engines.operon_search import OperonRun, SearchOptions

    X = uniform(64, 2)
    data = np.column_stack([X, np.sin(X[:, 0]) / X[:, 1]])
    types = ("Add", "Sub", "Mul", "Div", "Pow", "Sin", "Fmin", "Fmax", "Sqrt", "Square", "Abs")
    search = OperonRun(data, types, 12, SearchOptions(population=100, generations=3), 1)
    search.run(float("inf"), lambda done, archive: None)
    table = search.op.DispatchTable()
    checked = 0
    for individual in search.algorithm.Individuals:
        tree = individual.Genotype
        nodes = search.copy(tree)
        form, constants = expression(nodes, (0, 1), (1.0, 1.0))
        rows = search.op.Range(0, 64)
        theirs = np.ravel(search.op.Evaluate(table, tree, search.dataset, rows))
        ours = Values(X, constants).of(form)
        if not (np.isfinite(theirs).all() and np.isfinite(ours).all()):
            continue
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3 * np.abs(theirs).max())
        checked += 1
    assert checked > 30


def test_values_that_overflow_are_not_scaled_and_say_nothing() -> None:
    y = np.arange(4.0)
    scale, _ = _scale_and_offset(np.array([0.0, 1e200, -1e200, 1.0]), y, None)
    assert scale == 1.0
    assert _scale_and_offset(2 * y, y + 1, None) == pytest.approx((0.5, 1.0))


def test_runs_take_turns_at_one_cost() -> None:
    """Two kinds of searches that take turns themselves, as with units, get both sizes."""
    options = SearchOptions(population=100, generations=3)
    sizes = [(turn.population, turn.generations) for turn in map(options.turn, range(8))]
    assert sizes == [(100, 3), (25, 12), (25, 12), (100, 3)] * 2
    assert {*sizes[::2]} == {*sizes[1::2]} == {*sizes}
    # Too few to choose from are not made fewer.
    assert SearchOptions(population=4).turn(1).population == 4
    assert SearchOptions(population=12).turn(1).population == 5


def test_each_search_knows_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(self: OperonRun, *_: Any) -> Trees:
        seen.append(self.options.generations)
        return Trees(1)

    monkeypatch.setattr(OperonRun, "run", run)
    X = uniform(60, 2)
    halves = Dataset(X[:40], X[:40, 0]), Dataset(X[40:], X[40:, 0])
    fit = Fit("y", *halves, ("a", "b"), engine(generations=2, population=40))
    for restart in range(4):
        searched(fit, restart, Computed())
    assert seen == [2, 8, 8, 2]
    # Under a budget a search has as many runs as there is time for.
    seen.clear()
    times = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    one = fit.engine
    assert isinstance(one, OperonEngine)
    one.varied(1).candidates(X, X[:, 0], names=("a", "b"), budget=6.0)
    assert seen[:3] == [8, 8, 2]


def test_a_search_ends_in_the_midst_of_a_generation() -> None:
    """Of this size, a generation takes far longer than the budget, or than what waits here."""
    X = uniform(300, 4)
    large = engine(population=50_000, generations=10_000, max_rows=300)
    start = time.monotonic()
    assert large.fit(X, np.sin(X).sum(axis=1), names=("a", "b", "c", "d"), budget=0.5).equations
    assert time.monotonic() - start < 5.0


class Watch:
    """A progress that can stop its search."""

    def __init__(self) -> None:
        self.halts: list[Any] = []

    def __call__(self, progress: SearchProgress) -> None: ...

    def on_stop(self, halt: Any) -> None:
        self.halts.append(halt)


def test_a_search_is_halted_from_another_thread() -> None:
    X, watch, raised = uniform(300, 4), Watch(), []

    def search() -> None:
        large = engine(population=20_000, generations=10_000)
        try:
            large.fit(X, np.sin(X).sum(axis=1), names=("a", "b", "c", "d"), progress=watch)
        except KeyError as error:
            raised.append(error)

    thread = threading.Thread(target=search, daemon=True)
    thread.start()
    while not watch.halts:
        time.sleep(0.01)
    error = KeyError("nobody waits")
    watch.halts[-1](error)
    thread.join(60)
    assert raised == [error]
