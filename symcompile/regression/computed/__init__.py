"""Computed laws: equations that are solved for, without a search.

What the structure of an output leaves is solved as sums of two forms of a `table` (in `pairs`, of
the output and its `transforms`) and as `rational` functions; `laws` puts them together again.
May import `structure` and what lies flat in `symcompile.regression`, but `fit` and what runs fits.
"""

from symcompile.regression.computed.laws import Computed, computed_laws

__all__ = ["Computed", "computed_laws"]
