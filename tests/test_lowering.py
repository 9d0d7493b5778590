"""Lowered blocks against the equations themselves, evaluated by numpy in float64."""

import copy
import io
import operator
import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import sympy
import torch
import torch.nn.functional as F
from torch import fx, nn

from symcompile.errors import LoweringError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.lowering.block import lower, read_constants, trainable, without_guards
from symcompile.lowering.torch_rules import STEEP
from symcompile.modules.region import (
    Interface,
    LowRankMap,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
)
from symcompile.target import Target

OPERATORS = OperatorSet.of(["+", "*", "sin", "exp"])
X0, X1, X2, X3, X4, X5 = sympy.symbols("x0:6")


def region_of(n_inputs: int = 3, n_outputs: int = 2, **options) -> Region:
    interface = options.pop(
        "interface",
        Interface((Parameter("x"),), (TensorInput("x", (), n_inputs),), (TensorOutput(n_outputs),)),
    )
    names = tuple(f"x{k}" for k in range(interface.n_inputs))
    return Region(
        "blocks.0", options.pop("target", Target("blocks.0")), interface, names, **options
    )


def equations_of(region: Region, *exprs) -> dict[int, Equation]:
    return {
        k: Equation.of(sympy.sympify(e), region.variables, OPERATORS) for k, e in enumerate(exprs)
    }


def expected(region: Region, equations: dict[int, Equation], X: np.ndarray) -> np.ndarray:
    V = region.variable_values(X)
    Y = np.stack([equations[k].predict(V) for k in sorted(equations)], axis=-1)
    return Y if region.projection_out is None else region.projection_out.reconstruct(Y)


def samples(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def functions(module: fx.GraphModule) -> Counter:
    return Counter(n.target for n in module.graph.nodes if n.op == "call_function")


WAVY = 1.5 * sympy.sin(2.25 * X0 + 0.1) * X1 + X2 / 3
BUMP = 0.7 * sympy.exp(-(X0**2)) - 0.2


@pytest.fixture
def wavy():
    region = region_of()
    equations = equations_of(region, WAVY, BUMP)
    return region, equations, lower(region, equations, dtype=torch.float64)


# Shapes and signatures


@pytest.mark.parametrize("shape", [(3,), (5, 3), (4, 7, 3), (2, 1, 6, 3), (0, 3), (4, 0, 3)])
def test_activations_of_any_rank(wavy, shape):
    region, equations, lowered = wavy
    x = samples(*shape)
    y = lowered.module(x)
    assert y.shape == (*shape[:-1], 2)
    wanted = expected(region, equations, x.reshape(-1, 3).numpy()).reshape(*shape[:-1], 2)
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-13, atol=1e-15)


def test_several_inputs_of_broadcastable_shapes():
    interface = Interface(
        (Parameter("x"), Parameter("*rest"), Parameter("**named")),
        (
            TensorInput("x", (), 2),
            TensorInput("*rest", (0, "t"), 1, scalar=True),
            TensorInput("**named", ("v",), 2),
        ),
        (TensorOutput(3),),
    )
    region = region_of(interface=interface)
    equations = equations_of(region, X0 * 1.5 + X2 * X4, X1 * 2.5, 0.25)
    module = lower(region, equations, dtype=torch.float64).module
    x, t, v = samples(5, 1, 2), samples(4, seed=1), samples(4, 2, seed=2)
    y = module(x, {"t": t}, v=v)
    assert y.shape == (5, 4, 3)
    wanted = torch.stack(
        [
            x[..., 0] * 1.5 + t * v[..., 1],
            (x[..., 1] * 2.5).expand(5, 4),
            torch.full((5, 4), 0.25, dtype=torch.float64),
        ],
        dim=-1,
    )
    torch.testing.assert_close(y, wanted, rtol=1e-14, atol=0)


