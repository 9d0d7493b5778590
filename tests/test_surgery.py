"""A copy of the model with vacant regions, and copies of single blocks."""

import gc
import threading
import weakref
from typing import Any

import pytest
import torch
from models import Block, Calling, Leftovers, Net, Stack, state_of
from torch import fx, nn

from symcompile import symcompile
from symcompile.errors import CaptureError, TargetError
from symcompile.modules.calling import Batch
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.modules.surgery import Vacant, copy_block, private_copy, root_for, vacate
from symcompile.passes.capture import capture
from symcompile.target import Target

X = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))


def storages(module: nn.Module) -> set[int]:
    return {t.data_ptr() for t in (*module.parameters(), *module.buffers())}


@pytest.mark.parametrize("kind", ["fx", "module boundaries"])
def test_the_rest_is_copied_and_the_regions_are_vacant(kind: str) -> None:
    model = Net()
    model.train()
    model.block.eval()
    model.after.eval()
    root = capture(model, ["block"], Batch((X,), {}) if kind == "fx" else None).root
    assert isinstance(root, fx.GraphModule) is (kind == "fx")
    hybrid = vacate(root, ["block"])
    assert isinstance(hybrid.block, Vacant)
    assert not storages(hybrid) & storages(model)
    modes = {name: part.training for name, part in hybrid.named_modules()}
    assert modes == {n: p.training for n, p in model.named_modules() if n in modes}
    expected = {k: v for k, v in model.state_dict().items() if not k.startswith("block.")}
    assert hybrid.state_dict().keys() == expected.keys()
    with pytest.raises(RuntimeError, match="vacant"):
        hybrid(X)
    hybrid.block = Block(lambda h: model.block(h))
    torch.testing.assert_close(hybrid(X), model(X), rtol=0, atol=0)


def test_the_hybrid_keeps_no_replaced_block_alive() -> None:
    model = Net(nn.Linear(2, 1))
    hybrid = vacate(capture(model, ["block"], Batch((X,), {})).root, ["block"])
    weight = weakref.ref(model.block.weight)
    del model
    gc.collect()
    assert weight() is None
    assert hybrid.after.weight is not None


def test_a_shared_block_is_vacant_under_all_names_and_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 2)
            self.second = self.first
            self.third, self.fourth = nn.Linear(2, 2), nn.Linear(2, 2)
            self.fourth.weight = self.third.weight
            self.fifth = nn.Linear(2, 2)
            self.fifth.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fifth(self.fourth(self.third(self.second(self.first(x)))))

    model = Tied()
    for root in (model, capture(model, ["first"], Batch((X,), {})).root):
        hybrid = vacate(root, ["first"])
        assert hybrid.first is hybrid.second
        assert isinstance(hybrid.first, Vacant)
        assert hybrid.fourth.weight is hybrid.third.weight
        assert hybrid.fifth.weight is not model.first.weight
        block = copy_block(root, "first", hybrid)
        assert isinstance(block, nn.Linear)
        assert block.weight is hybrid.fifth.weight
        assert block.bias is not model.first.bias
        torch.testing.assert_close(block(X), model.first(X), rtol=0, atol=0)


def test_a_block_of_its_own_is_copied_whole() -> None:
    model = Stack()
    hybrid = vacate(model, ["layers.0.mlp", "layers.1.mlp"])
    block = copy_block(model, "layers.0.mlp", hybrid)
    assert not storages(block) & (storages(model) | storages(hybrid))
    assert block.state_dict().keys() == model.layers[0].mlp.state_dict().keys()


def test_hidden_buffers_stay_hidden() -> None:
    class Hiding(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("hidden", torch.ones(2), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x * self.hidden)

    root = capture(Hiding(), ["block"], Batch((X,), {})).root
    assert isinstance(root, fx.GraphModule)
    assert "hidden" not in vacate(root, ["block"]).state_dict()
    assert vacate(root, ["block"]).hidden is not root.hidden


def test_a_model_that_cant_be_copied() -> None:
    model = Calling(Leftovers(), lambda block, x: block(x))
    model.lock = threading.Lock()  # type: ignore[assignment]
    before = state_of(model)
    with pytest.raises(CaptureError, match=r"Calling can't be copied.*a lock"):
        vacate(model, ["block.spare"])
    assert state_of(model) == before


def whole(*parameters: Parameter) -> Region:
    face = Interface(parameters, (TensorInput("x", (), 2),), (TensorOutput(1),))
    return Region(".", Target("."), face, ("x0", "x1"))


def test_the_root_of_a_whole_model_has_its_signature() -> None:
    body = Block(lambda x, scale=2.0, flag=None: (x.sum(-1) * scale, flag))
    root = root_for(
        whole(Parameter("x"), Parameter("scale", True, 2.0), Parameter("flag", True, None)), body
    )
    assert isinstance(root.body, Vacant)
    root.body = body
    for args, kwargs in (((X,), {}), ((X, 3.0), {}), ((), {"x": X, "flag": 1})):
        found, flag = root(*args, **kwargs)
        expected, expected_flag = body(*args, **kwargs)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        assert flag == expected_flag
    assert type(root).__name__ == "Block"


def test_the_root_of_a_whole_model_passes_keywords_by_name() -> None:
    body = Block(lambda x, scale=2.0, *, t: x.sum(-1) * scale + t)
    root = root_for(whole(Parameter("x"), Parameter("scale", True, 2.0), Parameter("t")), body)
    root.body = body
    torch.testing.assert_close(root(X, t=1.0), body(X, t=1.0), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["*xs", "**named"])
def test_a_whole_model_with_starred_arguments_is_refused(name: str) -> None:
    with pytest.raises(TargetError, match="name a submodule instead"):
        root_for(whole(Parameter(name)), nn.Identity())


class Scaled(nn.Module):
    """Calls a traced network, as a submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.traced = fx.symbolic_trace(Net())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.traced(x)
        return result


class Factor:
    """Hooks that are methods: a copied model has to call those of its own copy."""

    def __init__(self, model: nn.Module) -> None:
        model.register_buffer("factor", torch.tensor(10.0))
        self.model = model
        model.register_forward_pre_hook(self.before, with_kwargs=True)
        model.register_forward_hook(self.after, always_call=True)

    def before(self, _: nn.Module, args: Any, kwargs: Any) -> Any:
        return tuple(arg + 1.0 for arg in args), kwargs

    def after(self, module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output * self.model.factor


@pytest.mark.parametrize("nested", [False, True])
def test_hooks_of_a_graph_module_are_copied(nested: bool) -> None:
    model = Scaled() if nested else fx.symbolic_trace(Net())
    Factor(model.traced if nested else model)
    copied = private_copy(model)
    hybrid = vacate(model, ["traced.after" if nested else "after"])
    assert torch.equal(copied(X), model(X))
    for place in (copied, hybrid):
        inner: Any = place.traced if nested else place
        (hook,) = inner._forward_hooks.values()
        assert hook.__self__.model is inner
        assert inner._forward_pre_hooks_with_kwargs


def test_a_graph_module_with_a_hook_is_compiled_with_it() -> None:
    model = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 1), nn.Tanh()))
    model.register_forward_hook(lambda *args: 10.0 * args[-1])
    options = {"engine_options": {"generations": 2, "population": 20}, "progress": False}
    compiled = symcompile(model, "0", torch.randn(60, 2), **options)
    compiled.restore("0")
    assert torch.equal(compiled.module(X), model(X))
