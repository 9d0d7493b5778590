"""Symbolic-regression engines behind one protocol; each loads its package when first used.

May import what stands before it in `symcompile.regression`.
"""

from symcompile.regression.engines.engine import Engine, ProgressCallback, SearchProgress, create

__all__ = ["Engine", "ProgressCallback", "SearchProgress", "create"]
