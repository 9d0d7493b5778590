"""The commands `symcompile git ...`: options, output and exit status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from repositories import DRIFTED, OLD, OTHER, Repository, content

from symcompile.cli import commands as cli


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Three versions of a model, the last one not committed; the test runs in it."""
    made = Repository.at(tmp_path, tmp_path / "no command")
    for equation in (OLD, DRIFTED):
        made.write("law.json", equation)
        made.commit()
    made.write("law.json", OTHER)
    made.enter(monkeypatch)
    return made


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = cli.main(["git", *argv])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ((), 1, ("HEAD:law.json", "2.75*x0*x1", "structure changed")),
        (("--since", "HEAD^"), 1, ("HEAD^:law.json", "2.5*x0*x1")),
        (("--fail-on", "none"), 0, ("structure changed",)),
        (("--format", "md"), 1, ("structure changed", "```")),
        (("--format", "github"), 1, ("::error ", "law.json")),
    ],
)
def test_diff(
    repository: Repository, capsys: Any, options: tuple[str, ...], status: int, said: tuple[str]
) -> None:
    found, out, err = run(capsys, "diff", *options, "law.json")
    assert (found, err) == (status, "")
    assert [text for text in said if text not in out] == []


def test_diff_takes_the_gravest_status_of_several_files(
    repository: Repository, capsys: Any
) -> None:
    repository.put("broken.json", "{")
    repository.commit()
    repository.write("new.json")
    repository.write("law.json", OLD)
    assert run(capsys, "diff", "new.json")[0] == 0
    assert run(capsys, "diff", "law.json", "new.json")[0] == 1
    status, out, err = run(capsys, "diff", "broken.json", "law.json", "new.json")
    assert status == 2
    assert err.startswith("symcompile: can't read 'HEAD:broken.json'")
    assert err.count("\n") == 1
    assert "new.json: new, there is nothing to compare it with\n" in out


def test_check(repository: Repository, capsys: Any) -> None:
    repository.put("half.symc", content(".symc")[:500])
    assert run(capsys, "check", "law.json") == (0, "", "")
    status, out, err = run(capsys, "check", "half.symc", "law.json", "nowhere.onnx")
    assert (status, out) == (2, "")
    assert [row.split("'")[-2] for row in err.splitlines() if "no file" in row] == ["nowhere.onnx"]
    assert "half.symc" in err.splitlines()[0]


def test_textconv_is_never_trouble(repository: Repository, capsys: Any) -> None:
    _, good, _ = run(capsys, "textconv", "--", "law.json")
    assert "law[0] = 2.5*x0 + exp(x1)\n" in good
    repository.put("-broken.json", "{")
    status, out, err = run(capsys, "textconv", "--", "-broken.json")
    assert (status, err) == (0, "")
    assert out.startswith("can't read this file")
    assert run(capsys, "textconv", "--", "nowhere")[:2] == (
        0,
        "there is no file this file\nno sha256: No such file or directory\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["law.json"], "diff --symcompile a/law.json b/law.json\nnot merged yet\n"),
        (["law.json", "gone", "0", "0", "law.json", "0", "0"], "there is no file 'a/law.json'"),
        (["old", "law.json", "0", "0", "law.json", "0", "0", "new", "100"], "a/old b/new\n"),
    ],
)
def test_driver_is_never_trouble(
    repository: Repository, capsys: Any, arguments: list[str], said: str
) -> None:
    status, out, err = run(capsys, "driver", "--", *arguments)
    assert (status, err) == (0, "")
    assert said in out
