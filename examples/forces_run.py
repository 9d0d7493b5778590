"""One graph network: trained, compiled in place, settled, and judged."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from force_laws import FEATURES, LAWS
from forces_judge import Array, Truth, judge, nearest_force, receivers
from graph_network import (
    SPACE,
    VARIANTS,
    GraphNetwork,
    Training,
    Variant,
    mean_absolute_error,
    narrowed,
    optimise,
    shifted,
    train,
)
from particles import accelerations, forces, pairs, simulate
from torch import Tensor, nn

from symcompile import Compiled, Target, symcompile

DATA_SEED = 290402
OPERATORS = ("+", "-", "*", "inv", "exp", "log")
# What the edge model gets are the states of the receiver, x0 to x5, and of the sender.
EXPRESSIONS = {
    "dx": "x0 - x6",
    "dy": "x1 - x7",
    "r": "sqrt(dx**2 + dy**2) + 0.01",
    "m1": "x5",
    "m2": "x11",
    "q1": "x4",
    "q2": "x10",
}

# The paper trains for 100 epochs of a million states at half this rate.
TRAINING = Training(30_000, batch=64, rate=2e-3)
# Only the last 35 % of it have as few messages as the bottleneck has from the start.
PRUNING = Training(60_000, batch=64, rate=2e-3)
# One of so many states tells what is read of wide messages; simulations have 100 each.
EVERY = 101
ADAPTING = Training(2500, batch=64, rate=3e-3)
# Another adaptation of the same model may differ by so much in its error.
TOLERANCE = 0.1
# The network's own error is good enough for a model with equations, unless it is larger than this.
ENOUGH = 0.05


@dataclass(frozen=True)
class Sizes:
    """Attributes:
    train, test: simulations of 100 states each; as many as in `test` are for adapting.
    training, pruning: of a network, and of one that is pruned while it trains.
    adapting: of what is around the equations, for each trial.
    edges: samples of each message.
    restarts, population, max_complexity: searches for each message, their size, and that of an
        equation.
    """

    train: int = 2000
    test: int = 100
    training: Training = TRAINING
    pruning: Training = PRUNING
    adapting: Training = ADAPTING
    edges: int = 5000
    restarts: int = 2
    population: int = 1000
    max_complexity: int = 25

    def length(self, variant: Variant) -> Training:
        return self.pruning if variant.prune else self.training


@dataclass(frozen=True)
class Case:
    law: str
    variant: str
    seed: int
    sizes: Sizes = field(default_factory=Sizes)


@dataclass(frozen=True)
class Message:
    """One of the two messages of a case.

    Attributes:
        truth: the linear map of the force that the network's message is nearest to; of a wide one
            that is what is read of it, see `graph_network.narrowed`.
        distilled, settled: the equation as it was found, and after the model has settled around it,
            each with what the rule says of it.
    """

    truth: Truth
    distilled: dict[str, Any]
    settled: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Attributes:
    errors: mean absolute error of accelerations on test simulations, as a share of their mean
        size: of the network, with equations as distilled, and settled.
    seconds: of training, of the compile, and of settling.
    profile: distance, and force along the line between two particles, of pairs of the test set:
        true, in the network's messages, and in the equations; for a figure.
    """

    law: str
    variant: str
    seed: int
    messages: tuple[Message, ...]
    errors: dict[str, float]
    seconds: dict[str, float]
    profile: dict[str, Array]

    def to_json(self) -> dict[str, Any]:
        facts = asdict(self)
        del facts["profile"]
        return facts


@cache
def data(law: str, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """States [n * 100, 4, 6] and accelerations [n * 100, 4, 2] of n simulations, float32."""
    states = simulate(LAWS[law], n, seed).flatten(0, 1)
    return states.float(), accelerations(LAWS[law], states).float()


def run(case: Case) -> Outcome:
    """Train, compile, settle, judge."""
    torch.set_num_threads(1)
    sizes, variant = case.sizes, VARIANTS[case.variant]
    training = data(case.law, sizes.train, DATA_SEED)
    test = data(case.law, sizes.test, DATA_SEED + 1)
    clock = Clock()
    trained = train(variant, *training, sizes.length(variant), case.seed)
    clock.lap("training")
    errors = {"network": relative_error(trained, *test)}
    path = "edge.live" if variant.prune else "edge"
    model = trained if variant.narrow else narrowed(trained, training[0][::EVERY])
    compiled = compile_edges(model, path, training[0], case)
    clock.lap("compiling")
    errors["distilled"] = relative_error(compiled.module, *test)
    found = dict(compiled.equations[path])
    validation = data(case.law, sizes.test, DATA_SEED + 2)
    enough = min(relative_error(trained, *validation), ENOUGH)
    settle(compiled, path, enough, training, validation, sizes.adapting)
    clock.lap("settling")
    errors["settled"] = relative_error(compiled.module, *test)
    settled = compiled.equations[path]
    judged = Judging(case, model, path, test[0])
    messages = tuple(
        Message(judged.truth(k), judged.verdict(found[k], k), judged.verdict(settled[k], k))
        for k in range(SPACE)
    )
    profile = judged.profile(settled)
    return Outcome(case.law, case.variant, case.seed, messages, errors, clock.seconds, profile)


class Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self.last, 1)
        self.last = now


