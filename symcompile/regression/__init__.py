"""Regression: from samples to a Pareto front of equations, by engines and by what needs no search.

Arrays in, equations out, and no torch. May import `expressions`.
"""
