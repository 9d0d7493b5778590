"""Two graphs laid out as one picture: boxes, lines and where they stand; no markup.

It imports the records of a comparison (`diff.result`), and the rows of `storage` that these hold.
"""

from symcompile.diff.drawing.picture import picture

__all__ = ["picture"]
