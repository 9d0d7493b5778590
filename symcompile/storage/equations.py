"""Equations in files: one form in all of them, and what is said of one must be true of it.

A program is what a reader evaluates. Texts are for people; one that does not say what the program
computes was edited, and is refused.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import sympy

from symcompile.errors import ArtifactError, ExpressionError, SymCompileError, one_line
from symcompile.expressions import slots
from symcompile.expressions.complexity import complexity as count_complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import PRINTED_NAMES, parse
from symcompile.expressions.program import Program, count_operators, from_sympy, to_sympy
from symcompile.expressions.size_limits import check_equation, check_program
from symcompile.fidelity.outcome import Agreement, OutputFidelity
from symcompile.regression.losses import Loss
from symcompile.regression.structure.statement import MOST, Statement
from symcompile.storage.codecs import (
    COUNT,
    ERROR,
    FINITE,
    FLAG,
    LINE,
    NAME,
    NUMBER,
    Codec,
    by_name,
    inside,
    integer,
    many,
    number,
    shared,
    unique,
    without_nan,
    wrong,
)
from symcompile.storage.reading import MisfitError, placed

DIGITS = 6  # significant ones of the constants in texts for people
MAX_CONSTANTS = 10_000
MAX_RIVALS = 100
# Of all equations of a file together, in steps of `limits.check_program`.
MAX_WORK = 200_000
# How far two roundings of a constant to DIGITS may lie apart.
ROUNDING = 1e-5
# Of the largest value that an equation gives on its probes.
PROBE_TOLERANCE = 1e-9

_WORD = re.compile(r"(?<![\w.])[^\W\d]\w*")
_TWO_WAYS = {"E", "exp", "sqrt", "Piecewise", "True"}
_SLOT = re.compile(r"c\[(\d+)\]")


# --- how well it does ----------------------------------------------------------------------------

AGREEMENT = shared(Agreement, r2=number(high=1.0), relative_l2=ERROR, max_error=ERROR)

FIDELITY = shared(
    OutputFidelity,
    equation=inside(AGREEMENT),
    gradient=inside(ERROR, "gradient_relative_l2"),
    extrapolation=AGREEMENT,
    mean=inside(AGREEMENT, "controls", "mean"),
    linear=inside(AGREEMENT, "controls", "linear"),
)


def _read_loss(data: Any) -> Loss:
    if type(data) is not dict:
        raise wrong(data, "a loss")
    return Loss.from_json(data)


LOSS = Codec(Loss.to_json, _read_loss)

# Of an output's structure, in words: nobody reads them but people.
FINDINGS = many(
    shared(
        Statement,
        text=NAME,
        form=NAME,
        before=ERROR,
        after=ERROR,
        certain=FLAG,
        law=ERROR,
        asked=ERROR,
    ),
    MOST,
)


# --- an equation ---------------------------------------------------------------------------------

_AS_IT_IS = Codec(lambda value: value, lambda data: data)


@dataclass(frozen=True)
class Rival:
    """An equation that the samples could not tell from the one that was chosen, for people: its
    text, and the odds that stand against it."""

    equation: Annotated[str, LINE]
    odds: Annotated[float, ERROR]


@dataclass(frozen=True)
class EquationRow:
    """An equation as files have it; what people read of it is None where none is shown."""

    equation: Annotated[str | None, LINE] = None
    form: Annotated[str | None, LINE] = None
    latex: Annotated[str | None, LINE] = None
    constants: Annotated[Mapping[str, float], by_name(FINITE, limit=MAX_CONSTANTS)] = field(
        default_factory=dict
    )
    variables: Annotated[tuple[str, ...], many(NAME)] = ()
    complexity: Annotated[int | None, integer(1)] = None
    operators: Annotated[int | None, COUNT] = None
    loss: Annotated[float, NUMBER] = math.nan
    holdout_loss: Annotated[float, NUMBER] = math.nan
    holdout_mse: Annotated[float | None, NUMBER] = None
    loss_is: Annotated[Loss | None, LOSS] = None
    fidelity: Annotated[OutputFidelity | None, FIDELITY] = None
    findings: Annotated[tuple[Statement, ...] | None, FINDINGS] = None
    undecided: Annotated[tuple[Rival, ...] | None, many(shared(Rival), MAX_RIVALS)] = None
    program: Annotated[Any, _AS_IT_IS] = None

    @classmethod
    def of(cls, equation: Equation, /, **more: Any) -> EquationRow:
        """What is computed; `more` are further fields."""
        return cls(
            constants={f"c[{k}]": float(value) for k, value in enumerate(equation.constants)},
            variables=equation.symbols,
            complexity=equation.complexity,
            loss=equation.loss,
            holdout_loss=equation.holdout_loss,
            program=equation.program.to_json(),
            **more,
        )

    @classmethod
    def for_people(cls, equation: Equation, /, **more: Any) -> EquationRow:
        """The same with its texts."""
        return cls.of(
            equation,
            equation=equation.text(DIGITS),
            form=equation.form_text,
            operators=count_operators(equation.program),
            **more,
        )

    def stored(self) -> dict[str, Any]:
        """As `Equation.from_json` takes it.

        Raises ArtifactError for an equation that is none, or takes too long to build.
        """
        unique(self.variables)
        expected = [f"c[{k}]" for k in range(len(self.constants))]
        if set(expected) != set(self.constants):
            raise placed("constants", MisfitError(f"does not name c[0] to c[{len(expected) - 1}]"))
        losses = {key: getattr(self, key) for key in ("loss", "holdout_loss", "holdout_mse")}
        data = {
            "program": self.program,
            "symbols": list(self.variables),
            "constants": [self.constants[slot] for slot in expected],
            "complexity": self.complexity,
            **{key: without_nan(loss) for key, loss in losses.items()},
        }
        try:
            check_equation(data)
        except ExpressionError as error:
            raise ArtifactError(str(error)) from error
        return data

    def checked(self) -> Equation:
        """The equation, built from its program; what is said of it must be true of it.

        Raises ArtifactError naming what is true of another equation only.
        """
        try:
            equation = Equation.from_json(self.stored())
        except ExpressionError as error:
            raise ArtifactError(str(error)) from error
        _check_texts(self, equation)
        if self.operators not in (None, self.count):
            raise edited(f"its operators are {self.operators}", f"its program has {self.count}")
        return equation

    @property
    def count(self) -> int:
        """How many operators the program has as it is stored: sympy may write it otherwise."""
        return count_operators(Program.from_json(self.program))

    def unbuilt(self) -> Equation:
        """The same without its form, which takes most of the time to build."""
        data = self.stored()
        losses = (self.loss, self.holdout_loss)
        return Equation(
            sympy.S.Zero, self.variables, tuple(data["constants"]), data["complexity"], *losses
        )


EQUATION_ROW = shared(EquationRow)


# --- what is said of it --------------------------------------------------------------------------


def edited(said: str, expected: str) -> MisfitError:
    short = [one_line(text, 300) for text in (said, expected)]
    return MisfitError(f"was edited: {short[0]}, {short[1]}")


def _check_texts(row: EquationRow, equation: Equation) -> None:
    """Raise MisfitError if text or form do not say what the program computes; the form has c[0],
    c[1], ... in the places of the constants."""
    prefix = "slot"
    while any(symbol.startswith(prefix) for symbol in equation.symbols):
        prefix += "_"
    names = (*equation.symbols, *(f"{prefix}{k}" for k in range(len(equation.constants))))
    for what, text in (("text", row.equation), ("form", row.form)):
        if text is None:  # on fronts: printing what nobody compares would take most of a load
            continue
        expected = equation.text(DIGITS) if what == "text" else equation.form_text
        if text != expected:
            theirs, ours = (_SLOT.sub(rf"{prefix}\1", spelled) for spelled in (text, expected))
            if not _says(theirs, ours, names):
                raise edited(f"its {what} says {text}", f"its program computes {expected}")


def check_complexity(row: EquationRow, equation: Equation, engine: Any) -> None:
    """Where the form is spelled as it was when its complexity was counted.

    `engine` is what the engine of the search said of itself, as far as it is known.
    """
    if row.form != equation.form_text or type(engine) is not dict:
        return
    if type(engine.get("operators")) is not dict:
        return
    try:
        operators = OperatorSet.described(engine)
    except SymCompileError:  # of an engine with operators of its own
        return
    if operators.custom:  # counted with operators that the program has written out
        return
    counted = count_complexity(equation.form, operators)
    if counted != equation.complexity:
        raise edited(f"its complexity is {equation.complexity}", f"its program has {counted}")


def check_probes(stored: Sequence[float], equation: Equation, variables: Array) -> None:
    """Raise MisfitError if stored values are not what an equation gives there.

    `variables` is [n_probes, n_variables]; a value that is not finite is stored as null.
    """
    values = equation.predict(variables)
    values = np.where(np.isfinite(values), values, np.nan)
    probed = np.array(stored, dtype=np.float64)
    if probed.shape != values.shape:
        raise MisfitError(f"has {len(probed)} values, expected {len(values)}")
    scale = np.nanmax(np.abs(values), initial=0.0, where=~np.isnan(values))
    same = np.abs(probed - values) <= PROBE_TOLERANCE * scale
    others = np.flatnonzero(~(same | (np.isnan(probed) & np.isnan(values))))
    if len(others):
        k = others[0]
        raise edited(f"value {k} is {probed[k]:.6g}", f"its program computes {values[k]:.6g}")


def check_work(programs: Iterable[tuple[str, Any]]) -> None:
    """Raise ArtifactError if the programs in a file, each with its place, would take too long to
    build."""
    left = MAX_WORK
    for place, data in programs:
        try:
            left -= check_program(Program.from_json(data))
        except SymCompileError as error:
            raise placed(place, error) from error
        if left < 0:
            raise ArtifactError(f"its equations take more than {MAX_WORK} steps to build")


def _says(text: str, expected: str, symbols: Sequence[str]) -> bool:
    """Whether two texts are the same expression, however each is spelled.

    By structure: on sample points, a term that is hidden from them all would go unseen. A text with
    other words is another one; so it is no harder to read than the expected one.
    """
    other_words = "ITE(" not in text and _words(text) != _words(expected)
    if other_words or len(text) > 4 * len(expected) + 1_000:
        return False
    try:
        ours, theirs = (_normal(said, symbols) for said in (expected, text))
    except SymCompileError:
        return False
    return ours == theirs or _same_but_rounding(ours, theirs)


def _words(text: str) -> Counter[str]:
    """Names and functions of a text, but for those that may be printed in two ways."""
    return Counter(word for word in _WORD.findall(text) if word not in _TWO_WAYS)


def _normal(text: str, symbols: Sequence[str]) -> sympy.Expr:
    """The expression as it comes out of a program, which stores no nested Piecewise, say."""
    expr = parse(text, symbols, names=PRINTED_NAMES)
    return to_sympy(from_sympy([expr], symbols, 0), symbols)[0]


def _same_but_rounding(ours: sympy.Expr, theirs: sympy.Expr) -> bool:
    (form, constants), (other, others) = slots.extract(ours), slots.extract(theirs)
    return form == other and all(
        math.isclose(a, b, rel_tol=ROUNDING) for a, b in zip(constants, others, strict=True)
    )
