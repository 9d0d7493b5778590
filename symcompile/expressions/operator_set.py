"""The operators that a search may use, as users name and price them, and what limits their use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy

from symcompile.errors import EngineError, ExpressionError, one_line
from symcompile.expressions.custom import COMPLEXITY, CustomOperator
from symcompile.expressions.dimensions import Dimensions
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
# Operators of a user's own in one set: each form of a search is compared with all.
_MOST_CUSTOM = 32
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
        custom: operators of the user's own. To iterate gives those of the vocabulary only.
        dimensions: of inputs and output, where equations have to go together in them.
    """

    costs: tuple[tuple[str, int], ...]
    constraints: tuple[tuple[str, tuple[int, ...]], ...] = ()
    nested_constraints: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    variable_costs: tuple[tuple[str, int], ...] = ()
    constant_cost: int = 1
    custom: tuple[CustomOperator, ...] = ()
    dimensions: Dimensions | None = None

    @classmethod
    def of(
        cls,
        spec: OperatorSet | Iterable[str] | Mapping[str, Any] | None,
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
        operators = spec if isinstance(spec, OperatorSet) else _operators(spec)
        if constraints is not None:
            read["constraints"] = _constraints(constraints, operators)
        if nested_constraints is not None:
            read["nested_constraints"] = _nested(nested_constraints, operators)
        if complexity_of_variables is not None:
            read["variable_costs"] = _variable_costs(complexity_of_variables)
        if complexity_of_constants is not None:
            read["constant_cost"] = _cost("complexity_of_constants", complexity_of_constants)
        return replace(operators, **read) if read else operators

    def __contains__(self, name: object) -> bool:
        if any(name == other for other, _ in self.costs):
            return True
        return any(name == operator.name for operator in self.custom)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.costs)

    def __len__(self) -> int:
        return len(self.costs)

    def cost(self, name: str) -> int:
        """Complexity of one node; an operator outside of the set costs its default."""
        for other, cost in self.costs:
            if other == name:
                return cost
        for operator in self.custom:
            if operator.name == name:
                return operator.complexity
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

    def to_dict(self) -> dict[str, Any]:
        """The complexity of each operator, of the user's own behind its definition."""
        return dict(self.costs) | {one.name: [one.text, one.complexity] for one in self.custom}

    def limits(self) -> dict[str, Any]:
        """What limits their use as plain data, by the options of `of`, as far as there is any."""
        stored = {
            "constraints": {name: list(limits) for name, limits in self.constraints},
            "nested_constraints": {name: dict(inner) for name, inner in self.nested_constraints},
            "complexity_of_variables": dict(self.variable_costs),
            "complexity_of_constants": self.constant_cost,
        }
        limits = {name: value for name, value in stored.items() if value not in ({}, 1)}
        if self.dimensions is not None:
            limits["dimensions"] = self.dimensions.to_json()
        return limits

    @classmethod
    def described(cls, data: Mapping[str, Any]) -> OperatorSet:
        """The set of an engine that says of itself `operators` and, beside them, `limits`."""
        limits = _mapping("limits", data.get("limits") or {}, str(dict.fromkeys(LIMITS)))
        given = {name: limits.get(name) for name in LIMITS}
        operators = cls.of(dict(data.get("operators") or {}) or None, **given)
        if limits.get("dimensions") is None:
            return operators
        try:
            return replace(operators, dimensions=Dimensions.from_json(limits["dimensions"]))
        except ExpressionError as error:
            raise EngineError(str(error)) from None


def lookup(name: object) -> Operator:
    """The row of an operator by its name or an alias of it."""
    if not isinstance(name, str):
        raise EngineError(f"operators holds {name!r}: expected names such as '+' or 'sin'")
    row = VOCABULARY.get(ALIASES.get(name, name))
    if row is None:
        raise EngineError(
            f"unknown operator {name!r}: choose from {', '.join(VOCABULARY)}; or define one of your"
            " own, such as {'lorentz': '1/sqrt(1 - a**2)'}"
        )
    return row


