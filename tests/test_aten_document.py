"""A stored graph computes what the model computed, and can say nothing that is not whitelisted."""

import copy
import io
import json
import math
from collections import namedtuple
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from symcompile.aten.decode import StoredGraph, decode
from symcompile.aten.document import encode
from symcompile.aten.operators import ALLOWED, is_in_place, resolve, stored_name
from symcompile.errors import ArtifactError
from symcompile.modules.calling import Batch
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.target import Target

Point = namedtuple("Point", "x y")
Nothing = namedtuple("Nothing", "")


def through_json(stored: StoredGraph) -> StoredGraph:
    return StoredGraph(json.loads(json.dumps(stored.document)), stored.tensors)


def reload(model: nn.Module, *args: Any, regions: Any = (), blocks: Any = None, **kwargs: Any):
    return decode(through_json(encode(model, Batch(args, kwargs), regions)), blocks)


def assert_same(model: nn.Module, loaded: nn.Module, *args: Any, **kwargs: Any) -> None:
    """Same values, and same gradients by every parameter and floating input."""
    results = []
    for one in (model, loaded):
        torch.manual_seed(7)
        inputs = torch.utils._pytree.tree_map(copy_leaf, (args, kwargs))
        result = one(*inputs[0], **inputs[1])
        leaves = [t for t in torch.utils._pytree.tree_leaves(result) if isinstance(t, torch.Tensor)]
        total = sum(t.double().square().sum() for t in leaves if t.requires_grad)
        sources = [t for t in torch.utils._pytree.tree_leaves(inputs) if is_source(t)]
        sources += [p for p in one.parameters() if p.requires_grad]
        wanted = isinstance(total, torch.Tensor) and total.requires_grad
        gradients = torch.autograd.grad(total, sources, allow_unused=True) if wanted else ()
        results.append((result, [g for g in gradients if g is not None]))
        assert len(gradients) == 0 or any(g is not None for g in gradients)
    (first, first_slopes), (second, second_slopes) = results
    torch.testing.assert_close(second, first, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(second_slopes, first_slopes, rtol=1e-12, atol=1e-12)


def is_source(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def copy_leaf(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().clone().requires_grad_(value.is_floating_point())


def rand(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# --- what models do ------------------------------------------------------------------------


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = torch.max_pool2d(torch.relu_(self.norm(self.conv(image))), 2)
        return self.head(self.drop(hidden.mean((-2, -1))))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.spare = nn.Linear(2, 2)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("scale", torch.full((3,), 2.0))
        self.register_buffer("hidden", torch.full((3,), 0.5), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)) * self.scale + self.hidden * self.frozen


class Structured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x, pair, *, options=None, power=2, **more):
        left, right = pair
        result = self.linear(x) * options["gain"] + left - right[0]
        total = result**power + more["shift"]
        return {
            "total": total,
            "all": (result, [left, None]),
            "point": Point(total, 3),
            "n": len(x),
        }


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        z = torch.zeros(x.shape[0], 6, dtype=x.dtype)
        z[:, 1:5] = y.view(x.shape[0], 2, 2).flip(-1).reshape(-1, 4)
        z[:, 0] += torch.tensor([2.0], dtype=x.dtype)
        y = y + 1.0
        y += z[:, 2:]
        return z.sin_().mul_(y.sum())


class NoGrad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.linear(x)
        with torch.no_grad():
            level = self.linear(x).abs().mean() + y.max()
        return y / level, level


class Sizes(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        rows, columns = x.shape
        grid = torch.arange(columns, dtype=x.dtype, device=x.device) / (rows * 2 + 1)
        return x.expand(2, rows, columns).reshape(-1, columns) * grid, rows * 2


CASES: dict[str, tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = {
    "layers": (nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)), (rand(4, 3),), {}),
    "convolution": (Convolutional(), (rand(3, 2, 6, 6),), {}),
    "transformer": (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), (rand(3, 5, 4),), {}),
    "recurrent": (nn.GRU(3, 4, batch_first=True), (rand(3, 5, 3),), {}),
    "tied": (Tied(), (rand(4, 3),), {}),
    "structures": (
        Structured(),
        (rand(4, 3), (rand(4, 3), [rand(4, 3)])),
        {"options": {"gain": rand(3), "unused": None}, "shift": rand(3)},
    ),
    "in place": (InPlace(), (rand(3, 4),), {}),
    "no_grad": (NoGrad(), (rand(4, 3),), {}),
    "sizes": (Sizes(), (rand(4, 3),), {}),
}


@cache
def stored_case(name: str) -> StoredGraph:
    model, args, kwargs = CASES[name]
    return through_json(encode(copy.deepcopy(model).double(), Batch(args, kwargs)))


def case(name: str) -> tuple[nn.Module, nn.Module]:
    """A model and what was loaded of it, with the same weights."""
    model, stored = copy.deepcopy(CASES[name][0]).double(), stored_case(name)
    tensors = {key: tensor.clone() for key, tensor in stored.tensors.items()}
    return model, decode(StoredGraph(stored.document, tensors))


@pytest.mark.parametrize("name", list(CASES))
def test_values_and_gradients_agree_in_both_modes(name: str) -> None:
    _, args, kwargs = CASES[name]
    model, loaded = case(name)
    assert loaded.training
    assert_same(model.eval(), loaded.eval(), *args, **kwargs)
    assert_same(model.train(), loaded.train(), *args, **kwargs)
    # Batch norms moved their statistics alike.
    assert_equal_states(model, loaded)
    assert_same(model.eval(), loaded.eval(), *args, **kwargs)


def assert_equal_states(model: nn.Module, loaded: nn.Module) -> None:
    expected, found = model.state_dict(), loaded.state_dict()
    assert list(found) == list(expected)
    torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=0)


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_batch_size_is_free(rows: int) -> None:
    for name in ("layers", "convolution", "tied", "no_grad", "sizes"):
        model, loaded = (one.eval() for one in case(name))
        assert_same(model, loaded, rand(rows, *CASES[name][1][0].shape[1:]))


