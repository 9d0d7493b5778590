"""All equations of a region as one program over its raw inputs, common parts standing once.

Slots are numbered through: slot k of the joint program is slot `slots[k][1]` of equation
`slots[k][0]`. Fitted constants are split off products (`c*x*y` becomes `(x*y)*c`), since constants
of different equations are never common, while what they multiply often is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

from symcompile.errors import ExpressionError, LoweringError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import known_value
from symcompile.expressions.fold import Code, Instruction, completed, fold, number_value
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.program import Program
from symcompile.lowering.torch_rules import FUNCTIONS, SPELLED
from symcompile.modules.region import Region

COMMUTATIVE = frozenset(op for op, row in OPERATORS.items() if row.nary)
# Operations that are done at once where all arguments are numbers.
_FOLDABLE = {op for op, row in OPERATORS.items() if not row.truth and op != "where"}
# Pairs of factors are looked for only in programs of up to this many instructions.
_PAIRING_LIMIT = 4000


@dataclass(frozen=True)
class Joint:
    """The equations of a region together.

    Attributes:
        program: over the region's base columns (raw inputs, or coordinates after a projection);
            its outputs are the equations in the order of `outputs`.
        outputs: number of the equation behind each output of the program.
        slots: (equation, slot) behind each slot of the program.
    """

    program: Program
    outputs: tuple[int, ...]
    slots: tuple[tuple[int, int], ...]


def combine(region: Region, equations: Mapping[int, Equation]) -> Joint:
    """Join equations; LoweringError if one does not belong to the region."""
    sharing = _Sharing()
    columns = {name: sharing.add("input", (), k) for k, name in enumerate(region.base_names)}
    bindings = dict(columns)
    if region.target.features:
        features = sharing.inline(region.feature_program, list(columns.values()), 0)
        bindings = dict(zip(region.variables, features, strict=True))
    slots: list[tuple[int, int]] = []
    results = []
    for number in sorted(equations):
        equation = equations[number]
        results += sharing.inline(*_program(region, number, equation, bindings), len(slots))
        slots += [(number, k) for k in range(len(equation.constants))]
    program = Program(tuple(sharing.instructions), tuple(results), len(columns), len(slots))
    return Joint(prune(share_factors(program)), tuple(sorted(equations)), tuple(slots))


def _program(
    region: Region, number: int, equation: Equation, bindings: Mapping[str, int]
) -> tuple[Program, list[int]]:
    """The program of an equation, and the instructions that are its inputs."""
    where = f"region {region.path!r}, equation {number}"
    if not 0 <= number < region.n_equations:
        raise LoweringError(f"{where}: the region has equations 0 to {region.n_equations - 1}")
    unknown = [name for name in equation.symbols if name not in bindings]
    if unknown:
        raise LoweringError(
            f"{where} is over {', '.join(unknown)}: the region's variables are"
            f" {', '.join(bindings)}"
        )
    try:
        return equation.program, [bindings[name] for name in equation.symbols]
    except (LoweringError, ExpressionError) as error:
        raise LoweringError(f"{where}: {error}") from error


def prune(program: Program) -> Program:
    """The same program without instructions that no output needs."""
    place: dict[int, int] = {}
    code: list[Instruction] = []
    for position, (instruction, users) in enumerate(
        zip(program.instructions, owners(program), strict=True)
    ):
        if users:
            place[position] = len(code)
            code.append(instruction._replace(args=tuple(place[a] for a in instruction.args)))
    outputs = tuple(place[o] for o in program.outputs)
    return Program(tuple(code), outputs, program.n_inputs, program.n_slots)


def owners(program: Program) -> list[frozenset[int]]:
    """For each instruction the outputs that need it."""
    users: list[set[int]] = [set() for _ in program.instructions]
    for output, index in enumerate(program.outputs):
        users[index].add(output)
    for position in reversed(range(len(users))):
        for argument in program.instructions[position].args:
            users[argument] |= users[position]
    return [frozenset(outputs_of) for outputs_of in users]


def share_factors(program: Program) -> Program:
    """Give pairs of factors that several products have in common an instruction of their own.

    `x*y*sin(z)` and `x*y*cos(z)` share no instruction until `x*y` is one. The most frequent pair
    goes first; a pair within one product only is left alone.
    """
    if len(program.instructions) > _PAIRING_LIMIT:
        return program
    products = {k: Counter(i.args) for k, i in enumerate(program.instructions) if i.op == "mul"}
    pairs: list[tuple[int, int]] = []
    size = len(program.instructions)
    while (best := _frequent_pair(products.values())) is not None:
        for factors in products.values():
            if all(factors[f] for f in best):
                factors.subtract(best)
                factors[size + len(pairs)] += 1
        pairs.append(best)
    return _with_pairs(program, products, pairs) if pairs else program


def _frequent_pair(products: Iterable[Counter[int]]) -> tuple[int, int] | None:
    counts: Counter[tuple[int, int]] = Counter()
    for product in products:
        factors = sorted(f for f, times in product.items() if times > 0)
        counts.update(combinations(factors, 2))
    pair, times = min(counts.items(), key=lambda item: (-item[1], item[0]), default=(None, 0))
    return pair if times > 1 else None


def _with_pairs(
    program: Program, products: Mapping[int, Counter[int]], pairs: Sequence[tuple[int, int]]
) -> Program:
    sharing = _Sharing()
    place: dict[int, int] = {}
    size = len(program.instructions)

    def factor(index: int) -> int:
        if index not in place:
            place[index] = sharing.add("mul", list(map(factor, pairs[index - size])))
        return place[index]

    for position, (op, args, value) in enumerate(program.instructions):
        here = list(map(factor, products[position].elements() if position in products else args))
        alone = op == "mul" and len(here) == 1
        place[position] = here[0] if alone else sharing.add(op, here, value)
    outputs = tuple(place[o] for o in program.outputs)
    return Program(tuple(sharing.instructions), outputs, program.n_inputs, program.n_slots)


class _Sharing(Code):
    """Adds instructions, constants folded and split off."""

    def __init__(self) -> None:
        super().__init__()
        # What torch has no function for is written out by its definition.
        own = (*FUNCTIONS, *SPELLED, "where")
        self.rules = completed(
            {op: partial(self.simplest, op) for op in own}
            | {
                "power": lambda base, exponent: self.simplest("power", base, value=exponent),
                "number": lambda value: self.add("number", (), value),
            }
        )

    def add(self, op: str, args: Sequence[int] = (), value: Any = None) -> int:
        return super().add(op, sorted(args) if op in COMMUTATIVE else args, value)

    def inline(self, program: Program, inputs: Sequence[int], first_slot: int) -> list[int]:
        """Append a program over instructions `inputs`; where its outputs stand."""
        leaves = {
            "input": lambda column: inputs[column],
            "slot": lambda slot: self.add("slot", (), first_slot + slot),
        }
        place = fold(program.instructions, {**self.rules, **leaves})
        return [place[index] for index in program.outputs]

    def simplest(self, op: str, *args: int, value: Any = None) -> int:
        operands = [self.instructions[a] for a in args]
        if op in _FOLDABLE and all(operand.op == "number" for operand in operands):
            result = known_value(op, [number_value(operand.value) for operand in operands], value)
            if math.isfinite(result):  # a program holds no other number
                return self.add("number", (), result)
        if op == "mul":
            return self.product(args)
        if op == "sqrt":
            return self.root(args[0])
        return self.add(op, args, value)

    def product(self, args: Sequence[int]) -> int:
        """Constants of a product outside, the rest inside."""
        constants = [a for a in args if self.instructions[a].op in ("slot", "number")]
        others = [a for a in args if a not in constants]
        if constants and len(others) > 1:
            return self.add("mul", [self.add("mul", others), *constants])
        return self.add("mul", args)

    def root(self, argument: int) -> int:
        """sqrt(u**2) is |u|, which has a derivative of 0 at 0 where autograd's sqrt has none."""
        op, args, value = self.instructions[argument]
        if op == "power" and value == 2:
            return self.add("abs", args)
        return self.add("sqrt", (argument,))
