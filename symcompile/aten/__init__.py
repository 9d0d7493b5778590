"""ATen graphs as plain data: encoded from torch.export, decoded without executing anything.

What stands here knows graphs and the blocks that they call, and nothing of the files that hold
them. May import the rooms from `expressions` to `pruning`.

`export` traces a model with its blocks `opaque`, and `sizes` tells which shapes are free in it.
`document` says what a stored graph is; `encode` writes it and `decode` reads it: which `operators`
it may name, how `values` stand in it, and by which `signature` the model is called. `hybrid`
decides which blocks of a hybrid the graph calls.
"""