def test_further_dimensions_are_free() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Softmax(dim=-2)).double()
    assert_same(model, reload(model, rand(4, 5, 3)), rand(6, 2, 3))
    assert_same(*case("sizes"), rand(2, 7))


def test_parameters_keep_names_ties_and_gradients() -> None:
    model, loaded = case("tied")
    assert_equal_states(model, loaded)
    assert loaded.first.weight is loaded.second.weight
    names = [(name, p.requires_grad) for name, p in model.named_parameters()]
    assert [(name, p.requires_grad) for name, p in loaded.named_parameters()] == names
    loaded.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(loaded.state_dict(), strict=True)


def test_a_loaded_model_can_be_trained_further() -> None:
    (model, loaded), image = case("convolution"), rand(4, 2, 6, 6)
    for one in (model, loaded):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        torch.manual_seed(3)
        for _ in range(5):
            optimizer.zero_grad()
            one(image).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()))


def test_signature_is_that_of_the_model() -> None:
    _, args, kwargs = CASES["structures"]
    _, loaded = case("structures")
    point = loaded(pair=args[1], x=args[0], shift=kwargs["shift"], options=kwargs["options"])[
        "point"
    ]
    assert type(point).__name__ == "Point"
    assert point._fields == ("x", "y")
    assert point.y == 3


def test_a_value_that_was_baked_in_is_checked() -> None:
    _, args, kwargs = CASES["structures"]
    _, loaded = case("structures")
    with pytest.raises(ArtifactError, match="argument power is 3: this model was saved for 2 only"):
        loaded.forward(*args, **kwargs, power=3)
    with pytest.raises(ArtifactError, match=r"options\['unused'\] is a tensor"):
        loaded.forward(*args, **{**kwargs, "options": {"gain": rand(3), "unused": rand(3)}})
    with pytest.raises(ArtifactError, match=r"pair\[1\] has 2 items: this model was saved for 1"):
        loaded.forward(args[0], (args[0], [args[0], args[0]]), **kwargs)