@torch.no_grad()
def relative_error(model: nn.Module, states: Tensor, targets: Tensor) -> float:
    return float(mean_absolute_error(model(states), targets) / targets.abs().mean())


def compile_edges(model: GraphNetwork, path: str, states: Tensor, case: Case) -> Compiled:
    """The network with equations for its messages, from states of its training."""
    torch.manual_seed(case.seed)
    rows = torch.randperm(len(states))[: 2 * case.sizes.edges // 12]
    batches = [shifted(part) for part in states[rows].split(50)]
    target = Target(path, features=EXPRESSIONS, operators=OPERATORS)
    with ThreadPoolExecutor(1) as executor:
        return symcompile(
            model,
            target,
            batches,
            max_complexity=case.sizes.max_complexity,
            engine="operon",
            engine_options={
                "restarts": case.sizes.restarts,
                "population": case.sizes.population,
            },
            n_samples=case.sizes.edges,
            loss="auto",
            seed=case.seed,
            executor=executor,
            progress=False,
        )


def settle(
    compiled: Compiled,
    path: str,
    enough: float,
    training: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    adapting: Training,
) -> None:
    """Leave out what the node model can make up for, down to an error that is enough; constants and
    node model train along."""

    def adapt(module: nn.Module) -> float:
        optimise(module, *training, adapting)
        return relative_error(module, *validation)

    compiled.trainable_constants(True)
    compiled.simplify(path, adapt, tolerance=TOLERANCE, enough=enough)


class Judging:
    """Messages of a network on test states, next to the forces."""

    def __init__(self, case: Case, model: GraphNetwork, path: str, states: Tensor) -> None:
        rows = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))[:1000]
        chosen = states[rows]
        self.law = LAWS[case.law]
        with torch.no_grad():
            edges = model.get_submodule(path)(pairs(chosen))
        self.messages = edges.flatten(0, 1).double().numpy()
        self.force = forces(self.law, chosen.double()).flatten(0, 1).numpy()
        self.X = features(pairs(chosen.double()).flatten(0, 1).numpy())
        self.columns = dict(zip(FEATURES, self.X.T, strict=True))
        self.own = {name: self.columns[name] for name in receivers(self.law)}

    def truth(self, output: int) -> Truth:
        return nearest_force(self.messages[:, output], self.force, self.own)

    def verdict(self, equation: Any, output: int) -> dict[str, Any]:
        message = self.messages[:, output]
        # In a model that has settled, messages may have come to have another size.
        own = deviation(message)
        size = deviation(equation.predict(self.X)) / own if own else 1.0
        spread, components = size * float(message.std()), self.truth(output).components
        verdict, quantity = judge(equation, self.law, self.X, spread, components)
        return {
            "equation": equation.text(4),
            "complexity": equation.complexity,
            "reads": quantity,
            **asdict(verdict),
        }

    def profile(self, equations: dict[int, Any]) -> dict[str, Array]:
        """What messages and equations say of the force along the line between two particles, for
        unit masses and charges."""
        distance = self.columns["r"]
        values = np.stack([equations[k].predict(self.X) for k in range(SPACE)], axis=1)
        result = {"distance": distance, "force": self.along(self.force, "force")}
        for name, given in (("network", self.messages), ("equations", values)):
            quantity = nearest_force(given[:, 0], self.force, self.own).quantity
            result[name] = self.along(self.as_force(given, quantity), quantity)
        return result

    def as_force(self, messages: Array, quantity: str) -> Array:
        """Messages [n, 2] through the inverse of the linear map that they are of the force."""
        true = self.force / self.divisor(quantity)[:, None]
        basis = np.column_stack([messages, np.ones(len(messages))])
        # Least absolute deviations by reweighting: the largest forces are learned worst.
        weights = np.ones(len(true))
        for _ in range(30):
            root = np.sqrt(weights)[:, None]
            found = np.linalg.lstsq(basis * root, true * root, rcond=None)[0]
            weights = 1 / np.maximum(np.linalg.norm(basis @ found - true, axis=1), 1e-6)
        return basis @ found

    def along(self, force: Array, quantity: str) -> Array:
        columns = self.columns
        line = np.column_stack([columns["dx"], columns["dy"]]) / columns["r"][:, None]
        units = {"r^-1": "m1 m2", "r^-2": "m1 m2", "spring": "", "charge": "q1 q2"}
        scale = 1 / self.divisor(quantity)
        for name in units[self.law.name].split():
            scale = scale * columns[name]
        return (force * line).sum(axis=1) / scale

    def divisor(self, quantity: str) -> Array:
        """What the force is divided by in this quantity [n]: 1 for the force itself."""
        name = quantity.partition(" / ")[2]
        return self.columns[name] if name else np.ones(len(self.X))


def deviation(values: Array) -> float:
    """What one value in ten is away from the median: messages rest where forces are weak, and
    saturate where they are strongest."""
    return float(np.quantile(np.abs(values - np.median(values)), 0.9))


def features(edges: Array) -> Array:
    """FEATURES [n, 7] of what the edge model gets [n, 12]."""
    receiver, sender = edges[:, :6], edges[:, 6:]
    dx, dy = (receiver - sender)[:, :2].T
    r = np.hypot(dx, dy) + 0.01
    rows = (dx, dy, r, receiver[:, 5], sender[:, 5], receiver[:, 4], sender[:, 4])
    return np.stack(rows, axis=1)
