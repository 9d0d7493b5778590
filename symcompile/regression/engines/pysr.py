"""PySR, the reference engine: evolutionary search in Julia (arXiv 2305.01582).

A search is serial and deterministic unless told otherwise: same seed, same machine, same equations.
`engine_options={"parallelism": "multithreading"}` searches on all of Julia's threads instead, which
is faster and gives other equations each time; a seed means nothing then.

Julia runs inside of the Python process and is not to be called from several threads, so fits run
one after the other, or in spawned processes. Neither pysr nor Julia is loaded before the first fit.

The equations of its hall of fame are text of SymbolicRegression.jl: fully bracketed infix for
+ - * / ^, calls for all other operators, columns named x0, x1, ..., and a number wherever a fitted
constant sits. It goes through the whitelisting parser; PySR's own reading of it by sympy (which
evaluates text) is left alone.
"""

from __future__ import annotations

import ast
import difflib
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import sympy

from symcompile.errors import DataError, EngineError, ExpressionError
from symcompile.expressions.complexity import allowed, complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import LIMITS, OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.parser import FUNCTIONS, parse
from symcompile.expressions.slots import exact_exponents, renumber, slot
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines.engine import ProgressCallback, SearchProgress, described
from symcompile.regression.engines.guesses import spelled
from symcompile.regression.engines.julia import julia_is_ready, load_pysr
from symcompile.regression.engines.julia_text import PREFIX
from symcompile.regression.engines.julia_text import guess as julia_guess
from symcompile.regression.engines.pysr_settings import leaf_settings, operator_settings, units
from symcompile.regression.pareto import ParetoFront

__all__ = ["PySREngine", "julia_is_ready"]

_PLAIN = "equations are plain expressions in the operators of the vocabulary"
_FILES = "a search's files live in a temporary folder that is removed"

# Arguments of PySRRegressor that are not the user's to give, and what to use instead.
RESERVED = {
    **dict.fromkeys(("binary_operators", "unary_operators", "operators"), "use operators=[...]"),
    "complexity_of_operators": "use operators={'sin': 3, ...}",
    **{name: f"use {name}=..." for name in LIMITS},
    "dimensionless_constants_only": "use dimensionless_constants=True",
    "guesses": "use guesses=[...]",
    "maxsize": "use max_complexity=...",
    "random_state": "use seed=...",
    "timeout_in_seconds": "use budget=...",
    "model_selection": "the whole front is kept; choose from it afterwards",
    **dict.fromkeys(("expression_spec", "type_spec"), _PLAIN),
    **dict.fromkeys((f"extra_{name}_mappings" for name in ("sympy", "torch", "jax")), _PLAIN),
    **dict.fromkeys((f"output_{name}_format" for name in ("torch", "jax")), _PLAIN),
    **dict.fromkeys(("output_directory", "run_id", "warm_start"), _FILES),
    **dict.fromkeys(("temp_equation_file", "tempdir", "delete_tempfiles"), _FILES),
}

_SMALLEST_MAXSIZE = 7  # PySR refuses less
# A sign that touches its digits belongs to the number: PySR puts blanks around its operators. So
# "-1.5 ^ x0" is (-1.5)^x0 here, which Python's and sympy's grammars would read as -(1.5^x0).
# Single precision prints exponents as 1.0f-5.
_NUMBER = re.compile(r"(?<![\w.)])-?\d+(?:\.\d*)?(?:[eEf][+-]?\d+)?(?![\w.])")


