"""Small tables whose law is known: measured ones, typed in with their source, and simulated ones.

A law is written as text. Its numbers with a decimal point, and its names that are no inputs, are
constants, which a search has to find and the judge fits; whole numbers are part of its form.
Operators are what somebody of the field would allow, with one or two more that do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy

from symcompile import Equation
from symcompile.expressions.complexity import complexity
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.expressions.slots import slot

Array = np.ndarray[Any, np.dtype[Any]]

ALGEBRA = ("+", "-", "*", "/", "square", "sqrt")
GROWTH = ("+", "-", "*", "/", "square", "exp")
# What the PySR paper allows on its EmpiricalBench (arXiv 2305.01582).
BENCH = ("+", "-", "*", "/", "square", "cube", "sqrt", "exp", "log")
# What simulated outputs get: a normal error of this size.
NOISE = (0.0, 0.01, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: what results call it.
        law: the law over `names`, as text.
        names: the inputs.
        operators: what the search may use.
        rows: measured rows [n_rows, n_inputs + 1], the output last; None where they are simulated.
        source: where measured rows are from.
        design: values of each input of simulated rows; or low and high of random ones.
        count: how many random rows; None where `design` lists the values of one input.
        constants: values of names in the law that are no inputs; a number before a bracket would be
            multiplied out.
        error: what noise is a share of: "value" (of each output), "spread" (of their standard
            deviation), or "one" (outputs are logarithms).
    """

    name: str
    law: str
    names: tuple[str, ...]
    operators: tuple[str, ...] = ALGEBRA
    rows: tuple[tuple[float, ...], ...] | None = None
    source: str = ""
    design: tuple[tuple[float, ...], ...] = field(default=())
    count: int | None = None
    constants: dict[str, float] = field(default_factory=dict, hash=False)
    error: str = "value"

    @property
    def levels(self) -> tuple[float, ...]:
        """Sizes of noise to simulate; what is measured has its own. Of a constant nothing would be
        left without noise."""
        if self.rows is not None:
            return (0.0,)
        return NOISE if self.equation.uses else NOISE[1:]

    @property
    def equation(self) -> Equation:
        """The law with the constants that are written in it."""
        form, values = parse(self.law, (*self.names, *self.constants)), self.constants.values()
        named = {sympy.Symbol(name): slot(i) for i, name in enumerate(self.constants)}
        operators = OperatorSet.of(self.operators)
        if not named:
            return Equation.of(form, self.names, operators)
        form = form.xreplace(named)
        return Equation(form, self.names, tuple(values), complexity(form, operators))

    def samples(self, noise: float, seed: int) -> tuple[Array, Array]:
        """Inputs [n_rows, n_inputs] and outputs [n_rows]; another seed draws others."""
        if self.rows is not None:
            rows = np.array(self.rows)
            return rows[:, :-1], rows[:, -1]
        rng = np.random.default_rng([seed, *self.name.encode()])
        X = self._inputs(rng)
        y = self.equation.predict(X)
        size = {"value": np.abs(y), "spread": y.std(), "one": 1.0}[self.error]
        return X, y + noise * size * rng.normal(size=len(y))

    def _inputs(self, rng: np.random.Generator) -> Array:
        if self.name == "rydberg":  # whole numbers, the second above the first
            n = rng.integers(1, 5, self.count)
            return np.column_stack([n, n + rng.integers(1, 9, self.count)]).astype(float)
        if self.count is None:
            return np.array(self.design).T
        low, high = np.array(self.design).T
        return rng.uniform(low, high, (self.count, len(low)))

    def wide(self) -> Array:
        """Points [n, n_inputs] where the judge compares: over the range of the rows, and half a
        range beyond its upper end."""
        X = self.samples(0.0, 0)[0]
        low, high = X.min(axis=0), X.max(axis=0)
        high = high + (high - low) / 2
        if len(self.names) == 1:
            return np.linspace(low, high, 400)
        return np.random.default_rng(0).uniform(low, high, (1000, len(low)))


def _steps(low: float, high: float, count: int) -> tuple[tuple[float, ...], ...]:
    return (tuple(np.linspace(low, high, count).tolist()),)


def _ratios(low: float, high: float, count: int) -> tuple[tuple[float, ...], ...]:
    return (tuple(np.geomspace(low, high, count).tolist()),)


_NUMBERS = tuple(float(n) for n in range(7))