def test_signature_and_defaults_of_the_neural_block():
    interface = Interface(
        (Parameter("x"), Parameter("scale", True, 2.0), Parameter("mask", True, None)),
        (TensorInput("x", (), 1),),
        (TensorOutput(1, scalar=True),),
    )
    region = region_of(interface=interface)
    module = lower(region, equations_of(region, 2.5 * X0), dtype=torch.float32).module
    x = samples(4, 1, dtype=torch.float32)
    for y in (module(x), module(x, 3.0), module(x=x, mask=None)):
        torch.testing.assert_close(y, 2.5 * x[:, 0])
    assert "scale = 2.0" in module.code


@pytest.mark.parametrize(
    "structure", [(0, 1), [1, 0], {"u": 0, "v": (1, {"w": 0})}], ids=["tuple", "list", "dict"]
)
def test_output_structures(structure):
    interface = Interface(
        (Parameter("x"),),
        (TensorInput("x", (), 2),),
        (TensorOutput(2), TensorOutput(1, scalar=True)),
        structure,
    )
    region = region_of(interface=interface)
    module = lower(region, equations_of(region, X0 + 0.5, X1**2, X0 * X1), dtype=torch.float64)
    x = samples(6, 2)
    tensors = [torch.stack([x[:, 0] + 0.5, x[:, 1] ** 2], -1), x[:, 0] * x[:, 1]]

    def check(found, wanted):
        if isinstance(wanted, int):
            torch.testing.assert_close(found, tensors[wanted])
            return
        assert type(found) is type(wanted)
        keys = wanted if isinstance(wanted, dict) else range(len(wanted))
        for key in keys:
            check(found[key], wanted[key])

    check(module.module(x), structure)


@pytest.mark.parametrize("constant", [2.5, 2, sympy.pi], ids=["fitted", "exact", "pi"])
@pytest.mark.parametrize("scalar", [True, False])
def test_constant_equations_broadcast(constant, scalar):
    interface = Interface(
        (Parameter("x"),), (TensorInput("x", (), 3),), (TensorOutput(1, scalar=scalar),)
    )
    region = region_of(interface=interface)
    module = lower(region, equations_of(region, constant), dtype=torch.float32).module
    y = module(samples(4, 7, 3, dtype=torch.float32))
    assert y.shape == ((4, 7) if scalar else (4, 7, 1))
    assert y.dtype == torch.float32
    assert (y == torch.tensor(float(constant))).all()
    y.add_(1.0)
    again = module(samples(1, 3, dtype=torch.float32))
    assert float(again) == pytest.approx(float(constant)), "the constant is not aliased"


# Features, projections, partly neural blocks


def test_features_compose_into_the_graph():
    target = Target("blocks.0", features={"dx": "x0 - x2", "r": "sqrt(dx**2 + 0.01)"})
    region = region_of(target=target)
    dx, r = sympy.symbols("dx r")
    equations = equations_of(region, 1.5 * r + dx, sympy.exp(-0.5 * r))
    module = lower(region, equations, dtype=torch.float64).module
    x = samples(9, 3)
    np.testing.assert_allclose(
        module(x).numpy(), expected(region, equations, x.numpy()), rtol=1e-14
    )
    assert functions(module)[torch.sqrt] == 1, "the feature is computed once"


def orthonormal(rows: int, columns: int, seed: int) -> Projection:
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(columns, rows)))
    return Projection(rng.normal(size=columns), q.T)


@pytest.mark.parametrize("inputs", ["one", "two"])
def test_projections(inputs):
    options = {}
    if inputs == "two":
        options["interface"] = Interface(
            (Parameter("x"), Parameter("t")),
            (TensorInput("x", (), 5), TensorInput("t", (), 1, scalar=True)),
            (TensorOutput(3), TensorOutput(1, scalar=True)),
            (0, 1),
        )
    region = region_of(
        6, 4, projection_in=orthonormal(2, 6, 0), projection_out=orthonormal(2, 4, 1), **options
    )
    z0, z1 = sympy.symbols("z0 z1")
    equations = equations_of(region, sympy.sin(1.5 * z0) + z1, 0.75)
    lowered = lower(region, equations, dtype=torch.float64)
    x = samples(8, 6)
    wanted = expected(region, equations, x.numpy())
    if inputs == "one":
        np.testing.assert_allclose(lowered.module(x).detach().numpy(), wanted, rtol=1e-12)
    else:
        first, second = (one.detach().numpy() for one in lowered.module(x[:, :5], x[:, 5]))
        np.testing.assert_allclose(first, wanted[:, :3], rtol=1e-12)
        np.testing.assert_allclose(second, wanted[:, 3], rtol=1e-12)
    assert [p.numel() for p in trainable(lowered.module, True)] == [1, 1]


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 3)

    def forward(self, x, *, flip=False):
        y = self.body(x)
        return {"u": y[..., :2], "v": -y[..., 2] if flip else y[..., 2]}


