"""What a model can do without: output dimensions of a block, inputs and constants of its equations.

What `passes/prune.py` and `passes/simplify.py` work with, each while the model trains. May import
`fidelity` and what stands below it.
"""
