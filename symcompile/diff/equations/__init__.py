"""Two equations compared: their values, their forms, their constants, and what is marked in both.

`comparison` weighs what the other files find. Expressions may be used, and the records of the diff.
"""

from symcompile.diff.equations.comparison import compare_equations

__all__ = ["compare_equations"]
