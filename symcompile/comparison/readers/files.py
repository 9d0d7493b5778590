"""Open a file that anyone may have put there: only regular files, never more of one than wanted."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, BinaryIO

from symcompile.errors import ArtifactError

Path = str | os.PathLike[str]


def is_nothing(path: Path) -> bool:
    """Whether this is /dev/null, which git names for the missing side of a new or deleted file."""
    return os.fspath(path) in (os.devnull, "/dev/null")


def head(path: Path, count: int = 64) -> bytes:
    """The first bytes of a file.

    Raises ArtifactError if it is empty, is no regular file, or can't be read.
    """
    with opened(path) as file:
        found = file.read(count)
    if not found:
        raise _unreadable(path, "it is empty, so it was truncated")
    return found


def content(path: Path, limit: int) -> bytes:
    """All of a file that is at most `limit` bytes long; ArtifactError as in `head`."""
    with opened(path) as file:
        found = file.read(limit + 1)
    if len(found) > limit:
        raise _unreadable(path, f"it is longer than {limit} bytes")
    return found


def opened(path: Path) -> BinaryIO:
    """An open regular file; a pipe or a device is refused, not waited for."""
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    except FileNotFoundError:
        raise ArtifactError(f"there is no file {name!r}") from None
    except ValueError as error:  # a name with a null character
        raise ArtifactError(f"can't read {name!r}: {error}") from None
    except OSError as error:
        special = error.errno == errno.ENXIO  # a socket
        raise _unreadable(path, "it is no regular file" if special else _reason(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unreadable(path, "it is no regular file")
    return os.fdopen(descriptor, "rb")


_BINARY: int = getattr(os, "O_BINARY", 0)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _unreadable(path: Any, reason: str) -> ArtifactError:
    return ArtifactError(f"can't read {os.fspath(path)!r}: {reason}")
