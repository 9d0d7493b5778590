"""Values of a file that anyone may have written: each is checked before it is used.

Every accessor gets the value and `where` it stands, which the message of its ArtifactError begins
with. Messages are one line without control characters, whatever the file holds.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from symcompile.diff.snapshot import DIGITS, NOT_MEASURED, Accuracy, Output, Span
from symcompile.errors import ArtifactError, SymCompileError, one_line
from symcompile.errors import shown as shown
from symcompile.expressions import slots
from symcompile.expressions.complexity import complexity as count_complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.limits import check_equation, check_program
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import PRINTED_NAMES, parse
from symcompile.expressions.program import Program, count_operators, from_sympy, to_sympy

MAX_TEXT = 100_000
MAX_NAME = 1_000
MAX_ITEMS = 200_000
MAX_CONSTANTS = 10_000
# Of all equations of a file together, in steps of `limits.check_program`.
MAX_WORK = 200_000
# How far two roundings of a constant to DIGITS may lie apart.
ROUNDING = 1e-5
# Of the largest value that an equation gives on its probes.
PROBE_TOLERANCE = 1e-9

_WORD = re.compile(r"(?<![\w.])[^\W\d]\w*")
_TWO_WAYS = {"E", "exp", "sqrt", "Piecewise", "True"}
_SLOT = re.compile(r"c\[(\d+)\]")


# --- messages --------------------------------------------------------------------------------


def wrong(where: str, data: Any, expected: str) -> ArtifactError:
    """The error for a value that is not what stands there in a file of ours."""
    return ArtifactError(f"{where} is {shown(data)}, expected {expected}")


def printable(value: str, limit: int = MAX_NAME) -> str:
    """One line, and never longer than a name may be if nothing else is said."""
    return one_line(value, limit)


# --- plain values ----------------------------------------------------------------------------


def text(data: Any, where: str, limit: int = MAX_TEXT) -> str:
    """Text of bounded length without control characters."""
    if type(data) is not str:
        raise wrong(where, data, "text")
    if len(data) > limit:
        raise ArtifactError(f"{where} is a text of {len(data)} characters, at most {limit}")
    return printable(data, limit)


def name(data: Any, where: str) -> str:
    """A name that is not empty."""
    found = text(data, where, MAX_NAME)
    if not found:
        raise wrong(where, data, "a name")
    return found


def number(data: Any, where: str) -> float | None:
    """A finite number, or None for null."""
    return None if data is None else finite(data, where)


def finite(data: Any, where: str) -> float:
    """A number that is finite in float64."""
    try:
        found = float(data) if type(data) in (int, float) else math.nan
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise wrong(where, data, "a finite number")
    return found


def whole(data: Any, where: str, low: int = 0, high: int = 2**63 - 1) -> int:
    """A whole number from `low` to `high`."""
    if type(data) is not int or not low <= data <= high:
        raise wrong(where, data, f"a whole number from {low}")
    return data


def maybe_whole(data: Any, where: str) -> int | None:
    return None if data is None else whole(data, where)


def maybe_text(data: Any, where: str) -> str | None:
    return None if data is None else text(data, where)


def mapping(data: Any, where: str, limit: int = MAX_ITEMS) -> dict[str, Any]:
    """An object of bounded size; its keys are to be checked by `name` where they are shown."""
    if type(data) is not dict:
        raise wrong(where, data, "an object")
    if len(data) > limit:
        raise ArtifactError(f"{where} has {len(data)} entries, at most {limit}")
    return data


def listed(data: Any, where: str, limit: int = MAX_ITEMS) -> list[Any]:
    """A list of bounded length."""
    if type(data) is not list:
        raise wrong(where, data, "a list")
    if len(data) > limit:
        raise ArtifactError(f"{where} has {len(data)} entries, at most {limit}")
    return data


def names(data: Any, where: str) -> tuple[str, ...]:
    return tuple(name(one, f"{where}[{k}]") for k, one in enumerate(listed(data, where)))


def span(data: Any, where: str) -> Span | None:
    """Lowest and highest value, or None where they are not known."""
    ends = [None] if data is None else listed(data, where, 2)
    if ends in ([None], [None, None]):
        return None
    if len(ends) != 2:
        raise wrong(where, data, "the lowest and the highest value")
    return finite(ends[0], where), finite(ends[1], where)


def matrix(data: Any, where: str, columns: int) -> Array:
    """Rows of numbers, [n, columns] in float64; null is NaN."""
    rows = listed(data, where)
    for k, row in enumerate(rows):
        if len(listed(row, f"{where}[{k}]")) != columns:
            raise ArtifactError(f"{where}[{k}] has {len(row)} values, expected {columns}")
    values = [vector(row, f"{where}[{k}]") for k, row in enumerate(rows)]
    return np.array(values, dtype=np.float64).reshape(len(rows), columns)


def vector(data: Any, where: str) -> list[float]:
    """Numbers, NaN for null."""
    found = (number(one, f"{where}[{k}]") for k, one in enumerate(listed(data, where)))
    return [math.nan if one is None else one for one in found]


def plain(data: Any, where: str, depth: int = 8) -> Any:
    """Data of any form, such as provenance: texts made printable, keys sorted."""
    if depth == 0:
        raise ArtifactError(f"{where} is nested too deeply")
    if type(data) is dict:
        return {
            name(key, where): plain(item, f"{where}[{shown(key)}]", depth - 1)
            for key, item in sorted(mapping(data, where).items())
        }
    if type(data) is list:
        return [plain(item, where, depth - 1) for item in listed(data, where)]
    return text(data, where) if type(data) is str else data


def unique(found: Sequence[str], where: str) -> None:
    """ArtifactError naming the first name that stands twice."""
    if len(set(found)) != len(found):
        twice = Counter(found).most_common(1)[0][0]
        raise ArtifactError(f"{where} names {shown(twice)} twice")


# --- equations -------------------------------------------------------------------------------


def output(
    where: str,
    *,
    program: Any,
    symbols: Any,
    constants: Any,
    complexity: Any,
    text: Any = None,
    form: Any = None,
    operators: Any = None,
    costs: Any = None,
    loss: Any = None,
    holdout_loss: Any = None,
    accuracy: Accuracy = NOT_MEASURED,
) -> Output:
    """An equation of a file, built from its program; what else is said of it must fit that.

    Args:
        program, symbols, constants, complexity, loss, holdout_loss: as `Equation.to_json` gives
            them.
        text, form: what the file shows people, or None where it shows nothing.
        operators: how many the file says there are, or None.
        costs: complexity of each operator of the search by its name, or None where that is unknown.

    Raises ArtifactError, also where something that is said is true of another equation only.
    """
    equation = _equation(where, program, symbols, constants, complexity, loss, holdout_loss)
    check_text(where, text, equation)
    check_form(where, form, equation)
    _check_complexity(where, equation, form, costs)
    count = count_operators(Program.from_json(program))  # as stored: sympy may write it otherwise
    if operators is not None and whole(operators, f"{where}: operators") != count:
        raise _edited(where, f"its operators are {operators}", f"its program has {count}")
    return Output(equation, count, accuracy)


def check_work(programs: Iterable[tuple[str, Any]]) -> None:
    """Raise ArtifactError if the programs in a file, each with its place, would take too long to
    build."""
    left = MAX_WORK
    for where, data in programs:
        try:
            left -= check_program(Program.from_json(data))
        except SymCompileError as error:
            raise ArtifactError(f"{where}: {error}") from error
        if left < 0:
            raise ArtifactError(f"its equations take more than {MAX_WORK} steps to build")


def _equation(
    where: str,
    program: Any,
    symbols: Any,
    constants: Any,
    complexity: Any,
    loss: Any,
    holdout_loss: Any,
) -> Equation:
    known = names(symbols, f"{where}: variables")
    unique(known, f"{where}: variables")
    values = listed(constants, f"{where}: constants", MAX_CONSTANTS)
    stored = {
        "program": program,
        "symbols": list(known),
        "constants": [finite(one, f"{where}: constants[{k}]") for k, one in enumerate(values)],
        "complexity": whole(complexity, f"{where}: complexity", 1),
        "loss": number(loss, f"{where}: loss"),
        "holdout_loss": number(holdout_loss, f"{where}: holdout_loss"),
    }
    try:
        check_equation(stored)
        return Equation.from_json(stored)
    except SymCompileError as error:
        raise ArtifactError(f"{where}: {error}") from error


def check_text(where: str, found: Any, equation: Equation) -> None:
    """Raise ArtifactError if an equation's text does not say what its program computes."""
    expected = equation.text(DIGITS)
    if found is None or found == expected:
        return
    shown_text = text(found, f"{where}: equation")
    if not _says(shown_text, expected, equation.symbols):
        raise _edited(where, f"its text says {shown_text}", f"its program computes {expected}")


