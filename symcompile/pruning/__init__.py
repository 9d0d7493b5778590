"""Pruning: which output dimensions of a block matter, and a block without the others.

Works on modules alone, before anything is compiled. May import `modules` and what stands below it.
"""
