"""Claim: what a finding and all before it say of an output, as expressions of its inputs.

`output = a*t + ... + factor * G(variables)` for some numbers a and some function G. Whoever can be
asked for outputs can be asked whether that is so: inputs are moved so that the variables stay, see
`moves`, and then the claim tells the one output from the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy

from symcompile.errors import ExpressionError, shown
from symcompile.expressions.evaluation import Array, evaluate
from symcompile.expressions.program import Program, from_sympy, to_sympy
from symcompile.expressions.size_limits import check_program
from symcompile.regression.structure.findings import Finding
from symcompile.regression.structure.problem import Problem

KINDS = ("irrelevant", "factor", "term", "group", "scaling")
# What a stored claim may hold of each, and inputs.
_MOST = 50
# Moved outputs say nothing where there are fewer.
FEWEST = 20
# Share of the spread of an output that is rounding.
EXACT = 1e-6


@dataclass(frozen=True)
class Claim:
    """Of the inputs `names`.

    Attributes:
        kind: of the last finding, see `questions`.
        subject: what it is about: the input, factor or term; of a group and a scaling the
            variables that fewer have taken the place of.
        factor, terms, variables: see above.
        coefficients: a number for each term, as fitted; none where nobody was asked for them.
    """

    names: tuple[str, ...]
    kind: str
    subject: tuple[sympy.Expr, ...]
    factor: sympy.Expr
    terms: tuple[sympy.Expr, ...]
    variables: tuple[sympy.Expr, ...]
    coefficients: tuple[float, ...] = ()

    @classmethod
    def of(cls, finding: Finding, before: Problem, names: Sequence[str]) -> Claim:
        """Of a finding on what those before it have left."""
        hypothesis, left = finding.hypothesis, finding.hypothesis.reduced
        variables = tuple(variable.expr for variable in left.variables)
        subject = tuple(variable.expr for variable in hypothesis.subject)
        if hypothesis.kind in ("group", "scaling"):
            taken = (variable.expr for variable in before.variables)
            subject = tuple(expr for expr in taken if expr not in variables)
        terms = [term.as_coeff_Mul()[1] for term in sympy.Add.make_args(left.offset)]
        found = tuple(term for term in terms if term.free_symbols)
        return cls(tuple(names), hypothesis.kind, subject, left.factor, found, variables)

    def rescaled(self, powers: Sequence[int]) -> Claim:
        """Of inputs without these powers of two."""
        scales = {
            sympy.Symbol(name): sympy.Float(2.0) ** power * sympy.Symbol(name)
            for name, power in zip(self.names, powers, strict=True)
            if power
        }

        def scaled(*exprs: sympy.Expr) -> tuple[sympy.Expr, ...]:
            return tuple(expr.xreplace(scales).as_coeff_Mul()[1] for expr in exprs)

        factor = scaled(self.factor)[0] if self.factor.free_symbols else self.factor
        parts = scaled(*self.subject), factor, scaled(*self.terms), scaled(*self.variables)
        return replace(self, subject=parts[0], factor=parts[1], terms=parts[2], variables=parts[3])

    @cached_property
    def program(self) -> Program:
        """Factor, terms, variables and subject, one after the other."""
        parts = [self.factor, *self.terms, *self.variables, *self.subject]
        return from_sympy(parts, self.names, 0)

    def values(self, X: Array) -> tuple[Array, Array, Array]:
        """Factor [n], terms [n, n_terms] and variables [n, n_variables] on X [n, n_inputs]."""
        with np.errstate(all="ignore"):
            values = evaluate(self.program, X, ())
        end = 1 + len(self.terms)
        return values[:, 0], values[:, 1:end], values[:, end : end + len(self.variables)]

    def judged(
        self, X: Array, y: Array, moved: Array, y_moved: Array, spread: float
    ) -> tuple[Claim, float] | None:
        """The claim with its coefficients, and by how much outputs break it: root mean square as a
        share of their spread.

        Args:
            X, moved: inputs [n, n_inputs], between which no variable changes.
            y, y_moved: outputs there [n].

        None where too few of them are numbers.
        """
        factor, terms, _ = self.values(X)
        moved_factor, moved_terms, _ = self.values(moved)
        with np.errstate(all="ignore"):
            share = moved_factor / factor
            # The same whichever of two inputs is called the moved one.
            size = 1.0 / np.maximum(np.abs(share), 1.0)
            change = (y_moved - share * y) * size
            basis = (moved_terms - share[:, None] * terms) * size[:, None]
        usable = np.isfinite(change) & np.isfinite(basis).all(axis=1)
        if usable.sum() < FEWEST or not spread > 0:
            return None
        change, basis = change[usable], basis[usable]
        coefficients = np.linalg.lstsq(basis, change, rcond=None)[0]
        breach = float(np.sqrt(np.mean(np.square(change - basis @ coefficients)))) / spread
        sizes = np.abs(coefficients) * terms[usable].std(axis=0) / spread
        return self.fitted(coefficients.tolist(), sizes.tolist()), breach

    def fitted(self, coefficients: Sequence[float], sizes: Sequence[float]) -> Claim:
        """With a coefficient for each term; without those whose terms are next to nothing."""
        rows = zip(self.terms, coefficients, sizes, strict=True)
        kept = [(term, coefficient) for term, coefficient, size in rows if size > EXACT]
        found = replace(
            self,
            terms=tuple(term for term, _ in kept),
            coefficients=tuple(coefficient for _, coefficient in kept),
        )
        own = self.own if self.kind == "term" else None
        gone = own is not None and own not in found.terms
        return replace(found, kind="irrelevant") if gone else found

    @property
    def own(self) -> sympy.Expr | None:
        """Of a term the way it stands among the terms; None where it was put together with
        others."""
        whole = self.factor * self.subject[0]
        alike = (term for term in self.terms if sympy.cancel(term / whole).is_number)
        return next(alike, None)

    # --- stored ------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "kind": self.kind,
            "counts": [len(self.terms), len(self.variables), len(self.subject)],
            "program": self.program.to_json(),
        }

    @classmethod
    def from_json(cls, data: Any) -> Claim:
        """Read `to_json` back; ExpressionError, TypeError, KeyError or ValueError if it is
        damaged."""
        names, kind, counts = data["names"], data["kind"], data["counts"]
        sound = type(names) is list and len(names) <= _MOST
        if not sound or not all(type(n) is str and n.isidentifier() for n in names):
            raise ExpressionError(f"the inputs of a claim are {shown(names)}")
        if kind not in KINDS:
            raise ExpressionError(f"a claim is {shown(kind)}, expected one of {', '.join(KINDS)}")
        if (
            type(counts) is not list
            or len(counts) != 3
            or not all(type(count) is int and 0 <= count <= _MOST for count in counts)
        ):
            raise ExpressionError(f"the parts of a claim are {shown(counts)}")
        terms, variables, _ = counts
        program = Program.from_json(data["program"])
        if len(program.outputs) != 1 + sum(counts) or len(set(names)) < len(names):
            raise ExpressionError(f"a claim of {shown(counts)} parts does not fit its program")
        check_program(program)
        exprs = to_sympy(program, names)
        ends = 1 + terms, 1 + terms + variables
        parts = exprs[1 : ends[0]], exprs[ends[0] : ends[1]], exprs[ends[1] :]
        return cls(tuple(names), kind, tuple(parts[2]), exprs[0], tuple(parts[0]), tuple(parts[1]))