MEASURED = (
    Table(
        "planets of Kepler",
        "365.0*a**(3/2)",
        ("a",),
        rows=(
            (0.388, 87.77), (0.724, 224.70), (1.000, 365.25),
            (1.524, 686.95), (5.200, 4332.62), (9.510, 10759.20),
        ),
        source="mean distances in astronomical units and periods in days, J. Kepler 1619",
    ),
    Table(
        "planets",
        "1.0*a**(3/2)",
        ("a",),
        rows=(
            (0.38709927, 0.2408467), (0.72333566, 0.61519726), (1.00000261, 1.0000174),
            (1.52371034, 1.8808476), (5.20288700, 11.862615), (9.53667594, 29.447498),
            (19.18916464, 84.016846), (30.06992276, 164.79132),
        ),
        source="semi-major axes (au) and sidereal periods (years), JPL, E. M. Standish",
    ),
    Table(
        "moons of Jupiter",
        "0.0002*a**(3/2)",
        ("a",),
        rows=(
            (128.0, 0.294780), (129.0, 0.298260), (181.4, 0.498179), (221.9, 0.6745),
            (421.8, 1.769138), (671.1, 3.551181), (1070.4, 7.154553), (1882.7, 16.689017),
        ),
        source="semi-major axes (1000 km) and periods (days), NASA Jovian satellite fact sheet",
    ),
    Table(
        "moons of Saturn",
        "0.0004*a**(3/2)",
        ("a",),
        rows=(
            (185.52, 0.9424218), (238.02, 1.370218), (294.66, 1.887802), (377.40, 2.736915),
            (527.04, 4.517500), (1221.83, 15.945421), (1481.1, 21.276609), (3561.3, 79.330183),
        ),
        source="semi-major axes (1000 km) and periods (days), NASA Saturnian satellite fact sheet",
    ),
    Table(
        "nebulae of Hubble",
        "424.0*d",
        ("d",),
        BENCH,
        rows=(
            (0.032, 170.0), (0.034, 290.0), (0.214, -130.0), (0.263, -70.0), (0.275, -185.0),
            (0.275, -220.0), (0.45, 200.0), (0.5, 290.0), (0.5, 270.0), (0.63, 200.0),
            (0.8, 300.0), (0.9, -30.0), (0.9, 650.0), (0.9, 150.0), (0.9, 500.0), (1.0, 920.0),
            (1.1, 450.0), (1.1, 500.0), (1.4, 500.0), (1.7, 960.0), (2.0, 500.0), (2.0, 850.0),
            (2.0, 800.0), (2.0, 1090.0),
        ),
        source="distances (Mpc) and velocities (km/s), E. Hubble, PNAS 15, 168 (1929), table 1",
    ),
    Table(
        "Cepheids of Leavitt",
        "15.6 - 0.9*log(P)",
        ("P",),
        BENCH,
        rows=(
            (1.25336, 14.8), (1.6637, 14.8), (1.7620, 14.8), (1.87502, 15.1), (2.17352, 14.7),
            (2.913, 14.4), (3.501, 14.7), (4.2897, 14.6), (4.547, 14.3), (4.9866, 14.3),
            (5.311, 14.4), (5.323, 14.3), (6.2926, 13.8), (6.650, 14.1), (7.483, 14.0),
            (8.397, 13.9), (10.336, 13.6), (11.645, 13.4), (12.417, 13.8), (13.08, 13.4),
            (13.47, 13.4), (16.75, 13.0), (31.94, 12.2), (65.8, 11.4), (127.0, 11.2),
        ),
        source="periods (days) and magnitudes at maximum, H. S. Leavitt, HAC 173 (1912)",
    ),
    Table(
        "distances of Bode",
        "0.4 + 0.3*exp(0.69*n)",
        ("n",),
        GROWTH,
        rows=tuple(zip(_NUMBERS, (0.723, 1.0, 1.524, 2.77, 5.203, 9.54, 19.19), strict=True)),
        source="mean distances from the sun (au), Venus to Uranus with Ceres",
    ),
    Table(
        "Balmer lines",
        "364.6*n**2/(n**2 - 4)",
        ("n",),
        ALGEBRA,
        rows=(
            (3.0, 656.279), (4.0, 486.135), (5.0, 434.047), (6.0, 410.173), (7.0, 397.007),
            (8.0, 388.906), (9.0, 383.540),
        ),
        source="wavelengths of hydrogen in air (nm), H alpha to H eta, NIST",
    ),
    Table(
        "vapour of water",
        "exp(16.0 - 3800.0/(T + 230.0))",
        ("T",),
        ("+", "-", "*", "/", "exp", "log"),
        rows=(
            (0.0, 0.6113), (5.0, 0.8726), (10.0, 1.2281), (15.0, 1.7056), (20.0, 2.3388),
            (25.0, 3.1690), (30.0, 4.2455), (35.0, 5.6267), (40.0, 7.3814), (45.0, 9.5898),
            (50.0, 12.3440), (55.0, 15.7520), (60.0, 19.9320), (65.0, 25.0220), (70.0, 31.1760),
            (75.0, 38.5630), (80.0, 47.3730), (85.0, 57.8150), (90.0, 70.1170), (95.0, 84.5290),
            (100.0, 101.3200),
        ),
        source="pressure (kPa) by temperature (deg C), D. R. Lide, CRC Handbook (2005)",
    ),
    Table(
        "vapour of mercury",
        "exp(17.0 - 5000.0/(T + 240.0))",
        ("T",),
        ("+", "-", "*", "/", "exp", "log"),
        rows=(
            (0.0, 0.0002), (20.0, 0.0012), (40.0, 0.0060), (60.0, 0.0300), (80.0, 0.0900),
            (100.0, 0.2700), (120.0, 0.7500), (140.0, 1.8500), (160.0, 4.2000), (180.0, 8.8000),
            (200.0, 17.3000), (220.0, 32.1000), (240.0, 57.0000), (260.0, 96.0000),
            (280.0, 157.0000), (300.0, 247.0000), (320.0, 376.0000), (340.0, 558.0000),
            (360.0, 806.0000),
        ),
        source="pressure (mm Hg) by temperature (deg C), R. C. Weast, CRC Handbook (1973)",
    ),
    Table(
        "density of air",
        "353.0/(T + 273.0)",
        ("T",),
        ALGEBRA,
        rows=(
            (-25.0, 1.4224), (-20.0, 1.3943), (-15.0, 1.3673), (-10.0, 1.3413), (-5.0, 1.3163),
            (0.0, 1.2922), (5.0, 1.2690), (10.0, 1.2466), (15.0, 1.2250), (20.0, 1.2041),
            (25.0, 1.1839), (30.0, 1.1644), (35.0, 1.1455),
        ),
        source="kg/m^3 of dry air by temperature (deg C) at 101325 Pa",
    ),
    Table(
        "puromycin",
        "212.0*c/(c + 0.06)",
        ("c",),
        GROWTH,
        rows=(
            (0.02, 76.0), (0.02, 47.0), (0.06, 97.0), (0.06, 107.0), (0.11, 123.0), (0.11, 139.0),
            (0.22, 159.0), (0.22, 152.0), (0.56, 191.0), (0.56, 201.0), (1.10, 207.0),
            (1.10, 200.0),
        ),
        source="rates by concentration, treated cells, M. A. Treloar (1974), in D. M. Bates and"
        " D. G. Watts, Nonlinear Regression Analysis",
    ),
    Table(
        "carbon filament",
        "0.77*T**3.86",
        ("T",),
        ("+", "-", "*", "/", "pow", "exp"),
        rows=(
            (1.309, 2.138), (1.471, 3.421), (1.490, 3.597), (1.565, 4.340), (1.611, 4.882),
            (1.680, 5.660),
        ),
        source="radiated energy by temperature (1000 K), C. Daniel and F. S. Wood (1980); NIST StRD"
        " DanWood",
    ),
    Table(
        "oxygen demand",
        "A*(1 - exp(-k*t))",
        ("t",),
        GROWTH,
        constants={"A": 213.8, "k": 0.547},
        rows=(
            (1.0, 109.0), (2.0, 149.0), (3.0, 149.0), (5.0, 191.0), (7.0, 213.0), (10.0, 224.0),
        ),
        source="biochemical oxygen demand by days, G. Box et al. (1978); NIST StRD BoxBOD",
    ),
    Table(
        "adsorption",
        "A*(1 - exp(-k*p))",
        ("p",),
        GROWTH,
        constants={"A": 238.9, "k": 0.00055},
        rows=(
            (77.6, 10.07), (114.9, 14.73), (141.1, 17.94), (190.8, 23.93), (239.9, 29.61),
            (289.0, 35.18), (332.8, 40.02), (378.4, 44.82), (434.8, 50.76), (477.3, 55.05),
            (536.8, 61.01), (593.1, 66.40), (689.1, 75.47), (760.0, 81.78),
        ),
        source="volume by pressure of a monomolecular layer, NIST StRD Misra1a",
    ),
    Table(
        "cherry trees",
        "0.002*g**2*h",
        ("g", "h"),
        ALGEBRA,
        rows=(
            (8.3, 70.0, 10.3), (8.6, 65.0, 10.3), (8.8, 63.0, 10.2), (10.5, 72.0, 16.4),
            (10.7, 81.0, 18.8), (10.8, 83.0, 19.7), (11.0, 66.0, 15.6), (11.0, 75.0, 18.2),
            (11.1, 80.0, 22.6), (11.2, 75.0, 19.9), (11.3, 79.0, 24.2), (11.4, 76.0, 21.0),
            (11.4, 76.0, 21.4), (11.7, 69.0, 21.3), (12.0, 75.0, 19.1), (12.9, 74.0, 22.2),
            (12.9, 85.0, 33.8), (13.3, 86.0, 27.4), (13.7, 71.0, 25.7), (13.8, 64.0, 24.9),
            (14.0, 78.0, 34.5), (14.2, 80.0, 31.7), (14.5, 74.0, 36.3), (16.0, 72.0, 38.3),
            (16.3, 77.0, 42.6), (17.3, 81.0, 55.4), (17.5, 82.0, 55.7), (17.9, 80.0, 58.3),
            (18.0, 80.0, 51.5), (18.0, 80.0, 51.0), (20.6, 87.0, 77.0),
        ),
        source="diameter (in), height (ft) and volume (ft^3), B. F. Ryan et al., Minitab Handbook"
        " (1976)",
    ),
)  # fmt: skip

