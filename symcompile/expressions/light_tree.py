"""Light trees: expressions as the algebra of a search works on them.

sympy asks for the sign, the kind and the order of everything that it builds, and holds Python's
lock meanwhile; a search builds thousands of forms and shows ten. A `LightTree` is immutable, knows
its hash, its order and whether it is constant, and is taken for what every number here is: real.

`light_algebra` builds them, in one shape: sums and products are flat and sorted, a difference is a
sum with a factor of -1, a quotient a product with a negative power, a square root a power of one
half; exact numbers are folded, like terms and powers of one base merged. `light_code` reads and
writes them. What needs the values of constants, or costs time, is done by `canonical` and
`expansion`.

| op | args | value |
|---|---|---|
| input | - | column of X |
| slot | - | number of a constant, whose value is kept elsewhere |
| number | - | an exact number: an int, a Fraction, "pi" or "e" |
| add, mul, min, max, and, or | two or more, sorted | - |
| pow | base, exponent | - |
| custom | one or two | the class of an operator of a user's own, see `custom` |
| every other `op` of operators.OPERATORS but sub, div, neg, sqrt and power | as its row says | - |
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

Exact = int | Fraction


class LightTree:
    """An expression; equal where structure, exact numbers and the numbers of slots are.

    Attributes:
        op, args, value: see the head of this file.
        slots: its slots in the order of a walk, as often as they stand there.
        is_constant: whether no input is in it.
        key: its place among others, whatever the numbers of its slots.
    """

    __slots__ = ("_hash", "args", "is_constant", "key", "op", "slots", "value")

    op: str
    args: tuple[LightTree, ...]
    value: Any
    slots: tuple[int, ...]
    is_constant: bool
    key: tuple[Any, ...]
    _hash: int

    def __init__(self, op: str, args: tuple[LightTree, ...] = (), value: Any = None) -> None:
        """As it is: whoever wants one shape builds by the functions below."""
        self.op, self.args, self.value = op, args, value
        if args:
            slots: tuple[int, ...] = ()
            constant = True
            for arg in args:
                slots += arg.slots
                constant &= arg.is_constant
            self.slots, self.is_constant = slots, constant
            rank = 3 if slots or not constant else 0
            called = op if value is None else value.__qualname__
            self.key = (rank, called, len(args), *[arg.key for arg in args])
            self._hash = hash((called, *[arg._hash for arg in args]))
            return
        self.slots = (value,) if op == "slot" else ()
        self.is_constant = op != "input"
        self.key = _leaf_key(op, value)
        self._hash = hash((op, value))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, LightTree)
            and self._hash == other._hash
            and self.op == other.op
            and self.value == other.value
            and self.args == other.args
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.args:
            return _leaf, (self.op, self.value)
        return LightTree, (self.op, self.args, self.value)

    def __repr__(self) -> str:
        inside = map(repr, self.args) if self.args else [str(self.value)]
        return f"{self.op}({', '.join(inside)})"

    @property
    def is_exact(self) -> bool:
        """Whether it is a number, known exactly."""
        return self.is_constant and not self.slots

    @property
    def rational(self) -> Exact | None:
        """The whole number or fraction that it is, None for everything else."""
        return None if self.op != "number" or type(self.value) is str else self.value

    def walk(self) -> Iterator[LightTree]:
        """Every node, parents first."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending += reversed(node.args)


def _leaf_key(op: str, value: Any) -> tuple[Any, ...]:
    """Numbers first, by their size; then slots, then inputs."""
    if op != "number":
        return (1,) if op == "slot" else (2, value)
    try:
        size = float(value) if type(value) is not str else {"pi": math.pi, "e": math.e}[value]
    except OverflowError:
        size = math.copysign(math.inf, value)
    return (0, "", size, str(value))


def number(value: Exact | str) -> LightTree:
    """A whole number, a fraction, "pi" or "e"."""
    if type(value) is Fraction and value.denominator == 1:
        value = value.numerator
    found = _NUMBERS.get(value)
    return LightTree("number", (), value) if found is None else found


_NUMBERS: dict[Any, LightTree] = {
    value: LightTree("number", (), value) for value in (*range(-9, 10), Fraction(1, 2), "pi", "e")
}
ZERO, ONE, MINUS_ONE, HALF = _NUMBERS[0], _NUMBERS[1], _NUMBERS[-1], _NUMBERS[Fraction(1, 2)]
E = _NUMBERS["e"]


# Leaves are compared more often than all else: those in use are the same objects.
_LEAVES = {op: [LightTree(op, (), index) for index in range(64)] for op in ("slot", "input")}


def slot(index: int) -> LightTree:
    """The constant of this number."""
    known = _LEAVES["slot"]
    return known[index] if index < len(known) else LightTree("slot", (), index)


def column(index: int) -> LightTree:
    """The input in this column of X."""
    known = _LEAVES["input"]
    return known[index] if index < len(known) else LightTree("input", (), index)


def _leaf(op: str, value: Any) -> LightTree:
    """One that was pickled: ONE is to be ONE again."""
    return {"slot": slot, "input": column, "number": number}[op](value)


def parts(op: str, tree: LightTree) -> tuple[LightTree, ...]:
    """The terms of a sum, or the factors of a product; everything else is one of its own."""
    return tree.args if tree.op == op else (tree,)


def order(tree: LightTree) -> tuple[Any, ...]:
    """What the arguments of a sum or product are sorted by."""
    return tree.key, tree.slots
