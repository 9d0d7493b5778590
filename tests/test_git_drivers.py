"""`git diff`, `git log` and `git difftool` in real repositories that were set up for equations."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import command
from repositories import DRIFTED, OTHER, POINTER, ROOT, Repository, content, environment

from symcompile.cli import git
from symcompile.errors import ComparisonError


@pytest.fixture(scope="module", name="command")
def command_on_the_path() -> Iterator[Path]:
    with command() as folder:
        yield folder


@pytest.fixture
def repository(tmp_path: Path, command: Path) -> Repository:
    return Repository.at(tmp_path, command)


# --- drivers in a real repository ----------------------------------------------------------------


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, command: Path) -> Repository:
    """Two commits: the second changes, adds, deletes, renames and damages models."""
    made = Repository.at(tmp_path_factory.mktemp("history"), command)
    made.run("symcompile", "git", "setup")
    made.put(".gitattributes", "".join(f"{row}\n" for row in git.ATTRIBUTES))
    made.write("models of May/the law é.symc")
    made.write("law.onnx")
    made.write("deleted.symc", OTHER)
    made.write("damaged.symc")
    made.put("always damaged.onnx", "one text")
    made.write("first.symc", "x0")
    made.put("pointer.onnx", "not yet a model")
    made.put("zzz.txt", "before\n")
    made.commit("first")
    made.write("models of May/the law é.symc", DRIFTED)
    made.write("law.onnx", OTHER)
    (made.folder / "deleted.symc").unlink()
    (made.folder / "first.symc").rename(made.folder / "second.symc")
    made.write("added.symc")
    made.put("damaged.symc", content(".symc")[:1000])
    made.put("pointer.onnx", POINTER)
    made.put("always damaged.onnx", "another")
    made.put("zzz.txt", "after\n")
    made.commit("second")
    return made


@pytest.fixture(scope="module")
def shown(history: Repository) -> str:
    return history.git("-c", "core.quotePath=false", "log", "-p", "-1")


@pytest.fixture(scope="module")
def compared(history: Repository) -> str:
    return history.git("-c", "core.quotePath=false", "diff", "HEAD^", "HEAD")


def part(text: str, name: str) -> str:
    """What a patch says about one file."""
    (found,) = [one for one in text.split("\ndiff --") if name in one.splitlines()[0]]
    return found


def test_log_shows_equations_and_constants(shown: str) -> None:
    rows = part(shown, "the law é.symc").splitlines()
    for row in ("-law[0] = 2.5*x0*x1", "+law[0] = 2.75*x0*x1", "-law[0] c[0] = 2.5"):
        assert row in rows
    assert sum(row[0] in "+-" and not row.startswith(("+++", "---")) for row in rows) == 4


def test_log_shows_another_law_of_an_onnx_file(shown: str) -> None:
    rows = part(shown, "law.onnx").splitlines()
    assert "-law[0] = 2.5*x0*x1" in rows
    assert "+law[0] = 2.5*x0 + exp(x1)" in rows


def test_log_shows_added_and_deleted_models(shown: str) -> None:
    added, deleted = part(shown, "added.symc"), part(shown, "deleted.symc")
    assert "--- /dev/null" in added
    assert "\n+law[0] = 2.5*x0*x1\n" in added
    assert "+++ /dev/null" in deleted
    assert "\n-law[0] = 2.5*x0 + exp(x1)\n" in deleted


def test_log_goes_on_after_a_file_that_can_not_be_read(shown: str) -> None:
    assert "\n+can't read this file: it is not a zip archive" in part(shown, "damaged.symc")
    for sign in "+-":
        assert f"\n{sign}sha256 " in part(shown, "always damaged.onnx")
    pointer = part(shown, "pointer.onnx")
    assert "\n+Git LFS pointer: the model itself is not here" in pointer
    assert "\n+oid sha256:4d7a214614ab" in pointer
    assert "\n+after" in part(shown, "zzz.txt")


def test_diff_shows_the_comparison(compared: str) -> None:
    law = part(compared, "the law é.symc")
    assert "a/models of May/the law é.symc" in law.splitlines()[0]
    assert "coefficients drifted" in law
    assert "2.75*x0*x1" in law
    assert "structure changed" in part(compared, "law.onnx")
    assert "added" in part(compared, "added.symc")
    assert "removed" in part(compared, "deleted.symc")
    assert "\x1b" not in compared


def test_diff_goes_on_after_a_file_that_can_not_be_read(compared: str) -> None:
    assert "can't read 'b/damaged.symc': it is not a zip archive" in part(compared, "damaged.symc")
    assert "can't read 'b/pointer.onnx': it is a Git LFS" in part(compared, "pointer.onnx")
    assert "\n+after" in part(compared, "zzz.txt")


def test_text_of_a_model_is_kept_by_git(history: Repository, shown: str) -> None:
    """With the texts in its cache, git does not need us any more."""
    nobody = history.env["HOME"] + "/empty"
    assert part(shown, "law.onnx") == part(
        history.run("git", "show", PATH=f"{nobody}{os.pathsep}{os.environ['PATH']}").stdout,
        "law.onnx",
    )


def test_a_renamed_model_is_compared_with_what_it_was(repository: Repository) -> None:
    repository.run("symcompile", "git", "setup")
    repository.put(".gitattributes", "*.json diff=symcompile\n")
    repository.write("old law.json")
    first = repository.commit()
    (repository.folder / "old law.json").unlink()
    repository.write("-new.json", DRIFTED)
    repository.commit()
    said = repository.git("diff", "-M", first)
    assert said.startswith("diff --symcompile a/old law.json b/-new.json\n")
    assert "coefficients drifted" in said
    repository.write("-new.json", OTHER)
    assert "structure changed" in repository.git("diff")


def test_setup_drops_the_texts_that_git_has_kept(history: Repository, shown: str) -> None:
    kept = ("for-each-ref", "refs/notes/textconv")
    assert history.git(*kept)
    history.run("symcompile", "git", "setup")
    assert history.git(*kept) == ""


@pytest.mark.parametrize(("setting", "colored"), [("always", True), ("auto", False)])
def test_color_is_that_of_git(history: Repository, setting: str, colored: bool) -> None:
    history.git("config", "color.ui", setting)
    try:
        said = history.git("diff", "HEAD^", "HEAD", "--", "law.onnx")
    finally:
        history.git("config", "--unset", "color.ui")
    assert ("\x1b[" in said) == colored


def test_difftool_shows_the_comparison(history: Repository) -> None:
    said = history.git(
        "difftool",
        "--no-prompt",
        "--tool=symcompile",
        "HEAD^",
        "HEAD",
        "--",
        "law.onnx",
        "added.symc",
    )
    assert "structure changed" in said
    assert "added" in said


def test_a_conflict_does_not_end_the_diff(repository: Repository) -> None:
    repository.run("symcompile", "git", "setup")
    repository.put(".gitattributes", "*.symc diff=symcompile\n")
    repository.write("law.symc")
    repository.commit()
    repository.git("checkout", "--quiet", "-b", "other")
    repository.write("law.symc", OTHER)
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.write("law.symc", DRIFTED)
    repository.commit()
    repository.git("merge", "other", check=False)
    said = repository.run("git", "diff").stdout
    assert "law.symc" in said


@pytest.mark.parametrize("suffix", [".json", ".onnx"])
def test_a_file_without_tensors_of_torch_is_compared_without_torch(
    tmp_path: Path, suffix: str
) -> None:
    """Git calls the drivers for every file, and the import takes longer than all the rest."""
    for name, equation in (("old", DRIFTED), ("new", OTHER)):
        (tmp_path / f"{name}{suffix}").write_bytes(content(suffix, equation))
    code = (
        "import sys; from symcompile.cli import git;"
        f"assert 'law[0] = ' in git.textconv('new{suffix}');"
        f"print(git.driver('law', 'old{suffix}', 'new{suffix}', color=False));"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert "structure changed" in done.stdout


# --- setup ---------------------------------------------------------------------------------------


def test_setup_says_what_it_did_and_what_is_left(repository: Repository) -> None:
    said = repository.run("symcompile", "git", "setup").stdout
    for name, value in git.SETTINGS.items():
        assert repository.git("config", "--local", name) == f"{value}\n"
        assert f"git config --local {name} '{value}'" in said
    assert all(row in said.splitlines() for row in git.ATTRIBUTES)


def test_setup_knows_attributes_that_are_there(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.put(".gitattributes", "*.onnx diff=symcompile\n*.symc diff=other\n")
    repository.enter(monkeypatch)
    said = git.setup().splitlines()
    assert "*.symc diff=symcompile" in said
    assert "*.onnx diff=symcompile" not in said


def test_setup_outside_of_a_repository_is_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Repository(tmp_path, environment(tmp_path, tmp_path)).enter(monkeypatch)
    with pytest.raises(ComparisonError, match=r"git config: .*git"):
        git.setup()
    git.setup(everywhere=True)
    assert "symcompile git driver" in (tmp_path / ".gitconfig").read_text()
