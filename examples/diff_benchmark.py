"""How long does a comparison of two large models take? Run: python examples/diff_benchmark.py

Two manifests are written without compiling anything: residual layers, about 5,000 nodes of ATen
around 60 blocks with three equations each. In the second one every weight has other values, thirty
layers were changed, and a third of the blocks has other coefficients or another law. Then
`symcompile diff` compares the first one with itself and with the second, as a child process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sympy

from symcompile.exporters.manifest_json import text
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.program import count_operators

BLOCK_EVERY = 18  # layers, of which one is a block
OPERATORS = OperatorSet.of(["+", "*", "sin", "exp"])
NAMES = ("x0", "x1", "x2", "x3")
OUTPUTS = 3
EDITS = ("inserted", "removed", "activation", "argument", "rewired")
EDITED = 30

Json = dict[str, Any]


# --- a model as a manifest -----------------------------------------------------------------------


class Layer(NamedTuple):
    """One residual layer: its name, what was done to it, and whether a block is in its place."""

    name: str
    edit: str = ""
    block: bool = False


def layers(count: int, edited: bool) -> list[Layer]:
    """As many layers; in an edited model some that are no blocks are not what they were."""
    chance = random.Random(0)
    plain = [k for k in range(count) if k % BLOCK_EVERY]
    edits = dict(zip(chance.sample(plain, EDITED), EDITS * (EDITED // len(EDITS)), strict=True))
    return [
        Layer(f"layers.{k}", edits.get(k, "") if edited else "", k % BLOCK_EVERY == 0)
        for k in range(count)
    ]


def manifest(found: list[Layer], values: int) -> Json:
    """The model with other `values` in its weights and equations."""
    rows, weights = graph(found, values)
    blocks = [layer for layer in found if layer.block]
    return {
        "manifest": 1,
        "symcompile": "benchmark",
        "model": {
            "class": "Benchmark",
            "capture": "fx",
            "inputs": {"x": ["float32", "batch", 8]},
            "outputs": {"result": ["float32", "batch", 8]},
            "parameters": 72 * len(weights),
        },
        "regions": {f"{one.name}.mlp": region(k, values) for k, one in enumerate(blocks)},
        "weights": weights,
        "graph": {"level": "aten", "nodes": rows},
    }


def graph(found: list[Layer], values: int) -> tuple[list[list[Any]], Json]:
    """Rows [name, operator, inputs, weights, arguments] with running numbers, and the weights."""
    rows: list[list[Any]] = [["x", "input", [], [], "x"]]
    counts: dict[str, int] = {}
    weights: Json = {}

    def add(operator: str, inputs: list[str], path: str = "", more: str = "") -> str:
        short = operator.split(":")[0].removeprefix("aten.").split(".")[0]
        counts[short] = counts.get(short, -1) + 1
        name = f"{short}_{counts[short]}"
        read = [f"{path}.weight", f"{path}.bias"] if path else []
        for weight in read:
            shape = [8, 8] if weight.endswith("weight") else [8]
            digest = hashlib.sha256(f"{weight} {values}".encode()).hexdigest()[:16]
            weights[weight] = ["float32", shape, digest]
        pattern = ", ".join("%" * len(inputs) + "@" * len(read))
        rows.append([name, operator, inputs, read, pattern + more])
        return name

    last = "x"
    for layer in found:
        last = layer_rows(layer, last, rows, add)
    rows.append(["output", "output", [last], [], "%"])
    return rows, weights


def layer_rows(layer: Layer, last: str, rows: list[list[Any]], add: Any) -> str:
    """Norm, two linear layers with an activation, and the skip connection."""
    if layer.edit == "removed":
        return last
    if layer.edit == "inserted":
        last = add("aten.tanh.default", [last])
    if layer.block:
        return add("aten.add.Tensor", [last, add(f"region:{layer.name}.mlp", [last])])
    inner = add("aten.layer_norm.default", [last], f"{layer.name}.norm", ", [8]")
    inner = add("aten.linear.default", [inner], f"{layer.name}.up")
    inner = add(f"aten.{'silu' if layer.edit == 'activation' else 'gelu'}.default", [inner])
    inner = add("aten.linear.default", [inner], f"{layer.name}.down")
    skip = rows[-8][0] if layer.edit == "rewired" else last
    more = ", alpha=0.5" if layer.edit == "argument" else ""
    return add("aten.add.Tensor", [skip, inner], more=more)


# --- blocks --------------------------------------------------------------------------------------


def region(number: int, values: int) -> Json:
    """A symbolic block; where there are other values every third has another form or constants."""
    changed = values if number % 3 == 0 else 0
    equations = {str(k): equation(number, k, changed) for k in range(OUTPUTS)}
    probes = np.random.default_rng(number).uniform(-1, 1, (8, len(NAMES)))
    return {
        "status": "symbolic",
        "dtype": "float32",
        "calls": 1,
        "inputs": {name: [-1.0, 1.0] for name in NAMES},
        "outputs": OUTPUTS,
        "equations": {key: equation_row(one) for key, one in equations.items()},
        "probes": {
            "inputs": probes.tolist(),
            "outputs": {key: one.predict(probes).tolist() for key, one in equations.items()},
        },
        "provenance": {"engine": {"name": "operon"}, "seed": 0},
    }


def equation(number: int, output: int, changed: int) -> Equation:
    a, b, c, d = np.random.default_rng([number, output]).uniform(0.5, 2.0, 4)
    x = sympy.symbols(NAMES)
    law = sympy.Float(b) * sympy.sin(sympy.Float(c) * x[1]) * sympy.exp(-sympy.Float(d) * x[2])
    if changed and number % 2:
        law *= x[3]
    return Equation.of(sympy.Float(a + 0.01 * changed) * x[0] + law, NAMES, OPERATORS)


def equation_row(one: Equation) -> Json:
    return {
        "equation": one.text(6),
        "form": str(one.form),
        "constants": {f"c[{k}]": value for k, value in enumerate(one.constants)},
        "variables": list(NAMES),
        "complexity": one.complexity,
        "operators": count_operators(one.program),
        "loss": None,
        "holdout_loss": None,
        "fidelity": {"r2": 0.999, "relative_l2": 0.03, "max_error": 0.1},
        "program": one.program.to_json(),
    }


# --- the comparison ------------------------------------------------------------------------------


class Run(NamedTuple):
    status: int
    seconds: float
    mebibytes: float
    found: Json


def compare(old: Path, new: Path) -> Run:
    """`symcompile diff` in a process of its own."""
    command = [sys.executable, "-m", "symcompile.cli.commands", "diff", str(old), str(new)]
    start = time.perf_counter()
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen([*command, "--format", "json"], stdout=output) as child,
    ):
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        output.seek(0)
        found = json.loads(output.read() or "{}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Run(child.returncode, seconds, usage.ru_maxrss / unit, found)


def described(run: Run) -> Iterator[str]:
    nodes = run.found["nodes"]
    yield f"exit status {run.status}"
    yield ", ".join(f"{len(nodes[key])} {key}" for key in ("added", "removed", "changed"))
    yield ", ".join(f"{count} {change}" for change, count in sorted(run.found["counts"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=1080, help="about five nodes each")
    parser.add_argument("--output", type=Path, help="a folder where the two manifests stay")
    parser.add_argument("--quick", action="store_true", help="a tenth of the layers")
    options = parser.parse_args()
    count = options.layers // 10 if options.quick else options.layers
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        old, new = folder / "old.manifest.json", folder / "new.manifest.json"
        for path, values in ((old, 0), (new, 1)):
            data = manifest(layers(count, edited=values > 0), values)
            path.write_text(text(data), encoding="utf-8")
            size = path.stat().st_size / 2**20
            print(f"{path.name}: {len(data['graph']['nodes']):,} nodes, {size:.1f} MiB")
        print(f"{'':14}{'seconds':>10}{'peak MiB':>12}")
        for name, pair in (("with itself", (old, old)), ("with the new", (old, new))):
            run = compare(*pair)
            print(
                f"{name:14}{run.seconds:10.2f}{run.mebibytes:12.0f}   {'; '.join(described(run))}"
            )


if __name__ == "__main__":
    main()
