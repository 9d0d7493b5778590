"""The user's model is bit for bit what it was, and every measurement starts from one state."""

import copy
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from searches import QUICK
from torch import fx, nn

from symcompile import record, symcompile
from symcompile.errors import CaptureError
from symcompile.modules.state import deepcopy, preserving, put_back

X = torch.randn(120, 2, generator=torch.Generator().manual_seed(0))


class Notes:
    """An object of the user's, which a forward writes into."""

    def __init__(self) -> None:
        self.calls, self.sizes = 0, {"seen": [3]}


class Writes(nn.Module):
    """Writes into everything that a module can hold, and gives what depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("hidden", torch.ones(2), persistent=False)
        self.lin = nn.Linear(2, 1)
        self.table = nn.Embedding(4, 2, max_norm=0.5)
        self.drift = nn.Parameter(torch.ones(2))
        self.calls, self.sizes, self.cache = 0, [], {"last": None}
        self.plain, self.array = torch.zeros(2), np.zeros(3)
        self.window, self.notes = deque([0], maxlen=4), Notes()
        self.unregistered = [nn.Linear(2, 2)]
        self.generator = random.Random(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.sizes.append(len(x))
        self.cache["last"] = x
        self.new = x
        self.mean.lerp_(x.detach().mean(0), 0.1)
        self.hidden = self.hidden + 1
        self.drift.data.mul_(1.01)
        self.plain.add_(1)
        self.array += 1
        self.window.append(len(x))
        self.notes.calls += 1
        self.notes.sizes["seen"].append(len(x))
        self.unregistered[0].weight.data.add_(1)
        self.generator.random()
        shift = self.table(torch.tensor([self.calls % 4])) + self.mean + self.plain
        return torch.sin(self.lin(x * self.drift + shift)) * self.hidden.mean()


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.head = Writes(), nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.net(x))


def bits(thing: Any) -> Any:
    """Everything that there is, down to the last bit."""
    if isinstance(thing, (torch.Tensor, np.ndarray)):
        return (type(thing).__name__, str(thing.dtype), thing.tolist())
    if isinstance(thing, dict):
        return {key: bits(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple, deque)):
        return [bits(one) for one in thing]
    if isinstance(thing, random.Random):
        return thing.getstate()
    if isinstance(thing, (nn.Module, Notes)) and not isinstance(thing, fx.GraphModule):
        return bits(vars(thing))
    return bits(list(thing.buffers())) if isinstance(thing, nn.Module) else repr(thing)


def randomness() -> Any:
    state = np.random.get_state()
    return bits((random.getstate(), state[1].tolist(), torch.get_rng_state().tolist()))


@pytest.mark.parametrize(
    ("target", "training"),
    [("head", False), ("head", True), ("net.lin", False), ("net", True), (".", False)],
)
def test_nothing_that_runs_touches_the_model(target: str, training: bool) -> None:
    model = Model().train(training)
    model(X)
    before, random_before = bits(model), randomness()
    parts = {name: part.__dict__["_parameters"] for name, part in model.named_modules()}
    recording = record(model, target, X)
    assert bits(model) == before
    for _ in range(2):  # the recording is not stale
        compiled = symcompile(model, target, recording, **QUICK)
        assert bits(model) == before
    hybrid = bits(compiled.module)
    assert str(compiled.report)
    assert str(compiled.end_to_end()) == str(compiled.end_to_end())
    assert bits(compiled.module) == hybrid
    assert (bits(model), randomness()) == (before, random_before)
    assert all(part._parameters is parts[name] for name, part in model.named_modules())


def test_hooks_of_the_model_stay_and_write_nothing() -> None:
    class Hook:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
            self.seen.append(len(args[0]))

    model, hook = Model(), Hook()
    model.net.lin.register_forward_hook(hook)
    symcompile(model, "head", X, **QUICK)
    assert list(model.net.lin._forward_hooks.values()) == [hook]
    assert hook.seen == []


class Running(nn.Module):
    """What it gives depends on how often it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(()))
        self.block = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shift += 1
        return self.block(x + self.shift)


def test_every_batch_is_recorded_from_the_state_that_the_model_had() -> None:
    model = Running().eval()
    batches = list(X.split(20))
    expected = np.concatenate([copy.deepcopy(model)(one).detach().numpy() for one in batches])
    for target in (".", "block"):
        found = record(model, target, batches)
        assert sorted(found.Y.ravel()) == pytest.approx(sorted(expected.ravel()), rel=1e-6)
    backwards = record(model, "block", batches[::-1])
    assert sorted(backwards.X[:, 0]) == sorted(found.X[:, 0])


def test_measurements_do_not_influence_each_other() -> None:
    compiled = symcompile(Running(), "block", X, **QUICK)
    compiled.choose("block", "x0")
    first = compiled.outcomes["block"].fidelity
    for equation in ("x1", "x0"):
        compiled.choose("block", equation)
    again = compiled.outcomes["block"].fidelity
    assert first is not None
    assert again is not None
    assert again.end_to_end == first.end_to_end
    assert again.outputs == first.outputs


