"""Is the right law found in small tables, with noise up to a fifth?

    python examples/small_tables.py            37 tables, two seeds, into results/
    python examples/small_tables.py --quick    two tables
    python examples/small_tables.py --tables "planets,half-life" --seeds 0,1,2

Tables of six to sixty rows, see `small_tables_data.py`, are given to `distill` as by a user.
A table counts as right where the default choice has the form of the law, as undecided where one of
those equations has it that the rows can't tell from the choice, which the report names. The front
is what a user would have found by looking at all of it. Finished searches are kept in NAME.jsonl
beside the results, and another run only does what is missing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from small_tables_data import MEASURED, NOISE, SIMULATED, TABLES, Table
from small_tables_judge import Judge
from study import Study, markdown

from symcompile import distill
from symcompile.regression.pareto import ParetoFront

SEEDS = (0, 1)
QUICK = ("planets", "free fall")


@dataclass(frozen=True)
class Task:
    """One search: which table, with how much noise, and which seed draws it and searches it."""

    table: str
    noise: float
    seed: int


@dataclass(frozen=True)
class Outcome:
    """One search, and whether its choice, an undecided equation, or any one of its front has the
    form of the law; how many `rivals` are undecided, and the runner-up's margin in nats."""

    table: str
    noise: float
    seed: int
    right: bool
    undecided: bool
    front: bool
    equation: str
    runner_up: str
    rivals: int
    margin: float | None
    seconds: float


def plan(tables: Iterable[Table], seeds: Sequence[int], quick: bool = False) -> list[Task]:
    """Every seed of every level of noise of every table."""
    return [
        Task(table.name, noise, seed)
        for seed in seeds
        for table in tables
        for noise in (table.levels[:1] if quick else table.levels)
    ]


def search(task: Task, options: dict[str, Any]) -> dict[str, Any]:
    """What `distill` finds: the front and the rows, as plain data."""
    table = TABLES[task.table]
    X, y = table.samples(task.noise, task.seed)
    start = time.process_time()
    with ThreadPoolExecutor(1) as executor:
        front = distill(
            X,
            y,
            names=table.names,
            operators=table.operators,
            engine="operon",
            engine_options=options,
            seed=task.seed,
            executor=executor,
            progress=False,
        )[0]
    return {
        **asdict(task),
        "seconds": round(time.process_time() - start, 2),
        "names": table.names,
        "operators": table.operators,
        "law": table.law,
        "X": X.tolist(),
        "y": y.tolist(),
        "front": front.to_json(),
    }


def judged(found: dict[str, Any]) -> Outcome:
    """The verdict on a search."""
    task = Task(found["table"], found["noise"], found["seed"])
    front = ParetoFront.from_json(found["front"])
    judge, best, second = _judge(task.table), front.best, front.runner_up
    right = judge.is_right(best)
    return Outcome(
        **asdict(task),
        right=right,
        undecided=not right and any(judge.is_right(rival.equation) for rival in front.undecided),
        front=right or any(judge.is_right(equation) for equation in front),
        equation=best.text(6),
        runner_up="" if second is None else second.equation.text(6),
        rivals=len(front.undecided),
        margin=None if second is None else round(second.margin, 3),
        seconds=found["seconds"],
    )


@cache
def _judge(name: str) -> Judge:
    return Judge(TABLES[name])


