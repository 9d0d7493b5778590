"""What users do with models of every kind, through the public names alone."""

from __future__ import annotations

import copy
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import Law, Net
from torch import nn

from symcompile import Compiled, SymCompileError, Target, distill, load, record, symcompile
from symcompile.errors import ArtifactError, CaptureError, ChoiceError, DataError, ExportError
from symcompile.fidelity.outcome import Refusal, Rewrite

QUICK: dict[str, Any] = {
    "operators": ["+", "*"],
    "max_complexity": 12,
    "engine": "operon",
    "engine_options": {"restarts": 1, "population": 200, "generations": 10},
    "progress": False,
}


def data(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compiled_of(model: nn.Module, target: str, given: Any = None) -> Compiled:
    return symcompile(model, target, data(200, 2) if given is None else given, **QUICK)


def reason(compiled: Compiled, path: str) -> str:
    outcome = compiled.outcomes[path]
    assert isinstance(outcome, Refusal)
    return outcome.reason


def test_the_whole_model_is_restored_before_and_after_loading(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).eval()
    x = data(20, 2, seed=3)
    compiled = compiled_of(model, ".")
    compiled.save(tmp_path / "whole.symc")
    for one in (compiled, load(tmp_path / "whole.symc")):
        one.restore(".")
        torch.testing.assert_close(one.module(x), model(x))
        one.choose(".", rule="accuracy")
        one.choose(".", "x0 + x1", output=1)
        torch.testing.assert_close(one.module(x)[:, 1], x.sum(1))


class Hamiltonian(nn.Module):
    """Differentiates its block: the velocity (dH/dp, -dH/dq)."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = Law()

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(z).sum(), z, create_graph=True)
        return torch.stack([slope[:, 1], -slope[:, 0]], dim=-1)


def test_a_choice_that_the_model_can_not_run_with_changes_nothing(tmp_path: Path) -> None:
    compiled = compiled_of(Hamiltonian(), "energy")
    before = compiled.equations["energy"][0]
    with pytest.raises(ChoiceError, match=r"'energy'.*differentiates.*constant"):
        compiled.choose("energy", "2.0")
    assert compiled.equations["energy"][0] == before
    z = data(20, 2, seed=3)
    torch.testing.assert_close(compiled.module(z), Hamiltonian()(z), rtol=1e-3, atol=1e-3)
    for write in (lambda: compiled.save(tmp_path / "a.symc"), lambda: compiled.export("a.onnx")):
        with pytest.raises(SymCompileError, match="differentiates a block inside of its forward"):
            write()


class Reaching(nn.Module):
    """Calls its block, and reads an attribute of it as well."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Law()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 2:
            raise ValueError("torch.fx can't follow this")
        return self.block(x) + self.block.scale * 0


def test_a_model_that_reads_a_replaced_block_keeps_it(tmp_path: Path) -> None:
    model = nn.Sequential(Reaching())
    compiled = compiled_of(model, "0.block")
    if isinstance(compiled.outcomes["0.block"], Refusal):
        assert "past its forward" in reason(compiled, "0.block")
        with pytest.raises(ChoiceError, match="past its forward"):
            compiled.choose("0.block", "x0")
    x = data(9, 2)
    torch.testing.assert_close(compiled.module(x), model(x), rtol=1e-3, atol=1e-3)


class Keeping(nn.Module):
    """Keeps its last activation, which has a history after a forward with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Law()
        self.last: Any = None
        self.all: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = self.block(x)
        self.all = [self.last]
        return self.last * 2


def test_kept_activations_do_not_hinder(tmp_path: Path) -> None:
    model = Keeping()
    model(data(5, 2))
    kept = model.last
    compiled = compiled_of(model, "block")
    assert model.last is kept
    assert kept.grad_fn is not None
    compiled.module(data(5, 2))
    compiled.restore("block")
    compiled.export(tmp_path / "kept.onnx")


def test_weight_norm_by_hooks_is_copied(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        normed = torch.nn.utils.weight_norm(nn.Linear(2, 2))
    model = nn.Sequential(normed, Law())
    compiled = compiled_of(model, "1")
    compiled.module(data(5, 2)).sum().backward()
    assert all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        compiled.module.get_submodule("0").weight_g.mul_(2.0)  # type: ignore[union-attr, operator]
    assert not torch.allclose(compiled.module(data(5, 2)), model(data(5, 2)))
    compiled.export(tmp_path / "normed.onnx")


@pytest.mark.parametrize("target", ["block", "_orig_mod.block"])
def test_a_model_under_torch_compile_is_unwrapped(
    target: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = torch.compile(Net(), backend="eager")
    compiled = compiled_of(model, target, record(model, target, data(200, 2)))
    assert list(compiled.equations) == ["block"]
    assert compiled.capture == "fx"
    compiled.save(tmp_path / "net.symc")
    assert capfd.readouterr() == ("", "")


def test_script_modules() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        whole = torch.jit.trace(Net(), data(5, 2))
        linear = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(CaptureError, match="the Python module that it was scripted"):
        compiled_of(whole, "block")
    within = nn.Sequential(linear, Law())
    assert "ScriptModule" in reason(compiled_of(within, "0"), "0")
    compiled = compiled_of(within, "1")
    compiled.module(data(5, 2)).sum().backward()
    assert all(p.grad is None for p in within.parameters())
    assert any(p.grad is not None for p in compiled.module.parameters())


class Doubling(nn.Module):
    """Writes into its input and returns it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(2.0)


def test_a_block_that_returns_its_input_written_into() -> None:
    model = nn.Sequential(nn.Linear(2, 2), Doubling(), Law())
    compiled = compiled_of(model, "1")
    x = data(9, 2)
    torch.testing.assert_close(compiled.module(x), model(x))
    fidelity = compiled.outcomes["1"].fidelity
    assert fidelity is not None
    assert fidelity.outputs[0].gradient < 1e-6  # type: ignore[operator]


def test_weights_of_inference_mode_are_named() -> None:
    with torch.inference_mode():
        model = Net()
    with pytest.raises(DataError, match=r"inference_mode.*copy.deepcopy"):
        compiled_of(model, "block")
    assert isinstance(compiled_of(copy.deepcopy(model), "block").outcomes["block"], Rewrite)


class Noisy(nn.Module):
    """Draws from every generator that there is; the block does not depend on it."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Law()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = torch.rand(1) + np.random.rand() + random.random()
        return self.block(x) + noise


def test_random_generators_are_left_as_found(tmp_path: Path) -> None:
    def state() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]

    before = state()
    compiled = compiled_of(Noisy(), "block", record(Noisy(), "block", data(200, 2)))
    compiled.choose("block", "x0")
    assert "x0" in str(compiled.report)
    compiled.restore("block")
    with pytest.raises(ArtifactError):
        compiled.save(tmp_path / "noisy.symc")
    with pytest.raises(ExportError):
        compiled.export(tmp_path / "noisy.onnx")
    assert state() == before
    assert not list(tmp_path.iterdir())


class Casting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.block(x)


def test_a_block_under_an_autocast_of_the_model_is_refused() -> None:
    assert "torch.autocast" in reason(compiled_of(Casting(), "block"), "block")


def test_user_hooks_that_get_in_the_way_are_named() -> None:
    model = Net()
    model.block.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    found = reason(compiled_of(model, "block"), "block")
    assert "pre-hook" in found or "other values" in found


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Law()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x) if x.sum() > 0 else self.block(x) * 2


def test_control_flow_on_values_is_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    batches = [data(100, 2, seed=k) for k in range(3)]
    compiled = compiled_of(Branching(), "block", batches)
    with pytest.raises(ArtifactError, match=r"torch.where"):
        compiled.save(tmp_path / "branching.symc")
    with pytest.raises(ExportError, match=r"torch.where"):
        compiled.export(tmp_path / "branching.onnx")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (data(30, 3), r"batch 1 of data \(float32 \[.*, 3\]\): RuntimeError: mat1 and mat2 shapes"),
        (data(30, 2).double(), r"float64 \[.*, 2\].*same dtype"),
        ([data(60, 2), data(30, 3)], r"batch 2 of data"),
        (np.array([["a", "b"]] * 20), r"data holds text: expected numbers"),
    ],
)
def test_data_that_the_model_does_not_take(given: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        compiled_of(Net(), "block", given)


def test_a_domain_of_the_wrong_width_is_named() -> None:
    with pytest.raises(DataError, match="float32"):
        symcompile(Net(), Target("block", domain={"u": (0, 1)}), **QUICK)


def test_read_only_arrays_are_read() -> None:
    values = data(200, 2).numpy().copy()
    values.setflags(write=False)
    assert isinstance(compiled_of(Net(), "block", values).outcomes["block"], Rewrite)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"seed": "x"}, "seed is 'x': expected a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"budget": -1}, "budget is -1: expected seconds"),
        ({"budget": "3"}, "budget is '3'"),
        ({"executor": 3}, "executor is a int: expected a concurrent.futures.Executor"),
        ({"engine_options": [1]}, "engine_options is a list: expected a dict"),
        ({"run_dir": 3}, "run_dir is 3: expected the path of a folder"),
        ({"run_dir": __file__}, "can't write to run_dir .*Not a directory"),
    ],
)
def test_bad_options_are_sentences(option: dict[str, Any], match: str) -> None:
    with pytest.raises(SymCompileError, match=match):
        symcompile(Net(), "block", data(50, 2), **(QUICK | option))
    options = {"operators": ["+", "*"], "engine": "operon", "progress": False} | option
    with pytest.raises(SymCompileError, match=match):
        distill(lambda X: X[:, 0], data(50, 2), **options)


def test_a_tolerance_that_is_no_number() -> None:
    with pytest.raises(SymCompileError, match="tolerance is 'a': expected a number"):
        symcompile(Net(), "block", data(50, 2), **QUICK, tolerance="a")  # type: ignore[arg-type]


def test_outputs_that_a_recording_does_not_have() -> None:
    model = Net()
    recording = record(model, "block", data(50, 2))
    with pytest.raises(SymCompileError, match=r"outputs \[7\] do not exist"):
        symcompile(model, Target("block", outputs=(7,)), recording, **QUICK)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", 3.5])
def test_a_device_that_there_is_not(device: Any, tmp_path: Path) -> None:
    compiled_of(Net(), "block").save(tmp_path / "net.symc")
    with pytest.raises(ArtifactError, match=r"device is .*pass device='cpu'"):
        load(tmp_path / "net.symc", device=device)