def check_form(where: str, found: Any, equation: Equation) -> None:
    """The same for the form, which has c[0], c[1], ... in the places of the constants."""
    expected = equation.form_text
    if found is None or found == expected:
        return
    shown_form = text(found, f"{where}: form")
    prefix = "slot"
    while any(symbol.startswith(prefix) for symbol in equation.symbols):
        prefix += "_"
    theirs, ours = (_SLOT.sub(rf"{prefix}\1", one) for one in (shown_form, expected))
    known = (*equation.symbols, *(f"{prefix}{k}" for k in range(len(equation.constants))))
    if not _says(theirs, ours, known):
        raise _edited(where, f"its form says {shown_form}", f"its program computes {expected}")


def _check_complexity(where: str, equation: Equation, form: Any, costs: Any) -> None:
    """Where the form is spelled as it was when its complexity was counted."""
    if form != equation.form_text:
        return
    try:
        operators = OperatorSet.of(mapping(costs, where))
    except SymCompileError:  # not known, or of an engine with operators of its own
        return
    counted = count_complexity(equation.form, operators)
    if counted != equation.complexity:
        raise _edited(
            where, f"its complexity is {equation.complexity}", f"its program has {counted}"
        )


def check_probes(where: str, found: Any, equation: Equation, variables: Array) -> None:
    """Raise ArtifactError if stored values are not what an equation gives there.

    `variables` is [n_probes, n_variables]; a value that is not finite is stored as null.
    """
    stored = np.array(vector(found, where))
    values = equation.predict(variables)
    values = np.where(np.isfinite(values), values, np.nan)
    if stored.shape != values.shape:
        raise ArtifactError(f"{where} has {len(stored)} values, expected {len(values)}")
    scale = np.nanmax(np.abs(values), initial=0.0, where=~np.isnan(values))
    same = np.abs(stored - values) <= PROBE_TOLERANCE * scale
    wrong_ones = np.flatnonzero(~(same | (np.isnan(stored) & np.isnan(values))))
    if len(wrong_ones):
        k = wrong_ones[0]
        raise _edited(
            where, f"value {k} is {stored[k]:.6g}", f"its program computes {values[k]:.6g}"
        )


