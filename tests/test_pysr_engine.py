"""PySR as an engine. No Julia is needed: pysr itself is real, and only `juliacall`, through which
it reaches Julia, is a stand-in that records what it is asked and writes a hall of fame."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from scipy import special

from symcompile import explain
from symcompile.errors import DataError, EngineError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import VALUES
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.regression.engines import Engine, create, julia
from symcompile.regression.engines.pysr import (
    RESERVED,
    PySREngine,
    constructor_arguments,
    julia_is_ready,
    read_equation,
)

EVERY = OperatorSet.of(list(VOCABULARY))

NUMPY = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "pow": np.power,
    "min": np.minimum,
    "max": np.maximum,
    "inv": np.reciprocal,
    "neg": np.negative,
    "square": np.square,
    "cube": lambda a: a**3,
    "abs": np.abs,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "atan2": np.arctan2,
    "sigmoid": special.expit,
    "softplus": lambda a: np.log(1 + np.exp(a)),
    "relu": lambda a: np.maximum(a, 0),
}


class Search:
    """What the stand-in for Julia was asked for, and the hall of fame that it answers with."""

    def __init__(self):
        self.rows = [(1, 0.5, "1.5"), (3, 0.25, "x0 * 1.5")]
        self.error = None
        self.interrupt = False
        self.calls = []
        self.options = None

    def set_options(self, **options):
        self.options = types.SimpleNamespace(**options)
        return self.options

    def run(self, X, y, *, options, run_id, **arguments):
        self.calls.append({"X": X, "y": y, **arguments})
        if self.error is not None:
            raise self.error
        if self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        write_hall_of_fame(Path(options.output_directory, run_id), self.rows)

    @property
    def call(self):
        return self.calls[-1]


def write_hall_of_fame(folder, rows):
    """As SymbolicRegression.jl 2 does: header, then complexity, loss and the quoted equation."""
    lines = ["Complexity,Loss,Equation", *(f'{c},{loss},"{text}"' for c, loss, text in rows)]
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("hall_of_fame.csv", "hall_of_fame.csv.bak"):
        (folder / name).write_text("\n".join(lines) + "\n")


def fake_juliacall(search):
    jl = MagicMock(name="Main")
    jl.VERSION = types.SimpleNamespace(major=1, minor=10, patch=5)
    jl.copy = jl.PythonCall.PyArray = jl.SymbolicRegression.OperatorEnum = lambda value: value
    jl.Dict.__getitem__.return_value = dict
    jl.seval = lambda code: code
    jl.Base.nameof = lambda code: code.partition("(")[0]
    jl.Base.include_string = lambda module, code, name: code
    jl.SymbolicRegression.SearchUtilsModule.generate_run_id = lambda: "run"
    jl.SymbolicRegression.Options = lambda **options: search().set_options(**options)
    nogil = jl.SymbolicRegression.equation_search
    nogil._jl_call_nogil = lambda *args, **kwargs: search().run(*args, **kwargs)
    module = types.ModuleType("juliacall")
    module.Main, module.convert = jl, lambda kind, value: value
    module.AnyValue = module.VectorValue = type("AnyValue", (), {})
    module.JuliaError = type("JuliaError", (Exception,), {})
    return module


@pytest.fixture(scope="module")
def real_pysr():
    """The real pysr over a stand-in for juliacall; afterwards the process is as it was."""
    from sklearn.utils import validation

    state = {"search": None}
    environment, patched = dict(os.environ), validation._ensure_no_complex_data
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pysr"]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "juliacall", fake_juliacall(lambda: state["search"]))
        with pytest.warns(UserWarning, match="juliacall module already imported"):
            import pysr

        yield pysr, state
        for name in [name for name in sys.modules if name.partition(".")[0] == "pysr"]:
            del sys.modules[name]
    validation._ensure_no_complex_data = patched  # pysr replaces it when imported
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def search(real_pysr):
    """A fresh search; Julia may then be called from this thread."""
    _, state = real_pysr
    state["search"] = Search()
    return state["search"]


@pytest.fixture
def no_pysr(monkeypatch):
    """As in a process that has not imported pysr yet."""
    for name in ("pysr", "juliacall"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def data(n_inputs=2, n_samples=64, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(0.5, 2.0, (n_samples, n_inputs))
    return X, 1.5 * X[:, 0] + rng.normal(0, 0.01, n_samples)


def fit(engine, X=None, y=None, **arguments):
    if X is None:
        X, y = data()
    arguments.setdefault("names", [f"u{i}" for i in range(X.shape[1])])
    return engine.fit(X, y, **arguments)


# ---------------------------------------------------------------- the engine itself


def test_satisfies_the_protocol_and_pickles():
    engine = create("pysr", operators=["+", "sin"], max_complexity=12, options={"niterations": 5})
    assert isinstance(engine, PySREngine)
    assert isinstance(engine, Engine)
    assert (engine.name, engine.restarts, engine.max_complexity) == ("pysr", 1, 12)
    assert pickle.loads(pickle.dumps(engine)) == engine
    assert hash(engine) == hash(pickle.loads(pickle.dumps(engine)))


def test_description_is_plain_data():
    operators = OperatorSet.of(None, constraints={"sin": 5}, complexity_of_constants=2)
    engine = PySREngine(operators, options={"mutations": {print: 1.0}})
    described = json.loads(json.dumps(engine.describe()))
    assert described["name"] == "pysr"
    assert described["version"][0].isdigit()
    assert described["operators"] == {"+": 1, "*": 1, "inv": 1, "exp": 3, "sin": 3}
    assert described["limits"] == {"constraints": {"sin": [5]}, "complexity_of_constants": 2}
    assert OperatorSet.described(described) == operators
    assert described["options"].keys() == {"mutations"}


def test_importing_the_engine_loads_neither_pysr_nor_julia():
    code = (
        "import sys, symcompile.regression.engines.pysr as engine\n"
        "engine.PySREngine(options={'niterations': 3})\n"
        "engine.julia_is_ready()\n"
        "assert not {'pysr', 'juliacall'} & sys.modules.keys(), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- options


def test_arguments_read_from_source_are_those_of_the_real_constructor(real_pysr):
    import inspect

    pysr, _ = real_pysr
    real = set(inspect.signature(pysr.PySRRegressor).parameters) - {"kwargs"}
    assert constructor_arguments() == real
    assert RESERVED.keys() <= real


def test_unknown_options_are_refused_with_near_misses():
    with pytest.raises(EngineError, match=r"no option 'niteration': did you mean niterations"):
        create("pysr", options={"niteration": 5})
    with pytest.raises(EngineError, match=r"no option 'qqq': see pysr\.PySRRegressor"):
        create("pysr", options={"qqq": 5})


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("binary_operators", "operators="),
        ("unary_operators", "operators="),
        ("maxsize", "max_complexity"),
        ("complexity_of_operators", "operators={'sin': 3"),
        ("constraints", "constraints="),
        ("nested_constraints", "nested_constraints="),
        ("complexity_of_constants", "complexity_of_constants="),
        ("random_state", "seed"),
        ("timeout_in_seconds", "budget"),
        ("output_directory", "temporary folder"),
        ("expression_spec", "plain expressions"),
    ],
)
def test_options_that_are_set_here_are_refused(option, instead):
    with pytest.raises(EngineError, match=f"sets {option} itself: .*{instead}"):
        create("pysr", options={option: 1})


def test_max_complexity_is_checked():
    with pytest.raises(EngineError, match="max_complexity is 0"):
        PySREngine(max_complexity=0)


# ---------------------------------------------------------------- what PySR is given


def test_every_operator_reaches_pysr_with_its_complexity(search, real_pysr):
    from pysr.export_sympy import sympy_mappings

    fit(PySREngine(EVERY))
    unary, binary = search.options.operators
    assert set(unary) == {VOCABULARY[name].pysr_name for name in EVERY.unary}
    assert set(binary) == {VOCABULARY[name].pysr_name for name in EVERY.binary}
    own = PySREngine(EVERY).settings(*data())["extra_sympy_mappings"]
    assert {*unary, *binary} - sympy_mappings.keys() - own.keys() == set("+-*/^")
    costs = search.options.complexity_of_operators
    for name in EVERY:
        assert f"({VOCABULARY[name].pysr_name}) => {EVERY.cost(name)}, " in costs


def test_costs_given_by_the_user_reach_pysr(search):
    fit(PySREngine(OperatorSet.of({"+": 2, "sin": 7})))
    assert search.options.complexity_of_operators == "Dict((+) => 2, (sin) => 7, )"


def test_no_binary_operator_does_not_mean_pysrs_defaults(search):
    fit(PySREngine(OperatorSet.of(["sin"])))
    assert search.options.operators == (("sin",), ())


def test_a_search_is_quiet_serial_and_deterministic(search):
    fit(PySREngine(max_complexity=17), seed=3)
    assert search.options.maxsize == 17
    assert search.options.deterministic is True
    assert search.options.timeout_in_seconds is None
    assert search.call["parallelism"] == "serial"
    assert (search.call["verbosity"], search.call["progress"]) == (0, False)


def test_seed_and_budget_are_passed(search):
    seeds = []
    for seed in (1, 1, 2, 2**40):
        fit(PySREngine(), seed=seed, budget=12)
        seeds.append(search.options.seed)
    assert search.options.timeout_in_seconds == 12.0
    assert seeds[0] == seeds[1] != seeds[2]


def test_julia_threads_can_be_asked_for(search):
    fit(PySREngine(options={"parallelism": "multithreading", "niterations": 4}), seed=3)
    assert search.options.deterministic is False
    assert (search.call["parallelism"], search.call["niterations"]) == ("multithreading", 4)


def test_maxsize_is_never_below_what_pysr_accepts(search):
    search.rows.append((9, 0.1, "x0 + (x1 + (x0 + (x1 * 2.0)))"))
    front = fit(PySREngine(max_complexity=3))
    assert search.options.maxsize == 7
    assert front.complexities == (1, 3)


def test_power_is_constrained_unless_the_user_does(search):
    fit(PySREngine(OperatorSet.of(["+", "pow", "sin"])))
    assert (-1, 1) in search.options.constraints[2]
    settings = PySREngine(OperatorSet.of(["pow"], constraints={"^": (3, 2)})).settings(*data())
    assert settings["constraints"] == {"^": (3, 2)}


def test_constraints_reach_pysr(search):
    operators = OperatorSet.of(
        ["+", "*", "pow", "sin", "sigmoid"],
        constraints={"sin": 5, "*": (5, -1), "cos": 2},
        nested_constraints={"sin": {"sin": 0, "pow": 1, "cos": 0}, "sigmoid": {"cos": 0}},
    )
    fit(PySREngine(operators))
    binary, unary = search.options.constraints[2], search.options.constraints[1]
    settings = PySREngine(operators).settings(*data())
    assert settings["constraints"] == {"sin": 5, "*": (5, -1), "^": (-1, 1)}
    assert {(-1, 5), (-1, 1), 5} <= {*binary, *unary}  # PySR turns that of a product
    # PySR refuses what it has no operator for.
    assert settings["nested_constraints"] == {"sin": {"sin": 0, "^": 1}}
    assert search.options.nested_constraints == "Dict((sin) => Dict((sin) => 0, (^) => 1, ), )"


def test_complexities_of_leaves_reach_pysr(search):
    operators = OperatorSet.of(None, complexity_of_variables={"b": 3}, complexity_of_constants=2)
    fit(PySREngine(operators), names=["a", "b"])
    assert list(search.options.complexity_of_variables) == [1, 3]
    assert search.options.complexity_of_constants == 2
    fit(PySREngine(OperatorSet.of(None)))
    assert search.options.complexity_of_variables is None
    assert search.options.complexity_of_constants is None


def test_data_weights_and_names_are_passed(search):
    X, y = data()
    weights = np.linspace(0.1, 1.0, len(y))
    fit(PySREngine(), X, y, weights=weights, names=["beta", "x"])
    assert search.call["X"].shape == (2, 64)
    np.testing.assert_allclose(search.call["X"], X.T, rtol=1e-6)
    np.testing.assert_allclose(search.call["y"], y, rtol=1e-6)
    np.testing.assert_allclose(search.call["weights"], weights, rtol=1e-6)
    assert search.call["variable_names"] == ["x0", "x1"]


def test_samples_that_are_not_finite_are_left_out(search):
    X, y = data()
    weights = np.ones(len(y))
    X[0, 1], y[1], weights[2] = np.nan, np.inf, np.nan
    front = fit(PySREngine(), X, y, weights=weights)
    assert search.call["X"].shape == (2, 61)
    assert search.call["weights"].shape == (61,)
    assert all(np.isfinite(equation.loss) for equation in front)


@pytest.mark.parametrize(("offset", "scale", "bits"), [(0, 1, 32), (1e6, 1, 64), (0, 1e-20, 64)])
def test_precision_follows_the_data(search, offset, scale, bits):
    X, y = data()
    fit(PySREngine(), X, scale * y + offset)
    assert search.call["y"].dtype == np.dtype(f"float{bits}")


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("name", list(VOCABULARY))
def test_every_operator_reads_back_as_pysr_reads_it(real_pysr, tmp_path, name):
    pysr, _ = real_pysr
    spelling, arity = VOCABULARY[name].pysr_name, VOCABULARY[name].arity
    inner = ["x0 * 1.25", "x1"][:arity]
    text = f"{spelling}({', '.join(inner)})"
    if spelling in "+-*/^":
        text = f"(x0 * 1.25) {spelling} x1"
    X, _ = data()
    X -= 1.25 if name in ("abs", "neg", "cube", "min", "max") else 0.0
    X = {"acosh": X + 1.0, "asin": X / 3.0, "acos": X / 3.0, "atanh": X / 3.0}.get(name, X)
    function = NUMPY.get(name) or getattr(np, name, None) or VALUES[name]
    expected = function(*[X[:, 0] * 1.25, X[:, 1]][:arity])
    equation = read_equation(text, ["gamma", "I"], EVERY)
    np.testing.assert_allclose(equation.predict(X), expected, rtol=1e-12)
    assert equation.symbols == ("gamma", "I")

    write_hall_of_fame(tmp_path, [(1, 0.5, "1.5"), (5, 0.1, text)])
    engine = PySREngine(EVERY)
    model = pysr.PySRRegressor.from_file(
        run_directory=tmp_path,
        n_features_in=2,
        binary_operators=[VOCABULARY[n].pysr for n in engine.operators.binary],
        unary_operators=[VOCABULARY[n].pysr for n in engine.operators.unary],
        extra_sympy_mappings=engine.settings(X, X[:, 0])["extra_sympy_mappings"],
    )
    with np.errstate(all="ignore"):  # of both branches of a cube root
        theirs = model.equations_["lambda_format"].iloc[1](X)
    np.testing.assert_allclose(equation.predict(X), theirs, rtol=1e-9)


# Those that PySR maps to sympy by itself.
CONVERTED = [
    "acos", "asin", "atan", "asinh", "atanh", "cbrt", "ceil", "cos", "cosh", "erf", "exp", "floor",
    "log", "log10", "log1p", "log2", "mod", "relu", "round", "sign", "sin", "sinh", "sqrt", "tan",
    "tanh", "abs", "max", "min", "square", "cube", "inv", "neg",
]  # fmt: skip


@pytest.mark.parametrize("name", CONVERTED)
def test_what_pysr_makes_for_sympy_can_be_chosen(real_pysr, name):
    """Without our own mappings, as a user has it who searched with PySR alone."""
    from pysr.export_sympy import pysr2sympy

    arguments = ", ".join(["x0 * 0.25 + 0.125", "x1"][: VOCABULARY[name].arity])
    text = f"{VOCABULARY[name].pysr_name}({arguments}) + 0.5"
    theirs = pysr2sympy(text, feature_names_in=["x0", "x1"])
    equation = Equation.of(theirs, ["x0", "x1"], EVERY)
    X, _ = data()
    expected = read_equation(text, ["x0", "x1"], EVERY).predict(X)
    np.testing.assert_allclose(equation.predict(X), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1.5 ^ x0", lambda a, b: np.power(-1.5, a)),  # the sign belongs to the base
        ("x0 - -2.5", lambda a, b: a + 2.5),
        ("x0 * 1.0f-5", lambda a, b: a * 1e-5),
        ("x0 + -1.5e-3", lambda a, b: a - 1.5e-3),
        ("1.0e6", lambda a, b: 1e6 + 0 * a),
        ("abs(x0 * exp(x1 * -1.5))", lambda a, b: np.abs(a) * np.exp(-1.5 * b)),
        ("2.5 * (x0 + x1)", lambda a, b: 2.5 * (a + b)),
        ("((x0 ^ 2.0) / sqrt(x1 + 9.0)) - sin(x0)", lambda a, b: a**2 / np.sqrt(b + 9) - np.sin(a)),
    ],
)
def test_equations_are_read_with_their_constants(text, value):
    X = np.array([[-3.0, 1.0], [1.0, -2.0], [2.0, 0.5]])
    equation = read_equation(text, ["a", "b"], EVERY)
    np.testing.assert_allclose(equation.predict(X), value(*X.T), rtol=1e-12)


def test_constants_stay_outside_of_sums():
    equation = read_equation("2.5 * (x0 + x1)", ["a", "b"], EVERY)
    assert (equation.constants, equation.complexity) == ((2.5,), 5)


def test_names_may_be_those_of_functions_or_of_other_columns():
    X, _ = data(3)
    equation = read_equation("(x0 - x1) * sin(x2)", ["x1", "x0", "sin"], EVERY)
    np.testing.assert_allclose(equation.predict(X), (X[:, 0] - X[:, 1]) * np.sin(X[:, 2]))
    assert equation.symbols == ("x1", "x0", "sin")


@pytest.mark.parametrize("text", ["__import__('os')", "x0.real", "gamma(x0)", "x7 + 1.0", "x0 +"])
def test_anything_else_is_refused(text):
    with pytest.raises(EngineError, match="can't read PySR's equation"):
        read_equation(text, ["a", "b"], EVERY)


@pytest.mark.parametrize("names", [["beta", "S"], ["x1", "x0"], ["E", "lambda_"], ["Δx", "x 2"]])
def test_a_front_in_the_users_names_with_our_count_and_loss(search, names):
    X, y = data()
    search.rows = [
        (1, 0.5, "1.9"),
        (3, 0.25, "x0 * 1.5"),
        (6, 0.20, "x0 * exp(x1)"),  # PySR says better; it is not
        (9, 0.001, "(x0 * 1.5) + (x1 * 1.0e-9)"),
    ]
    front = fit(PySREngine(), X, y, names=names)
    assert front.complexities[:2] == (1, 3)
    assert all(set(equation.symbols) == set(names) for equation in front)
    expected = np.mean((1.5 * X[:, 0] - y) ** 2)
    assert front.at(3).loss == pytest.approx(expected, rel=1e-12)
    assert {s.name for s in front.at(3).sympy.free_symbols} == {names[0]}
    assert front.variance == pytest.approx(np.var(y))


def test_losses_are_weighted(search):
    X, y = data()
    weights = np.linspace(0.0, 1.0, len(y))
    front = fit(PySREngine(), X, y, weights=weights)
    expected = np.average((1.5 * X[:, 0] - y) ** 2, weights=weights)
    assert front.at(3).loss == pytest.approx(expected, rel=1e-12)


def test_progress_is_told_at_the_end(search):
    told = []
    front = fit(PySREngine(), progress=told.append)
    assert [(report.done, report.loss) for report in told] == [(1.0, front.most_accurate.loss)]


def test_nothing_is_left_behind(search, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    fit(PySREngine())
    assert not Path(search.options.output_directory).exists()
    search.error = ValueError("boom")
    with pytest.raises(EngineError, match="PySR failed: boom"):
        fit(PySREngine())
    assert not Path(search.options.output_directory).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_front_without_usable_equations_is_an_error(search):
    search.rows = [(3, 0.1, "log(x0 * -1.0)")]
    with pytest.raises(EngineError, match="found no usable equation"):
        fit(PySREngine(EVERY))


@pytest.mark.skipif(os.name != "posix", reason="sends itself a signal")
def test_ctrl_c_ends_the_whole_compile_not_one_search(search, monkeypatch):
    # So set, PySR catches the signal, stops the search and returns what it has.
    monkeypatch.setenv("PYTHON_JULIACALL_HANDLE_SIGNALS", "yes")
    search.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        fit(PySREngine())


def test_a_prediction_is_explained_by_what_pysr_finds(search):
    """In a short search with weights; constants are fitted again."""
    X = np.random.default_rng(0).uniform(0.5, 2.0, (200, 3))

    def fn(rows):
        return 3.0 * np.exp(-1.3 * rows[:, 0] * rows[:, 2]) + rows[:, 1]

    search.rows = [(1, 0.5, "1.9"), (9, 0.01, "(exp((x0 * x2) * -1.2) * 2.5) + x1")]
    explanation = explain(fn, X[5], X, engine="pysr", operators=["+", "*", "exp"], lime=False)
    assert np.allclose(explanation.predict(X), fn(X))
    assert explanation.told[0].equation.complexity < 15
    assert not explanation.linear_is_as_good
    assert np.ptp(search.call["weights"]) > 0.0
    assert search.call["niterations"] == 10


def test_classes_are_explained_by_what_pysr_finds(search):
    """Each against the others, in one search after the other."""
    X = np.random.default_rng(0).uniform(0.5, 2.0, (200, 2))

    def classes(rows):
        scores = np.column_stack([2.0 * rows[:, 0] * rows[:, 1], 3.0 * rows[:, 1], rows[:, 0]])
        return special.softmax(scores, axis=1)

    search.rows = [(1, 0.5, "0.5"), (7, 0.01, "(x0 * x1) + (x0 * -0.5)")]
    explanation = explain(classes, X[5], X, engine="pysr", lime=False)
    assert len(search.calls) == len(explanation.told) == 2
    assert all(np.ptp(call["weights"]) > 0.0 for call in search.calls)
    assert np.allclose(explanation.predict(X).sum(axis=1), 1.0)


# ---------------------------------------------------------------- data that needs no search


def test_a_constant_output_needs_no_search():
    X, _ = data()
    front = fit(PySREngine(), X, np.full(len(X), 2.5))
    assert [(e.complexity, e.constants, e.loss) for e in front] == [(1, (2.5,), 0.0)]


@pytest.mark.parametrize(
    ("X", "y", "weights", "message"),
    [
        (np.ones((5, 2)), np.ones(4), None, r"\[5, 2\] and y \[4\]"),
        (np.ones((5, 2)), np.ones((5, 1)), None, r"y \[5, 1\]"),
        (np.ones((5, 2)), np.full(5, np.nan), None, "none of the 5 samples"),
        (np.ones((5, 2)), np.ones(5), np.ones(3), r"weights has shape \[3\]"),
        (np.ones((5, 2)), np.ones(5), np.zeros(5), "has weight"),
    ],
)
def test_data_that_does_not_fit_is_refused(X, y, weights, message):
    with pytest.raises(DataError, match=message):
        fit(PySREngine(), X, y, weights=weights)


# ---------------------------------------------------------------- starting Julia


def test_a_missing_julia_says_what_to_type(monkeypatch, no_pysr):
    monkeypatch.setattr(julia, "julia_is_ready", lambda: False)
    with pytest.raises(EngineError, match=r"python -c 'import pysr'.*engine='operon'"):
        fit(PySREngine())
    assert "pysr" not in sys.modules


def test_a_missing_package_says_what_to_type(monkeypatch, no_pysr):
    monkeypatch.setattr(julia, "find_spec", lambda name: None)
    assert not julia_is_ready()
    with pytest.raises(EngineError, match="pip install pysr"):
        fit(PySREngine())


def test_a_second_thread_is_refused_where_julia_would_hang(search):
    caught = []

    def second():
        try:
            fit(PySREngine())
        except EngineError as error:
            caught.append(str(error))

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    assert "second thread" in caught[0]
    assert search.calls == []


def test_a_forked_process_is_refused(search, monkeypatch):
    monkeypatch.setattr(julia, "_forked", False)
    julia._note_fork()
    with pytest.raises(EngineError, match="spawn"):
        fit(PySREngine())


@pytest.fixture
def set_up(monkeypatch, tmp_path, no_pysr):
    """A Julia project as juliapkg leaves it behind; returns the record that it keeps."""
    from juliapkg import deps
    from juliapkg.state import STATE

    for name in ("EXE", "PROJECT"):
        monkeypatch.delenv(f"PYTHON_JULIACALL_{name}", raising=False)
    exe, project, depot = tmp_path / "julia", tmp_path / "project", tmp_path / "depot"
    exe.write_text("#!/bin/sh\nexit 1\n")  # must never be run
    exe.chmod(0o755)
    project.mkdir()
    (depot / "packages" / "SymbolicRegression").mkdir(parents=True)
    listed = "[[deps.PythonCall]]\n\n[[deps.SymbolicRegression]]\n"
    (project / "Manifest.toml").write_text(listed)
    monkeypatch.setenv("JULIA_DEPOT_PATH", str(depot))
    state = {"project": str(project), "offline": False, "resolved": False}
    state |= {"deps": str(project / "juliapkg.json"), "meta": str(project / "meta.json")}
    for key, value in state.items():
        monkeypatch.setitem(STATE, key, value)
    meta = {
        "meta_version": deps.META_VERSION,
        "dev": STATE["dev"],
        "executable": str(exe),
        "deps_files": {name: {"hash_sha256": deps._get_hash(name)} for name in deps.deps_files()},
        "offline": False,
        "override_executable": STATE["override_executable"],
    }
    deps.save_meta(meta)
    return types.SimpleNamespace(meta=meta, save=deps.save_meta, root=tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="makes an executable by its mode")
class TestJuliaIsReady:
    def test_where_juliapkg_has_resolved(self, set_up):
        assert julia_is_ready()

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("executable", "/nowhere/julia"),
            ("override_executable", "/usr/bin/julia"),
            ("offline", True),
            ("deps_files", {}),
            ("dev", "other"),
        ],
    )
    def test_not_where_juliapkg_would_resolve_again(self, set_up, key, value):
        set_up.save({**set_up.meta, key: value})
        assert not julia_is_ready()

    @pytest.mark.parametrize("gone", ["project/meta.json", "project/Manifest.toml"])
    def test_not_without_a_record_or_a_manifest(self, set_up, gone):
        (set_up.root / gone).unlink()
        assert not julia_is_ready()

    def test_not_without_the_depot(self, set_up):
        (set_up.root / "depot" / "packages" / "SymbolicRegression").rmdir()
        assert not julia_is_ready()

    def test_not_with_a_damaged_record_and_never_raises(self, set_up):
        (set_up.root / "project" / "meta.json").write_text("{")
        assert not julia_is_ready()

    def test_where_juliacall_is_told_which_julia(self, set_up, monkeypatch):
        (set_up.root / "project" / "meta.json").unlink()
        monkeypatch.setenv("PYTHON_JULIACALL_EXE", str(set_up.root / "julia"))
        assert not julia_is_ready()
        monkeypatch.setenv("PYTHON_JULIACALL_PROJECT", str(set_up.root / "project"))
        assert julia_is_ready()


# ---------------------------------------------------------------- end to end

END_TO_END = """
import pysr  # before torch, as juliacall asks for
import numpy as np
from symcompile.regression.engines import create

X = np.random.default_rng(0).uniform(-3, 3, (300, 2))
y = 2.5 * np.sin(X[:, 0]) + X[:, 1]
options = {"niterations": 20, "populations": 8}
engine = create("pysr", operators=["+", "*", "sin"], max_complexity=12, options=options)
fronts = [engine.fit(X, y, names=["beta", "t"], seed=1) for _ in range(2)]
assert str(fronts[0]) == str(fronts[1]), "same seed, other equations"
best = fronts[0].best
assert fronts[0].r2(best) > 0.999999, fronts[0]
assert best.complexity == 8, fronts[0]
"""


@pytest.mark.julia
@pytest.mark.slow
def test_a_real_search_finds_the_law(no_pysr):
    # In a process of its own: in this one pysr may have been imported over the stand-in.
    if not julia_is_ready():
        pytest.skip("no Julia is set up for PySR")
    command = [sys.executable, "-c", END_TO_END]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
