"""Git speaks of equations: drivers for `git diff` and `git log`, and the comparison with a commit.

A driver that fails ends the whole `git diff` or `git log -p`, with all that comes after its file.
So the two drivers answer with a line of text where a file can't be read; everything else raises.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from symcompile.diff.result import GraphDiff
from symcompile.diff.textconv import lines
from symcompile.errors import ArtifactError, ComparisonError, SymCompileError, one_line
from symcompile.storage.files import opened

SETTINGS = {
    "diff.symcompile.textconv": "symcompile git textconv --",
    "diff.symcompile.cachetextconv": "true",
    "diff.symcompile.command": "symcompile git driver --",
    "difftool.symcompile.cmd": 'symcompile diff -- "$LOCAL" "$REMOTE"',
}
ATTRIBUTES = ("*.symc diff=symcompile", "*.onnx diff=symcompile")

_BOLD, _PLAIN = "\x1b[1m", "\x1b[m"

_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_POINTER = 1024  # bytes; longer files are never taken for one


# --- drivers -------------------------------------------------------------------------------------


def textconv(path: str) -> str:
    """The text that git compares in place of a binary file. Never raises our own errors."""
    from symcompile.diff.readers import read

    pointer = _pointer(path)
    if pointer is not None:
        return f"Git LFS pointer: the model itself is not here, `git lfs pull` gets it\n{pointer}"
    try:
        return lines(read(path))
    except SymCompileError as error:
        # The name is that of a temporary file, another one each time.
        text = one_line(str(error).replace(repr(path), "this file"))
        return f"{text}\n{_digest(path)}\n"


def _digest(path: str) -> str:
    """What tells two files apart that can't be read, so that git shows that there was a change."""
    try:
        with opened(path) as file:
            return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"  # type: ignore[arg-type]
    except (OSError, SymCompileError) as error:
        reason = getattr(error.__context__ or error, "strerror", None) or str(error)
        return one_line(f"no sha256: {reason.replace(repr(path), 'this file')}")


def driver(
    path: str, old: str, new: str, *, renamed: str | None = None, color: bool | None = None
) -> str:
    """The comparison that `git diff` shows for one file. Never raises our own errors.

    Args:
        path: its name in the repository; `renamed` is another one on the new side.
        old, new: files with both contents, of which a missing one is /dev/null.
        color: as git wants it, if left out.
    """
    color = wants_color() if color is None else color
    head = headline(path, renamed or path)
    try:
        names = {old: f"a/{path}", new: f"b/{renamed or path}"}
        shown = _compared(old, new, names).render("text", color=color)
    except SymCompileError as error:
        shown = one_line(str(error))
    return f"{_BOLD if color else ''}{head}{_PLAIN if color else ''}\n{shown.rstrip()}\n"


def headline(old: str, new: str) -> str:
    """What stands above the comparison of a file, with its names in the repository."""
    return one_line(f"diff --symcompile a/{old} b/{new}")


def wants_color() -> bool:
    """What git's own settings say about colour, for output that may go to git's pager."""
    seen = sys.stdout.isatty() or os.environ.get("GIT_PAGER_IN_USE") == "true"
    if os.environ.get("NO_COLOR"):
        return False
    asked = _git("config", "--get-colorbool", "color.diff", "true" if seen else "false")
    return asked.stdout.strip() == b"true"


# --- against a commit ----------------------------------------------------------------------------


def since(path: str, revision: str | None = None, **rules: Any) -> GraphDiff | None:
    """Compare a file of the working tree with what it was in a commit; None if it is new.

    Args:
        path: the file; one that was renamed is compared with what it was called then.
        revision: HEAD by default, or what pre-commit says where it runs on a range of commits.
        rules: of `diff`.

    Raises:
        ArtifactError: one of both is damaged, or a Git LFS pointer without its content.
        ComparisonError: git is not here, this is no repository, or there is no such commit.
    """
    revision = revision or os.environ.get("PRE_COMMIT_FROM_REF") or "HEAD"
    commit = _commit(revision)
    entry = _entry(commit, path) if commit else None
    if commit is None or entry is None:
        return None
    mode, name = entry
    if not mode.startswith("100"):
        raise ComparisonError(f"{revision}:{name} is no file: git calls it a {mode}")
    with tempfile.TemporaryDirectory(prefix="symcompile-") as folder:
        old = os.path.join(folder, os.path.basename(name))
        with open(old, "wb") as file:  # as a checkout would write it
            _answer("cat-file", "--filters", f"{commit}:{name}", stdout=file)
        return _compared(old, path, {old: f"{revision}:{name}"}, **rules)


def check(path: str) -> None:
    """Read all of a file. Raises ArtifactError if it is damaged, tampered with, or foreign."""
    from symcompile.diff.readers import read

    _refuse_pointer(path, path)
    read(path)


