"""Find where an equation is undefined: poles, roots and logarithms of negatives, overflow.

An equation is checked together with the features it is written in, over the raw inputs of its
region. First interval arithmetic over the recorded box tries to prove that nothing can happen, and
mostly succeeds. What it can't prove is looked for: on the recorded samples themselves, then in the
box by a seeded search. Between two samples on which a denominator has opposite signs there is a
pole, by continuity; it is narrowed down, so a jump (as of `sign`) is not taken for one.

A search that finds nothing is no proof. Of a conditional, only the branch that is taken counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array, bounds, trace
from symcompile.expressions.fold import Instruction
from symcompile.expressions.intervals import Interval, excludes_zero
from symcompile.expressions.operator import Hazard
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.printing import as_text
from symcompile.expressions.program import Program, to_sympy
from symcompile.expressions.slots import fill
from symcompile.fidelity.outcome import DomainIssue
from symcompile.modules.region import Region

# Largest finite number of the type a block computes in; float64 for every other type.
LARGEST = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": 3.4028e38}
# A denominator this small, relative to its largest value seen, is as good as zero.
VANISHES = 1e-9
_SAMPLES = 4096
_ROUNDS = 14


# Division is checked by the factors of its denominator: x**2 never changes sign, but x does.
_DIVISION = Hazard("nonzero", lambda a: a, excludes_zero, "the denominator is zero")


class _Check(NamedTuple):
    """A hazard of one instruction: which, and of which operands."""

    position: int
    hazard: Hazard
    operands: tuple[int, ...]


class _Origin(NamedTuple):
    """Where an instruction of the composition comes from, so that it can be shown to people."""

    program: Program
    position: int
    symbols: tuple[str, ...]


def check(
    equation: Equation,
    region: Region,
    X: Array,
    output: int,
    *,
    seed: int = 0,
    dtype: str | None = None,
    sound: bool = False,
) -> tuple[DomainIssue, ...]:
    """Operations of an equation that are undefined on recorded samples or inside their box.

    Args:
        X: recorded raw inputs of the region [n_samples, n_inputs]; rows that are not finite are
            left out.
        output: number of the equation, copied into the issues.
        dtype: that the block computes in, the region's own by default.
        sound: whether the block was seen to give finite values and slopes on all of X. Then only
            poles between its rows are trouble on data: what overflows or is undefined on the way
            does no harm there.

    Returns:
        One issue for each operation that is in trouble, none for those that merely take its result.
        `where` gives the raw inputs that the operation depends on.
    """
    X = np.asarray(X, dtype=np.float64)
    X = X[np.isfinite(X).all(axis=1)]
    if len(X) == 0:
        return ()
    search = _DomainSearch(equation, region, output, dtype or region.dtype, sound)
    return search.run(X, np.random.default_rng(seed))


class _DomainSearch:
    """One equation over the raw inputs of its region.

    Attributes:
        issues: those that were found, by the position of the operation.
    """

    def __init__(
        self, equation: Equation, region: Region, output: int, dtype: str, sound: bool
    ) -> None:
        self.equation, self.region, self.output, self.sound = equation, region, output, sound
        self.program, self.sources = _compose(equation, region)
        self.largest = LARGEST.get(dtype, np.finfo(np.float64).max)
        self.issues: dict[int, DomainIssue] = {}

    def run(self, X: Array, rng: np.random.Generator) -> tuple[DomainIssue, ...]:
        low, high = X.min(axis=0), X.max(axis=0)
        box = _projected_box(self.region, low, high)
        intervals = bounds(self.program, box, self.equation.constants)
        unproven = [
            check
            for check in _checks(self.program, _reached(self.program), self.largest)
            if not check.hazard.safe(*(intervals[operand] for operand in check.operands))
        ]
        if not unproven:
            return ()
        poles = [check for check in unproven if check.hazard.kind == "nonzero"]
        self._look(poles if self.sound else unproven, X, on_data=True)
        self._look(unproven, _box_sample(low, high, rng))
        for check in unproven:
            if check.hazard.kind != "finite" and not self._upstream(check):
                self._look([check], self._closest(check, X, low, high, rng))
        return tuple(self.issues[position] for position in sorted(self.issues))

    def _upstream(self, check: _Check) -> bool:
        """Whether the trouble is already reported, here or in what the operation is made of."""
        reported = self.issues.keys()
        return check.position in reported or (
            bool(reported) and not reported.isdisjoint(_reached(self.program, check.operands))
        )

    def _values(self, X: Array) -> list[Any]:
        projection = self.region.projection_in
        base = X if projection is None else projection.project(X)
        with np.errstate(all="ignore"):
            return trace(self.program, base, self.equation.constants)

    def _margins(self, checks: Sequence[_Check], X: Array) -> list[Array]:
        """Each hazard's margin on rows of X, NaN where the operation is not called for."""
        values = self._values(X)
        live = _live(self.program, values, len(X))
        margins = []
        for check in checks:
            with np.errstate(all="ignore"):
                margin = check.hazard.margin(*(values[operand] for operand in check.operands))
            margins.append(np.where(live[check.position], margin, np.nan))
        return margins

    def _look(self, checks: Sequence[_Check], X: Array, *, on_data: bool = False) -> None:
        near = 0.0 if on_data else VANISHES
        for check, margin in zip(checks, self._margins(checks, X), strict=True):
            if self._upstream(check):
                continue
            row = self._witness(check, X, margin, near)
            if row is not None:
                self.issues[check.position] = self._issue(check, row, on_data)

    def _witness(self, check: _Check, X: Array, margin: Array, near: float) -> Array | None:
        """A row on which the operation is undefined (or next to a pole), None if none is known."""
        if np.isnan(margin).all():
            return None
        kind = check.hazard.kind
        if kind != "nonzero":
            worst = int(np.nanargmin(margin))
            broken = margin[worst] <= 0 if kind == "positive" else margin[worst] < 0
            return X[worst] if broken else None
        nearest = int(np.nanargmin(np.abs(margin)))
        if abs(margin[nearest]) <= near * np.nanmax(np.abs(margin)):
            return X[nearest]
        return self._crossing(check, X, margin)

    def _crossing(self, check: _Check, X: Array, margin: Array) -> Array | None:
        """The zero between the two rows of opposite sign that are nearest to it."""
        above, below = np.flatnonzero(margin > 0), np.flatnonzero(margin < 0)
        if not (len(above) and len(below)):
            return None
        start, end = X[above[np.argmin(margin[above])]], X[below[np.argmax(margin[below])]]
        step, left, right = end - start, 0.0, 1.0
        for _ in range(6):
            at = np.linspace(left, right, 129)
            margins = self._margins([check], start + at[:, None] * step)[0]
            change = int(np.argmax(~(margins > 0)))  # NaN counts as having left the region
            left, right = at[max(change - 1, 0)], at[change]
        last = self._margins([check], start + np.array([[left], [right]]) * step)[0]
        scale = float(np.nanmax(np.abs(margin)))
        if not np.isfinite(last).all() or np.abs(last).sum() > 1e-6 * scale:
            return None  # a jump, or the end of the branch
        middle = (left + right) / 2
        # Values grow towards a pole; those of sin(x)/x don't.
        distances = np.array([1e-4, -1e-4, 1e-6, -1e-6])
        values = self._values(start + (middle + distances)[:, None] * step)
        sizes = np.abs(np.broadcast_to(values[check.position], (4,)))
        return None if sizes[2:].max() < 3 * sizes[:2].max() else start + middle * step

    def _closest(
        self, check: _Check, X: Array, low: Array, high: Array, rng: np.random.Generator
    ) -> Array:
        """Rows of the box on which the margin is smallest, by a random search that narrows."""

        def best_of(rows: Array) -> Array:
            margin = self._margins([check], rows)[0]
            margin = np.abs(margin) if check.hazard.kind == "nonzero" else margin
            return rows[np.argsort(np.where(np.isnan(margin), np.inf, margin), kind="stable")[:8]]

        best = best_of(np.concatenate([X, _box_sample(low, high, rng)]))
        for turn in range(_ROUNDS):
            spread = 0.3 * 0.35**turn * (high - low)
            moved = best[:, None, :] + spread * rng.standard_normal((len(best), 48, len(low)))
            best = best_of(np.concatenate([best, np.clip(moved.reshape(-1, len(low)), low, high)]))
        return np.concatenate([best, X, _box_sample(low, high, rng)])

    def _issue(self, check: _Check, row: Array, on_data: bool) -> DomainIssue:
        names = set(self.region.names)
        if self.region.projection_in is None:
            needed = _reached(self.program, (check.position,))
            steps = [self.program.instructions[k] for k in needed]
            names = {self.region.names[step.value] for step in steps if step.op == "input"}
        where = {n: float(v) for n, v in zip(self.region.names, row, strict=True) if n in names}
        text = _text(self.sources[check.position], self.equation.constants)
        return DomainIssue(self.output, text, check.hazard.problem, where, on_data)


