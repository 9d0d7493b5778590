"""Statements: findings in words, and whether those who can be asked bear them out."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy

from symcompile.errors import ExpressionError
from symcompile.expressions.evaluation import Array
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.structure.claim import EXACT, Claim
from symcompile.regression.structure.moves import asked, moves
from symcompile.regression.structure.statement import (
    LONGEST,
    MOST,
    Statement,
    borne_out,
    form_of,
    in_one_line,
    in_words,
    kept_by,
)

NAMES = ("E", "T", "a", "b", "z")
LOW, HIGH = np.array([0.0, 1, 1, 1, 1]), np.array([2.0, 3, 5, 5, 4])
X = np.random.default_rng(0).uniform(LOW, HIGH, (400, 5))


def expr(text: str) -> sympy.Expr:
    return sympy.sympify(text, locals={name: sympy.Symbol(name) for name in NAMES})


def claim(
    kind: str, subject: str, variables: str = "", factor: str = "1", terms: str = "", **more: Any
) -> Claim:
    """Of expressions that are parted by semicolons."""
    parts = [
        tuple(expr(part) for part in text.split(";") if part)
        for text in (subject, terms, variables)
    ]
    return Claim(NAMES, kind, parts[0], expr(factor), parts[1], parts[2], **more)


def nernst(X: Array) -> Array:
    E, T, a, b, z = X.T
    return E + T * np.log(a / b) / z


SPREAD = float(nernst(X).std())
CHAIN = (
    claim("scaling", "E;z", "T;a;b;E*z", "1/z"),
    claim("term", "E*z", "T;a;b", "1/z", "E"),
    claim("group", "a;b", "T;a/b", "1/z", "E"),
    claim("factor", "T", "a/b", "T/z", "E"),
)


def stated(claim: Claim, *, certain: bool = True) -> Statement:
    return Statement("", "", 0.01, 0.001, certain).about(claim)


def law(X: Array) -> Array:
    return nernst(X)[:, None]


@pytest.mark.parametrize(
    ("given", "words", "form"),
    [
        (claim("irrelevant", "z", "a;b"), "z does not matter", "G(a, b)"),
        (claim("factor", "a", "b;z", "a"), "proportional to a", "a*G(b, z)"),
        (claim("factor", "1/sqrt(b)", "", "a/sqrt(b)"), "proportional to 1/sqrt(b)", ""),
        (claim("group", "a;b", "z;a/b"), "a and b matter only through a/b", "G(z, a/b)"),
        (claim("term", "E", "a", "1", "E"), "constant*E is added", "constant*E + G(a)"),
        (
            claim("term", "E", "a", "1", "E", coefficients=(-1.0,)),
            "-E is added",
            "-E + G(a)",
        ),
        (
            claim("term", "E*z", "T", "1/z", "E", coefficients=(2.50001,)),
            "2.5*E is added",
            "2.5*E + G(T)/z",
        ),
        (
            claim("scaling", "T;a", "a/T", "T**3"),
            "output/T**3 depends only on a/T",
            "T**3*G(a/T)",
        ),
    ],
)
def test_each_kind_in_words(given: Claim, words: str, form: str) -> None:
    assert in_words(given) == words
    assert form_of(given) == (form or "constant*a/sqrt(b)")


def test_no_function_and_no_output_is_called_like_an_input() -> None:
    names = ("G", "output")
    G, output = map(sympy.Symbol, names)
    given = Claim(names, "scaling", (G, output), output, (), (G / output,))
    assert form_of(given) == "output*F(G/output)"
    assert in_words(given) == "result/output depends only on G/output"


def test_a_chain_is_one_line() -> None:
    found = borne_out([*map(stated, CHAIN)], X, nernst, 0.0, SPREAD)
    line = in_one_line(found)
    assert line.startswith("E + T*G(a/b)/z (samples keep it to 0.1 % of the spread): ")
    assert line.endswith("E is added; a and b matter only through a/b; proportional to T")
    assert in_one_line(()) == ""
    tentative = [*found[:-1], replace(found[-1], certain=False, asked=0.006)]
    told = "(as the equation has it; kept to 0.6 % of the spread where that was asked)"
    assert told in in_one_line(tentative)


# --- moves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [*CHAIN, claim("group", "a;b", "T;E;z;a**2 + b**2")], ids=str)
def test_moves_stay_on_the_level_set_and_inside_of_the_ranges(given: Claim) -> None:
    pair = moves(given, X)
    assert pair is not None
    start, end = pair
    assert len(start) > 80
    before, after = (given.values(side)[2] for side in pair)
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)
    assert (end >= X.min(axis=0) - 1e-12).all()
    assert (end <= X.max(axis=0) + 1e-12).all()
    shares = np.abs(end - start).max(axis=0) / np.ptp(X, axis=0)
    used = {str(s) for v in given.variables for s in v.free_symbols}
    free = [name not in used for name in NAMES]
    assert (shares[free] > 0.2).all()


def test_whole_numbers_and_what_never_varies_stay() -> None:
    fixed = X.copy()
    fixed[:, 4] = np.round(fixed[:, 4])
    fixed[:, 0] = 0.5
    pair = moves(claim("irrelevant", "z", "T;b"), fixed)
    assert pair is not None
    assert (pair[0][:, [0, 4]] == pair[1][:, [0, 4]]).all()
    assert moves(claim("irrelevant", "z", "E;T;a;b"), fixed) is None
    assert moves(claim("irrelevant", "z", "E;T;a;b"), X[:5]) is None


# --- asked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "true"),
    [
        *((given, True) for given in CHAIN),
        (claim("group", "a;b", "E;T;z;a*b"), False),
        (claim("irrelevant", "z", "E;T;a;b"), False),
        (claim("factor", "T", "E;a;b;z", "T"), False),
        (claim("term", "T", "E;a;b;z", "1", "T"), False),
        (claim("scaling", "E;z", "T;a;b;E*z", "z"), False),
    ],
    ids=str,
)
def test_what_is_true_is_kept_and_what_is_false_is_not(given: Claim, true: bool) -> None:
    (result,) = asked([(given, 0)], X, law, {0: SPREAD})
    assert result is not None
    assert result[1] < 1e-12 if true else result[1] > 0.05


def test_coefficients_are_fitted_and_empty_terms_go() -> None:
    given = claim("term", "z", "E;T;a;b", "1", "z")
    for slope, words in ((0.25, "0.25*z is added"), (0.0, "z does not matter")):
        outputs = lambda X: (X[:, 2] ** 2 + slope * X[:, 4])[:, None]  # noqa: B023, E731
        (result,) = asked([(given, 0)], X, outputs, {0: 1.0})
        assert result is not None
        assert result[1] < 1e-12
        assert in_words(result[0]) == words


def test_what_is_not_certain_the_equation_has_to_have() -> None:
    def near(X: Array) -> Array:
        return nernst(X) + 0.01 * X[:, 2] * X[:, 1] / X[:, 4]

    def kept(function: Callable[[Array], Array], error: float, certain: bool) -> int:
        chain = [stated(given, certain=certain) for given in CHAIN]
        return len(borne_out(chain, X, function, error, SPREAD))

    assert kept(nernst, 0.0, False) == kept(nernst, 0.0, True) == 4
    # The equation breaks "a and b matter only through a/b", by less than it errs, or by more.
    assert kept(near, 0.02, False) == 2
    assert kept(near, 0.02, True) == 4
    assert kept(near, 1e-4, True) == 2


def test_the_function_is_asked_once_and_keeps_what_a_network_would() -> None:
    calls = []

    def outputs(X: Array) -> Array:
        calls.append(len(X))
        wave = np.sin(3 * X[:, 2]) * SPREAD / X[:, 4]
        return np.stack([nernst(X), nernst(X) + 0.01 * wave, nernst(X) + 0.3 * wave], axis=1)

    chain = tuple(map(stated, CHAIN))
    found = kept_by(dict.fromkeys(range(3), chain), X, outputs, dict.fromkeys(range(3), SPREAD))
    assert len(calls) == 1
    assert [len(found[k]) for k in range(3)] == [4, 4, 2]
    assert found[0][-1].asked is not None
    assert found[0][-1].asked < EXACT
    assert found[1][-1].asked is not None
    assert 0.002 < found[1][-1].asked < 0.01


def test_other_units_are_other_factors() -> None:
    chain = claim("group", "a;b", "T;a - b", "1/z", "E")
    scaled = chain.rescaled((3, 0, 10, 9, -4))
    assert scaled.factor == 1 / sympy.Symbol("z")
    assert scaled.terms == (sympy.Symbol("E"),)
    assert form_of(scaled) == "constant*E + G(T, 1024.0*a - 512.0*b)/z"


# --- stored --------------------------------------------------------------------------------------


def front() -> ParetoFront:
    found = borne_out([*map(stated, CHAIN)], X, nernst, 0.0, SPREAD)
    return ParetoFront((), 1.0, findings=found)


def test_fronts_keep_them() -> None:
    given = front()
    again = ParetoFront.from_json(json.loads(json.dumps(given.to_json())))
    assert again == given == pickle.loads(pickle.dumps(given))
    assert [f.claim and in_words(f.claim) for f in again.findings][2] == given.findings[2].text
    assert given.grown([]).findings == given.findings
    assert "findings" not in ParetoFront((), 1.0).to_json()
    assert str(given).endswith(in_one_line(given.findings))


def nan(data: Any) -> None:
    data["findings"][0]["after"] = math.nan


DAMAGE: dict[str, Callable[[Any], Any]] = {
    "no list": lambda data: data.update(findings={"text": "a"}),
    "too many": lambda data: data.update(findings=data["findings"] * MOST),
    "no text": lambda data: data["findings"][0].pop("text"),
    "long": lambda data: data["findings"][0].update(text="a" * (LONGEST + 1)),
    "number": lambda data: data["findings"][0].update(form=3),
    "negative": lambda data: data["findings"][0].update(before=-1.0),
    "nan": nan,
    "text": lambda data: data["findings"][0].update(asked="0.1"),
    "flag": lambda data: data["findings"][0].update(certain=1),
    "kind": lambda data: data["findings"][0]["claim"].update(kind="law"),
    "names": lambda data: data["findings"][0]["claim"].update(names=["a b"] * 5),
    "twice": lambda data: data["findings"][0]["claim"].update(names=["a"] * 5),
    "counts": lambda data: data["findings"][0]["claim"].update(counts=[10**9, 1, 1]),
    "fewer": lambda data: data["findings"][0]["claim"].update(counts=[0, 1, 1]),
    "program": lambda data: data["findings"][0]["claim"].update(program="__import__('os')"),
    "claim": lambda data: data["findings"][0].update(claim=None),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_ones_are_refused(name: str) -> None:
    data = json.loads(json.dumps(front().to_json()))
    DAMAGE[name](data)
    with pytest.raises(ExpressionError):
        ParetoFront.from_json(data)


def test_texts_of_files_are_shown_on_one_line_and_never_read() -> None:
    data = json.loads(json.dumps(front().to_json()))
    data["findings"][-1] |= {"text": "x\x1b[2J\n", "form": "__import__('os').abort()"}
    data["findings"][-1].pop("claim")
    loaded = ParetoFront.from_json(data)
    assert loaded.findings[-1].claim is None
    line = str(loaded).splitlines()[-1]
    assert line.isprintable()
    assert "__import__('os').abort()" in line
