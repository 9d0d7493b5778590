"""The operators that a search may use, as users name and price them, and what limits their use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy

from symcompile.errors import EngineError, one_line
from symcompile.expressions.operator import Operator
from symcompile.expressions.operators import ALIASES, VOCABULARY
from symcompile.expressions.slots import slot_index

DEFAULT = ("+", "*", "inv", "sin", "exp")
# As a limit: none.
UNLIMITED = -1
# The options that limit the use of operators, as users and files call them.
LIMITS = (
    "constraints",
    "nested_constraints",
    "complexity_of_variables",
    "complexity_of_constants",
)
# In `variable_costs`: every input that is not named.
OTHERS = ""


@dataclass(frozen=True)
class OperatorSet:
    """The operators that one search may use, each with its complexity, and what limits their use.

    It goes wherever equations are made or judged: `complexity.complexity` counts by it, and what
    `complexity.spellable` denies is on no front.

    Build it with `OperatorSet.of`: None (the paper's Table 2: + * inv sin exp), a sequence of
    names, or a mapping from name to complexity.

    Attributes:
        costs: complexity of one node of each operator.
        constraints: of operators, how complex each of their arguments may be; UNLIMITED for any.
        nested_constraints: of operators, how often others may be met on any way down from them.
        variable_costs: complexity of inputs by their name, and of all others by OTHERS, else 1.
        constant_cost: complexity of a constant.
    """

    costs: tuple[tuple[str, int], ...]
    constraints: tuple[tuple[str, tuple[int, ...]], ...] = ()
    nested_constraints: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    variable_costs: tuple[tuple[str, int], ...] = ()
    constant_cost: int = 1

    @classmethod
    def of(
        cls,
        spec: OperatorSet | Iterable[str] | Mapping[str, int] | None,
        *,
        constraints: Mapping[str, Any] | None = None,
        nested_constraints: Mapping[str, Mapping[str, int]] | None = None,
        complexity_of_variables: int | Mapping[str, int] | None = None,
        complexity_of_constants: int | None = None,
    ) -> OperatorSet:
        """Read what a user wrote, as `symcompile.symcompile` takes it; what is None stays as it is
        in a set that was read before.

        EngineError names an operator that is not in the vocabulary, or an option that makes no
        sense.
        """
        read: dict[str, Any] = {}
        operators = spec if isinstance(spec, OperatorSet) else cls(_costs(spec))
        if constraints is not None:
            read["constraints"] = _constraints(constraints)
        if nested_constraints is not None:
            read["nested_constraints"] = _nested(nested_constraints)
        if complexity_of_variables is not None:
            read["variable_costs"] = _variable_costs(complexity_of_variables)
        if complexity_of_constants is not None:
            read["constant_cost"] = _cost("complexity_of_constants", complexity_of_constants)
        return replace(operators, **read) if read else operators

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

    def cost_of_leaf(self, leaf: sympy.Expr) -> int:
        """Complexity of an input or a constant."""
        if not leaf.is_Symbol or slot_index(leaf) is not None:
            return self.constant_cost
        return self.cost_of_input(leaf.name) if self.variable_costs else 1

    def cost_of_input(self, name: str) -> int:
        costs = dict(self.variable_costs)
        return costs.get(name, costs.get(OTHERS, 1))

    @property
    def unary(self) -> tuple[str, ...]:
        return tuple(name for name in self if VOCABULARY[name].arity == 1)

    @property
    def binary(self) -> tuple[str, ...]:
        return tuple(name for name in self if VOCABULARY[name].arity == 2)

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raise EngineError if a complexity is that of an input that is not there."""
        names = list(names)
        for name, _ in self.variable_costs:
            if name not in (OTHERS, *names):
                raise EngineError(
                    f"complexity_of_variables names {name!r}: the inputs are {', '.join(names)}"
                )

    def to_dict(self) -> dict[str, int]:
        """The complexity of each operator."""
        return dict(self.costs)

    def limits(self) -> dict[str, Any]:
        """What limits their use as plain data, by the options of `of`, as far as there is any."""
        stored = {
            "constraints": {name: list(limits) for name, limits in self.constraints},
            "nested_constraints": {name: dict(inner) for name, inner in self.nested_constraints},
            "complexity_of_variables": dict(self.variable_costs),
            "complexity_of_constants": self.constant_cost,
        }
        return {name: value for name, value in stored.items() if value not in ({}, 1)}

    @classmethod
    def described(cls, data: Mapping[str, Any]) -> OperatorSet:
        """The set of an engine that says of itself `operators` and, beside them, `limits`."""
        limits = _mapping("limits", data.get("limits") or {}, str(dict.fromkeys(LIMITS)))
        given = {name: limits.get(name) for name in LIMITS}
        return cls.of(dict(data.get("operators") or {}) or None, **given)


def lookup(name: str) -> Operator:
    """The row of an operator by its name or an alias of it."""
    if not isinstance(name, str):
        raise EngineError(f"operators holds {name!r}: expected names such as '+' or 'sin'")
    row = VOCABULARY.get(ALIASES.get(name, name))
    if row is None:
        raise EngineError(f"unknown operator {name!r}: choose from {', '.join(VOCABULARY)}")
    return row


# --- what a user wrote ---------------------------------------------------------------------------


def _costs(spec: Iterable[str] | Mapping[str, int] | None) -> tuple[tuple[str, int], ...]:
    if isinstance(spec, str):
        spec = [name.strip() for name in spec.split(",")]
    names = DEFAULT if spec is None else spec
    if not isinstance(names, Iterable):
        raise EngineError(f"operators is {_said(spec)}: expected names such as ['+', 'sin']")
    prices: Mapping[str, int] = names if isinstance(names, Mapping) else {}
    costs = {}
    for name in names:
        operator = lookup(name)
        price = prices.get(name, operator.complexity)
        costs[operator.name] = _cost(f"complexity of operator {_said(name)}", price)
    if not costs:
        raise EngineError("operators is empty: name at least one, for example ['+', '*']")
    return tuple(sorted(costs.items(), key=lambda item: list(VOCABULARY).index(item[0])))


def _cost(what: str, cost: object) -> int:
    if isinstance(cost, bool) or not isinstance(cost, (int, float)) or not math.isfinite(cost):
        raise EngineError(f"{what} is {_said(cost)}: expected a whole number")
    if cost < 1 or cost != int(cost):
        raise EngineError(f"{what} is {_said(cost)}: expected 1 or more")
    return int(cost)


def _variable_costs(spec: object) -> tuple[tuple[str, int], ...]:
    option = "complexity_of_variables"
    if not isinstance(spec, Mapping):
        return ((OTHERS, _cost(option, spec)),)
    for name in spec:
        if not isinstance(name, str):
            raise EngineError(f"{option} names {_said(name)}: expected inputs such as {{'x': 2}}")
    return tuple((name, _cost(f"{option} of {_said(name)}", cost)) for name, cost in spec.items())


def _constraints(spec: object) -> tuple[tuple[str, tuple[int, ...]], ...]:
    read = {}
    for name, limits in _mapping("constraints", spec, "{'sin': 5, '*': (5, -1)}").items():
        row, given = lookup(name), [limits] if type(limits) is int else limits
        sound = isinstance(given, (tuple, list)) and len(given) == row.arity
        if not sound or not all(type(n) is int and (n >= 1 or n == UNLIMITED) for n in given):
            expected = "a complexity" if row.arity == 1 else "a pair of complexities"
            raise EngineError(
                f"constraints of {_said(name)} is {_said(limits)}: expected {expected}, -1 for no"
                " limit"
            )
        read[row.name] = tuple(given)
    return tuple(read.items())


def _nested(spec: object) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
    option, example = "nested_constraints", "{'sin': {'sin': 0, 'cos': 1}}"
    read = {}
    for outer, limits in _mapping(option, spec, example).items():
        inner = _mapping(f"{option} of {_said(outer)}", limits, "{'sin': 0}")
        for name, most in inner.items():
            if type(most) is not int or most < 0:
                raise EngineError(
                    f"{option} of {_said(name)} in {_said(outer)} is {_said(most)}: expected how"
                    " often it may be met there, from 0"
                )
        named = tuple((lookup(name).name, most) for name, most in inner.items())
        read[lookup(outer).name] = named
    return tuple(read.items())


def _mapping(option: str, spec: object, example: str) -> Mapping[Any, Any]:
    if not isinstance(spec, Mapping):
        raise EngineError(f"{option} is {_said(spec)}: expected a mapping such as {example}")
    return spec


def _said(value: object) -> str:
    return one_line(repr(value), 60)
