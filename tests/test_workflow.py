"""The GitHub workflow of the examples: its shell steps, run in real repositories."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import command
from repositories import DRIFTED, OLD, OTHER, ROOT, Repository, content

TEXT = (ROOT / "examples" / "equation_review.yml").read_text()
SCRIPTS = ("Find the model before the change", "Compare", "Comment on the pull request", "Decide")


def blocks(text: str, indent: int) -> dict[str, str]:
    """The parts of a YAML mapping by key, its own lines indented by so many spaces."""
    key = re.compile(rf"^ {{{indent}}}([\w-]+):", re.MULTILINE)
    found = list(key.finditer(text))
    ends = [one.start() for one in found[1:]] + [len(text)]
    return {one.group(1): text[one.end() : end] for one, end in zip(found, ends, strict=True)}


def settings(text: str) -> dict[str, str]:
    """A mapping of texts, comments left out."""
    rows = re.findall(r"^ *(\w+): (.*?)(?:  +#.*)?$", text, re.MULTILINE)
    return {name: value.strip() for name, value in rows}


def steps() -> dict[str, dict[str, str]]:
    """The steps by name, each as its parts."""
    parts = re.split(r"^      - (?=name: )", TEXT, flags=re.MULTILINE)[1:]
    found = [blocks("        " + part, 8) for part in parts]
    return {part["name"].splitlines()[0].strip(): part for part in found}


def script(name: str) -> str:
    head, _, body = steps()[name]["run"].partition("\n")
    return textwrap.dedent(body) if head.strip() == "|" else head


# --- what stands in it ---------------------------------------------------------------------------


def test_no_script_holds_an_expression() -> None:
    """An expression in a script is replaced by text that anyone may have written."""
    scripts = {name: part["run"] for name, part in steps().items() if "run" in part}
    assert set(SCRIPTS) < set(scripts)
    assert not [name for name, text in scripts.items() if "${{" in text]


def test_it_asks_for_no_more_rights_than_it_needs() -> None:
    whole = blocks(TEXT, 0)
    rights = re.findall(r"^  ([\w-]+: \w+)", whole["permissions"], re.MULTILINE)
    assert rights == ["contents: read", "pull-requests: write"]
    assert re.findall(r"^  (\w+):", whole["on"], re.MULTILINE) == ["pull_request"]
    assert "persist-credentials: false" in steps()["Check out the branch"]["with"]
    assert "fetch-depth: 0" in steps()["Check out the branch"]["with"]


@pytest.fixture(scope="module", name="command")
def command_on_the_path() -> Iterator[Path]:
    with command() as folder:
        yield folder


# --- what it does --------------------------------------------------------------------------------


@dataclass
class Job:
    """One run of the job's scripts on a pull request.

    Attributes:
        status: of the last step, or of the first that failed.
        log: what the steps printed.
        folder: where the steps left their files, and `gh` what it was called with.
    """

    status: int
    log: str
    folder: Path

    def file(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    @property
    def page(self) -> str:
        return self.file("runner/equations/equations.html")


GH = """#!/bin/sh
echo "$@" >> "$CALLS"
for argument; do
  case "$argument" in body=@*) cp "${argument#body=@}" "$CALLS.body" ;; esac
