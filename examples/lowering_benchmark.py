"""How fast are lowered equations? Run: python examples/lowering_benchmark.py

Eight equations, each dense in 32 variables, at batch 1024 on one thread: evaluated one output after
the other as they are written, lowered by symcompile, the same through torch.compile, and a 32-256-8
MLP that they might have replaced. The contestants take turns, so that a busy machine slows all of
them; the medians are printed, and their ratios to the MLP.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import sympy
import torch
from torch import nn

from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.lowering.block import lower
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.target import Target

VARIABLES, OUTPUTS = 32, 8


def equations(seed: int = 0) -> dict[int, Equation]:
    """`c0 + sum(c_i*x_i) + c*sin(sum(c_i*x_i))*exp(-c*x_k**2)`, other constants in each."""
    rng = np.random.default_rng(seed)
    symbols = sympy.symbols(f"x0:{VARIABLES}")
    names = tuple(s.name for s in symbols)
    found = {}
    for output in range(OUTPUTS):
        outer, inner = (_affine(rng, symbols) for _ in range(2))
        bump = sympy.exp(-sympy.Float(rng.uniform(0.5, 1.5)) * symbols[output] ** 2)
        expr = outer + sympy.Float(rng.normal()) * sympy.sin(inner) * bump
        found[output] = Equation.of(expr, names, OperatorSet.of(["+", "*", "sin", "exp"]))
    return found


def _affine(rng: np.random.Generator, symbols: tuple[sympy.Symbol, ...]) -> sympy.Expr:
    weights = rng.normal(size=len(symbols) + 1) / len(symbols) ** 0.5
    return sympy.Add(
        sympy.Float(weights[0]),
        *(sympy.Float(w) * s for w, s in zip(weights[1:], symbols, strict=True)),
    )


def region() -> Region:
    interface = Interface(
        (Parameter("x"),), (TensorInput("x", (), VARIABLES),), (TensorOutput(OUTPUTS),)
    )
    return Region("block", Target("block"), interface, tuple(f"x{k}" for k in range(VARIABLES)))


class OutputByOutput(nn.Module):
    """What a plain printer makes of the equations: each on its own, term by term."""

    def __init__(self, found: dict[int, Equation]) -> None:
        super().__init__()
        self.functions = [
            sympy.lambdify(one.symbols, one.sympy, modules=torch) for one in found.values()
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = [x[..., k] for k in range(VARIABLES)]
        return torch.stack([function(*columns) for function in self.functions], dim=-1)


def contestants() -> dict[str, nn.Module]:
    found = equations()
    lowered = lower(region(), found, dtype=torch.float32).module
    mlp = nn.Sequential(nn.Linear(VARIABLES, 256), nn.Tanh(), nn.Linear(256, OUTPUTS))
    modules = {
        "output by output": OutputByOutput(found),
        "lowered": lowered,
        "MLP 32-256-8": mlp,
    }
    x = torch.zeros(2, VARIABLES)
    try:
        compiled = torch.compile(lowered, dynamic=True)
        compiled(x)
        modules["lowered, torch.compile"] = compiled
    except Exception as error:  # whatever inductor raises without a working C compiler
        print(f"torch.compile is left out, it does not work here: {type(error).__name__}")
    return modules


def seconds(run: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def measure(modules: dict[str, nn.Module], batch: int, rounds: int) -> dict[str, float]:
    """Median seconds of one call; the modules take turns."""
    x = torch.randn(batch, VARIABLES, generator=torch.Generator().manual_seed(0))
    timings: dict[str, list[float]] = {name: [] for name in modules}
    with torch.inference_mode():
        for module in modules.values():
            seconds(lambda module=module: module(x), 5)
        for _ in range(rounds):
            for name, module in modules.items():
                timings[name].append(seconds(lambda module=module: module(x), 10))
    return {name: statistics.median(values) for name, values in timings.items()}


def check(modules: dict[str, nn.Module]) -> float:
    """Largest difference between lowered and output by output."""
    x = torch.randn(256, VARIABLES, generator=torch.Generator().manual_seed(1))
    return float((modules["lowered"](x) - modules["output by output"](x)).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument(
        "--quick", action="store_true", help="five rounds: the way, not the figures"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    modules = contestants()
    print(f"largest difference between lowered and output by output: {check(modules):.1e}")
    medians = measure(modules, options.batch, 5 if options.quick else options.rounds)
    mlp = medians["MLP 32-256-8"]
    print(f"{'batch ' + str(options.batch):26}{'median':>12}{'of the MLP':>14}")
    for name, value in medians.items():
        print(f"{name:26}{value * 1e3:9.3f} ms{value / mlp:13.2f}x")


if __name__ == "__main__":
    main()
