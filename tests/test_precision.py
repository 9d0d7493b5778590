"""A block computes its equations in its own dtype, or in a wider one inside, or is refused."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hybrids import Fake, region_of
from installed import OPERATORS, compiled_with
from torch import nn

from symcompile import Compiled, Target, diff, exporters, load, record, symcompile
from symcompile.errors import ExportError
from symcompile.expressions.equation import Equation
from symcompile.expressions.parser import parse
from symcompile.fidelity import measuring, precision
from symcompile.fidelity.outcome import (
    LOSES_DIGITS,
    Agreement,
    Fidelity,
    OutputFidelity,
    Refusal,
    Rewrite,
    Shortfall,
)
from symcompile.fidelity.precision import Examined, examine
from symcompile.fidelity.refusal import refusal
from symcompile.lowering.block import lower
from symcompile.passes.reduce import reduce


class Exact(nn.Module):
    """A law to the last digit of its output, whatever the dtype."""

    def __init__(self, law: str, n_inputs: int) -> None:
        super().__init__()
        of = region_of("0", Fake([law], n_inputs))
        equation = Equation.of(parse(law, of.variables), of.variables, OPERATORS)
        self.law = lower(of, {0: equation}, dtype=torch.float64).module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.law(x.double()).to(x.dtype)  # type: ignore[no-any-return]


class Law(NamedTuple):
    text: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: torch.dtype = torch.float32
    wide: bool = True

    def rows(self, count: int = 300) -> torch.Tensor:
        share = np.random.default_rng(0).random((count, len(self.low)))
        low, high = np.array(self.low), np.array(self.high)
        values = low + share * (high - low)
        if min(self.low) > 0 and max(high / low) > 1000:  # over all orders of magnitude
            values = low * (high / low) ** share
        return torch.from_numpy(values).to(self.dtype)


HALF, BRAIN, DOUBLE = torch.float16, torch.bfloat16, torch.float64
LAWS = {
    "gravity": Law("6.674e-11*x0*x1/x2**2", (1e24, 1e22, 1e8), (9e24, 9e22, 9e8)),
    "charges": Law("8.988e9*x0*x1/x2**2", (1e-24, 1e-24, 1e-13), (9e-24, 9e-24, 9e-13)),
    "a constant that is no float32": Law("3.1e50*x0**2", (1e-25,), (9e-25,)),
    "one that is zero in float32": Law("6.7e-48*x0**2", (1e24,), (9e24,)),
    "large terms that cancel": Law("sqrt(x0**2 + 1e12) - 1e6", (1.0,), (9.0,)),
    "a phase of many turns": Law("sin(1e6*x0)", (1.0,), (2.0,)),
    "an intermediate value overflows": Law("1/(1 + exp(x0))", (-5.0,), (300.0,)),
    "half of the samples underflow": Law("x0*x1*1e20", (1e-30, 1e-20), (1e-10, 1e-19)),
    "bfloat16": Law("6.674e-11*x0*x1/x2**2", (1e24, 1e22, 1e8), (9e24, 9e22, 9e8), BRAIN),
    "float16": Law("x0**9/x1**8", (3e4, 4.5e4), (4e4, 6e4), HALF),
    "float16, float32 will do": Law("x0*x1/x2", (1e3, 1e3, 1e3), (3e3, 3e3, 9e3), HALF, False),
    "nothing wrong": Law("0.5*sin(3.0*x0)*exp(x1) + x0", (-2.0, -2.0), (2.0, 2.0), wide=False),
    "a phase of a few turns": Law("sin(100.0*x0)", (0.0,), (1.0,), wide=False),
    "next to a zero": Law("x0 - 0.7123", (0.0,), (1.0,), wide=False),
    "nothing wrong in float64": Law("6.674e-11*x0*x1/x2**2", (1e24, 1e22, 1e8), (9e24, 9e22, 9e8),
                                    DOUBLE, False),
}  # fmt: skip


def compiled_of(law: Law, text: str = "", **options: Any) -> Compiled:
    """`text` in the place of a block that gives the law; no search."""
    model = nn.Sequential(Exact(law.text, len(law.low)))
    return compiled_with(model, {"0": [text or law.text]}, law.rows(), **options)


def close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Right to half of the digits of float32 and the rounding of either."""
    limit = 4e-4 + max(torch.finfo(one.dtype).eps for one in (found, wanted))
    error = (found.double() - wanted.double()).norm()
    return bool(error <= limit * wanted.double().norm())


