"""Sums of products of coordinates beside an affine map, from samples to a model that ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from symcompile import PCA, Compiled, Products, ReducedRank, Target, diff, load, record, symcompile
from symcompile.errors import TargetError
from symcompile.fidelity.outcome import Refusal, Rewrite
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.reduction.linear import Metric, Regression
from symcompile.reduction.neurons import Units, units_of
from symcompile.reduction.products import ProductsFit

D = 10


class Mlp(nn.Module):
    """Gated, as language models have it."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.gate = nn.Linear(D, hidden, bias=False)
        self.up = nn.Linear(D, hidden)
        self.down = nn.Linear(hidden, D, bias=False)

    def forward(self, x):
        return self.down(nn.functional.silu(3.0 * self.gate(x)) * self.up(x))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp, self.head = Mlp(), nn.Linear(D, 4)

    def forward(self, x):
        return self.head(x + self.mlp(x))


def model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


def data(n: int = 1500) -> torch.Tensor:
    return torch.randn((n, 2, D), generator=torch.Generator().manual_seed(1))


def region() -> Region:
    face = Interface((Parameter("x"),), (TensorInput("x", (), D),), (TensorOutput(D),))
    return Region("mlp", Target("mlp"), face, tuple(f"x{k}" for k in range(D)))


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    target = Target("mlp", reduce=Products(6, steps=150), affine=4)
    return symcompile(model(), target, data(), n_samples=3000, progress=False)


# --- the fit -----------------------------------------------------------------------------------


