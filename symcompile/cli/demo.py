"""The demo: a physics-informed network in, the law of heat conduction out, and served."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symcompile import exporters
from symcompile.compiled import Compiled
from symcompile.driver import symcompile
from symcompile.pinns import PROBLEMS, Pinn, Problem, grid, grid_error, train_pinn
from symcompile.report.plot import pareto
from symcompile.target import Target

SEED = 290402


def main(output: str | Path = "symcompile-demo", *, quick: bool = False) -> None:
    """Run the demo and leave its files in the folder `output`.

    `quick` trains for a tenth of the epochs: it shows the way, not the figures.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    problem = PROBLEMS["heat"]
    _say(f"symcompile demo: {problem.equation}, from ten points, seed {SEED}\n")
    with _step("1. train a physics-informed network (3 hidden layers of 32, tanh)"):
        model = train_pinn(problem, seed=SEED, epochs=300 if quick else None)
    _say(f"     mean squared error against the truth {grid_error(model, problem):.2e}")
    with _step("2. compile it: symcompile(model, Target('.', domain={'x': (0, 1), 't': (0, 1)}))"):
        compiled = symcompile(model, Target(".", domain=problem.domain), seed=SEED)
    _say(f"\n{compiled.report}\n")
    _law(problem, model, compiled)
    with _step("3. differentiable graph: u_t and u_xx of the equation by autograd"):
        residual = _heat_residual(compiled)
    _say(f"     the equation satisfies u_t = a u_xx with a = {residual:.4f}")
    with _step("4. export to ONNX, checked against ONNX Runtime"):
        compiled.export(folder / "heat.onnx")
        exporters.manifest(compiled, folder / "heat.manifest.json")
    _serve(compiled, folder / "heat.onnx", problem)
    with _step("5. draw"):
        chosen = compiled.equations.get(".", {}).get(0)
        pareto(compiled.fronts["."][0], chosen=chosen, path=folder / "pareto.png")
        _draw(model, compiled, problem, folder / "fields.png")
    _say(f"\nwritten to {folder}/: " + ", ".join(sorted(p.name for p in folder.iterdir())))


def _law(problem: Problem, model: Pinn, compiled: Compiled) -> None:
    if not compiled.equations:
        return
    equation = compiled.equations["."][0]
    points = grid(problem)
    truth = problem.truth_at(points)
    error = float(np.mean((equation.predict(points) - truth) ** 2))
    _say(f"     law found   u(x, t) = {equation.text(4)}")
    _say(f"     truth       u(x, t) = {problem.truth_text}")
    _say(
        f"     error against the truth: equation {error:.2e},"
        f" network {grid_error(model, problem):.2e}"
    )


def _heat_residual(compiled: Compiled) -> float:
    """The diffusivity that the hybrid's own derivatives imply: least squares of u_t on u_xx."""
    points = torch.rand(500, 2, generator=torch.Generator().manual_seed(SEED))
    points.requires_grad_(True)
    graph = exporters.graph_module(compiled)
    (first,) = torch.autograd.grad(graph(points).sum(), points, create_graph=True)
    (second,) = torch.autograd.grad(first[:, 0].sum(), points)
    u_t, u_xx = first[:, 1].detach(), second[:, 0]
    return float((u_t * u_xx).sum() / (u_xx * u_xx).sum())


def _serve(compiled: Compiled, file: Path, problem: Problem) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    points = grid(problem).astype(np.float32)
    (served,) = session.run(None, {session.get_inputs()[0].name: points})
    with torch.no_grad():
        expected = compiled.module(torch.from_numpy(points)).numpy()
    _say(
        f"     ONNX Runtime on {len(points)} points: largest difference from torch"
        f" {np.abs(served - expected).max():.1e}, file of {file.stat().st_size} bytes"
    )


def _draw(model: Pinn, compiled: Compiled, problem: Problem, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = grid(problem)
    side = round(len(points) ** 0.5)
    tensor = torch.from_numpy(points).to(torch.float32)
    with torch.no_grad():
        network, equation = (m(tensor)[:, 0].numpy() for m in (model, compiled.module))
    truth = problem.truth_at(points)
    fields = {"truth": truth, "network": network, "equation": equation}
    fields["equation - truth"] = error = equation - truth
    most = np.abs(error).max()
    figure = Figure(figsize=(13, 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, values) in zip(figure.subplots(1, 4), fields.items(), strict=True):
        span: dict[str, Any] = {"vmin": 0, "vmax": 1}
        if values is error:
            span = {"vmin": -most, "vmax": most, "cmap": "coolwarm"}
        image = axes.imshow(
            values.reshape(side, side).T,
            origin="lower",
            extent=(0, 1, 0, 1),
            aspect="auto",
            **span,
        )
        axes.set(title=title, xlabel="x", ylabel="t")
        figure.colorbar(image, ax=axes)
    figure.savefig(path, dpi=120)


@contextmanager
def _step(title: str) -> Iterator[None]:
    start = time.perf_counter()
    _say(title)
    yield
    _say(f"     {time.perf_counter() - start:.1f} s")


def _say(text: str) -> None:
    print(text, flush=True)
