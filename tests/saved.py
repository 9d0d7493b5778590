"""A small compile with a front, features, a block that stays neural and a recording."""

from __future__ import annotations

from pathlib import Path

import torch
from searches import QUICK
from torch import nn

import symcompile
from symcompile import Compiled, Target


class Law(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.law, self.other, self.head = nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 1)

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        h: torch.Tensor = self.head(torch.tanh(self.other(torch.sin(self.law(x)))))
        return h * scale


def compiled() -> Compiled:
    torch.manual_seed(0)
    x = torch.randn(60, 3)
    targets = [
        Target("law", features={"a": "x0*x1", "b": "sqrt(x2**2 + 1)"}),
        Target("other", tolerance=1e-12),
    ]
    found = symcompile.symcompile(Law(), targets, x, n_samples=60, **QUICK)
    found.choose("law", "0.5*a + b", output=0)
    found.choose("law", "2.5*sin(a)", output=1)
    return found


def files(folder: Path) -> dict[str, Path]:
    """The compile in every format that is read."""
    made = compiled()
    folder.mkdir(parents=True, exist_ok=True)
    made.export(folder / "law.json")
    made.export(folder / "law.onnx")
    return {
        "symc": made.save(folder / "law.symc"),
        "manifest": folder / "law.json",
        "onnx": folder / "law.onnx",
        "recording": made.recording.save(folder / "law.safetensors"),
    }
