"""One seed of the Lorenz experiment: train, compile, fine-tune, and measure every stage."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import sympy
import torch
from lorenz_data import STEPS, TRAIN, Array, Observations, derivative, observe
from lorenz_law import (
    LATENT,
    Comparison,
    Coordinates,
    degree,
    monomials,
    polynomials,
    sparse_regression,
)
from lorenz_network import BATCH, EPOCHS, LatentDynamics, fine_tune, train
from lorenz_rollouts import Field, Rollout, integrate, roll_out, starts
from torch import nn

from symcompile import Compiled, Equation, Target, symcompile

NETWORK, DEFAULT, EQUATIONS = "network", "equations, default choice", "equations"
TUNED, TRAINED = "equations, encoder tuned", "equations, encoder and constants tuned"
SINDY_DATA, SINDY_NETWORK = "SINDy on the data", "SINDy on the network"
# The rule that chooses the equations which go on in the model. The compiler's default looks for the
# corner of a front, and a polynomial with all of its terms has none that stands out.
RULE = "plateau"
MODELS = (NETWORK, DEFAULT, EQUATIONS, TUNED, TRAINED, SINDY_DATA, SINDY_NETWORK)


@dataclass(frozen=True)
class Settings:
    """Sizes; the defaults are the paper's.

    Attributes:
        steps, train: length of the trajectory, and how much of it is for training.
        epochs, batch: of the network's training.
        tuning: epochs of fine-tuning the compiled model.
        rate: of fine-tuning, encoder and constants alike.
        samples: rows that the compiler sees.
        max_complexity: of an equation.
        restarts, population: searches for each equation, and their size; the sparse candidates
            beside them need none.
        rollouts, horizon: number of trajectories, and their steps.
    """

    steps: int = STEPS
    train: int = TRAIN
    epochs: int = EPOCHS
    batch: int = BATCH
    tuning: int = 200
    rate: float = 1e-4
    samples: int = 5000
    max_complexity: int = 35
    restarts: int = 2
    population: int = 1000
    rollouts: int = 200
    horizon: int = 2000


@dataclass(frozen=True)
class Stage:
    """One model measured.

    Attributes:
        errors: mean squared error of xdot on the training and the testing half.
        path: its first rollout in the best-fitting coordinates [n_steps, 3].
        field: coefficients [10, 3] of its equations there; None for a network.
        comparison: that field beside the true one.
    """

    errors: tuple[float, float]
    rollout: Rollout
    path: Array
    field: Array | None
    comparison: Comparison | None


@dataclass(frozen=True)
class Outcome:
    """Everything measured with one seed.

    Attributes:
        variance: of xdot, over all of its columns.
        equations: the compiled equations, by stage.
        degrees: total degree of each of them, None for what is no polynomial.
        complexities: of the equations as they were chosen.
        seconds: CPU time by part.
    """

    seed: int
    variance: float
    stages: dict[str, Stage]
    true_path: Array
    equations: dict[str, list[str]]
    degrees: list[int | None]
    complexities: list[int]
    thresholds: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)


def run(seed: int, settings: Settings) -> Outcome:
    """Everything for one seed, in one thread."""
    torch.set_num_threads(1)
    data = observe(seed, settings.steps, settings.train)
    judge = Judge.of(data, seed, settings)
    clock = Clock()
    torch.manual_seed(seed)
    network = LatentDynamics()
    x, xdot = judge.training
    train(network, x, xdot, epochs=settings.epochs, batch=settings.batch, seed=seed)
    clock.lap("training")
    compiled = compile_block(network, x, seed, settings)
    clock.lap("compiling")
    stages = {NETWORK: judge.network(network), DEFAULT: judge.hybrid(compiled)}
    texts = {DEFAULT: [e.text(5) for e in equations_of(compiled)]}
    compiled.choose("mlp", rule=RULE)
    chosen = equations_of(compiled)
    stages[EQUATIONS] = judge.hybrid(compiled)
    texts[EQUATIONS] = [e.text(5) for e in chosen]
    clock.lap("measuring")
    start = copy.deepcopy(compiled.module.state_dict())
    for name, constants in ((TUNED, False), (TRAINED, True)):
        compiled.module.load_state_dict(start)
        compiled.trainable_constants(constants)
        fine_tune(compiled.module, x, xdot, epochs=settings.tuning, rate=settings.rate, seed=seed)
        clock.lap("fine-tuning")
        stages[name] = judge.hybrid(compiled)
        texts[name] = [e.text(5) for e in equations_of(compiled)]
        clock.lap("measuring")
    thresholds = {}
    for name in (SINDY_DATA, SINDY_NETWORK):
        stages[name], thresholds[name] = judge.sindy(network, of_data=name == SINDY_DATA)
    clock.lap("sparse regression")
    return Outcome(
        seed,
        float(data.xdot.var(axis=0).mean()),
        stages,
        judge.true_path,
        texts,
        [degree(e.sympy) for e in chosen],
        [e.complexity for e in chosen],
        thresholds,
        clock.seconds,
    )


def compile_block(
    network: LatentDynamics, x: torch.Tensor, seed: int, settings: Settings
) -> Compiled:
    """Put equations in the place of the MLP, inside the running model."""
    rows = np.random.default_rng(seed).choice(len(x), settings.samples, replace=False)
    with ThreadPoolExecutor(1) as executor:
        return symcompile(
            network,
            Target("mlp", names=tuple(s.name for s in LATENT)),
            x[torch.from_numpy(rows)],
            operators=("+", "-", "*"),
            max_complexity=settings.max_complexity,
            engine="operon",
            engine_options={"restarts": settings.restarts, "population": settings.population},
            n_samples=settings.samples,
            seed=seed,
            executor=executor,
            progress=False,
        )


def equations_of(compiled: Compiled) -> list[Equation]:
    """The equations in the model now, with constants as trained."""
    return [equation for _, equation in sorted(compiled.equations["mlp"].items())]


class Clock:
    """CPU seconds of this process by part: other work on the machine does not count."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.process_time()

    def lap(self, part: str) -> None:
        """Count the time since the last lap to this part."""
        now = time.process_time()
        self.seconds[part] = round(self.seconds.get(part, 0.0) + now - self.last, 1)
        self.last = now


