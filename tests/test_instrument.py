"""Recording what regions see: what is held out, what is refused, and a model left as it was."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from models import Block, Calling, Derivative, Graph, Law, Leftovers, Net, graph_batch, state_of
from torch import nn

from symcompile.errors import DataError
from symcompile.modules.calling import Batch, rows
from symcompile.modules.recorder import RecordedModel, RecordedRegion
from symcompile.modules.samples import HELD_OUT_BATCHES, HELD_OUT_ROWS, RECORDED_BATCHES
from symcompile.passes.capture import capture
from symcompile.passes.instrument import InstrumentPass

RANDOM = torch.Generator().manual_seed(0)
X = torch.randn(200, 2, generator=RANDOM)


def batches(*values: Any) -> list[Batch]:
    return [v if isinstance(v, Batch) else Batch((v,), {}) for v in values]


def observe(root: nn.Module, *values: Any, path: str = "block", **options: Any) -> RecordedModel:
    chosen = {"n_samples": 1000, "holdout": 0.2, "seed": 0} | options
    return InstrumentPass(**chosen).record(root, [path], batches(*values))


def region(root: nn.Module, *values: Any, path: str = "block", **options: Any) -> RecordedRegion:
    return observe(root, *values, path=path, **options).regions[path]


def law(x: np.ndarray) -> np.ndarray:
    return (2.5 * x[:, 0] * x[:, 1] + x[:, 0])[:, None]


# --- what is recorded -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [(200, 2), (20, 10, 2), (5, 4, 10, 2)])
def test_any_rank(size: tuple[int, ...]) -> None:
    found = region(Net(), X.reshape(size))
    assert found.samples is not None
    assert found.samples.X.shape == (200, 2)
    np.testing.assert_allclose(found.samples.Y, law(found.samples.X), rtol=1e-5, atol=1e-6)
    assert (found.dtype, found.calls, found.refused) == ("float32", 1, "")


def test_a_block_called_twice_in_one_forward() -> None:
    model = Calling(Law(), lambda block, x: block(x) + block(2 * x))
    found = region(model, X)
    assert found.samples is not None
    assert (found.calls, len(found.samples.X)) == (2, 400)
    np.testing.assert_allclose(found.samples.Y, law(found.samples.X), rtol=1e-5, atol=1e-6)


def test_a_block_that_writes_into_its_input() -> None:
    model = Calling(nn.Sequential(nn.ReLU(inplace=True), Law()), lambda block, x: block(x))
    x = X.clone()
    found = region(model, x)
    assert found.samples is not None
    assert torch.equal(x, X)
    assert found.samples.X.min() < 0
    np.testing.assert_allclose(
        found.samples.Y, law(np.maximum(found.samples.X, 0)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_floating_type(dtype: torch.dtype) -> None:
    found = region(Net().to(dtype), X.to(dtype))
    assert found.samples is not None
    assert found.dtype == str(dtype).removeprefix("torch.")
    assert found.samples.X.dtype == found.samples.Y.dtype == np.float64
    error = {torch.float64: 1e-12, torch.float16: 2e-2, torch.bfloat16: 0.1}[dtype]
    np.testing.assert_allclose(found.samples.Y, law(found.samples.X), rtol=error, atol=error)


def test_several_inputs_by_name_and_nested_outputs() -> None:
    block = Block(lambda x, *, t: {"u": (x * t.unsqueeze(-1), t)})
    model = Calling(block, lambda block, x: block(x[:, :2], t=x[:, 2])["u"][0])
    found = region(model, torch.randn(100, 3))
    assert found.samples is not None
    x = found.samples.X
    np.testing.assert_allclose(
        found.samples.Y, np.stack([x[:, 0] * x[:, 2], x[:, 1] * x[:, 2], x[:, 2]], 1), rtol=1e-6
    )


def test_settings_are_kept() -> None:
    block = Block(lambda x, power, mode="up": x**power)
    found = region(Calling(block, lambda b, x: b(x, 2)), X)
    assert found.settings == {"power": 2}


def test_batches_of_the_whole_model_by_keyword() -> None:
    found = region(Net(), Batch((), {"x": X}), path=".")
    assert found.samples is not None
    assert found.interface is not None
    assert [one.parameter for one in found.interface.inputs] == ["x"]


def test_an_expert_that_sometimes_gets_no_tokens() -> None:
    model = Calling(Law(), lambda block, x: block(x[x[:, 0] > 0]).sum() + x)
    found = region(model, -X.abs(), X, X, X, X, X)
    assert found.samples is not None
    assert found.samples.X[:, 0].min() > 0


# --- what is refused ------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...], str]] = {
    "never called": (
        lambda: Calling(nn.Linear(2, 2), lambda block, x: x * 2),
        (X,),
        "never called",
    ),
    "past the hooks": (
        lambda: Calling(nn.Linear(2, 2), lambda block, x: block.forward(x)),
        (X,),
        "past the hooks",
    ),
    "integers": (
        lambda: Calling(nn.Embedding(5, 2), lambda block, x: block(x)),
        (torch.randint(5, (50,)),),
        "torch.int64: equations take floating tensors",
    ),
    "changing setting": (
        lambda: Calling(Block(lambda x, n: x * n), lambda b, x: b(x, 1) + b(x, 2)),
        (X,),
        "no tensors change between calls",
    ),
    "array as setting": (
        lambda: Calling(Block(lambda x, a: x * float(a[0])), lambda b, x: b(x, np.ones(2))),
        (X, X),
        "no tensors change between calls",
    ),
    "changing width": (
        lambda: Calling(Block(lambda x: x.sin()), lambda b, x: b(x).sum() + b(x[:, :1]).sum() + x),
        (X,),
        "2 features in one call and 1 in another",
    ),
    "optional tensor": (
        lambda: Calling(Block(lambda x, y=None: x.sin()), lambda b, x: b(x) + b(x, x)),
        (X,),
        "other tensors in one call than in another",
    ),
    "inside of a transform": (
        lambda: Calling(Law(), lambda b, x: torch.func.vmap(torch.func.jacrev(b))(x).flatten(1)),
        (X,),
        "torch.func.vmap",
    ),
    "mixes samples": (
        lambda: Calling(Block(lambda x: x - x.mean(0)), lambda b, x: b(x)),
        (X,),
        "on its own",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_the_reason_and_without_an_error(name: str) -> None:
    make, values, reason = REFUSED[name]
    model = make()
    before = state_of(model)
    found = region(model, *values)
    assert reason in found.refused
    assert found.samples is None
    assert state_of(model) == before


# --- errors ---------------------------------------------------------------------------------


def with_value(value: float) -> torch.Tensor:
    x = X.clone()
    x[7, 1] = value
    return x


ERRORS: dict[str, tuple[nn.Module, tuple[Any, ...], str]] = {
    "NaN": (Net(), (with_value(float("nan")),), "'block': input 0 is nan in 1 of"),
    "NaN later": (Net(), (X, with_value(float("nan"))), "'block': input 0 is nan"),
    "infinite": (
        Calling(Law(), lambda block, x: block(x)),
        (with_value(float("inf")),),
        "'block': input 1 is inf in 1 of",
    ),
    "infinite output": (
        Calling(Block(lambda x: 1 / (x - x)), lambda block, x: block(x)),
        (X,),
        "'block': output 0 is ",
    ),
    "constant": (Net(), (torch.ones(50, 2),), "never change over 50 samples"),
    "one sample": (Net(), (torch.ones(1, 2),), "1 sample recorded, at least 4"),
    "few": (Net(), (X[:3],), "3 samples recorded, at least 4"),
    "nothing": (Net(), (), "data is empty"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_target_and_leave_the_model_alone(name: str) -> None:
    model, values, message = ERRORS[name]
    model.train()
    model.block.eval()
    before = state_of(model)
    with pytest.raises(DataError, match=message):
        observe(model, *values)
    assert state_of(model) == before


def test_an_error_of_the_model_in_the_middle(capfd: pytest.CaptureFixture[str]) -> None:
    model = torch.fx.symbolic_trace(Net().train())
    before = state_of(model)
    with pytest.raises(DataError, match=r"batch 2 of data .*shapes cannot be multiplied"):
        observe(model, X, torch.ones(20, 5))
    assert state_of(model) == before
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_data_in_the_middle() -> None:
    def broken() -> Iterator[Batch]:
        yield Batch((X,), {})
        raise KeyError("the disk is gone")

    model = Net()
    before = state_of(model)
    with pytest.raises(KeyError):
        InstrumentPass(100, 0.2, 0).record(model, ["block"], broken())
    assert state_of(model) == before


# --- the model stays as it was ---------------------------------------------------------------


def test_modes_buffers_and_attributes_stay() -> None:
    model = Calling(Leftovers(), lambda block, x: block(x))
    model.train()
    model.block.spare.eval()
    before = state_of(model)
    seen = []
    model.block.block.register_forward_hook(lambda module, *_: seen.append(module.training))
    before["hooks"] = state_of(model)["hooks"]
    assert region(model, X).samples is not None
    assert state_of(model) == before
    assert not any(seen)


# --- gradients ------------------------------------------------------------------------------


def test_a_forward_that_differentiates(capfd: pytest.CaptureFixture[str]) -> None:
    traced = capture(Derivative(), ["net"], Batch((X,), {})).root
    assert isinstance(traced, torch.fx.GraphModule)
    for model in (Derivative(), traced):
        with torch.no_grad():
            found = observe(model, X, path="net")
        samples = found.regions["net"].samples
        assert samples is not None
        assert len(samples.X) == 200
        assert found.batches_are == HELD_OUT_ROWS
    assert capfd.readouterr() == ("", "")


def test_inputs_that_have_to_require_gradients() -> None:
    class Outside(Derivative):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            (slope,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
            return slope

    found = observe(Outside(), X.clone().requires_grad_(True), path="net")
    assert found.regions["net"].samples is not None
    assert all(b.args[0].requires_grad and b.args[0].is_leaf for b in found.batches)


def test_nothing_is_kept_alive() -> None:
    model = Net()
    found = observe(model, X)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
    assert found.regions["block"].samples is not None


# --- what is held out -------------------------------------------------------------------------


def recorded_rows(values: np.ndarray) -> set[float]:
    return {round(float(v), 5) for v in values[:, 0]}


def test_independent_rows_are_split_before_the_model_runs() -> None:
    model = Calling(Law(), lambda block, x: block(x) + block(2 * x))
    found = observe(model, X[:100], X[100:])
    samples = found.regions["block"].samples
    assert samples is not None
    assert found.batches_are == HELD_OUT_ROWS
    held = torch.cat([b.args[0] for b in found.batches]).double().numpy()
    assert len(held) == 40
    inputs = recorded_rows(np.concatenate([held, 2 * held]))
    assert recorded_rows(samples.X_holdout) == inputs
    assert not recorded_rows(samples.X_fit) & inputs
    assert (len(samples.X_holdout), len(samples.X_fit)) == (80, 320)


def test_rows_that_are_not_independent_are_held_out_by_batches() -> None:
    data = [Batch((), graph_batch(seed=k)) for k in range(12)]
    found = observe(Graph(), *data, path="edge")
    samples = found.regions["edge"].samples
    assert samples is not None
    assert found.batches_are == HELD_OUT_BATCHES
    assert [b.kwargs["x"].tolist() for b in found.batches] == [
        data[k].kwargs["x"].tolist() for k in (4, 9)
    ]
    assert (len(samples.X_holdout), len(samples.X_fit)) == (80, 400)


@pytest.mark.parametrize(
    "model",
    [
        Calling(Law(), lambda block, x: block(x - x.mean(0))),
        Calling(Law(), lambda block, x: block(x - x[:1])),
        Calling(Law(), lambda block, x: block(x - x[-1:])),
        Calling(Law(), lambda block, x: block(x.cumsum(0))),
        Calling(Law(), lambda block, x: block(x.flip(0))),
        Calling(Law(), lambda block, x: block(x.view(50, 2))),
        Calling(Law(), lambda block, x: block(x).sum()),
    ],
    ids=["mean", "first", "last", "cumulative", "reversed", "fixed size", "pooled"],
)
def test_dependence_of_rows_is_found_out(model: nn.Module) -> None:
    data = [torch.randn(50, 2, generator=RANDOM) for _ in range(6)]
    assert observe(model, *data).batches_are == HELD_OUT_BATCHES


def test_too_few_batches_are_split_by_samples_and_named_so() -> None:
    model = Calling(Law(), lambda block, x: block(x - x.mean(0)))
    found = observe(model, X[:50], X[50:100])
    samples = found.regions["block"].samples
    assert samples is not None
    assert found.batches_are == RECORDED_BATCHES
    assert (len(found.batches), len(samples.X_holdout), len(samples.X)) == (1, 20, 100)


def test_a_setting_without_dimensions_belongs_to_every_row() -> None:
    class Timed(Net):
        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return super().forward(x * t)

    found = observe(Timed(), Batch((X, torch.tensor(2.0)), {}))
    assert found.batches_are == HELD_OUT_ROWS
    assert all(b.args[1].ndim == 0 for b in found.batches)


def test_one_row_at_a_time() -> None:
    found = observe(Net(), *X[:100].split(1))
    samples = found.regions["block"].samples
    assert samples is not None
    assert found.batches_are == HELD_OUT_BATCHES
    assert (len(samples.X_holdout), len(samples.X_fit)) == (20, 80)


# --- streams ----------------------------------------------------------------------------------


def test_a_stream_is_consumed_once_and_memory_stays_bounded() -> None:
    drawn = 0
    alive: list[weakref.ref[torch.Tensor]] = []

    def stream() -> Iterator[Batch]:
        nonlocal drawn
        for k in range(300):
            drawn += 1
            x = torch.randn(32, 2, generator=torch.Generator().manual_seed(k))
            alive.append(weakref.ref(x))
            yield Batch((x,), {})

    found = InstrumentPass(100, 0.2, 0).record(Net(), ["block"], stream())
    samples = found.regions["block"].samples
    assert samples is not None
    assert drawn == 300
    assert (len(samples.X_fit), len(samples.X_holdout)) == (80, 20)
    gc.collect()
    assert sum(one() is not None for one in alive) <= 2


def test_same_seed_same_samples() -> None:
    def once(seed: int) -> tuple[np.ndarray, np.ndarray]:
        samples = region(Net(), X, X * 2, n_samples=50, seed=seed).samples
        assert samples is not None
        return samples.X, samples.holdout

    for a, b in zip(once(1), once(1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(once(1)[0], once(2)[0])


def test_kept_batches_have_rows_of_the_data_only() -> None:
    found = observe(Net(), X[:60], X[60:])
    known = {tuple(row) for row in X.tolist()}
    for batch in found.batches:
        assert rows(batch) is not None
        assert all(tuple(row) in known for row in batch.args[0].tolist())