def _commit(revision: str) -> str | None:
    """Its full name; None for HEAD where nothing was committed yet."""
    if revision.startswith("-"):
        raise ComparisonError(f"{revision!r} is no name of a commit")
    parsed = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if parsed.returncode == 0:
        return parsed.stdout.decode().strip()
    _answer("rev-parse", "--git-dir")
    if revision == "HEAD":
        return None
    raise ComparisonError(
        f"there is no commit {revision!r} here: a shallow clone holds the last ones only"
    )


def _entry(commit: str, path: str) -> tuple[str, str] | None:
    """Mode and full name of what a file was in a commit, None if it was not there."""
    folder, name = os.path.split(os.path.abspath(path))
    local = os.path.relpath(os.path.join(os.path.realpath(folder), name), os.path.realpath("."))
    row = _answer("ls-tree", "-z", "--full-name", commit, "--", local)
    if not row:
        full = _answer("ls-files", "-z", "--full-name", "--", local).rstrip(b"\0")
        renames = _answer("diff-index", "--name-status", "-z", "-M", "--diff-filter=R", commit)
        # Three texts a file: the state, the old name and the new one.
        texts = renames.split(b"\0")
        before = dict(zip(texts[2::3], texts[1::3], strict=False)).get(full) if full else None
        if before is None:
            return None
        row = _answer("ls-tree", "-z", "--full-tree", commit, "--", os.fsdecode(before))
    about, _, name_there = row.rstrip(b"\0").partition(b"\t")
    return (about.split()[0].decode(), os.fsdecode(name_there)) if row else None


# --- Git LFS -------------------------------------------------------------------------------------


def _pointer(path: str) -> str | None:
    """The text of a Git LFS pointer, None for anything else."""
    try:
        with opened(path) as file:
            data = file.read(_MAX_POINTER + 1)
    except (OSError, SymCompileError):
        return None  # the reader has the words for it
    if not data.startswith(_POINTER) or len(data) > _MAX_POINTER:
        return None
    return "".join(f"{one_line(row)}\n" for row in data.decode(errors="replace").splitlines())


def _refuse_pointer(path: str, name: str) -> None:
    if _pointer(path) is not None:
        raise ArtifactError(
            f"can't read {name!r}: it is a Git LFS pointer, the model itself is not here;"
            " `git lfs pull` gets it"
        )


# --- what git is told ----------------------------------------------------------------------------


def setup(*, everywhere: bool = False) -> str:
    """Put SETTINGS into the configuration of this repository, or of the user with `everywhere`.

    Texts that git has kept of models are dropped: another version of symcompile may say more, and
    what was a Git LFS pointer may be a model now. Returns what was done and what is left to do, for
    people. Raises ComparisonError outside of a repository.
    """
    place = "--global" if everywhere else "--local"
    for name, value in SETTINGS.items():
        _answer("config", place, name, value)
    _git("update-ref", "-d", "refs/notes/textconv/symcompile")
    done = [f"git config {place} {name} '{value}'" for name, value in SETTINGS.items()]
    left = []
    for row in ATTRIBUTES:
        name = f"model{row.split()[0].removeprefix('*')}"
        attribute = _git("check-attr", "-z", "diff", "--", name).stdout.split(b"\0")
        left += [row] if attribute[2:3] != [b"symcompile"] else []
    if left:
        done += ["", "Now add to .gitattributes, and commit it:", "", *left]
    return "\n".join(done)


def _git(*arguments: str, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "--literal-pathspecs", *arguments]
    try:
        return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False)
    except FileNotFoundError:
        raise ComparisonError("git is not installed, or not on the PATH") from None


def _answer(*arguments: str, stdout: Any = subprocess.PIPE) -> bytes:
    done = _git(*arguments, stdout=stdout)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise ComparisonError(f"git {arguments[0]}: {one_line(said[0])}")
    return done.stdout or b""


# --- names for people ----------------------------------------------------------------------------


def _compared(old: str, new: str, names: Mapping[str, str], **rules: Any) -> GraphDiff:
    """The comparison, with the names that files have in the repository, not those of copies."""
    from symcompile.diff import diff

    names = {path: name for path, name in names.items() if path != os.devnull}
    for path in (old, new):
        _refuse_pointer(path, names.get(path, path))
    try:
        comparison = diff(old, new, **rules)
    except SymCompileError as error:
        text = str(error)
        for path, name in names.items():
            text = text.replace(repr(path), repr(name))
        raise type(error)(text) from error
    old_side, new_side = (
        replace(side, source=names.get(side.source, side.source))
        for side in (comparison.old, comparison.new)
    )
    return replace(comparison, old=old_side, new=new_side)