def quadratic(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Two products of coordinates, and a linear map of rank one."""
    random = np.random.default_rng(0)
    X = random.normal(size=(n, 5))
    a, b, c, d = (X @ random.normal(size=(5, 4)) / np.sqrt(5)).T
    Y = np.outer(a * b, [1.0, 2.0, 0.0]) + np.outer(c * d, [0.0, 1.0, -1.0])
    return X, Y + np.outer(X[:, 0], [1.0, 0.0, 1.0]) + 0.5


def test_products_that_there_are_are_found() -> None:
    X, Y = quadratic()
    fit = ProductsFit(X, Y, Products(4, steps=900), 1, (), Metric.of(None, 3))
    found = fit.run()
    z = found.coordinates.project(X)
    assert found.affine is not None
    again = found.directions.reconstruct(z[:, :4] * z[:, 4:]) + found.affine.predict(X)
    linear = Regression(X, Y, Metric.of(None, 3)).of_rank(3).predict(X)
    errors = [float(np.square(Y - one).mean()) for one in (again, linear)]
    assert errors[0] < 0.02 * errors[1]


def test_it_is_never_worse_than_the_linear_map_in_it() -> None:
    """Of noise there is nothing to learn: what was fitted last is thrown away."""
    random = np.random.default_rng(0)
    X, noise = random.normal(size=(300, 5)), random.normal(size=(300, 3))
    Y = X @ random.normal(size=(5, 3)) + noise
    found = ProductsFit(X, Y, Products(3, steps=200), 3, (), Metric.of(None, 3)).run()
    fresh = random.normal(size=(4000, 5))
    z = found.coordinates.project(fresh)
    assert found.affine is not None
    again = found.directions.reconstruct(z[:, :3] * z[:, 3:]) + found.affine.predict(fresh)
    linear = Regression(X, Y, Metric.of(None, 3)).of_rank(3).predict(fresh)
    size = float(np.square(linear).mean())
    assert float(np.square(again - linear).mean()) < 0.1 * size


@pytest.mark.parametrize(("outputs", "size"), [(32, 1.0), (32, 20.0), (200, 5.0)])
def test_steps_suit_any_width_and_scale(outputs: int, size: float) -> None:
    """A good start, of the block's own units, is not trained away but made better."""
    random = np.random.default_rng(0)
    X = random.normal(size=(5000, 32))
    gate, value = (size * random.normal(size=(64, 32)) / np.sqrt(32) for _ in range(2))
    Y = (X @ value.T) * (X @ gate.T) / (1.0 + np.exp(-(X @ gate.T)))
    Y = Y @ random.normal(size=(64, outputs))
    units = [Units(weight, np.zeros(64)) for weight in (gate, value)]

    def error(steps: int) -> float:
        metric = Metric.of(None, outputs)
        fit = ProductsFit(X[:2500], Y[:2500], Products(32, steps=steps), 16, units, metric)
        found = fit.run()
        z = found.coordinates.project(X[2500:])
        assert found.affine is not None
        again = found.directions.reconstruct(z[:, :32] * z[:, 32:]) + found.affine.predict(X[2500:])
        return float(np.square(Y[2500:] - again).mean())

    assert error(100) < 0.98 * error(1)


def test_same_seed_same_fit() -> None:
    X, Y = quadratic(400)
    fits = [
        ProductsFit(X, Y, Products(2, steps=60), 1, (), Metric.of(None, 3), seed)
        for seed in (0, 0, 1)
    ]
    one, same, other = (fit.run().coordinates.components for fit in fits)
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_units_are_those_of_layers_that_read_the_inputs() -> None:
    mlp = Mlp().eval()
    gate, up = units_of(region(), mlp, np.random.default_rng(0).normal(size=(20, D)))
    np.testing.assert_array_equal(gate.weight, mlp.gate.weight.detach().double())
    np.testing.assert_array_equal(up.bias, mlp.up.bias.detach().double())
    assert not gate.bias.any()

    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(D, D)

        def forward(self, x):
            return self.layer(torch.tanh(x))

    assert units_of(region(), Other().eval(), np.ones((20, D))) == []


@pytest.mark.parametrize("gate", [None, "sigmoid", "silu"])
def test_the_units_of_a_block_are_a_good_start(gate) -> None:
    mlp = Mlp(6).eval()
    X = np.random.default_rng(0).normal(size=(2000, D))
    with torch.no_grad():
        Y = mlp(torch.from_numpy(X).float()).double().numpy()
    units = units_of(region(), mlp, X)
    errors = []
    for start in (units, []):
        found = ProductsFit(X, Y, Products(6, gate, steps=1), D, start, Metric.of(None, D)).run()
        z = found.coordinates.project(X)
        a, b = z[:, :6], z[:, 6:]
        gates = {None: b, "sigmoid": 1 / (1 + np.exp(-b)), "silu": b / (1 + np.exp(-b))}
        assert found.affine is not None
        again = found.directions.reconstruct(a * gates[gate]) + found.affine.predict(X)
        errors.append(float(np.square(Y - again).mean()))
    assert errors[0] < 0.8 * errors[1]


# --- the compiled model --------------------------------------------------------------------------


def test_the_block_is_what_its_equations_say(compiled) -> None:
    outcome, x = compiled.outcomes["mlp"], data(5)
    assert isinstance(outcome, Rewrite)
    of = outcome.region
    found = [set(equation.text().split("*")) for equation in outcome.equations.values()]
    assert found == [{f"z{k}", f"z{k + 6}"} for k in range(6)]
    X = x.double().numpy().reshape(-1, D)
    values = [one.predict(of.variable_values(X)) for one in outcome.equations.values()]
    expected = of.output_values(X, np.stack(values, axis=1)).reshape(5, 2, D)
    with torch.no_grad():
        found = compiled.module.mlp(x)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_it_is_better_than_its_controls(compiled) -> None:
    fidelity = compiled.outcomes["mlp"].fidelity
    assert fidelity.total.beats_linear
    assert fidelity.projections["affine"].variance < fidelity.total.equation.r2
    assert set(fidelity.shares) == set(range(6))
    assert all(share > 0 for share in fidelity.shares.values())


def test_nothing_was_searched(compiled) -> None:
    assert {front.best.complexity for front in compiled.fronts["mlp"].values()} == {3}
    assert compiled.outcomes["mlp"].provenance["engine"]["name"] == "products"


def test_the_report_has_the_largest_terms_first(compiled) -> None:
    text = str(compiled.report)
    fidelity = compiled.outcomes["mlp"].fidelity
    order = sorted(range(6), key=lambda k: -fidelity.shares[k])
    places = [text.index(f"  term[{k}] (") for k in order]
    assert places == sorted(places)
    for words in (
        "z0..z11: 12 fitted coordinates of the 10 inputs",
        "each of 6 terms moves the 10 outputs in its own direction",
        "an affine map of the inputs, of rank 4",
        "the affine map explains",
    ):
        assert words in " ".join(text.split())
    assert "term[0]" in compiled.report._repr_html_()


def test_of_many_terms_the_report_shows_some() -> None:
    target = Target("mlp", reduce=Products(20, steps=1))
    many = symcompile(model(), target, data(400), n_samples=800, progress=False)
    text = str(many.report)
    assert text.count("term[") == 24  # twelve equations, and a row of figures for each
    assert "and 8 more (" in text
    assert "compiled.equations['mlp']" in text


def test_projections_are_linear_layers_of_the_hybrid(compiled) -> None:
    block = compiled.module.mlp
    layers = {name: one for name, one in block.named_children() if isinstance(one, nn.Linear)}
    assert set(layers) == {"project_in", "project_out", "affine_down", "affine_up"}
    assert all(parameter.requires_grad for parameter in block.parameters())
    assert "gate.weight" not in compiled.module.mlp.state_dict()


def test_products_are_computed_at_once(compiled) -> None:
    """One multiplication, whatever the number of terms."""
    assert sum("mul" in str(node.target) for node in compiled.module.mlp.graph.nodes) == 1


def untrained() -> Compiled:
    target = Target("mlp", reduce=Products(6, steps=20), affine=4)
    return symcompile(model(), target, data(), n_samples=3000, progress=False)


def trained() -> Compiled:
    again = untrained()
    optimizer = torch.optim.Adam(again.module.mlp.parameters(), lr=1e-2)
    x = data(200)
    with torch.no_grad():
        target = model().mlp(x)
    for _ in range(40):
        optimizer.zero_grad()
        (again.module.mlp(x) - target).square().mean().backward()
        optimizer.step()
    return again


def test_trained_layers_are_read_back_saved_and_measured(tmp_path) -> None:
    start = untrained()
    again = trained()
    before, after = (one.outcomes["mlp"] for one in (start, again))
    assert after.fidelity.total.equation.r2 > before.fidelity.total.equation.r2
    np.testing.assert_allclose(
        after.region.affine.up, again.module.mlp.affine_up.weight.detach().double(), rtol=1e-6
    )
    again.save(tmp_path / "a.symc")
    loaded = load(tmp_path / "a.symc")
    x = data(7)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(x), again.module(x), rtol=1e-6, atol=1e-6)
    assert loaded.outcomes["mlp"].region.target.reduce == Products(6, steps=20)
    assert diff(again, loaded).same
    found = diff(start, again)
    assert not found.same
    text = str(found)
    assert "the projection of the inputs is another one" in text
    assert "the affine map is another one" in text


