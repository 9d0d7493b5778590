"""Structure: a network is asked whether it has what was found of it, and reports say how well."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forging import forged
from torch import nn

from symcompile import Compiled, Target, distill, load, symcompile
from symcompile.errors import ArtifactError
from symcompile.exporters import manifest
from symcompile.fidelity.structure import with_answers
from symcompile.regression.structure.statement import EXACT, MOST

OPERATORS = ("+", "-", "*", "/", "sqrt", "square")
NAMES = ("m", "v", "c")
X = torch.from_numpy(np.random.default_rng(0).uniform([1, 1, 3], [5, 2, 10], (600, 3)))


class Mass(nn.Module):
    """m/sqrt(1 - (v/c)**2), times a wave of c."""

    def __init__(self, wave: float = 0.0) -> None:
        super().__init__()
        self.wave = wave
        self.rest = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.rows: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(x))
        m, v, c = x.unbind(-1)
        wave = 1 + self.wave * torch.sin(7 * c)
        return (self.rest * m / torch.sqrt(1 - (v / c) ** 2) * wave)[:, None]


def compiled_of(model: nn.Module, **target: Any) -> Compiled:
    asked = {"operators": OPERATORS, "engine": "operon", "progress": False}
    options = {"restarts": 1, "population": 50, "generations": 2}
    target = {"names": NAMES, **target}
    return symcompile(
        model, Target(".", max_complexity=12, **target), X, engine_options=options, **asked
    )


@pytest.fixture(scope="module")
def exact() -> Compiled:
    return compiled_of(Mass())


@pytest.fixture(scope="module")
def wavy() -> Compiled:
    return compiled_of(Mass(0.003))


def said(compiled: Compiled) -> dict[str, float | None]:
    return {found.text: found.asked for found in compiled.fronts["."][0].findings}


def test_a_network_that_has_it_keeps_it_to_rounding(exact: Compiled) -> None:
    found = exact.fronts["."][0].findings
    assert found[-1].form == "m*G(v/c)"
    assert said(exact).keys() == {"proportional to m", "v and c matter only through v/c"}
    for statement in found:
        assert statement.certain
        assert statement.law is not None
        assert statement.law < EXACT
        assert statement.asked is not None
        assert statement.asked < EXACT


def test_a_network_that_breaks_it_a_little_says_by_how_much(wavy: Compiled) -> None:
    asked = said(wavy)["v and c matter only through v/c"]
    assert asked is not None
    assert 0.002 < asked < 0.02
    told = f"kept to {100 * asked:.2g} % of the spread where that was asked"
    assert told in " ".join(str(wavy.report).split())


def test_what_a_network_does_not_have_is_not_claimed(exact: Compiled) -> None:
    other = Mass(0.1).forward(X).detach().numpy()
    asked = lambda rows: Mass(0.1)(torch.from_numpy(rows)).detach().numpy()  # noqa: E731
    (front,) = with_answers(exact.fronts["."], X.numpy(), other, asked).values()
    assert not any("v/c" in found.text for found in front.findings)


def test_one_call_asks_for_all(exact: Compiled) -> None:
    model = Mass()
    rows = []
    fn = lambda X: rows.append(len(X)) or model(X)  # noqa: E731
    front = distill(fn, X, names=NAMES, operators=OPERATORS, progress=False)[0]
    assert len(rows) == 2
    assert rows[0] == len(X)
    assert front.findings[-1].asked is not None
    assert front.findings == exact.fronts["."][0].findings or front.findings[-1].asked < EXACT


def test_arrays_can_not_be_asked() -> None:
    Y = Mass()(X).detach()
    front = distill(X, Y, names=NAMES, operators=OPERATORS, progress=False)[0]
    assert front.findings[-1].form == "m*G(v/c)"
    assert all(found.asked is None for found in front.findings)
    assert "samples keep it to" in str(front)


def test_features_are_not_moved() -> None:
    compiled = compiled_of(Mass(), features={"m": "m", "v": "v", "c": "c"})
    assert set(said(compiled).values()) == {None}


def test_a_network_that_refuses_is_not_measured() -> None:
    class Strict(Mass):
        """Takes nothing that it has not seen."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            known = (x[:, None, :] == X[None]).all(dim=-1).any(dim=-1)
            if not known.all():
                raise ValueError("never seen")
            return super().forward(x)

    compiled = compiled_of(Strict())
    assert set(said(compiled).values()) == {None}
    assert "never seen" in compiled.outcomes["."].fidelity.unmeasured["findings"]