def test_outputs_without_equation_stay_neural():
    interface = Interface(
        (Parameter("x"), Parameter("flip", True, False)),
        (TensorInput("x", (), 3),),
        (TensorOutput(2), TensorOutput(1, scalar=True)),
        {"u": 0, "v": 1},
    )
    region = region_of(interface=interface)
    neural = TwoHeads()
    equations = {1: Equation.of(X0 * 2.5, region.variables, OPERATORS)}
    module = lower(region, equations, dtype=torch.float32, neural=neural).module
    x = samples(4, 5, 3, dtype=torch.float32)
    y, wanted = module(x, flip=True), neural(x, flip=True)
    torch.testing.assert_close(y["u"][..., 0], wanted["u"][..., 0])
    torch.testing.assert_close(y["u"][..., 1], 2.5 * x[..., 0])
    torch.testing.assert_close(y["v"], wanted["v"])
    assert module.get_submodule("neural") is neural
    assert {"neural.body.weight", "y1_c0"} <= set(module.state_dict())


def test_coordinates_without_equation_stay_neural():
    projection = orthonormal(2, 4, 3)
    region = region_of(3, 4, projection_out=projection)
    neural = nn.Linear(3, 4).double()
    equations = {0: Equation.of(X0 * 2.5, region.variables, OPERATORS)}
    module = lower(region, equations, dtype=torch.float64, neural=neural).module
    x = samples(6, 3)
    z = projection.project(neural(x).detach().numpy())
    z[:, 0] = 2.5 * x[:, 0].numpy()
    np.testing.assert_allclose(
        module(x).detach().numpy(), projection.reconstruct(z), rtol=1e-12, atol=1e-14
    )


def test_a_complete_block_drops_the_neural_one():
    region = region_of(3, 1)
    neural = nn.Linear(3, 1)
    module = lower(region, equations_of(region, X0), dtype=torch.float32, neural=neural).module
    assert not list(module.children())
    assert not list(module.parameters())


@pytest.mark.parametrize(
    ("equations", "message"),
    [
        ({0: X0}, r"no equation for outputs \[1\].*neural="),
        ({0: X0, 1: X1, 2: X2}, "equation 2: the region has equations 0 to 1"),
        ({0: X0, 1: sympy.gamma(X1)}, "equation 1: gamma"),
    ],
)
def test_refusals_name_region_and_equation(equations, message):
    region = region_of()
    given = {k: Equation(e, region.variables, (), 1) for k, e in equations.items()}
    with pytest.raises(LoweringError, match=f"'blocks.0'.*{message}"):
        lower(region, given, dtype=torch.float32)


def test_an_equation_over_other_variables_is_refused():
    region = region_of(2, 1)
    stranger = Equation.of(sympy.Symbol("u") * 2.0, ("u",), OPERATORS)
    with pytest.raises(LoweringError, match="over u: the region's variables are x0, x1"):
        lower(region, {0: stranger}, dtype=torch.float32)


# Copies and transformations


