"""Fidelity: what became of a region, and how far its equations are from what they replace.

Every measurement is of the block as it is installed. May import all rooms up to `lowering`.
"""
