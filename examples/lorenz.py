"""Recover the Lorenz equations from ten mixed observations of them, inside a running model.

    python examples/lorenz.py            four seeds, about seven minutes on two cores
    python examples/lorenz.py --quick    one seed, a small network

A network finds three coordinates and their rates of change (arXiv 2602.21307, Lorenz experiment).
Its MLP is compiled to equations in place, the model is fine-tuned with them in it, once with the
encoder alone and once with the constants too, and all of these predict 200 trajectories. Sparse
regression (SINDy) of the same latent states is measured beside them: on the network's outputs,
which is what the equations are fitted to, and on the true rates, which they never see. Coordinates
are only found up to an affine map: laws are compared in the best-fitting ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from lorenz_figure import draw
from lorenz_law import PRESENT, true_field, written
from lorenz_rollouts import HORIZON, LYAPUNOV, VALID
from lorenz_run import (
    DEFAULT,
    EQUATIONS,
    MODELS,
    NETWORK,
    RULE,
    TRAINED,
    TUNED,
    Outcome,
    Settings,
    run,
)
from study import Study, markdown, processes

SEEDS = (290402, 0, 1, 2)
QUICK = Settings(
    steps=20_000, train=10_000, epochs=300, batch=500, tuning=20, samples=2000, restarts=1,
    population=200, rollouts=20, horizon=600,
)  # fmt: skip
# Mean squared errors of the paper, training and testing half.
PAPER = {NETWORK: "8.22 / 8.18", EQUATIONS: "15.52 / 15.65", TUNED: "12.51 / 12.66"}


def outcomes(seeds: Sequence[int], settings: Settings) -> list[Outcome]:
    """Every seed in a process with one thread, as many at a time as there are cores."""
    if len(seeds) == 1:
        return [run(seeds[0], settings)]
    with processes(min(len(seeds), os.cpu_count() or 1)) as pool:
        return list(pool.map(run, seeds, [settings] * len(seeds)))


def middle(values: Sequence[float], form: str = ".3g") -> str:
    """Median, and the range where there are several."""
    text = f"{np.median(values):{form}}"
    return text if len(values) == 1 else f"{text} ({min(values):{form}} to {max(values):{form}})"


def errors_table(found: Sequence[Outcome]) -> str:
    columns = ("model", "train MSE", "test MSE", "paper", "rollout error", "valid for", "diverged")
    rows = []
    for name in MODELS:
        stages = [one.stages[name] for one in found]
        rows.append(
            (
                name,
                middle([s.errors[0] for s in stages]),
                middle([s.errors[1] for s in stages]),
                PAPER.get(name, ""),
                middle([s.rollout.error for s in stages], ".2f"),
                middle([s.rollout.valid for s in stages], ".1f"),
                sum(s.rollout.diverged for s in stages),
            )
        )
    return markdown(columns, rows)


def seeds_table(found: Sequence[Outcome]) -> str:
    names = (NETWORK, EQUATIONS, TUNED, TRAINED)
    columns = ("seed", "variance", *(f"{name}, test MSE" for name in names), "degrees")
    rows = [
        (
            one.seed,
            f"{one.variance:.0f}",
            *(f"{one.stages[name].errors[1]:.3g}" for name in names),
            ", ".join(map(str, one.degrees)),
        )
        for one in found
    ]
    return markdown(columns, rows)


def law_table(found: Sequence[Outcome]) -> str:
    """Recovered equations beside the true ones, of the seed whose error is the median one."""
    typical = sorted(found, key=lambda one: one.stages[TRAINED].errors[1])[(len(found) - 1) // 2]
    rows: list[tuple[object, ...]] = [("truth", *written(true_field()), "", "")]
    for name in MODELS:
        stages = [one.stages[name] for one in found]
        compared = [s.comparison for s in stages if s.comparison is not None]
        field = typical.stages[name].field
        if field is None or not compared:
            continue
        off, extra = [c.off for c in compared], [c.spurious for c in compared]
        rows.append((name, *written(field), middle(off, ".1%"), middle(extra, ".1%")))
    columns = (f"seed {typical.seed}", "x'", "y'", "z'", "constants off", "largest other term")
    return markdown(columns, [tuple(str(c).split("= ")[-1] for c in row) for row in rows])


def hits(found: Sequence[Outcome]) -> dict[str, int]:
    """In how many seeds each aim was reached; a rule decides each."""

    def count(rule: Callable[[Outcome], bool]) -> int:
        return sum(rule(one) for one in found)

    def mse(one: Outcome, name: str) -> float:
        return one.stages[name].errors[1]

    result = {"equations are quadratic polynomials": count(lambda o: set(o.degrees) == {2})}
    for name in (DEFAULT, EQUATIONS, TUNED, TRAINED):
        result[f"{name}: test MSE below the network's"] = count(
            lambda o, name=name: mse(o, name) < mse(o, NETWORK)
        )
        result[f"{name}: rollout error below the network's"] = count(
            lambda o, name=name: o.stages[name].rollout.error < o.stages[NETWORK].rollout.error
        )
        result[f"{name}: the terms of at least {PRESENT:.0%} are the true ones"] = count(
            lambda o, name=name: (c := o.stages[name].comparison) is not None and c.right
        )
    return result


def report(found: Sequence[Outcome], settings: Settings) -> str:
    reached = [(aim, f"{n} of {len(found)}") for aim, n in hits(found).items()]
    return "\n\n".join(
        (
            errors_table(found),
            f"Medians over seeds, with their range. Equations are chosen by the rule {RULE!r}, but"
            f" for the default choice. Rollout error: RMS over"
            f" {min(HORIZON, settings.horizon)} Euler steps of 0.01 from {settings.rollouts} states"
            f" of the testing half, in standard deviations of x, median of the trajectories. Valid:"
            f" Lyapunov times (1/{LYAPUNOV}) until the error first exceeds {VALID} standard"
            f" deviations, median, at most {settings.horizon * 0.01 * LYAPUNOV:.1f}. Diverged:"
            f" trajectories that leave, all seeds.",
            seeds_table(found),
            law_table(found),
            "In the best-fitting affine coordinates. Constants off: the largest error of a"
            " coefficient that the truth has. Largest other term: its standard deviation, as a"
            " share of its equation's.",
            markdown(("aim", "seeds"), reached),
        )
    )


def plain(one: Outcome) -> dict[str, Any]:
    """What JSON keeps of a seed: everything but the paths."""
    stages = {
        name: {
            "train_mse": stage.errors[0],
            "test_mse": stage.errors[1],
            "rollout_error": stage.rollout.error,
            "valid_lyapunov_times": stage.rollout.valid,
            "diverged": stage.rollout.diverged,
            "equations": one.equations.get(name),
            "in_lorenz_coordinates": None if stage.field is None else stage.field.tolist(),
            "comparison": None if stage.comparison is None else asdict(stage.comparison),
        }
        for name, stage in one.stages.items()
    }
    return {
        "seed": one.seed,
        "variance": one.variance,
        "degrees": one.degrees,
        "complexities": one.complexities,
        "sindy_thresholds": one.thresholds,
        "cpu_seconds": one.seconds,
        "stages": stages,
    }


def main() -> None:
    study = Study.from_command_line("lorenz", __doc__, "one seed, a small network")
    seeds, settings = (SEEDS[:1], QUICK) if study.quick else (SEEDS, Settings())
    found = outcomes(seeds, settings)
    draw(found, study.picture)
    results = {"hits": hits(found), "seeds": [plain(one) for one in found]}
    kept = asdict(settings) | {"rule": RULE}
    study.finish(report(found, settings), results, seeds=seeds, settings=kept)


if __name__ == "__main__":
    main()
