"""Terms that the rest of a model can make up for are left out of its equations; others stay."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from torch import nn

from symcompile import Compiled, Equation, SymCompileError, Target, symcompile
from symcompile.expressions.operator_set import OperatorSet
from symcompile.modules.samples import Samples
from symcompile.passes.simplify import search
from symcompile.pruning.alternatives import Alternatives, Equations

OPTIONS: dict[str, Any] = {
    "engine": "operon",
    "engine_options": {"population": 100, "generations": 3, "restarts": 1},
    "operators": ["+", "*"],
    "progress": False,
}
DATA = torch.rand(400, 2, generator=torch.Generator().manual_seed(1)) + 0.5


class Law(nn.Module):
    """Two messages, each a law and a constant; the first has a term that no one reads."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.unbind(-1)
        return torch.stack([a * b + 0.7 + 0.05 * a, 2 * a - 0.4], dim=-1)


ORDER = torch.tensor([0, 1])


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.edge = Law()
        self.node = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # An index that is no part of the module becomes a constant of the traced graph.
        return self.node(self.edge(x)[..., ORDER])


def task(x: torch.Tensor) -> torch.Tensor:
    """The true output is a sum of the laws, without the constants."""
    a, b = x.unbind(-1)
    return (a * b + 2 * a)[:, None]


def adapt(module: nn.Module) -> float:
    """The linear reader is fitted exactly, as far as it can be."""
    with torch.no_grad():
        messages = module.edge(DATA)
        basis = torch.cat([messages, torch.ones(len(DATA), 1)], dim=1)
        weights = torch.linalg.lstsq(basis, task(DATA)).solution
        module.node.weight.copy_(weights[:2].T)
        module.node.bias.copy_(weights[2])
        return 1e-6 + float((module(DATA) - task(DATA)).square().mean())


@pytest.fixture(scope="module")
def once() -> Compiled:
    torch.manual_seed(0)
    return symcompile(Model().eval(), Target("edge", names=("a", "b")), DATA, **OPTIONS)


@pytest.fixture
def compiled(once: Compiled) -> Compiled:
    result = copy.deepcopy(once)
    result.choose("edge", "a*b + 0.7", output=0)
    result.choose("edge", "2*a - 0.4 + 1e-6*b", output=1)
    return result


def test_constants_that_a_bias_absorbs_go_from_all_outputs_at_once(compiled: Compiled) -> None:
    trials = compiled.simplify("edge", adapt, tolerance=0.01)
    assert [trial.without for trial in trials if trial.kept][:2] == [{}, {0: "0.7", 1: "-0.4"}]
    texts = [str(equation) for equation in compiled.equations["edge"].values()]
    assert texts[0] == "a*b"
    assert "0.4" not in texts[1]
    torch.testing.assert_close(compiled.module(DATA), task(DATA), atol=1e-4, rtol=0)


def test_a_term_that_is_needed_stays(compiled: Compiled) -> None:
    compiled.choose("edge", "a*a + b + 0.2", output=1)

    def fit(module: nn.Module) -> float:
        """The output is the sum of both messages and a constant that is free."""
        with torch.no_grad():
            a, b = DATA.unbind(-1)
            error = module.edge(DATA).sum(dim=-1) - (a * b + a * a + b)
            return float(error.var())

    trials = compiled.simplify("edge", fit, tolerance=0.01)
    kept = [trial.without for trial in trials if trial.kept]
    assert kept == [{}, {0: "0.7", 1: "0.2"}]
    assert {term for t in trials if not t.kept for term in t.without.values()} == {"a", "b", "a**2"}
    assert str(compiled.equations["edge"][1]) == "a**2 + b"


def test_a_form_that_is_good_enough_is_taken(compiled: Compiled) -> None:
    compiled.choose("edge", "a*a + b + 0.2", output=1)

    def fit(module: nn.Module) -> float:
        """0.08 without b, 0.2 and more without anything else."""
        with torch.no_grad():
            a, b = DATA.unbind(-1)
            return float((module.edge(DATA).sum(dim=-1) - (a * b + a * a + b)).var())

    trials = compiled.simplify("edge", fit, tolerance=0.01, enough=0.15)
    assert [trial.without for trial in trials if trial.kept] == [{}, {0: "0.7", 1: "0.2"}, {1: "b"}]
    assert str(compiled.equations["edge"][1]) == "a**2"


