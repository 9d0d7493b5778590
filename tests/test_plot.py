"""Pictures hold what they are meant to show; how they look was looked at."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from symcompile.errors import ChoiceError, DataError, ExportError, SymCompileError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.regression.pareto import ParetoFront
from symcompile.report import plot

pytest.importorskip("matplotlib")

ROWS = [
    ("0.1*x", 3, 0.12),
    ("x*exp(-2.1*t)", 8, 0.02),
    ("0.998*exp(-9.87*t)*sin(3.1416*x)", 9, 5.1e-5),
    ("where(x > 0.123, x, t)", 12, 4.0e-5),
    (
        "0.998*exp(-9.87*t)*sin(3.1416*x) + 0.001*x**2 + 0.1*sin(t)/(x + 2.1*t*x - 4.123 + t)",
        22,
        9e-6,
    ),
]


def equation(text: str, complexity: int, loss: float) -> Equation:
    found = Equation.of(parse(text, ["x", "t"]), ["x", "t"], OperatorSet.of(None), loss, loss)
    return replace(found, complexity=complexity)


FRONT = ParetoFront.of([equation(*row) for row in ROWS], 0.125)


def test_every_equation_is_a_point_with_its_complexity() -> None:
    axes = plot.pareto(FRONT, title="heat[0]").axes[0]
    points = axes.lines[1].get_xydata()
    np.testing.assert_allclose(points, [[cost, loss] for _, cost, loss in ROWS])
    assert [note.get_text() for note in axes.texts] == ["3", "8", "9", "12", "22"]
    assert axes.get_yscale() == "log"
    assert "held-out" in axes.get_ylabel()


@pytest.mark.parametrize("index", [None, 1, 4])
def test_the_choice_is_marked_and_written_out(index: int | None) -> None:
    chosen = FRONT.best if index is None else FRONT[index]
    axes = plot.pareto(FRONT, chosen=None if index is None else chosen).axes[0]
    assert tuple(axes.lines[2].get_xydata()[0]) == pytest.approx((chosen.complexity, chosen.loss))
    (entry,) = axes.get_legend().get_texts()
    assert f"complexity {chosen.complexity}," in entry.get_text()


def test_short_equations_are_set_as_formulas_and_others_as_text() -> None:
    def title(index: int) -> str:
        return str(plot.pareto(FRONT, chosen=FRONT[index]).axes[0].get_title(loc="left"))

    assert title(2) == f"${FRONT[2].latex()}$"
    assert "Piecewise" in title(3)  # math text can't set cases
    assert "$" not in title(4)
    assert title(4).count("\n") == 1


@pytest.mark.parametrize("name", ["front.png", "front.svg", "front.pdf"])
def test_pictures_are_written(tmp_path: Path, name: str) -> None:
    plot.pareto(FRONT, path=tmp_path / name)
    start = (tmp_path / name).read_bytes()[:40]
    assert start.startswith((b"\x89PNG", b"<?xml", b"%PDF"))


def test_a_front_of_one_perfect_equation_can_be_drawn(tmp_path: Path) -> None:
    front = ParetoFront.of([equation("x", 1, 0.0)], 1.0)
    axes = plot.pareto(front, path=tmp_path / "one.png").axes[0]
    low, high = axes.get_ylim()
    assert 0 < low < high


def test_a_title_with_dollars_is_taken_as_it_is(tmp_path: Path) -> None:
    figure = plot.pareto(FRONT, title="cost $5 and $x_", path=tmp_path / "title.png")
    assert figure.get_suptitle() == "cost $5 and $x_"


def test_predictions_are_drawn_against_the_truth() -> None:
    truth = np.linspace(-1, 1, 20_000)
    axes = plot.prediction(0.9 * truth, truth, title="edge[0]").axes[0]
    drawn = axes.lines[1].get_xydata()
    assert 1000 < len(drawn) <= 5000
    np.testing.assert_allclose(drawn[:, 1], 0.9 * drawn[:, 0])
    assert "relative L2 0.1" in axes.get_legend().get_texts()[0].get_text()


def test_what_can_not_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChoiceError):
        plot.pareto(ParetoFront((), 1.0))
    with pytest.raises(DataError):
        plot.prediction(np.zeros(3), np.zeros(4))
    with pytest.raises(DataError, match="no samples"):
        plot.prediction(np.zeros(0), np.zeros(0))
    with pytest.raises(ExportError, match=r"front\.nonsense"):
        plot.pareto(FRONT, path=tmp_path / "front.nonsense")


def test_a_missing_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SymCompileError, match=r"pip install symcompile\[plot\]"):
        plot.pareto(FRONT)


def test_matplotlib_and_pyplot_wait_until_they_are_needed() -> None:
    code = (
        "import sys, symcompile.report.plot as plot, numpy as np\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plot.prediction(np.arange(3.0), np.arange(3.0))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