def test_restore_gives_the_block_as_it_was_compiled() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    expected = model(X).detach()
    compiled = symcompile(model, "0", X, **QUICK)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    compiled.restore("0")
    torch.testing.assert_close(compiled.module(X).detach(), expected)


def test_a_hybrid_made_under_inference_mode_can_be_trained() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.inference_mode():
        x = X + 1
        compiled = symcompile(model, "1", x, **QUICK)
    compiled.module(X).sum().backward()
    assert compiled.module.get_submodule("0").weight.grad is not None
    compiled.restore("1")
    compiled.module(X).sum().backward()


# --- what can't be copied, and what copies must not call ---------------------------------------


def test_a_model_that_cannot_be_copied_is_recorded_and_refused_before_a_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Model()
    model.net.lock = threading.Lock()  # type: ignore[assignment]
    mean = model.net.mean.clone()
    recording = record(model, "head", X)
    assert len(recording.X) == len(X)
    assert torch.equal(model.net.mean, mean)
    assert model.net.calls == 0

    def never(*_: Any) -> None:
        raise AssertionError("a search was started")

    monkeypatch.setattr("symcompile.regression.distillation.Searches.refined", never)
    with pytest.raises(CaptureError, match="a lock, a file"):
        symcompile(model, "head", recording, **QUICK)


def test_functions_that_hold_the_model_hold_its_copy() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    first, calls = model[0], []
    model.forward = lambda x, *, gain=2.0: model[1](first(x)) * gain  # type: ignore[method-assign]
    first.register_forward_hook(lambda module, args, out: calls.append(module is first))
    twin = deepcopy(model, model)
    with torch.no_grad():
        twin[1].bias.fill_(7.0)
        twin[1].weight.zero_()
    assert twin(X).unique().tolist() == [14.0]
    assert calls == [True]
    compiled = symcompile(model, "1", X, **QUICK)
    compiled.choose("1", "x0 - x1")
    hidden = first(X)
    expected = 2 * (hidden[:, :1] - hidden[:, 1:])
    torch.testing.assert_close(compiled.module(X), expected)


# --- threads -----------------------------------------------------------------------------------


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    gate, found = threading.Barrier(len(calls)), [None] * len(calls)

    def work(number: int) -> None:
        gate.wait()
        try:
            found[number] = calls[number]()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_threads_record_one_model_each_by_itself() -> None:
    model = Model().train()
    before, random_before = bits(model), randomness()
    data = [10.0 * k + torch.linspace(0, 1, 600).reshape(300, 2) for k in range(3)]
    calls = [lambda x=x: record(model, "net.lin", list(x.split(20))) for x in data]
    for _ in range(3):
        alone = [call() for call in calls]
        for ours, theirs in zip(in_threads(*calls), alone, strict=True):
            np.testing.assert_array_equal(ours.X, theirs.X)
            np.testing.assert_array_equal(ours.Y, theirs.Y)
    assert (bits(model), randomness()) == (before, random_before)


def test_threads_compile_one_model_each_by_itself() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Linear(2, 1)).train()
    before, random_before = bits(model), randomness()
    calls = [lambda x=x: symcompile(model, "2", x, **QUICK) for x in (X, X + 5)]
    alone = [call() for call in calls]
    for ours, theirs in zip(in_threads(*calls), alone, strict=True):
        assert ours.capture == "fx"
        assert str(ours.equations["2"][0]) == str(theirs.equations["2"][0])
    assert (bits(model), randomness()) == (before, random_before)


# --- preserving itself -------------------------------------------------------------------------


def test_the_very_objects_come_back() -> None:
    model = Model()
    held = {key: value for key, value in model.net.__dict__.items() if key[0] != "_"}
    buffers = dict(model.net._buffers)
    before, untouched = bits(model), copy.deepcopy(model)
    with pytest.raises(KeyError), preserving(model):  # noqa: PT012
        model(X)
        assert model.net.calls == 1
        with preserving(model.net):
            model(X)
            assert model.net.sizes == [len(X), len(X)]
        assert model.net.sizes == [len(X)]
        raise KeyError
    for key, value in held.items():
        assert model.net.__dict__[key] is value
    assert all(model.net._buffers[name] is one for name, one in buffers.items())
    # Parameters are kept once they are known to be written into.
    assert not torch.equal(model.net.drift, untouched.net.drift)
    put_back(model, untouched)
    with preserving(model):
        model(X)
    assert bits(model) == before
    twin = deepcopy(model, model)
    with preserving(twin):
        twin(X)
    assert bits(twin) == before


def test_gradients_modes_and_shared_buffers_are_kept() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    model[1].alias = model[0].running_mean
    with preserving(model):
        model(X).sum().backward()
        model.eval()
        assert model[1].alias is model[0].running_mean
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model[1].alias is model[0].running_mean
    assert not model[0].running_mean.any()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripted_parts_are_kept() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return x + self.calls

    model = nn.Sequential(nn.Linear(2, 2), torch.jit.script(Counts()))
    with preserving(model):
        model(X)
    assert model[1].calls.item() == 0
    symcompile(model, "0", X, **QUICK)
    assert model[1].calls.item() == 0
