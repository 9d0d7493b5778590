"""Recordings: files that come back equal, or not at all; and models that changed since."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import Block, Calling, Net, graph_batch
from safetensors.torch import load_file, save_file
from torch import nn

from symcompile import record
from symcompile.errors import ArtifactError, DataError, StaleRecordingError
from symcompile.modules.calling import Batch, same
from symcompile.modules.samples import Samples
from symcompile.modules.state import fingerprint
from symcompile.storage.recording import Recording
from symcompile.target import Target

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
KEY = "symcompile.recording"


def make() -> tuple[nn.Module, Recording]:
    """Everything that a recording can hold: settings, features, weights, refusals, odd batches."""
    block = Block(lambda x, power, *, t: {"u": (x**power * t.unsqueeze(-1), t)})
    model = Calling(block, lambda b, x: b(x[:, :2], 2, t=x[:, 2])["u"][0])
    model.add_module("spare", nn.Linear(2, 2).bfloat16())
    targets = [Target("block", names=("a", "b", "t"), features={"r": "a*b"}), Target("spare")]
    found = record(model, targets, X, n_samples=50, holdout=0.2, seed=3)
    samples = replace(found["block"], weights=np.linspace(0, 1, len(found["block"].X)))
    nested = Batch(
        (torch.ones(2, 3).requires_grad_(True), (1, [2.5, None])),
        {"graph": graph_batch(), "mode": "fast", "flag": True, "half": torch.ones(2).bfloat16()},
    )
    return model, replace(found, samples={"block": samples}, batches=(*found.batches, nested))


def test_saved_and_loaded_equal(tmp_path: Path) -> None:
    model, record = make()
    path = record.save(tmp_path / "run.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]
    again = Recording.load(path)
    assert again.regions == record.regions
    assert again.regions["block"].settings == {"power": 2}
    assert again.refused == record.refused
    assert "never called" in again.refused["spare"]
    for field in ("X", "Y", "holdout", "weights"):
        np.testing.assert_array_equal(
            getattr(again["block"], field), getattr(record["block"], field)
        )
    assert same([tuple(b) for b in again.batches], [tuple(b) for b in record.batches])
    assert again.batches[-1].args[0].requires_grad
    assert again.batches[-1].args[1] == (1, [2.5, None])
    for field in ("batches_are", "fingerprint", "capture", "note", "seed"):
        assert getattr(again, field) == getattr(record, field)
    again.check(model)
    header, tensors = again.pack()
    assert Recording.unpack(json.loads(json.dumps(header)), tensors).regions == record.regions


def test_samples_of_float32_take_half_the_bytes(tmp_path: Path) -> None:
    """As the block gave them: nothing is rounded."""
    found = make()[1]
    block = found["block"]
    third = {"X": block.X / 3, "Y": block.Y / 3}
    kept = {}
    for name, samples in (("narrow", block), ("wide", replace(block, **third))):
        made = replace(found, samples={"block": samples})
        again = Recording.load(made.save(tmp_path / name))["block"]
        for field in ("X", "Y"):
            np.testing.assert_array_equal(getattr(again, field), getattr(samples, field))
            assert getattr(again, field).dtype == np.float64
        tensors = load_file(tmp_path / name)
        kept[name] = {field: tensors[f"samples/block/{field}"].dtype for field in ("X", "Y")}
    assert kept["narrow"] == dict.fromkeys(("X", "Y"), torch.float32)
    assert kept["wide"] == dict.fromkeys(("X", "Y"), torch.float64)


def test_samples_of_before_are_read(tmp_path: Path) -> None:
    """Format 1: all of them in float64."""
    found = make()[1]
    header, tensors = found.pack()
    wide = {
        n: t.double() if n[:8] == "samples/" and t.is_floating_point() else t
        for n, t in tensors.items()
    }
    again = Recording.unpack(json.loads(json.dumps(header | {"format": 1})), wide)
    for field in ("X", "Y", "weights"):
        np.testing.assert_array_equal(
            getattr(again["block"], field), getattr(found["block"], field)
        )


def test_samples_are_told_apart() -> None:
    samples = Samples(
        np.array([[0.0, 5.0], [1.0, 3.0], [2.0, 4.0]]),
        np.array([[0.0], [1.0], [2.0]]),
        np.array([False, True, False]),
        np.array([1.0, 2.0, 3.0]),
    )
    assert samples.X_fit.tolist() == [[0.0, 5.0], [2.0, 4.0]]
    assert samples.Y_holdout.tolist() == [[1.0]]
    assert samples.X_holdout.tolist() == [[1.0, 3.0]]
    assert samples.Y_fit.tolist() == [[0.0], [2.0]]
    assert samples.weights_fit is not None
    assert samples.weights_fit.tolist() == [1.0, 3.0]
    assert samples.ranges == ((0.0, 2.0), (3.0, 5.0))


# --- damage ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make()[1].save(tmp_path_factory.mktemp("recording") / "run.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.3, 0.999])
def test_truncated(stored: Path, tmp_path: Path, keep: float) -> None:
    whole = stored.read_bytes()
    size = int(keep if keep >= 1 or keep == 0 else keep * len(whole))
    (tmp_path / "cut").write_bytes(whole[:size])
    with pytest.raises(ArtifactError, match="can't read recording"):
        Recording.load(tmp_path / "cut")


def test_no_recording_at_all(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="can't read recording"):
        Recording.load(tmp_path / "missing")
    (tmp_path / "text").write_text("not a recording")
    with pytest.raises(ArtifactError, match="can't read recording"):
        Recording.load(tmp_path / "text")
    save_file({"a": torch.ones(1)}, tmp_path / "other")
    with pytest.raises(ArtifactError, match="can't read recording"):
        Recording.load(tmp_path / "other")
    torch.save({"a": 1}, tmp_path / "pickle")
    with pytest.raises(ArtifactError, match="can't read recording"):
        Recording.load(tmp_path / "pickle")


def _set(*path: Any, to: Any) -> Any:
    def change(header: Any, tensors: dict[str, torch.Tensor]) -> None:
        for key in path[:-1]:
            header = header[key]
        header[path[-1]] = to

    return change


def _tensor(name: str, change: Any) -> Any:
    def apply(header: Any, tensors: dict[str, torch.Tensor]) -> None:
        found = change(tensors.pop(f"samples/block/{name}"))
        if found is not None:
            tensors[f"samples/block/{name}"] = found.contiguous()

    return apply


TAMPERED: dict[str, tuple[Any, str]] = {
    "format": (_set("format", to=99), "recording of format 99: expected up to 2"),
    "X missing": (_tensor("X", lambda t: None), "samples/block/X"),
    "X narrow": (_tensor("X", lambda t: t[:, :1]), r"X of 'block'.*expected finite"),
    "X flat": (_tensor("X", lambda t: t.flatten()), "X of 'block'"),
    "X in float16": (_tensor("X", lambda t: t.half()), "X of 'block' is float16"),
    "X of whole numbers": (_tensor("X", lambda t: t.long()), "X of 'block' is int64"),
    "X not finite": (_tensor("X", lambda t: t / 0), "X of 'block'"),
    "Y short": (_tensor("Y", lambda t: t[:5]), "Y of 'block'"),
    "holdout long": (_tensor("holdout", lambda t: t.repeat(2)), "holdout of 'block'"),
    "holdout as numbers": (_tensor("holdout", lambda t: t.double()), "holdout of 'block'"),
    "weights short": (_tensor("weights", lambda t: t[:5]), "weights of 'block'"),
    "regions missing": (lambda header, tensors: header.pop("regions"), "regions"),
    "region damaged": (_set("regions", "block", to={"path": "block"}), "recording"),
    "code as feature": (
        _set("regions", "block", "target", "features", to=[["r", "__import__('os').getpid()"]]),
        "unknown function|not a plain function",
    ),
    "batch of another kind": (
        _set("batches", 0, "args", "tuple", to=[{"pickle": "gASV"}]),
        "holds 'pickle'",
    ),
    "tensor missing": (
        _set("batches", 0, "args", "tuple", to=[{"tensor": "nowhere", "requires_grad": False}]),
        "nowhere",
    ),
    "header is a list": (lambda header, tensors: [], "recording"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered(stored: Path, tmp_path: Path, name: str) -> None:
    change, message = TAMPERED[name]
    header, tensors = make()[1].pack()
    header = json.loads(json.dumps(header))
    replaced = change(header, tensors)
    header = replaced if isinstance(replaced, list) else header
    save_file(tensors, tmp_path / "tampered", metadata={KEY: json.dumps(header)})
    with pytest.raises(ArtifactError, match=message):
        Recording.load(tmp_path / "tampered")


def test_unwritable(tmp_path: Path) -> None:
    record = make()[1]
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "missing" / "run", tmp_path / "file" / "run"):
        with pytest.raises(ArtifactError, match="can't write recording"):
            record.save(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match="can't write recording"):
        record.save(tmp_path / "folder")
    assert {file.name for file in tmp_path.iterdir()} == {"file", "folder"}


@pytest.mark.parametrize("value", [object(), {3: torch.ones(1)}, torch.float32])
def test_batches_that_cant_be_stored(tmp_path: Path, value: Any) -> None:
    record = replace(make()[1], batches=(Batch((value,), {}),))
    with pytest.raises(ArtifactError, match="can't store a batch"):
        record.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_pickled(stored: Path) -> None:
    assert set(load_file(stored)) >= {f"samples/block/{name}" for name in ("X", "Y", "holdout")}


# --- stale recordings -------------------------------------------------------------------------


def test_changed_weights_are_stale() -> None:
    model, record = make()
    record.check(model)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(StaleRecordingError, match=r"other weights.*record again"):
        record.check(model)
    replace(record, fingerprint="").check(model)


def test_fingerprints() -> None:
    one = fingerprint(Net())
    assert one == fingerprint(Net())
    assert one == fingerprint(Net().train(False).requires_grad_(False))
    assert one != fingerprint(Net().double())
    other = Net()
    other.register_buffer("count", torch.zeros(()))
    counted = fingerprint(other)
    assert counted != one
    other.count += 1
    assert fingerprint(other) != counted
    transposed = Net()
    with torch.no_grad():
        transposed.before.weight.copy_(transposed.before.weight.t().clone())
    assert fingerprint(transposed) != one


def test_fingerprints_of_every_type_of_tensor() -> None:
    model = nn.Module()
    types = (torch.bfloat16, torch.float16, torch.int8, torch.bool, torch.complex64, torch.float64)
    for number, dtype in enumerate(types):
        model.register_buffer(f"b{number}", torch.ones(2, 2).to(dtype).t())
    model.register_buffer("empty", torch.ones(0, 3))
    model.register_buffer("scalar", torch.tensor(1.0))
    assert len(fingerprint(model)) == 64
    with pytest.raises(DataError, match="on the meta device"):
        fingerprint(Net().to("meta"))


def test_the_only_region_can_be_left_unnamed() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    data = torch.randn(40, 2)
    one = record(model, "0", data)
    assert one.X is one["0"].X
    assert one.Y is one["0"].Y
    with pytest.raises(DataError, match="2 regions"):
        _ = record(model, ["0", "1"], data).X
