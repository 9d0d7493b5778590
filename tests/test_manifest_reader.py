"""Manifests, artifacts and compiled models give the same facts; what was edited is refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hybrids import Fake, hybrid_of
from searches import QUICK
from torch import fx, nn

from symcompile import Compiled, Target, load, symcompile
from symcompile.diff.readers import manifest, read, read_pair
from symcompile.diff.snapshot import Snapshot
from symcompile.errors import ArtifactError, ComparisonError
from symcompile.exporters.manifest_json import manifest as exported
from symcompile.exporters.manifest_json import text
from symcompile.modules.calling import Batch
from symcompile.storage import container


class Net(nn.Module):
    """Blocks that end up featured, in part neural, projected, restored and refused."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.norm, self.drop = nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.1)
        self.featured, self.part = nn.Linear(4, 2), nn.Linear(4, 3)
        self.wide, self.restored = nn.Sequential(nn.Linear(6, 6), nn.Tanh()), nn.Linear(2, 1)
        self.refused = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        hidden = self.drop(self.norm(self.encoder(x)))
        y = self.restored(self.featured(hidden)) + self.refused(hidden)[:, :1]
        wide = self.wide(batch["w"]) * torch.tensor([2.0])
        return {"y": y, "part": self.part(hidden), "wide": wide}


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    torch.manual_seed(0)
    found = symcompile(
        Net().eval(),
        [
            Target("featured", names=("p", "q", "r", "s"), features={"u": "p-q", "a": "sin(r)+s"}),
            Target("part", outputs=(0, 2)),
            Target("wide", reduce=(2, 2)),
            "restored",
            Target("refused", tolerance=1e-12),
        ],
        [(torch.randn(120, 6), {"w": torch.randn(120, 6)})],
        engine="operon",
        **QUICK,
    )
    found.restore("restored")
    return found