def test_constants_can_be_chosen_beside_trained_layers() -> None:
    again = trained()
    layer = again.module.mlp.project_in.weight.detach().clone()
    again.choose("mlp", "z0*z6 + 0.5*z1", output=0)
    torch.testing.assert_close(again.module.mlp.project_in.weight.detach(), layer)
    assert len(again.equations["mlp"]) == 6
    again.restore("mlp")
    assert isinstance(again.outcomes["mlp"], Refusal)


def test_onnx_runtime_serves_it(compiled, tmp_path) -> None:
    file = compiled.export(tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    x = data(11)
    with torch.no_grad():
        expected = compiled.module(x).numpy()
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert diff(compiled, tmp_path / "a.onnx").same


def test_half_precision_works_too(tmp_path: Path) -> None:
    half = model().to(torch.bfloat16)
    target = Target("mlp", reduce=Products(4, steps=50), affine=4)
    found = symcompile(half, target, data().bfloat16(), n_samples=2000, progress=False)
    x = data(9).bfloat16()
    assert found.module(x).dtype == torch.bfloat16
    wide = found.module.double()(x.double())
    assert wide.dtype == torch.float64


# --- other reductions, and an affine map -----------------------------------------------------

QUICK = {"engine_options": {"restarts": 1, "population": 30, "generations": 3}, "progress": False}


@pytest.mark.parametrize("reduce", [PCA(4, 3), ReducedRank(3, 2), ReducedRank(3), None])
def test_equations_explain_what_an_affine_map_leaves(reduce) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp, self.head = nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, 3)), None

        def forward(self, x):
            return self.mlp(x)

    torch.manual_seed(0)
    net = Small().eval()
    target = Target("mlp", reduce=reduce, affine=2)
    found = symcompile(net, target, data(300), n_samples=600, **QUICK)
    outcome = found.outcomes["mlp"]
    assert isinstance(outcome, Rewrite)
    assert outcome.region.affine is not None
    X = data(6).double().numpy().reshape(-1, D)
    values = [one.predict(outcome.region.variable_values(X)) for one in outcome.equations.values()]
    expected = outcome.region.output_values(X, np.stack(values, axis=1)).reshape(6, 2, 3)
    with torch.no_grad():
        np.testing.assert_allclose(found.module(data(6)).numpy(), expected, atol=1e-5)
    # The affine map alone, or with what explains the rest.
    alone = outcome.fidelity.projections["affine"].relative_l2
    assert outcome.fidelity.total.equation.relative_l2 < alone + 0.02


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (Target("mlp", affine=11), "affine asks for a rank of 11, at most 10 fits"),
        (Target("mlp", reduce=ReducedRank(11)), "asks for 11 components of the inputs, at most 10"),
        (Target("mlp", reduce=Products(2), outputs=(0,)), "exclude each other"),
        (Target("mlp", affine=2, outputs=(0,)), "outputs= and affine= exclude each other"),
        (Target("mlp", reduce=Products(2), features={"s": "z0**2"}), "Products.2. needs none"),
    ],
)
def test_wrong_combinations(target, found) -> None:
    with pytest.raises(TargetError, match="target 'mlp': .*" + found):
        symcompile(model(), target, data(100), n_samples=200, progress=False)


