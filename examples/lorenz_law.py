"""The law that a model learned, in coordinates in which it can be compared with the truth.

A latent state is a mixture of the Lorenz coordinates, z = h M + m, which training leaves open.
Least squares finds M and m, and expanding the equations in z gives their coefficients. Sparse
regression of latent derivatives on all monomials (SINDy) is the comparison that the paper makes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import sympy
from lorenz_data import BETA, DT, RHO, SIGMA, Array

NAMES = ("x", "y", "z")
STATE = sympy.symbols(NAMES)
LATENT = sympy.symbols("h0 h1 h2")
# Powers of the monomials of at most second degree: 1, x, y, z, xx, xy, xz, yy, yz, zz.
POWERS = tuple(
    sorted(
        (p for p in product(range(3), repeat=3) if sum(p) <= 2),
        key=lambda p: (sum(p), tuple(-n for n in p)),
    )
)
# A term counts as there if its standard deviation is this share of its equation's.
PRESENT = 0.01
# Thresholds that the sparse regression may take, from its library's default of 0.1.
THRESHOLDS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


@dataclass(frozen=True)
class Coordinates:
    """The affine map z = h M + m that fits best; matrix [3, 3], shift [3]."""

    matrix: Array
    shift: Array

    @classmethod
    def fitted(cls, h: Array, z: Array) -> Coordinates:
        """Least squares over latent states h and true states z, [n, 3] each."""
        found = np.linalg.lstsq(np.column_stack([h, np.ones(len(h))]), z, rcond=None)[0]
        return cls(found[:-1], found[-1])

    def state(self, h: Array) -> Array:
        return h @ self.matrix + self.shift

    def field(self, equations: Sequence[sympy.Expr]) -> Array:
        """Coefficients [10, 3] of zdot, from equations of hdot in h of at most second degree."""
        inverse = np.linalg.inv(self.matrix)
        places = [
            sum(
                (z - float(m)) * float(w) for z, m, w in zip(STATE, self.shift, column, strict=True)
            )
            for column in inverse.T
        ]
        h_to_z = dict(zip(LATENT, places, strict=True))
        return coefficients([e.xreplace(h_to_z) for e in equations], STATE) @ self.matrix


def coefficients(equations: Sequence[sympy.Expr], variables: Sequence[sympy.Symbol]) -> Array:
    """Coefficients [10, n_equations] of polynomials, in the order of POWERS.

    Raises ValueError for a polynomial of a higher degree.
    """
    polynomials = [sympy.Poly(sympy.expand(e), *variables) for e in equations]
    higher = [p for p in polynomials if p.total_degree() > 2]
    if higher:
        raise ValueError(f"{higher[0].as_expr()} is not quadratic")
    return np.array([[float(p.coeff_monomial(power)) for p in polynomials] for power in POWERS])


def degree(expr: sympy.Expr) -> int | None:
    """Total degree in the latent coordinates; None for what is not a polynomial."""
    return int(sympy.Poly(expr, *LATENT).total_degree()) if expr.is_polynomial(*LATENT) else None


def polynomials(field: Array, variables: Sequence[sympy.Symbol]) -> list[sympy.Expr]:
    """The polynomials with coefficients [10, n_equations]."""
    terms = [sympy.prod(v**n for v, n in zip(variables, power, strict=True)) for power in POWERS]
    return [
        sympy.Add(*(float(w) * term for w, term in zip(column, terms, strict=True)))
        for column in field.T
    ]


def monomials(states: Array) -> Array:
    """Values [..., 10] of all monomials of states [..., 3]."""
    return np.stack([np.prod(states ** np.array(power), axis=-1) for power in POWERS], axis=-1)


def true_field() -> Array:
    """Coefficients [10, 3] of the Lorenz equations."""
    x, y, z = STATE
    return coefficients([SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z], STATE)


@dataclass(frozen=True)
class Comparison:
    """A vector field beside the true one, in the same coordinates.

    Attributes:
        off: largest error of a coefficient that the truth has, as a share of it.
        spurious: largest standard deviation of a term that the truth lacks, as a share of the
            standard deviation of its equation.
        right: the terms of at least PRESENT are those of the truth.
    """

    off: float
    spurious: float
    right: bool

    @classmethod
    def of(cls, field: Array, z: Array) -> Comparison:
        truth = true_field()
        values = monomials(z)
        size = np.abs(field) * values.std(axis=0)[:, None] / (values @ truth).std(axis=0)
        size[0] = np.abs(field[0]) / (values @ truth).std(axis=0)
        real = truth != 0
        off = np.abs(field[real] / truth[real] - 1.0).max()
        right = bool(np.array_equal(size >= PRESENT, real))
        return cls(float(off), float(size[~real].max()), right)


def written(field: Array) -> list[str]:
    """The three equations with the terms that the truth has."""
    real = polynomials(np.where(true_field() != 0, field, 0.0), STATE)
    lines = []
    for name, expr in zip(NAMES, real, strict=True):
        short = {n: sympy.Float(f"{n:.4g}", 4) for n in expr.atoms(sympy.Float)}
        lines.append(f"{name}' = {sympy.sstr(expr.xreplace(short), full_prec=False)}")
    return lines


def sparse_regression(h: Array, hdot: Array) -> tuple[Array, float]:
    """SINDy with all monomials of second degree: coefficients [10, 3] and its threshold.

    Sequentially thresholded least squares (pysindy). The threshold is the one with the lowest error
    on the last fifth of the rows [n, 3], as it stands for coefficients in coordinates of unknown
    scale.
    """
    kept = len(h) - len(h) // 5
    error = {}
    for threshold in THRESHOLDS:
        found = _stlsq(h[:kept], hdot[:kept], threshold)
        error[threshold] = np.mean((monomials(h[kept:]) @ found - hdot[kept:]) ** 2)
    best = min(error, key=lambda threshold: (error[threshold], -threshold))
    return _stlsq(h, hdot, best), best


def _stlsq(h: Array, hdot: Array, threshold: float) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where a threshold leaves no term
        import pysindy

        library = pysindy.PolynomialLibrary(degree=2)
        optimizer = pysindy.STLSQ(threshold=threshold)
        model = pysindy.SINDy(optimizer=optimizer, feature_library=library)
        model.fit(h, t=DT, x_dot=hdot)
    powers: Mapping[tuple[int, ...], int] = {
        tuple(int(n) for n in row): i for i, row in enumerate(library.powers_)
    }
    found = np.asarray(model.coefficients())
    return np.stack([found[:, powers[power]] for power in POWERS])