@pytest.mark.parametrize("name", LAWS)
def test_what_is_installed_computes_its_equation(name: str) -> None:
    law = LAWS[name]
    compiled = compiled_of(law, tolerance=0.01)
    found = compiled.outcomes["0"]
    assert isinstance(found, Rewrite), found
    assert found.computes_in == ("float64" if law.wide else "")
    assert found.fidelity.shortfalls == ()
    assert found.fidelity.domain == ()
    rows = law.rows()
    wanted, block = Exact(law.text, len(law.low))(rows), compiled.module(rows)
    assert block.dtype == law.dtype
    assert close(block, wanted)
    assert found.fidelity.outputs[0].equation.r2 > 0.999
    assert ("computes in float64 inside" in str(compiled.report)) == law.wide
    (row,) = compiled.report.to_dict()["targets"]
    assert (row["computes_in"], row["shortfalls"]) == (found.computes_in, [])


@pytest.mark.parametrize(
    "name",
    ["gravity", "charges", "a constant that is no float32", "large terms that cancel", "float16"],
)
def test_it_can_be_moved_copied_stored_and_trained(name: str, tmp_path: Path) -> None:
    law = LAWS[name]
    compiled, rows = compiled_of(law), law.rows(50)
    wanted = compiled.module(rows)
    for again in (
        copy.deepcopy(compiled.module),
        pickle.loads(pickle.dumps(compiled.module)),
        load(compiled.save(tmp_path / "a.symc")).module,
        exporters.graph_module(compiled),
        exporters.graph_module(compiled, inline=True),
    ):
        assert torch.equal(again(rows), wanted)
    for again in (copy.deepcopy(compiled.module), pickle.loads(pickle.dumps(compiled.module))):
        # What keeps a model's own type, such as trainer.fit, must not cost its constants.
        assert torch.equal(again.to(law.dtype)(rows), wanted)
        assert close(again.double()(rows.double()), wanted)
        assert close(again.to(law.dtype)(rows), wanted)
    state = compiled.module.state_dict()
    again = compiled_of(law).module
    again.load_state_dict(state)
    assert torch.equal(again(rows), wanted)
    compiled.trainable_constants(True)
    for constant in compiled.module.parameters():
        inputs = rows.clone().requires_grad_()
        compiled.module(inputs).double().sum().backward()
        assert constant.grad is not None
        assert torch.isfinite(constant.grad).all()
        assert inputs.grad is not None
        assert torch.isfinite(inputs.grad).all()


def test_a_manifest_says_so(tmp_path: Path) -> None:
    compiled = compiled_of(LAWS["charges"])
    row = exporters.manifest(compiled, tmp_path / "a.json")["regions"]["0"]
    assert (row["dtype"], row["computes_in"]) == ("float32", "float64")
    assert diff(tmp_path / "a.json", compiled.save(tmp_path / "a.symc")).same
    assert diff(tmp_path / "a.json", compiled).same


@pytest.mark.parametrize(("name", "functions"), [("charges", True), ("float16", False)])
def test_onnx_is_equal(name: str, functions: bool, tmp_path: Path) -> None:
    import onnxruntime

    law = LAWS[name]
    compiled, rows = compiled_of(law), law.rows(40)
    for dtype in (None, "float32"):
        file = exporters.onnx(compiled, tmp_path / "a.onnx", functions=functions, dtype=dtype)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        given = rows.numpy() if dtype is None else rows.numpy().astype(dtype)
        (found,) = session.run(None, {session.get_inputs()[0].name: given})
        assert close(torch.from_numpy(found), compiled.module(rows))


def test_onnx_names_what_runtimes_lack_in_the_wider_type(tmp_path: Path) -> None:
    law = Law("erf(x0*x1*1e-46)", (1e24, 1e22), (9e24, 9e22))
    with pytest.raises(ExportError, match=r"no Erf for float64, which target '0' needs: it comput"):
        exporters.onnx(compiled_of(law), tmp_path / "a.onnx")


