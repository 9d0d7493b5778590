"""Findings: the chain of questions that were answered with yes, and the problem that is left."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.regression.structure.problem import Problem
from symcompile.regression.structure.questions import (
    Hypothesis,
    hypotheses,
    in_groups,
    scalings,
    sums,
)
from symcompile.regression.structure.surrogate import error, fitting

# A finding is tried where a surrogate errs by less than this share of the spread more: networks err
# as much, smoothly, and what they have learned is as exact as that.
TENTATIVE = 0.03
# What a surrogate knows better than this was computed, not learned.
_EXACT = 1e-6
# Rows that are looked at.
ROWS = 700
# Losses of two surrogates that are the same but for chance differ by less than so many standard
# errors, and their errors by less than this factor.
SIGMA, FACTOR = 2.0, 1.25
# Where a surrogate errs by less than this factor more, it may be for its coordinates.
NEAR = 10.0
# A surrogate that errs by more than this share of the spread does not know the function: that
# another errs no more says little.
_KNOWN = 0.1
# With half as many terms a surrogate that has come to its end errs by less than this factor more.
STILL = 1.5
# Below this share of the spread an error is a surrogate's own: no answer is another for it.
_NEGLIGIBLE = 1e-5
# More variables than this make too many pairs.
MOST = 8


@dataclass(frozen=True)
class Finding:
    """One answer.

    Attributes:
        hypothesis: what was asked, and found to be so.
        before, after: error of a surrogate without and with it, as shares of the spread.
        certain: whether the surrogate is as good with it, and not a poor one; else it may be so.
    """

    hypothesis: Hypothesis
    before: float
    after: float
    certain: bool


@dataclass(frozen=True)
class Structure:
    """What is known of an output, and what is left of it: the last problem of a chain, the first
    of which is the output itself.

    `error` is that of a surrogate of what is left, as a share of the spread of the output.
    """

    problems: tuple[Problem, ...]
    findings: tuple[Finding, ...]
    error: float

    @property
    def certain(self) -> int:
        """How many findings are certain before the first that is not."""
        flags = [finding.certain for finding in self.findings]
        return flags.index(False) if False in flags else len(flags)

    @property
    def core(self) -> Problem:
        return self.problems[-1]


def structure(problem: Problem, deadline: float = math.inf) -> Structure:
    """Ask, believe the answer that is borne out best, and ask again of what is left.

    A hypothesis is believed where a surrogate in fewer variables errs no more than that in all:
    beyond what single samples make of it by chance.
    """
    problems, findings = [problem], list[Finding]()
    terms = problem.terms
    spread = problem.spread
    while len(problem.variables) <= MOST and problem.variables and time.monotonic() < deadline:
        step = _step(problem, terms, spread, deadline)
        if step is None:
            break
        finding, problem = step
        if findings and not findings[-1].certain:  # it stands on what may not be so
            finding = replace(finding, certain=False)
        findings.append(finding)
        problems.append(problem)
    left = _in_best_coordinates(problem, terms, deadline)
    least = error(left[0].errors(terms, left[1])) / spread
    return Structure(tuple(problems), tuple(findings), least)


def floor(problem: Problem, spread: float, deadline: float = math.inf) -> float:
    """What no smooth function of the variables gets below, as a share of the spread: noise, or what
    a network has not learned. 0 where a surrogate with more terms would err less, and past the
    deadline."""
    if time.monotonic() >= deadline:
        return 0.0
    problem, logarithmic = _in_best_coordinates(problem, problem.terms, deadline)
    counts = problem.terms, max(problem.terms // 2, 1)
    full, half = (error(problem.errors(terms, logarithmic)) for terms in counts)
    return full / spread if half < STILL * full else 0.0


def _step(
    problem: Problem, terms: int, spread: float, deadline: float
) -> tuple[Finding, Problem] | None:
    """What is borne out best of the first questions that anything is borne out of. None past the
    deadline too."""
    problem, logarithmic = _in_best_coordinates(problem, terms, deadline)
    errors = problem.errors(terms, logarithmic)
    full = max(error(errors), _NEGLIGIBLE * spread)
    before = error(errors) / spread
    likeliest: list[tuple[float, Hypothesis]] = []
    for asked in _questions(problem, terms, logarithmic, before <= _KNOWN, deadline):
        trials = []
        for hypothesis, own in asked:
            if time.monotonic() >= deadline:
                return None
            if hypothesis.reduced.is_finite:
                trial = hypothesis.reduced.errors(terms, own)
                trials.append((error(trial), trial, hypothesis))
        trials.sort(key=lambda trial: trial[0])
        likeliest += [(found, hypothesis) for found, _, hypothesis in trials[:1]]
        for found, trial, hypothesis in trials:
            certain, reduced = before <= _KNOWN, hypothesis.reduced
            if _must_be(hypothesis, problem):
                return Finding(hypothesis, before, found / spread, True), reduced
            if found > NEAR * full:
                break
            if time.monotonic() >= deadline:
                return None
            if not _as_good(trial, errors, full):
                reduced, own = _in_best_coordinates(reduced, terms, deadline)
                trial = reduced.errors(terms, own)
                if not _as_good(trial, errors, full):
                    continue
            return Finding(hypothesis, before, error(trial) / spread, certain), reduced
    for found, hypothesis in likeliest:
        if found <= TENTATIVE * spread and before > _EXACT:
            return Finding(hypothesis, before, found / spread, False), hypothesis.reduced
    return None


Question = tuple[Hypothesis, bool]


def _questions(
    problem: Problem, terms: int, logarithmic: bool, known: bool, deadline: float
) -> Iterator[Iterator[Question]]:
    """One lot after the other, each question with whether the logarithm of what it leaves is to be
    looked at: of one variable or two, then of many.

    Where there are units first what is added in them, then what they leave; of a surrogate that
    does not know the function both, since to it much is as good.
    """
    if problem.has_units:
        added = ((one, logarithmic) for one in sums(problem, terms))
        left = (_in_own_coordinates(one, terms, deadline) for one in in_groups(problem))
        if known:
            yield added
        else:
            yield chain(added, islice(left, 1))
        yield from (iter([one]) for one in left)
    yield ((one, logarithmic) for one in hypotheses(problem, terms))
    yield ((one, logarithmic) for one in scalings(problem, terms, logarithmic))


def _in_own_coordinates(hypothesis: Hypothesis, terms: int, deadline: float) -> Question:
    """What many variables are replaced by at once may need quite others."""
    if not hypothesis.reduced.is_finite:
        return hypothesis, False
    reduced, logarithmic = _in_best_coordinates(hypothesis.reduced, terms, deadline)
    return replace(hypothesis, reduced=reduced), logarithmic


def _must_be(hypothesis: Hypothesis, problem: Problem) -> bool:
    """Whether no law with constants that are pure numbers could be other."""
    pure = problem.has_units and problem.dimensions.dimensionless_constants
    return pure and hypothesis.kind == "scaling" and not hypothesis.reduced.has_units


def _as_good(trial: Array, errors: Array, full: float) -> bool:
    worse = trial * trial - errors * errors
    chance = SIGMA * float(worse.std()) / math.sqrt(len(worse))
    no_worse = float(worse.mean()) <= max(chance, full**2 / len(worse))
    return no_worse and error(trial) <= FACTOR * full


def _in_best_coordinates(
    problem: Problem, terms: int, deadline: float = math.inf
) -> tuple[Problem, bool]:
    """Columns as fine as the core needs them, as far as that is found by the deadline, and whether
    its logarithm is smoother."""
    trials = []
    for logarithmic in (False, True) if problem.has_sign else (False,):
        size = np.abs(problem.core)
        target = np.log(size) if logarithmic else problem.core
        weight = problem.weight * size if logarithmic else problem.weight
        columns = fitting(problem.columns, target, weight, terms, deadline)
        variables = [replace(v, column=c) for v, c in zip(problem.variables, columns, strict=True)]
        trial = replace(problem, variables=tuple(variables))
        trials.append((error(trial.errors(terms, logarithmic)), logarithmic, trial))
    _, logarithmic, best = min(trials, key=lambda trial: trial[:2])
    return best, logarithmic
