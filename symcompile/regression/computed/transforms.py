"""Transforms: what an output is a function of, such as its square or its logarithm.

`h(y) = a*f + b*g + c` is linear in its constants where `y` is not. Errors of h count what they are
as errors of y: 1/|h'(y)|.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import sympy

from symcompile.expressions.dimensions import Dimensions, Vector
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet

# Slopes of h beyond which an error of y is not seen in it.
_STEEP = 1e6


@dataclass(frozen=True)
class Transform:
    """h with its inverse.

    Attributes:
        needs: operators that spell the inverse, of which one must be allowed; none for y itself.
        h, slope: of y, numpy.
        inverse: of h, numpy and sympy; `sign` of y where h has lost it.
        functions: operators that the inverse is made of, in turn.
        domain: which y it is for.
    """

    name: str
    needs: tuple[str, ...]
    functions: tuple[str, ...]
    h: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    build: Callable[[sympy.Expr], sympy.Expr]
    domain: str = "any"

    def dimension(self, of_sum: Vector, constant: bool, rules: Dimensions) -> Vector | None:
        """Of y for such a sum, with a constant among its terms or not; None where it has none."""
        of: Vector | None = of_sum
        for name in self.functions:
            of = None if of is None else rules.combine(name, of)
        # exp(a + c) is written exp(c)*exp(a): the constant is a factor.
        if of is not None and constant and self.functions == ("exp",):
            return rules.combine("*", rules.of_constant, of)
        return of

    @property
    def is_of_any_size(self) -> bool:
        """Whether y may be measured by any unit: a factor of y is one of the sum, or moves it."""
        return not set(self.functions) - {"inv", "sqrt", "square", "exp"}

    @property
    def loses_sign(self) -> bool:
        return self.domain.startswith("signed")

    def applies(self, y: Array, operators: OperatorSet) -> bool:
        if self.needs and not any(name in operators for name in self.needs):
            return False
        with np.errstate(all="ignore"):
            h, slope = self.h(y), self.slope(y)
        return bool(_DOMAINS[self.domain](y) and np.isfinite(h).all() and np.isfinite(slope).all())


def _has_sign(y: Array) -> bool:
    return bool((y >= 0).all() or (y <= 0).all())


_DOMAINS: dict[str, Callable[[Array], bool]] = {
    "any": lambda y: True,
    "nonzero": lambda y: bool((y != 0).all()),
    "signed": _has_sign,
    "signed nonzero": lambda y: _has_sign(y) and bool((y != 0).all()),
    "positive": lambda y: bool((y > 0).all()),
    "turn": lambda y: bool((np.abs(y) <= np.pi / 2).all()),
    "small": lambda y: bool((np.abs(y) < 300).all()),
    "within one": lambda y: bool((np.abs(y) < 1).all()),
}

TRANSFORMS = (
    Transform("y", (), (), lambda y: y, np.ones_like, lambda h: h, lambda h: h),
    Transform(
        "1/y",
        ("/", "inv"),
        ("inv",),
        lambda y: 1 / y,
        lambda y: 1 / y**2,
        lambda h: 1 / h,
        lambda h: 1 / h,
        "nonzero",
    ),
    Transform(
        "y**2",
        ("sqrt",),
        ("sqrt",),
        np.square,
        lambda y: 2 * np.abs(y),
        lambda h: np.sqrt(np.maximum(h, 0)),
        sympy.sqrt,
        "signed",
    ),
    Transform(
        "1/y**2",
        ("sqrt",),
        ("sqrt", "inv"),
        lambda y: y**-2.0,
        lambda y: 2 * np.abs(y) ** -3.0,
        lambda h: 1 / np.sqrt(np.maximum(h, 0)),
        lambda h: 1 / sympy.sqrt(h),
        "signed nonzero",
    ),
    Transform(
        "sqrt y",
        ("square", "*"),
        ("square",),
        lambda y: np.sqrt(np.abs(y)),
        lambda y: 0.5 / np.sqrt(np.maximum(np.abs(y), 1e-12)),
        np.square,
        lambda h: h**2,
        "signed",
    ),
    Transform("log y", ("exp",), ("exp",), np.log, lambda y: 1 / y, np.exp, sympy.exp, "positive"),
    Transform("exp y", ("log",), ("log",), np.exp, np.exp, np.log, sympy.log, "small"),
    Transform("sin y", ("asin",), ("asin",), np.sin, np.cos, np.arcsin, sympy.asin, "turn"),
    Transform(
        "atanh y",
        ("tanh",),
        ("tanh",),
        np.arctanh,
        lambda y: 1 / (1 - y * y),
        np.tanh,
        sympy.tanh,
        "within one",
    ),
    Transform(
        "tan y",
        ("atan",),
        ("atan",),
        np.tan,
        lambda y: 1 / np.cos(y) ** 2,
        np.arctan,
        sympy.atan,
        "turn",
    ),
)


def applicable(y: Array, operators: OperatorSet) -> Iterator[tuple[Transform, float, Array, Array]]:
    """Each transform for such outputs with their sign, and of the output without it h [n_samples]
    and the weight of its errors [n_samples]."""
    for transform in TRANSFORMS:
        if transform.applies(y, operators):
            lost = transform.loses_sign and bool((y < 0).any())
            with np.errstate(all="ignore"):
                slope = np.abs(transform.slope(y))
                h = transform.h(y)
            yield transform, -1.0 if lost else 1.0, h, 1.0 / np.clip(slope, 1 / _STEEP, _STEEP)
