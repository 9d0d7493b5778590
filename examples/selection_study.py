"""Which rule picks the right equation from a Pareto front?

    python examples/selection_study.py --quick
    python examples/selection_study.py --run-dir study

Searches for laws that are known: physics-informed networks (heat, wave, oscillator) over several
training seeds, and synthetic laws, clean, with noise, and with a smooth error such as a network
makes. Prints, for every rule, how often the equation that it picks has the law's form. A form that
is longer, shorter or other than the law counts as a miss, however well it fits. With `--run-dir`
finished fronts are kept there, and another run only does what is missing.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from symcompile.expressions.canonical import canonical
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import DEFAULT, OperatorSet
from symcompile.expressions.slots import is_constant
from symcompile.regression.choice import RULES
from symcompile.regression.dataset import Dataset
from symcompile.regression.distillation import Searches
from symcompile.regression.engines import create
from symcompile.regression.fit import Fit
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.journal import Journal

N_SAMPLES, N_FIT = 5000, 4000
PINN_SEEDS = (290402, 0, 1, 2, 3, 4)
SEARCH_SEEDS = (0, 1)
# Searches of one fit in quick mode and their size; the defaults are 8 and 1000.
QUICK = {"restarts": 1, "population": 250}


@dataclass(frozen=True)
class Law:
    """A known form over `inputs`, sampled uniformly from low to high."""

    name: str
    inputs: str
    form: Callable[..., Any]
    low: float = 0.0
    high: float = 1.0
    extra_columns: int = 0
    operators: tuple[str, ...] = DEFAULT

    @property
    def expr(self) -> sympy.Expr:
        return sympy.sympify(self.form(*map(sympy.Symbol, self.inputs.split())))


LAWS = (
    Law("constant", "x y", lambda x, y: 0.37),
    Law("line", "x", lambda x: 3.2 * x + 1.5),
    Law("plane", "x y z", lambda x, y, z: 2.1 * x - 3.3 * y + 0.7 * z),
    Law("linear of 5", "a b c d e", lambda a, b, c, d, e: 0.9 * a + b - 1.1 * c + d + 1.2 * e),
    Law(
        "graded linear of 5",
        "a b c d e",
        lambda a, b, c, d, e: 2 * a - 1.6 * b + 1.2 * c + 0.8 * d - 0.5 * e + 0.3,
    ),
    Law("linear 3 of 12", "a b c", lambda a, b, c: 1.3 * a - 0.7 * b + c, extra_columns=9),
    Law("product", "x y", lambda x, y: 1.7 * x * y, 0.5, 2.0),
    Law("quotient", "x y z", lambda x, y, z: 1.4 * x * y / z, 0.5, 2.0),
    Law("kinetic", "m v", lambda m, v: 0.5 * m * v**2, 0.5, 3.0),
    Law("gravity", "a b r", lambda a, b, r: 6.7 * a * b / r**2, 1.0, 3.0),
    Law("lens", "x y", lambda x, y: x * y / (1.5 * y + 0.8 * x), 0.5, 3.0),
    Law("hyperbola", "x", lambda x: 2.0 / (x + 0.6), 0.0, 3.0),
    Law("share", "x y z", lambda x, y, z: 2.5 * x / (y + 1.9 * z), 0.5, 2.0),
    Law("sum and product", "x y z", lambda x, y, z: 1.2 * x + 2.2 * y * z, -1.0, 1.0),
    Law("squares", "x y z", lambda x, y, z: x**2 + 1.3 * y**2 + 0.8 * z**2, -1.0, 1.0),
    Law("quadratic", "x y z", lambda x, y, z: 2 * x**2 - 3.1 * x * y + 1.4 * z, -1.0, 1.0),
    Law("pairs", "x y z", lambda x, y, z: 1.1 * x * y + 0.9 * y * z - 1.4 * x * z, -1.0, 1.0),
    Law("cubic", "x", lambda x: 1.2 * x**3 - 2.1 * x, -1.5, 1.5),
    Law("decay", "t", lambda t: 1.8 * sympy.exp(-1.3 * t) + 0.4, 0.0, 3.0),
    Law("gaussian", "x", lambda x: 1.5 * sympy.exp(-0.7 * x**2), -2.0, 2.0),
    Law("phase", "t", lambda t: 1.3 * sympy.sin(4.2 * t + 0.7), 0.0, 2.0),
    Law(
        "two waves",
        "x y",
        lambda x, y: sympy.sin(2.1 * x) + 0.6 * sympy.sin(3.3 * y + 1),
        -1.0,
        1.0,
    ),
    Law("diffusion", "x t", lambda x, t: sympy.exp(-1.5 * t) * sympy.sin(2.4 * x), 0.0, 2.0),
    Law("damped wave", "t", lambda t: 1.2 * sympy.exp(-0.6 * t) * sympy.sin(5 * t + 0.5), 0.0, 3.0),
    Law("lever", "r a", lambda r, a: 1.6 * r * sympy.sin(a), 0.5, 3.0),
    Law("growth", "x y", lambda x, y: sympy.exp(1.2 * x) - 1.4 * y, -1.0, 1.0),
    Law(
        "fold",
        "x y",
        lambda x, y: 1.5 * sympy.Abs(x - 0.3) + 0.6 * y,
        -1.0,
        1.0,
        0,
        ("+", "*", "abs", "sin"),
    ),
    Law(
        "distance",
        "x y",
        lambda x, y: sympy.sqrt(x**2 + 1.7 * y**2),
        -1.0,
        1.0,
        0,
        ("+", "*", "sqrt", "exp"),
    ),
)

# Name, and the relative size of the error that is added.
DISTURBANCES = (
    ("clean", 0.0),
    ("noise", 1e-3),
    ("noise", 1e-2),
    ("smooth", 1e-3),
    ("smooth", 1e-2),
)


@dataclass(frozen=True)
class Case:
    group: str
    name: str
    X: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    names: tuple[str, ...]
    operators: tuple[str, ...]
    law: sympy.Expr
    seed: int


def synthetic_cases() -> Iterator[Case]:
    for number, law in enumerate(LAWS):
        for index, (kind, size) in enumerate(DISTURBANCES):
            rng = np.random.default_rng([number, index])
            names = tuple(law.inputs.split())
            names += tuple(f"u{i}" for i in range(law.extra_columns))
            X = rng.uniform(law.low, law.high, (N_SAMPLES, len(names)))
            columns = X.T[: len(law.inputs.split())]
            y = np.broadcast_to(sympy.lambdify(law.inputs.split(), law.expr)(*columns), len(X))
            scale = float(y.std()) or 1.0
            y = y + size * scale * _disturbance(kind, X, rng)
            label = kind if not size else f"{kind} {size:g}"
            yield Case(label, f"{law.name}, {label}", X, y, names, law.operators, law.expr, index)


def _disturbance(kind: str, X: np.ndarray[Any, Any], rng: Any) -> np.ndarray[Any, Any]:
    """White noise, or what a random network of tanh units gives; of unit size."""
    if kind != "smooth":
        return np.asarray(rng.normal(size=len(X)))
    unit = (X - X.mean(axis=0)) / X.std(axis=0)
    hidden = np.tanh(unit @ rng.normal(size=(X.shape[1], 32)) * 1.5 + rng.normal(size=32))
    hidden = np.tanh(hidden @ rng.normal(size=(32, 32)) / np.sqrt(8) + rng.normal(size=32))
    wave = hidden @ rng.normal(size=32)
    return np.asarray((wave - wave.mean()) / wave.std())


def pinn_cases(
    problems: Sequence[str] = ("heat", "wave", "oscillator"),
    training_seeds: Sequence[int] = PINN_SEEDS,
) -> Iterator[Case]:
    x, t = sympy.symbols("x t")
    laws = {
        "heat": sympy.exp(-2.0 * t) * sympy.sin(3.1 * x),
        "wave": sympy.sin(3.1 * x) * sympy.sin(2.1 * t + 1.57),
        "oscillator": 1.01 * sympy.exp(-2.0 * t) * sympy.sin(19.9 * t + 1.5),
    }
    for name in problems:
        for training_seed in training_seeds:
            X, y, inputs = pinn_samples(name, training_seed)
            for operators in (DEFAULT, (*DEFAULT, "cos"))[: 1 if name == "heat" else 2]:
                for seed in SEARCH_SEEDS:
                    label = f"{name} {training_seed}, {len(operators)} operators, search {seed}"
                    yield Case(name, label, X, y, inputs, operators, laws[name], seed)


def pinn_samples(name: str, training_seed: int) -> tuple[Any, Any, tuple[str, ...]]:
    """Train a PINN and sample it uniformly over its domain."""
    import torch

    from symcompile.pinns import PROBLEMS, train_pinn

    problem = PROBLEMS[name]
    model = train_pinn(problem, seed=training_seed).double()
    low, high = np.array(list(problem.domain.values())).T
    X = np.random.default_rng(training_seed + 1).uniform(low, high, (N_SAMPLES, len(low)))
    with torch.no_grad():
        return X, model(torch.from_numpy(X)).numpy()[:, 0], problem.inputs


def front_of(case: Case, run_dir: str | None, search: Mapping[str, int]) -> ParetoFront:
    fit = Fit(
        case.name,
        Dataset(case.X[:N_FIT], case.y[:N_FIT]),
        Dataset(case.X[N_FIT:], case.y[N_FIT:]),
        case.names,
        create("operon", operators=case.operators, options=dict(search)),
        seed=case.seed,
    )
    return Searches([fit], Journal(run_dir)).refined()[case.name]


def skeleton(expr: sympy.Expr, operators: OperatorSet) -> Any:
    """The form without its constants. A cosine counts as a sine with a phase."""
    numbers = {n: sympy.Float(n) for n in expr.atoms(sympy.Rational, sympy.NumberSymbol) if n != -1}
    exponents = {p.exp for p in expr.atoms(sympy.Pow)}
    loose = expr.xreplace({n: f for n, f in numbers.items() if n not in exponents})
    form = canonical(loose, (), operators)[0]
    return _skeleton(sympy.expand(form, power_exp=False, log=False))


def _skeleton(expr: sympy.Expr) -> Any:
    if is_constant(expr):
        return "c"
    if expr.is_Symbol:
        return expr.name
    parts = sorted((_skeleton(arg) for arg in expr.args), key=str)
    if expr.is_Mul:
        rest = [part for part in parts if part != "c"]
        return rest[0] if len(rest) == 1 else ("*", *rest)
    if expr.is_Pow:
        return ("power", _skeleton(expr.base), str(expr.exp))
    if isinstance(expr, sympy.cos):
        inner = parts[0]
        terms = inner[1:] if isinstance(inner, tuple) and inner[0] == "Add" else (inner,)
        return ("sin", ("Add", *sorted({*terms, "c"}, key=str)))
    return (expr.func.__name__, *parts)


def is_law(equation: Equation, case: Case) -> bool:
    operators = OperatorSet.of(case.operators)
    return bool(skeleton(equation.sympy, operators) == skeleton(case.law, operators))


def study(
    cases: Sequence[Case], run_dir: str | None, verbose: bool, search: Mapping[str, int]
) -> None:
    hits: dict[str, Counter[str]] = {rule: Counter() for rule in (*RULES, "on the front")}
    seconds: dict[str, list[float]] = {}
    for case in cases:
        started = time.perf_counter()
        front = front_of(case, run_dir, search)
        seconds.setdefault(case.group, []).append(time.perf_counter() - started)
        for rule in RULES:
            hits[rule][case.group] += is_law(front.select(rule), case)
        hits["on the front"][case.group] += any(is_law(equation, case) for equation in front)
        if verbose or not is_law(front.best, case):
            print(f"{case.name}: law {case.law}\n{front}\n", flush=True)
    _print_table(hits, seconds)


def _print_table(hits: dict[str, Counter[str]], seconds: dict[str, list[float]]) -> None:
    groups = list(seconds)
    print(f"{'':>14}" + "".join(f"{group:>14}" for group in groups) + f"{'all':>14}")
    for rule, counts in hits.items():
        cells = [f"{counts[group]}/{len(seconds[group])}" for group in groups]
        total = f"{sum(counts.values())}/{sum(map(len, seconds.values()))}"
        print(f"{rule:>14}" + "".join(f"{cell:>14}" for cell in [*cells, total]))
    slowest = [f"{max(seconds[group]):.1f}" for group in groups]
    print(f"{'slowest, s':>14}" + "".join(f"{cell:>14}" for cell in slowest))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="two cases, no networks, short searches"
    )
    parser.add_argument("--only", choices=("pinns", "laws"), help="one half of the set")
    parser.add_argument("--run-dir", help="keep finished fronts here")
    parser.add_argument("--verbose", action="store_true", help="print every front, not only misses")
    arguments = parser.parse_args()
    cases: list[Case] = []
    if arguments.only == "pinns" or not (arguments.only or arguments.quick):
        cases += pinn_cases(training_seeds=PINN_SEEDS)
    if arguments.only != "pinns":
        cases += synthetic_cases()
    if arguments.quick:
        cases = [cases[0], cases[-1]]
    study(cases, arguments.run_dir, arguments.verbose, QUICK if arguments.quick else {})


if __name__ == "__main__":
    main()
