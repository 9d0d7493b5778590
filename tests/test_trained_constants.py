"""Constants as training leaves them: whole exponents stay, and what is no number is named."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import sympy
import torch
from searches import QUICK
from torch import nn

from symcompile import Compiled, SymCompileError, Target, diff, load, symcompile
from symcompile.expressions.equation import Equation
from symcompile.expressions.slots import slot

ROWS = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def shared() -> Compiled:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    features = {"s": "x0 + x1", "d": "x0 - x1"}
    return symcompile(model, Target("0", features=features), ROWS, **QUICK)


@pytest.fixture
def compiled(shared: Compiled) -> Compiled:
    return copy.deepcopy(shared)


def step(compiled: Compiled, rate: float, times: int = 1, rows: torch.Tensor = ROWS) -> None:
    optimizer = torch.optim.SGD(compiled.module.parameters(), rate)
    for _ in range(times):
        optimizer.zero_grad()
        compiled.module(rows).pow(2).mean().backward()
        optimizer.step()


# --- exponents -----------------------------------------------------------------------------------

s, d = sympy.symbols("s d")
WHOLE = [
    "0.4*s**2.0 + 0.1*d",
    "0.4*s**-1.0 + 0.1*d",
    "0.4*(s + 0.5*d)**3.0",
    "2.0*s**2.0 + d",  # one float in two places
    "0.4*pow(s, 4.0) + 1.5*sin(s)**2.0",
    sympy.Float(0.4) * s ** sympy.Float(2.0) + d,
    sympy.Float(0.4) * sympy.Abs(s) ** sympy.Float(0.5) + d,
]


@pytest.mark.parametrize("law", WHOLE, ids=str)
def test_whole_exponents_do_not_train(compiled: Compiled, law: str | sympy.Expr) -> None:
    compiled.choose("0", law, output=0)
    compiled.trainable_constants(True)
    assert torch.isfinite(compiled.module(ROWS)).all()
    form = compiled.equations["0"][0].form
    step(compiled, 1e-4)
    assert compiled.equations["0"][0].form == form
    assert torch.isfinite(compiled.module(ROWS)).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in compiled.module.parameters())
    assert all(not p.exp.free_symbols for p in form.atoms(sympy.Pow))


def test_exponents_that_are_not_whole_train_on_their_domain(compiled: Compiled) -> None:
    compiled.choose("0", "0.4*abs(s)**1.7 + 0.1*d", output=0)
    compiled.trainable_constants(True)
    rows = torch.cat([ROWS, torch.zeros(1, 2)])  # zero is the edge of the domain
    step(compiled, 1e-3, rows=rows)
    assert torch.isfinite(compiled.module(rows)).all()
    assert 1.7 not in compiled.equations["0"][0].constants


def test_whole_exponents_of_stored_equations_do_not_train(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = slot(0) * s ** slot(1) + slot(2) * d ** slot(3) + slot(3)
    old = Equation(form, ("s", "d"), (0.4, 2.0, 0.1, 3.0), 13)
    with monkeypatch.context() as before:  # as earlier versions installed them
        before.setattr(Equation, "with_exact_exponents", lambda self: self)
        compiled.choose("0", "s", output=0)
        compiled._install("0", {**compiled.equations["0"], 0: old})
        compiled.save(tmp_path / "old.symc")
    loaded = load(tmp_path / "old.symc").trainable_constants(True)
    torch.testing.assert_close(loaded.module(ROWS), compiled.module(ROWS))
    step(loaded, 1e-4)
    assert torch.isfinite(loaded.module(ROWS)).all()
    shown = loaded.equations["0"][0]
    assert {p.exp for p in shown.form.atoms(sympy.Pow)} == {2, 3}
    loaded.save(tmp_path / "new.symc")
    again = load(tmp_path / "new.symc")
    assert again.equations["0"][0].constants == shown.constants
    torch.testing.assert_close(again.module(ROWS), loaded.module(ROWS))


# --- constants that are no numbers ---------------------------------------------------------------

SHOWN: dict[str, Callable[[Compiled], object]] = {
    "text": lambda c: [str(e) for e in c.equations["0"].values()],
    "sympy": lambda c: [e.sympy for e in c.equations["0"].values()],
    "latex": lambda c: [e.latex() for e in c.equations["0"].values()],
    "python": lambda c: [e.to_python() for e in c.equations["0"].values()],
    "repr": repr,
    "outcomes": lambda c: c.outcomes,
    "report": lambda c: str(c.report),
    "html": lambda c: c.report._repr_html_(),
    "json": lambda c: json.dumps(c.report.to_dict()),
    "fronts": lambda c: str(c.fronts["0"][0]),
    "copy": lambda c: copy.deepcopy(c.module)(ROWS),
    "pickle": lambda c: pickle.loads(pickle.dumps(c.module))(ROWS),
    "fixed": lambda c: c.trainable_constants(False),
}
REFUSED: dict[str, Callable[[Compiled, Path], object]] = {
    "save": lambda c, path: c.save(path / "m.symc"),
    "onnx": lambda c, path: c.export(path / "m.onnx"),
    "manifest": lambda c, path: c.export(path / "m.json"),
    "diff": lambda c, path: diff(c, c),
    "simplify": lambda c, path: c.simplify("0", lambda module: 1.0),
}


@pytest.fixture(params=["nan", "inf", "-inf"])
def broken(request: pytest.FixtureRequest, compiled: Compiled) -> Compiled:
    """Two outputs, one of them with constants that are no numbers, and one of the other's."""
    compiled.choose("0", "0.4*exp(1.3*s) + 0.1*d", output=0)
    law = "where(s > 0.3, 2.5*d, min(s, 1.5*d)) + sin(0.7*s) + log(abs(0.9*s))"
    compiled.choose("0", law, output=1)
    compiled.trainable_constants(True)
    for name, parameter in compiled.module.named_parameters():
        if name.startswith("0.y1") or name == "0.y0_c1":
            parameter.data.fill_(float(request.param))
    return compiled