@dataclass(frozen=True)
class PySREngine:
    """PySR behind the engine protocol.

    Attributes:
        options: arguments of `pysr.PySRRegressor`, such as niterations or populations; those in
            RESERVED are set here. Columns are called x0, x1, ... in options that speak of them.
    """

    operators: OperatorSet = field(default_factory=lambda: OperatorSet.of(None))
    max_complexity: int = 30
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    name: str = field(default="pysr", init=False)
    restarts: int = field(default=1, init=False)  # PySR evolves many populations as it is
    # Julia must not be called from another thread than the one that started it.
    one_thread: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.max_complexity < 1:
            raise EngineError(f"max_complexity is {self.max_complexity}: expected 1 or more")
        _check_options(self.options)
        object.__setattr__(self, "options", dict(self.options))

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
        guesses: Sequence[Equation] = (),
    ) -> ParetoFront:
        """See `Engine.fit`. Samples that are not finite are left out. `progress` is only called
        when the search is over, since PySR does not call back.

        Raises:
            DataError: shapes that don't fit, or no finite sample.
            EngineError: PySR or Julia is missing, PySR failed, or it found no equation.
        """
        data = _finite(X, y, weights, len(names))
        if np.ptp(data.y) == 0:
            equations = [Equation.of(sympy.Float(data.y[0]), names, self.operators)]
        else:
            settings = self.settings(data.X, data.y, seed, budget, names=names)
            if (texts := self.guessed(guesses, names)) and _takes("guesses"):
                settings["guesses"] = texts
            texts = _search(settings, data, units(self.operators.dimensions, names))
            equations = [read_equation(text, names, self.operators) for text in texts]
        # By our own count of complexity and our own loss, in float64.
        scored = [
            replace(equation, loss=data.loss_of(equation))
            for equation in equations
            if equation.complexity <= self.max_complexity and allowed(equation.form, self.operators)
        ]
        front = ParetoFront.of(scored, data.variance)
        if not len(front):
            raise EngineError(
                "PySR found no usable equation: give it more niterations, more max_complexity or"
                " other operators"
            )
        if progress is not None:
            best = front.most_accurate
            progress(SearchProgress(1.0, best.text(), best.loss))
        return front

    def settings(
        self,
        X: Array,
        y: Array,
        seed: int = 0,
        budget: float | None = None,
        *,
        names: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The arguments that PySRRegressor is built with, except for its output folder."""
        serial = self.options.get("parallelism", "serial") == "serial"
        deterministic = self.options.get("deterministic", serial)
        chosen = {
            "verbosity": 0,
            "progress": False,
            "precision": _precision(X, y),
            "parallelism": "serial",
            "deterministic": deterministic,
        } | dict(self.options)
        return chosen | {
            **operator_settings(self.operators),
            **leaf_settings(self.operators, names or columns(X.shape[1])),
            "dimensionless_constants_only": self.operators.dimensions is not None
            and self.operators.dimensions.dimensionless_constants,
            "maxsize": max(self.max_complexity, _SMALLEST_MAXSIZE),
            # PySR warns about a seed that it can't keep, and takes no larger one.
            "random_state": seed % 2**32 if deterministic else None,
            "timeout_in_seconds": None if budget is None else float(budget),
        }

    def guessed(self, guesses: Sequence[Equation], names: Sequence[str]) -> list[str]:
        """Guesses as PySR reads them, those that its operators can spell."""
        inputs = dict(zip(names, columns(len(names)), strict=True))
        found = spelled(guesses, self.operators, self.max_complexity)
        return list(dict.fromkeys(julia_guess(one.tree, inputs, one.value) for one in found))

    def describe(self) -> dict[str, Any]:
        """Name, version and options as plain data, for the manifest."""
        options = {key: _plain(value) for key, value in sorted(self.options.items())}
        return described(self, "pysr", options=options)


def _search(settings: dict[str, Any], data: Dataset, units: dict[str, Any]) -> list[str]:
    """Run PySR; the text of each equation of its hall of fame, by ascending complexity."""
    pysr = load_pysr()
    with (
        tempfile.TemporaryDirectory(prefix="symcompile-", ignore_cleanup_errors=True) as folder,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "The search was interrupted", RuntimeWarning)
        try:
            model = pysr.PySRRegressor(**settings, output_directory=folder)
            names = columns(data.X.shape[1])
            model.fit(data.X, data.y, weights=data.weights, variable_names=names, **units)
        except Exception as error:
            raise EngineError(f"PySR failed: {error or type(error).__name__}") from error
    # PySR takes Ctrl-C as "enough"; the next of many searches would then start unasked.
    if getattr(model, "interrupted_", False):
        raise KeyboardInterrupt
    table = model.equations_.sort_values("complexity", kind="stable")
    return [str(text) for text in table["equation"]]


def _precision(X: Array, y: Array) -> int:
    """Bits of PySR's arithmetic: 32, its own default, unless that would blur the data.

    Single precision keeps about seven digits and squares of up to 1e38; columns that vary little
    around a large mean, and very large or small outputs, need double (which Julia compiles first).
    """
    for column in (*X.T, y):
        largest, spread = np.abs(column).max(), column.std()
        if largest > 1e12 or 0 < spread < max(1e-12, 1e-4 * largest):
            return 64
    return 32


def _finite(X: Array, y: Array, weights: Array | None, n_inputs: int) -> Dataset:
    """The samples that are finite throughout, in float64; DataError if there are none.

    A sample of negative weight is left out as well.
    """
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if X.ndim != 2 or X.shape[1] != n_inputs or y.shape != X.shape[:1]:
        raise DataError(
            f"X has shape {list(X.shape)} and y {list(y.shape)}: expected [n_samples, {n_inputs}]"
            " and [n_samples]"
        )
    keep = np.isfinite(X).all(axis=1) & np.isfinite(y)
    if weights is not None:
        weights = np.asarray(weights, dtype=np.float64)
        if weights.shape != y.shape:
            raise DataError(f"weights has shape {list(weights.shape)}: expected {list(y.shape)}")
        keep &= np.isfinite(weights) & (weights >= 0)
    if not keep.any() or (weights is not None and not weights[keep].any()):
        raise DataError(f"none of the {len(y)} samples is finite and has weight")
    return Dataset(X[keep], y[keep], None if weights is None else weights[keep])


def _check_options(options: Mapping[str, Any]) -> None:
    for name in options:
        if name in RESERVED:
            raise EngineError(f"engine 'pysr' sets {name} itself: {RESERVED[name]}")
    arguments = constructor_arguments()
    for name in options:
        if arguments and name not in arguments:
            near = difflib.get_close_matches(name, arguments - RESERVED.keys(), 3)
            hint = f"did you mean {', '.join(near)}?" if near else "see pysr.PySRRegressor"
            raise EngineError(f"engine 'pysr' has no option {name!r}: {hint}")


@lru_cache(maxsize=1)
def constructor_arguments() -> frozenset[str]:
    """Names of the arguments of the installed PySRRegressor; empty if they can't be told.

    Read from its source, since importing pysr starts Julia. Where that fails, PySR itself refuses
    unknown arguments before a search looks at any data.
    """
    spec = find_spec("pysr")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    try:
        tree = ast.parse(Path(folders[0], "sr.py").read_text(encoding="utf-8"))
    except (IndexError, OSError, SyntaxError):
        return frozenset()
    return frozenset(
        argument.arg
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "PySRRegressor"
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name == "__init__"
        for argument in (*method.args.args[1:], *method.args.kwonlyargs)
    )


def _takes(argument: str) -> bool:
    """Whether the installed PySR has it: earlier versions start from nothing."""
    arguments = constructor_arguments()
    return not arguments or argument in arguments


def _plain(value: Any) -> Any:
    """JSON data as it is; anything else by its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def columns(n_inputs: int) -> list[str]:
    """What PySR is told that the inputs are called.

    The user's own names never go there: PySR refuses those which Julia or sympy know as functions
    (beta, gamma, E, I, S, ...), and a list of them would age.
    """
    return [f"x{column}" for column in range(n_inputs)]


def read_equation(text: str, names: Sequence[str], operators: OperatorSet) -> Equation:
    """The equation over `names` that `text` spells over x0, x1, ...; its loss is not measured.

    Raises EngineError if the text holds anything but columns, numbers and the vocabulary.
    """
    constants: list[float] = []

    def hold(match: re.Match[str]) -> str:
        constants.append(float(match.group().replace("f", "e")))
        return f"c{len(constants) - 1}"

    # Constants become slots before sympy sees them: it would multiply numbers into sums, and
    # 2.5 * (x0 + x1) would come back with two constants to fit instead of one.
    held = _NUMBER.sub(hold, text)
    symbols = [*columns(len(names)), *(f"c{index}" for index in range(len(constants)))]
    try:
        own = {PREFIX + custom.name: custom.head for custom in operators.custom}
        expr = parse(held, symbols, functions=_FUNCTIONS | own)
    except ExpressionError as error:
        raise EngineError(f"can't read PySR's equation {text!r}: {error}") from error
    targets = [*map(sympy.Symbol, names), *map(slot, range(len(constants)))]
    expr = expr.xreplace(dict(zip(map(sympy.Symbol, symbols), targets, strict=True)))
    form, kept = renumber(exact_exponents(expr, constants), constants)
    return Equation(form, tuple(names), kept, complexity(form, operators))


def _real_abs(value: sympy.Expr) -> sympy.Expr:
    # For a symbol that may be complex sympy turns |x*exp(y)| into |x|*exp(re(y)).
    real = {symbol: sympy.Dummy(symbol.name, real=True) for symbol in value.free_symbols}
    return sympy.Abs(value.xreplace(real)).xreplace({new: old for old, new in real.items()})


_FUNCTIONS = {name: FUNCTIONS[name] for name in VOCABULARY if name in FUNCTIONS}
_FUNCTIONS["abs"] = _real_abs