SIMULATED = (
    # Sizes and logarithms are those of the PySR paper's sets.
    Table("newton", "1.3 + log(m*n/r**2)", ("m", "n", "r"), BENCH,
          design=((1.0, 10.0), (1.0, 10.0), (1.0, 5.0)), count=30, error="one"),
    Table("planck", "0.4 + 3*log(f) - log(exp(48.0*f/T) - 1)", ("f", "T"), BENCH,
          design=((50.0, 600.0), (3000.0, 6000.0)), count=60, error="one"),
    Table("schechter", "2.1 - 1.25*log(L) - 0.8*L", ("L",), BENCH,
          design=_ratios(0.05, 5.0, 27), error="one"),
    Table("ideal gas", "log(8.3*n*T/V)", ("n", "T", "V"), BENCH,
          design=((1.0, 10.0), (250.0, 400.0), (1.0, 10.0)), count=30, error="one"),
    Table("rydberg", "4.7 + log(1/m**2 - 1/n**2)", ("m", "n"), BENCH,
          design=((1.0, 4.0), (2.0, 12.0)), count=50, error="one"),
    Table("half-life", "120.0*exp(-0.23*t)", ("t",), (*GROWTH, "sqrt"),
          design=_steps(0.0, 12.0, 8)),
    Table("half-life over background", "95.0*exp(-0.4*t) + 12.0", ("t",), (*GROWTH, "sqrt"),
          design=_steps(0.0, 14.0, 14)),
    Table("dose of hill", "5.2*d**2/(1.7 + d**2)", ("d",), (*GROWTH, "log"),
          design=_ratios(0.1, 10.0, 10), error="spread"),
    Table("dose of emax", "1.1 + 6.3*d/(d + 2.4)", ("d",), (*GROWTH, "log"),
          design=_ratios(0.2, 40.0, 9), error="spread"),
    Table("michaelis-menten", "3.1*s/(s + 0.9)", ("s",), GROWTH,
          design=_ratios(0.1, 8.0, 8)),
    Table("arrhenius", "exp(9.0 - 28.0/T)", ("T",), ("+", "-", "*", "/", "exp", "log"),
          design=_steps(2.7, 3.9, 7)),
    Table("free fall", "4.905*t**2", ("t",), design=_steps(0.2, 1.6, 8)),
    Table("ohm", "U/R", ("U", "R"), design=((1.0, 12.0), (10.0, 100.0)), count=10),
    Table("boyle", "24.0/V", ("V",), design=_steps(0.5, 4.0, 8)),
    Table("lens", "5.0*a/(a - 5.0)", ("a",), design=_steps(7.0, 30.0, 10)),
    Table("cooling", "21.0 + 68.0*exp(-0.11*t)", ("t",), GROWTH,
          design=_steps(0.0, 30.0, 10), error="spread"),
    Table("pendulum", "2.006*sqrt(l)", ("l",), (*ALGEBRA, "exp"), design=_steps(0.1, 2.0, 8)),
    Table("stefan-boltzmann", "5.67*T**4", ("T",), (*ALGEBRA, "exp"),
          design=_steps(0.3, 1.2, 8)),
    Table("metabolism", "3.4*m**0.72", ("m",), ("+", "-", "*", "/", "pow", "log"),
          design=_ratios(0.02, 600.0, 15)),
    Table("straight line", "1.4 + 2.3*x", ("x",), (*ALGEBRA, "exp"),
          design=_steps(0.0, 5.0, 10), error="spread"),
    Table("nothing", "3.0", ("x",), (*ALGEBRA, "exp"), design=_steps(0.0, 5.0, 12)),
)  # fmt: skip

TABLES = {table.name: table for table in (*MEASURED, *SIMULATED)}
