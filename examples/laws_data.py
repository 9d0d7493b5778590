"""Thirty-four laws of physics, chemistry and biology, and samples of them.

Every input is drawn uniformly from its range, each on its own. A law that is found is asked on a
range one and a half times as wide too: each range grows by a quarter of its width on both sides,
but not below 0 where it began at 0 or above, since masses and distances do not. There, points are
left out where the law is not defined, and where it is ten times as large as anywhere inside: those
are at a pole, where a single point would decide for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
import sympy

Array = np.ndarray[Any, Any]

BASE = ("+", "-", "*", "/", "sqrt", "square")
DISTRACTORS = ("sqrt", "square", "exp", "log", "sin")
# How much wider the ranges are on each side, in units of their width.
WIDER = 0.25
# A law that is this many times larger than anywhere inside is at a pole.
AT_POLE = 10.0


@dataclass(frozen=True)
class Law:
    """What is searched for.

    Attributes:
        name: what the tables call it.
        text: the law, in the symbols of its inputs.
        ranges: lowest and highest value of each input, in their order.
        more: the operators that it needs besides those that all are given.
    """

    name: str
    text: str
    ranges: dict[str, tuple[float, float]]
    more: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.ranges)

    def operators(self, distract: bool = False) -> tuple[str, ...]:
        """What a user would allow; or with five more that few of the laws need."""
        more = DISTRACTORS if distract else ()
        return tuple(dict.fromkeys((*BASE, *self.more.split(), *more)))

    @cached_property
    def expression(self) -> sympy.Expr:
        return sympy.sympify(self.text, locals={n: sympy.Symbol(n) for n in self.names})

    @cached_property
    def _function(self) -> Any:
        return sympy.lambdify([sympy.Symbol(n) for n in self.names], self.expression, "numpy")

    def values(self, X: Array) -> Array:
        """The outputs [n] at X [n, n_inputs], in float64; NaN where the law is not defined."""
        with np.errstate(all="ignore"):
            values = self._function(*np.asarray(X, dtype=float).T)
        return np.broadcast_to(np.asarray(values, dtype=float), len(X)).copy()

    def generator(self, seed: int, purpose: str) -> np.random.Generator:
        """Draws of its own for each law, seed and purpose."""
        return np.random.default_rng([seed, crc32(self.name.encode()), crc32(purpose.encode())])

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """Inputs [n, n_inputs] inside of the ranges."""
        low, high = np.array(list(self.ranges.values())).T
        return np.asarray(rng.uniform(low, high, (n, len(low))))

    def draw_wide(self, rng: np.random.Generator, n: int) -> Array:
        """Inputs [n, n_inputs] of the wider ranges, where the law is defined and not at a pole."""
        inside = np.abs(self.values(self.draw(rng, 10 * n))).max()
        low, high = np.array(list(self.ranges.values())).T
        by = WIDER * (high - low)
        lowest = np.where(low >= 0.0, np.maximum(low - by, 0.0), low - by)
        X = rng.uniform(lowest, high + by, (4 * n, len(low)))
        return np.asarray(X[np.abs(self.values(X)) <= AT_POLE * inside][:n])

    def samples(self, seed: int, n: int, noise: float = 0.0) -> tuple[Array, Array]:
        """Inputs [n, n_inputs] and outputs [n]; with normal noise whose standard deviation is so
        much of the outputs' own. The inputs are the same with and without."""
        X = self.draw(self.generator(seed, "samples"), n)
        y = self.values(X)
        errors = self.generator(seed, "noise").normal(size=n)
        return X, y + noise * y.std() * errors


def _ranges(text: str) -> dict[str, tuple[float, float]]:
    """From "a b 1..5, t 0..6"."""
    ranges = {}
    for part in text.split(","):
        *names, limits = part.split()
        low, high = map(float, limits.split(".."))
        ranges |= dict.fromkeys(names, (low, high))
    return ranges


def laws_of(rows: Iterable[tuple[str, str, str, str]]) -> dict[str, Law]:
    """By name, of rows of name, text, ranges ("a b 1..5, t 0..6") and more operators."""
    return {name: Law(name, text, _ranges(limits), more) for name, text, limits, more in rows}


