"""Real git repositories that hold compiled models."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hybrids import Fake, FakeHybrid, hybrid_of
from torch import nn

from symcompile import exporters
from symcompile.modules.calling import Batch
from symcompile.storage import artifact

ROOT = Path(__file__).resolve().parent.parent

# What git stores in the place of a file that Git LFS keeps elsewhere.
POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 12345\n"
)

OLD, DRIFTED, OTHER = "2.5*x0*x1", "2.75*x0*x1", "2.5*x0 + exp(x1)"


def hybrid(equation: str = OLD) -> FakeHybrid:
    """One block, `law`, between the input and the output."""
    model = nn.Sequential()
    model.add_module("law", nn.Linear(2, 1))
    return hybrid_of(model, {"law": Fake([equation], 2)}, Batch((torch.ones(4, 2),), {}))


@functools.cache
def content(suffix: str, equation: str = OLD) -> bytes:
    """The model as a file that ends in ".json", ".symc" or ".onnx"."""
    one = hybrid(equation)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model{suffix}")
        if suffix == ".json":
            exporters.manifest(one, path)
        elif suffix == ".onnx":
            exporters.onnx(one, path, check=False)
        else:
            artifact.write(path, one)
        return path.read_bytes()


def environment(home: Path, command: Path) -> dict[str, str]:
    """Nothing of the user's git, nothing of a git that runs these tests; `command` on the PATH."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    people = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "A"), ("EMAIL", "a@b.example"))
    }
    return kept | people | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_PAGER": "cat",
        "LC_ALL": "C.UTF-8",
        "PATH": os.pathsep.join([str(command), os.environ["PATH"]]),
    }  # fmt: skip


@dataclass
class Repository:
    """A repository and the environment that its commands run in."""

    folder: Path
    env: dict[str, str]

    @classmethod
    def at(cls, folder: Path, command: Path) -> Repository:
        (folder / "home").mkdir(parents=True)
        made = cls(folder / "repository", environment(folder / "home", command))
        made.folder.mkdir()
        made.git("init", "--quiet", "--initial-branch=main")
        return made

    def run(
        self, *command: str, check: bool = True, within: str = ".", **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.folder / within,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def enter(self, monkeypatch: pytest.MonkeyPatch, within: str = ".") -> None:
        """Be in the repository, with its environment, for the rest of a test."""
        for name in [name for name in os.environ if name.startswith(("GIT_", "PRE_COMMIT"))]:
            monkeypatch.delenv(name)
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(self.folder / within)

    def git(self, *arguments: str, check: bool = True) -> str:
        return self.run("git", *arguments, check=check).stdout

    def write(self, name: str, equation: str = OLD) -> Path:
        return self.put(name, content(Path(name).suffix, equation))

    def put(self, name: str, data: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def commit(self, message: str = "change") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD").strip()
