"""The same search by pyoperon as its users have it: its own regressor, and its own choice.

Two objectives, error and length; five steps of constant fitting for each offspring, without which
it finds next to nothing; 1,000 individuals and trees of up to 50 nodes as is its default. Its
choice, by description length, wants to know the noise: it is told the truth.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from laws_data import Array

from symcompile import Equation
from symcompile.expressions.light_code import as_expression
from symcompile.expressions.operators import VOCABULARY
from symcompile.regression.engines.operon_tree import TreeNode, expression

LOCAL_ITERATIONS = 5
# Exact data have the noise of rounding, in units of their standard deviation.
ROUNDING = 1e-6
# It counts its time in whole seconds; less than this is left alone.
LEAST = 0.5


def bred(
    names: Sequence[str],
    operators: Sequence[str],
    X: Array,
    y: Array,
    *,
    noise: float,
    seed: int,
    budget: float,
) -> tuple[Equation, tuple[Equation, ...]]:
    """The choice and the front, after `budget` CPU seconds of one thread.

    `noise` is the standard deviation of errors of y.
    """
    from pyoperon.sklearn import SymbolicRegressor

    nodes = [VOCABULARY[name].operon[0].lower() for name in operators]
    regressor = SymbolicRegressor(
        allowed_symbols=",".join([*nodes, "constant", "variable"]),
        objectives=["r2", "length"],
        optimizer_iterations=LOCAL_ITERATIONS,
        uncertainty=[max(noise, ROUNDING * float(y.std()))],
        generations=10**6,
        max_evaluations=10**9,
        random_state=seed,
        n_threads=1,
    )
    start = time.process_time()
    left = budget
    while left > LEAST or not hasattr(regressor, "model_"):
        # Its clock is that of the wall: on a busy machine some CPU time is left over, and used.
        regressor.set_params(max_time=max(1, round(left)))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            regressor.fit(X, y)
        regressor.set_params(warm_start=True)
        left = budget - (time.process_time() - start)
    columns = {key: column for column, key in enumerate(regressor.variables_)}
    rows = regressor.pareto_front_
    front = tuple(_equation(row, names, columns) for row in rows)
    chosen = min(range(len(rows)), key=lambda i: rows[i][regressor.model_selection_criterion])
    return front[chosen], front


def _equation(row: dict[str, Any], names: Sequence[str], columns: Mapping[int, int]) -> Equation:
    """One row of its front: a tree with a factor before each input, its length and its error."""
    nodes = [
        TreeNode("variable", 0, node.Value, columns[node.HashValue])
        if node.IsVariable
        else TreeNode(node.Type.name, node.Arity, node.Value)
        for node in row["tree"].Nodes
    ]
    tree, constants = expression(nodes, range(len(names)), np.ones(len(names)))
    form, loss = as_expression(tree, names), float(row["mean_squared_error"])
    return Equation(form, tuple(names), tuple(constants), int(row["length"]), loss)
