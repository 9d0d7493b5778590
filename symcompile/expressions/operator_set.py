"""The operators that a search may use, as users name and price them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from symcompile.errors import EngineError
from symcompile.expressions.operator import Operator
from symcompile.expressions.operators import ALIASES, VOCABULARY

DEFAULT = ("+", "*", "inv", "sin", "exp")


@dataclass(frozen=True)
class OperatorSet:
    """The operators that one search may use, each with its complexity.

    Build it with `OperatorSet.of`: None (the paper's Table 2: + * inv sin exp), a sequence of
    names, or a mapping from name to complexity.
    """

    costs: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, spec: OperatorSet | Iterable[str] | Mapping[str, int] | None) -> OperatorSet:
        """Read what a user wrote; EngineError names an operator that is not in the vocabulary."""
        if isinstance(spec, OperatorSet):
            return spec
        if isinstance(spec, str):
            spec = [name.strip() for name in spec.split(",")]
        names = DEFAULT if spec is None else spec
        if not isinstance(names, Iterable):
            raise EngineError(f"operators is {spec!r}: expected names such as ['+', 'sin']")
        prices: Mapping[str, int] = names if isinstance(names, Mapping) else {}
        costs = {}
        for name in names:
            operator = lookup(name)
            costs[operator.name] = _cost(name, prices.get(name, operator.complexity))
        if not costs:
            raise EngineError("operators is empty: name at least one, for example ['+', '*']")
        return cls(tuple(sorted(costs.items(), key=lambda item: list(VOCABULARY).index(item[0]))))

    def __contains__(self, name: object) -> bool:
        return any(name == other for other, _ in self.costs)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.costs)

    def __len__(self) -> int:
        return len(self.costs)

    def cost(self, name: str) -> int:
        """Complexity of one node; an operator outside of the set costs its default."""
        for other, cost in self.costs:
            if other == name:
                return cost
        return VOCABULARY[name].complexity if name in VOCABULARY else 3

    @property
    def unary(self) -> tuple[str, ...]:
        return tuple(name for name in self if VOCABULARY[name].arity == 1)

    @property
    def binary(self) -> tuple[str, ...]:
        return tuple(name for name in self if VOCABULARY[name].arity == 2)

    def to_dict(self) -> dict[str, int]:
        return dict(self.costs)


def lookup(name: str) -> Operator:
    """The row of an operator by its name or an alias of it."""
    if not isinstance(name, str):
        raise EngineError(f"operators holds {name!r}: expected names such as '+' or 'sin'")
    row = VOCABULARY.get(ALIASES.get(name, name))
    if row is None:
        raise EngineError(f"unknown operator {name!r}: choose from {', '.join(VOCABULARY)}")
    return row


def _cost(name: str, cost: object) -> int:
    if isinstance(cost, bool) or not isinstance(cost, (int, float)) or not math.isfinite(cost):
        raise EngineError(f"complexity of operator {name!r} is {cost!r}: expected a whole number")
    if cost < 1 or cost != int(cost):
        raise EngineError(f"complexity of operator {name!r} is {cost!r}: expected 1 or more")
    return int(cost)