def test_deepcopy_keeps_everything() -> None:
    _, loaded = case("tied")
    twin = copy.deepcopy(loaded)
    assert_equal_states(loaded, twin)
    assert_same(loaded, twin, rand(2, 3))
    assert twin.first.weight is twin.second.weight
    assert twin.first.weight is not loaded.first.weight


def test_pickling_keeps_everything() -> None:
    _, loaded = case("tied")
    file = io.BytesIO()
    torch.save(loaded, file)
    file.seek(0)
    twin = torch.load(file, weights_only=False)
    assert_equal_states(loaded, twin)
    assert_same(loaded, twin, rand(2, 3))


def test_a_loaded_model_can_be_saved_again() -> None:
    args = CASES["convolution"][1]
    model, first = case("convolution")
    second = reload(first, *args)
    assert_equal_states(model, second)
    assert_same(model.eval(), second.eval(), *args)


def test_saving_a_loaded_model_keeps_what_was_changed_in_it() -> None:
    args = CASES["convolution"][1]
    _, first = case("convolution")
    first.norm.eval()
    first.head.weight.requires_grad_(False)
    with torch.no_grad():
        first.head.bias.add_(1.0)
    second = reload(first, *args)
    assert (second.training, second.norm.training, second.drop.training) == (True, False, True)
    assert not second.head.weight.requires_grad
    assert_equal_states(first, second)
    assert_same(first, second, *args)
    # An edited graph is exported anew, not taken from the document that it was read from.
    output = next(iter(reversed(first.graph.nodes)))
    with first.graph.inserting_before(output):
        output.args = (first.graph.call_function(torch.ops.aten.neg.default, output.args),)
    first.recompile()
    assert_same(first.eval(), reload(first, *args), *args)


def test_a_loaded_model_exports_as_the_original_does() -> None:
    batch = Batch(CASES["convolution"][1], {})
    one, two = (
        encode(module, batch, training=False).document["nodes"] for module in case("convolution")
    )
    assert [{**row, "scope": ""} for row in one] == [{**row, "scope": ""} for row in two]


def test_encoding_leaves_the_model_as_it_was() -> None:
    model = copy.deepcopy(CASES["convolution"][0]).train()
    model.norm.eval()
    before = copy.deepcopy(model.state_dict())
    loaded = reload(model, rand(3, 2, 6, 6).float())
    assert (model.training, model.norm.training, model.drop.training) == (True, False, True)
    assert (loaded.training, loaded.norm.training, loaded.drop.training) == (True, False, True)
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)


def test_encoding_twice_gives_the_same_document() -> None:
    model, args, kwargs = CASES["structures"]
    again = encode(copy.deepcopy(model).double(), Batch(args, kwargs))
    assert json.dumps(again.document) == json.dumps(stored_case("structures").document)


def test_devices_are_mapped() -> None:
    loaded = decode(stored_case("sizes"), device="meta")
    assert loaded.forward(torch.empty(5, 3, device="meta"))[0].device.type == "meta"


# --- constants -----------------------------------------------------------------------------


class Constants(nn.Module):
    """What a forward may do with constants, behind a layer."""

    def __init__(self, use: Callable[..., Any]) -> None:
        super().__init__()
        self.linear, self.use = nn.Linear(3, 2).double(), use

    def forward(self, x: torch.Tensor, given: Any = math.nan, *, top: float = math.inf) -> Any:
        return self.use(self.linear(x))


