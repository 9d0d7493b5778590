"""The physics experiments beside the paper's figures, as the README shows them.

    python examples/physics_summary.py [FOLDER]    of the results in FOLDER, examples/results

Reads what `make physics` left and runs nothing. Hits are counted over seeds and never picked; other
figures are medians over seeds. The paper (arXiv 2602.21307) reports one run of each, its
equations of networks picked by hand, its force laws judged by eye.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from forces_table import PAPER as PAPER_FORCES
from graph_network import VARIANTS
from lorenz import PAPER as PAPER_LORENZ
from lorenz_run import DEFAULT, EQUATIONS, NETWORK, SINDY_DATA, SINDY_NETWORK, TRAINED, TUNED
from pinns import paper_errors
from robustness import DEFAULT as DEFAULT_SETTING
from study import markdown

RESULTS = Path(__file__).parent / "results"
Row = tuple[str, str, str, str]


def rows(folder: Path) -> list[Row]:
    """What was measured, the paper's figure, ours, and what falls short."""
    found = []
    experiments = {"pinns": pinns, "lorenz": lorenz, "forces": forces, "robustness": robustness}
    for name, read in experiments.items():
        found += read(json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["results"])
    return found


def pinns(results: list[dict[str, Any]]) -> list[Row]:
    """Of networks with physics, but for one row."""
    with_physics = [one for one in results if one["kind"] == "PINN"]
    without = [one for one in results if one["kind"] == "NN"]
    laws = dict.fromkeys(one["problem"] for one in with_physics)
    by_law = {law: [one for one in with_physics if one["problem"] == law] for law in laws}
    found = [row for law, mine in by_law.items() for row in (_form(law, mine), _error(law, mine))]
    reached = _hits(by_law["oscillator"], lambda one: one["reached"])
    trained = _hits(by_law["oscillator"], lambda one: one["trained"]["reached"])
    slowest, other = (max(one["seconds"] for one in mine) for mine in (with_physics, without))
    return [
        *found,
        (
            "oscillator: amplitude, phase, and w to 0.1 %",
            "no, w is 1.4 % off",
            f"{trained}, trained in the network's place",
            f"{reached} as compiled",
        ),
        ("right forms from networks without physics", "-", _hits(without, _right), ""),
        (
            "distillation",
            "about 300 s, 14 cores",
            f"at most {slowest:.1f} s, two cores",
            f"{other:.0f} s of networks without physics",
        ),
    ]


def _form(law: str, mine: list[dict[str, Any]]) -> Row:
    short = [
        f"seed {one['seed']}, its network's MSE is {one['mse']['network']:.0e}"
        for one in mine
        if not one["right_form"]
    ]
    return f"{law}: right form", "picked by hand", _hits(mine, _right), "; ".join(short)


def _error(law: str, mine: list[dict[str, Any]]) -> Row:
    equation, network = (median(o["mse"][key] for o in mine) for key in ("equation", "network"))
    above = [o["mse"]["equation"] > o["mse"]["network"] for o in mine]
    reported = paper_errors(law)[0]
    short = [f"above the network's in {sum(above)} of {len(above)}"] if any(above) else []
    short += ["above the paper's one run"] if equation > reported else []
    paper = f"{reported:.1e}" + (" (7.4e-06)" if law == "heat" else "")
    ours = f"{equation:.1e} ({network:.1e})"
    return f"{law}: MSE (the network's)", paper, ours, "; ".join(short)


def lorenz(results: dict[str, Any]) -> list[Row]:
    seeds = results["seeds"]
    return [*_lorenz_errors(seeds), *_lorenz_laws(seeds), _lorenz_rollouts(seeds)]


def _lorenz_errors(seeds: list[dict[str, Any]]) -> list[Row]:
    beside = _middle(seeds, DEFAULT, "test_mse")
    return [
        (
            f"Lorenz: test MSE of the {name}" if name == NETWORK else f"... of {name}",
            PAPER_LORENZ.get(name, "-").split(" / ")[-1],
            _middle(seeds, name, "test_mse"),
            f"by the rule `plateau`; the default rule's: {beside}" if name == EQUATIONS else "",
        )
        for name in (NETWORK, EQUATIONS, TUNED, TRAINED, SINDY_NETWORK)
    ]


