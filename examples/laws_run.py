"""One search for one law: its samples, what `distill` makes of them, and the verdict."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from laws_data import LAWS, Law
from laws_judge import Judge

from symcompile import Equation, SymCompileError, distill

SAMPLES = {"direct": 2000, "noise": 2000}
NOISE = 0.01


class Task(NamedTuple):
    """What is run; its fields are the key under which the result is kept.

    Attributes:
        law: its name.
        mode: "direct" or "noise".
        seed: of samples, noise and search.
        distract: whether five more operators are allowed.
    """

    law: str
    mode: str
    seed: int
    distract: bool = False
    by: str = "symcompile"


@dataclass(frozen=True)
class Settings:
    """What holds for all tasks: seconds after which a search counts as one that never ends."""

    limit: float = 600.0


@dataclass(frozen=True)
class Outcome:
    """One search and its verdict.

    Attributes:
        hit: whether the default choice is the law, as its mode asks for it.
        front: whether any equation of the front would have been.
        cpu, wall: seconds of the search, those of its child processes among them.
        inside, wide, refitted: see `Verdict`; None where infinite.
        equation, complexity: the choice; why there is none, and 0.
        equations: the front, in its order.
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

    @property
    def task(self) -> Task:
        return Task(self.law, self.mode, self.seed, self.distract, self.by)


class Found(NamedTuple):
    """The choice of a search and its whole front; why there is none."""

    best: Equation | None
    front: tuple[Equation, ...] = ()
    reason: str = ""


class NeverEndsError(KeyboardInterrupt):
    """Ends a search as Ctrl-C does, whatever it is at."""


def run(task: Task, settings: Settings) -> Outcome:
    """Search in this process, one thread of BLAS and torch, and judge."""
    law = LAWS[task.law]
    with seconds() as spent:
        found = search(task, law, settings)
    return judged(task, Judge(law), found, *spent)


def search(task: Task, law: Law, settings: Settings) -> Found:
    """What a user gets who gives the samples, names and operators, and nothing else."""
    X, y = law.samples(task.seed, SAMPLES[task.mode], NOISE if task.mode == "noise" else 0.0)
    try:
        with limited(settings.limit):
            front = distill(
                X,
                y,
                names=law.names,
                operators=law.operators(task.distract),
                engine="operon",
                seed=task.seed,
                progress=False,
            )[0]
    except NeverEndsError:
        return Found(None, (), f"no end after {settings.limit:.0f} s")
    except SymCompileError as error:
        return Found(None, (), str(error))
    return Found(front.best if len(front) else None, tuple(front), front.reason)


def judged(task: Task, judge: Judge, found: Found, cpu: float, wall: float) -> Outcome:
    """The verdict; the front is asked only where the choice is no hit."""
    if found.best is None:
        return _missed(task, found.reason, cpu, wall)
    verdict = judge.verdict(found.best)
    hit = verdict.hit(task.mode)
    errors = {"inside": verdict.inside, "wide": verdict.wide, "refitted": verdict.refitted}
    return Outcome(
        *task,
        hit=hit,
        exact=verdict.exact,
        structure=verdict.structure,
        front=hit or judge.on_front(found.front, task.mode),
        cpu=round(cpu, 2),
        wall=round(wall, 2),
        **{name: value if value < float("inf") else None for name, value in errors.items()},
        equation=found.best.text(6),
        complexity=found.best.complexity,
        equations=tuple(one.text(6) for one in found.front),
    )


def _missed(task: Task, reason: str, cpu: float, wall: float) -> Outcome:
    no = {"hit": False, "exact": False, "structure": False, "front": False}
    none = {"inside": None, "wide": None, "refitted": None}
    spent = {"cpu": round(cpu, 2), "wall": round(wall, 2)}
    return Outcome(*task, **no, **spent, **none, equation=reason, complexity=0, equations=())


def to_json(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome)


def from_json(row: dict[str, Any]) -> Outcome:
    return Outcome(**{**row, "equations": tuple(row["equations"])})


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
