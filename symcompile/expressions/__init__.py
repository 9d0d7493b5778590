"""Expressions: operators, programs, and equations: their text, cost and values.

They know sympy and numpy, and no torch. Imports nothing of the package but errors.

`operators` is the table of operators: a row is an `operator.Operator`, those of a search are an
`operator_set`. A `program` is flat code over them and `fold` the one walk over it, which gives
values and bounds (`evaluation`, `intervals`) and sympy expressions. These have their constants in
`slots`, `parser` and `printing` are their texts, and `size_limits` what a file may ask for.

Algebra is done on light trees (`light_tree`, built by `light_algebra`, read and written by
`light_code`): `canonical` merges their constants (`merging`) and spells them (`expansion`
multiplies out), `complexity` counts them. An `equation` is one with its constants, cost and losses.
"""
