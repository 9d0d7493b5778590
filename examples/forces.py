"""Read force laws off graph networks: five variants of a network, four laws, equations in place.

    python examples/forces.py            every variant; bottleneck and pruning with two seeds
    python examples/forces.py --quick    one small network and one law

Simulates four particles, trains a graph network to predict their accelerations, and compiles its
messages inside the running network: features are expressions of what the edge model gets. Messages
of a hundred dimensions are first brought down to the two that the node model reads of them
(`graph_network.narrowed`). The equations are then rid of what the node model can make up for, while
it trains on around them (`Compiled.simplify`). A rule decides what is the law, see
`forces_judge.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from force_laws import LAWS
from forces_figure import draw
from forces_run import DATA_SEED, Case, Outcome, Sizes, run
from forces_table import table
from graph_network import HIDDEN, VARIANTS, Training
from study import Study, processes

# Not those with which the compiler was developed.
SEEDS = (12, 13)
# The variants that have to find every law, with every seed; the others are run once.
SEVERAL = ("bottleneck", "pruning")
QUICK = Sizes(
    train=300,
    test=30,
    training=Training(1500, batch=32, rate=3e-3),
    adapting=Training(100, batch=64, rate=3e-3),
    edges=600,
    restarts=1,
    population=250,
    max_complexity=18,
)


def cases() -> list[Case]:
    """All runs, law by law, so that a worker simulates few laws."""
    return [
        Case(law, variant, seed)
        for law in LAWS
        for variant in VARIANTS
        for seed in (SEEDS if variant in SEVERAL else SEEDS[:1])
    ]


def run_all(chosen: Sequence[Case]) -> list[Outcome]:
    """Two at a time, one thread each."""
    if len(chosen) == 1:
        return [run(chosen[0])]
    outcomes = []
    with processes() as pool:
        for outcome in pool.map(run, chosen):
            outcomes.append(outcome)
            right = [message.settled["right"] for message in outcome.messages]
            print(f"{outcome.law} {outcome.variant} {outcome.seed}: {right}", flush=True)
    return outcomes


def main() -> None:
    study = Study.from_command_line("forces", __doc__, "one small network and one law")
    chosen = [Case("r^-1", "bottleneck", 0, QUICK)] if study.quick else cases()
    outcomes = run_all(chosen)
    draw(outcomes, study.picture)
    study.finish(
        table(outcomes),
        [outcome.to_json() for outcome in outcomes],
        seeds={"data": [DATA_SEED], "networks": SEEDS},
        settings={"sizes": asdict(chosen[0].sizes), "hidden": HIDDEN},
    )


if __name__ == "__main__":
    main()