def test_a_result_that_the_type_does_not_hold_is_refused() -> None:
    law = Law("x0", (1e24, 1e24), (9e24, 9e24))
    compiled = compiled_of(law, "x0*x1")
    found = compiled.outcomes["0"]
    assert isinstance(found, Refusal)
    for part in ("overflows in float32", "300 of 300", "features=", "model.double()", "choose"):
        assert part in found.reason
    compiled.choose("0", "x0*x1")
    (one,) = compiled.outcomes["0"].fidelity.shortfalls  # type: ignore[union-attr]
    assert (one.problem, one.count, one.n_samples) == ("overflows", 300, 300)
    (row,) = compiled.report.to_dict()["targets"]
    assert row["shortfalls"][0]["problem"] == "overflows"
    report = " ".join(str(compiled.report).split())
    assert "y[0] overflows in float32 on 300 of 300 recorded samples" in report
    assert "-inf" in report
    compiled.choose("0", "x0 - x1 + x1")
    assert compiled.outcomes["0"].fidelity.shortfalls == ()  # type: ignore[union-attr]


def test_devices_without_float64_refuse_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symcompile.fidelity.precision._there", lambda dtype, device: False)
    for name, problem in (("gravity", "overflows"), ("charges", "underflows to zero")):
        found = compiled_of(LAWS[name]).outcomes["0"]
        assert isinstance(found, Refusal)
        assert f"{problem} in float32 on 300 of 300 recorded samples" in found.reason


def test_constants_that_leave_the_range_in_training_are_reported() -> None:
    compiled = compiled_of(Law("2.5*x0", (1e10,), (9e10,)))
    compiled.trainable_constants(True)
    (constant,) = compiled.module.parameters()
    assert constant.dtype == torch.float32
    with torch.no_grad():
        constant.fill_(3e30)
    found = compiled.outcomes["0"]
    assert found.fidelity is not None
    assert found.fidelity.outputs[0].equation.r2 == -math.inf
    (one,) = found.fidelity.shortfalls
    assert str(one) == "overflows in float32 on 300 of 300 recorded samples"


def test_constants_that_are_no_numbers_are_measured_once() -> None:
    compiled = compiled_of(Law("2.5*x0", (1.0,), (9.0,)))
    compiled.trainable_constants(True)
    with torch.no_grad():
        next(compiled.module.parameters()).fill_(math.nan)
    found = compiled.outcomes["0"]
    assert found.fidelity is not None
    assert found.fidelity.outputs[0].equation.r2 == -math.inf
    assert compiled.outcomes["0"] is found


def test_lost_digits_that_no_type_has_count_only_where_they_make_the_error() -> None:
    """Float64 is the widest there is."""
    one = Shortfall(0, LOSES_DIGITS, "float64", 30, 300, 1e-9)
    of = region_of("0", Fake(["x0"], 1))
    for error, refused in ((1e-9, False), (3e-4, False), (1e-2, True)):
        row = OutputFidelity(Agreement(1 - error**2, error, 1.0))
        found = refusal(Fidelity({0: row}, shortfalls=(one,)), None, False, region=of)
        assert (found is not None) == refused
        assert found is None or found.outputs == (0,)
        assert found is None or "Output 0 loses its digits in float64 on 30 of 300" in found.what
    row = OutputFidelity(Agreement(0.9996, 0.02, 1.0))
    worse = replace(one, error=0.015)
    assert refusal(Fidelity({0: row}, shortfalls=(worse,)), None, False, region=of) is None


def test_features_are_part_of_the_block() -> None:
    """What overflows is a square in a feature, not the equation."""
    compiled = compiled_of(
        Law("sqrt(x0**2 + x1**2)", (1e24, 1e24), (9e24, 9e24)),
        "r",
        features={"r": "sqrt(x0**2 + x1**2)"},
    )
    found = compiled.outcomes["0"]
    assert isinstance(found, Rewrite)
    assert found.computes_in == "float64"
    assert found.fidelity.outputs[0].equation.relative_l2 < 1e-6


def test_several_outputs_of_which_one_overflows() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x[:, 0] * 2, x[:, 0] / 1e20 * x[:, 1]], dim=1)

    law = Law("x0", (1e24, 1e22), (9e24, 9e22))
    found = compiled_with(nn.Sequential(Two()), {"0": ["2*x0", "1e-20*x0*x1"]}, law.rows())
    one = found.outcomes["0"]
    assert isinstance(one, Rewrite)
    assert one.computes_in == "float64"
    assert all(row.equation.r2 > 0.999 for row in one.fidelity.outputs.values())


