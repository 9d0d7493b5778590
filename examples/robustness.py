"""How often is the right law found, with fewer samples, more noise, other seeds and options?

    python examples/robustness.py            five laws, one factor varied at a time, three seeds
    python examples/robustness.py --quick    one law, one level, one seed

The laws are those of three physics-informed networks and of two forces, see `robustness_laws.py`.
Each search is what `distill` does for a user, with a quarter of the compiler's restarts so that all
cells fit into minutes. A hit is the right form, chosen automatically, decided by script. Noise is
in units of 1.48 median deviations: the standard deviation of normal outputs, but not moved by the
few huge forces of particles that nearly touch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from robustness_laws import Law, law
from study import Study, markdown, processes

from symcompile import distill

LAWS = ("heat", "wave", "oscillator", "r^-2", "spring")
SEEDS = (0, 1, 2)
# Normal outputs have a standard deviation of so many median deviations.
NORMAL = 1.4826


@dataclass(frozen=True)
class Setting:
    """What a search is given; the fields are the factors of the study."""

    samples: int = 1000
    noise: float = 0.0
    restarts: int = 2
    population: int = 1000
    operators: str = "recipe"
    max_complexity: int = 30
    loss: str = "recipe"


DEFAULT = Setting()
FACTORS: dict[str, tuple[Any, ...]] = {
    "samples": (50, 200, 1000, 5000),
    "noise": (0.0, 1e-3, 1e-2, 1e-1),
    "restarts": (1, 2, 4),
    "population": (250, 1000),
    "operators": ("needed", "recipe", "distracting"),
    "max_complexity": (20, 30, 40),
    "loss": ("recipe", "squared"),
}
DISTRACTORS = ("inv", "sqrt", "sin", "cos", "exp", "log", "tanh")
QUICK = {"samples": (200,)}


@dataclass(frozen=True)
class Outcome:
    """One search."""

    law: str
    setting: Setting
    seed: int
    hit: bool
    equation: str
    seconds: float


def run(task: tuple[str, Setting, int]) -> Outcome:
    """Draw samples, distill them, and judge the automatic choice."""
    name, setting, seed = task
    one = law(name)
    X, y = samples(one, setting, seed)
    start = time.perf_counter()
    with ThreadPoolExecutor(1) as executor:
        front = distill(
            X,
            y,
            names=one.names,
            operators=operators(one, setting.operators),
            max_complexity=setting.max_complexity,
            engine="operon",
            engine_options={"restarts": setting.restarts, "population": setting.population},
            loss=one.loss if setting.loss == "recipe" else setting.loss,
            seed=seed,
            executor=executor,
            progress=False,
        )[0]
    seconds = time.perf_counter() - start
    return Outcome(name, setting, seed, one.found(front.best), front.best.text(12), seconds)


def samples(one: Law, setting: Setting, seed: int) -> tuple[Any, Any]:
    """Inputs and noisy outputs; another seed draws others."""
    rng = np.random.default_rng([seed, setting.samples])
    X = one.draw(rng, setting.samples)
    y = one.values(X)
    spread = NORMAL * float(np.median(np.abs(y - np.median(y))))
    return X, y + setting.noise * spread * rng.normal(size=len(y))


def operators(one: Law, level: str) -> tuple[str, ...]:
    """Those of the recipe, those that the law needs, or those with many beside them."""
    if level != "distracting":
        return one.operators[level]
    return tuple(dict.fromkeys((*one.operators["recipe"], *DISTRACTORS)))


def settings(factors: dict[str, tuple[Any, ...]]) -> list[Setting]:
    """The default with one factor at a time at each of its levels; each setting once."""
    varied = [replace(DEFAULT, **{f: level}) for f, levels in factors.items() for level in levels]
    return list(dict.fromkeys(varied))


def plan(
    laws: Sequence[str], factors: dict[str, tuple[Any, ...]], seeds: Sequence[int]
) -> list[tuple[str, Setting, int]]:
    """All searches, but none twice: a loss of "squared" is what the networks' recipe says."""
    return [
        (name, setting, seed)
        for setting in settings(factors)
        for name in laws
        for seed in seeds
        if setting.loss == "recipe" or law(name).loss != setting.loss
    ]


