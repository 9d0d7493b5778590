"""An equation: a closed form over named inputs, its constants, what it costs and how it fits."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy
from sympy import Expr

from symcompile.errors import ExpressionError
from symcompile.expressions import slots
from symcompile.expressions.canonical import Algebra
from symcompile.expressions.complexity import complexity
from symcompile.expressions.custom import written_out
from symcompile.expressions.evaluation import Array, evaluate
from symcompile.expressions.fold import in_our_heads
from symcompile.expressions.light_code import as_expression, program
from symcompile.expressions.light_code import from_sympy as light_tree
from symcompile.expressions.light_tree import LightTree
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.printing import as_latex, as_python, as_text
from symcompile.expressions.program import Program, from_sympy, to_sympy
from symcompile.expressions.recognition import recognized

# Where an equation that was made of a tree keeps its sympy form, once it was asked for.
_SHOWN = "_shown_form"


class _Form:
    """The form of an equation: of one that was made of a light tree, built when it is asked for.

    The tree stays: who looks at an equation, such as an executor that names tasks by their
    arguments, must not change what is made of it.
    """

    def __get__(self, equation: Equation | None, owner: type) -> Any:
        if equation is None:
            return self
        held = equation.__dict__["form"]
        if not isinstance(held, LightTree):
            return held
        if _SHOWN not in equation.__dict__:
            equation.__dict__[_SHOWN] = as_expression(held, equation.symbols)
        return equation.__dict__[_SHOWN]

    def __set__(self, equation: Equation, form: sympy.Expr | LightTree) -> None:
        equation.__dict__["form"] = form


@dataclass(frozen=True)
class Equation:
    """A closed form of one output.

    Attributes:
        form: sympy expression over `symbols`, with `c[0]`, `c[1]`, ... where fitted constants sit.
            Exact numbers (2, 1/3, pi) are part of the form.
        symbols: names of the inputs, one for each column of X.
        constants: value of each slot, float64.
        complexity: nodes, weighed by operator, as PySR counts them.
        loss: mean loss on the samples it was fitted to, in squared units of the output: the squared
            error, or under a robust loss (see `ParetoFront.loss`) less than that.
        holdout_loss: the same on held-out samples; NaN until it was measured.
        holdout_mse: mean squared error on held-out samples, whatever it was fitted by; NaN until it
            was measured.
    """

    form: sympy.Expr
    symbols: tuple[str, ...]
    constants: tuple[float, ...]
    complexity: int
    loss: float = math.nan
    holdout_loss: float = math.nan
    holdout_mse: float = math.nan

    @classmethod
    def of(
        cls,
        expr: sympy.Expr,
        symbols: Sequence[str],
        operators: OperatorSet,
        loss: float = math.nan,
        holdout_loss: float = math.nan,
    ) -> Equation:
        """From an expression with its numbers written in: each float becomes a slot.

        Raises ExpressionError if it uses a symbol that is not among `symbols`, or is no sympy
        expression and no number: text is never evaluated.
        """
        form, constants = slots.extract(in_our_heads(slots.as_sympy(expr)))
        unknown = sorted(
            s.name
            for s in form.free_symbols
            if slots.slot_index(s) is None and s.name not in symbols
        )
        if unknown:
            raise ExpressionError(
                f"{expr} uses {', '.join(unknown)}: the inputs are {', '.join(symbols)}"
            )
        slots.fill(written_out(form), constants)  # what can't be shown is refused here
        cost = complexity(recognized(form, operators, constants), operators)
        return cls(form, tuple(symbols), constants, cost, loss, holdout_loss)

    @classmethod
    def of_tree(
        cls,
        tree: LightTree,
        symbols: Sequence[str],
        constants: Sequence[float],
        operators: OperatorSet,
        loss: float = math.nan,
    ) -> Equation:
        """From a light tree over the columns of X, with slots 0, 1, ... for the constants, in its
        canonical form.

        No sympy expression is made before its `form` is asked for: searches make thousands of
        equations, and show ten. `updated` keeps it so, `dataclasses.replace` does not.

        Raises what `canonical.UNUSABLE` lists for a tree that makes no sense.
        """
        form, values = Algebra(constants, operators, symbols).form(tree)
        return cls.of_canonical(form, symbols, values, operators, loss)

    @classmethod
    def of_canonical(
        cls,
        form: LightTree,
        symbols: Sequence[str],
        constants: Sequence[float],
        operators: OperatorSet,
        loss: float = math.nan,
    ) -> Equation:
        """The same from what `Algebra.form` gave."""
        cost = complexity(form, operators, symbols)
        return cls(form, tuple(symbols), tuple(constants), cost, loss)

    @property
    def is_canonical(self) -> bool:
        """Whether it is known to be: it was made of a tree."""
        return isinstance(self.__dict__["form"], LightTree)

    @property
    def tree(self) -> tuple[LightTree, tuple[float, ...]]:
        """The form as a light tree, and its constants: also those that are floats in the form."""
        held = self.__dict__["form"]
        if isinstance(held, LightTree):
            return held, self.constants
        constants = list(self.constants)
        tree = light_tree(held, self.symbols, constants)
        return tree, tuple(constants)

    def updated(self, **known: Any) -> Equation:
        """The same form with other constants, losses or complexity."""
        other = object.__new__(type(self))
        kept = {name: self.__dict__[name] for name in _KEPT if name in self.__dict__}
        other.__dict__.update(kept | known)
        return other

    @cached_property
    def sympy(self) -> sympy.Expr:
        """The expression with its constants written in."""
        return slots.fill(written_out(self.form), self.constants)

    @cached_property
    def program(self) -> Program:
        """The flat form that evaluation, lowering and storage use."""
        held = self.__dict__["form"]
        if isinstance(held, LightTree):
            return program(held, len(self.symbols), len(self.constants))
        return from_sympy([self.form], self.symbols, len(self.constants))

    @property
    def uses(self) -> frozenset[str]:
        """Names of the inputs that it depends on; empty for a constant."""
        return frozenset(s.name for s in self.form.free_symbols) & frozenset(self.symbols)

    def latex(self, digits: int = 4) -> str:
        """LaTeX, constants rounded to `digits` significant digits."""
        return as_latex(self.rounded(digits), self.symbols)

    def text(self, digits: int = 4) -> str:
        """One line for people, constants rounded to `digits` significant digits."""
        if digits not in self._texts:
            self._texts[digits] = as_text(self.rounded(digits), self.symbols)
        return self._texts[digits]

    @cached_property
    def _texts(self) -> dict[int, str]:
        """Texts by their digits: sympy takes milliseconds for each, and a comparison asks often."""
        return {}

    def rounded(self, digits: int) -> Expr:
        """The expression with its floating-point numbers at so many significant digits."""
        expr = self.sympy
        return expr.xreplace(
            {
                number: sympy.Float(f"{float(number):.{digits}g}", digits)
                for number in expr.atoms(sympy.Float)
            }
        )

    def to_python(self, name: str = "equation") -> str:
        """Source of a plain Python function of the inputs, in their order, which needs only
        `import math`. An input that is called as something of Python's gets an underscore."""
        return as_python(self.sympy, self.symbols, name)

    def predict(self, X: Array) -> Array:
        """Values [n_samples] in float64 for X [n_samples, n_inputs]."""
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != len(self.symbols):
            raise ExpressionError(
                f"X has shape {list(X.shape)}: expected [n_samples, {len(self.symbols)}]"
            )
        return evaluate(self.program, X, self.constants)[:, 0]

    def with_constants(self, constants: Sequence[float]) -> Equation:
        """The same form with other constants; its losses are unknown then."""
        values = tuple(float(value) for value in constants)
        if len(values) != len(self.constants):
            raise ExpressionError(
                f"{len(values)} constants given, the form has {len(self.constants)}"
            )
        unknown = math.nan
        return replace(
            self, constants=values, loss=unknown, holdout_loss=unknown, holdout_mse=unknown
        )

    def with_form(self, form: Expr, constants: Sequence[float], operators: OperatorSet) -> Equation:
        """Another form in slots in the place of its own; what is known of losses stays."""
        cost = complexity(form, operators)
        return replace(self, form=form, constants=tuple(constants), complexity=cost)

    def written_out(self) -> Equation:
        """The same with the definitions of operators of the user's own in the place of their uses;
        its complexity is that which was counted with them."""
        form = written_out(self.form)
        return self if form is self.form else replace(self, form=form)

    def with_exact_exponents(self) -> Equation:
        """The same function; constants that are whole exponents, as earlier versions have stored
        them, become part of the form. The others keep their slots."""
        form = slots.exact_exponents(self.form, self.constants)
        return self if form is self.form else replace(self, form=form)

    def to_json(self, *, text: bool = True) -> dict[str, Any]:
        """Plain data. The text is for people: never read back, and what takes longest to make."""
        return {
            **({"text": self.text(6)} if text else {}),
            "symbols": list(self.symbols),
            "constants": list(self.constants),
            "complexity": self.complexity,
            "loss": _finite(self.loss),
            "holdout_loss": _finite(self.holdout_loss),
            "holdout_mse": _finite(self.holdout_mse),
            "program": self.program.to_json(),
        }

    @classmethod
    def from_json(cls, data: Any) -> Equation:
        """Read `to_json` back; ExpressionError if it is not a valid equation."""
        try:
            symbols = tuple(str(name) for name in data["symbols"])
            constants = tuple(float(value) for value in data["constants"])
            losses = [_number(data[key]) for key in ("loss", "holdout_loss")]
            losses.append(_number(data.get("holdout_mse")))  # files from before have none
            cost, program = int(data["complexity"]), Program.from_json(data["program"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExpressionError(f"not a stored equation: {error}") from error
        if (program.n_inputs, program.n_slots) != (len(symbols), len(constants)):
            raise ExpressionError("stored equation: inputs or constants do not fit its program")
        return cls(to_sympy(program, symbols)[0], symbols, constants, cost, *losses)

    def __dask_tokenize__(self) -> bytes:
        """What Dask names tasks by: on its own it would have the sympy form of each equation built,
        and look at every node."""
        return pickle.dumps([self.__dict__[field.name] for field in fields(self)])

    @property
    def form_text(self) -> str:
        """The form on one line, with c[0], c[1], ... in the places of the constants."""
        return as_text(written_out(self.form), self.symbols)

    def __str__(self) -> str:
        return self.text()


Equation.form = _Form()
# What `updated` keeps: fields, and what does not depend on the numbers.
_KEPT = (*(field.name for field in fields(Equation)), _SHOWN, "program")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
