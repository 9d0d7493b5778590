"""Files: opened with distrust, since anyone may have put them there, and written whole.

Only regular files are opened, and never more of one is read than wanted.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from symcompile.errors import ArtifactError, SymCompileError

AnyPath = str | os.PathLike[str]

_BINARY: int = getattr(os, "O_BINARY", 0)
_WITHOUT_WAITING: int = getattr(os, "O_NONBLOCK", 0)
_NO_FILE = "it is no regular file"
# What ends the name of a folder in which a file is being written.
PART = ".part"

# --- reading -------------------------------------------------------------------------------------


def is_nothing(path: AnyPath) -> bool:
    """Whether this is /dev/null, which git names for the missing side of a new or deleted file."""
    return path_text(path) in (os.devnull, "/dev/null")


def head(path: AnyPath, count: int = 64) -> bytes:
    """The first bytes of a file.

    Raises ArtifactError if it is empty, is no regular file, or can't be read.
    """
    with opened(path) as file:
        data = file.read(count)
    if not data:
        raise unreadable(path, "it is empty, so it was truncated")
    return data


def content(path: AnyPath, limit: int) -> bytes:
    """All of a file that is at most `limit` bytes long; ArtifactError as in `head`."""
    with opened(path) as file:
        long = size(file) > limit  # a file with holes may be longer than any memory
        data = b"" if long else file.read(limit + 1)
    if long or len(data) > limit:
        raise unreadable(path, f"it is longer than {limit} bytes")
    return data


def opened(path: AnyPath) -> BufferedReader:
    """An open regular file; a pipe or a device is refused, not waited for."""
    name = path_text(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | _WITHOUT_WAITING | _BINARY)
    except FileNotFoundError:
        raise ArtifactError(f"there is no file {name!r}") from None
    except ValueError as error:  # a name with a null character
        raise ArtifactError(f"can't read {name!r}: {error}") from None
    except OSError as error:
        special = error.errno == errno.ENXIO  # a socket
        raise unreadable(path, _NO_FILE if special else _reason(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise unreadable(path, _NO_FILE)
    return os.fdopen(descriptor, "rb")


def without_waiting(path: str, flags: int) -> int:
    """An opener for `open`: whoever may read from or write into a pipe is not waited for."""
    return os.open(path, flags | _WITHOUT_WAITING, 0o666)


def size(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


# --- writing -------------------------------------------------------------------------------------


def refuse_special(
    path: AnyPath, kind: type[SymCompileError] = ArtifactError, what: str = ""
) -> None:
    """Before a file is put in the place of what is there: only of a file.

    Raises an error of `kind` for a pipe, a device, a socket or a folder.
    """
    name = path_text(path, kind, f"can't write {what}to")
    if not os.path.basename(name):
        raise kind(f"can't write {what}{name!r}: expected the name of a file")
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return  # not there, or what writes has the words for it
    if not stat.S_ISREG(mode):
        reason = "it is a directory" if stat.S_ISDIR(mode) else _NO_FILE
        raise kind(f"can't write {what}{name!r}: {reason}")


@contextmanager
def replacing(
    path: AnyPath,
    kind: type[SymCompileError] = ArtifactError,
    what: str = "",
    *,
    with_others: bool = False,
) -> Iterator[Path]:
    """Write a file whole or not at all: it takes the place of what was there in one step.

    Yields where to write it, see `drafted`. Raises an error of `kind` where that can't be done.
    """
    refuse_special(path, kind, what)
    target = Path(os.fsdecode(path))
    try:
        with drafted(target, with_others=with_others) as draft:
            yield draft
    except OSError as error:
        raise kind(f"can't write {what}{str(target)!r}: {_reason(error)}") from error


@contextmanager
def drafted(target: Path, *, with_others: bool = False) -> Iterator[Path]:
    """The same, with the errors of the operating system.

    The draft is a file beside the target: once that is there nothing is left to be done, and so
    nothing stays behind where an interrupt comes then. `with_others`, it is a file of the target's
    name in a folder of its own: what else is written there goes along, the target last.
    """
    own = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")
    places = {own: target}
    try:
        try:
            own.mkdir() if with_others else own.touch()
        except ValueError as error:  # a name with a null character
            raise OSError(str(error)) from error
        yield own / target.name if with_others else own
        if with_others:
            last = sorted(own.iterdir(), key=lambda file: file.name == target.name)
            places = {draft: target.with_name(draft.name) for draft in last}
        for draft, place in places.items():
            with draft.open("rb+") as file:
                sync(file.fileno())
            os.replace(draft, place)
    finally:
        remove_draft(own)


def remove_draft(draft: Path) -> None:
    """A file or a folder, as far as that can be done."""
    with suppress(OSError, ValueError):
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)


def sync(descriptor: int) -> None:
    """After a failure of power a file is there in full or not at all."""
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems have no such call
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


# --- words ---------------------------------------------------------------------------------------


def path_text(
    path: object, kind: type[SymCompileError] = ArtifactError, doing: str = "can't read"
) -> str:
    """A path as text; an error of `kind` for what is none."""
    try:
        return os.fsdecode(path)  # type: ignore[arg-type]
    except TypeError:
        raise kind(f"{doing} a {type(path).__name__}: expected the path of a file") from None


def unreadable(path: AnyPath, reason: str) -> ArtifactError:
    return ArtifactError(f"can't read {path_text(path)!r}: {reason}")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