def _compose(equation: Equation, region: Region) -> tuple[Program, list[_Origin]]:
    """Features and equation as one program over the region's base columns."""
    program = equation.program
    if not region.target.features:
        steps = range(len(program.instructions))
        return program, [_Origin(program, k, equation.symbols) for k in steps]
    features = region.feature_program
    code = list(features.instructions)
    sources = [_Origin(features, k, region.base_names) for k in range(len(code))]
    moved: list[int] = []
    for position, (op, args, value) in enumerate(program.instructions):
        if op == "input":
            moved.append(features.outputs[value])
            continue
        moved.append(len(code))
        code.append(Instruction(op, tuple(moved[a] for a in args), value))
        sources.append(_Origin(program, position, equation.symbols))
    outputs = tuple(moved[o] for o in program.outputs)
    return Program(tuple(code), outputs, features.n_inputs, program.n_slots), sources


def _checks(program: Program, reached: Sequence[int], largest: float) -> Iterator[_Check]:
    overflow = Hazard(
        "finite",
        lambda value: np.where(np.abs(value) <= largest, 1.0, -1.0),
        lambda value: max(abs(value[0]), abs(value[1])) <= largest,
        f"overflows: more than {largest:.3g}, the largest number there is",
    )
    for position in reached:
        op, args, _ = program.instructions[position]
        for hazard in OPERATORS[op].domain if op in OPERATORS else ():
            yield _Check(position, hazard, args)
        if op == "div":
            for factor in _factors(program, args[1]):
                yield _Check(position, _DIVISION, (factor,))
        yield _Check(position, overflow, (position,))


