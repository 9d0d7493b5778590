"""What is refused, and what a reader is told to type instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from hybrids import Fake, region_of

from symcompile.fidelity.outcome import (
    Agreement,
    DomainIssue,
    EndToEnd,
    Fidelity,
    OutputFidelity,
    Shortfall,
)
from symcompile.fidelity.refusal import refusal
from symcompile.modules.region import Projection, Region

REGION = region_of("edge", Fake(["x0", "x1"], 2))


def refusal_reason(
    found: Fidelity, tolerance: float | None, beat_linear: bool, *, region: Region
) -> str | None:
    refused = refusal(found, tolerance, beat_linear, region=region)
    return None if refused is None else refused.reason(region.path)


def fidelity(
    errors: Mapping[int, float], linear: float = 0.5, issues: tuple[DomainIssue, ...] = ()
) -> Fidelity:
    def row(error: float) -> OutputFidelity:
        size = error if math.isfinite(error) else math.inf
        return OutputFidelity(
            Agreement(1 - error**2, error, size), Agreement(), Agreement(0.5, linear, 1.0)
        )

    rows = {output: row(error) for output, error in errors.items()}
    return Fidelity(rows, domain=issues, total=row(min(errors.values())))


def test_nothing_wrong_is_no_refusal() -> None:
    good = fidelity({0: 0.01, 1: 0.4})
    assert refusal_reason(good, None, True, region=REGION) is None
    assert refusal_reason(good, 0.4, False, region=REGION) is None


def test_tolerance_names_outputs_figures_and_what_to_type() -> None:
    reason = refusal_reason(fidelity({0: 0.01, 1: 0.31}), 0.05, False, region=REGION)
    assert reason is not None
    for part in ("output 1", "0.31", "0.05", "tolerance=", "max_complexity=", "operators=",
                 "features=", "budget=", "compiled.choose('edge'"):  # fmt: skip
        assert part.lower() in reason.lower()
    assert "output 0" not in reason.lower()


def test_beat_linear_refuses_what_a_matrix_does_better() -> None:
    bad = fidelity({0: 0.31}, linear=0.2)
    reason = refusal_reason(bad, None, True, region=REGION)
    assert reason is not None
    assert "linear map" in reason
    assert "0.31 against 0.2" in reason
    assert refusal_reason(bad, None, False, region=REGION) is None


def test_an_equation_undefined_on_recorded_samples_is_always_refused() -> None:
    issue = DomainIssue(0, "1/(x0 - 0.5)", "the denominator is zero", {"x0": 0.5}, True)
    reason = refusal_reason(fidelity({0: 0.0}, issues=(issue,)), None, False, region=REGION)
    assert reason is not None
    assert "1/(x0 - 0.5)" in reason
    assert "x0 = 0.5" in reason
    elsewhere = DomainIssue(0, "1/(x0 - 0.5)", "the denominator is zero", {"x0": 0.5}, False)
    found = fidelity({0: 0.0}, issues=(elsewhere,))
    assert refusal_reason(found, None, False, region=REGION) is None


def test_values_that_are_not_finite_are_always_refused() -> None:
    reason = refusal_reason(fidelity({0: 0.1, 2: math.inf}), None, False, region=REGION)
    assert reason is not None
    assert "Output 2 is not finite" in reason


def test_many_outputs_are_counted() -> None:
    reason = refusal_reason(fidelity(dict.fromkeys(range(9), 0.9)), 0.5, False, region=REGION)
    assert reason is not None
    assert "and 6 more" in reason


def test_projected_outputs_are_judged_together() -> None:
    of = replace(REGION, projection_out=Projection(np.zeros(2), np.eye(2)))
    assert refusal_reason(fidelity({0: 0.01, 1: 0.9}), 0.05, False, region=of) is None
    assert refusal_reason(fidelity({0: 0.1, 1: 0.9}), 0.05, False, region=of) is not None


def test_blocks_that_do_not_compute_their_equations_are_always_refused() -> None:
    one = Shortfall(0, "overflows", "float32", 12, 600, 1e-9)
    found = replace(fidelity({0: 0.0}), shortfalls=(one,))
    reason = refusal_reason(found, None, False, region=REGION)
    assert reason is not None
    for part in ("Output 0 overflows in float32 on 12 of 600 recorded samples", "model.double()"):
        assert part in reason


def test_the_whole_model_counts_as_well() -> None:
    change = EndToEnd(0.2, 1.0, 0.3, "held-out rows")
    found = replace(fidelity({0: 0.01}), end_to_end=change)
    assert refusal_reason(found, None, False, region=REGION) is None
    assert refusal_reason(found, 0.2, False, region=REGION) is None
    reason = refusal_reason(found, 0.1, False, region=REGION)
    assert reason is not None
    assert "The model's output moves by 0.2 (relative L2) on held-out rows" in reason
    broken = replace(found, end_to_end=replace(change, equation=math.inf, finite=False))
    reason = refusal_reason(broken, None, False, region=REGION)
    assert reason is not None
    assert "The model's output is not finite on held-out rows" in reason
