"""Explanation: one prediction of any model, told by an equation that holds around it.

May import every room up to `report`, and what lies flat up to `compiled`.
"""

from symcompile.explanation.explaining import explain
from symcompile.explanation.explanation import Explanation

__all__ = ["Explanation", "explain"]