def test_equations_too_short_for_the_task_give_way_to_longer_ones(compiled: Compiled) -> None:
    compiled.choose("edge", "a", output=0)
    trials = compiled.simplify("edge", adapt, tolerance=0.01, enough=1e-5)
    starts = [trial.kept for trial in trials if not trial.without]
    assert starts[0] is False
    assert sum(starts) == 1
    torch.testing.assert_close(compiled.module(DATA), task(DATA), atol=1e-4, rtol=0)


def test_equations_that_are_enough_stay(compiled: Compiled) -> None:
    compiled.choose("edge", "a", output=0)
    compiled.choose("edge", "b", output=1)
    trials = compiled.simplify("edge", adapt, tolerance=0.01, enough=1.0)
    assert trials[0].kept
    assert all(trial.without for trial in trials[1:])


def test_no_output_loses_a_term_that_another_has(compiled: Compiled) -> None:
    """A reader of both could do with one component in each, and no form would be more the law."""
    compiled.choose("edge", "a + 0.5*b", output=0)
    compiled.choose("edge", "a - b", output=1)

    def span(module: nn.Module) -> float:
        with torch.no_grad():
            basis = torch.cat([module.edge(DATA), torch.ones(len(DATA), 1)], dim=1)
            error = basis @ torch.linalg.lstsq(basis, DATA).solution - DATA
            return 1e-6 + float(error.square().mean())

    trials = compiled.simplify("edge", span, enough=1e-3)
    assert {term for trial in trials for term in trial.without.values()} == {"a", "b"}
    assert all("a" in str(e) and "b" in str(e) for e in compiled.equations["edge"].values())


def test_a_term_that_all_outputs_have_goes_from_all_at_once(compiled: Compiled) -> None:
    compiled.choose("edge", "a*b + 0.05*b", output=0)
    compiled.choose("edge", "2*a + 0.1*b", output=1)
    trials = compiled.simplify("edge", adapt, tolerance=0.01)
    assert {0: "0.05*b", 1: "0.1*b"} in [trial.without for trial in trials if trial.kept]
    assert [str(one) for one in compiled.equations["edge"].values()] == ["a*b", "2*a"]


def test_a_term_of_a_sum_inside_of_a_product_goes(compiled: Compiled) -> None:
    compiled.choose("edge", "a*(b + 0.1)", output=0)
    compiled.choose("edge", "b + 0.3", output=1)

    def fit(module: nn.Module) -> float:
        with torch.no_grad():
            a, b = DATA.unbind(-1)
            return 1e-6 + float((module.edge(DATA).sum(dim=-1) - (a * b + b)).var())

    trials = compiled.simplify("edge", fit, tolerance=0.01)
    assert [trial.without for trial in trials if trial.kept] == [{}, {1: "0.3"}, {0: "0.1"}]
    assert [str(one) for one in compiled.equations["edge"].values()] == ["a*b", "b"]


@dataclass(frozen=True)
class Mixing(Alternatives):
    """Offers one start, and one form that is completed."""

    start: Equations = field(default_factory=dict)
    mixture: Equations = field(default_factory=dict)

    def others(self, equations: Mapping[int, Equation]) -> Iterator[tuple[Alternatives, Equations]]:
        yield self, self.start

    def fewer(
        self, equations: Mapping[int, Equation], needed: Set[str]
    ) -> list[tuple[str, Equations]]:
        return []

    def mixed(self, equations: Mapping[int, Equation]) -> Equations:
        return self.mixture


@pytest.mark.parametrize(("enough", "last"), [(0.5, "a*b + 0.1*a"), (2.0, "b")])
def test_only_what_was_not_given_is_completed(enough: float, last: str) -> None:
    """The equations that are given lose 1; 0.5 is below what they reach."""
    operators = OperatorSet.of(["+", "*"])

    def equations(text: str) -> Equations:
        return {0: Equation.of(sympy.sympify(text), ("a", "b"), operators)}

    recorded = Mixing(
        ("a", "b"), Samples(DATA.numpy(), DATA.numpy(), np.zeros(400, bool)), operators, {},
        start=equations("a*b"), mixture=equations("a*b + 0.1*a"),
    )  # fmt: skip
    losses = {"b": 1.0, "a*b": 0.1}

    def build(trial: Equations) -> nn.Module:
        module = nn.Identity()
        module.text = str(trial[0])
        return module

    best, _ = search(
        equations("b"), recorded, build, lambda m: losses.get(m.text, 0.1), 0.01, enough
    )
    assert str(best.equations[0]) == last


class Scaled(nn.Module):
    """A message a b (1 + c/2), and a reader that knows c and takes the factor away again."""

    def __init__(self) -> None:
        super().__init__()
        self.edge = Product()
        self.powers = nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        c = x[:, 2:]
        factor = self.powers[0] + c * (self.powers[1] + c * (self.powers[2] + c * self.powers[3]))
        return self.edge(x) * factor


