"""The one family of errors that symcompile raises, and what text of a file may say in one."""

from __future__ import annotations

_LONGEST_LINE = 300


class SymCompileError(Exception):
    """Root of every error that symcompile raises on purpose."""


class TargetError(SymCompileError, ValueError):
    """A target names nothing, overlaps another one, or has options that make no sense."""


class CaptureError(SymCompileError):
    """The model can't be captured in the way that a target needs."""


class DataError(SymCompileError, ValueError):
    """Sample data is empty, not finite, constant, too small, or of the wrong shape."""


class StaleRecordingError(DataError):
    """A recording was made with other weights than those of the model at hand."""


class ExpressionError(SymCompileError, ValueError):
    """An expression holds something outside of the whitelist, or can't be read."""


class EngineError(SymCompileError):
    """A symbolic-regression engine is missing, was given bad options, or found nothing."""


class ChoiceError(SymCompileError, LookupError):
    """An equation was asked for that the Pareto front does not have."""


class LoweringError(SymCompileError):
    """An equation can't be turned into torch operators."""


class ExportError(SymCompileError):
    """A format can't hold the model, or the written file does not agree with it."""


class ArtifactError(SymCompileError):
    """An artifact can't be written, is damaged, or was made by a newer version."""


class PruningError(SymCompileError, ValueError):
    """A block can't be pruned, or made smaller, in the way that was asked for."""


class ComparisonError(SymCompileError, ValueError):
    """Two models can't be compared in the way that was asked for."""


def first_line(error: BaseException, otherwise: str | None = None) -> str:
    """What an error of someone else's says first; of one that says nothing its type, or
    `otherwise`."""
    lines = [line for line in map(str.strip, str(error).splitlines()) if line]
    return one_line(lines[0], _LONGEST_LINE) if lines else otherwise or type(error).__name__


def described(error: BaseException) -> str:
    """An error of someone else's in one line: its type, and the first line of what it says."""
    return f"{type(error).__name__}: {first_line(error, 'no message')}"


def one_line(text: str, limit: int | None = None) -> str:
    """One line of at most `limit` characters, "?" in the place of every control character.

    Those that turn the direction of writing, move the cursor, or stand for half a character are
    control characters too.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 3] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def shown(data: object, limit: int = 60) -> str:
    """A value of a file for a message: short, whatever its size, and on one line."""
    if isinstance(data, (list, tuple, dict)):
        return f"{'an object' if isinstance(data, dict) else 'a list'} of {len(data)}"
    if isinstance(data, str):
        return one_line(repr(data[:limit]) + "..." * (len(data) > limit))
    if type(data) is int and data.bit_length() > 200:
        return f"a number of {data.bit_length()} bits"
    return "null" if data is None else one_line(repr(data), 10 * limit)