CONSTANTS: dict[str, Callable[[torch.Tensor], Any]] = {
    "zeros of an empty size": lambda y: y + torch.zeros([], dtype=y.dtype),
    "new tensor of an empty size": lambda y: y + y.new_ones(()),
    "reshaped to no dimension": lambda y: y.sum().reshape([]),
    "viewed as no dimension": lambda y: y.sum().view(()).expand([]).permute(()),
    "full of infinity": lambda y: torch.minimum(y, torch.full([], math.inf, dtype=y.dtype)),
    "no dimensions to reduce": lambda y: (y.sum(dim=[]), y.mean(()), y.var(dim=[], correction=0)),
    "no padding": lambda y: nn.functional.pad(y, []).flip([]).tile(()),
    "no contraction": lambda y: torch.tensordot(y, y, dims=([], [])),
    "dtype, layout and device": lambda y: (
        y + torch.zeros([], dtype=y.dtype, layout=torch.strided, device=y.device)
    ),
    "memory format": lambda y: y[..., None, None].to(memory_format=torch.channels_last),
    "slices and ellipses": lambda y: y[..., None][:, ::2][1:],
    "an empty index": lambda y: torch.cat([y, y[[]]]),
    "clamped at infinity": lambda y: y.clamp(-math.inf, math.inf),
    "a complex constant": lambda y: torch.view_as_real(y * (1 + 2j)),
    "infinite complex constant": lambda y: torch.where(
        (0 * y + complex(1, math.inf)).isinf(), y, 0
    ),
    "NaN in a complex constant": lambda y: torch.where((y + complex(math.nan, 1)).isnan(), y, 0),
    "a free size": lambda y: y * y.shape[0] + torch.arange(len(y), dtype=y.dtype)[:, None],
    "empty containers returned": lambda y: (y, [], (), {}, None),
    "empty containers within others": lambda y: [[], [[], (y,)], {"a": [], "b": ((), {})}],
    "an empty named tuple": lambda y: {"y": y, "none": Nothing()},
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_of_every_kind_are_stored(name: str) -> None:
    model = Constants(CONSTANTS[name])
    loaded = reload(model, rand(5, 3))
    assert_same(model, loaded, rand(5, 3))
    assert_same(model, reload(loaded, rand(5, 3)), rand(5, 3))


@pytest.mark.parametrize("given", [[], (), {}, [[], {}], None, "text", math.nan, math.inf])
def test_arguments_without_tensors_are_stored(given: Any) -> None:
    model = Constants(torch.sin)
    loaded = reload(model, rand(5, 3), given)
    torch.testing.assert_close(loaded(rand(5, 3), copy.deepcopy(given)), model(rand(5, 3)))
    assert reload(model, rand(5, 3))(rand(5, 3), float("nan"), top=math.inf).shape == (5, 2)


# --- regions -------------------------------------------------------------------------------


class TwoFaced(nn.Module):
    """A block with two inputs and a nested result."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, a: torch.Tensor, *, extra: dict[str, torch.Tensor]) -> dict[str, Any]:
        return {"sum": a * self.weight + extra["b"], "rest": (a.sin(), extra["b"][..., :1])}


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(3, 3)
        self.inner = nn.ModuleDict({"block": TwoFaced()})
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        block = self.inner["block"]
        out = block(self.before(x), extra={"b": x})
        again = block(out["sum"], extra={"b": out["rest"][0]})
        return self.norm(out["rest"][1] + again["sum"] * again["rest"][0])


REGION = Region(
    "inner.block",
    Target("inner.block"),
    Interface(
        (Parameter("a"), Parameter("extra")),
        (TensorInput("a", (), 3), TensorInput("extra", ("b",), 3)),
        (TensorOutput(3), TensorOutput(3), TensorOutput(1)),
        {"sum": 0, "rest": (1, 2)},
    ),
    tuple("abcdef"),
    "float64",
)


def test_a_region_is_a_call_that_can_be_swapped() -> None:
    model = Around().double()
    stored = through_json(encode(model, Batch((rand(4, 3),), {}), [REGION]))
    assert "inner.block.weight" not in stored.tensors
    loaded = decode(stored, {"inner.block": TwoFaced()})
    assert_equal_states(model, loaded)
    assert_same(model, loaded, rand(7, 3))
    calls = [node for node in loaded.graph.nodes if node.op == "call_module"]
    assert [node.target for node in calls] == ["inner.block"] * 2
    for one in (model, loaded):
        one.set_submodule("inner.block", TwoFaced(-0.5))
    assert_same(model, loaded, rand(2, 3))


def test_a_block_with_two_names_keeps_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3).double()
            self.second = self.first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).sin())

    model = Twice()
    interface = Interface((Parameter("input"),), (TensorInput("input", (), 3),), (TensorOutput(3),))
    region = Region("first", Target("first"), interface, ("x", "y", "z"), "float64", calls=2)
    stored = through_json(encode(model, Batch((rand(4, 3),), {}), [region]))
    assert stored.tensors == {}
    loaded = decode(stored, {"first": copy.deepcopy(model.first)})
    assert loaded.first is loaded.second
    assert_equal_states(model, loaded)
    assert_same(model, loaded, rand(2, 3))


def test_blocks_keep_their_own_mode() -> None:
    block = TwoFaced().eval()
    loaded = decode(encode(Around().double().train(), Batch((rand(4, 3),), {}), [REGION]),
                    {"inner.block": block})  # fmt: skip
    assert loaded.training
    assert not block.training


def test_the_whole_model_can_be_a_region() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(3, 2).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    model = Whole()
    interface = Interface((Parameter("input"),), (TensorInput("input", (), 3),), (TensorOutput(2),))
    region = Region(".", Target("."), interface, ("x", "y", "z"), "float64")
    loaded = reload(model, rand(4, 3), regions=[region], blocks={".": copy.deepcopy(model.body)})
    assert_equal_states(model, loaded)
    assert_same(model, loaded, rand(1, 3))


class Flags(nn.Module):
    """Python's operators between tensors have names of their own; some write, some do not."""

    def forward(self, x: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
        both = (x > 0) & flags
        either = both | (x < -1)
        either &= ~(both ^ flags)
        bits = flags.to(torch.int64) << 2
        bits |= 1
        return x * either + (bits >> 1)


def test_operators_between_flags_and_bits() -> None:
    x, flags = rand(6, 3), rand(6, 3) > 0
    loaded = reload(Flags(), x, flags)
    assert_same(Flags(), loaded, rand(4, 3), rand(4, 3) > 0)
    names = {node["op"] for node in encode(Flags(), Batch((x, flags), {})).document["nodes"]}
    assert {"aten.__and__.Tensor", "aten.__iand__.Tensor"} <= names
    assert is_in_place("aten.__iand__.Tensor")
    assert not is_in_place("aten.__and__.Tensor")


# --- refusals ------------------------------------------------------------------------------


def test_the_whitelist_resolves_plain_operators_only() -> None:
    assert resolve("aten.add.Tensor") is torch.ops.aten.add.Tensor
    assert resolve("aten.add_.Tensor") is torch.ops.aten.add_.Tensor
    for name in sorted(ALLOWED - {"fill_diagonal"}):
        packet = getattr(torch.ops.aten, name, None) or getattr(torch.ops.aten, name + "_")
        assert packet.overloads(), name


@pytest.mark.parametrize(
    "name",
    [
        "aten.from_file.default",
        "aten.set_.source_Storage",
        "aten.resize_.default",
        "aten.add.out",
        "aten.__class__.default",
        "aten.add.__class__",
        "aten.add",
        "symcompile.block.default",
        "os.system",
        "eval",
        "prims.add.default",
        "aten.add.Tensor\n",
        "",
    ],
)
def test_everything_else_is_refused(name: str) -> None:
    with pytest.raises(ArtifactError, match=r"operator '.*'"):
        resolve(name)


def test_saving_a_model_with_a_foreign_operator_names_it() -> None:
    class Sparse(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 255)

    with pytest.raises(ArtifactError, match=r"aten\.fake_quantize_per_tensor_affine"):
        encode(Sparse(), Batch((torch.ones(3, 2),), {}))
    with pytest.raises(ArtifactError, match="print"):
        stored_name(print)


def test_an_untraceable_model_is_refused_by_name() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ArtifactError, match="Branching"):
        encode(Branching(), Batch((torch.ones(3, 2),), {}))


HOSTILE: list[tuple[str, Any]] = [
    ("nodes.0.op", "os.system"),
    ("nodes.0.op", 7),
    ("nodes.0.op", "aten.from_file.default"),
    ("nodes.0.args", [{"node": "nowhere"}]),
    ("nodes.0.args", [{"node": "mul"}]),
    ("nodes.0.args", [{"state": "missing"}]),
    ("nodes.0.args", [{"import": "os"}]),
    ("nodes.0.args", [{"device": "cpu); import os; ("}]),
    ("nodes.0.args", [{"dtype": "__class__"}]),
    ("nodes.0.args", [{"named": "a b", "fields": [["x", 1]]}]),
    ("output", {"named": "Point", "fields": [[f"x{k}", 1] for k in range(1001)]}),
    ("nodes.0.args", [10**30]),
    ("nodes.0.args", "abc"),
    ("nodes.0.args", [{"training": '"]; import os'}]),
    ("nodes.0.kwargs", {"alpha=print()": 1}),
    ("nodes.0.name", "x); print("),
    ("nodes.0", "abc"),
    ("nodes", {"a": 1}),
    ("signature.0.name", "x=print()"),
    ("signature.0.name", "lambda"),
    ("signature.0.default", {"device": "cpu"}),
    ("inputs.0.parameter", "other"),
    ("inputs.0.keys", [{"a": 1}]),
    ("inputs.0.keys", "ab"),
    ("constants", [{"parameter": "x", "keys": [], "value": {"tuple": 3}}]),
    ("containers", [{"parameter": "x", "keys": [], "length": "3"}]),
    ("state.0.name", 'a"]; import os; ["'),
    ("state.0.name", "__class__"),
    ("state.0.name", "forward"),
    ("state.0.tensor", "nowhere"),
    ("state.0.kind", "file"),
    ("output", {"node": "nowhere"}),
    ("aliases", 3),
    ("shapes", None),
    ("modules", {"a": 1}),
    ("modules", ['a"b']),
    ("modules", ["forward"]),
    ("training", {"model": "yes", "others": []}),
    ("training", {"model": True, "others": 3}),
]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sin() * self.gain


@cache
def stored_small() -> StoredGraph:
    return encode(Small(), Batch((torch.ones(4, 3),), {}))


@pytest.mark.parametrize(("place", "value"), HOSTILE)
def test_a_damaged_document_is_refused(place: str, value: Any) -> None:
    stored = through_json(stored_small())
    assert decode(stored).forward(torch.zeros(2, 3)).shape == (2, 3)
    *keys, last = (int(key) if key.isdigit() else key for key in place.split("."))
    parent: Any = stored.document
    for key in keys:
        parent = parent[key]
    parent[last] = value
    with pytest.raises(ArtifactError):
        decode(stored)


def test_deep_values_are_refused() -> None:
    stored = through_json(stored_case("sizes"))
    value: Any = 1
    for _ in range(200):
        value = [value]
    stored.document["nodes"][0]["args"] = [value]
    with pytest.raises(ArtifactError, match="nested"):
        decode(stored)


def test_names_that_stand_for_millions_of_modules_are_refused() -> None:
    stored = encode(nn.Linear(2, 2), Batch((torch.randn(3, 2),), {}))
    deep = [f"{k}." + ".".join(["m"] * 300) for k in range(1000)]
    document = {**stored.document, "modules": deep}
    with pytest.raises(ArtifactError, match="more than 200000 modules"):
        decode(StoredGraph(document, stored.tensors))
