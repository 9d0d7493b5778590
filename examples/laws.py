"""Are textbook laws found again: from exact samples, from noisy ones, and through networks?

    python examples/laws.py                          34 laws, three seeds
    python examples/laws.py --modes noise --laws hill morse --seeds 0
    python examples/laws.py --resume                 go on where a run was stopped
    python examples/laws.py --quick                  three easy laws, one seed

The laws are those of `laws_data.py`, `laws_judge.py` says when one is found. Each search is what
`distill` does for a user with its defaults, in a process of its own with one thread of BLAS, one
search a process. Finished searches are kept in laws.jsonl beside the other results.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from laws_data import LAWS
from laws_run import NOISE, SAMPLES, Outcome, Settings, Task, from_json, run, to_json
from laws_table import draw, table
from study import Study

SEEDS = (0, 1, 2)
MODES = ("direct", "noise")
QUICK = ("sound", "hill", "arrhenius")
# One thread, or searches beside each other would wait for each other's.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    options = read_options()
    study = Study("laws", options.quick, options.output)
    tasks = plan(options)
    settings = Settings(options.limit)
    outcomes = search_all(tasks, settings, options)
    shown = [name for name in LAWS if name in {task.law for task in tasks}]
    draw(study.picture, outcomes, shown)
    study.finish(
        table(outcomes, shown),
        [to_json(outcome) for outcome in outcomes],
        seeds=sorted({task.seed for task in tasks}),
        settings={"samples": SAMPLES, "noise": NOISE, **asdict(settings)},
    )


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Study.parser(__doc__, f"{', '.join(QUICK)} only, one seed")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--laws", nargs="+", choices=LAWS, metavar="NAME", default=tuple(LAWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument(
        "--distract", action="store_true", help="allow sqrt, square, exp, log and sin as well"
    )
    parser.add_argument("--limit", type=float, default=600.0, help="seconds that a search may take")
    parser.add_argument("--processes", type=int, default=1, help="searches at a time")
    parser.add_argument(
        "--resume", action="store_true", help="keep what laws.jsonl in the output folder holds"
    )
    return parser.parse_args(arguments)


def plan(options: argparse.Namespace) -> list[Task]:
    """All searches: a seed after the other, so that a run that is stopped has whole seeds."""
    laws, seeds, modes = options.laws, options.seeds, options.modes
    if options.quick:
        laws, seeds, modes = QUICK, SEEDS[:1], MODES[:1]
    return [
        Task(law, mode, seed, options.distract) for seed in seeds for mode in modes for law in laws
    ]


def search_all(
    tasks: Sequence[Task], settings: Settings, options: argparse.Namespace
) -> list[Outcome]:
    """The outcome of each task, those from before included if the run is resumed."""
    kept = options.output / "laws.jsonl"
    done = read(kept) if options.resume else {}
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("a" if options.resume else "w", encoding="utf-8") as file:
        waiting = [task for task in tasks if task not in done]
        for outcome in outcomes_of(waiting, settings, options):
            done[outcome.task] = outcome
            file.write(json.dumps(to_json(outcome), allow_nan=False) + "\n")
            file.flush()
            word = "hit " if outcome.hit else "front" if outcome.front else "miss"
            print(*outcome.task, word, f"{outcome.cpu:.1f} s", outcome.equation, flush=True)
    return [done[task] for task in tasks]


def read(path: Path) -> dict[Task, Outcome]:
    """Finished searches of earlier runs; the last line may be torn, where the run was killed."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            outcome = from_json(json.loads(line))
        except ValueError:
            continue
        found[outcome.task] = outcome
    return found


def outcomes_of(
    tasks: Sequence[Task], settings: Settings, options: argparse.Namespace
) -> Iterator[Outcome]:
    """Run each, in a process of its own but in quick mode, in the order in which they end."""
    if options.quick:
        yield from (run(task, settings) for task in tasks)
    elif tasks:
        with fresh_processes(options.processes) as pool:
            for future in as_completed([pool.submit(run, task, settings) for task in tasks]):
                yield future.result()


def fresh_processes(n: int) -> ProcessPoolExecutor:
    """One process a task, n at a time: none inherits sympy's cache, or a search that never ended.
    They are forks of a server that has imported all, and has started no thread."""
    os.environ |= dict.fromkeys(THREADS, "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pyoperon", "scipy.optimize", "symcompile.driver"])
    return ProcessPoolExecutor(n, context, max_tasks_per_child=1)


if __name__ == "__main__":
    main()
