"""A budget is kept by every stage: by the clock of this thread, whatever else the machine does."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed.laws import Computed
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import create
from symcompile.regression.fit import Fit, compute_task, refine_task, search_task
from symcompile.regression.share import complete_task, share_task

OPERATORS = OperatorSet.of(["+", "-", "*", "/", "sqrt", "square", "exp", "log", "sin", "cos"])
ENGINE = create("operon", operators=OPERATORS)
# Seconds past the end of a stage, and of all of them: the last step, which takes half a second on
# one processor and more on others.
STAGE, WHOLE = 1.5, 3.0


def network(rows: int, inputs: int, budget: float | None, block: str = "") -> Fit:
    """What is no law: a fit of it goes on as long as it may."""
    rng = np.random.default_rng(inputs)
    X = rng.normal(size=(rows, inputs))
    y = np.tanh(X @ rng.normal(size=(inputs, 32)) / 2) @ rng.normal(size=32)
    train, held = slice(rows // 5, None), slice(rows // 5)
    names = tuple(f"x{k}" for k in range(inputs))
    halves = Dataset(X[train], y[train]), Dataset(X[held], y[held])
    return Fit("edge[0]", *halves, names, ENGINE, budget=budget, block=block)


@pytest.mark.parametrize(("rows", "inputs"), [(2_000, 5), (50_000, 12)])
def test_every_stage_ends_in_its_time(
    monkeypatch: pytest.MonkeyPatch, rows: int, inputs: int
) -> None:
    budget = 0.5
    monkeypatch.setattr(time, "monotonic", time.thread_time)
    fit, times = network(rows, inputs, budget, block="edge"), [time.thread_time()]

    def passed() -> float:
        times.append(time.thread_time())
        return times[-1] - times[-2]

    computed = compute_task(fit)
    assert passed() < 0.4 * budget + STAGE
    searched = search_task(fit, 0, computed).equations
    assert times[-1] + passed() - times[0] < 0.6 * budget + STAGE
    front = refine_task(fit, computed, searched)
    assert passed() < 0.32 * budget + STAGE
    front = share_task(fit, front, searched[:16])
    front = complete_task(fit, front, searched[:3])
    assert passed() < 0.08 * budget + STAGE
    assert times[-1] - times[0] < budget + WHOLE
    assert front.equations


def test_a_search_has_what_computing_has_left() -> None:
    fit = network(100, 2, 10.0)
    assert fit.seconds_to_search(Computed(seconds=1.0)) == pytest.approx(5.8)
    assert fit.seconds_to_search(Computed(seconds=4.0)) == pytest.approx(2.8)
    assert fit.seconds_to_search(Computed(seconds=60.0)) == pytest.approx(1.0)
    assert network(100, 2, 10.0, "edge").seconds_to_search(Computed()) == pytest.approx(6.0)
    assert network(100, 2, None).seconds_to_search(Computed()) is None


def test_what_computing_took_is_told() -> None:
    assert 0.0 < compute_task(network(200, 2, 0.1)).seconds < math.inf
