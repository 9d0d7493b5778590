"""Recover the closed-form solutions that physics-informed networks learned from ten points.

    python examples/pinns.py            heat, wave and damped oscillator, six seeds each
    python examples/pinns.py --quick    one seed each, shorter searches, PINNs only

For every seed a plain network and a physics-informed one (PINN) are trained on the same ten points,
and both are compiled with the defaults; a script rule decides whether an equation has the right
form, see `pinns_laws.py`. Networks and equations are compared with the truth on a grid inside the
domain, and beyond it, for times up to twice as long as anything that training saw. The constant
that a PINN learns beside its weights stands next to the one that its equation implies.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from pinns_figure import draw
from pinns_judge import BEYOND, Result, judge, mse, points_beyond
from pinns_laws import FAMILIES
from study import Study, markdown, processes

from symcompile.pinns import PROBLEMS, Pinn, grid, train_pinn

SEEDS = (290402, 0, 1, 2, 3, 4)
# Searches of one fit in quick mode and their size; the defaults are 8 and 1000.
QUICK = {"restarts": 1, "population": 250}

Case = tuple[str, int, str]


def train(name: str, seed: int, kind: str = "PINN") -> Pinn:
    """One network; the same seed gives both kinds the same ten points and first weights."""
    return train_pinn(PROBLEMS[name], seed=seed, physics=kind == "PINN")


def train_all(cases: Sequence[Case]) -> dict[Case, Pinn]:
    """All networks, in two processes: their training is NumPy in one thread."""
    with processes() as pool:
        return dict(zip(cases, pool.map(train, *zip(*cases, strict=True)), strict=True))


def run(name: str, seed: int, kind: str = "PINN", **options: Any) -> Result:
    """Train a network on one problem, compile it, and judge the equation."""
    return judge(name, seed, kind, train(name, seed, kind), **options)


def table(results: list[Result]) -> str:
    """Every network, every equation that was trained, then hit rates and medians."""
    parts = [_networks(results), _trained(results), _summary(results), _references(results)]
    return "\n\n".join(part for part in parts if part)


def _networks(results: list[Result]) -> str:
    columns = ["law", "seed", "kind", "form", "constant", "model", "equation"]
    columns += ["MSE equation", "network", "beyond: equation", "network", "s", "equation"]
    rows = []
    for r in results:
        errors = [f"{value:.1e}" for value in (*r.errors, *r.beyond)]
        known = [_number(r.learned if r.kind == "PINN" else None), _number(r.implied)]
        form = "right" if r.right_form else "WRONG"
        constant = FAMILIES[r.problem].physical[0]
        cells = [r.problem, r.seed, r.kind, form, constant, *known, *errors, f"{r.seconds:.1f}"]
        rows.append([*cells, r.equation.text(5)])
    return markdown(columns, rows)


def _trained(results: list[Result]) -> str:
    columns = ["law", "seed", "compiled", "trained in the network's place", "constant learned"]
    columns += ["MSE", "beyond", "s"]
    rows = [
        [
            r.problem,
            r.seed,
            r.equation.text(4),
            r.trained.equation.text(8),
            "-" if r.trained.learned is None else f"{r.trained.learned:.8f}",
            *(f"{value:.0e}" for value in r.trained.errors),
            f"{r.trained.seconds:.1f}",
        ]
        for r in results
        if r.trained is not None
    ]
    return markdown(columns, rows) if rows else ""


def _summary(results: list[Result]) -> str:
    columns = ["law", "kind", "right form", "reached", "reached, trained", "constant"]
    columns += ["off: model", "law on network", "equation", "trained"]
    columns += ["MSE equation", "network", "beyond: equation", "network", "s"]
    groups = dict.fromkeys((r.problem, r.kind) for r in results)
    return markdown(columns, [_hits(results, *group) for group in groups])


def _hits(results: list[Result], name: str, kind: str) -> list[str]:
    """Hit rates over seeds, worst errors of the constant, median errors, longest compilation."""
    mine = [r for r in results if (r.problem, r.kind) == (name, kind)]
    trained = [r for r in mine if r.trained is not None]

    def rate(hits: int, of: Sequence[Result]) -> str:
        return f"{hits} of {len(of)}" if of else "-"

    return [
        name,
        kind,
        rate(sum(r.right_form for r in mine), mine),
        rate(sum(r.reached for r in mine), mine),
        rate(sum(r.reached_by_training for r in trained), trained),
        FAMILIES[name].physical[0],
        _worst(name, [r.learned for r in mine if r.kind == "PINN"]),
        _worst(name, [r.fitted for r in mine]),
        _worst(name, [r.implied for r in mine]),
        _worst(name, [r.trained.implied for r in mine if r.trained is not None]),
        *(f"{median(r.errors[i] for r in mine):.1e}" for i in (0, 1)),
        *(f"{median(r.beyond[i] for r in mine):.1e}" for i in (0, 1)),
        f"{max(r.seconds for r in mine):.0f}",
    ]


def _worst(name: str, constants: Sequence[float | None]) -> str:
    """Largest relative error against the truth of the constants that there are."""
    truth = FAMILIES[name].constant(FAMILIES[name].truth)
    off = [abs(constant / truth - 1) for constant in constants if constant is not None]
    return f"{max(off):.2%}" if off else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _references(results: list[Result]) -> str:
    """The paper's equations by the same measure, and the size of what is to be explained."""
    columns = ["law", "the paper's equation", "MSE", "beyond", "variance", "beyond"]
    return markdown(columns, [_reference(n) for n in dict.fromkeys(r.problem for r in results)])


def paper_errors(name: str) -> list[float]:
    """MSE of the paper's equation against the truth, inside of the domain and beyond."""
    problem, family = PROBLEMS[name], FAMILIES[name]
    constants = family.paper[1]
    return [
        mse(family.law(points.T, *constants), problem.truth_at(points))
        for points in (grid(problem), points_beyond(problem))
    ]


def _reference(name: str) -> list[str]:
    problem = PROBLEMS[name]
    regions = (grid(problem), points_beyond(problem))
    spreads = [f"{problem.truth_at(points).var():.1e}" for points in regions]
    return [name, FAMILIES[name].paper[0], *(f"{e:.1e}" for e in paper_errors(name)), *spreads]


def main() -> None:
    study = Study.from_command_line("pinns", __doc__, "one seed, shorter searches, PINNs only")
    seeds, kinds = (SEEDS[:1], ("PINN",)) if study.quick else (SEEDS, ("PINN", "NN"))
    cases = [(name, seed, kind) for name in FAMILIES for kind in kinds for seed in seeds]
    torch.set_num_threads(1)
    options = QUICK if study.quick else {}
    if study.quick:
        models = {case: train(*case) for case in cases}
        results = [judge(*case, models[case], **options) for case in cases]
    else:
        models = train_all(cases)
        # One after the other, with all cores: the seconds are those of a user who compiles one.
        results = [judge(*case, models[case], train=True) for case in cases]
    shown = {(r.problem, r.kind): r for r in results if r.seed == SEEDS[0]}
    draw(study.picture, shown, models, SEEDS[0])
    settings = {"beyond": BEYOND, "engine": "operon", "engine_options": options}
    study.finish(table(results), [r.to_json() for r in results], seeds=seeds, settings=settings)


if __name__ == "__main__":
    main()
