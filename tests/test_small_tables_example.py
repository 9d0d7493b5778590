"""The tables of `examples/small_tables.py`, and when a law counts as found there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from symcompile import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.regression.pareto import ParetoFront

EXAMPLES = Path(__file__).parents[1] / "examples"
# Rows that differ by chance are further from their law than this share of their spread.
NOISY = {"nebulae of Hubble": 0.7, "Cepheids of Leavitt": 0.3, "oxygen demand": 0.4}
CLEAN = 0.25


@pytest.fixture(scope="module")
def example() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import small_tables
        import small_tables_data
        import small_tables_judge

        yield SimpleNamespace(
            script=small_tables, data=small_tables_data, judge=small_tables_judge.Judge
        )


def equation(example: SimpleNamespace, name: str, text: str) -> Equation:
    table = example.data.TABLES[name]
    return Equation.of(parse(text, table.names), table.names, OperatorSet.of(table.operators))


def test_tables_are_small_and_have_names_of_their_own(example: SimpleNamespace) -> None:
    tables = [*example.data.MEASURED, *example.data.SIMULATED]
    assert len({table.name for table in tables}) == len(tables) >= 25
    for table in tables:
        X, y = table.samples(0.1, 0)
        assert X.shape == (len(y), len(table.names)), table.name
        assert 6 <= len(y) <= 60, table.name


def test_measured_rows_follow_their_laws(example: SimpleNamespace) -> None:
    """A digit that was typed wrong is further off than the measurement."""
    for table in example.data.MEASURED:
        X, y = table.samples(0.0, 0)
        error = example.judge(table).law.predict(X) - y
        share = np.linalg.norm(error) / np.linalg.norm(y - y.mean())
        assert share < NOISY.get(table.name, CLEAN), table.name
        assert table.source, table.name


def test_laws_are_right_by_their_own_judge(example: SimpleNamespace) -> None:
    for table in example.data.TABLES.values():
        judge = example.judge(table)
        assert judge.is_right(judge.law), table.name


@pytest.mark.parametrize(
    ("name", "text", "right"),
    [
        ("planets", "0.9*a*sqrt(a)", True),
        ("planets", "0.9*a**1.47", True),
        ("planets", "0.9*a*sqrt(a) + 0.1", False),
        ("planets", "0.9*a*sqrt(a + 0.1)", False),
        ("planets", "0.9*a**2", False),
        ("half-life", "100.0*exp(-0.2*t)", True),
        ("half-life", "100.0*0.8**t", True),
        ("half-life", "100.0*exp(-0.2*t) + 3.0", False),
        ("half-life", "100.0/(1 + 0.3*t + 0.04*t**2)", False),
        ("michaelis-menten", "2.0/(1 + 1.1/s)", True),
        ("michaelis-menten", "2.0*(1 - exp(-1.1*s))", False),
        ("ohm", "0.9*U/R", True),
        ("ohm", "0.9*U/(R + 2.0)", False),
        ("nothing", "2.9", True),
        ("nothing", "2.9 + 0.01*x", False),
        ("straight line", "2.9", False),
        ("straight line", "1.0 + sqrt(-1.0 - x)", False),
    ],
)
def test_form_counts_and_constants_do_not(
    example: SimpleNamespace, name: str, text: str, right: bool
) -> None:
    judge = example.judge(example.data.TABLES[name])
    assert judge.is_right(equation(example, name, text)) is right


def test_noise_is_a_share_of_what_the_table_says(example: SimpleNamespace) -> None:
    for name, size in (("free fall", "value"), ("cooling", "spread"), ("newton", "one")):
        table = example.data.TABLES[name]
        assert table.error == size
        errors = []
        for seed in range(60):
            clean, noisy = (table.samples(noise, seed)[1] for noise in (0.0, 0.05))
            unit = {"value": clean, "spread": clean.std(), "one": 1.0}[size]
            errors.append((noisy - clean) / unit)
        assert np.std(errors) == pytest.approx(0.05, rel=0.15)


def test_what_is_measured_has_its_own_noise(example: SimpleNamespace) -> None:
    levels = {table.levels for table in example.data.MEASURED}
    assert levels == {(0.0,)}
    assert example.data.TABLES["nothing"].levels == (0.01, 0.05, 0.1, 0.2)
    tasks = example.script.plan([example.data.TABLES["boyle"]], (0, 1))
    assert [(task.noise, task.seed) for task in tasks[4:6]] == [(0.2, 0), (0.0, 1)]


def line(
    example: SimpleNamespace, losses: tuple[float, float], behind: tuple[float, ...]
) -> dict[str, object]:
    """A finished search of planets: the mean, a square and the law."""
    forms = ("0.5", "0.3*a**2", "1.0*a*sqrt(a)")
    equations = [
        replace(equation(example, "planets", text), loss=loss, holdout_loss=loss)
        for text, loss in zip(forms, (1.0, *losses), strict=True)
    ]
    found = {"table": "planets", "noise": 0.0, "seed": 3, "seconds": 0.5}
    return found | {"front": ParetoFront.of(equations, 1.0).described(behind).to_json()}


def test_right_undecided_and_front(example: SimpleNamespace) -> None:
    law = example.script.judged(line(example, (0.9, 1e-9), (9.0, 2.0, 0.0)))
    assert (law.right, law.undecided, law.front, law.rivals) == (True, False, True, 1)
    assert law.margin == 2.0
    missed = example.script.judged(line(example, (1e-9, 0.9e-9), (2.0, 0.0, 5.5)))
    assert (missed.right, missed.undecided, missed.front) == (False, False, True)
    assert missed.margin == 2.0
    close = example.script.judged(line(example, (1e-9, 0.9e-9), (2.0, 0.0, 2.5)))
    assert (close.right, close.undecided, close.front, close.rivals) == (False, True, True, 2)


def test_finished_searches_are_kept(example: SimpleNamespace, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text(
        json.dumps(line(example, (0.9, 1e-9), (9.0, 2.0, 0.0))) + "\n", encoding="utf-8"
    )
    task = example.script.Task("planets", 0.0, 3)
    outcomes = example.script.run([task], kept, {})
    assert [outcome.seconds for outcome in outcomes] == [0.5]
    lines = example.script.table(outcomes).splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells == ["planets", "1.0*a**(3/2)", "1", "1", "0", "1", ""]
