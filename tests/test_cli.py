"""The command line: output, exit status, one line for every error, and what it loads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from symcompile import Compiled, Target, __version__, symcompile
from symcompile.cli import commands as cli


class Law(nn.Module):
    """What a network that has learnt a law computes; it has parameters to remove."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = nn.Parameter(torch.tensor([2.0, -0.5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rates[0] * x[..., :1] * x[..., 1:] + self.rates[1] * x[..., 1:]


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    target = Target(".", domain={"x": (-1, 1), "t": (0, 1)})
    return symcompile(Law(), target, max_complexity=7, n_samples=200, budget=1, progress=False)


@pytest.fixture(scope="module")
def saved(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled.save(tmp_path_factory.mktemp("cli") / "law.symc")


def run(capsys: pytest.CaptureFixture[str], *argv: Any) -> tuple[int, str, str]:
    status = cli.main([os.fspath(argument) for argument in argv])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_show_prints_the_report_of_an_artifact(
    compiled: Compiled, saved: Path, capsys: Any
) -> None:
    status, out, err = run(capsys, "show", saved)
    assert (status, err) == (0, "")
    assert compiled.equations["."][0].text() in out
    assert "2 parameters removed" in out


def test_export_writes_onnx_and_manifest_that_show_reads(
    compiled: Compiled, saved: Path, tmp_path: Path, capsys: Any
) -> None:
    from symcompile import exporters

    for name in ("law.onnx", "law.manifest.json"):
        status, out, _ = run(capsys, "export", saved, tmp_path / name)
        assert (status, out) == (0, f"wrote {tmp_path / name}\n")
        status, out, _ = run(capsys, "show", tmp_path / name)
        assert status == 0
        assert compiled.equations["."][0].text(6) in out
    ours = json.loads((tmp_path / "law.manifest.json").read_text())
    theirs = exporters.manifest(compiled)
    assert ours["regions"]["."]["equations"] == theirs["regions"]["."]["equations"]
    assert ours["graph"] == theirs["graph"]


def test_export_options_reach_the_exporter(saved: Path, tmp_path: Path, capsys: Any) -> None:
    import onnx

    path = tmp_path / "flat.onnx"
    assert (
        run(capsys, "export", saved, path, "--opset", "20", "--flat", "--dtype", "float64")[0] == 0
    )
    model = onnx.load(path)
    assert not model.functions
    assert model.opset_import[0].version == 20
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE


def test_trouble_is_one_line_and_status_2(saved: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "foreign.json").write_text('{"a": 1}')
    (tmp_path / "newer.json").write_text('{"manifest": 99, "regions": {}}')
    (tmp_path / "deep.json").write_text('{"a":' * 50_000)
    (tmp_path / "half.symc").write_bytes(saved.read_bytes()[:1000])
    for name, message in (
        ("nowhere.symc", "there is no file"),
        ("empty", "is empty"),
        ("foreign.json", "no manifest of symcompile"),
        ("newer.json", "newer symcompile"),
        ("deep.json", "nested too deeply"),
        ("half.symc", "not a zip archive"),
        (".", "can't read"),
    ):
        status, out, err = run(capsys, "show", tmp_path / name)
        assert (status, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
    status, _, err = run(capsys, "export", saved, tmp_path / "law.txt")
    assert (status, err.count("\n")) == (2, 1)
    assert "end it in .onnx" in err


@pytest.mark.parametrize("options", [[], ["--lines"]])
def test_a_manifest_cannot_write_to_the_terminal_as_it_likes(
    compiled: Compiled, tmp_path: Path, capsys: Any, options: list[str]
) -> None:
    """Escape sequences in a hostile file are shown, not sent."""
    from symcompile import exporters

    data = exporters.manifest(compiled)
    data["model"]["class"] = "N\x1b]0;t\x07"
    data["regions"]["a\x1b[2J\nb"] = {"status": "neural", "reason": "x\n\x1b]0;t\x07"}
    (tmp_path / "m.json").write_text(json.dumps(data))
    status, out, _ = run(capsys, "show", *options, tmp_path / "m.json")
    assert status == 0
    assert "N?]0;t?" in out
    assert "a?[2J?b" in out
    assert all(c.isprintable() or c == "\n" for c in out)


def test_show_lines_prints_a_fact_a_line(saved: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(capsys, "export", saved, tmp_path / "law.json")[0] == 0
    shown = [run(capsys, "show", "--lines", path) for path in (saved, tmp_path / "law.json")]
    assert [(status, err) for status, _, err in shown] == [(0, "")] * 2
    artifact, manifest = (out.splitlines() for _, out, _ in shown)
    assert artifact[1:] == manifest[1:]
    assert (artifact[0], manifest[0]) == ("kind: artifact", "kind: manifest")
    assert ".: symbolic" in artifact


def test_show_of_a_foreign_onnx_file_tells_its_structure(tmp_path: Path, capsys: Any) -> None:
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
    )
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset]), tmp_path / "foreign.onnx")
    status, out, _ = run(capsys, "show", tmp_path / "foreign.onnx")
    assert status == 0
    assert out.startswith("ONNX file, opset ai.onnx 18\ninputs: x float32[batch, 2]\n")
    assert "1 Relu" in out
    assert "no equations of symcompile" in out


def test_demo_runs_with_its_options(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from symcompile.cli import demo

    called = []
    monkeypatch.setattr(demo, "main", lambda *a, **k: called.append((a, k)) or 0)
    assert run(capsys, "demo", "--quick", "--output", "here")[0] == 0
    assert called == [(("here",), {"quick": True})]


def test_version_and_help(capsys: Any) -> None:
    for option in ("--version", "--help"):
        with pytest.raises(SystemExit) as caught:
            cli.main([option])
        assert caught.value.code == 0
    assert f"symcompile {__version__}" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["fly"], ["show"], ["export", "a.symc"]])
def test_a_wrong_call_is_status_2(argv: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2


def test_a_closed_pipe_is_silent(saved: Path) -> None:
    command = [sys.executable, "-m", "symcompile.cli.commands", "show", os.fspath(saved)]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, timeout=120, check=False)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_an_interrupt_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("symcompile.cli.summary.summary", interrupted)
    assert run(capsys, "show", "any.symc") == (130, "", "symcompile: interrupted\n")
