"""Which nodes of two graphs are the same: the graphs around the blocks, matched by structure.

It imports the records of a comparison (`diff.result`, `diff.snapshot`) and nothing else of it.
"""

from symcompile.diff.matching.match import match

__all__ = ["match"]
