"""How near are explanations to their black boxes: equations, LIME, and ridges, on eight tables?

    python examples/slime_benchmark.py                              eight tables, three seeds
    python examples/slime_benchmark.py --tables iris wine --seeds 0
    python examples/slime_benchmark.py --quick                      two tables, one row each

The set-up is that of the SLIME paper (arXiv 2602.21307): a small network for each table of
`slime_data.py`, and five random test rows, each explained with the defaults of `explain`. What is
measured is measured on 500 fresh points around the row, which nothing was fitted to, see
`symcompile.explanation.fidelity`. LIME is the package `lime`, with its defaults and with
continuous features; ridge and logistic ridge are linear laws of the same samples that equations are
fitted to. Seconds are those of the explanation without LIME. `slime_table.py` makes the tables.
Five of the data sets are downloaded when they are first used.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from slime_data import TABLES, Table
from slime_network import MOST_STEPS, Standardised, trained
from slime_table import Fidelity, Outcome, Told, table, to_json
from study import Study

from symcompile.explanation import Explanation, explain

SEEDS = (0, 1, 2)
# What `--quick` asks: no downloads.
QUICK = ("iris", "breast_cancer")
DIGITS = 4


@dataclass(frozen=True)
class Settings:
    """How much is done.

    Attributes:
        rows: explained of each table.
        steps: of training, at most.
        lime: whether LIME is measured; None for if it is there.
        timed: whether explanations are made again without LIME, for their seconds.
        options: of `explain`, where they are not its defaults.
    """

    rows: int = 5
    steps: int = MOST_STEPS
    lime: bool | None = True
    timed: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


SHORT = Settings(
    rows=1,
    steps=200,
    lime=None,
    timed=False,
    options={"n_synthetic": 200, "engine_options": {"restarts": 1, "population": 100}},
)


@dataclass(frozen=True)
class Subject:
    """A black box, with the rows that it was trained on, and others.

    Attributes:
        unit: of its outputs: the standard deviation of the training target; 1 for classes.
    """

    table: Table
    seed: int
    network: Standardised
    X: pd.DataFrame
    tests: pd.DataFrame
    quality: float
    unit: float

    @classmethod
    def of(cls, name: str, seed: int, steps: int) -> Subject:
        table = TABLES[name]()
        X, y, tests, truth = table.split(seed)
        network = trained(table, X, y, seed, steps)
        unit = 1.0 if table.classes else float(y.std())
        return cls(table, seed, network, X, tests, network.quality(tests, truth), unit)

    def rows(self, count: int) -> list[int]:
        """Random test rows, by their numbers; the same ones first, whatever the count is."""
        rng = np.random.default_rng([self.seed, 1])
        return rng.permutation(len(self.tests))[:count].tolist()

    def explained(self, row: int, settings: Settings, lime: bool | None) -> Explanation:
        return explain(
            self.network,
            self.tests.iloc[row],
            self.X,
            extrapolate=True,
            lime=lime,
            seed=self.seed,
            **settings.options,
        )


def outcomes_of(subject: Subject, settings: Settings) -> Iterator[Outcome]:
    """An explanation of each row."""
    for row in subject.rows(settings.rows):
        start = time.perf_counter()
        explanation = subject.explained(row, settings, settings.lime)
        if settings.timed:
            start = time.perf_counter()
            subject.explained(row, settings, lime=False)
        yield outcome(subject, row, explanation, time.perf_counter() - start)


def outcome(subject: Subject, row: int, explanation: Explanation, seconds: float) -> Outcome:
    return Outcome(
        subject.table.name,
        subject.seed,
        row,
        subject.X.shape[1],
        round(subject.quality, 4),
        in_units(explanation.fidelity, subject.unit),
        explanation.linear_is_as_good,
        round(explanation.effective_sample_size, 1),
        explanation.selected,
        equations_of(explanation),
        round(seconds, 2),
    )


def in_units(fidelity: Fidelity, unit: float) -> dict[str, dict[str, float]]:
    """Measures of outputs that are divided by the unit."""
    powers = {"mae": 1, "mse": 2}
    return {
        method: {name: value / unit ** powers.get(name, 0) for name, value in measures.items()}
        for method, measures in fidelity.items()
    }


def equations_of(explanation: Explanation) -> tuple[Told, ...]:
    return tuple(
        Told(
            explanation.link.title(k),
            found.equation.text(DIGITS),
            found.equation.complexity,
            found.is_linear,
        )
        for k, found in explanation.told.items()
    )


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Study.parser(__doc__, "two tables that need no download, one row each, short searches")
    parser.add_argument(
        "--tables", nargs="+", choices=TABLES, metavar="NAME", default=tuple(TABLES)
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    return parser.parse_args(arguments)


def tell(outcome: Outcome) -> None:
    """One line of an explanation that is done."""
    texts = "; ".join(f"{told.title} = {told.text}" for told in outcome.equations)
    named = f"{outcome.table}, seed {outcome.seed}, row {outcome.row}"
    print(f"{named}: {outcome.seconds:.1f} s, {texts}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options(arguments)
    study = Study("slime", options.quick, options.output)
    tables, seeds, settings = options.tables, options.seeds, Settings()
    if options.quick:
        tables, seeds, settings = QUICK, SEEDS[:1], SHORT
    outcomes = []
    for name in tables:
        for seed in seeds:
            for one in outcomes_of(Subject.of(name, seed, settings.steps), settings):
                tell(one)
                outcomes.append(one)
    results = [to_json(one) for one in outcomes]
    study.finish(table(outcomes), results, seeds=seeds, settings=vars(settings))


if __name__ == "__main__":
    main()
