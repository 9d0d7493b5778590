"""Expressions: operators, programs, and equations: their text, cost and values.

They know sympy and numpy, and no torch. Imports nothing of the package but errors.
"""