def rates(
    outcomes: Sequence[Outcome], laws: Sequence[str], factors: dict[str, tuple[Any, ...]]
) -> list[tuple[str, Any, list[tuple[int, int]]]]:
    """Factor, level, and for each law the hits and the searches that there were."""
    rows = []
    for factor, levels in factors.items():
        for level in levels:
            setting = replace(DEFAULT, **{factor: level})
            cells = []
            for name in laws:
                hits = [o.hit for o in outcomes if o.law == name and o.setting == setting]
                cells.append((sum(hits), len(hits)))
            rows.append((factor, level, cells))
    return rows


def table(
    outcomes: Sequence[Outcome], laws: Sequence[str], factors: dict[str, tuple[Any, ...]]
) -> str:
    """Hit rates by factor, level and law; defaults are marked."""
    rows = []
    for factor, level, cells in rates(outcomes, laws, factors):
        shown = f"{level} (default)" if level == getattr(DEFAULT, factor) else level
        total = [sum(column) for column in zip(*cells, strict=True)]
        rows.append([factor, shown, *map(_rate, cells), _rate((total[0], total[1]))])
    return markdown(["factor", "level", *laws, "all"], rows)


def _rate(cell: tuple[int, int]) -> str:
    return f"{cell[0]} of {cell[1]}" if cell[1] else "-"


def draw(
    path: Path,
    outcomes: Sequence[Outcome],
    laws: Sequence[str],
    factors: dict[str, tuple[Any, ...]],
) -> None:
    """Hit rates as colours: a row for each level, a column for each law."""
    from matplotlib.figure import Figure

    rows = rates(outcomes, laws, factors)
    shares = np.array([[hits / n if n else np.nan for hits, n in cells] for *_, cells in rows])
    figure = Figure(figsize=(7.2, 1.3 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="RdYlBu", vmin=0.0, vmax=1.0, aspect="auto")
    for i, (*_, cells) in enumerate(rows):
        for j, cell in enumerate(cells):
            colour = "white" if abs(shares[i, j] - 0.5) > 0.4 else "black"
            axes.text(j, i, _rate(cell), ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(laws)), laws)
    axes.set_yticks(
        range(len(rows)),
        [f"{f.replace('_', ' ')}  {_level(f, level)}" for f, level, _ in rows],
    )
    first = [i for i, row in enumerate(rows) if i and row[0] != rows[i - 1][0]]
    for i in first:
        axes.axhline(i - 0.5, color="white", linewidth=3)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Right law chosen automatically (* default)", fontsize=11, loc="left")
    figure.colorbar(picture, label="hit rate", shrink=0.5)
    figure.savefig(path, dpi=150)


def _level(factor: str, level: Any) -> str:
    return f"{level} *" if level == getattr(DEFAULT, factor) else f"{level}"


def main() -> None:
    study = Study.from_command_line("robustness", __doc__, "one law, one level, one seed")
    laws, factors, seeds = (LAWS, FACTORS, SEEDS)
    if study.quick:
        laws, factors, seeds = ("spring",), QUICK, SEEDS[:1]
    tasks = plan(laws, factors, seeds)
    if study.quick:
        outcomes = [run(task) for task in tasks]
    else:
        with processes() as pool:
            outcomes = list(pool.map(run, tasks))
    draw(study.picture, outcomes, laws, factors)
    study.finish(
        table(outcomes, laws, factors),
        [asdict(outcome) for outcome in outcomes],
        seeds=seeds,
        settings={"default": asdict(DEFAULT), "factors": factors},
    )


if __name__ == "__main__":
    main()