@dataclass(frozen=True)
class Judge:
    """Measures models on one set of observations, all in float64.

    Attributes:
        x, xdot: all observations, of which the first `data.train` were trained on.
        true: true rollouts [n_steps, n, 10].
        true_path: the first of them in Lorenz coordinates [n_steps, 3].
        size: standard deviation of x over all of its columns together.
    """

    data: Observations
    x: Array
    xdot: Array
    true: Array
    true_path: Array
    size: float

    @classmethod
    def of(cls, data: Observations, seed: int, settings: Settings) -> Judge:
        x = data.x
        begin = starts(data.z[data.train :], seed, settings.rollouts)
        states = integrate(derivative, begin, settings.horizon)
        size = float(np.sqrt(x.var(axis=0).sum()))
        return cls(data, x, data.xdot, states @ data.mixing, states[:, 0], size)

    @property
    def training(self) -> tuple[torch.Tensor, torch.Tensor]:
        """x and xdot of the training half, float32."""
        n = self.data.train
        return torch.from_numpy(self.x[:n]).float(), torch.from_numpy(self.xdot[:n]).float()

    def network(self, network: nn.Module) -> Stage:
        return self.stage(_rates(network), network.encoder, None)

    def hybrid(self, compiled: Compiled) -> Stage:
        expressions = [e.sympy for e in equations_of(compiled)]
        module = compiled.module
        return self.stage(_rates(module), module.encoder, expressions)

    def sindy(self, network: LatentDynamics, of_data: bool) -> tuple[Stage, float]:
        """Sparse regression of hdot on the training half, and the threshold that it took.

        Args:
            of_data: hdot is what the encoder makes of the true xdot; else what the MLP gives.
        """
        weight, bias = _affine(network.encoder)
        decoder, n = np.linalg.pinv(weight.T), self.data.train
        h = self.x[:n] @ weight.T + bias
        hdot = (self.xdot[:n] if of_data else _rates(network)(self.x[:n])) @ weight.T
        found, threshold = sparse_regression(h, hdot)

        def rates(x: Array) -> Array:
            return monomials(x @ weight.T + bias) @ found @ decoder

        return self.stage(rates, network.encoder, polynomials(found, LATENT)), threshold

    def stage(
        self, rates: Field, encoder: nn.Linear, equations: Sequence[sympy.Expr] | None
    ) -> Stage:
        """Measure a model of xdot whose latent states and equations are these."""
        weight, bias = _affine(encoder)
        n = self.data.train
        squares = (rates(self.x) - self.xdot) ** 2
        coordinates = Coordinates.fitted(self.x[:n] @ weight.T + bias, self.data.z[:n])
        rollout = roll_out(rates, self.true, self.size)
        path = coordinates.state(rollout.path @ weight.T + bias)
        found, comparison = None, None
        if equations is not None and all(degree(e) in (0, 1, 2) for e in equations):
            found = coordinates.field(equations)
            comparison = Comparison.of(found, self.data.z[:n])
        errors = float(squares[:n].mean()), float(squares[n:].mean())
        return Stage(errors, rollout, path, found, comparison)


def _rates(module: nn.Module) -> Field:
    """A model of xdot as a function of arrays, in float64."""
    double = copy.deepcopy(module).double()

    def rates(x: Array) -> Array:
        with torch.no_grad():
            return np.asarray(double(torch.from_numpy(x)).numpy())

    return rates


def _affine(linear: nn.Linear) -> tuple[Array, Array]:
    """Weight [n_out, n_in] and bias [n_out] in float64."""
    weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
    return weight.numpy(), bias.numpy()
