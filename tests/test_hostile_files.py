"""Truncated, tampered, foreign and hostile files: exit 2, one line, nothing executed."""

from __future__ import annotations

import gc
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from children import Child
from diff_models import FORMATS, net, written

from symcompile.cli.commands import main

CODE = "__import__('pathlib').Path('executed').touch()"
# What a refusal may take on top of the interpreter with torch and onnx in it.
MEMORY = 600 * 2**20


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("good")
    return {format: written(net(), format, folder / "net") for format in FORMATS}


def refused(
    good: dict[str, Path], bad: Path, capsys: pytest.CaptureFixture[str], says: str = ""
) -> None:
    """Either way round: trouble, told in one line that names the file."""
    for pair in ((good["manifest"], bad), (bad, good["manifest"])):
        assert main(["diff", *map(str, pair)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("symcompile: ")
        assert err.count("\n") == 1
        assert err.rstrip("\n").isprintable()
        assert len(err) < 1000
        assert bad.name in err
        assert says in err
    assert not Path("executed").exists()


# --- manifests -----------------------------------------------------------------------------------


def edit(path: tuple[Any, ...], value: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


LAW = ("regions", "law", "equations", "0")


def program(*code: list[Any]) -> dict[str, Any]:
    return {"code": list(code), "outputs": [len(code) - 1], "n_inputs": 2, "n_slots": 1}


def deep(data: Any) -> None:
    """Made where it is wanted, and at one go: the collector walks what is there again and again."""
    gc.disable()
    steps = (["neg", [k]] for k in range(10**6))
    edit((*LAW, "program"), program(["input", [], 0], *steps))(data)
    gc.enable()


DOUBLING = program(["input", [], 0], *(["add", [k, k]] for k in range(140)))

EDITS = {
    "code in an equation's text": edit((*LAW, "equation"), CODE),
    "code in a form": edit((*LAW, "form"), CODE),
    "text that says something else": edit((*LAW, "equation"), "1.5*x0"),
    "a constant that is not in the text": edit((*LAW, "constants", "c[0]"), 3.5),
    "code as an operator": edit((*LAW, "program", "code", 0, 0), CODE),
    "an unknown operator": edit((*LAW, "program"), program(["input", [], 0], ["system", [0]])),
    "an input that is not there": edit((*LAW, "program"), program(["input", [], 7])),
    "an instruction that reads itself": edit((*LAW, "program", "code", 1), ["neg", [1]]),
    "an expression a million deep": deep,
    "an expression that doubles 140 times": edit((*LAW, "program"), DOUBLING),
    "text of a million parentheses": edit((*LAW, "equation"), "(" * 10**6 + "x0" + ")" * 10**6),
    "a power tower": edit((*LAW, "equation"), "9**9**9**9**9"),
    "variables that are code": edit((*LAW, "variables"), [CODE, "x1"]),
    "features that are code": edit(("regions", "law", "features"), {"x0": CODE, "x1": "x1"}),
    "a region that is a list": edit(("regions", "law"), []),
    "regions that are a text": edit(("regions",), "law"),
    "a complexity that is a text": edit((*LAW, "complexity"), "13"),
    "a fidelity that is a list": edit((*LAW, "fidelity"), [1]),
    "probes of other sizes": edit(("regions", "law", "probes", "inputs"), [[1.0], [1.0, 2.0]]),
    "weights without a shape": edit(("weights", "stem.weight"), ["float32"]),
    "a graph that reads itself": edit(("graph", "nodes", 1, 2), ["linear"]),
    "a node of nodes that are not there": edit(("graph", "nodes", 1, 2), ["nowhere"]),
    "nodes that are numbers": edit(("graph", "nodes"), [1, 2, 3]),
    "a newer version": edit(("manifest",), 10**6),
    "a version that is a text": edit(("manifest",), "1"),
}


@pytest.mark.parametrize("name", EDITS)
def test_manifests_that_were_edited(
    name: str, good: dict[str, Path], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    data = json.loads(good["manifest"].read_text())
    EDITS[name](data)
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(data))
    refused(good, bad, capsys)


RAW = {
    "nothing at all": b"",
    "only white space": b" \n ",
    "a million brackets": b"[" * 10**6,
    "a million objects": b'{"a":' * 10**6,
    "another JSON": b'{"name": "package", "version": 1}',
    "a number without end": b'{"manifest": 1, "regions": {}, "x": ' + b"9" * 10**6 + b"}",
    "NaN": b'{"manifest": NaN, "regions": {}}',
    "a text": b"x = 1\n" * 100,
    "zeros": bytes(4096),
    "UTF-16": '{"manifest": 1}'.encode("utf-16"),
    "a key that is there twice": b'{"manifest": 1, "manifest": 1, "regions": {}}',
    "a pickle": pickle.dumps({"a": 1}),
    "an escape sequence": b"\x1b[31m{}",
}


@pytest.mark.parametrize("name", RAW)
def test_files_that_are_no_model(
    name: str, good: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(RAW[name])
    refused(good, bad, capsys)


def test_escape_sequences_in_names_never_reach_the_terminal(
    good: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    data = json.loads(good["manifest"].read_text())
    evil = "law\x1b[2J\u202e\r\n\ud800"
    data["regions"][evil] = data["regions"].pop("law")
    data["weights"][evil] = data["weights"].pop("stem.weight")
    data["model"]["class"] = evil
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(data))
    for format in ("text", "md", "json", "github", "html"):
        status = main(["diff", str(good["manifest"]), str(bad), "--format", format])
        out, err = capsys.readouterr()
        assert status in (1, 2)
        assert not set(out + err) & set("\x1b\u202e\r\ud800")


# --- every format --------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(
    format: str, share: float, good: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    content = good[format].read_bytes()
    bad = tmp_path / good[format].name
    bad.write_bytes(content[: int(len(content) * share)])
    refused(good, bad, capsys)


def test_a_flipped_bit_in_an_artifact(good: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    content = bytearray(good["symc"].read_bytes())
    content[len(content) // 2] ^= 1
    bad = tmp_path / "bad.symc"
    bad.write_bytes(content)
    refused(good, bad, capsys)


def test_places_that_are_no_files(good: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("pipe", "folder", "link", "missing"):
        refused(good, tmp_path / name, capsys)


# --- zips ----------------------------------------------------------------------------------------


def test_a_zip_bomb(good: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    bad = tmp_path / "bomb.symc"
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("manifest.json", "outcomes.json", "graph.json"):
            with archive.open(name, "w") as member:
                for _ in range(256):
                    member.write(bytes(2**20))
    refused(good, bad, capsys)


def test_other_zips(good: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    refused(good, tmp_path / "weights.pt", capsys)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    refused(good, tmp_path / "empty.zip", capsys)


# --- ONNX ----------------------------------------------------------------------------------------


def onnx_edit(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path, Path], None]:
    def write(source: Path, target: Path) -> None:
        model = onnx.load(source)
        change(model)
        target.write_bytes(model.SerializeToString())

    return write


def metadata(change: Callable[[Any], None]) -> Callable[[Path, Path], None]:
    def edit_model(model: onnx.ModelProto) -> None:
        (entry,) = [one for one in model.metadata_props if one.key == "symcompile.law"]
        data = json.loads(entry.value)
        change(data)
        entry.value = json.dumps(data)

    return onnx_edit(edit_model)


def outside(location: str) -> Callable[[Path, Path], None]:
    def edit_model(model: onnx.ModelProto) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)

    return onnx_edit(edit_model)


def other_constant(model: onnx.ModelProto) -> None:
    """The function computes something else than its metadata says."""
    function = next(one for one in model.functions if one.name == "law")
    constant = next(node for node in function.node if node.op_type == "Constant")
    value = onnx.numpy_helper.to_array(constant.attribute[0].t)
    constant.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(value * 2 + 1))


def deep(source: Path, target: Path) -> None:
    """Graphs in attributes of nodes of graphs, a thousand times: fields 1, 5 and 6 in protobuf."""
    graph = b""
    for _ in range(1000):
        for field in (6, 5, 1):
            graph = bytes([field << 3 | 2]) + varint(len(graph)) + graph
    target.write_bytes(source.read_bytes() + b"\x3a" + varint(len(graph)) + graph)


def varint(number: int) -> bytes:
    low = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(part | 128 for part in low[:-1]), low[-1]])


def a_circle(model: onnx.ModelProto) -> None:
    node = model.graph.node[0]
    node.input[0] = model.graph.node[-1].output[0]


FILES = {
    "code in an equation's text": metadata(edit(("equations", "0", "equation"), CODE)),
    "another text": metadata(edit(("equations", "0", "equation"), "x0")),
    "equations that are a text": metadata(edit(("equations",), CODE)),
    "an absolute path": outside("/etc/passwd"),
    "a path that leaves the folder": outside("../../../../etc/passwd"),
    "a weight that is not there": outside("weights.bin"),
    "another function": onnx_edit(other_constant),
    "nested graphs": deep,
    "a circle": onnx_edit(a_circle),
}


@pytest.mark.parametrize("name", FILES)
def test_onnx_files_that_were_edited(
    name: str, good: dict[str, Path], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad.onnx"
    FILES[name](good["onnx"], bad)
    refused(good, bad, capsys)


# --- memory and time -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a million deep", "a zip bomb", "brackets"])
def test_a_refusal_takes_little_memory(name: str, good: dict[str, Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    if name == "a million deep":
        data = json.loads(good["manifest"].read_text())
        EDITS["an expression a million deep"](data)
        bad.write_text(json.dumps(data))
    elif name == "brackets":
        bad.write_bytes(b"[" * 60 * 2**20)
    else:
        with (
            zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("manifest.json", "w") as member,
        ):
            for _ in range(1024):
                member.write(bytes(2**20))
    code = (
        "import resource, sys; from symcompile.cli.commands import main; import onnx;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "status = main(['diff', *sys.argv[1:]]);"
        "print(status, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))"
    )
    with Child(code, str(good["manifest"]), str(bad)) as child:
        finished = child.finished(timeout=120)
    assert finished.returncode == 0, finished.stderr
    status, memory = map(int, finished.stdout.split())
    assert status == 2
    assert memory < MEMORY
