"""Laws that are known, to be found again in samples of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import sympy

from symcompile.expressions.evaluation import Array
from symcompile.expressions.parser import parse
from symcompile.regression.structure.problem import Problem


class Known(NamedTuple):
    """A law over ranges of its inputs, and how many variables are left of it when all is said."""

    text: str
    left: int
    ranges: dict[str, tuple[float, float]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.ranges)

    @property
    def symbols(self) -> list[sympy.Symbol]:
        return [sympy.Symbol(name) for name in self.names]

    @property
    def expr(self) -> sympy.Expr:
        return parse(self.text, self.names)

    @property
    def width(self) -> Array:
        return np.array([high - low for low, high in self.ranges.values()])

    def inputs(self, n: int, seed: int = 0) -> Array:
        """Seeded points [n, n_inputs]."""
        low = np.array([low for low, _ in self.ranges.values()])
        return low + self.width * np.random.default_rng(seed).random((n, len(low)))

    def on(self, X: Array, expr: sympy.Expr | None = None) -> Array:
        """Values [n] of the law, or of another expression of its inputs."""
        value = sympy.lambdify(self.symbols, self.expr if expr is None else expr, "numpy")(*X.T)
        return np.broadcast_to(np.asarray(value, float), len(X))

    def samples(self, n: int, noise: float = 0.0) -> tuple[Array, Array]:
        """Inputs and outputs, with normal noise of a share of the spread."""
        X = self.inputs(n)
        y = self.on(X)
        return X, y + noise * y.std() * np.random.default_rng(1).normal(size=n)

    def problem(self, n: int, noise: float = 0.0) -> Problem:
        return Problem.of(*self.samples(n, noise), self.names)

    def falsehood(self, problem: Problem) -> float:
        """How far the law is from being `offset + factor * core(variables)`.

        If it is, the gradient of the core is a sum of those of the variables. What is left of it,
        over the ranges of the inputs, root mean square, as a share of the law's spread.
        """
        X = self.inputs(50, seed=7)
        core = (self.expr - problem.offset) / problem.factor

        def gradient(expr: sympy.Expr, factor: sympy.Expr = sympy.S.One) -> Array:
            slopes = [self.on(X, sympy.diff(expr, s) * factor) for s in self.symbols]
            return np.stack(slopes, axis=1) * self.width

        left = gradient(core, problem.factor)
        if problem.variables:
            Q = np.linalg.qr(np.stack([gradient(v.expr) for v in problem.variables], axis=2))[0]
            left = left - np.einsum("nij,nkj,nk->ni", Q, Q, left)
        return float(np.sqrt(np.square(left).sum(axis=1).mean()) / self.on(self.inputs(500)).std())


KNOWN = {
    "coulomb": Known("q*p/r**2", 0, {"q": (1, 5), "p": (1, 5), "r": (1, 3)}),
    "kepler": Known("2*r**(3/2)/sqrt(M)", 0, {"r": (1, 5), "M": (1, 5)}),
    "lens": Known("1/(1/a + 1/b)", 1, {"a": (1, 5), "b": (1, 5)}),
    "michaelis": Known("V*S/(K + S)", 1, {"V": (1, 5), "S": (0, 5), "K": (1, 3)}),
    "planck": Known("f**3/(exp(f/T) - 1)", 1, {"f": (0.5, 5), "T": (0.5, 3)}),
    "gauss": Known("exp(-(x - u)**2/(2*s**2))/s", 1, {"x": (0, 4), "u": (1, 3), "s": (0.8, 2)}),
    "photoelectric": Known("h*f - W", 1, {"h": (1, 3), "f": (1, 5), "W": (0.5, 2)}),
    "range": Known("v**2*sin(2*t)/g", 1, {"v": (1, 5), "t": (0.1, 1.4), "g": (5, 12)}),
    "rocket": Known("u*log(m/n)", 1, {"u": (1, 3), "m": (3, 9), "n": (1, 3)}),
    "rydberg": Known("R*(1/n**2 - 1/m**2)", 1, {"R": (1, 3), "n": (1, 2), "m": (3, 6)}),
    "cooling": Known(
        "s + (T - s)*exp(-k*t)", 2, {"s": (0, 2), "T": (4, 8), "k": (0.3, 1.5), "t": (0, 3)}
    ),
    "stokes": Known(
        "2*(p - q)*g*r**2/(9*n)",
        1,
        {"p": (3, 6), "q": (0.5, 2), "g": (5, 12), "r": (1, 2), "n": (1, 4)},
    ),
    "lift": Known("a*b + c", 1, dict.fromkeys("abcd", (-2.0, 2.0))),
}