@pytest.mark.parametrize("what", SHOWN)
def test_what_is_no_number_is_shown(broken: Compiled, what: str) -> None:
    SHOWN[what](broken)


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_number_is_not_written_down(broken: Compiled, what: str, tmp_path: Path) -> None:
    reason = r"block '0', output 0: constant 1 of .* is -?(nan|inf).*choose\('0'.*restore\('0'\)"
    with pytest.raises(SymCompileError, match=reason):
        REFUSED[what](broken, tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_choice_or_the_neural_block_mends_it(broken: Compiled, tmp_path: Path) -> None:
    with pytest.raises(SymCompileError, match=r"uses (inf|nan)"):
        broken.choose("0", broken.equations["0"][1], output=1)
    broken.choose("0", "0.4*s")
    broken.save(tmp_path / "m.symc")
    assert torch.isfinite(load(tmp_path / "m.symc").module(ROWS)).all()
    broken.restore("0")
    assert torch.isfinite(broken.module(ROWS)).all()


def test_training_that_diverges(compiled: Compiled) -> None:
    compiled.choose("0", "0.4*exp(1.3*s) + 0.1*d")
    compiled.trainable_constants(True)
    step(compiled, 1e4, times=5)
    assert not all(map(math.isfinite, compiled.equations["0"][0].constants))
    assert "nan" in str(compiled.equations["0"][0])
    assert "nan" in repr(compiled)


def test_simplify_changes_nothing_where_training_diverges(compiled: Compiled) -> None:
    compiled.choose("0", "0.4*exp(1.3*s) + 0.1*d")
    compiled.trainable_constants(True)
    before = copy.deepcopy(compiled.module.state_dict())

    def adapt(module: nn.Module) -> torch.Tensor:
        optimizer = torch.optim.SGD(module.parameters(), 1e4)
        for _ in range(5):
            optimizer.zero_grad()
            module(ROWS).pow(2).mean().backward()
            optimizer.step()
        return module(ROWS).pow(2).mean().detach()

    with pytest.raises(SymCompileError, match=r"adapt returned a loss of inf.*nothing was changed"):
        compiled.simplify("0", adapt)
    after = compiled.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
