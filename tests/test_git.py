"""Files compared with what they were in a commit: names, renames, filters, and what is trouble."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from repositories import DRIFTED, OTHER, POINTER, Repository, content

from symcompile.cli import git
from symcompile.diff import GraphDiff
from symcompile.errors import ArtifactError, ComparisonError


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.at(tmp_path, tmp_path / "no command")


def test_a_file_is_compared_with_the_last_commit(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("law.json")
    first = repository.commit()
    repository.write("law.json", DRIFTED)
    repository.enter(monkeypatch)
    found = git.since("law.json")
    assert isinstance(found, GraphDiff)
    assert found.counts() == {"coefficients drifted": 1}
    assert (found.old.source, found.new.source) == ("HEAD:law.json", "law.json")
    assert not found.same
    repository.commit()
    assert [one.same for one in (git.since("law.json"), git.since("law.json", first)) if one] == [
        True,
        False,
    ]


def test_rules_reach_the_comparison(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("law.json")
    repository.commit()
    repository.write("law.json", DRIFTED)
    repository.enter(monkeypatch)
    for rules in ({"rtol": 0.2}, {"fail_on": ("structure",)}):
        found = git.since("law.json", **rules)
        assert found is not None
        assert found.same


def test_a_range_of_commits_that_pre_commit_runs_on(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("law.json")
    first = repository.commit()
    repository.write("law.json", OTHER)
    repository.commit()
    repository.enter(monkeypatch)
    monkeypatch.setenv("PRE_COMMIT_FROM_REF", first)
    found = git.since("law.json")
    assert found is not None
    assert found.counts() == {"structure changed": 1}


@pytest.mark.parametrize("committed", [False, True])
def test_a_new_file_has_nothing_to_be_compared_with(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    if committed:
        repository.write("other.json")
        repository.commit()
    repository.write("new.json", DRIFTED)
    repository.enter(monkeypatch)
    assert git.since("new.json") is None


@pytest.mark.parametrize("name", ["in a/law é.json", "law [1]*.json", "-law.json", ":law.json"])
@pytest.mark.parametrize("within", [".", "elsewhere"])
def test_names_and_folders(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, name: str, within: str
) -> None:
    (repository.folder / "elsewhere").mkdir()
    path = repository.write(name)
    repository.commit()
    repository.enter(monkeypatch, within)
    for spelling in (os.path.relpath(path), str(path)):
        found = git.since(spelling)
        assert found is not None
        assert (found.same, found.old.source) == (True, f"HEAD:{name}")


def test_a_renamed_file_is_compared_with_what_it_was(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("old/law.json")
    repository.commit()
    (repository.folder / "old").rename(repository.folder / "new")
    repository.write("new/law.json", DRIFTED)
    repository.git("add", "--all")
    repository.enter(monkeypatch, "new")
    found = git.since("law.json")
    assert found is not None
    assert found.old.source == "HEAD:old/law.json"
    assert found.counts() == {"coefficients drifted": 1}


def test_content_is_what_a_checkout_would_give(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Git LFS does it: a filter turns the committed text into the file."""
    repository.put("model", content(".json"))
    repository.git("config", "filter.stored.smudge", "cat model")
    repository.git("config", "filter.stored.clean", f"printf '{POINTER}'".replace("\n", "\\n"))
    repository.put(".gitattributes", "law.json filter=stored\n")
    repository.write("law.json")
    repository.commit()
    assert "git-lfs" in repository.git("show", "HEAD:law.json")
    repository.enter(monkeypatch)
    found = git.since("law.json")
    assert found is not None
    assert found.same


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (POINTER, content, r"'HEAD:law.json': it is a Git LFS pointer"),
        (content, POINTER, r"'law.json': it is a Git LFS pointer"),
        ("{", content, r"can't read 'HEAD:law.json'"),
        (content, "{", r"can't read 'law.json'"),
    ],
)
def test_a_damaged_side_is_named_as_in_the_repository(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, old: Any, new: Any, message: str
) -> None:
    for side in (old, new):
        repository.put("law.json", content(".json") if side is content else side)
        if side is old:
            repository.commit()
    repository.enter(monkeypatch)
    with pytest.raises(ArtifactError, match=message):
        git.since("law.json")


@pytest.mark.parametrize("revision", ["nowhere", "--output=x", "HEAD~5", "HEAD:law.json"])
def test_a_commit_that_is_not_there(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    repository.write("law.json")
    repository.commit()
    repository.enter(monkeypatch)
    with pytest.raises(ComparisonError, match="commit"):
        git.since("law.json", revision)
    assert sorted(os.listdir()) == [".git", "law.json"]


def test_no_repository_no_git_and_no_file_at_all(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "law.json"
    outside.write_bytes(content(".json"))
    repository.write("law.json")
    repository.commit()
    (repository.folder / "link.json").symlink_to("law.json")
    repository.commit()
    repository.enter(monkeypatch)
    with pytest.raises(ComparisonError, match=r"git ls-tree: .*outside"):
        git.since(str(outside))
    with pytest.raises(ComparisonError, match=r"HEAD:link\.json is no file"):
        git.since("link.json")
    (repository.folder / "law.json").unlink()
    with pytest.raises(ArtifactError, match=r"no file 'law.json'"):
        git.since("law.json")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ComparisonError, match="not a git repository"):
        git.since("law.json")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ComparisonError, match="git is not installed"):
        git.since("law.json")
