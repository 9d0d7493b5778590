"""Find the affine sums of a program, and gather them into one matrix product for each input tensor.

A sum such as `c0*x0 + c1*x1 + 2*x2 - c2 + sin(x3)` has three affine terms, a constant and a rest. A
row of a `Gather` holds the affine terms of one sum over the features of one tensor, the constant
becomes the row's bias, the rest stays elementwise. Every entry of the matrix is
`scale * weight + fixed`: the weight is the fitted constant itself, the scale carries sign and exact
factors and is 0 where there is no constant, and fixed holds exact coefficients. So a structurally
absent entry can't come alive in training, and a constant is read back as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.expressions.fold import number_value
from symcompile.expressions.program import Program

# Each term saves a product and a sum; the matrix costs one product, its masks and a column per row.
# Below this many operators saved it does not pay (examples/lowering_benchmark.py).
WORTHWHILE = 8
# A matrix with fewer than one entry in this many is cheaper term by term.
SPARSEST = 32


@dataclass(frozen=True)
class Term:
    """`scale` times an instruction."""

    scale: float
    node: int


@dataclass(frozen=True)
class AffineTerm:
    """One affine term: `scale * (slot or 1) * column`; without a column a constant."""

    scale: float
    slot: int | None
    column: int | None


@dataclass
class Entries:
    """scale * weight + fixed, all of one shape; `slots` places slots in the flattened weight."""

    scale: Array
    fixed: Array
    slots: dict[int, int] = field(default_factory=dict)

    @classmethod
    def zeros(cls, *shape: int) -> Entries:
        return cls(np.zeros(shape), np.zeros(shape))

    def put(self, place: tuple[int, ...], coefficient: AffineTerm) -> bool:
        """False if a constant sits there already."""
        if coefficient.slot is None:
            self.fixed[place] += coefficient.scale
        elif self.scale[place]:
            return False
        else:
            self.scale[place] = coefficient.scale
            self.slots[coefficient.slot] = int(np.ravel_multi_index(place, self.scale.shape))
        return True

    @property
    def empty(self) -> bool:
        return not (self.scale.any() or self.fixed.any())


@dataclass(frozen=True)
class Gather:
    """A matrix product with the features of one tensor; row k belongs to the sum `rows[k]`."""

    source: int
    rows: tuple[int, ...]
    weight: Entries
    bias: Entries


@dataclass(frozen=True)
class Plan:
    """What to compute by matrix products, and what is left of each sum, by its instruction."""

    gathers: tuple[Gather, ...] = ()
    rest: dict[int, list[Term]] = field(default_factory=dict)


def plan(program: Program, sources: Sequence[tuple[int, int]], widths: Sequence[int]) -> Plan:
    """Decide on the matrix products.

    Args:
        sources: tensor and feature within it for each column of the program.
        widths: number of features of each tensor.
    """
    sums = _Sums(program)
    rest = dict(sums.terms)
    gathers = []
    for source, width in enumerate(widths):
        features = {column: at for column, (tensor, at) in enumerate(sources) if tensor == source}
        gather = _gather(sums, rest, source, features, width)
        if gather is not None:
            gathers.append(gather)
    return Plan(tuple(gathers), rest)


def _gather(
    sums: _Sums, rest: dict[int, list[Term]], source: int, features: Mapping[int, int], width: int
) -> Gather | None:
    """The product with one tensor, whose features are told by column; what it takes in leaves the
    rest. None where it does not pay."""
    affine = {root: [sums.coefficient(term) for term in terms] for root, terms in rest.items()}
    counts = {
        root: sum(entry is not None and entry.column in features for entry in coefficients)
        for root, coefficients in affine.items()
    }
    rows = tuple(root for root, count in counts.items() if count > 1)
    count = sum(counts[root] for root in rows)
    if 2 * (count - len(rows)) < WORTHWHILE or len(rows) * width > SPARSEST * count:
        return None
    weight, bias = Entries.zeros(len(rows), width), Entries.zeros(len(rows))

    def put(row: int, coefficient: AffineTerm | None) -> bool:
        if coefficient is None:
            return False
        if coefficient.column is None:
            return bias.put((row,), coefficient)
        feature = features.get(coefficient.column)
        return feature is not None and weight.put((row, feature), coefficient)

    for row, root in enumerate(rows):
        pairs = zip(rest[root], affine[root], strict=True)
        rest[root] = [term for term, coefficient in pairs if not put(row, coefficient)]
    return Gather(source, rows, weight, bias)


class _Sums:
    """The sums of a program, nested ones that nobody else uses flattened."""

    def __init__(self, program: Program) -> None:
        self.code = program.instructions
        self.uses = Counter(a for i in self.code for a in i.args)
        self.uses.update(program.outputs)
        inner = {
            a
            for i in self.code
            if i.op in ("add", "sub", "neg")
            for a in i.args
            if self.uses[a] == 1 and self.code[a].op in ("add", "sub", "neg")
        }
        self.inner = inner
        self.terms = {
            k: self._flatten(k)
            for k, (op, args, _) in enumerate(self.code)
            if k not in inner and (op in ("add", "sub") or (op == "neg" and args[0] in inner))
        }

    def _flatten(self, root: int) -> list[Term]:
        terms: list[Term] = []
        pending = [Term(1.0, root)]
        while pending:
            scale, node = pending[-1].scale, pending.pop().node
            op, args, _ = self.code[node]
            if node != root and node not in self.inner:
                terms.append(Term(scale, node))
            elif op == "neg":
                pending.append(Term(-scale, args[0]))
            else:
                second = -scale if op == "sub" else scale
                pending += [Term(second, a) for a in reversed(args[1:])]
                pending.append(Term(scale, args[0]))
        return terms

    def coefficient(self, term: Term) -> AffineTerm | None:
        """The term as an affine one, None if it is not."""
        scale, slot, column = term.scale, None, None
        factors = [term.node]
        for node in factors:
            op, args, value = self.code[node]
            if op == "number":
                scale *= number_value(value)
            elif op == "input" and column is None:
                column = value
            elif self.uses[node] > 1:
                return None
            elif op == "slot" and slot is None:
                slot = value
            elif op in ("neg", "mul"):
                scale = -scale if op == "neg" else scale
                factors += args
            else:
                return None
        return AffineTerm(scale, slot, column)