# --- where it is shown and stored ----------------------------------------------------------------


def test_reports_show_it_below_the_equation(exact: Compiled) -> None:
    lines = str(exact.report).splitlines()
    place = next(k for k, line in enumerate(lines) if line.startswith("  y[0] = m/sqrt("))
    assert lines[place + 1].startswith("    structure: m*G(v/c) (")
    assert "structure: m*G(v/c) (" in exact.report._repr_html_()
    assert "structure: m*G(v/c) (" in str(exact.fronts["."][0])
    (row,) = exact.report.to_dict()["targets"][0]["outputs"]
    assert [found["text"] for found in row["findings"]] == [*said(exact)]
    assert row["findings"][-1]["form"] == "m*G(v/c)"
    json.dumps(row, allow_nan=False)


def test_artifacts_and_manifests_keep_it(wavy: Compiled, tmp_path: Path) -> None:
    path = wavy.save(tmp_path / "a.symc")
    again = load(path)
    assert again.fronts["."][0].findings == wavy.fronts["."][0].findings
    assert str(again.report) == str(wavy.report)
    rows = [manifest(each)["regions"]["."]["equations"]["0"]["findings"] for each in (wavy, again)]
    assert rows[0] == rows[1]
    assert [row["text"] for row in rows[0]] == [*said(wavy)]


@pytest.mark.parametrize(
    "damage",
    [
        {"text": "a" * 2_000},
        {"text": None},
        {"form": 3},
        {"certain": "yes"},
        {"after": -1.0},
        {"asked": "0.1"},
    ],
    ids=str,
)
def test_hostile_artifacts_are_refused(
    wavy: Compiled, tmp_path: Path, damage: dict[str, Any]
) -> None:
    path = wavy.save(tmp_path / "a.symc")

    def edit(data: Any) -> None:
        findings = data["."]["fronts"]["0"]["findings"]
        findings[0] |= damage

    with pytest.raises(ArtifactError, match="findings"):
        load(forged(path, tmp_path / "b.symc", {"outcomes.json": edit}))


def test_many_and_unprintable_ones(wavy: Compiled, tmp_path: Path) -> None:
    path = wavy.save(tmp_path / "a.symc")

    def many(data: Any) -> None:
        front = data["."]["fronts"]["0"]
        front["findings"] = [copy.deepcopy(front["findings"][0]) for _ in range(MOST + 1)]

    def unprintable(data: Any) -> None:
        data["."]["fronts"]["0"]["findings"][0]["text"] = "a\x1b[2J"

    with pytest.raises(ArtifactError, match="entries"):
        load(forged(path, tmp_path / "b.symc", {"outcomes.json": many}))
    shown = load(forged(path, tmp_path / "c.symc", {"outcomes.json": unprintable}))
    assert "\x1b" not in str(shown.report)


def test_older_artifacts_have_none(exact: Compiled, tmp_path: Path) -> None:
    path = exact.save(tmp_path / "a.symc")

    def older(data: Any) -> None:
        del data["."]["fronts"]["0"]["findings"]

    old = load(forged(path, tmp_path / "b.symc", {"outcomes.json": older}))
    assert old.fronts["."][0].findings == ()
    assert "structure:" not in str(old.report)


def test_a_journal_gives_them_back(tmp_path: Path) -> None:
    Y = Mass()(X).detach()
    asked = {"names": NAMES, "operators": OPERATORS, "progress": False, "run_dir": tmp_path}
    first, again = (distill(X, Y, **asked)[0] for _ in range(2))
    assert first.findings == again.findings
    assert again.findings[-1].claim is not None
