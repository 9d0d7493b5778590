"""The wall around what is read: whatever a file makes a reader raise is an error of ours.

Readers check what they read, each field for itself. What no check has thought of ends here, and
names the file and the place in it. Ctrl-C and the end of the interpreter go through.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from symcompile.errors import ArtifactError, SymCompileError, first_line, one_line
from symcompile.expressions.limits import allowance
from symcompile.storage.files import path_text

_LONGEST = 2_000  # characters of a message

_T = TypeVar("_T")


@contextmanager
def reading(source: str | os.PathLike[str], what: str = "") -> Iterator[None]:
    """Around everything that depends on what is in a file; `what` it is to be, for messages.

    Raises ArtifactError, one printable line that names the file. All equations inside share one
    allowance of work.
    """
    with wall("can't read", source, what=what), allowance():
        yield


@contextmanager
def wall(
    doing: str,
    *sources: str | os.PathLike[str],
    kind: type[SymCompileError] = ArtifactError,
    what: str = "",
) -> Iterator[None]:
    """Around what is done with the content of files.

    Raises an error of `kind`, one printable line which begins with what was being done to which
    file, and `what` that is. Errors of ours that name a file already keep their words, unless they
    have to say what it is.
    """
    names = [repr(path_text(source, kind, doing)) for source in sources]
    start = f"{doing} {what}{' ' * bool(what)}{' and '.join(names)}: "
    try:
        yield
    except SymCompileError as error:
        said_already = not what and any(name in str(error) for name in names)
        if said_already and str(error).isprintable():
            raise
        text = str(error) if said_already else start + str(error)
        raise (type(error) if said_already else kind)(one_line(text, _LONGEST)) from error
    except Exception as error:
        raise kind(one_line(start + said(error), _LONGEST)) from error


@contextmanager
def part(where: str) -> Iterator[None]:
    """Around a part of a file, so that errors inside name it."""
    try:
        yield
    except SymCompileError as error:
        raise ArtifactError(one_line(f"{where}: {error}", _LONGEST)) from error
    except Exception as error:
        raise ArtifactError(one_line(f"{where}: {said(error)}", _LONGEST)) from error


def or_none(read: Callable[[], _T]) -> _T | None:
    """What a file holds that may be damaged, or not be there: None then, whatever is wrong."""
    try:
        return read()
    except Exception:
        return None


def said(error: BaseException) -> str:
    """An error that is not ours, in a line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it takes too much memory"
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"
