from __future__ import annotations
import math, time
from dataclasses import dataclass
from typing import Any
import numpy as np
import sympy
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed.pairs import best_sums
from symcompile.regression.computed.table import Table
from symcompile.regression.computed.transforms import applicable
from symcompile.regression.structure.problem import Problem

EXACT = 1e-9
ROWS = 96

@dataclass(frozen=True)
class Solution:
    """expr of the core, its relative error, its rough size"""
    expr: Any
    error: float
    size: int

def solve(problem: Problem, operators: OperatorSet, sizes=(400, 3000), keep=30, floor=0.0):
    """Solutions of the core, best first by description."""
    out: list[Solution] = []
    y, w = problem.core, problem.weight
    spread = problem.spread
    if not problem.variables:
        c = float(np.average(y, weights=w * w))
        return [Solution(sympy.Float(c), float(np.sqrt(np.mean((w * (y - c)) ** 2))), 1)]
    V = np.array([v.values for v in problem.variables])
    pick = np.random.default_rng(0).permutation(len(y))[:ROWS]
    for limit in sizes:
        table = Table(V[:, pick], [v.expr for v in problem.variables], operators, limit)
        known: dict[int, Array] = {}
        for transform, sign, h, hw in applicable(y, operators):
            weight = hw * w
            found = best_sums(table.values, h[pick], weight[pick], keep)
            count: dict[int, int] = {}
            for f in found:
                size = int(sum(table.sizes[p] for p in f.places)) + len(f.places)
                count[size] = count.get(size, 0) + 1
                if count[size] > 4:
                    continue
                cols = [table.on(p, V, known) for p in f.places]
                if not all(np.isfinite(c).all() for c in cols):
                    continue
                for constant in (False, True):
                    A = np.column_stack([*cols, *([np.ones(len(y))] * constant)])
                    c = np.linalg.lstsq(A * weight[:, None], h * weight, rcond=None)[0]
                    with np.errstate(all="ignore"):
                        value = sign * transform.inverse(A @ c)
                        e = float(np.sqrt(np.mean((w * (value - y)) ** 2))) / spread
                    if math.isfinite(e):
                        out.append(Solution((table, transform, sign, f.places, c), e, size + constant + (transform.name != "y")))
        best = min((s.error for s in out), default=math.inf)
        if best < max(EXACT, floor):
            break
    return out

def expr_of(s: Solution):
    if isinstance(s.expr, sympy.Expr): return s.expr
    table, transform, sign, places, c = s.expr
    terms = [table.expr(p) for p in places] + [sympy.S.One] * (len(c) - len(places))
    return sign * transform.build(sympy.Add(*(sympy.Float(float(a)) * t for a, t in zip(c, terms))))
