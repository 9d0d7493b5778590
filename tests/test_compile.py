"""The compiler end to end: what users do, and what the published package gets wrong."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from torch import nn

from symcompile import Compiled, SymCompileError, Target, load, record, symcompile
from symcompile.errors import ChoiceError, DataError, StaleRecordingError, TargetError
from symcompile.fidelity.outcome import Refusal, Rewrite

QUICK: dict[str, Any] = {
    "operators": ["+", "*"],
    "max_complexity": 12,
    "engine": "operon",
    "engine_options": {"restarts": 1, "population": 200, "generations": 15},
    "progress": False,
}


class Law(nn.Module):
    """scale * x0 * x1 + x0: a block with a known law, and parameters that must vanish."""

    def __init__(self, scale: float = 2.5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.unused = nn.Parameter(torch.zeros(1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.scale * x[..., 0] * x[..., 1] + x[..., 0]).unsqueeze(-1)


class Net(nn.Module):
    """A law between two neural layers; `calls` uses the block twice."""

    def __init__(self, block: nn.Module | None = None, twice: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(2, 2)
        self.block = block or Law()
        self.after = nn.Linear(1, 1)
        self.twice = twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.before(x)) * 2
        y = self.block(h)
        if self.twice:
            y = y + self.block(h * 0.5)
        return self.after(y)


def data(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model() -> Net:
    return Net()


@pytest.fixture(scope="module")
def shared(model: Net) -> Compiled:
    return symcompile(model, "block", data(400, 2), **QUICK)


@pytest.fixture
def compiled(shared: Compiled) -> Compiled:
    """A copy that a test may change."""
    return copy.deepcopy(shared)


def law_of(compiled: Compiled, path: str = "block", output: int = 0) -> sympy.Expr:
    return compiled.equations[path][output].sympy


def constants(expr: sympy.Expr) -> list[float]:
    return sorted(abs(float(number)) for number in expr.atoms(sympy.Number) if abs(number) != 1)


def assert_follows(compiled: Compiled, model: nn.Module, *args: Any, **kwargs: Any) -> None:
    """The hybrid gives what the model gives, on data that no fit has seen."""
    model.eval()
    with torch.no_grad():
        expected, found = model(*args, **kwargs), compiled.module.eval()(*args, **kwargs)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def test_finds_the_law(compiled: Compiled, model: Net) -> None:
    x0, x1 = sympy.symbols("x0 x1")
    law = sympy.expand(law_of(compiled))
    assert float(law.coeff(x0 * x1)) == pytest.approx(2.5, rel=1e-4)
    assert isinstance(compiled.outcomes["block"], Rewrite)
    assert_follows(compiled, model, data(50, 2, seed=9))


def test_original_is_untouched(model: Net, shared: Compiled) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = data(64, 2)
    compiled = copy.deepcopy(shared)
    compiled.trainable_constants(True)
    optimizer = torch.optim.SGD(compiled.module.parameters(), lr=0.1)
    compiled.module(x).square().sum().backward()
    optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert isinstance(model.block, Law)
    assert not model.block._forward_hooks
    assert not model.block._forward_pre_hooks


def test_redistilled_after_the_weights_changed() -> None:
    model = Net()
    first = symcompile(model, "block", data(300, 2), **QUICK)
    with torch.no_grad():
        model.block.scale.fill_(-4.0)  # type: ignore[union-attr, operator]
    second = symcompile(model, "block", data(300, 2), **QUICK)
    x0, x1 = sympy.symbols("x0 x1")
    for compiled, expected in ((first, 2.5), (second, -4.0)):
        found = sympy.expand(law_of(compiled)).coeff(x0 * x1)
        assert float(found) == pytest.approx(expected, rel=1e-3)


def test_recording_of_other_weights_is_refused() -> None:
    model = Net()
    recording = record(model, "block", data(300, 2))
    symcompile(model, "block", recording, **QUICK)
    with torch.no_grad():
        model.after.weight.add_(1.0)
    with pytest.raises(StaleRecordingError, match="record again"):
        symcompile(model, "block", recording, **QUICK)


def test_features_changed_between_two_calls() -> None:
    model = Net()
    recording = record(model, "block", data(300, 2))
    for features in ({"p": "x0 * x1", "q": "x0"}, {"half": "x0 / 2", "b": "x1"}):
        compiled = symcompile(model, Target("block", features=features), recording, **QUICK)
        assert {s.name for s in law_of(compiled).free_symbols} <= set(features)
        assert_follows(compiled, model, data(40, 2, seed=3))


def test_activations_of_rank_three() -> None:
    model = Net()
    compiled = symcompile(model, "block", [data(4, 7, 3)[..., :2] for _ in range(20)], **QUICK)
    x = data(4, 7, 3, seed=5)[..., :2]
    assert compiled.module(x).shape == (4, 7, 1)
    assert_follows(compiled, model, x)


def test_block_called_twice() -> None:
    model = Net(twice=True)
    compiled = symcompile(model, "block", data(300, 2), **QUICK)
    assert compiled.outcomes["block"].region.calls == 2  # type: ignore[union-attr]
    assert_follows(compiled, model, data(40, 2, seed=3))


class Pair(nn.Module):
    """Two inputs, one of them by keyword only, and a tuple of a 1-D and a 2-D output."""

    def __init__(self) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.tensor(3.0))

    def forward(self, a: torch.Tensor, *, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.k * a[..., 0] * b[..., 0], a + b


class PairNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one, two = self.pair(x, b=y)
        return one, two * 1.0


def test_two_inputs_keyword_only_and_tuple_outputs() -> None:
    model = PairNet()
    compiled = symcompile(model, "pair", (data(300, 2), data(300, 2, seed=2)), **QUICK)
    assert sorted(compiled.equations["pair"]) == [0, 1, 2]
    x, y = data(30, 2, seed=5), data(30, 2, seed=6)
    assert_follows(compiled, model, x, y)
    assert compiled.module(x=x, y=y)[0].shape == (30,)


def test_bfloat16() -> None:
    model = Net().bfloat16()
    compiled = symcompile(model, "block", data(400, 2).bfloat16(), **QUICK)
    out = compiled.module(data(40, 2, seed=4).bfloat16())
    assert out.dtype == torch.bfloat16
    expected = model(data(40, 2, seed=4).bfloat16())
    torch.testing.assert_close(out.float(), expected.float(), rtol=0.1, atol=0.1)


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(0.75))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value.expand(x.shape[:-1])


class ConstantNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Constant()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x) * x[..., 0]


def test_constant_equation_broadcasts() -> None:
    compiled = symcompile(ConstantNet(), "block", data(200, 2), **QUICK)
    assert law_of(compiled) == pytest.approx(0.75) or law_of(compiled) == sympy.Rational(3, 4)
    assert compiled.module.block(data(9, 2)).shape == (9,)
    assert_follows(compiled, ConstantNet(), data(9, 2))


def test_one_output_alone() -> None:
    model = PairNet()
    target = Target("pair", outputs=[0])
    compiled = symcompile(model, target, (data(300, 2), data(300, 2, seed=2)), **QUICK)
    assert list(compiled.equations["pair"]) == [0]
    assert_follows(compiled, model, data(30, 2, seed=5), data(30, 2, seed=6))
    with pytest.raises(ChoiceError, match="no output 1"):
        compiled.choose("pair", complexity=3, output=1)


def test_unknown_complexity_lists_those_available(compiled: Compiled) -> None:
    known = ", ".join(map(str, compiled.fronts["block"][0].complexities))
    with pytest.raises(ChoiceError, match=f"no equation of complexity 999.*{known}"):
        compiled.choose("block", complexity=999)


def test_modes_are_left_as_found() -> None:
    model = Net()
    model.train()
    model.before.eval()
    compiled = symcompile(model, "block", data(200, 2), **QUICK)
    assert (model.training, model.before.training, model.block.training) == (True, False, True)
    module = compiled.module
    assert (module.training, module.before.training, module.block.training) == (True, False, True)


def test_choose_and_restore(compiled: Compiled, model: Net) -> None:
    x = data(40, 2, seed=6)
    simplest = compiled.fronts["block"][0][0]
    compiled.choose("block", complexity=simplest.complexity)
    assert compiled.equations["block"][0].form == simplest.form
    outcome = compiled.outcomes["block"]
    assert isinstance(outcome, Rewrite)
    assert outcome.fidelity.outputs[0].equation.r2 < 0.99
    compiled.choose("block", "2.5*x0*x1 + x0")
    assert compiled.outcomes["block"].fidelity.outputs[0].equation.r2 > 0.9999  # type: ignore[union-attr]
    compiled.choose("block", sympy.Symbol("x0") * 3, output=0)
    assert_close(compiled.module.block(x), 3 * x[:, :1])
    compiled.restore("block")
    assert isinstance(compiled.outcomes["block"], Refusal)
    torch.testing.assert_close(compiled.module(x), model(x))
    compiled.choose("block", rule="accuracy")
    assert_follows(compiled, model, x)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_choose_refuses_what_it_can_not_read(compiled: Compiled) -> None:
    before = law_of(compiled)
    for wrong in ("x0 + nosuch", "__import__('os')", sympy.Symbol("nosuch")):
        with pytest.raises(SymCompileError):
            compiled.choose("block", wrong)
    with pytest.raises(ChoiceError, match="no region 'blok'"):
        compiled.choose("blok", complexity=3)
    with pytest.raises(ChoiceError, match="takes one of"):
        compiled.choose("block")
    assert law_of(compiled) == before


def test_no_parameter_of_the_block_is_left(model: Net, shared: Compiled) -> None:
    ours = {id(p) for p in model.block.parameters()}
    assert not ours & {id(p) for p in shared.module.parameters()}
    assert sum(p.numel() for p in shared.module.parameters()) == sum(
        p.numel() for part in (model.before, model.after) for p in part.parameters()
    )
    assert len(pickle.dumps(shared.module)) < 40_000
    assert shared.outcomes["block"].fidelity.parameters_removed == 1001  # type: ignore[union-attr]


def test_hybrid_does_not_keep_the_original_alive() -> None:
    model = Net()
    compiled = symcompile(model, "block", data(200, 2), **QUICK)
    module, watch = compiled.module, weakref.ref(model.block.scale)
    del model, compiled
    gc.collect()
    assert watch() is None
    assert module(data(3, 2)).shape == (3, 1)


def test_hybrid_state_dict_loads_strictly(shared: Compiled) -> None:
    copied = copy.deepcopy(shared.module)
    state = {name: value * 1.0 for name, value in shared.module.state_dict().items()}
    copied.load_state_dict(state, strict=True)
    x = data(10, 2)
    assert_close(copied(x), shared.module(x))


def test_hybrid_is_pickled_moved_and_compiled(shared: Compiled) -> None:
    x = data(10, 2)
    again = pickle.loads(pickle.dumps(shared.module))
    assert_close(again(x), shared.module(x))
    double = copy.deepcopy(shared.module).to(torch.float64)
    assert double(x.double()).dtype == torch.float64
    fast = torch.compile(copy.deepcopy(shared.module), backend="eager", fullgraph=True)
    assert_close(fast(x), shared.module(x))


def test_trained_constants_are_shown(compiled: Compiled) -> None:
    before = compiled.equations["block"][0]
    assert not list(compiled.module.block.parameters())
    compiled.trainable_constants(True)
    parameters = list(compiled.module.block.parameters())
    assert parameters
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        compiled.module(data(64, 2)).square().mean().backward()
        optimizer.step()
    after = compiled.equations["block"][0]
    assert after.form == before.form
    assert after.constants != before.constants
    outcome = compiled.outcomes["block"]
    assert isinstance(outcome, Rewrite)
    assert outcome.equations[0].constants == after.constants
    assert outcome.fidelity.outputs[0].equation.relative_l2 > 1e-3
    compiled.trainable_constants(False)
    assert not list(compiled.module.block.parameters())
    assert compiled.equations["block"][0].constants == after.constants


def test_tolerance_keeps_the_block_neural(model: Net) -> None:
    settings = QUICK | {"max_complexity": 3}
    compiled = symcompile(model, "block", data(300, 2), tolerance=1e-3, **settings)
    outcome = compiled.outcomes["block"]
    assert isinstance(outcome, Refusal)
    assert "tolerance" in outcome.reason
    x = data(20, 2, seed=8)
    torch.testing.assert_close(compiled.module(x), model(x))
    assert "tolerance" in str(compiled.report)
    compiled.choose("block", complexity=compiled.fronts["block"][0].complexities[-1])
    assert isinstance(compiled.outcomes["block"], Rewrite)


def test_whole_model_by_domain() -> None:
    model = Law()
    target = Target(".", domain={"a": (-1, 1), "b": (0, 2)})
    compiled = symcompile(model, target, **QUICK)
    assert {s.name for s in law_of(compiled, ".").free_symbols} == {"a", "b"}
    assert_follows(compiled, model, torch.rand(20, 2))
    assert sum(p.numel() for p in compiled.module.parameters()) == 0


def test_node_range() -> None:
    model = Net()
    compiled = symcompile(model, "tanh:mul", data(300, 2), operators=["+", "*", "tanh"], **{
        k: v for k, v in QUICK.items() if k != "operators"
    })  # fmt: skip
    (path,) = compiled.fronts
    assert_follows(compiled, model, data(30, 2, seed=5))
    assert list(compiled.equations[path]) == [0, 1]


def test_same_seed_same_equations(model: Net) -> None:
    first, second = (symcompile(model, "block", data(300, 2), **QUICK) for _ in range(2))
    assert first.equations == second.equations
    assert first.fronts == second.fronts


def test_reduced_inputs_and_outputs() -> None:
    torch.manual_seed(0)
    mix, spread = torch.randn(2, 6), torch.randn(3, 4)

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * (x @ mix.T @ torch.tensor([[1.0, 0, 1], [0, 1, 1]])) @ spread

    class WideNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Wide()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.block(x) + 1

    x = data(400, 2) @ mix
    compiled = symcompile(WideNet(), Target("block", reduce=(2, 2)), x, **QUICK)
    assert sorted(compiled.equations["block"]) == [0, 1]
    assert_follows(compiled, WideNet(), data(50, 2, seed=4) @ mix)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (torch.full((50, 2), torch.nan), "'block'.*nan"),
        (torch.ones(50, 2), "never change"),
        (torch.ones(1, 2), "1 sample recorded"),
        (torch.ones(0, 2), "no samples"),
        ([], "empty"),
        (None, "no data"),
    ],
)
def test_bad_data_is_named_and_the_model_untouched(values: Any, match: str) -> None:
    model = Net()
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(DataError, match=match):
        symcompile(model, "block", values, **QUICK)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert model.training
    assert not model.block._forward_hooks


def test_bad_targets_are_named(model: Net) -> None:
    for targets, match in (
        ("blok", "did you mean 'block'"),
        (["block", "."], "overlap"),
        ([], "empty"),
        ("tanh:nosuch", "no node 'nosuch'"),
        (Target("block", outputs=[7]), "do not exist"),
        (Target("block", names=["a"]), "1 names"),
    ):
        with pytest.raises(TargetError, match=match):
            symcompile(model, targets, data(50, 2), **QUICK)  # type: ignore[arg-type]


def test_meta_model_is_refused() -> None:
    with torch.device("meta"):
        model = nn.Linear(2, 1)
    with pytest.raises(DataError, match="meta"):
        symcompile(model, ".", data(50, 2), **QUICK)


def test_run_dir_resumes(model: Net, tmp_path: Any) -> None:
    first = symcompile(model, "block", data(300, 2), run_dir=tmp_path, **QUICK)
    journal = sorted(tmp_path.rglob("*.json"))
    assert journal
    second = symcompile(model, "block", data(300, 2), run_dir=tmp_path, **QUICK)
    assert first.fronts == second.fronts
    assert sorted(tmp_path.rglob("*.json")) == journal


def test_latency_and_end_to_end_are_measured(shared: Compiled) -> None:
    outcome = shared.outcomes["block"]
    assert isinstance(outcome, Rewrite)
    fidelity = outcome.fidelity
    assert [one.batch for one in fidelity.latency] == [1, 1024]
    assert fidelity.end_to_end is not None
    assert fidelity.end_to_end.equation < 0.01 < fidelity.end_to_end.mean
    assert fidelity.end_to_end.data == "held-out rows"
    assert shared.end_to_end() == pytest.approx(fidelity.end_to_end.equation, rel=1e-3, abs=1e-7)
    assert np.isfinite(fidelity.outputs[0].extrapolation.relative_l2)


def test_saved_while_symbolic_loaded_and_chosen_again(
    compiled: Compiled, model: Net, tmp_path: Any
) -> None:
    x = data(30, 2, seed=7)
    compiled.trainable_constants(True)
    with torch.no_grad():
        for parameter in compiled.module.block.parameters():
            parameter.mul_(1.01)
    path = compiled.save(tmp_path / "net.symc")
    again = load(path)
    assert_close(again.module(x), compiled.module(x))
    assert again.equations == compiled.equations
    assert again.fronts == compiled.fronts
    assert set(again.module.state_dict()) == set(compiled.module.state_dict())
    again.module.load_state_dict(compiled.module.state_dict(), strict=True)
    again.choose("block", complexity=compiled.fronts["block"][0].complexities[0])
    compiled.choose("block", complexity=compiled.fronts["block"][0].complexities[0])
    assert_close(again.module(x), compiled.module(x))
    again.restore("block")
    torch.testing.assert_close(again.module(x), model(x))
    assert str(again.report)
    assert again.report.to_dict()["targets"]
    loss = again.module(x).square().sum()
    loss.backward()
    assert all(p.grad is not None for p in again.module.block.parameters() if p.numel() == 1)


def test_refused_artifacts(compiled: Compiled, tmp_path: Any) -> None:
    with pytest.raises(SymCompileError, match="nowhere"):
        load(tmp_path / "nowhere.symc")
    with pytest.raises(SymCompileError):
        compiled.save(tmp_path / "no" / "such" / "folder.symc")
    path = compiled.save(tmp_path / "net.symc")
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 0xFF
    path.write_bytes(bytes_)
    with pytest.raises(SymCompileError, match=r"net\.symc"):
        load(path)


def test_exports_what_it_computes(compiled: Compiled, tmp_path: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    with pytest.raises(SymCompileError, match=r"end it in \.onnx"):
        compiled.export(tmp_path / "net.bin")
    compiled.export(tmp_path / "net.onnx")
    x = data(13, 2, seed=3)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    (served,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(
        torch.from_numpy(served), compiled.module(x).detach(), rtol=1e-5, atol=1e-5
    )
    assert (tmp_path / "net.onnx").stat().st_size < 20_000