class Product(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b, c = x.split(1, dim=-1)
        return a * b * (1 + c / 2)


def test_an_input_goes_that_the_reader_can_bring_in_itself() -> None:
    data = torch.rand(300, 3, generator=torch.Generator().manual_seed(2)) + 0.5

    def adapt(module: nn.Module) -> float:
        with torch.no_grad():
            target = data[:, :1] * data[:, 1:2]
            basis = module.edge(data) * data[:, 2:] ** torch.arange(4.0)
            module.powers.copy_(torch.linalg.lstsq(basis, target).solution[:, 0])
            return 1e-6 + float((module(data) - target).square().mean())

    result = symcompile(Scaled().eval(), Target("edge", names=("a", "b", "c")), data, **OPTIONS)
    result.choose("edge", "a*b*(1.0 + 0.5*c)")
    trials = result.simplify("edge", adapt)
    assert [(trial.without, trial.kept) for trial in trials[:3]] == [
        ({}, True),
        ({0: "c"}, True),
        ({0: trials[2].without[0]}, False),
    ]
    assert result.equations["edge"][0].sympy.free_symbols == set(sympy.symbols("a b"))
    torch.testing.assert_close(result.module(data), data[:, :1] * data[:, 1:2], atol=1e-3, rtol=0)


def test_the_trained_weights_and_constants_come_along(compiled: Compiled) -> None:
    compiled.trainable_constants(True)

    def train(module: nn.Module) -> torch.Tensor:
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
        for _ in range(30):
            loss = (module(DATA) - task(DATA)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.detach()

    weight = compiled.module.node.weight.clone()
    trials = compiled.simplify("edge", train, tolerance=0.5)
    kept = [trial for trial in trials if trial.kept][-1]
    with torch.no_grad():
        error = (compiled.module(DATA) - task(DATA)).square().mean()
    assert float(error) <= kept.loss * 1.1
    assert not torch.equal(weight, compiled.module.node.weight)
    assert compiled.equations["edge"][1].constants != (2.0,)


def test_every_trial_starts_alike(compiled: Compiled) -> None:
    seen = []

    def watch(module: nn.Module) -> float:
        seen.append((module.node.weight.clone(), torch.rand(1)))
        with torch.no_grad():
            module.node.weight.zero_()
        return 1.0 - 0.001 * len(seen)

    before = torch.random.get_rng_state()
    compiled.simplify("edge", watch)
    assert torch.equal(before, torch.random.get_rng_state())
    assert len(seen) > 2
    assert all(torch.equal(a, seen[0][0]) and torch.equal(b, seen[0][1]) for a, b in seen)


def broken(module: nn.Module) -> float:
    with torch.no_grad():
        module.node.weight.zero_()
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("path", "adapt_", "options", "message"),
    [
        ("node", adapt, {}, "no region 'node'"),
        ("edge", None, {}, "adapt is a NoneType: expected a function"),
        ("edge", lambda module: "low", {}, "adapt returned a str"),
        ("edge", adapt, {"tolerance": -1.0}, "tolerance is -1.0: expected a share"),
        ("edge", adapt, {"enough": "all"}, "enough is 'all': expected a loss"),
        ("edge", adapt, {"enough": float("nan")}, "enough is nan: expected a loss"),
        ("edge", broken, {}, "out of memory"),
    ],
)
def test_what_goes_wrong_changes_nothing(
    compiled: Compiled,
    path: str,
    adapt_: Callable[[nn.Module], float],
    options: dict[str, Any],
    message: str,
) -> None:
    before = {k: v.clone() for k, v in compiled.module.state_dict().items()}
    equations = compiled.equations
    with pytest.raises((SymCompileError, RuntimeError), match=message):
        compiled.simplify(path, adapt_, **options)
    assert compiled.equations == equations
    after = compiled.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_neural_region_is_refused(compiled: Compiled) -> None:
    compiled.restore("edge")
    with pytest.raises(SymCompileError, match="'edge' is neural: choose an equation"):
        compiled.simplify("edge", adapt)


def test_a_loss_that_is_not_a_number_is_never_kept(compiled: Compiled) -> None:
    losses = chain([1.0], repeat(float("nan")))
    equations = [e.sympy for e in compiled.equations["edge"].values()]
    trials = compiled.simplify("edge", lambda module: next(losses))
    assert [trial.kept for trial in trials] == [True] + [False] * (len(trials) - 1)
    assert [e.sympy for e in compiled.equations["edge"].values()] == equations