def dense() -> tuple[Region, dict[int, Equation]]:
    """Affine sums, products, a shared factor, exact numbers, a constant that is used twice."""
    region = region_of(6, 3)
    c = [sympy.Symbol(f"c[{k}]") for k in range(3)]
    tied = Equation(c[0] * X0 + sympy.sin(c[0] * X1) + c[1], region.variables, (0.3, 1.7), 1)
    equations = equations_of(
        region,
        1.1 * X0 - 2.2 * X1 + 2 * X2 + 0.7 * X3 - X4 / 3 + 0.1 - X5 + sympy.sin(0.3 * X0),
        X0 * X1 * sympy.exp(-(0.2 * X0 + 1.3 * X2 - 0.4 * X3 + 0.9 * X4)),
    )
    return region, {**equations, 2: tied}


def reloaded(module):
    stream = io.BytesIO()
    torch.save(module, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "torch.save": reloaded,
    "fx": fx.symbolic_trace,
    "compile eager": lambda m: torch.compile(m, backend="eager", fullgraph=True),
    "compile aot": lambda m: torch.compile(m, backend="aot_eager", fullgraph=True),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("parameters", [False, True], ids=["buffers", "parameters"])
def test_copies_compute_the_same(how, parameters):
    region, equations = dense()
    lowered = lower(region, equations, dtype=torch.float64)
    trainable(lowered.module, parameters)
    other = COPIES[how](lowered.module)
    x = samples(8, 6).requires_grad_()
    y, z = lowered.module(x), other(x)
    torch.testing.assert_close(z, y, rtol=1e-12, atol=1e-13)
    (first,), (second,) = (torch.autograd.grad(v.sin().sum(), x, retain_graph=True) for v in (y, z))
    torch.testing.assert_close(second, first, rtol=1e-12, atol=1e-13)
    assert any(p.requires_grad for p in other.parameters()) == parameters
    torch._dynamo.reset()


@pytest.mark.parametrize("block", ["native", "half", "tied shapes"])
def test_export_with_a_dynamic_batch(block):
    dtype = torch.float16 if block == "half" else torch.float32
    region, equations = dense()
    module = lower(region, equations, dtype=dtype).module
    batch = torch.export.Dim("batch", min=1)
    shapes = ({0: batch, 1: torch.export.Dim.AUTO} if block == "tied shapes" else {0: batch},)
    shape = (5, 3, 6) if block == "tied shapes" else (5, 6)
    program = torch.export.export(
        module, (samples(*shape).to(dtype),), dynamic_shapes=shapes, strict=False
    )
    x = samples(11, *shape[1:], seed=1).to(dtype)
    torch.testing.assert_close(program.module()(x), module(x))
    program.run_decompositions({})


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False)])
def test_state_dicts_load_strictly_in_both_modes(first, second):
    region, equations = dense()
    source = lower(region, equations, dtype=torch.float64)
    trainable(source.module, first)
    other = lower(
        region, {k: e.with_constants([0.5] * len(e.constants)) for k, e in equations.items()},
        dtype=torch.float64,
    )  # fmt: skip
    trainable(other.module, second)
    other.module.load_state_dict(source.module.state_dict(), strict=True)
    x = samples(4, 6)
    assert torch.equal(source.module(x), other.module(x))


