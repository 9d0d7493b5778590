"""Simulator, graph network and the rule of `examples/forces.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
import torch

from symcompile import Equation
from symcompile.expressions.operator_set import OperatorSet

EXAMPLES = Path(__file__).parents[1] / "examples"
LAWS = ("r^-1", "r^-2", "spring", "charge")
OPERATORS = OperatorSet.of(["+", "-", "*", "inv", "exp", "log"])


@pytest.fixture(scope="module")
def example() -> Iterator[SimpleNamespace]:
    """The modules of the example, imported as the script does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import force_laws
        import forces_judge
        import forces_run
        import forces_table
        import graph_network
        import particles

        yield SimpleNamespace(
            laws=force_laws,
            judge=forces_judge,
            run=forces_run,
            table=forces_table,
            network=graph_network,
            particles=particles,
        )


def energy(example: SimpleNamespace, name: str, states: torch.Tensor) -> torch.Tensor:
    """Kinetic and potential energy of each simulation at each time."""
    potentials = {
        "r^-1": lambda d, m1, m2, q1, q2: m1 * m2 * d.log(),
        "r^-2": lambda d, m1, m2, q1, q2: -m1 * m2 / d,
        "spring": lambda d, m1, m2, q1, q2: (d - 1) ** 2,
        "charge": lambda d, m1, m2, q1, q2: q1 * q2 / d,
    }
    particles = example.particles
    a, b = states[..., particles.RECEIVERS, :], states[..., particles.SENDERS, :]
    d = (a - b)[..., :2].norm(dim=-1) + 0.01
    pair = potentials[name](d, a[..., 5], b[..., 5], a[..., 4], b[..., 4])
    kinetic = 0.5 * states[..., 5] * states[..., 2:4].square().sum(dim=-1)
    return kinetic.sum(dim=-1) + 0.5 * pair.sum(dim=-1)


@pytest.mark.parametrize("name", LAWS)
def test_simulations_conserve_energy_and_momentum(example: SimpleNamespace, name: str) -> None:
    law = example.laws.LAWS[name]
    states = example.particles.simulate(law, 20, seed=1)
    assert states.shape == (20, 100, 4, 6)
    momentum = (states[..., 5:6] * states[..., 2:4]).sum(dim=-2)
    torch.testing.assert_close(momentum, momentum[:, :1].expand_as(momentum), atol=1e-9, rtol=1e-9)
    total = energy(example, name, states)
    # Where particles nearly touch a step is too long: most simulations, not all.
    drift = (total - total[:, :1]).abs().amax(dim=1) / total[:, 0].abs().clamp_min(1.0)
    assert drift.median() < 1e-3


