"""The units of textbook laws, and laws of physics in the magnitudes that SI units give them.

Of `laws_data.py` every law but Snell's, which has angles and a ratio only. Their numbers are all
near one; those of `PHYSICS` are what instruments show: charges of 1e-19 C, distances of stars, the
speed of light. Constants of nature that are no inputs are to be found, units and all.
"""

from __future__ import annotations

from typing import NamedTuple

from laws_data import LAWS, Law


class Given(NamedTuple):
    """A law with the unit of each input, and of the output."""

    law: Law
    inputs: dict[str, str]
    output: str


def _units(text: str) -> dict[str, str]:
    """From "m kg, v c m/s": the unit comes last."""
    units: dict[str, str] = {}
    for part in text.split(","):
        *names, unit = part.split()
        units |= dict.fromkeys(names, unit)
    return units


# Units of the inputs and of the output. Temperatures of a formula without k are energies.
_TEXTBOOK = {
    "distance": ("a b c d m", "m"),
    "lorentz mass": ("m kg, v c m/s", "kg"),
    "lorentz shift": ("x m, t s, u c m/s", "m"),
    "velocity sum": ("u v c m/s", "m/s"),
    "centre of mass": ("m n kg, r s m", "m"),
    "oscillator energy": ("m kg, w u 1/s, x m", "J"),
    "law of cosines": ("a b m, s t rad", "m"),
    "slit": ("I W/m**2, n 1, t rad", "W/m**2"),
    "doppler": ("w 1/s, v c m/s", "1/s"),
    "barometer": ("n 1/m**3, m kg, g m/s**2, x m, T J", "1/m**3"),
    "bose": ("w T J", "1"),
    "radiation": ("w T 1/s", "1/s**3"),
    "isothermal work": ("n mol, T J/mol, V W m**3", "J"),
    "sound": ("g 1, p Pa, r kg/m**3", "m/s"),
    "anharmonic": ("a m, b 1, w 1/s, t s", "m"),
    "clausius-mossotti": ("n 1/m**3, a m**3", "1"),
    "waveguide": ("w 1/s, c m/s, d m", "1/m"),
    "paramagnet": ("n 1/m**3, m J/T, B T, T J", "J/T/m**3"),
    "two-level": ("n 1/m**3, m J/T, B T, T J", "1/m**3"),
    "scattering": ("b m**2, a 1, t rad", "m**2"),
    "relative rapidity": ("w 1/s, v c m/s", "1/s"),
    "dipole field": ("p T*m**3, t rad, r m", "T"),
    "yukawa": ("g J*m, r a m", "J"),
    "reduced mass energy": ("m n kg, v m/s", "J"),
    "parallel resistors": ("a b c ohm", "ohm"),
    "hill": ("V mol/m**3/s, x K mol/m**3", "mol/m**3/s"),
    "logistic growth": ("K kg, a 1, r 1/s, t s", "kg"),
    "arrhenius": ("A 1/s, E T J/mol", "1/s"),
    "antoine": ("A 1, B C T K", "1"),
    "nernst": ("E T V, a b mol/m**3, z 1", "V"),
    "competitive uptake": ("V mol/m**3/s, S K I J mol/m**3", "mol/m**3/s"),
    "morse": ("D J, a 1/m, r s m", "J"),
    "gaussian beam": ("w z R m", "m"),
}

_C2, _H, _K, _G = "8.98755178736817e16", "6.62607015e-34", "1.380649e-23", "6.6743e-11"
_PHYSICS = (
    (
        "coulomb",
        "8.9875517923e9*p*q/r**2",
        {"p": (1.6e-19, 1.6e-18), "q": (1.6e-19, 1.6e-18), "r": (5e-11, 5e-10)},
        "",
        ("p q C, r m", "N"),
    ),
    (
        "gravitation",
        f"{_G}*m*n/r**2",
        {"m": (1e24, 1e25), "n": (1e22, 1e23), "r": (1e8, 1e9)},
        "",
        ("m n kg, r m", "N"),
    ),
    (
        "kepler",
        f"2*pi*sqrt(a**3/({_G}*M))",
        {"a": (5e10, 1e12), "M": (1e30, 1e31)},
        "",
        ("a m, M kg", "s"),
    ),
    (
        "relativistic momentum",
        f"m*v/sqrt(1 - v**2/{_C2})",
        {"m": (1e-30, 2e-27), "v": (1e8, 2.8e8)},
        "",
        ("m kg, v m/s", "kg*m/s"),
    ),
    (
        "planck",
        f"2*{_H}*f**3/({_C2}*(exp({_H}*f/({_K}*T)) - 1))",
        {"f": (1e14, 6e14), "T": (3e3, 6e3)},
        "exp",
        ("f 1/s, T K", "kg/s**2"),
    ),
    (
        "photoelectric effect",
        f"{_H}*f - W",
        {"f": (1e15, 3e15), "W": (3e-19, 6e-19)},
        "",
        ("f 1/s, W J", "J"),
    ),
    (
        "thermal speed",
        f"sqrt(3*{_K}*T/m)",
        {"T": (1e2, 1e3), "m": (1e-27, 1e-25)},
        "",
        ("T K, m kg", "m/s"),
    ),
    (
        "debye length",
        f"sqrt(e*{_K}*T/n)/1.602176634e-19",
        {"e": (8.8e-12, 8.8e-10), "T": (1e4, 1e6), "n": (1e15, 1e17)},
        "",
        ("e F/m, T K, n 1/m**3", "m"),
    ),
    (
        "charging",
        "C*V*(1 - exp(-t/(R*C)))",
        {"C": (1e-9, 1e-8), "V": (1, 10), "R": (1e3, 1e4), "t": (1e-6, 5e-5)},
        "exp",
        ("C F, V V, R ohm, t s", "C"),
    ),
    (
        "diode",
        "I*(exp(U/V) - 1)",
        {"I": (1e-12, 1e-11), "U": (0, 0.15), "V": (0.02, 0.05)},
        "exp",
        ("I A, U V V", "A"),
    ),
)


def _given(law: Law, units: tuple[str, str]) -> Given:
    inputs = _units(units[0])
    return Given(law, {name: inputs[name] for name in law.names}, units[1])


TEXTBOOK = {name: _given(LAWS[name], units) for name, units in _TEXTBOOK.items()}
PHYSICS = {
    name: _given(Law(name, text, ranges, more), units)
    for name, text, ranges, more, units in _PHYSICS
}
GIVEN = TEXTBOOK | PHYSICS
