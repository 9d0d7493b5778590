"""What PySR is told of operators, of inputs and of their units, in its own words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from symcompile.expressions.dimensions import WHOLE, Dimensions, Vector
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import ALIASES, VOCABULARY
from symcompile.regression.engines.julia_text import PREFIX, definition

# Units of the base dimensions, as DynamicQuantities.jl reads them.
_SI = {
    "length": "m",
    "mass": "kg",
    "time": "s",
    "current": "A",
    "temperature": "K",
    "luminosity": "cd",
    "substance": "mol",
}


def units(dimensions: Dimensions | None, names: Sequence[str]) -> dict[str, Any]:
    """Units of inputs and output as PySR takes them: of their dimensions, those of the SI.

    None where a dimension has no such unit: what it finds is looked at here in any case.
    """
    if dimensions is None or not set(dimensions.bases) <= set(_SI):
        return {}

    def unit(vector: Vector) -> str:
        powers = zip(dimensions.bases, (Fraction(x, WHOLE) for x in vector), strict=True)
        return "*".join(f"{_SI[base]}^({p.numerator}//{p.denominator})" for base, p in powers if p)

    known = dict(dimensions.inputs)
    given = {"X_units": [unit(known[name]) or "1" for name in names]}
    output = dimensions.output
    return given if output is None else given | {"y_units": [unit(output) or "1"]}


def leaf_settings(operators: OperatorSet, names: Sequence[str]) -> dict[str, Any]:
    """What inputs and constants cost, where that is not 1."""
    costs = [operators.cost_of_input(name) for name in names]
    return {
        "complexity_of_variables": costs if operators.variable_costs else None,
        "complexity_of_constants": operators.constant_cost if operators.constant_cost > 1 else None,
    }


def operator_settings(operators: OperatorSet) -> dict[str, Any]:
    """Operators and their costs as PySR spells them, and the constraints on them."""

    def within(limits: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Those of operators that PySR is given: it refuses others."""
        return _respelled({name: limit for name, limit in limits if name in operators})

    names = [*operators, *(custom.name for custom in operators.custom)]
    constraints = {
        name: limit if len(limit) > 1 else limit[0]
        for name, limit in within(operators.constraints).items()
    }
    if "pow" in operators:
        # Without this PySR warns, and finds towers of powers: any base, but a plain exponent.
        constraints.setdefault("^", (-1, 1))
    nested = {name: within(inner) for name, inner in within(operators.nested_constraints).items()}
    rows, customs = [VOCABULARY[name] for name in operators], operators.custom
    # PySR wants to make sympy expressions of what it finds, though nothing here reads them.
    own = {row.pysr_name: row.build for row in rows if row.definition or row.pysr_name != row.pysr}
    own |= {PREFIX + custom.name: custom.head for custom in customs}
    unary, binary = (
        [*(VOCABULARY[name].pysr for name in names), *map(definition, of_arity)]
        for names, of_arity in (
            (operators.unary, [custom for custom in customs if custom.arity == 1]),
            (operators.binary, [custom for custom in customs if custom.arity == 2]),
        )
    )
    return {
        "binary_operators": binary,
        "unary_operators": unary,
        "complexity_of_operators": _respelled({name: operators.cost(name) for name in names}),
        "extra_sympy_mappings": own or None,
        "constraints": constraints or None,
        "nested_constraints": {name: inner for name, inner in nested.items() if inner} or None,
    }


def _respelled(by_operator: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that are operators as PySR spells them."""
    names = {name: row.pysr_name for name, row in VOCABULARY.items()}
    return {
        names.get(ALIASES.get(key, key), PREFIX + key): value for key, value in by_operator.items()
    }