def _says(found: str, expected: str, symbols: Sequence[str]) -> bool:
    """Whether two texts are the same expression, however each is spelled.

    By structure: on sample points, a term that is hidden from them all would go unseen. A text with
    other words is another one; so it is no harder to read than the expected one.
    """
    other_words = "ITE(" not in found and _words(found) != _words(expected)
    if other_words or len(found) > 4 * len(expected) + 1_000:
        return False
    try:
        ours, theirs = (_normal(one, symbols) for one in (expected, found))
    except SymCompileError:
        return False
    return ours == theirs or _same_but_rounding(ours, theirs)


def _words(found: str) -> Counter[str]:
    """Names and functions of a text, but for those that may be printed in two ways."""
    return Counter(word for word in _WORD.findall(found) if word not in _TWO_WAYS)


def _normal(found: str, symbols: Sequence[str]) -> sympy.Expr:
    """The expression as it comes out of a program, which stores no nested Piecewise, say."""
    expr = parse(found, symbols, names=PRINTED_NAMES)
    return to_sympy(from_sympy([expr], symbols, 0), symbols)[0]


def _same_but_rounding(ours: sympy.Expr, theirs: sympy.Expr) -> bool:
    (form, constants), (other, others) = slots.extract(ours), slots.extract(theirs)
    return form == other and all(
        math.isclose(a, b, rel_tol=ROUNDING) for a, b in zip(constants, others, strict=True)
    )


def _edited(where: str, found: str, expected: str) -> ArtifactError:
    short = [one if len(one) <= 300 else one[:297] + "..." for one in (found, expected)]
    return ArtifactError(f"{where} was edited: {short[0]}, {short[1]}")


def slot_values(data: Any, where: str) -> list[Any]:
    """Constants given by "c[0]", "c[1]", ... in the order of their numbers."""
    rows: Mapping[str, Any] = mapping(data, where, MAX_CONSTANTS)
    expected = [f"c[{k}]" for k in range(len(rows))]
    if set(expected) != set(rows):
        raise ArtifactError(f"{where} does not name c[0] to c[{len(rows) - 1}]")
    return [rows[key] for key in expected]
