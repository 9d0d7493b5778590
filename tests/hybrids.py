"""Hybrids written by hand: lowered equations in the place of blocks, without a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sympy
import torch
from torch import nn

from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.fidelity.outcome import (
    Agreement,
    EndToEnd,
    Fidelity,
    Outcome,
    OutputFidelity,
    Rewrite,
)
from symcompile.lowering.block import lower
from symcompile.modules.calling import Batch, submodule_path
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.regression.pareto import ParetoFront
from symcompile.target import Target


@dataclass
class FakeHybrid:
    module: nn.Module
    outcomes: Mapping[str, Outcome]
    example: Batch | None
    capture: str = "fx"


@dataclass
class Fake:
    """Equations over x0, x1, ... for one region; `interface` where it is not one tensor to one."""

    equations: Sequence[str | sympy.Expr]
    n_inputs: int
    interface: Interface | None = None
    neural: nn.Module | None = None
    outputs: Sequence[int] | None = None
    features: dict[str, str] | None = None
    ranges: Sequence[tuple[float, float]] = field(default_factory=list)


def region_of(path: str, fake: Fake) -> Region:
    numbers = list(fake.outputs or range(len(fake.equations)))
    interface = fake.interface or Interface(
        (Parameter("x"),),
        (TensorInput("x", (), fake.n_inputs),),
        (TensorOutput(max(len(fake.equations), max(numbers) + 1)),),
    )
    names = tuple(f"x{k}" for k in range(interface.n_inputs))
    target = Target(path, features=fake.features, outputs=fake.outputs and tuple(fake.outputs))
    return Region(path, target, interface, names)


def hybrid_of(
    module: nn.Module,
    fakes: Mapping[str, Fake],
    example: Batch | None,
    *,
    dtype: torch.dtype = torch.float32,
    capture: str = "fx",
) -> FakeHybrid:
    """Put lowered equations in the place of the module's blocks, in place."""
    outcomes: dict[str, Outcome] = {}
    for path, fake in fakes.items():
        region = region_of(path, fake)
        equations = equations_of(region, fake)
        lowered = lower(region, equations, dtype=dtype, neural=fake.neural)
        module.set_submodule(submodule_path(path), lowered.module)
        outcomes[path] = rewrite_of(region, equations, fake)
    return FakeHybrid(module.eval(), outcomes, example, capture)


def equations_of(region: Region, fake: Fake) -> dict[int, Equation]:
    numbers = fake.outputs or range(len(fake.equations))
    return {
        number: Equation.of(
            parse(one, region.variables) if isinstance(one, str) else one,
            region.variables,
            OperatorSet.of(None),
            loss=0.25,
            holdout_loss=0.5,
        )
        for number, one in zip(numbers, fake.equations, strict=True)
    }


def rewrite_of(region: Region, equations: Mapping[int, Equation], fake: Fake) -> Rewrite:
    fidelity = Fidelity(
        {k: OutputFidelity(Agreement(0.99, 0.01 * (k + 1), 0.5)) for k in equations},
        EndToEnd(0.02, 0.9, 0.4, "held-out rows"),
        parameters_removed=37,
    )
    fronts = {k: ParetoFront((one,), 1.0) for k, one in equations.items()}
    ranges = tuple(fake.ranges) or tuple((-1.0, 2.0) for _ in region.names)
    return Rewrite(region, equations, fronts, fidelity, {"engine": {"name": "hand"}}, ranges)