@pytest.mark.parametrize(
    "options",
    [
        {"reduce": Products(0)},
        {"reduce": Products(3, "tanh")},
        {"reduce": Products(3, steps=0)},
        {"reduce": PCA(0)},
        {"reduce": ReducedRank(2, -1)},
        {"affine": 0},
        {"affine": 2.5},
        {"reduce": "pca"},
    ],
)
def test_wrong_options(options) -> None:
    with pytest.raises(TargetError, match=f"target 'mlp': {next(iter(options))} is"):
        Target("mlp", **options)


# --- what the model is to minimise ------------------------------------------------------------


def test_the_metric_is_that_of_gradients() -> None:
    one, x = model(), data(200)
    recording = record(one, "mlp", x, objective=lambda result, x: result[..., 0].square().mean())
    found = recording.samples["mlp"].metric
    weight = one.head.weight.detach().double().numpy()[0]
    expected = np.outer(weight, weight)  # whatever the size of the result, in this direction
    np.testing.assert_allclose(found / np.trace(found), expected / np.trace(expected), atol=1e-5)


def test_a_frozen_model_has_gradients_too() -> None:
    one = model().requires_grad_(False)
    recording = record(one, "mlp", data(50), objective=lambda result, x: result.mean())
    assert recording.samples["mlp"].metric is not None


def test_errors_that_the_model_does_not_see_are_left() -> None:
    """The head looks at one direction of the block: two terms suffice to serve it."""
    one = model()
    objective = lambda result, x: (result[..., 0] - x[..., 0]).square().mean()  # noqa: E731
    target = Target("mlp", reduce=Products(2, steps=300), affine=1)
    changes = []
    for given in (None, objective):
        made = symcompile(one, target, data(), n_samples=3000, progress=False, objective=given)
        x = torch.randn((500, 2, D), generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            changes.append(float((made.module(x) - one(x))[..., 0].square().mean()))
    assert changes[1] < 0.5 * changes[0]
