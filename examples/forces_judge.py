"""Is an equation the law? Decided by rule, for messages that are linear maps of the force.

What a network sums can be any linear map of the force, even a single component; and, since the node
model knows the mass and the charge of the particle that receives, of the force divided by one of
them: for gravity that is m2/r^2, in which the receiver's mass cancels, for charges the electric
field. All of them count as the law; which it is gets reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import sympy
from force_laws import FEATURES, Law
from numpy.typing import NDArray

from symcompile import Equation
from symcompile.regression.losses import loss_for

Array = NDArray[np.float64]
# Terms below this share of the message's standard deviation are dropped, of equations and of laws.
SMALL = 0.01
# A component of the force below this share of the other one, in the message itself, may be missing.
ALIGNED = 0.05
Q1, Q2 = sympy.symbols("q1 q2")


@dataclass(frozen=True)
class Truth:
    """The linear map of the force that is nearest to a message.

    Attributes:
        quantity: "force", "force / m1" or "force / q1".
        r2: of the map by least squares, over all samples.
        weights: of both components, and the constant, by a robust fit: what a network makes of its
            few largest forces says little of the rest.
    """

    quantity: str
    r2: float
    weights: tuple[float, float, float]

    @property
    def components(self) -> tuple[bool, bool]:
        """Which components of the force the message has: from ALIGNED of the larger one on."""
        sizes = [abs(weight) for weight in self.weights[:2]]
        return sizes[0] >= ALIGNED * max(sizes), sizes[1] >= ALIGNED * max(sizes)


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    right: whether the equation has the terms of the law and no other.
    missing: components of the force that the equation lacks.
    spurious: terms that the law does not have.
    """

    right: bool
    missing: tuple[str, ...]
    spurious: tuple[str, ...]


def receivers(law: Law) -> tuple[str, ...]:
    """What the node model knows of its particle that plays a part in this law."""
    return ("m1", "q1") if law.name == "charge" else ("m1",)


def nearest_force(message: Array, force: Array, own: Mapping[str, Array]) -> Truth:
    """A message [n] as a linear map of the force [n, 2], or of the force over one of what the
    receivers have of their own, [n] by name."""
    found = [_map("force", message, force)]
    found += [_map(f"force / {k}", message, force / one[:, None]) for k, one in own.items()]
    return min(found, key=lambda pair: pair[0])[1]


def _map(quantity: str, message: Array, force: Array) -> tuple[float, Truth]:
    """The robust loss, and the map."""
    basis = np.column_stack([force, np.ones(len(force))])
    error = message - basis @ np.linalg.lstsq(basis, message, rcond=None)[0]
    loss = loss_for("cauchy", message)
    # Starts from the small forces, of which no single one can pull the fit to itself.
    weights = 1 / (1 + np.square(force / np.median(np.abs(force))).sum(axis=1))
    for _ in range(50):
        root = np.sqrt(weights)
        found = np.linalg.lstsq(basis * root[:, None], message * root, rcond=None)[0]
        weights = loss.weights(message - basis @ found)
    a, b, c = map(float, found)
    # A message that carries nothing is constant.
    r2 = float(1 - error.var() / message.var()) if message.var() else 0.0
    return loss.mean(message - basis @ found, None), Truth(quantity, r2, (a, b, c))


def judge(
    equation: Equation,
    law: Law,
    X: Array,
    spread: float,
    components: tuple[bool, bool] = (True, True),
) -> tuple[Verdict, str]:
    """Verdict and quantity under the reading that suits the equation best.

    Args:
        X: the features of FEATURES, [n, 7].
        spread: standard deviation of the message that the equation stands for.
        components: which components of the force the message itself has.
    """
    found = _terms(equation.sympy, X, spread, law)
    readings = {"force": sympy.Integer(1)}
    readings |= {f"force / {name}": 1 / sympy.Symbol(name) for name in receivers(law)}
    verdicts = {name: _compare(found, law, factor, components) for name, factor in readings.items()}
    best = min(verdicts, key=lambda name: len(verdicts[name].missing + verdicts[name].spurious))
    return verdicts[best], best


def _compare(
    found: set[sympy.Expr], law: Law, factor: sympy.Expr, components: tuple[bool, bool]
) -> Verdict:
    parts = [_forms(sympy.expand(force * factor), law) for force in law.expressions()]
    missing = tuple(
        name
        for name, part, there in zip("xy", parts, components, strict=True)
        if there and not part <= found
    )
    spurious = found - parts[0] - parts[1]
    names = tuple(sorted("constant" if term == 1 else str(term) for term in spurious))
    return Verdict(not missing and not names, missing, names)


def _terms(expr: sympy.Expr, X: Array, spread: float, law: Law) -> set[sympy.Expr]:
    """The terms of the expanded equation that matter, without their coefficients."""
    kept: set[sympy.Expr] = set()
    for term in sympy.Add.make_args(sympy.expand(expr)):
        values = np.broadcast_to(sympy.lambdify(FEATURES, term)(*X.T), len(X))
        size = abs(values[0]) if term.is_number else np.std(values)
        if size >= SMALL * spread:
            kept |= _forms(term, law)
    return kept


def _forms(expr: sympy.Expr, law: Law) -> set[sympy.Expr]:
    """Terms without coefficients; charges of the charge law are -1 or 1, so q/q' is q*q'."""
    terms = sympy.Add.make_args(sympy.expand(expr))
    forms = {term.as_independent(*term.free_symbols)[1] for term in terms}
    if law.name != "charge":
        return forms
    return {_without_even_powers(form) for form in forms}


def _without_even_powers(form: sympy.Expr) -> sympy.Expr:
    for q in (Q1, Q2):
        power = form.as_powers_dict().get(q, sympy.Integer(0))
        if power.is_Integer:
            form = form * q ** (power % 2 - power)
    return form
