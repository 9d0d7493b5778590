"""One search for one law: its samples or its network, what a user gets from them, the verdict."""

from __future__ import annotations

import math
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from laws_data import Law
from laws_judge import HAS, Judge, Verdict, relative_l2
from laws_networks import ENOUGH, cache, outputs, trained
from laws_networks import SAMPLES as NETWORK_SAMPLES
from laws_operon import bred
from laws_others import EVERY
from torch import nn

from symcompile import Equation, SymCompileError, Target, distill, symcompile
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.structure import Statement

SAMPLES = {"direct": 2000, "noise": 2000, "network": NETWORK_SAMPLES}
NOISE = 0.01


class Task(NamedTuple):
    """What is run; its fields are the key under which the result is kept.

    Attributes:
        law: its name.
        mode: "direct", "noise" or "network".
        seed: of samples, noise, network and search.
        distract: whether five more operators are allowed.
        by: who searches, "symcompile" or "operon".
    """

    law: str
    mode: str
    seed: int
    distract: bool = False
    by: str = "symcompile"


@dataclass(frozen=True)
class Settings:
    """What holds for all tasks.

    Attributes:
        limit: seconds after which a search counts as one that never ends.
        networks: folder that keeps the trained networks.
    """

    limit: float = 600.0
    networks: Path = field(default_factory=cache)


@dataclass(frozen=True)
class Outcome:
    """One search and its verdict.

    Attributes:
        hit: whether the default choice is the law, as its mode asks for it.
        front: whether any equation of the front would have been.
        cpu, wall: seconds of the search, those of its child processes among them.
        inside, wide, refitted, network: see `Verdict`; None where infinite, or without a network.
        equation, complexity: the choice; why there is none, and 0.
        equations: the front, in its order.
        findings: what is claimed of the law's structure, and by how much the law breaks that, as a
            share of its spread; None where it can't be told.
    """

    law: str
    mode: str
    seed: int
    distract: bool
    by: str
    hit: bool
    exact: bool
    structure: bool
    front: bool
    cpu: float
    wall: float
    inside: float | None
    wide: float | None
    refitted: float | None
    equation: str
    complexity: int
    equations: tuple[str, ...]
    network: float | None = None
    findings: tuple[tuple[str, float | None], ...] = ()

    @property
    def claims(self) -> list[bool]:
        """Of each finding, whether the law has it."""
        return [error is not None and error <= HAS for _, error in self.findings]

    @property
    def task(self) -> Task:
        return Task(self.law, self.mode, self.seed, self.distract, self.by)


class Found(NamedTuple):
    """The choice of a search and its whole front; why there is none."""

    best: Equation | None
    front: tuple[Equation, ...] = ()
    reason: str = ""
    findings: tuple[Statement, ...] = ()


class NeverEndsError(KeyboardInterrupt):
    """Ends a search as Ctrl-C does, whatever it is at."""


def run(task: Task, settings: Settings, budget: float = 0.0) -> Outcome:
    """Search in this process, one thread of BLAS and torch, and judge. `budget` is in CPU seconds,
    for operon."""
    torch.set_num_threads(1)
    law = EVERY[task.law]
    model = trained(law, task.seed, settings.networks)[0] if task.mode == "network" else None
    judge = Judge(law)
    if model is not None:
        error = relative_l2(outputs(model, judge.inside), judge.truth_inside)
        judge = Judge(law, error)
    with seconds() as spent:
        found = search(task, law, model, settings, budget)
    return judged(task, judge, found, *spent)


def search(
    task: Task, law: Law, model: nn.Module | None, settings: Settings, budget: float
) -> Found:
    """What a search finds; why there is nothing, if it never ends or fails."""
    try:
        with limited(settings.limit):
            return _find(task, law, model, budget)
    except NeverEndsError:
        return Found(None, (), f"no end after {settings.limit:.0f} s")
    except SymCompileError as error:
        return Found(None, (), str(error))


def _find(task: Task, law: Law, model: nn.Module | None, budget: float) -> Found:
    noise = NOISE if task.mode == "noise" else 0.0
    X, y = law.samples(task.seed, SAMPLES[task.mode], noise)
    operators = law.operators(task.distract)
    if task.by == "operon":
        values = y if model is None else outputs(model, X)
        off = noise * float(y.std()) if model is None else ENOUGH * float(np.sqrt(np.mean(y**2)))
        options = {"noise": off, "seed": task.seed, "budget": budget}
        return Found(*bred(law.names, operators, X, values, **options))
    asked = {"operators": operators, "engine": "operon", "seed": task.seed, "progress": False}
    if model is None:
        front = distill(X, y, names=law.names, **asked)[0]
        best = front.best if len(front) else None
        return Found(best, tuple(front), front.reason, front.findings)
    data = torch.from_numpy(X).float()
    compiled = symcompile(model, Target(".", names=law.names), data, **asked)
    fronts = compiled.fronts.get(".", {0: ParetoFront((), math.nan)})
    found = fronts[0].findings
    if "." not in compiled.equations:
        return Found(None, tuple(fronts[0]), compiled.outcomes["."].reason, found)
    return Found(compiled.equations["."][0], tuple(fronts[0]), "", found)


def judged(task: Task, judge: Judge, found: Found, cpu: float, wall: float) -> Outcome:
    """The verdict; the front is asked only where the choice is no hit."""
    verdict = Verdict(network=judge.network)
    if found.best is not None:
        verdict = judge.verdict(found.best)
    hit = verdict.hit(task.mode)
    errors = asdict(verdict)
    return Outcome(
        *task,
        hit=hit,
        exact=verdict.exact,
        structure=verdict.structure,
        front=hit or judge.on_front(found.front, task.mode),
        cpu=round(cpu, 2),
        wall=round(wall, 2),
        equation=found.reason if found.best is None else found.best.text(6),
        complexity=0 if found.best is None else found.best.complexity,
        equations=tuple(one.text(6) for one in found.front),
        findings=tuple(
            (text, error if math.isfinite(error) else None)
            for text, error in judge.falsehoods(found.findings)
        ),
        **{name: None if value == math.inf else value for name, value in errors.items()},
    )


def to_json(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome)


def from_json(row: dict[str, Any]) -> Outcome:
    found = tuple((text, error) for text, error in row.get("findings", ()))
    return Outcome(**{**row, "equations": tuple(row["equations"]), "findings": found})


@contextmanager
def seconds() -> Iterator[list[float]]:
    """A list that holds CPU seconds, of children that have ended too, and wall seconds in the
    end."""
    spent: list[float] = []
    start = (_cpu(), time.perf_counter())
    try:
        yield spent
    finally:
        spent += [_cpu() - start[0], time.perf_counter() - start[1]]


def _cpu() -> float:
    own, children = (
        resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


@contextmanager
def limited(limit: float) -> Iterator[None]:
    """Raise NeverEndsError in the block, which the main thread runs, after so many seconds."""

    def stop(*_: object) -> None:
        raise NeverEndsError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
