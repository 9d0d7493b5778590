"""Equations that are alike but for the coordinates that they are of, computed at once.

`z0*sigmoid(z64)`, `z1*sigmoid(z65)`, ... take a handful of operations on slices of all coordinates
where equation by equation they would take a handful each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby, permutations
from typing import NamedTuple

from symcompile.expressions.equation import Equation
from symcompile.expressions.program import Program
from symcompile.lowering.joint import COMMUTATIVE
from symcompile.modules.region import Region

# From so many equations on one operation for all is cheaper than one for each, columns included.
_WORTHWHILE = 4


# Programs that are longer, or of more coordinates, are not compared.
_LONGEST, _MOST_COLUMNS = 40, 4


class Form(NamedTuple):
    """What an equation computes but for the columns that it is of: the text of its program over
    placeholders, and the column of each of these."""

    text: str
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Bundle:
    """Equations of one form.

    Attributes:
        numbers: theirs, one after the other.
        program: over one placeholder for each coordinate that the form uses.
        columns: for each placeholder, its column in each equation.
    """

    numbers: tuple[int, ...]
    program: Program
    columns: tuple[tuple[int, ...], ...]


def bundles_of(region: Region, equations: Mapping[int, Equation]) -> list[Bundle]:
    """The runs of alike equations without constants of their own, as long as they pay; of
    components of a region whose coordinates are those of a projection, which lie in one tensor."""
    if region.projection_in is None or region.projection_out is None or region.target.features:
        return []
    forms = {number: form_of(equations[number].program) for number in sorted(equations)}
    bundles = []
    for run in _runs(forms):
        if len(run) >= _WORTHWHILE:
            columns = [form.columns for form in map(forms.get, run) if form is not None]
            program = _over_placeholders(equations[run[0]].program, columns[0])
            bundles.append(Bundle(run, program, tuple(zip(*columns, strict=True))))
    return bundles


def form_of(program: Program) -> Form | None:
    """The form of an equation, the same for any order of commuting arguments; None for one with
    constants, without columns, or too long to tell.

    Of all ways to number its columns the one with the first text, so that equals are found.
    """
    code = program.instructions
    columns = {instruction.value for instruction in code if instruction.op == "input"}
    if program.n_slots or not 0 < len(columns) <= _MOST_COLUMNS or len(code) > _LONGEST:
        return None
    return min(Form(_text(program, order), order) for order in permutations(sorted(columns)))


def _text(program: Program, columns: tuple[int, ...]) -> str:
    texts: list[str] = []
    for op, args, value in program.instructions:
        of = [texts[a] for a in args]
        shown = columns.index(value) if op == "input" else value
        texts.append(f"{op}[{shown!r}]({','.join(sorted(of) if op in COMMUTATIVE else of)})")
    return texts[program.outputs[0]]


def _over_placeholders(program: Program, columns: tuple[int, ...]) -> Program:
    instructions = tuple(
        instruction._replace(value=columns.index(instruction.value))
        if instruction.op == "input"
        else instruction
        for instruction in program.instructions
    )
    return replace(program, instructions=instructions, n_inputs=len(columns))


def _runs(forms: Mapping[int, Form | None]) -> Iterator[tuple[int, ...]]:
    """Numbers of equations of one form that follow each other."""
    for text, run in groupby(forms, lambda number: getattr(forms[number], "text", None)):
        if text is not None:
            yield tuple(run)
