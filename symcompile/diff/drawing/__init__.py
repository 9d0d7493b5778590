"""Two graphs laid out as one picture: boxes, lines and where they stand; no markup.

It imports the records of a comparison (`diff.result`, `diff.snapshot`) and nothing else of it.
"""

from symcompile.diff.drawing.picture import picture

__all__ = ["picture"]