# --- what a user wrote ---------------------------------------------------------------------------


def _operators(spec: Iterable[str] | Mapping[str, Any] | None) -> OperatorSet:
    if isinstance(spec, str):
        spec = [name.strip() for name in spec.split(",")]
    names = DEFAULT if spec is None else spec
    if not isinstance(names, Iterable):
        raise EngineError(f"operators is {_said(spec)}: expected names such as ['+', 'sin']")
    prices: Mapping[str, Any] = names if isinstance(names, Mapping) else {}
    costs, custom = {}, {}
    for name in names:
        price = prices.get(name)
        if isinstance(price, (str, sympy.Expr, tuple, list)) and not _is_known(name):
            custom[name] = _custom(name, price)
            continue
        operator = lookup(name)
        given = operator.complexity if price is None else price
        costs[operator.name] = _cost(f"complexity of operator {_said(name)}", given)
    if len(custom) > _MOST_CUSTOM:
        raise EngineError(f"operators has {len(custom)} definitions: at most {_MOST_CUSTOM}")
    if not costs:
        raise EngineError("operators is empty: name at least one, for example ['+', '*']")
    ordered = sorted(costs.items(), key=lambda item: list(VOCABULARY).index(item[0]))
    return OperatorSet(tuple(ordered), custom=tuple(custom.values()))


def _is_known(name: object) -> bool:
    return isinstance(name, str) and ALIASES.get(name, name) in VOCABULARY


def _custom(name: object, definition: Any) -> CustomOperator:
    """An operator of the user's own: a definition, or that and a complexity."""
    what, price = f"operator {_said(name)}", COMPLEXITY
    if isinstance(definition, (tuple, list)):
        if len(definition) != 2:
            raise EngineError(
                f"{what} is {_said(definition)}: expected a definition in a, or in a and b, and a"
                " complexity, such as ('1/sqrt(1 - a**2)', 4)"
            )
        definition, price = definition
    if not isinstance(name, str) or not isinstance(definition, (str, sympy.Expr)):
        raise EngineError(
            f"{what} is {_said(definition)}: expected a text or a sympy expression of a, or of a"
            " and b"
        )
    try:
        return CustomOperator.of(name, definition, _cost(f"complexity of {what}", price))
    except ExpressionError as error:
        raise EngineError(str(error)) from None


def _named(name: object, operators: OperatorSet) -> Operator | CustomOperator:
    """An operator that something is said of."""
    own = [operator for operator in operators.custom if operator.name == name]
    return own[0] if own else lookup(name)


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


def _constraints(spec: object, operators: OperatorSet) -> tuple[tuple[str, tuple[int, ...]], ...]:
    read = {}
    for name, limits in _mapping("constraints", spec, "{'sin': 5, '*': (5, -1)}").items():
        row, given = _named(name, operators), [limits] if type(limits) is int else limits
        sound = isinstance(given, (tuple, list)) and len(given) == row.arity
        if not sound or not all(type(n) is int and (n >= 1 or n == UNLIMITED) for n in given):
            expected = "a complexity" if row.arity == 1 else "a pair of complexities"
            raise EngineError(
                f"constraints of {_said(name)} is {_said(limits)}: expected {expected}, -1 for no"
                " limit"
            )
        read[row.name] = tuple(given)
    return tuple(read.items())


def _nested(
    spec: object, operators: OperatorSet
) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
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
        named = tuple((_named(name, operators).name, most) for name, most in inner.items())
        read[_named(outer, operators).name] = named
    return tuple(read.items())


def _mapping(option: str, spec: object, example: str) -> Mapping[Any, Any]:
    if not isinstance(spec, Mapping):
        raise EngineError(f"{option} is {_said(spec)}: expected a mapping such as {example}")
    return spec


def _said(value: object) -> str:
    return one_line(repr(value), 60)