@pytest.mark.parametrize("name", LAWS)
def test_accelerations_are_forces_over_mass(example: SimpleNamespace, name: str) -> None:
    law, particles = example.laws.LAWS[name], example.particles
    states = particles.simulate(law, 2, seed=2)[:, 0].requires_grad_()
    pull = -torch.autograd.grad(energy(example, name, states).sum(), states)[0][..., :2]
    torch.testing.assert_close(
        particles.accelerations(law, states), pull / states[..., 5:6], atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize("variant", ["standard", "bottleneck", "L1", "KL", "pruning"])
def test_each_variant_trains_and_comes_to_two_messages(
    example: SimpleNamespace, variant: str
) -> None:
    network, law = example.network, example.laws.LAWS["spring"]
    states = example.particles.simulate(law, 2, seed=0).flatten(0, 1)
    targets = example.particles.accelerations(law, states).float()
    training = network.Training(steps=12, batch=8)
    chosen = network.VARIANTS[variant]
    model = network.train(chosen, states.float(), targets, training, seed=0)
    assert not model.training
    if not chosen.narrow:
        model = network.narrowed(model, states.float())
    assert not model.training
    assert model(states[:3].float()).shape == (3, 4, 2)
    assert torch.equal(model(states[:3].float()), model(states[:3].float()))
    edge = model.edge.live if variant == "pruning" else model.edge
    assert edge(torch.zeros(5, 12)).shape == (5, 2)


@pytest.mark.parametrize("variant", ["standard", "KL"])
def test_what_is_read_of_messages_is_kept(example: SimpleNamespace, variant: str) -> None:
    """A node model that looks in two directions of messages gives the same of these alone."""
    network = example.network
    torch.manual_seed(0)
    wide = network.GraphNetwork(network.VARIANTS[variant], hidden=8).eval()
    states = torch.randn(200, 4, 6)
    with torch.no_grad():
        given = wide.node[0].weight[:, 6:]
        given.copy_(torch.randn(8, 2) @ torch.randn(2, 100) / 10)
    narrow = network.narrowed(wide, states)
    assert narrow.edge(torch.zeros(5, 12)).shape == (5, 2)
    with torch.no_grad():
        torch.testing.assert_close(narrow(states), wide(states), rtol=1e-3, atol=1e-4)
        assert wide.edge[-1].out_features in (100, 200)


def test_what_is_not_read_of_messages_stays_at_its_mean(example: SimpleNamespace) -> None:
    network = example.network
    torch.manual_seed(0)
    wide = network.GraphNetwork(network.VARIANTS["standard"], hidden=8).eval()
    states = torch.randn(400, 4, 6)
    with torch.no_grad():
        found, kept = wide(states), network.narrowed(wide, states)(states)
        assert (found - kept).mean().abs() < 0.05 * found.std()
        assert (found - kept).std() < found.std()


def test_the_length_of_messages_is_punished_as_in_the_paper(example: SimpleNamespace) -> None:
    """Beside the summed errors of a graph those of its edges, by particle."""
    messages, errors = torch.randn(6, 12, 100), torch.rand(6, 4, 2)
    theirs = errors.sum() + 1e-2 * messages.abs().sum() / 4
    ours = errors.mean() + example.network.VARIANTS["L1"].penalty(messages)
    torch.testing.assert_close(ours, theirs / errors.numel())


def test_the_divergence_is_that_of_gaussians_from_the_prior(example: SimpleNamespace) -> None:
    mean, log_variance = torch.randn(2, 6, 12, 50)
    prior = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    found = example.network.VARIANTS["KL"].penalty(torch.cat([mean, log_variance], dim=-1))
    torch.testing.assert_close(found, torch.distributions.kl_divergence(normal, prior).mean())


def equation(text: str) -> Equation:
    names = ("dx", "dy", "r", "m1", "m2", "q1", "q2")
    return Equation.of(sympy.sympify(text), names, OPERATORS)


@pytest.mark.parametrize(
    ("law", "text", "right", "reads"),
    [
        ("spring", "1.4*(1 - 1.003/r)*(dx - 0.673*dy)", True, "force"),
        ("spring", "dx*(1 - 1/r)", False, "force"),
        ("spring", "(1 - 1/r)*(dx + dy)/m1", True, "force / m1"),
        ("spring", "(1 - 1/r)*(dx + dy) + 0.2", False, "force"),
        ("spring", "(1 - 1/r)*(dx + dy) + 0.0001*dx*r", True, "force"),
        ("charge", "0.08*q1*q2*(dx - 0.5*dy)/r**3", True, "force"),
        ("charge", "0.08*q2*(dx - 0.5*dy)/(q1*r**3)", True, "force"),
        ("charge", "0.08*q2*(dx - 0.5*dy)/r**3", True, "force / q1"),
        ("charge", "0.08*q2*(dx - 0.5*dy*q1)/r**3", False, "force"),
        ("charge", "0.08*q1*(dx - 0.5*dy)/r**3", False, "force"),
        ("spring", "q1*(1 - 1/r)*(dx + dy)", False, "force"),
        ("charge", "0.08*q1*q2*(dx - 0.5*dy)/r**2", False, "force"),
        ("charge", "0.3*q1*q2*(dx - dy)*exp(-2.0*r)", False, "force"),
        ("r^-1", "m2*(dx + 5.0*dy)/r**2", True, "force / m1"),
        ("r^-1", "m1*m2*(dx + 5.0*dy)/r**2", True, "force"),
        ("r^-2", "m2*(dx + 5.0*dy)/(r + 0.05)**3", False, "force / m1"),
    ],
)
def test_the_rule(example: SimpleNamespace, law: str, text: str, right: bool, reads: str) -> None:
    rng = np.random.default_rng(0)
    dx, dy = rng.normal(size=(2, 500))
    m1, m2 = np.exp(rng.normal(size=(2, 500)))
    q1, q2 = np.sign(rng.normal(size=(2, 500)))
    X = np.stack([dx, dy, np.hypot(dx, dy) + 0.01, m1, m2, q1, q2], axis=1)
    given = equation(text)
    spread = float(given.predict(X).std())
    verdict, found = example.judge.judge(given, example.laws.LAWS[law], X, spread)
    assert verdict.right == right, verdict
    if right:
        assert found == reads


def test_a_component_that_the_message_lacks_is_not_asked_for(example: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    dx, dy = rng.normal(size=(2, 300))
    X = np.stack([dx, dy, np.hypot(dx, dy) + 0.01, *np.ones((4, 300))], axis=1)
    given, law = equation("dx*(1 - 1/r)"), example.laws.LAWS["spring"]
    for components, right in (((True, False), True), ((True, True), False), ((False, True), False)):
        assert example.judge.judge(given, law, X, 1.0, components)[0].right == right


def test_the_nearest_force_is_found_through_any_linear_map(example: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    force, m1 = rng.normal(size=(400, 2)), np.exp(rng.normal(size=400))
    message = 2 * force[:, 0] - force[:, 1] + 0.3
    own = {"m1": m1, "q1": np.sign(rng.normal(size=400))}
    truth = example.judge.nearest_force(message, force, own)
    assert truth.quantity == "force"
    assert truth.r2 == pytest.approx(1.0)
    assert truth.weights == pytest.approx((2.0, -1.0, 0.3), rel=1e-6)
    assert truth.components == (True, True)
    aligned = example.judge.nearest_force(message + force[:, 1], force, own)
    assert aligned.components == (True, False)
    for name, values in own.items():
        shared = example.judge.nearest_force((message - 0.3) / values, force, own)
        assert shared.quantity == f"force / {name}"
        assert shared.r2 == pytest.approx(1.0)
