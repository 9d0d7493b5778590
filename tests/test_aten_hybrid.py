"""Regions that stayed neural are stored: as calls where that works, else as part of the graph."""

from pathlib import Path
from typing import Any

import pytest
import torch
from searches import QUICK
from torch import nn

from symcompile import Compiled, diff, exporters, load, symcompile
from symcompile.aten.hybrid import encode_around
from symcompile.errors import ArtifactError, ChoiceError
from symcompile.fidelity.outcome import Refusal, Rewrite


class Encoder(nn.Module):
    """torch's own layer, which reads the weights of its linear layers in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encode(x))


class ReachesInto(nn.Module):
    """Calls one block three times and reads its weight, and another block by its forward alone."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.head = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read, plain = self.blocks
        for _ in range(3):
            x = torch.tanh(read(x) + read.weight.mean())
        return self.head(plain(x))


def case(model: nn.Module, targets: Any, *shape: int, **options: Any) -> tuple[Compiled, Any]:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -1, 1)
    x = torch.randn(*shape)
    return symcompile(model.eval(), targets, x, **QUICK, **options), x


def kinds(compiled: Compiled) -> dict[str, type]:
    return {path: type(one) for path, one in compiled.outcomes.items()}


def graph_calls(compiled: Compiled) -> set[str]:
    assert compiled.example is not None
    return set(encode_around(compiled.module, compiled.example, compiled.outcomes)[1])


def assert_comes_back(compiled: Compiled, x: torch.Tensor, tmp_path: Path, **options: Any) -> Any:
    """Saved, loaded, saved and loaded again: the same values, outcomes, fronts and file."""
    once = load(compiled.save(tmp_path / "once.symc", **options))
    twice = load(once.save(tmp_path / "twice.symc", **options))
    for one in (once, twice):
        torch.testing.assert_close(one.module(x), compiled.module(x))
        assert kinds(one) == kinds(compiled)
        assert one.fronts.keys() == compiled.fronts.keys()
    assert diff(compiled, tmp_path / "once.symc").same
    assert diff(tmp_path / "once.symc", tmp_path / "twice.symc").same
    return once


def test_a_block_whose_weights_its_model_reads_is_part_of_the_graph(tmp_path: Path) -> None:
    compiled, x = case(Encoder(), ["encode.linear2", "head"], 10, 3, 4)
    assert kinds(compiled) == {"encode.linear2": Refusal, "head": Rewrite}
    compiled.choose("head", "x0 - x1")
    loaded = load(compiled.save(tmp_path / "m.symc"))
    torch.testing.assert_close(loaded.module(x), compiled.module(x))
    with pytest.raises(ChoiceError, match="is part of the graph that was loaded"):
        loaded.choose("encode.linear2", "x0")
    loaded.restore("head")
    compiled.restore("head")
    torch.testing.assert_close(loaded.module(x), compiled.module(x))


def test_other_formats_hold_it_too(tmp_path: Path) -> None:
    compiled, x = case(ReachesInto(), ["blocks.0", "head"], 100, 2)
    assert kinds(compiled) == {"blocks.0": Refusal, "head": Rewrite}
    assert_comes_back(compiled, x, tmp_path, original=False)
    exporters.manifest(compiled, tmp_path / "m.json")
    assert diff(tmp_path / "m.json", tmp_path / "once.symc").same
    assert exporters.manifest(compiled)["graph"]["level"] == "aten"
    for one in (compiled, load(tmp_path / "once.symc")):
        assert exporters.onnx(one, tmp_path / "m.onnx").agreement is not None


def test_only_blocks_that_are_reached_into_are_taken_in(tmp_path: Path) -> None:
    compiled, x = case(ReachesInto(), ["blocks.*"], 100, 2, tolerance=1e-12)
    assert kinds(compiled) == {"blocks.0": Refusal, "blocks.1": Refusal}
    assert graph_calls(compiled) == {"blocks.1"}
    loaded = assert_comes_back(compiled, x, tmp_path)
    loaded.choose("blocks.1", "x0*x1")
    compiled.choose("blocks.1", "x0*x1")
    torch.testing.assert_close(loaded.module(x), compiled.module(x))
    assert_comes_back(loaded, x, tmp_path)


def test_refused_and_restored_blocks_can_be_chosen_after_loading(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    compiled, x = case(model, ["0", "2"], 100, 2, tolerance=1e-12)
    assert set(kinds(compiled).values()) == {Refusal}
    assert_comes_back(compiled, x, tmp_path)
    compiled.choose("0", "x0 + x1")
    compiled.choose("2", "x0*x1")
    compiled.restore("0")
    loaded = assert_comes_back(compiled, x, tmp_path)
    for one in (compiled, loaded):
        one.choose("0", "sin(x0)")
    torch.testing.assert_close(loaded.module(x), compiled.module(x))
    assert_comes_back(loaded, x, tmp_path)


class Config:
    gain = 2.0


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, config: Config) -> torch.Tensor:
        return torch.tanh(self.linear(x)) * config.gain


class Configured(nn.Module):
    """A block that gets an object beside its tensor: it can't be stored on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled, self.head = Scaled(), nn.Linear(2, 1)
        self.config = Config()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.scaled(x, self.config))


def test_a_neural_block_that_cannot_be_stored_alone_is_part_of_the_graph(tmp_path: Path) -> None:
    compiled, x = case(Configured(), ["scaled", "head"], 100, 2, tolerance=1e-6)
    assert kinds(compiled) == {"scaled": Refusal, "head": Rewrite}
    for original in (True, False):
        loaded = load(compiled.save(tmp_path / "m.symc", original=original))
        assert graph_calls(loaded) == {"head"}
        assert loaded.outcomes["scaled"].reason == compiled.outcomes["scaled"].reason
        assert_comes_back(loaded, x, tmp_path, original=original)
        torch.testing.assert_close(loaded.module(x), compiled.module(x))


def test_what_no_graph_can_hold_is_still_refused(tmp_path: Path) -> None:
    class Numpy(ReachesInto):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.from_numpy(x.numpy() * 2))

    compiled, _ = case(Numpy(), ["blocks.0"], 100, 2)
    with pytest.raises(ArtifactError, match=r"torch\.export can't follow"):
        compiled.save(tmp_path / "m.symc")
    assert list(tmp_path.iterdir()) == []
