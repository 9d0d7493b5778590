"""Graph modules against the hybrids that they come from: values, gradients, shared parameters."""

import copy
import operator

import pytest
import torch
from hybrids import Fake, FakeHybrid, hybrid_of
from torch import fx, nn

from symcompile.errors import ExportError
from symcompile.exporters import graph_module
from symcompile.lowering.block import trainable
from symcompile.modules.calling import Batch
from symcompile.modules.region import Interface, Parameter, TensorInput, TensorOutput


def samples(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class Plain(nn.Module):
    """What torch.fx can trace."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.block = nn.Identity()
        self.last = nn.Linear(2, 1)

    def forward(self, x, scale=2.0):
        return self.last(self.block(self.block(self.first(x)))) * scale


class Branching(Plain):
    """What only torch.export can follow: a branch on a size, and on an optional argument."""

    def forward(self, x, scale=None):
        hidden = self.first(x) if x.shape[-1] == 3 else x
        hidden = self.block(hidden)
        return self.last(hidden * scale if scale is not None else hidden), hidden


def hybrid(model: nn.Module, *example: torch.Tensor) -> FakeHybrid:
    torch.manual_seed(0)
    model = type(model)().double()
    fake = Fake(["sin(2.5*x0) + 0.125*x1", "x0*x1 - 0.75"], 2)
    return hybrid_of(model, {"block": fake}, Batch(example, {}), dtype=torch.float64)


def as_traced(found: FakeHybrid) -> FakeHybrid:
    """The same hybrid as the compiler makes it where torch.fx can trace: blocks are leaves."""

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m, module_qualified_name):
            return module_qualified_name == "block" or super().is_leaf_module(m, "")

    graph = Tracer().trace(found.module)
    found.module = fx.GraphModule(found.module, graph)
    return found


def gradients(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_(True)
    out = module(x)
    total = sum(one.square().sum() for one in (out if isinstance(out, tuple) else (out,)))
    parameters = [p for _, p in sorted(dict(module.named_parameters()).items())]
    return list(torch.autograd.grad(total, [x, *parameters]))


MODELS = {
    "traced by the compiler": lambda: as_traced(hybrid(Plain(), samples(5, 3))),
    "traced here": lambda: hybrid(Plain(), samples(5, 3)),
    "exported": lambda: hybrid(Branching(), samples(5, 3)),
}


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "whole"])
@pytest.mark.parametrize("kind", MODELS)
def test_values_and_gradients(kind, inline) -> None:
    found = MODELS[kind]()
    trainable(found.module.get_submodule("block"), True)
    graph = graph_module(found, inline=inline)
    assert graph.meta["symcompile"]["capture"] == ("torch.export" if kind == "exported" else "fx")
    for x in (samples(5, 3, seed=1), samples(2, 3, seed=2), samples(900, 3, seed=3)):
        for ours, theirs in zip(pair(graph(x)), pair(found.module(x)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
        for ours, theirs in zip(gradients(graph, x), gradients(found.module, x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def pair(out):
    return out if isinstance(out, tuple) else (out,)


@pytest.mark.parametrize("kind", MODELS)
def test_parameters_and_buffers_are_shared(kind) -> None:
    found = MODELS[kind]()
    graph = graph_module(found)
    ours, theirs = dict(graph.named_parameters()), dict(found.module.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(ours[name] is theirs[name] for name in ours)
    constants = dict(found.module.get_submodule("block").named_buffers())
    assert constants
    shared = dict(graph.named_buffers())
    assert all(shared[f"block.{name}"] is value for name, value in constants.items())


@pytest.mark.parametrize("kind", MODELS)
def test_training_the_graph_trains_the_hybrid(kind) -> None:
    found = MODELS[kind]()
    trainable(found.module.get_submodule("block"), True)
    graph = graph_module(found)
    x, target = samples(64, 3, seed=5), samples(64, 1, seed=6)
    before = copy.deepcopy(found.module.state_dict())
    optimizer = torch.optim.Adam(graph.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (pair(graph(x))[0] - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    after = found.module.state_dict()
    assert all(not torch.equal(after[name], before[name]) for name in after if "_c" in name)
    torch.testing.assert_close(pair(graph(x))[0], pair(found.module(x))[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", MODELS)
def test_inlined_nodes_tell_region_and_equation(kind) -> None:
    graph = graph_module(MODELS[kind]())
    assert not any(
        node.op == "call_module" and node.target.startswith("block") for node in graph.graph.nodes
    )
    sines = [node for node in graph.graph.nodes if node.target is torch.sin]
    assert len(sines) == (1 if kind == "exported" else 2)
    for node in sines:
        assert node.meta["symcompile"]["region"] == "block"
        assert "sin(2.5*x0)" in node.meta["symcompile"]["equation"]


def test_blocks_stay_whole_when_asked() -> None:
    for kind, make in MODELS.items():
        graph = graph_module(make(), inline=False)
        calls = [node.target for node in graph.graph.nodes if node.op == "call_module"]
        assert calls.count("block") == (1 if kind == "exported" else 2), kind


class Structured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Identity()

    def forward(self, x, y):
        out = self.pair(x, (y[:, 0], y))
        return out, out["b"][0] * 2


class Looping(Structured):
    """torch.fx can't iterate over a tensor of unknown length."""

    def forward(self, x, y):
        out = self.pair(x, (y[:, 0], y))
        return out, sum(row for row in out["b"][0].unsqueeze(0))


@pytest.mark.parametrize("model", [Structured(), Looping()], ids=["fx", "torch.export"])
def test_structured_inputs_and_outputs(model, request) -> None:
    interface = Interface(
        (Parameter("first"), Parameter("rest")),
        (
            TensorInput("first", (), 2),
            TensorInput("rest", (0,), 1, scalar=True),
            TensorInput("rest", (1,), 2),
        ),
        (TensorOutput(2), TensorOutput(1, scalar=True)),
        {"a": 0, "b": (1,)},
    )
    fake = Fake(["x0 + x2*x3", "x1", "exp(-x4)*x2"], 5, interface)
    example = Batch((samples(6, 2), samples(6, 2, seed=1)), {})
    found = hybrid_of(copy.deepcopy(model), {"pair": fake}, example, dtype=torch.float64)
    for inline in (True, False):
        graph = graph_module(found, inline=inline)
        assert graph.meta["symcompile"]["capture"] == request.node.callspec.id
        x, y = samples(4, 2, seed=7), samples(4, 2, seed=8)
        (ours, doubled), (theirs, expected) = graph(x, y), found.module(x, y)
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(doubled, expected, rtol=1e-13, atol=1e-14)


class Optional(Plain):
    """torch.fx takes `gain is not None` for true, without an error."""

    def forward(self, x, gain=None):
        out = self.block(self.first(x))
        return out if gain is None else out * 7.0


def test_a_trace_that_disagrees_is_not_used() -> None:
    found = hybrid(Optional(), samples(5, 3))
    traced = fx.Tracer().trace(found.module)
    assert any(node.target is operator.mul and 7.0 in node.args for node in traced.nodes)
    graph = graph_module(found)
    assert graph.meta["symcompile"]["capture"] == "torch.export"
    assert "other values" in graph.meta["symcompile"]["note"]
    x = samples(5, 3, seed=3)
    torch.testing.assert_close(graph(x), found.module(x), rtol=1e-13, atol=1e-14)


def test_the_hybrid_is_left_as_it_was() -> None:
    for make in MODELS.values():
        found = make()
        found.module.train()
        modules, state = dict(found.module.named_modules()), found.module.state_dict()
        before = copy.deepcopy(state)
        graph_module(found)
        assert dict(found.module.named_modules()) == modules
        assert all(part.training for part in found.module.modules())
        assert all(torch.equal(state[name], before[name]) for name in before)
        if isinstance(found.module, fx.GraphModule):
            assert [n.target for n in found.module.graph.nodes].count("block") == 2


class Impossible(Plain):
    def forward(self, x, scale=None):
        out = self.block(self.first(x))
        return out if out.sum() > 0 else -out


def test_both_reasons_are_told_where_nothing_works() -> None:
    with pytest.raises(ExportError, match=r"torch\.fx can't trace it.*torch\.export can't follow"):
        graph_module(hybrid(Impossible(), samples(5, 3)))


def test_without_an_example_nothing_can_be_proven() -> None:
    found = hybrid(Branching(), samples(5, 3))
    found.example = None
    with pytest.raises(ExportError, match="no example batch"):
        graph_module(found)
    traced = as_traced(hybrid(Plain(), samples(5, 3)))
    traced.example = None
    x = samples(3, 3)
    torch.testing.assert_close(graph_module(traced)(x), traced.module(x))
