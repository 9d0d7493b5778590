"""Do units help to find a law?

    python examples/units_study.py             43 laws with and without, three seeds
    python examples/units_study.py --modes noise --laws "lorentz mass" barometer --seeds 0
    python examples/units_study.py --quick     two of them, one seed

The laws are those of `units_laws.py`: textbook laws, and laws of physics in the magnitudes of the
SI. Each is searched for by the defaults of `distill` from 2,000 samples, exact or with 1 % of
noise, without units and, beside it, with those of the SI, in processes of their own. A law counts
as found as in `laws.py`, by the default choice. Of every front it is counted how many equations
have dimensions that do not go together. That pint reads its own table of units, a third of a second
once in a process, is not counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from statistics import median
from typing import NamedTuple

from laws import fresh_processes
from laws_judge import Judge
from laws_run import NOISE, NeverEndsError, limited, seconds
from study import Study, markdown
from units_laws import GIVEN, Given

from symcompile import Equation, SymCompileError, distill
from symcompile.expressions.dimensions import Dimensions
from symcompile.expressions.units import Units

MODES = ("direct", "noise")
SEEDS = (0, 1, 2)
SAMPLES, LIMIT = 2000, 600.0
QUICK = ("barometer", "coulomb")


class Task(NamedTuple):
    """One search: of which law, from what, and whether it is told of units."""

    law: str
    mode: str
    seed: int
    units: bool


@dataclass(frozen=True)
class Outcome:
    """Whether the choice of a search is the law, its CPU seconds, how many equations of its front
    make sense in no units, and the choice; why there is none."""

    law: str
    mode: str
    seed: int
    units: bool
    found: bool
    cpu: float
    broken: int
    equation: str


def main() -> None:
    options = read_options()
    study = Study("units", options.quick, options.output)
    outcomes = sorted(search_all(plan(options), options), key=place)
    study.finish(
        table(outcomes),
        [asdict(outcome) for outcome in outcomes],
        seeds=sorted({outcome.seed for outcome in outcomes}),
        settings={"samples": SAMPLES, "noise": NOISE},
    )


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Study.parser(__doc__, "two laws, exact, one seed")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--laws", nargs="+", choices=GIVEN, metavar="NAME", default=tuple(GIVEN))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=1, help="searches at a time")
    return parser.parse_args(arguments)


def plan(options: argparse.Namespace) -> list[Task]:
    """All searches; with and without units one after the other, so that a machine that is busy at
    times is so for both."""
    laws, seeds, modes = options.laws, options.seeds, options.modes
    if options.quick:
        laws, seeds, modes = QUICK, SEEDS[:1], MODES[:1]
    return [
        Task(law, mode, seed, units)
        for seed in seeds
        for mode in modes
        for law in laws
        for units in (False, True)
    ]


def place(outcome: Outcome) -> tuple[int, ...]:
    laws = list(GIVEN)
    return MODES.index(outcome.mode), laws.index(outcome.law), outcome.seed, outcome.units


def search_all(tasks: Sequence[Task], options: argparse.Namespace) -> Iterator[Outcome]:
    if options.quick:
        yield from map(search, tasks)
        return
    with fresh_processes(options.processes) as pool:
        for future in as_completed([pool.submit(search, task) for task in tasks]):
            outcome = future.result()
            word = "found" if outcome.found else "-"
            with_ = "with units" if outcome.units else "without"
            named = outcome.law, outcome.mode, outcome.seed, with_
            print(*named, word, f"{outcome.cpu:.1f} s", outcome.equation, flush=True)
            yield outcome


def search(task: Task) -> Outcome:
    """What `distill` finds of a law, judged."""
    given = GIVEN[task.law]
    law, rules = given.law, dimensions(given)  # pint has read its table
    X, y = law.samples(task.seed, SAMPLES, NOISE if task.mode == "noise" else 0.0)
    told = {"units": given.inputs, "output_units": given.output} if task.units else {}
    front: tuple[Equation, ...] = ()
    chosen, equation = None, ""
    with seconds() as spent:
        try:
            with limited(LIMIT):
                found = distill(
                    X, y, names=law.names, operators=law.operators(), seed=task.seed,
                    engine="operon", progress=False, **told,
                )[0]  # fmt: skip
            front, chosen = tuple(found), found.best
        except (NeverEndsError, SymCompileError) as error:
            equation = f"{type(error).__name__}: {error}"
    right = chosen is not None and Judge(law).verdict(chosen).hit(task.mode)
    equation = equation if chosen is None else chosen.text(6)
    return Outcome(*task, right, round(spent[0], 2), broken(front, rules), equation)


def dimensions(given: Given) -> Dimensions:
    known, (output,) = Units(given.inputs, given.output).of_inputs(given.law.names, 1)
    return known.for_output(output)


def broken(front: Sequence[Equation], rules: Dimensions) -> int:
    """Equations that do not go together in their dimensions."""
    return sum(rules.check(equation.form) is not None for equation in front)


def table(outcomes: Sequence[Outcome]) -> str:
    """Hits of all seeds by law, mode and units with CPU seconds, then totals."""
    columns = list(dict.fromkeys((outcome.mode, outcome.units) for outcome in outcomes))
    of = {
        column: [outcome for outcome in outcomes if (outcome.mode, outcome.units) == column]
        for column in columns
    }
    rows = [
        [law, *(_cell([one for one in of[column] if one.law == law]) for column in columns)]
        for law in dict.fromkeys(outcome.law for outcome in outcomes)
    ]
    rows.append(["found", *(_found(of[column]) for column in columns)])
    rows.append(["CPU s in all", *(f"{_seconds(of[column]):.1f}" for column in columns)])
    shares = (_seconds(of[mode, units]) / _seconds(of[mode, False]) for mode, units in columns)
    rows.append(["share of that without", *(f"{share:.2f}" for share in shares)])
    middles = (median(one.cpu for one in of[column]) for column in columns)
    rows.append(["median CPU s", *(f"{middle:.2f}" for middle in middles)])
    wrong = (sum(one.broken for one in of[column]) for column in columns)
    rows.append(["broken dimensions", *map(str, wrong)])
    heads = (f"{mode}, {'with units' if units else 'without'}" for mode, units in columns)
    return markdown(["law", *heads], rows)


def _seconds(outcomes: Sequence[Outcome]) -> float:
    return sum(outcome.cpu for outcome in outcomes)


def _found(outcomes: Sequence[Outcome]) -> str:
    return f"{sum(outcome.found for outcome in outcomes)} of {len(outcomes)}"


def _cell(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return "-"
    return f"{_found(outcomes)}, {median(outcome.cpu for outcome in outcomes):.1f} s"


if __name__ == "__main__":
    main()
