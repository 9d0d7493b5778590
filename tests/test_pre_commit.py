"""The hooks for pre-commit: what they are called with, what they say, and what they refuse."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from command import command
from repositories import DRIFTED, OTHER, ROOT, Repository, content

HOOKS = ROOT / ".pre-commit-hooks.yaml"


class Hook(NamedTuple):
    entry: list[str]
    files: str
    text: str


def hooks() -> dict[str, Hook]:
    """The definitions by id; they are flat lists of `key: value`."""
    found = {}
    for text in re.split(r"^- ", HOOKS.read_text(), flags=re.MULTILINE)[1:]:
        rows = dict(row.strip().split(": ", 1) for row in text.strip().splitlines())
        found[rows["id"]] = Hook(shlex.split(rows["entry"]), rows["files"].strip("'"), text)
    return found


@pytest.fixture(scope="module", name="command")
def command_on_the_path() -> Iterator[Path]:
    with command() as folder:
        yield folder


@pytest.fixture
def repository(tmp_path: Path, command: Path) -> Repository:
    made = Repository.at(tmp_path, command)
    made.write("law.manifest.json")
    made.write("law.symc")
    made.put("notes.json", "{}")
    made.commit()
    return made


def hook(repository: Repository, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call a hook as pre-commit does: its arguments, then the staged files that it wants."""
    one = hooks()[name]
    staged = repository.git("diff", "--cached", "--name-only", "-z", "--diff-filter=ACMRT")
    files = [file for file in staged.split("\0") if re.search(one.files, file)]
    assert files
    return repository.run(*one.entry, *arguments, *files, check=False)


def test_both_hooks_run_the_symcompile_of_the_environment() -> None:
    found = hooks()
    assert list(found) == ["symcompile-check", "symcompile-diff"]
    for one in found.values():
        assert one.entry[0] == "symcompile"
        assert "language: system\n" in one.text


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("model.manifest.json", True),
        ("a b/net.symc", True),
        ("net.onnx", True),
        ("package.json", False),
        ("net.onnx.py", False),
    ],
)
def test_files_that_they_want(file: str, wanted: bool) -> None:
    assert {bool(re.search(one.files, file)) for one in hooks().values()} == {wanted}


def test_sound_files_pass_the_check(repository: Repository) -> None:
    repository.write("law.symc", OTHER)
    repository.write("new.onnx")
    repository.write("law.manifest.json", DRIFTED)
    repository.git("add", "--all")
    done = hook(repository, "symcompile-check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_check_names_every_file_that_it_refuses(repository: Repository) -> None:
    repository.put("law.symc", content(".symc")[:-200])
    repository.put("law.manifest.json", content(".json")[:-200])
    repository.put("foreign.onnx", "text")
    repository.write("good.onnx")
    repository.git("add", "--all")
    done = hook(repository, "symcompile-check")
    assert done.returncode == 2
    rows = done.stderr.splitlines()
    assert all(row.startswith("symcompile: ") for row in rows)
    names = ("foreign.onnx", "law.manifest.json", "law.symc")
    assert [repr(name) in row for row, name in zip(rows, names, strict=True)] == [True] * 3


def test_a_tampered_artifact_is_refused(repository: Repository) -> None:
    data = bytearray(content(".symc"))
    data[len(data) // 2] ^= 1
    repository.put("law.symc", bytes(data))
    repository.git("add", "--all")
    done = hook(repository, "symcompile-check")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_what_changed_since_the_last_commit(repository: Repository) -> None:
    repository.write("law.symc", DRIFTED)
    repository.write("law.manifest.json", OTHER)
    repository.write("new.symc")
    repository.git("add", "--all")
    done = hook(repository, "symcompile-diff")
    assert done.returncode == 1
    assert done.stderr == ""
    for expected in ("coefficients drifted", "structure changed", "HEAD:law.symc"):
        assert expected in done.stdout
    assert "new.symc: new, there is nothing to compare it with" in done.stdout


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        (("--rtol", "0.2"), 0),
        (("--fail-on", "structure,signature"), 0),
        (("--fail-on", "coefficient"), 1),
        (("--fail-on", "none"), 0),
        (("--fail-on", "colour"), 2),
    ],
)
def test_rules_are_arguments(repository: Repository, rules: tuple[str, ...], status: int) -> None:
    repository.write("law.manifest.json", DRIFTED)
    repository.git("add", "--all")
    assert hook(repository, "symcompile-diff", *rules).returncode == status


def test_a_damaged_file_is_trouble_and_the_others_are_compared(repository: Repository) -> None:
    repository.put("law.manifest.json", "{")
    repository.write("law.symc", OTHER)
    repository.git("add", "--all")
    done = hook(repository, "symcompile-diff")
    assert done.returncode == 2
    assert done.stderr.startswith("symcompile: can't read 'law.manifest.json'")
    assert "structure changed" in done.stdout


def test_the_first_commit_of_all_passes(tmp_path: Path, command: Path) -> None:
    repository = Repository.at(tmp_path, command)
    repository.write("law.manifest.json")
    repository.git("add", "--all")
    assert hook(repository, "symcompile-diff").returncode == 0


@pytest.mark.skipif(shutil.which("pre-commit") is None, reason="pre-commit is not installed")
def test_with_pre_commit_itself(repository: Repository, tmp_path: Path) -> None:
    """Its checkout of our repository holds the hooks as they are now."""
    ours = Repository(tmp_path / "ours", repository.env)
    ours.folder.mkdir()
    ours.git("init", "--quiet")
    shutil.copy(HOOKS, ours.folder)
    revision = ours.commit()
    repository.put(
        ".pre-commit-config.yaml",
        f"repos: [{{repo: {ours.folder}, rev: {revision}, hooks: ["
        "{id: symcompile-check}, {id: symcompile-diff, args: [--rtol, '0.2']}]}]\n",
    )
    for equation, status in ((DRIFTED, 0), (OTHER, 1)):
        repository.write("law.manifest.json", equation)
        repository.git("add", "--all")
        done = repository.run("pre-commit", "run", check=False)
        assert done.returncode == status, done.stdout + done.stderr
        assert "compiled models can be read" in done.stdout
        assert "HEAD:law.manifest.json" in done.stdout
