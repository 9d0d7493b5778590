"""Structure: what is found to be so is so, on laws that are known."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import sympy
from known_laws import KNOWN, Known

from symcompile.regression.structure import Finding, Structure, structure
from symcompile.regression.structure.problem import Problem
from symcompile.regression.structure.questions import hypotheses

ROWS = 320
# Of a share of the spread that is left when a coefficient is fitted to samples with noise.
EXACT, NOISY = 1e-9, 0.01


def said(finding: Finding) -> str:
    subject = ", ".join(str(variable.expr) for variable in finding.hypothesis.subject)
    return f"{finding.hypothesis.kind} {subject}"


def check(law: Known, found: Structure, tolerance: float) -> None:
    """Every certain finding is true of the law itself, not only of the samples."""
    assert len(found.problems) == len(found.findings) + 1
    for finding, problem in zip(found.findings, found.problems[1:], strict=True):
        if finding.certain:
            assert law.falsehood(problem) < tolerance, said(finding)


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_what_is_found_is_so_and_nothing_is_overlooked(name: str, noise: float) -> None:
    law = KNOWN[name]
    found = structure(law.problem(ROWS, noise))
    check(law, found, NOISY if noise else EXACT)
    assert all(finding.certain for finding in found.findings)
    assert len(found.core.variables) <= law.left
    assert found.error == pytest.approx(noise, rel=0.2, abs=1e-5)


def test_a_false_claim_would_be_seen() -> None:
    """Of all that is asked of a law, most is not so, and the measure tells which."""
    law = KNOWN["lens"]
    false = [law.falsehood(h.reduced) for h in hypotheses(law.problem(100), 12)]
    so = sum(share < EXACT for share in false)
    assert sum(share > 0.05 for share in false) == len(false) - so > 10 * so > 0


@pytest.mark.parametrize(
    ("text", "ranges", "expected"),
    [
        ("sin(3*(x - y))", {"x": (0, 1), "y": (0, 1)}, "group x - y"),
        ("exp(x + y)/(x + y)", {"x": (1, 2), "y": (0.5, 2)}, "group x + y"),
        ("cos(x*y)", {"x": (0.5, 2), "y": (-1, 1)}, "group x*y"),
        ("tanh(x**2 + y**2)", {"x": (-1, 1), "y": (-1, 1)}, "group x**2 + y**2"),
        ("sin(2*x)", {"x": (0, 1), "y": (-1, 1)}, "irrelevant y"),
        ("y + sin(2*x)", {"x": (0, 1), "y": (-1, 1)}, "term y"),
        ("sin(2*x)/y**2", {"x": (0.2, 1), "y": (-3, -1)}, "factor y**(-2)"),
    ],
)
def test_each_kind_is_found_by_its_name(
    text: str, ranges: dict[str, tuple[float, float]], expected: str
) -> None:
    law = Known(text, 1, ranges)
    found = structure(law.problem(300))
    assert expected in map(said, found.findings)
    assert len(found.core.variables) == 1
    check(law, found, EXACT)


def test_what_is_taken_off_is_put_back() -> None:
    """`offset + factor * core` is the output at every step."""
    law = KNOWN["cooling"]
    X, y = law.samples(ROWS)
    for problem in structure(Problem.of(X, y, law.names)).problems:
        core = sympy.Symbol("core")
        of = sympy.lambdify([*law.symbols, core], problem.output(core), "numpy")
        np.testing.assert_allclose(of(*X.T, problem.core), y, rtol=1e-9)
        for variable in problem.variables:
            np.testing.assert_allclose(law.on(X, variable.expr), variable.values, rtol=1e-9)


def test_nothing_is_certain_of_noise() -> None:
    """Nor is it where a surrogate has too few terms for a law."""
    rng = np.random.default_rng(5)
    X = rng.uniform(1, 5, (ROWS, 3))
    assert not any(
        finding.certain
        for finding in structure(Problem.of(X, rng.normal(size=ROWS), ("a", "b", "c"))).findings
    )
    wave = Known(
        "a*sin(k*x - w*t)", 2, {"a": (1, 3), "k": (1, 2), "x": (0, 3), "w": (1, 2), "t": (0, 3)}
    )
    found = structure(wave.problem(150))
    assert found.findings
    check(wave, found, EXACT)


def test_what_stands_on_what_may_be_so_is_not_certain() -> None:
    for name in ("gauss", "cooling"):
        found = structure(KNOWN[name].problem(150, 0.01))
        certain = [finding.certain for finding in found.findings]
        assert certain == sorted(certain, reverse=True)


def test_noise_of_known_size_is_weighed() -> None:
    """Rows that are known to be bad are believed less."""
    law = KNOWN["lens"]
    X, y = law.samples(ROWS)
    rng = np.random.default_rng(2)
    bad = rng.random(ROWS) < 0.3
    noisy = y + np.where(bad, 2.0, 1e-4) * y.std() * rng.normal(size=ROWS)
    weight = np.where(bad, 1e-4, 1.0)
    found = structure(Problem.of(X, noisy, law.names, weight))
    assert [finding.hypothesis.kind for finding in found.findings] == ["scaling"]
    check(law, found, EXACT)


def test_rows_of_no_weight_are_none() -> None:
    """A surrogate with as many terms as samples would meet them all."""
    rng = np.random.default_rng(4)
    X, y = rng.uniform(1, 5, (ROWS, 2)), rng.normal(size=ROWS)
    weight = np.where(np.arange(ROWS) % 8, 0.0, 1.0)
    problem = Problem.of(X, y, ("a", "b"), weight)
    assert problem.effective_rows == pytest.approx(ROWS / 8)
    assert structure(problem).error > 0.8


def test_inputs_that_do_not_vary_are_no_variables() -> None:
    X = np.random.default_rng(0).uniform(1, 2, (100, 3))
    X[:, 1] = 7.0
    problem = Problem.of(X, X[:, 0] * X[:, 2], ("a", "b", "c"))
    assert [str(variable.expr) for variable in problem.variables] == ["a", "c"]
    assert not structure(replace(problem, variables=())).findings


def test_nothing_is_asked_after_the_deadline() -> None:
    found = structure(KNOWN["lens"].problem(ROWS), time.monotonic())
    assert (len(found.problems), found.findings) == (1, ())