@pytest.fixture(scope="module")
def files(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    exported(compiled, folder / "manifest")
    compiled.save(folder / "artifact")
    return {name: folder / name for name in ("manifest", "artifact")}


def facts(value: Any) -> Any:
    """Everything in a snapshot, the order of mappings included."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {one.name: facts(getattr(value, one.name)) for one in fields}
    if isinstance(value, dict):
        return [[key, facts(one)] for key, one in value.items()]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [facts(one) for one in value] if isinstance(value, (tuple, list)) else repr(value)


def same_facts(found: Snapshot, expected: Snapshot) -> None:
    plain = dataclasses.replace(found, source=expected.source, kind=expected.kind)
    assert facts(plain) == facts(expected)


# --- the same facts from everything --------------------------------------------------------------


def test_an_artifact_says_what_the_manifest_says(files: dict[str, Path]) -> None:
    found = read(files["artifact"])
    assert found.kind == "artifact"
    same_facts(found, read(files["manifest"]))


def test_so_does_the_compiled_model(compiled: Compiled, files: dict[str, Path]) -> None:
    found = read(compiled)
    assert (found.kind, found.source) == ("Compiled", "Compiled")
    same_facts(found, read(files["manifest"]))


def test_so_does_a_loaded_one_to_the_byte(files: dict[str, Path]) -> None:
    assert text(exported(load(files["artifact"]))) == files["manifest"].read_text()


def test_what_a_snapshot_knows(files: dict[str, Path]) -> None:
    found = read(os.fspath(files["manifest"]))
    assert {name: one.status for name, one in found.blocks.items()} == {
        "featured": "symbolic", "part": "symbolic", "refused": "neural", "restored": "neural",
        "wide": "symbolic",
    }  # fmt: skip
    featured = found.blocks["featured"]
    assert list(featured.inputs) == ["p", "q", "r", "s"]
    assert featured.features == {"u": "p-q", "a": "sin(r)+s"}
    assert featured.outputs[0].equation.symbols == ("u", "a")
    assert featured.probes.shape[1] == 2
    assert list(found.blocks["part"].outputs) == [0, 2]
    assert set(found.blocks["wide"].projections) == {"in", "out"}
    assert found.blocks["refused"].digest != found.blocks["restored"].digest
    assert "restore" in found.blocks["restored"].reason
    assert list(found.inputs) == ["x", "batch['w']"]
    assert found.inputs["x"].shape == ("batch", 6)
    assert found.outputs["['part']"].shape == ("batch", 3)
    assert {"encoder.weight", "part.neural.weight"} <= set(found.weights)
    assert found.level == "aten"
    assert sum(node.operator.startswith("region:") for node in found.nodes) == 5
    assert found.probes is not None
    assert len(found.probes.outputs["['y']"]) == 4


def test_weights_of_each_kind_are_seen(compiled: Compiled, files: dict[str, Path]) -> None:
    before = read(files["manifest"])
    for name in ("encoder.weight", "part.neural.bias", "refused.weight"):
        weight = compiled.module.get_parameter(name)
        kept = weight.detach().clone()
        try:
            with torch.no_grad():
                weight[0] += 1.0
            after = read(compiled)
        finally:
            with torch.no_grad():
                weight.copy_(kept)
        if name == "refused.weight":
            assert after.blocks["refused"].digest != before.blocks["refused"].digest
            assert after.weights == before.weights
        else:
            changed = [key for key in before.weights if before.weights[key] != after.weights[key]]
            assert changed == [name]


def test_an_artifact_of_another_writer_lacks_the_model_only(
    files: dict[str, Path], tmp_path: Path
) -> None:
    rewritten(files["artifact"], tmp_path / "old", lambda _: None, without="about")
    found, expected = read(tmp_path / "old"), read(files["artifact"])
    assert (found.model, found.inputs, found.parameters, found.probes) == ("Net", {}, None, None)
    assert facts(found.blocks) == facts(expected.blocks)
    assert found.nodes == expected.nodes


# --- the order of things in a file ---------------------------------------------------------------


def shuffled(data: Any, generator: random.Random) -> Any:
    if isinstance(data, dict):
        keys = list(data)
        generator.shuffle(keys)
        return {key: shuffled(data[key], generator) for key in keys}
    return [shuffled(one, generator) for one in data] if isinstance(data, list) else data


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_keys_means_nothing(files: dict[str, Path], seed: int, tmp_path: Path) -> None:
    data = shuffled(json.loads(files["manifest"].read_text()), random.Random(seed))
    (tmp_path / "m").write_text(json.dumps(data))
    same_facts(read(tmp_path / "m"), read(files["manifest"]))


def test_rows_may_stand_in_another_order(files: dict[str, Path]) -> None:
    data = json.loads(files["manifest"].read_text())
    data["graph"]["nodes"].reverse()
    seen: set[str] = set()
    for node in manifest.snapshot(data, "m", "manifest").nodes:
        assert set(node.inputs) <= seen
        seen.add(node.name)
    assert seen == {row[0] for row in data["graph"]["nodes"]}


def test_what_a_reader_does_not_know_and_what_may_be_missing(files: dict[str, Path]) -> None:
    data = json.loads(files["manifest"].read_text())
    data |= {"new": 1}
    data["regions"]["featured"]["new"] = [1, 2]
    same_facts(manifest.snapshot(data, "m", "manifest"), read(files["manifest"]))
    bare = manifest.snapshot({"regions": {"a": {"status": "neural"}}}, "m", "manifest")
    assert bare.blocks["a"].outputs == {}
    changed = {"status": "neural", "end_to_end": {"relative_l2": 0.5}}
    found = manifest.snapshot({"regions": {"a": changed}}, "m", "manifest")
    assert found.blocks["a"].end_to_end == 0.5
    assert (bare.level, bare.nodes, bare.inputs) == (None, (), {})


def test_an_editor_may_mark_the_encoding(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\xef\xbb\xbf" + files["manifest"].read_bytes())
    same_facts(read(tmp_path / "m"), read(files["manifest"]))


# --- what was edited -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported_text() -> str:
    """A small manifest, as it is written."""

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.law = nn.Linear(2, 2), nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.law(self.linear(x)).sum(1)

    torch.manual_seed(0)
    fake = Fake(["1.5*sin(0.25*x0) + x1"], 2)
    hybrid = hybrid_of(Small(), {"law": fake}, Batch((torch.rand(5, 2),), {}))
    law: Any = hybrid.outcomes["law"]
    provenance = {"engine": {"operators": {"+": 1, "*": 1, "inv": 1, "sin": 3, "exp": 3}}}
    law = dataclasses.replace(law, probes=((0.5, 0.25), (1.0, -2.0)), provenance=provenance)
    hybrid = dataclasses.replace(hybrid, outcomes={"law": law})
    return text(exported(hybrid))


@pytest.fixture
def small(exported_text: str) -> dict[str, Any]:
    return json.loads(exported_text)


def at(data: dict[str, Any], *path: Any) -> Any:
    for key in path:
        data = data[key]
    return data


LAW = ("regions", "law")
FIRST = (*LAW, "equations", "0")
LONG = "x0 + " * 30_000

EDITS: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "other text": ((*FIRST, "equation"), "x1 + 1.5*cos(0.25*x0)", "was edited: its text says"),
    "a constant in the text": ((*FIRST, "equation"), "x1 + 1.6*sin(0.25*x0)", "was edited"),
    "a small constant": ((*FIRST, "equation"), "x1 + 1.5*sin(0.25*x0) + 1e-9", "was edited"),
    "a hidden part": ((*FIRST, "equation"), "x1 + 1.5*sin(0.25*x0) + Max(0, x0 - 1e9)", "edited"),
    "code": ((*FIRST, "equation"), "__import__('os').system('true')", "was edited"),
    "words that do not parse": ((*FIRST, "equation"), "x1 + sin(", "was edited"),
    "text that is a number": ((*FIRST, "equation"), 3, "is 3, expected text"),
    "a long text": ((*FIRST, "equation"), LONG, "of 150000 characters, at most 100000"),
    "a form": ((*FIRST, "form"), "c[1]*sin(c[0]*x0) + x1", "was edited: its form says"),
    "a form with code": ((*FIRST, "form"), "c[0].__class__", "was edited: its form says"),
    "a constant": ((*FIRST, "constants", "c[0]"), 1.7, "was edited"),
    "no number": ((*FIRST, "constants", "c[0]"), "1.5", "expected a finite number"),
    "a huge number": ((*FIRST, "constants", "c[0]"), 10**400, "number of 1329 bits"),
    "null": ((*FIRST, "constants", "c[0]"), None, "expected a finite number"),
    "other slots": ((*FIRST, "constants"), {"c[0]": 1.5, "c[2]": 0.25}, r"does not name c\[0\]"),
    "operators": ((*FIRST, "operators"), 3, "was edited: its operators are 3"),
    "complexity": ((*FIRST, "complexity"), 4, "was edited: its complexity is 4"),
    "complexity of nothing": ((*FIRST, "complexity"), 0, "a whole number from 1"),
    "variables": ((*FIRST, "variables"), ["x1", "x0"], "was edited"),
    "a variable twice": ((*FIRST, "variables"), ["x0", "x0"], "names 'x0' twice"),
    "a variable that is none": ((*FIRST, "variables"), ["x0", "x 1"], "not identifiers"),
    "a program": ((*FIRST, "program"), [], "is not a stored equation|not a stored equation"),
    "an equation": ((*LAW, "equations", "0"), 5, "is 5, expected an object"),
    "the number of an equation": ((*LAW, "equations", "١"), {}, "expected whole numbers as keys"),
    "the values at the probes": ((*LAW, "probes", "outputs", "0", 0), 0.5, "was edited: value 0"),
    "a value that is gone": ((*LAW, "probes", "outputs", "0", 0), None, "was edited: value 0"),
    "too few values": ((*LAW, "probes", "outputs", "0"), [1.0], "has 1 values, expected 2"),
    "a short probe": ((*LAW, "probes", "inputs", 0), [1.0], "has 1 values, expected 2"),
    "a status": ((*LAW, "status"), "done", "expected symbolic or neural"),
    "an unhashable status": ((*LAW, "status"), [], "expected symbolic or neural"),
    "a feature": ((*LAW, "features"), {"r": "x0.real"}, "r.*expression"),
    "other columns": ((*LAW, "columns"), ["x1", "x0"], "is an equation of x0, x1"),
    "a range": ((*LAW, "inputs", "x0"), [1], "lowest and the highest"),
    "a fidelity": ((*FIRST, "fidelity", "r2"), "good", "r2 is 'good', expected a number up to 1"),
    "deep provenance": ((*LAW, "provenance"), {"a": [[[[[[[[[1]]]]]]]]]}, "nested too deeply"),
    "a region": (LAW, [], "law.*is a list of 0"),
    "a shape": (("model", "inputs", "x"), ["float32", -1], "expected a whole number"),
    "no dtype": (("model", "inputs", "x"), [], "expected a dtype and sizes"),
    "parameters": (("model", "parameters"), 1.5, "expected a whole number"),
    "a weight": (("weights", "linear.bias"), ["float32", [2]], "dtype, shape and digest"),
    "the shape of a weight": (("weights", "linear.bias", 1), ["batch"], "whole number"),
    "a level": (("graph", "level"), "onnx", "expected aten or fx"),
    "a node": (("graph", "nodes", 1), ["linear", "op"], "expected name, operator"),
    "a node's name": (("graph", "nodes", 1, 0), "", "expected a name"),
    "a name twice": (("graph", "nodes", 1, 0), "x", "names 'x' twice"),
    "an input": (("graph", "nodes", 1, 2), ["y"], "reads 'y', which is not there"),
    "a circle": (("graph", "nodes", 1, 2), ["output"], "depends on itself"),
    "too many nodes": (("graph", "nodes"), [0] * 200_001, "at most 200000"),
    "probes of the model": (("model", "probes", "outputs", "result"), ["a"], "finite number"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edited_manifests_are_refused(name: str, small: dict[str, Any]) -> None:
    path, value, message = EDITS[name]
    at(small, *path[:-1])[path[-1]] = value
    with pytest.raises(ArtifactError, match=rf"can't read 'm.json'.*({message})") as caught:
        manifest.snapshot(small, "m.json", "manifest")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1_500


@pytest.mark.parametrize(
    "spelling", ["1.5*sin(x0*0.25)+x1", "x1 + 1.50000*sin(2.5e-01*x0)", "(x1) + sin(0.25*x0)*1.5"]
)
def test_another_spelling_of_the_same_is_read(spelling: str, small: dict[str, Any]) -> None:
    at(small, *FIRST)["equation"] = spelling
    at(small, *FIRST)["form"] = "x1 + sin(x0*c[1])*c[0]"
    found = manifest.snapshot(small, "m.json", "manifest").blocks["law"].outputs[0]
    assert found.equation.text(6) == "x1 + 1.5*sin(0.25*x0)"


def test_control_characters_reach_nobody(small: dict[str, Any]) -> None:
    escape = "\x1b[31m\u202e\ud800red\n"
    data = copy.deepcopy(small)
    data["model"]["class"] = escape
    data["regions"]["n" + escape] = {"status": "neural", "reason": escape}
    data["weights"]["w" + escape] = ["float32", [1], escape]
    data["graph"]["nodes"][0][4] = escape
    found = manifest.snapshot(data, f"m{escape}.json", "manifest")
    shown = [found.source, found.model, *found.blocks, found.blocks[max(found.blocks)].reason]
    shown += [*found.weights, *(one.digest for one in found.weights.values())]
    shown += [node.attributes for node in found.nodes]
    assert all(word is None or word.isprintable() for word in shown)
    data["regions"]["law"]["equations"]["0"]["equation"] = escape
    with pytest.raises(ArtifactError) as caught:
        manifest.snapshot(data, f"m{escape}.json", "manifest")
    assert str(caught.value).isprintable()


RAW = {
    "a million brackets": b'{"manifest": 1, "regions": {}, "x": ' + b"[" * 10**6 + b"]" * 10**6,
    "many values": b'{"manifest": 1, "regions": {}, "x": [' + b"0," * 2_000_001 + b"0]}",
    "a key twice": b'{"manifest": 1, "regions": {}, "regions": {"a": {}}}',
    "no version": b'{"regions": {}}',
    "no regions": b'{"manifest": 1}',
    "regions that are none": b'{"manifest": 1, "regions": {"a": 1}}',
    "a newer version": b'{"manifest": 99, "regions": {}}',
    "a huge number": b'{"manifest": 1, "regions": {}, "x": ' + b"9" * 5_000 + b"}",
    "no UTF-8": b'{"manifest": 1, "regions": {"\xff": {}}}',
    "NaN": b'{"manifest": 1, "regions": {}, "x": NaN}',
    "a list": b"[1, 2]",
    "half of it": b'{"manifest": 1, "regions": {"a": {"sta',
    "nothing": b"",
}


@pytest.mark.parametrize("name", RAW)
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(RAW[name])
    with pytest.raises(ArtifactError, match=r"m\.json") as caught:
        read(path)
    assert str(caught.value).isprintable()


def rewritten(
    source: Path, target: Path, change: Callable[[dict[str, Any]], object], without: str = ""
) -> None:
    """An artifact with changed documents, or without an entry of its manifest; checksums fit."""
    with container.Archive(source) as archive:
        content = {k: v for k, v in archive.manifest.items() if k not in ("members", without)}
        names = [name.rpartition(".") for name in archive.names]
        documents = {stem: archive.document(stem) for stem, _, end in names if end == "json"}
        tensors = {stem: archive.tensors(stem) for stem, _, end in names if end == "safetensors"}
    change(documents)
    container.write(target, content, documents, tensors)


def without_a_block(documents: dict[str, Any]) -> None:
    del documents["blocks"]["refused"]


def exponential(documents: dict[str, Any]) -> None:
    code = [["input", [], 0], *(["mul", [k, k]] for k in range(60))]
    program = documents["outcomes"]["featured"]["equations"]["0"]["program"]
    program |= {"code": code, "outputs": [60]}


def many_probes(documents: dict[str, Any]) -> None:
    documents["outcomes"]["part"]["probes"] *= 100


def no_weights(documents: dict[str, Any]) -> None:
    documents["graph"]["state"] = [{"name": "encoder.weight", "tensor": "nowhere"}]


def unknown_input(documents: dict[str, Any]) -> None:
    documents["graph"]["nodes"][0]["args"] = [{"node": "nowhere"}]


def deep_arguments(documents: dict[str, Any]) -> None:
    value: Any = 1
    for _ in range(900):
        value = [value]
    documents["graph"]["nodes"][0]["args"] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_block, "blocks.json does not list block 'refused'"),
        (exponential, "region 'featured', output 0: instruction 14"),
        (many_probes, "probes has 1600 entries, at most 1000"),
        (no_weights, "nowhere"),
        (unknown_input, "reads 'nowhere', which is not there"),
        (deep_arguments, "nested too deeply"),
    ],
)
def test_artifacts_made_by_hand(
    change: Any, message: str, files: dict[str, Path], tmp_path: Path
) -> None:
    rewritten(files["artifact"], tmp_path / "bad", change)
    with pytest.raises(ArtifactError, match=f"^can't read .*{message}") as caught:
        read(tmp_path / "bad")
    assert str(caught.value).count("can't read") == 1


def test_a_damaged_artifact_is_named_once(files: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(files["artifact"].read_bytes())
    place = data.find(b"tensors.safetensors") + 200
    data[place] ^= 1
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(ArtifactError, match="bad") as caught:
        read(tmp_path / "bad")
    assert str(caught.value).count("can't read") == 1


# --- what can be read ----------------------------------------------------------------------------


def test_the_missing_side_of_a_new_file() -> None:
    found = read(os.devnull)
    assert (found.kind, found.blocks, found.level) == ("nothing", {}, None)


def pipe(place: Path) -> None:
    os.mkfifo(place)


def folder(place: Path) -> None:
    place.mkdir()


def listener(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(place))


@pytest.mark.parametrize("make", [pipe, folder, listener])
def test_places_that_are_no_files(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "place")
    with pytest.raises(ArtifactError, match=r"place.*no regular file"):
        read(tmp_path / "place")


@pytest.mark.parametrize("name", ["nowhere", "a\0b"])
def test_names_without_a_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        read(tmp_path / name)


@pytest.mark.parametrize("thing", [3, None, nn.Linear(1, 1), b"m.json"])
def test_what_can_not_be_compared_is_named(thing: Any) -> None:
    with pytest.raises(ComparisonError, match=f"{type(thing).__name__}: expected a Compiled"):
        read(thing)


def test_a_traced_module_beside_a_compiled_one(compiled: Compiled) -> None:
    assert isinstance(compiled.module, fx.GraphModule)
    plain, ours = read_pair(fx.symbolic_trace(Net()), compiled)
    assert (plain.level, ours.level) == ("fx", "fx")
    assert "region:featured" in {node.operator for node in ours.nodes}
    assert [one.level for one in read_pair(compiled, compiled)] == ["aten", "aten"]


def test_a_model_that_fx_did_not_trace_has_no_such_graph(compiled: Compiled) -> None:
    class Wrapped:
        module, outcomes, example, capture = Net(), {}, None, "module boundaries"  # type: ignore[var-annotated]

    with pytest.raises(ComparisonError, match="not traced"):
        read(Wrapped(), level="fx")