def test_to_double_keeps_meaning():
    region, equations = dense()
    module = lower(region, equations, dtype=torch.float32).module
    x = samples(8, 6)
    np.testing.assert_allclose(
        module.to(torch.float64)(x).numpy(),
        expected(region, equations, x.numpy()),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_regions_compute_in_single_precision(dtype):
    region = region_of(1, 1)
    # In half precision 1000.3*x - 1000*x loses every digit.
    equations = equations_of(region, 1000.3 * X0 - 1000 * X0 * sympy.cos(1e-4 * X0))
    lowered = lower(region, equations, dtype=dtype)
    assert lowered.module.y0_c0.dtype == torch.float32
    x = torch.linspace(0.5, 2, 9).unsqueeze(-1).to(dtype)
    y = lowered.module(x)
    assert y.dtype == dtype
    wanted = expected(region, equations, x.double().numpy())
    eps = torch.finfo(dtype).eps
    np.testing.assert_allclose(y.double().numpy(), wanted, rtol=max(eps, 1e-3))


@pytest.mark.parametrize("lowered_as", [torch.float16, torch.float32])
def test_half_of_a_module(lowered_as):
    region, equations = dense()
    module = lower(region, equations, dtype=lowered_as).module.half()
    x = samples(8, 6).half()
    y = module(x)
    assert y.dtype == torch.float16
    wanted = expected(region, equations, x.double().numpy())
    np.testing.assert_allclose(y.double().numpy(), wanted, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("lowered_as", [torch.bfloat16, torch.float32])
def test_autocast(lowered_as):
    region, equations = dense()
    lowered = lower(region, equations, dtype=lowered_as)
    trainable(lowered.module, True)
    x = samples(8, 6).to(lowered_as)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = lowered.module(x)
    wanted = expected(region, equations, x.double().numpy())
    np.testing.assert_allclose(y.detach().double().numpy(), wanted, rtol=5e-2, atol=5e-2)
    y.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in lowered.module.parameters())


# Constants


def test_constants_come_back_exactly():
    region, equations = dense()
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        lowered = lower(region, equations, dtype=dtype)
        assert read_constants(lowered) == {k: e.constants for k, e in equations.items()}
        copied = replace(lowered, module=copy.deepcopy(lowered.module))
        assert read_constants(copied) == read_constants(lowered)
        lowered.module.half()
        assert read_constants(lowered) == {k: e.constants for k, e in equations.items()}


def test_each_constant_is_read_where_it_is_used():
    region, equations = dense()
    lowered = lower(region, equations, dtype=torch.float64)
    constants = {k: list(e.constants) for k, e in equations.items()}
    for (equation, slot), place in lowered.places.items():
        with torch.no_grad():
            lowered.module.get_buffer(place.tensor).view(-1)[place.position] += 0.125
        constants[equation][slot] += 0.125
        now = read_constants(lowered)
        assert now == {k: tuple(v) for k, v in constants.items()}
        changed = {k: e.with_constants(now[k]) for k, e in equations.items()}
        x = samples(5, 6, seed=slot)
        np.testing.assert_allclose(
            lowered.module(x).numpy(), expected(region, changed, x.numpy()), rtol=1e-12, atol=1e-13
        )
    assert set(lowered.places) == {
        (k, s) for k, e in equations.items() for s in range(len(e.constants))
    }


def test_training_moves_constants_and_only_those():
    region, equations = dense()
    lowered = lower(region, equations, dtype=torch.float64)
    module = lowered.module
    before = copy.deepcopy(module.state_dict())
    parameters = trainable(module, True)
    names = {name for name, _ in module.named_parameters()}
    assert names == {place.tensor for place in lowered.places.values()}
    optimizer = torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.1)
    x = samples(64, 6)
    goal = torch.cos(x[:, :3])
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.mse_loss(module(x), goal)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in names), name
    used = Counter(place.tensor for place in lowered.places.values())
    for name in names:
        moved = (module.get_parameter(name) != before[name]).sum()
        assert moved == used[name], "absent coefficients stay absent"
    trained = {k: e.with_constants(read_constants(lowered)[k]) for k, e in equations.items()}
    np.testing.assert_allclose(
        module(x).detach().numpy(), expected(region, trained, x.numpy()), rtol=1e-12, atol=1e-13
    )
    assert trainable(module, False) == []
    assert not list(module.parameters())
    assert not module(x).requires_grad


def test_exact_numbers_are_not_constants():
    region = region_of(2, 1)
    equation = equations_of(region, 2 * X0 + sympy.pi * X1**3 / 3 + 4)
    lowered = lower(region, equation, dtype=torch.float32)
    assert trainable(lowered.module, True) == []
    assert lowered.module.state_dict() == {}


