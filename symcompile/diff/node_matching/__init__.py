"""Which nodes of two graphs are the same: the graphs around the blocks, matched by structure.

It imports the records of a comparison (`diff.result`), and the rows of `storage` that these hold.
"""

from symcompile.diff.node_matching.match import match

__all__ = ["match"]
