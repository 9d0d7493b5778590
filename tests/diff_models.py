"""Pairs of models that differ in one way, written as a manifest, a `.symc` or an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sympy
import torch
from hybrids import Fake, FakeHybrid, hybrid_of
from torch import nn

from symcompile import exporters
from symcompile.fidelity.outcome import (
    Agreement,
    EndToEnd,
    Outcome,
    OutputFidelity,
    Refusal,
    Rewrite,
)
from symcompile.modules.calling import Batch
from symcompile.storage import artifact

FORMATS = ("manifest", "symc", "onnx")


@dataclass(frozen=True)
class Law:
    """One side of a case: equations of two inputs, and what is done to the outcome."""

    equations: Sequence[str]
    outputs: Sequence[int] | None = None
    features: dict[str, str] | None = None
    ranges: Sequence[tuple[float, float]] = ((0.5, 2.0), (0.25, 3.0))
    edit: Callable[[Rewrite], Outcome] = lambda rewrite: rewrite


def law(of: Law | str) -> Law:
    return Law([of]) if isinstance(of, str) else of


def edited(edit: Callable[[Rewrite], Outcome], equation: str = "1.5*x0*x1") -> Law:
    return Law([equation], edit=edit)


# --- what is done to an outcome ------------------------------------------------------------------


def neural(rewrite: Rewrite) -> Outcome:
    return Refusal(rewrite.path, "restored", rewrite.region)


def made_by(engine: str, seed: int = 0) -> Callable[[Rewrite], Outcome]:
    provenance = {"engine": {"name": engine, "version": "1.0"}, "seed": seed}
    return lambda rewrite: replace(rewrite, provenance=provenance)


def measured(r2: float, end_to_end: float = 0.02) -> Callable[[Rewrite], Outcome]:
    def edit(rewrite: Rewrite) -> Outcome:
        outputs = {0: OutputFidelity(Agreement(r2, (1 - r2) ** 0.5, 0.5))}
        whole = EndToEnd(end_to_end, 0.9, 0.4, "held-out rows")
        fidelity = replace(rewrite.fidelity, outputs=outputs, end_to_end=whole)
        return replace(rewrite, fidelity=fidelity)

    return edit


def called(*names: str) -> Callable[[Rewrite], Outcome]:
    """The block's inputs have other names, in its equations too."""

    def edit(rewrite: Rewrite) -> Outcome:
        return renamed(rewrite, names)

    return edit


def renamed(rewrite: Rewrite, names: Sequence[str]) -> Rewrite:
    region = replace(rewrite.region, names=tuple(names))
    new = dict(zip(map(sympy.Symbol, rewrite.region.names), map(sympy.Symbol, names), strict=True))
    equations = {
        k: replace(e, form=e.form.xreplace(new), symbols=tuple(names))
        for k, e in rewrite.equations.items()
    }
    return replace(rewrite, region=region, equations=equations, fronts={})


def probed(rewrite: Rewrite) -> Outcome:
    return replace(rewrite, probes=((0.5, 1.0), (1.25, 2.0), (2.0, 0.25)))


class Dense(nn.Linear):
    """Its argument is called what `Fake` calls it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


class Many(nn.Module):
    """All blocks side by side on what one layer gives."""

    def __init__(self, names: Sequence[str], widths: Sequence[int]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(2, 2)
        pairs = zip(names, widths, strict=True)
        self.blocks = nn.ModuleDict({name: Dense(2, width) for name, width in pairs})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.before(x).abs() + 0.5
        return torch.cat([block(hidden) for block in self.blocks.values()], dim=-1)


def many(laws: dict[str, Law]) -> FakeHybrid:
    model = Many(list(laws), [len(one.equations) for one in laws.values()])
    layers = dict(model.blocks.items())
    fakes = {
        f"blocks.{name}": Fake(one.equations, 2, features=one.features, ranges=list(one.ranges))
        for name, one in laws.items()
    }
    hybrid = hybrid_of(model, fakes, Batch((torch.rand(6, 2),), {}))
    outcomes = dict(hybrid.outcomes)
    for name, one in laws.items():
        path = f"blocks.{name}"
        outcomes[path] = one.edit(outcomes[path])  # type: ignore[arg-type]
        if isinstance(outcomes[path], Refusal):
            model.set_submodule(path, layers[name])
    return replace(hybrid, outcomes=outcomes)


def written(hybrid: FakeHybrid, format: str, stem: Path, **options: Any) -> Path:
    """The hybrid as a file of a format."""
    path = stem.with_suffix({"manifest": ".json"}.get(format, f".{format}"))
    if format == "manifest":
        exporters.manifest(hybrid, path)
    elif format == "onnx":
        exporters.onnx(hybrid, path, check=False, **options)
    else:
        artifact.write(path, hybrid)
    return path


# --- blocks between neural layers ---


class Net(nn.Module):
    """Two blocks between neural layers."""

    def __init__(
        self, width: int = 3, activation: nn.Module | None = None, extra: bool = False
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(2, width)
        self.activation = activation or nn.Tanh()
        self.mix = nn.Linear(width, 2)
        self.law, self.gain = nn.Linear(2, 2), nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)
        self.extra = nn.Linear(width, width) if extra else None
        with torch.no_grad():
            for one in self.parameters():  # the same whatever else there is
                one.copy_(torch.linspace(-1, 1, one.numel()).reshape(one.shape))

    def forward(self, x: torch.Tensor) -> Any:
        h = self.activation(self.stem(x))
        if self.extra is not None:
            h = self.extra(h)
        return self.between(self.mix(h))

    def between(self, h: torch.Tensor) -> Any:
        return self.head(self.gain(self.law(h)))


class Renamed(Net):
    def forward(self, signal: torch.Tensor) -> Any:
        return super().forward(signal)


class Pair(Net):
    def forward(self, x: torch.Tensor) -> Any:
        y = super().forward(x)
        return y, y * 2


class Twice(Net):
    def between(self, h: torch.Tensor) -> Any:
        return self.head(self.gain(self.law(self.law(h))))


class Swapped(Net):
    def between(self, h: torch.Tensor) -> Any:
        return self.head(self.law(self.gain(h)))


class Fixed(Net):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x.reshape(6, 2))


class Elsewhere(Net):
    """`law` is called `physics` here."""

    def __init__(self) -> None:
        super().__init__()
        self.physics = self.law
        del self.law

    def between(self, h: torch.Tensor) -> Any:
        return self.head(self.gain(self.physics(h)))


EQUATIONS = {"law": ["1.5*x0*x1", "sin(2.5*x0)"], "gain": ["x0 + 0.5", "2.5*x1"]}


def net(
    model: nn.Module | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    equations: dict[str, list[str]] = EQUATIONS,
    edit: Callable[[nn.Module], None] = lambda model: None,
) -> FakeHybrid:
    module = (model or Net()).to(dtype)
    edit(module)
    fakes = {path: Fake(of, 2, ranges=[(0.5, 2.0), (0.25, 3.0)]) for path, of in equations.items()}
    batch = Batch((torch.linspace(0, 1, 12, dtype=dtype).reshape(6, 2),), {})
    hybrid = hybrid_of(module, fakes, batch, dtype=dtype)
    name = str(dtype).removeprefix("torch.")
    outcomes = {
        path: replace(one, region=replace(one.region, dtype=name))  # type: ignore[arg-type]
        for path, one in hybrid.outcomes.items()
    }
    return replace(hybrid, outcomes=outcomes)


@torch.no_grad()
def retrained(model: nn.Module) -> None:
    model.get_parameter("stem.weight").mul_(1.5)
