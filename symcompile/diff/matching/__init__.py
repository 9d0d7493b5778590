"""Which nodes of two graphs are the same: the graphs around the blocks, matched by structure."""

from symcompile.diff.matching.match import match

__all__ = ["match"]
