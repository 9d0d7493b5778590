"""The operator vocabulary and the sets that users make of it."""

from typing import Any

import pytest
import sympy

from symcompile.errors import EngineError
from symcompile.expressions.operator_set import DEFAULT, OperatorSet, lookup
from symcompile.expressions.operators import ALIASES, VOCABULARY

a, b = sympy.symbols("a b")


@pytest.mark.parametrize("name", VOCABULARY)
def test_rows_build_what_they_say(name: str) -> None:
    row = VOCABULARY[name]
    built = row.build(*(a, b)[: row.arity])
    assert built.free_symbols == {a, b} if row.arity == 2 else {a}
    assert row.complexity in (1, 3)
    assert row.pysr


def test_meaning_of_arithmetic() -> None:
    meaning = {"+": a + b, "-": a - b, "*": a * b, "/": a / b, "pow": a**b}
    meaning |= {"inv": 1 / a, "neg": -a, "square": a**2, "cube": a**3}
    for name, expected in meaning.items():
        row = VOCABULARY[name]
        assert row.build(*(a, b)[: row.arity]) == expected


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_lead_to_rows(alias: str) -> None:
    assert lookup(alias) is VOCABULARY[ALIASES[alias]]


def test_default_is_table_2_of_the_paper() -> None:
    found = OperatorSet.of(None)
    assert set(found) == set(DEFAULT) == {"+", "*", "inv", "sin", "exp"}
    assert found.to_dict() == {"+": 1, "*": 1, "inv": 1, "exp": 3, "sin": 3}
    assert found.unary == ("inv", "exp", "sin")
    assert found.binary == ("+", "*")


def test_sets_from_text_sequence_mapping_and_set() -> None:
    by_text = OperatorSet.of("+, ln")
    assert by_text == OperatorSet.of(["ln", "add"]) == OperatorSet.of(by_text)
    priced = OperatorSet.of({"+": 2, "ln": 5.0, "^": 4})
    assert priced.to_dict() == {"+": 2, "pow": 4, "log": 5}
    assert (priced.cost("log"), priced.cost("sin"), priced.cost("nothing")) == (5, 3, 3)
    assert "log" in priced
    assert "sin" not in priced
    assert len(priced) == 3


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (["sinus"], "'sinus'"),
        ([3], "3"),
        ([], "empty"),
        ("", "''"),
        (3, "3"),
        ({"+": 0}, "0"),
        ({"+": 1.5}, "1.5"),
        ({"+": True}, "True"),
        ({"+": float("nan")}, "nan"),
        ({"+": "1"}, "'1'"),
    ],
)
def test_wrong_sets_name_what_was_found(spec: Any, found: str) -> None:
    with pytest.raises(EngineError, match=found):
        OperatorSet.of(spec)