def _lorenz_laws(seeds: list[dict[str, Any]]) -> list[Row]:
    def below(one: dict[str, Any]) -> bool:
        tuned, network = (one["stages"][name]["test_mse"] for name in (TUNED, NETWORK))
        return bool(tuned < network)

    true_terms = {
        name: _hits(seeds, lambda one, name=name: one["stages"][name]["comparison"]["right"])
        for name in (TRAINED, SINDY_NETWORK, SINDY_DATA)
    }
    return [
        ("... tuned, below the network's", "no", _hits(seeds, below), ""),
        (
            "... quadratic, as the truth is",
            "-",
            _hits(seeds, lambda one: set(one["degrees"]) == {2}),
            "",
        ),
        (
            "... only the true terms, from 1 % on",
            "-",
            true_terms[TRAINED],
            f"SINDy {true_terms[SINDY_NETWORK]}, on exact rates {true_terms[SINDY_DATA]}",
        ),
    ]


def _lorenz_rollouts(seeds: list[dict[str, Any]]) -> Row:
    errors = {
        name: _middle(seeds, name, "rollout_error", ".2f")
        for name in (TUNED, TRAINED, NETWORK, SINDY_NETWORK, SINDY_DATA)
    }
    return (
        "... error of 200 rollouts, tuned",
        "below the network's",
        f"{errors[TUNED]}, constants too {errors[TRAINED]}; network {errors[NETWORK]}",
        f"SINDy {errors[SINDY_NETWORK]}, on exact rates {errors[SINDY_DATA]}",
    )


def _middle(seeds: list[dict[str, Any]], name: str, figure: str, form: str = ".2g") -> str:
    return format(median(one["stages"][name][figure] for one in seeds), form)


def forces(results: list[dict[str, Any]]) -> list[Row]:
    found: list[Row] = []
    variants = list(dict.fromkeys(one["variant"] for one in results))
    # The two that have to find every law, then those that are there for comparison.
    for variant in sorted(variants, key=lambda v: v not in ("bottleneck", "pruning")):
        mine = [one for one in results if one["variant"] == variant]
        messages = [(one["law"], _final(m)) for one in mine for m in one["messages"]]
        missed = dict.fromkeys(law for law, final in messages if not final["right"])
        short = [
            f"{law} {sum(f['right'] for k, f in messages if k == law)}"
            f" of {sum(k == law for k, _ in messages)}"
            for law in missed
        ]
        column = list(VARIANTS).index(variant)
        paper = f"{sum(counts[column] for counts in PAPER_FORCES.values())} of 8"
        ours = _hits(messages, lambda pair: pair[1]["right"])
        found.append((f"force laws, {variant}: right", paper, ours, ", ".join(short)))
    narrow, wide = (
        max(
            (one["seconds"]["compiling"] + one["seconds"]["settling"]) / len(one["messages"])
            for one in results
            if VARIANTS[one["variant"]].narrow is is_narrow
        )
        for is_narrow in (True, False)
    )
    ours, short = f"at most {narrow:.0f} s, one core", f"{wide:.0f} s where messages stay wide"
    found.append(("a message", "about 600 s, 14 cores", ours, short))
    return found


def robustness(results: list[dict[str, Any]]) -> list[Row]:
    """All settings together; what was varied where the law was missed, and how often."""
    found = []
    for law in dict.fromkeys(one["law"] for one in results):
        mine = [one for one in results if one["law"] == law]
        missed = Counter(_varied(one["setting"]) for one in mine if not one["hit"])
        short = ", ".join(f"{what}: {n}" for what, n in missed.items())
        ours = _hits(mine, lambda one: one["hit"])
        found.append((f"robustness, {law}: right", "-", ours, short))
    return found


def _varied(setting: dict[str, Any]) -> str:
    usual = asdict(DEFAULT_SETTING)
    changed = [f"{name} {level}" for name, level in setting.items() if level != usual[name]]
    return ", ".join(changed) or "as usual"


def _final(message: dict[str, Any]) -> dict[str, Any]:
    final: dict[str, Any] = message["settled"] or message["distilled"]
    return final


def _right(one: dict[str, Any]) -> bool:
    return bool(one["right_form"])


def _hits(found: Sequence[Any], rule: Callable[[Any], bool]) -> str:
    return f"{sum(map(rule, found))} of {len(found)}"


def table(folder: Path = RESULTS) -> str:
    return markdown(["", "paper", "symcompile", "falls short"], rows(folder))


if __name__ == "__main__":
    print(table(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS))
