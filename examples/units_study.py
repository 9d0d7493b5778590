"""Do units help to find a law?

    python examples/units_study.py             ten laws whose inputs have units, one seed
    python examples/units_study.py --seeds 0 1 2 --laws "lorentz mass" barometer
    python examples/units_study.py --quick     two of them, small searches

Textbook laws of `laws_data.py` from 2,000 exact samples, by the defaults of `distill`, without
units and with those of the SI. Prints for each whether the default choice is the law (see
`laws_judge.py`), and the CPU seconds. With units, every equation of the front is looked at for its
dimensions once more.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import numpy as np
from laws_data import LAWS, Law
from laws_judge import Judge

from symcompile import ParetoFront, distill
from symcompile.expressions.units import Units

SAMPLES, QUICK_SAMPLES = 2000, 200
QUICK: dict[str, Any] = {"engine_options": {"restarts": 2, "population": 100, "generations": 3}}
QUICK_LAWS = ("reduced mass energy", "yukawa")

_SPEEDS = {"u": "m/s", "v": "m/s", "c": "m/s"}
# Units of the inputs, and of the output.
SI: dict[str, tuple[dict[str, str], str]] = {
    "lorentz mass": ({"m": "kg"} | _SPEEDS, "kg"),
    "lorentz shift": ({"x": "m", "t": "s"} | _SPEEDS, "m"),
    "velocity sum": (_SPEEDS, "m/s"),
    "doppler": ({"w": "1/s"} | _SPEEDS, "1/s"),
    "centre of mass": ({"m": "kg", "n": "kg", "r": "m", "s": "m"}, "m"),
    "barometer": ({"n": "1/m**3", "m": "kg", "g": "m/s**2", "x": "m", "T": "J"}, "1/m**3"),
    "yukawa": ({"g": "J*m", "r": "m", "a": "m"}, "J"),
    "reduced mass energy": ({"m": "kg", "n": "kg"} | _SPEEDS, "J"),
    "parallel resistors": ({"a": "ohm", "b": "ohm", "c": "ohm"}, "ohm"),
    "gaussian beam": ({"w": "m", "z": "m", "R": "m"}, "m"),
}


class Run(NamedTuple):
    """One search: whether its choice is the law, and what it took."""

    found: bool
    cpu: float
    equation: str


def main() -> None:
    options = read_options()
    names = QUICK_LAWS if options.quick else options.laws
    print(f"{'law':<21}{'seed':>5}{'without units':>17}{'with units':>17}")
    runs: list[tuple[Run, Run]] = []
    for seed in options.seeds:
        for name in names:
            pair = tuple(search(LAWS[name], seed, units, options.quick) for units in (False, True))
            runs.append(pair)  # type: ignore[arg-type]
            print(f"{name:<21}{seed:>5}{shown(pair[0]):>17}{shown(pair[1]):>17}", flush=True)
    for k, what in enumerate(("without units", "with units")):
        found = sum(pair[k].found for pair in runs)
        seconds = np.median([pair[k].cpu for pair in runs])
        print(f"{what}: {found} of {len(runs)} found, median {seconds:.1f} CPU s")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two laws, small searches")
    parser.add_argument("--laws", nargs="+", choices=SI, metavar="NAME", default=tuple(SI))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    return parser.parse_args()


def shown(run: Run) -> str:
    return f"{'found' if run.found else '-'} {run.cpu:5.1f} s"


def search(law: Law, seed: int, with_units: bool, quick: bool = False) -> Run:
    """What `distill` finds of a law, judged."""
    X = law.draw(law.generator(seed, "direct"), QUICK_SAMPLES if quick else SAMPLES)
    units, output = SI[law.name]
    units = {name: units[name] for name in law.names}
    given: dict[str, Any] = {"units": units, "output_units": output} if with_units else {}
    started = time.process_time()
    front = distill(
        X, law.values(X), names=law.names, operators=law.operators(), seed=seed, engine="operon",
        progress=False, **given, **(QUICK if quick else {}),
    )[0]  # fmt: skip
    cpu = time.process_time() - started
    if with_units:
        check(front, Units(units, output), law.names)
    return Run(Judge(law).verdict(front.best).exact, cpu, front.best.text())


def check(front: ParetoFront, units: Units, names: tuple[str, ...]) -> None:
    """Raise AssertionError for an equation that does not go together in its dimensions."""
    dimensions, (output,) = units.of_inputs(names, 1)
    for equation in front:
        problem = dimensions.for_output(output).check(equation.form)
        assert problem is None, problem


if __name__ == "__main__":
    main()