def test_gradients_of_constants_agree_with_finite_differences():
    region, equations = dense()
    lowered = lower(region, equations, dtype=torch.float64)
    trainable(lowered.module, True)
    x = samples(16, 6)
    torch.sin(lowered.module(x)).sum().backward()
    for (number, slot), place in lowered.places.items():
        values = list(equations[number].constants)
        sums = []
        for step in (1e-6, -1e-6):
            shifted = [v + step * (k == slot) for k, v in enumerate(values)]
            changed = {**equations, number: equations[number].with_constants(shifted)}
            sums.append(np.sin(expected(region, changed, x.numpy())).sum())
        gradient = lowered.module.get_parameter(place.tensor).grad.reshape(-1)[place.position]
        assert float(gradient) == pytest.approx((sums[0] - sums[1]) / 2e-6, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize(
    "expr",
    [
        sympy.sqrt(2.5 * X0),
        (2.5 * X0) ** sympy.Rational(1, 3),
        (2.5 * X0) ** 0.4,
        (2.5 * X0) ** 1.5,
        sympy.asin(1.0 - 2.5 * X0 * X1),
        sympy.Abs(2.5 * X0),
        sympy.Piecewise((sympy.log(2.5 * X0), X0 > 0), (1.5 * X0, True)),
        sympy.Piecewise((sympy.sin(2.5 * X0) / X0, X0 > 0), (2.5, True)),
        sympy.sqrt((X0 - 1.5 * X0) ** 2 + (0.5 * X1) ** 2),
    ],
    ids=str,
)
def test_constants_get_finite_gradients_at_edges_of_domains(expr):
    """One sample at an edge would make the gradient of every constant NaN."""
    region = region_of(2, 1)
    lowered = lower(region, equations_of(region, expr), dtype=torch.float64)
    parameters = trainable(lowered.module, True)
    x = torch.tensor([[0.0, 0.0], [0.5, 0.25]], dtype=torch.float64, requires_grad=True)
    y = lowered.module(x)
    assert torch.isfinite(y).all()
    y.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in parameters)
    assert torch.isfinite(x.grad).all()
    alone = lower(region, equations_of(region, expr), dtype=torch.float64)
    trainable(alone.module, True)
    alone.module(x.detach()[1:]).sum().backward()
    edge = lower(region, equations_of(region, expr), dtype=torch.float64)
    trainable(edge.module, True)
    edge.module(x.detach()[:1]).sum().backward()
    for p, q, r in zip(
        parameters, alone.module.parameters(), edge.module.parameters(), strict=True
    ):
        assert float(r.grad) < STEEP / 1e6, "no infinite slope where the derivative is finite"
        torch.testing.assert_close(p.grad, q.grad + r.grad, rtol=1e-12, atol=0)


# The code itself


def test_graph_is_flat_and_nodes_know_their_equation():
    region, equations = dense()
    module = lower(region, equations, dtype=torch.float32).module
    kinds = {n.op for n in module.graph.nodes}
    assert kinds == {"placeholder", "get_attr", "call_function", "output"}
    assert not list(module.children())
    for node in copy.deepcopy(module).graph.nodes:
        if node.op in ("call_function", "get_attr"):
            origin = node.meta["symcompile"]
            assert (origin["region"], origin["pass"]) == ("blocks.0", "rewrite")
    sines = [n for n in module.graph.nodes if n.target is torch.sin]
    assert sorted(n.meta["symcompile"]["output"] for n in sines) == [0, 2]
    assert {n.meta["symcompile"]["equation"] for n in sines} == {
        equations[0].text(6),
        equations[2].text(6),
    }


def test_common_subexpressions_are_computed_once():
    region = region_of(3, 3)
    shared = sympy.sin(X0 * X1) * sympy.exp(X2**2)
    equations = equations_of(region, 1.5 * shared, shared + 0.5, 2.5 * shared * X0)
    found = functions(lower(region, equations, dtype=torch.float64).module)
    assert found[torch.sin] == found[torch.exp] == 1
    # x0*x1, x2*x2, sin*exp, and the three products with constants and x0.
    assert found[operator.mul] == 6
    assert found[operator.getitem] == 3