def run(tasks: Sequence[Task], kept: Path, options: dict[str, Any]) -> list[Outcome]:
    """Search what is not among the kept lines yet, keep it, and judge all."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    done = {}
    for line in kept.read_text(encoding="utf-8").splitlines() if kept.exists() else ():
        found = json.loads(line)
        done[Task(found["table"], found["noise"], found["seed"])] = found
    outcomes = []
    for task in tasks:
        if task not in done:
            done[task] = search(task, options)
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[task]) + "\n")
        outcomes.append(judged(done[task]))
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """Counts for each table: right, undecided with the law named, and on the front."""
    rows = []
    for name in dict.fromkeys(outcome.table for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.table == name]
        rows.append([name, TABLES[name].law, len(own), *_counts(own), _misses(own)])
    rows.append(["all", "", len(outcomes), *_counts(outcomes), ""])
    columns = ["table", "law", "searches", "right", "undecided", "on the front", "not right"]
    by_noise = [[_level(level), len(own), *_counts(own)] for level, own in _by_level(outcomes)]
    return (
        markdown(columns, rows)
        + "\n\n"
        + markdown(["noise", "searches", "right", "undecided", "on the front"], by_noise)
    )


def _counts(outcomes: Sequence[Outcome]) -> list[int]:
    kinds: tuple[Callable[[Outcome], bool], ...] = (
        lambda outcome: outcome.right,
        lambda outcome: outcome.undecided,
        lambda outcome: outcome.front,
    )
    return [sum(map(kind, outcomes)) for kind in kinds]


def _misses(outcomes: Sequence[Outcome]) -> str:
    """Levels of noise where the law was neither chosen nor named."""
    missed = [o.noise for o in outcomes if not (o.right or o.undecided)]
    return ", ".join(f"{noise:g} ({missed.count(noise)})" for noise in sorted(set(missed)))


def _by_level(outcomes: Sequence[Outcome]) -> list[tuple[float | None, list[Outcome]]]:
    """Outcomes of what is measured (None), and of each level of noise of what is simulated."""
    measured = {table.name for table in MEASURED}
    levels: list[tuple[float | None, list[Outcome]]] = [
        (None, [o for o in outcomes if o.table in measured])
    ]
    for noise in NOISE:
        levels.append(
            (noise, [o for o in outcomes if o.table not in measured and o.noise == noise])
        )
    return [(level, own) for level, own in levels if own]


def _level(level: float | None) -> str:
    return "measured" if level is None else f"{level:g}"


def draw(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Shares of right, undecided and found laws by noise."""
    from matplotlib.figure import Figure

    levels = _by_level(outcomes)
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for i, (_, own) in enumerate(levels):
        right, undecided, front = (count / len(own) for count in _counts(own))
        axes.bar(i, front, color="0.88", label="on the front" if not i else None)
        axes.bar(i, right, color="#4575b4", label="right" if not i else None)
        axes.bar(
            i,
            undecided,
            bottom=right,
            color="#abd9e9",
            label="undecided, the law named" if not i else None,
        )
    axes.set_xticks(range(len(levels)), [_level(level) for level, _ in levels])
    axes.set_xlabel("noise")
    axes.set_ylabel("share of searches")
    axes.set_ylim(0.0, 1.0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Laws of small tables", fontsize=11, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    figure.savefig(path, dpi=150)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two tables, short searches")
    parser.add_argument(
        "--output", type=Path, default=Path("results"), help="folder of the results"
    )
    parser.add_argument("--tables", default="", help="names with commas between; all if left out")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="such as 0,1,2")
    return parser.parse_args()


def main() -> None:
    asked = options()
    study = Study("small_tables", asked.quick, asked.output)
    names = [name.strip() for name in asked.tables.split(",") if name.strip()]
    unknown = [name for name in names if name not in TABLES]
    if unknown:
        raise SystemExit(f"--tables: no {unknown[0]!r}; there are {', '.join(TABLES)}")
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    tables = [TABLES[name] for name in names] or [*MEASURED, *SIMULATED]
    engine: dict[str, Any] = {}
    if asked.quick:
        tables, seeds = [TABLES[name] for name in QUICK], seeds[:1]
        engine = {"restarts": 1, "population": 250}
    kept = asked.output / f"{study.name}{'_quick' * asked.quick}.jsonl"
    outcomes = run(plan(tables, seeds, asked.quick), kept, engine)
    draw(study.picture, outcomes)
    study.finish(table(outcomes), [asdict(outcome) for outcome in outcomes], seeds=seeds)


if __name__ == "__main__":
    main()
