"""Reduction: what a wide block is brought down to, a few coordinates and an affine map.

`linear` has what least squares give (principal components, reduced-rank regression), `products`
sums of products of coordinates. May import `expressions`, `regression`, `target` and `modules`.
"""