def test_common_factors_of_different_products_are_computed_once():
    region = region_of(4, 3)
    exprs = [1.5 * X0 * X1 * f(X2) for f in (sympy.sin, sympy.cos, sympy.tanh)]
    equations = equations_of(region, *exprs)
    lowered = lower(region, equations, dtype=torch.float64)
    # x0*x1 once; then a product with the function and one with the constant for each.
    assert functions(lowered.module)[operator.mul] == 7
    x = samples(5, 4)
    np.testing.assert_allclose(
        lowered.module(x).numpy(), expected(region, equations, x.numpy()), rtol=1e-14
    )


@pytest.mark.parametrize(("exponent", "products"), [(2, 1), (4, 2), (5, 3), (16, 4), (7, 4)])
def test_powers_are_products(exponent, products):
    region = region_of(1, 1)
    module = lower(region, equations_of(region, X0**exponent), dtype=torch.float64).module
    found = functions(module)
    assert found[operator.mul] == products
    assert found[torch.pow] == 0


def test_affine_sums_become_one_matrix_product():
    region = region_of(6, 4)
    rng = np.random.default_rng(0)
    columns = (X0, X1, X2, X3, X4, X5)
    sums = [sum((float(w) * s for w, s in zip(rng.normal(size=6), columns)), 0.5) for _ in range(4)]  # noqa: B905
    equations = equations_of(
        region, sums[0], sympy.sin(sums[1]) * X0, sympy.exp(-sums[2]) + sums[3], X0 * 1.5 + X1
    )
    module = lower(region, equations, dtype=torch.float64).module
    found = functions(module)
    assert found[F.linear] == 1
    assert module.affine0_weight.shape == (5, 6)
    x = samples(32, 6)
    np.testing.assert_allclose(
        module(x).numpy(), expected(region, equations, x.numpy()), rtol=1e-12, atol=1e-13
    )


def test_few_affine_terms_stay_elementwise():
    region = region_of(3, 1)
    module = lower(region, equations_of(region, 1.5 * X0 + 2.5 * X1), dtype=torch.float64).module
    assert functions(module)[F.linear] == 0
    assert set(module.state_dict()) == {"y0_c0", "y0_c1"}


def test_gathering_over_inputs_of_different_shapes():
    interface = Interface(
        (Parameter("a"), Parameter("b")),
        (TensorInput("a", (), 6), TensorInput("b", (), 6)),
        (TensorOutput(2),),
    )
    region = region_of(interface=interface)
    symbols = sympy.symbols("x0:12")
    rng = np.random.default_rng(0)
    exprs = [
        sympy.Add(0.25, *(float(w) * s for w, s in zip(rng.normal(size=12), symbols, strict=True)))
        for _ in range(2)
    ]
    equations = equations_of(region, exprs[0], sympy.tanh(exprs[1]))
    module = lower(region, equations, dtype=torch.float64).module
    assert functions(module)[F.linear] == 2
    a, b = samples(5, 1, 6), samples(3, 6, seed=1)
    wide = torch.cat(torch.broadcast_tensors(a, b), dim=-1)
    wanted = expected(region, equations, wide.reshape(-1, 12).numpy()).reshape(5, 3, 2)
    np.testing.assert_allclose(module(a, b).numpy(), wanted, rtol=1e-12, atol=1e-13)


def test_without_guards_keeps_names_and_values():
    region = region_of(2, 1)
    module = lower(
        region, equations_of(region, sympy.sqrt(2.5 * X0 + X1)), dtype=torch.float32
    ).module
    plain = without_guards(module)
    assert functions(module)[torch.where] == 2
    assert functions(plain)[torch.where] == functions(plain)[operator.eq] == 0
    plain.load_state_dict(module.state_dict(), strict=True)
    x = samples(9, 2, dtype=torch.float32).abs()
    assert torch.equal(plain(x), module(x))


def test_undefined_numbers_show_and_do_not_break_the_compiler():
    region = region_of(1, 2)
    zero = sympy.Add(sympy.Integer(1), sympy.Integer(-1), evaluate=False)
    log = sympy.log(zero, evaluate=False)
    exprs = (sympy.Mul(X0, log, evaluate=False), sympy.Add(X0, log, evaluate=False))
    given = {k: Equation(e, region.variables, (), 1) for k, e in enumerate(exprs)}
    y = lower(region, given, dtype=torch.float64).module(torch.ones(2, 1, dtype=torch.float64))
    assert (y == -torch.inf).all()


