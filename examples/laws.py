"""Are textbook laws found again: from exact samples, from noisy ones, and through networks?

    python examples/laws.py                          34 laws, three seeds
    python examples/laws.py --modes noise --laws hill morse --seeds 0
    python examples/laws.py --resume                 go on where a run was stopped
    python examples/laws.py --others                 73 laws that nobody had developed it on
    python examples/laws.py --operon                 pyoperon beside it, as long for each law
    python examples/laws.py --quick                  two easy laws, one seed

The laws are those of `laws_data.py`, or `laws_others.py`; `laws_judge.py` says when one is found.
Each search is what `distill` or `symcompile` does for a user with its defaults, in a process of its
own with one thread of BLAS and torch. Finished searches are kept in laws.jsonl beside the other
results, fronts and all, and trained networks in a folder of their own. `laws_summary.py` prints the
totals.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from laws_data import LAWS
from laws_networks import cache
from laws_others import EVERY, OTHERS
from laws_run import NOISE, SAMPLES, Outcome, Settings, Task, from_json, run, to_json
from laws_table import draw, table
from study import Study

SEEDS = (0, 1, 2)
MODES = ("direct", "noise", "network")
# What `--quick` asks: laws and modes.
QUICK = (("sound", "direct"), ("arrhenius", "direct"), ("sound", "network"))
# One thread, or searches beside each other would wait for each other's.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    options = read_options()
    study = Study("laws", options.quick, options.output)
    tasks = plan(options)
    settings = Settings(options.limit, options.cache)
    outcomes = search_all(tasks, settings, options)
    shown = [name for name in EVERY if name in {outcome.law for outcome in outcomes}]
    draw(study.picture, outcomes, shown)
    study.finish(
        table(outcomes, shown),
        [to_json(replace(outcome, equations=())) for outcome in outcomes],
        seeds=sorted({outcome.seed for outcome in outcomes}),
        settings={"samples": SAMPLES, "noise": NOISE, "limit": settings.limit},
    )


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Study.parser(__doc__, "two easy laws, one of them through a network too, one seed")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--laws", nargs="+", choices=EVERY, metavar="NAME", default=tuple(LAWS))
    which.add_argument(
        "--others", dest="laws", action="store_const", const=tuple(OTHERS), help="73 more laws"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument(
        "--distract", action="store_true", help="allow sqrt, square, exp, log and sin as well"
    )
    parser.add_argument(
        "--operon", action="store_true", help="pyoperon as well, for as many CPU seconds each"
    )
    parser.add_argument("--cache", type=Path, default=cache(), help="folder of trained networks")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds that a search may take")
    parser.add_argument("--processes", type=int, default=1, help="searches at a time")
    parser.add_argument(
        "--resume", action="store_true", help="keep what laws.jsonl in the output folder holds"
    )
    return parser.parse_args(arguments)


def plan(options: argparse.Namespace) -> list[Task]:
    """All searches: a seed after the other, so that a run that is stopped has whole seeds."""
    if options.quick:
        return [Task(law, mode, SEEDS[0], options.distract) for law, mode in QUICK]
    laws, seeds, modes = options.laws, options.seeds, options.modes
    return [
        Task(law, mode, seed, options.distract) for seed in seeds for mode in modes for law in laws
    ]


def search_all(
    tasks: Sequence[Task], settings: Settings, options: argparse.Namespace
) -> list[Outcome]:
    """The outcome of each task and, if it was asked for, of pyoperon on the same in the same time.
    A resumed run gives all that there are, those it was not asked for as well."""
    kept = options.output / "laws.jsonl"
    done = read(kept) if options.resume else {}
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("a" if options.resume else "w", encoding="utf-8") as file:

        def search(budgets: Mapping[Task, float]) -> None:
            waiting = {task: budget for task, budget in budgets.items() if task not in done}
            for outcome in outcomes_of(waiting, settings, options):
                done[outcome.task] = outcome
                file.write(json.dumps(to_json(outcome), allow_nan=False) + "\n")
                file.flush()
                tell(outcome)

        search(dict.fromkeys(tasks, 0.0))
        if options.operon:
            search({task._replace(by="operon"): done[task].cpu for task in tasks})
    return [done[task] for task in sorted(done, key=_place)]


def _place(task: Task) -> tuple[object, ...]:
    """Where a task stands among all: by column, law and seed."""
    law = list(EVERY).index(task.law)
    return task.by == "operon", task.distract, MODES.index(task.mode), law, task.seed


def tell(outcome: Outcome) -> None:
    """One line of a search that ended."""
    word = "hit " if outcome.hit else "front" if outcome.front else "miss"
    print(*outcome.task, word, f"{outcome.cpu:.1f} s", outcome.equation, flush=True)


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
    tasks: Mapping[Task, float], settings: Settings, options: argparse.Namespace
) -> Iterator[Outcome]:
    """Run each with its budget, in a process of its own but in quick mode, in the order in which
    they end."""
    if options.quick:
        yield from (run(task, settings, budget) for task, budget in tasks.items())
    elif tasks:
        with fresh_processes(options.processes) as pool:
            futures = [pool.submit(run, task, settings, budget) for task, budget in tasks.items()]
            for future in as_completed(futures):
                yield future.result()


def fresh_processes(n: int) -> ProcessPoolExecutor:
    """One process a task, n at a time: none inherits sympy's cache, or a search that never ended.
    They are forks of a server that has imported all, and has started no thread."""
    os.environ |= dict.fromkeys(THREADS, "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pyoperon", "scipy.optimize", "symcompile.passes", "symcompile.driver"]
    )
    return ProcessPoolExecutor(n, context, max_tasks_per_child=1)


if __name__ == "__main__":
    main()