def test_projected_outputs_are_compared_as_they_are_installed() -> None:
    slopes = np.array([3e-20, 4e-20])

    class Line(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            product = x[:, :1].double() * x[:, 1:].double()
            return (product * torch.from_numpy(slopes)).to(x.dtype)

    rows, target = Law("x0", (1e24, 1e22), (9e24, 9e22)).rows(), Target("0", reduce=(None, 1))
    recording = record(nn.Sequential(Line()), target, rows)
    projection = reduce(recording.regions["0"], recording["0"]).projection_out
    assert projection is not None
    (axis,) = projection.components
    text = f"{float(axis @ slopes)!r}*x0*x1 - {float(axis @ projection.mean)!r}"
    compiled = compiled_with(nn.Sequential(Line()), {"0": [text]}, rows, reduce=(None, 1))
    found = compiled.outcomes["0"]
    assert isinstance(found, Rewrite)
    assert found.computes_in == "float64"
    assert found.fidelity.shortfalls == ()
    assert found.fidelity.total is not None
    assert found.fidelity.total.equation.relative_l2 < 1e-6
    compiled.choose("0", "x0*x1")
    (one,) = compiled.outcomes["0"].fidelity.shortfalls  # type: ignore[union-attr]
    assert (one.output, one.problem) == (None, "overflows")
    assert "together overflows in float32" in str(compiled.report)


def test_two_forms_of_one_function_are_the_same_to_a_comparison() -> None:
    law = Law("x0*x1 + 0.3*x0", (-2.0, -2.0), (2.0, 2.0))
    model = nn.Sequential(Exact("1.1*x0*x1 + 0.35*x0", 2), nn.Linear(1, 3), nn.Tanh())
    forms = ("x0*x1 + 0.3*x0", "x0*(x1 + 0.3)", "0.3*x0*(1 + x1/0.3)")
    first, *others = (compiled_with(model, {"0": [form]}, law.rows()) for form in forms)
    for other in others:
        for old, new in ((first, other), (other, first)):
            assert diff(old, new, fail_on="fidelity").same


@pytest.mark.parametrize("name", ["gravity", "charges"])
def test_a_law_of_large_or_small_numbers_from_data_to_file(name: str, tmp_path: Path) -> None:
    """The block itself works in an order that stays in range, so its data says nothing of it."""

    class Careful(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            k = 6.674e-11 if name == "gravity" else 8.988e9
            return k * x[:, :1] / x[:, 2:] * (x[:, 1:2] / x[:, 2:])

    shares = torch.rand(600, 3, generator=torch.Generator().manual_seed(0))
    model, x = nn.Sequential(Careful()), (1 + 8 * shares) * torch.tensor(LAWS[name].low)
    compiled = symcompile(
        model,
        "0",
        x,
        operators=["+", "*", "inv", "square"],
        tolerance=0.05,
        engine_options={"restarts": 1, "population": 300, "generations": 6},
        progress=False,
    )
    found = compiled.outcomes["0"]
    assert isinstance(found, Rewrite)
    assert found.fidelity.end_to_end is not None
    y, hybrid = model(x), compiled.module(x)
    error = float((hybrid.double() - y.double()).norm() / y.double().norm())
    assert error < 1e-6
    reported = found.fidelity.end_to_end.equation, found.fidelity.outputs[0].equation.relative_l2
    assert reported == pytest.approx((error, error), rel=0.5)
    assert torch.equal(load(compiled.save(tmp_path / "a.symc")).module(x), hybrid)


def test_a_block_is_examined_once_for_the_constants_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    for module in (precision, measuring):

        def counted(*args: Any, where: str = module.__name__.split(".")[-1]) -> Examined:
            calls.append(where)
            return examine(*args)

        monkeypatch.setattr(module, "examine", counted)
    compiled = compiled_of(LAWS["nothing wrong"])
    assert calls == ["precision"]
    with torch.no_grad():
        for constant in compiled.trainable_constants(True).module.parameters():
            constant.mul_(1.001)
    assert str(compiled.report)
    assert calls == ["precision", "measuring"]
