"""Lowering: equations of a region become a flat fx.GraphModule of torch operators.

`block` makes one, by way of `joint` (one program of all equations), `affine` (sums as matrix
products) and `codegen` (the graph, node by node). May import `expressions` and `modules`.
"""
