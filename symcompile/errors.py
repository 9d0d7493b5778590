"""The one family of errors that symcompile raises."""


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


def described(error: Exception) -> str:
    """An error of someone else's in one line: its type, and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"
