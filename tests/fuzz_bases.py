"""Valid files that mutants are made of: what symcompile writes of several kinds of models."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import saved
import torch
from diff_models import net, written
from searches import QUICK
from torch import nn

import symcompile
from symcompile import Target


class Gated(nn.Module):
    """Several arguments, a mode, projections, a block that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.gate = nn.Linear(6, 4), nn.Linear(4, 4)

    def forward(
        self, batch: dict[str, torch.Tensor], *rest: torch.Tensor, power: int = 2
    ) -> dict[str, torch.Tensor]:
        h = torch.dropout(self.wide(batch["x"]), 0.1, self.training) + rest[0]
        return {"y": self.gate(torch.tanh(self.gate(h))) ** power}


def made(folder: Path, *, all_of_them: bool = True) -> dict[str, list[Path]]:
    """Files of each kind; those that are there already are taken."""
    names = ["law"] + ["gated", "asked"] * all_of_them
    endings = {"symc": "symc", "manifest": "json", "recording": "safetensors"}
    found = {kind: [folder / f"{name}.{end}" for name in names] for kind, end in endings.items()}
    found["manifest"].append(folder / "net.json")
    found["onnx"] = [
        folder / "net.onnx",
        *[folder / "law.onnx"] * all_of_them,
        folder / "flat.onnx",
    ]
    found["journal"] = [folder / "journal.json"]
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _write(folder, all_of_them)
        (folder / "done").touch()
    return found


def _write(folder: Path, all_of_them: bool) -> None:
    _write_hybrids(folder)
    law = saved.compiled()
    law.save(folder / "law.symc")
    law.export(folder / "law.json")
    law.recording.save(folder / "law.safetensors")
    _write_journal(law, folder / "journal.json")
    if all_of_them:
        law.export(folder / "law.onnx")
        _write_gated(folder)
        _write_asked(folder)


def _write_hybrids(folder: Path) -> None:
    written(net(), "manifest", folder / "net")
    written(net(), "onnx", folder / "net")
    written(net(), "onnx", folder / "flat", functions=False)


def _write_gated(folder: Path) -> None:
    torch.manual_seed(1)
    batch = ({"x": torch.randn(60, 6)}, torch.randn(60, 4))
    found = symcompile.symcompile(
        Gated(), [Target("wide", reduce=(3, 2)), Target("gate", outputs=(0, 2))], batch, **QUICK
    )
    found.save(folder / "gated.symc")
    found.export(folder / "gated.json")
    found.recording.save(folder / "gated.safetensors")


def _write_asked(folder: Path) -> None:
    """With all that limits a search in the file."""
    target = Target(
        "0", names=("m", "v"), units={"m": "kg", "v": "1"}, output_units={0: "kg"},
        constraints={"*": (5, -1)}, nested_constraints={"sin": {"sin": 0}}, prefer="accuracy",
        complexity_of_variables={"m": 2}, complexity_of_constants=2, guesses=["m*1.5"],
    )  # fmt: skip
    operators = {"+": 1, "*": 1, "sin": 3, "lorentz": ("1/sqrt(1 - a**2)", 4)}
    found = symcompile.symcompile(
        nn.Sequential(nn.Linear(2, 2)),
        target,
        torch.rand(60, 2),
        engine="operon",
        **(QUICK | {"operators": operators}),
    )
    found.save(folder / "asked.symc")
    found.export(folder / "asked.json")
    found.recording.save(folder / "asked.safetensors")


def _write_journal(law: symcompile.Compiled, path: Path) -> None:
    from symcompile.storage import journal

    body = json.dumps(law.fronts["law"][0].to_json(text=False), allow_nan=False)
    path.write_text(f"{journal._sha256(body)}\n{body}")