def _factors(program: Program, position: int) -> Iterator[int]:
    """What has to be zero for this instruction to be zero."""
    op, args, _ = program.instructions[position]
    zero = OPERATORS[op].zero if op in OPERATORS else ""
    for argument in {"any": args, "first": args[:1]}.get(zero, ()):
        yield from _factors(program, argument)
    if not zero:
        yield position


def _reached(program: Program, roots: Sequence[int] | None = None) -> list[int]:
    """Instructions that the outputs (or `roots`) depend on, ascending."""
    needed = set(program.outputs if roots is None else roots)
    for position in reversed(range(len(program.instructions))):
        if position in needed:
            needed.update(program.instructions[position].args)
    return sorted(needed)


def _live(program: Program, values: list[Any], n_samples: int) -> list[Array]:
    """For every instruction, the samples whose result depends on it [n_samples]."""
    live = [np.zeros(n_samples, dtype=bool) for _ in program.instructions]
    for output in program.outputs:
        live[output][:] = True
    for position in reversed(range(len(program.instructions))):
        op, args, _ = program.instructions[position]
        taken = np.broadcast_to(values[args[0]], (n_samples,)).astype(bool) if args else None
        for which, argument in enumerate(args):
            branch = live[position]
            if op == "where" and which > 0 and taken is not None:
                branch = branch & (taken if which == 1 else ~taken)
            live[argument] |= branch
    return live


def _projected_box(region: Region, low: Array, high: Array) -> list[Interval]:
    """Intervals of the base columns when raw inputs stay in their box."""
    if region.projection_in is not None:
        components = region.projection_in.components
        centre = region.projection_in.project(((low + high) / 2)[None])[0]
        reach = np.abs(components) @ ((high - low) / 2) * (1 + 1e-12)
        low, high = centre - reach, centre + reach
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _box_sample(low: Array, high: Array, rng: np.random.Generator) -> Array:
    """Rows drawn uniformly from the box, and corners of it."""
    count = int(np.clip(4_000_000 // max(len(low), 1), 256, _SAMPLES))
    inside = rng.random((count, len(low)))
    if len(low) <= 8:
        corners = np.array(list(np.ndindex(*(2,) * len(low))), dtype=np.float64)
    else:
        corners = rng.integers(0, 2, (256, len(low))).astype(np.float64)
    return low + np.concatenate([inside, corners]) * (high - low)


def _text(source: _Origin, constants: Sequence[float]) -> str:
    """The operation as people write it, constants to four digits."""
    program, position, symbols = source
    code = program.instructions[: position + 1]
    operation = Program(code, (position,), program.n_inputs, program.n_slots)
    rounded = [float(f"{value:.4g}") for value in constants]
    return as_text(fill(to_sympy(operation, symbols)[0], rounded), symbols)