done
case "$*" in *--jq*) printf "$KNOWN" ;; esac
"""


def pull_request(
    repository: Repository, base: str, *, known: str = "", model: str = "law.manifest.json"
) -> Job:
    """Run the scripts in their order, as a runner of GitHub does."""
    folder = repository.folder.parent
    (folder / "runner").mkdir(exist_ok=True)
    gh = folder / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(0o755)
    outside = {name: str(folder / name) for name in ("summary", "env", "output", "calls")}
    env = settings(blocks(TEXT, 0)["env"]) | {
        "MODEL": model,
        "BASE_SHA": base,
        "PULL_REQUEST": "7",
        "RUNNER_TEMP": str(folder / "runner"),
        "GITHUB_REPOSITORY": "owner/name",
        "GITHUB_STEP_SUMMARY": outside["summary"],
        "GITHUB_ENV": outside["env"],
        "GITHUB_OUTPUT": outside["output"],
        "GH_TOKEN": "token",
        "CALLS": outside["calls"],
        "KNOWN": known,
        "PATH": f"{gh.parent}{os.pathsep}{repository.env['PATH']}",
    }
    log = ""
    for name in SCRIPTS:
        done = repository.run(
            "bash",
            "--noprofile",
            "--norc",
            "-eo",
            "pipefail",
            "-c",
            script(name),
            check=False,
            **env,
        )
        log += done.stdout + done.stderr
        if done.returncode:
            return Job(done.returncode, log, folder)
        env |= assigned(outside["env"])
        env["STATUS"] = assigned(outside["output"]).get("status", "")
    return Job(0, log, folder)


def assigned(path: str) -> dict[str, str]:
    rows = Path(path).read_text().splitlines() if os.path.exists(path) else []
    return dict(row.split("=", 1) for row in rows)


def changed(
    folder: Path, command: Path, new: str | bytes | None, old: str | None = OLD, **options: Any
) -> Job:
    """A pull request that changes the model from an equation, or nothing, to a new one."""
    repository = Repository.at(folder, command)
    repository.put("README.md", "a model")
    if old is not None:
        repository.write("law.manifest.json", old)
    base = repository.commit()
    repository.git("checkout", "--quiet", "-b", "branch")
    repository.put("train.py", "# another optimizer")
    if isinstance(new, bytes):
        repository.put("law.manifest.json", new)
    elif new is not None:
        repository.write("law.manifest.json", new)
    repository.commit()
    return pull_request(repository, base, **options)


def test_no_change_passes(tmp_path: Path, command: Path) -> None:
    job = changed(tmp_path, command, None)
    assert job.status == 0, job.log
    assert "the equations are the same within the rules" in job.log
    assert "identical" in job.file("summary")
    assert "::error" not in job.log


def test_a_drift_within_the_tolerance_passes_and_is_shown(tmp_path: Path, command: Path) -> None:
    job = changed(tmp_path, command, "2.501*x0*x1")
    assert job.status == 0, job.log
    assert "2.501" in job.file("summary")
    assert "drifted" in job.file("summary")


@pytest.mark.parametrize(("equation", "said"), [(DRIFTED, "drifted"), (OTHER, "structure")])
def test_a_change_fails_with_annotations_summary_page_and_comment(
    tmp_path: Path, command: Path, equation: str, said: str
) -> None:
    job = changed(tmp_path, command, equation)
    assert job.status == 1, job.log
    assert "::error title=symcompile::the equations changed beyond: --fail-on structure" in job.log
    assert len(re.findall(r"^::error ", job.log, re.MULTILINE)) >= 2
    assert said in job.file("summary")
    assert job.page.lower().startswith("<!doctype html>")
    assert "api --silent --method POST repos/owner/name/issues/7/comments" in job.file("calls")
    body = job.file("calls.body")
    assert body == f"<!-- equations of symcompile -->\n{job.file('summary')}"


def test_the_comment_of_an_earlier_push_is_written_anew(tmp_path: Path, command: Path) -> None:
    job = changed(tmp_path, command, OTHER, known="123\\n456\\n")
    rows = job.file("calls").splitlines()
    assert [row.split(" --field")[0] for row in rows if "--method" in row] == [
        "api --silent --method PATCH repos/owner/name/issues/comments/123"
    ]


def test_a_damaged_file_is_trouble_and_no_change(tmp_path: Path, command: Path) -> None:
    job = changed(tmp_path, command, content(".json")[:500])
    assert job.status == 2, job.log
    assert "could not be compared, see the log" in job.log
    assert "changed beyond" not in job.log
    for name in ("summary", "calls.body"):
        assert "**The equations could not be compared.**" in job.file(name)
        assert "can't read 'law.manifest.json'" in job.file(name)
    assert job.page == ""


def test_the_first_model_passes_and_is_shown(tmp_path: Path, command: Path) -> None:
    job = changed(tmp_path, command, OLD, None)
    assert job.status == 0, job.log
    assert "law.manifest.json is new" in job.log
    assert "added" in job.file("summary")
    assert "2.5*x0*x1" in job.file("summary")


def test_a_model_that_went_away_is_trouble(tmp_path: Path, command: Path) -> None:
    repository = Repository.at(tmp_path, command)
    path = repository.write("law.manifest.json")
    base = repository.commit()
    path.unlink()
    repository.put("train.py", "")
    repository.commit()
    job = pull_request(repository, base)
    assert job.status == 2
    assert "there is no file 'law.manifest.json'" in job.log


def test_it_is_compared_with_where_the_branch_forked(tmp_path: Path, command: Path) -> None:
    """What others have merged in the meantime is not a change of this branch."""
    repository = Repository.at(tmp_path, command)
    repository.write("a folder/law.manifest.json")
    repository.commit()
    repository.git("checkout", "--quiet", "-b", "branch")
    repository.put("train.py", "")
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.write("a folder/law.manifest.json", OTHER)
    base = repository.commit()
    repository.git("checkout", "--quiet", "branch")
    job = pull_request(repository, base, model="a folder/law.manifest.json")
    assert job.status == 0, job.log
    assert "identical" in job.file("summary")


def test_a_model_with_the_name_of_a_command_is_a_name(tmp_path: Path, command: Path) -> None:
    repository = Repository.at(tmp_path, command)
    repository.write("$(touch pwned) `id`;.json")
    base = repository.commit()
    repository.put("train.py", "")
    repository.commit()
    job = pull_request(repository, base, model="$(touch pwned) `id`;.json")
    assert job.status == 0, job.log
    assert not (repository.folder / "pwned").exists()