RANDOM_DEPTH = 4


def random_expression(rng: np.random.Generator, depth: int) -> sympy.Expr:
    if depth == 0:
        leaves = [X0, X1, X2, X3, sympy.Float(rng.normal()), sympy.Rational(rng.integers(1, 6), 3)]
        return leaves[rng.integers(len(leaves))]
    a, b = (random_expression(rng, depth - 1) for _ in range(2))
    rules = [
        lambda: a + b,
        lambda: a - b,
        lambda: a * b,
        lambda: a / (b**2 + 1),
        lambda: a ** int(rng.integers(2, 6)),
        lambda: sympy.Max(a, b),
        lambda: sympy.sin(a) + b,
        lambda: sympy.exp(-(a**2)) * b,
        lambda: sympy.sqrt(a**2 + 1),
        lambda: sympy.Piecewise((a, X0 < X1), (b, True)),
    ]
    return rules[rng.integers(len(rules))]()


@pytest.mark.parametrize("seed", range(12))
def test_random_expressions(seed):
    rng = np.random.default_rng(seed)
    region = region_of(4, 3)
    equations = equations_of(region, *(random_expression(rng, RANDOM_DEPTH) for _ in range(3)))
    lowered = lower(region, equations, dtype=torch.float64)
    x = samples(16, 4, seed=seed)
    wanted = expected(region, equations, x.numpy())
    scale = 1e-11 * abs(wanted).max()
    np.testing.assert_allclose(lowered.module(x).numpy(), wanted, rtol=1e-10, atol=scale)
    assert read_constants(lowered) == {k: e.constants for k, e in equations.items()}
    assert set(lowered.places) == {
        (k, s) for k, e in equations.items() for s in range(len(e.constants))
    }


def test_second_derivatives_and_function_transforms():
    """Physics losses differentiate the hybrid twice."""
    region, equations = dense()
    lowered = lower(region, equations, dtype=torch.float64)
    parameters = trainable(lowered.module, True)
    x = samples(4, 6).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda v: lowered.module(v), (x,))
    by_row = torch.func.vmap(torch.func.jacrev(lowered.module))(x)
    y = lowered.module(x)
    rows = [torch.autograd.grad(y[:, k].sum(), x, create_graph=True)[0] for k in range(3)]
    torch.testing.assert_close(by_row, torch.stack(rows, dim=1))
    rows[1].square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in parameters)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)


def test_slots_are_numbered_alike_in_every_process():
    """sympy walks the arguments of Max in the order of their hashes, which differ by process."""
    expr = sympy.Max(*(sympy.Float(0.5 + k) * s for k, s in enumerate(sympy.symbols("x0:9"))))
    equation = Equation.of(expr, [f"x{k}" for k in range(9)], OPERATORS)
    in_order = [float(n) for one in expr.args for n in one.atoms(sympy.Float)]
    assert list(equation.constants) == in_order


def test_outputs_stay_neural_only_without_an_affine_map() -> None:
    rng = np.random.default_rng(0)
    whole = LowRankMap(rng.normal(size=(2, 3)), rng.normal(size=(2, 2)), rng.normal(size=2))
    region = region_of(3, 2, affine=whole)
    given = equations_of(region, sympy.Symbol("x0") ** 2, sympy.Integer(1))
    block = lower(region, given, dtype=torch.float64).module
    x = samples(7, 3)
    expected_values = whole.predict(x.numpy()) + np.stack([x[:, 0].numpy() ** 2, np.ones(7)], 1)
    np.testing.assert_allclose(block(x).detach().numpy(), expected_values, rtol=1e-12)
    with pytest.raises(LoweringError, match="can't stay neural beside an affine map"):
        lower(region, {0: given[0]}, dtype=torch.float64, neural=nn.Linear(3, 2))