_ROWS = (
    ("distance", "sqrt((a - b)**2 + (c - d)**2)", "a b c d 1..5", ""),
    ("lorentz mass", "m/sqrt(1 - v**2/c**2)", "m 1..5, v 1..2, c 3..10", ""),
    (
        "lorentz shift",
        "(x - u*t)/sqrt(1 - u**2/c**2)",
        "x 5..10, u 1..2, c 3..20, t 1..2",
        "",
    ),
    ("velocity sum", "(u + v)/(1 + u*v/c**2)", "u v 1..5, c 5..10", ""),
    ("centre of mass", "(m*r + n*s)/(m + n)", "m r n s 1..5", ""),
    ("oscillator energy", "m*(w**2 + u**2)*x**2/4", "m w u x 1..3", ""),
    ("snell", "asin(n*sin(t))", "n 0..1, t 0..1.4", "sin asin"),
    (
        "law of cosines",
        "sqrt(a**2 + b**2 - 2*a*b*cos(s - t))",
        "a b 1..5, s t 0..6",
        "cos",
    ),
    ("slit", "I*sin(n*t/2)**2/sin(t/2)**2", "I 1..5, n 2..6, t 0.5..2.5", "sin"),
    ("doppler", "w*sqrt(1 - v**2/c**2)/(1 + v/c)", "w 1..5, v 1..2, c 3..10", ""),
    ("barometer", "n*exp(-m*g*x/T)", "n m g x T 1..3", "exp"),
    ("bose", "1/(exp(w/T) - 1)", "w T 1..5", "exp"),
    ("radiation", "w**3/(exp(w/T) - 1)", "w 0.5..5, T 0.5..3", "exp"),
    ("isothermal work", "n*T*log(V/W)", "n T V W 1..5", "log"),
    ("sound", "sqrt(g*p/r)", "g p r 1..5", ""),
    ("anharmonic", "a*(cos(w*t) + b*cos(w*t)**2)", "a b w t 1..3", "cos"),
    ("clausius-mossotti", "1 + n*a/(1 - n*a/3)", "n a 0..1", ""),
    ("waveguide", "sqrt(w**2/c**2 - 9.8696/d**2)", "w 4..6, c 1..2, d 2..4", ""),
    ("paramagnet", "n*m*tanh(m*B/T)", "n m B T 1..5", "tanh"),
    ("two-level", "n/(exp(m*B/T) + exp(-m*B/T))", "n m B T 1..3", "exp"),
    ("scattering", "b*(1 + a*cos(t))", "b a 1..5, t 0..6", "cos"),
    ("relative rapidity", "(1 + v/c)*w/sqrt(1 - v**2/c**2)", "w 1..5, v 1..2, c 3..10", ""),
    ("dipole field", "p*sqrt(3*cos(t)**2 + 1)/r**3", "p 1..5, t 0..6, r 1..3", "cos"),
    ("yukawa", "g*exp(-r/a)/r", "g 1..5, r 0.5..4, a 0.5..3", "exp"),
    ("reduced mass energy", "m*n*v**2/(2*(m + n))", "m n v 1..5", ""),
    ("parallel resistors", "a*b*c/(a*b + b*c + a*c)", "a b c 1..5", ""),
    ("hill", "V*x**2/(K**2 + x**2)", "V 1..5, x 0..5, K 1..3", ""),
    ("logistic growth", "K/(1 + a*exp(-r*t))", "K 1..5, a 1..9, r 0.5..2, t 0..4", "exp"),
    ("arrhenius", "A*exp(-E/T)", "A E 1..5, T 0.5..3", "exp"),
    ("antoine", "exp(A - B/(C + T))", "A 1..3, B 1..5, C 1..3, T 1..5", "exp"),
    ("nernst", "E + T*log(a/b)/z", "E 0..2, T 1..3, a b 1..5, z 1..4", "log"),
    ("competitive uptake", "V*S/(K*(1 + I/J) + S)", "V S K I J 1..5", ""),
    ("morse", "D*(1 - exp(-a*(r - s)))**2", "D 1..5, a 1..2, r 0.8..3, s 1..1.5", "exp"),
    ("gaussian beam", "w*sqrt(1 + (z/R)**2)", "w 1..3, z 0..5, R 1..3", ""),
)
LAWS = laws_of(_ROWS)
