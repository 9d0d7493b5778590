"""Programs with opaque blocks: what they compute, which shapes are free, what stays untouched."""

import copy
import threading

import pytest
import torch
from hybrids import Fake, FakeHybrid, hybrid_of
from torch import fx, nn

from symcompile.aten.export import export_program
from symcompile.aten.opaque import as_block, block_calls, bound
from symcompile.aten.sizes import is_free
from symcompile.errors import ExportError
from symcompile.modules.arguments import build_arguments, pick_tensors
from symcompile.modules.calling import Batch
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.modules.region_call import build_structure


def samples(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.block = nn.Identity()
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(2, 1)

    def forward(self, x, *, scale=None):
        hidden = self.block(self.block(self.first(x)))
        return self.last(self.drop(hidden)) * scale, hidden


def network(*shape: int, dtype=torch.float32) -> FakeHybrid:
    torch.manual_seed(0)
    fake = Fake(["sin(2.5*x0) + x1", "x0*x1 - 0.75"], 2)
    x, scale = samples(*shape, 3, dtype=dtype), samples(*shape, 1, seed=1, dtype=dtype)
    return hybrid_of(
        Network().to(dtype), {"block": fake}, Batch((x,), {"scale": scale}), dtype=dtype
    )


def regions(found: FakeHybrid) -> list[Region]:
    return [outcome.region for outcome in found.outcomes.values()]


def exported(found: FakeHybrid, **options):
    return export_program(found.module, found.example, regions(found), **options)


def blocks(found: FakeHybrid) -> dict:
    return {one.path: as_block(found.module.get_submodule(one.path), one) for one in regions(found)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_each_call_is_one_opaque_node_that_computes_the_same(dtype) -> None:
    found = network(5, dtype=dtype)
    program = exported(found).program
    calls = list(block_calls(program.graph_module))
    assert [call.path for call in calls] == ["block", "block"]
    for call in calls:
        assert (call.input_features, call.output_features, call.dtype) == ((2,), (2,), dtype)
    assert set(program.state_dict) == {"first.weight", "first.bias", "last.weight", "last.bias"}
    x, scale = samples(11, 3, seed=3, dtype=dtype), samples(11, 1, seed=4, dtype=dtype)
    with bound(blocks(found)), torch.no_grad():
        ours = program.module()(x, scale=scale)
        theirs = found.module(x, scale=scale)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_blocks_are_inlined_when_asked() -> None:
    found = network(5)
    program = export_program(found.module, found.example).program
    assert not list(block_calls(program.graph_module))
    assert any(node.target is torch.ops.aten.sin.default for node in program.graph.nodes)
    x, scale = samples(4, 3, seed=3), samples(4, 1, seed=4)
    torch.testing.assert_close(
        program.module()(x, scale=scale), found.module(x, scale=scale), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("shape", [(1,), (6,), (2, 4), (1, 4, 7)])
def test_all_sample_sizes_are_free(shape) -> None:
    found = network(*shape)
    result = exported(found)
    assert (result.dynamic, result.note, result.free_batch) == ("all", "", True)
    (x,) = result.example.args
    assert x.shape[1:] == found.example.args[0].shape[1:]
    assert x.shape[0] > 1  # a single row would be baked in
    for rows in (1, 9):
        other = samples(rows, *(size + 3 for size in shape[1:]), 3, seed=2)
        scale = samples(*other.shape[:-1], 1, seed=3)
        with bound(blocks(found)):
            ours = result.program.module()(other, scale=scale)
        torch.testing.assert_close(ours, found.module(other, scale=scale), rtol=1e-5, atol=1e-6)


def test_static_shapes_when_asked() -> None:
    result = exported(network(5), dynamic=False)
    assert (result.dynamic, result.free_batch) == ("static", False)
    values = [node.meta["val"] for node in result.program.graph.nodes if node.op == "placeholder"]
    assert not any(is_free(size) for value in values for size in value.shape)


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Identity()
        self.weight = nn.Parameter(torch.ones(4, 3))

    def forward(self, x):
        return self.block((x * self.weight)[:, :2])


def test_a_fixed_batch_size_is_noted() -> None:
    found = hybrid_of(Fixed(), {"block": Fake(["x0", "x1"], 2)}, Batch((samples(4, 3),), {}))
    result = exported(found)
    assert not result.free_batch
    assert result.dynamic == "static"
    assert "shapes of the example only" in result.note
    with bound(blocks(found)):  # equations that hand their inputs through
        torch.testing.assert_close(
            result.program.module()(*found.example.args), found.module(*found.example.args)
        )


def test_the_module_is_left_as_it_was() -> None:
    found = network(5)
    found.module.train()
    modules = dict(found.module.named_modules())
    before = copy.deepcopy(found.module.state_dict())
    program = exported(found).program
    assert dict(found.module.named_modules()) == modules
    assert all(part.training for part in modules.values())
    assert all(torch.equal(v, before[k]) for k, v in found.module.state_dict().items())
    assert not found.module._forward_hooks
    assert not found.module.block._forward_hooks
    dropout = [n for n in program.graph.nodes if n.target is torch.ops.aten.dropout.default]
    assert [node.args[2] for node in dropout] == [True]  # exported in the mode that it is in
    assert program.state_dict["first.weight"] is found.module.first.weight


class Recurrent(nn.Module):
    """Its LSTM keeps a list of weights beside its parameters, and takes a size per layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 2, batch_first=True)
        self.block = nn.Identity()

    def forward(self, x, gain):
        out, (hidden, _) = self.lstm(x)
        return self.block(out) * gain, hidden


def test_recurrent_layers_and_numbers_for_all_rows() -> None:
    example = Batch((samples(4, 5, 2), torch.tensor(0.5)), {})
    found = hybrid_of(Recurrent(), {"block": Fake(["x0 + x1", "x0*x1"], 2)}, example)
    weights = list(found.module.lstm._flat_weights)
    result = exported(found)
    assert all(a is b for a, b in zip(found.module.lstm._flat_weights, weights, strict=True))
    args = samples(3, 5, 2, seed=1), torch.tensor(2.0)  # torch unrolls over the 5 steps
    with bound(blocks(found)):
        torch.testing.assert_close(result.program.module()(*args), found.module(*args))


class Patched(Network):
    """A forward patched onto the instance, and a block that two names lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.nested = nn.ModuleDict({"inner": nn.Sequential()})

    def call(self, x):
        return self.nested["inner"](self.block(self.first(x)))


def test_patched_forwards_and_aliases() -> None:
    found = hybrid_of(
        Patched(), {"block": Fake(["x0 + x1", "x0*x1"], 2)}, Batch((samples(4, 3),), {})
    )
    found.module.nested["inner"].add_module("again", found.module.block)
    found.module.forward = found.module.call
    result = exported(found)
    assert [call.path for call in block_calls(result.program.graph_module)] == ["block", "block"]
    assert isinstance(found.module.nested["inner"].again, type(found.module.block))


def test_an_unbound_block_says_what_to_do_and_threads_are_apart() -> None:
    found = network(5)
    module = exported(found).program.module()
    args = found.example.args[0], found.example.kwargs["scale"]
    with pytest.raises(ExportError, match=r"'block', which is not bound.*opaque\.bound"):
        module(args[0], scale=args[1])
    raised: list[BaseException] = []

    def run() -> None:
        try:
            module(args[0], scale=args[1])
        except ExportError as error:
            raised.append(error)

    with bound(blocks(found)):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        module(args[0], scale=args[1])
    assert len(raised) == 1


class Branching(Network):
    def forward(self, x, *, scale=None):
        hidden = self.block(self.first(x))
        return hidden if hidden.sum() > 0 else -hidden


def test_failures_name_the_cause_and_the_way_out() -> None:
    found = network(5)
    found.module.__class__ = Branching
    with pytest.raises(ExportError, match=r"forward of Branching .*torch\.where or torch\.cond"):
        exported(found)


NESTED = Interface(
    (Parameter("first"), Parameter("*rest"), Parameter("gain", True, 1.5), Parameter("**named")),
    (
        TensorInput("first", ("a",), 2),
        TensorInput("*rest", (0, 1), 1, scalar=True),
        TensorInput("**named", ("u",), 3),
    ),
    (TensorOutput(2), TensorOutput(1, scalar=True)),
    {"out": (1, [0])},
)


def test_arguments_and_results_of_any_structure() -> None:
    a, b, c = samples(4, 2), samples(4), samples(4, 3)
    args, kwargs = ({"a": a}, (None, b)), {"u": c}
    picked = pick_tensors(NESTED, args, kwargs)
    assert [one is other for one, other in zip(picked, (a, b, c), strict=True)] == [True] * 3
    built_args, built_kwargs = build_arguments(NESTED, picked)
    assert built_args[0]["a"] is a
    assert built_args[1] == (None, b)
    assert built_kwargs == {"gain": 1.5, "u": c} or built_kwargs == {"u": c}
    again = pick_tensors(NESTED, built_args, built_kwargs)
    assert all(one is other for one, other in zip(again, picked, strict=True))
    result = build_structure(NESTED.structure, [a, b])
    assert result["out"][0] is b
    assert result["out"][1][0] is a


def test_broadcast_inputs_give_broadcast_shapes() -> None:
    shapes = torch.ops.symcompile.block
    with torch._subclasses.FakeTensorMode():
        wide = torch.empty(5, 1, 3), torch.empty(4), torch.empty(1, 4, 2)
        out = shapes(list(wide), "any", [3, 0, 2], [6, 0], "float64")
    assert [tuple(one.shape) for one in out] == [(5, 4, 6), (5, 4)]
    assert {one.dtype for one in out} == {torch.float64}


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


def test_a_dtype_that_a_block_does_not_take_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    """Every dtype is tried on a block; torch.fx prints whatever fails in a GraphModule."""
    (region,) = regions(network(4))
    block = as_block(fx.symbolic_trace(Product()), region)
    with pytest.raises(RuntimeError, match="dtype"):
        block([samples(4, 2, dtype=torch.float64)])
    assert capsys.readouterr().err == ""
