"""Table and picture of transformer_mlps.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from study import markdown


def table(model: str, seed: str, found: dict[str, Any]) -> str:
    """Rises of the perplexity by the number of layers; at the most layers, what the model then
    weighs and how fast it is beside the original."""
    rows = {key.removeprefix("row "): row for key, row in found.items() if key.startswith("row ")}
    tuned = {key.removeprefix("tuned "): v for key, v in found.items() if key.startswith("tuned ")}
    counts = list(next(iter(rows.values()))["rises"])
    lines = []
    for name, row in rows.items():
        cost = [f"{row['parameters']:,}", *speed(found.get("speeds", {}), name, counts[-1])]
        lines.append([name, *cells(row["rises"], counts), *cost])
        if name in tuned:
            rate = f", then trained at {tuned[name]['rate']:g}"
            lines.append([name + rate, *cells(tuned[name]["rises"], counts), *cost])
    for name in tuned.keys() - rows.keys():
        rate = f", trained at {tuned[name]['rate']:g}"
        lines.append([name + rate, *cells(tuned[name]["rises"], counts), "", "", ""])
    most = counts[-1]
    heads = ["parameters of a layer", f"tokens a second at {most}", f"MB of weights at {most}"]
    title = f"{model}, split {seed}: the perplexity of {found['base']:.4g} rises by"
    return f"{title}\n\n{markdown(['replaced by', *counts, *heads], lines)}{swept(found)}"


def swept(found: dict[str, Any]) -> str:
    """Rises by the number of components."""
    if "sweep" not in found:
        return ""
    outputs = list(next(iter(found["sweep"].values())))
    lines = [[inputs, *cells(rises, outputs)] for inputs, rises in found["sweep"].items()]
    heads = ["components of the inputs", *(f"{n} of the outputs" for n in outputs)]
    return f"\n\nLinear maps between principal components\n\n{markdown(heads, lines)}"


def cells(rises: dict[str, float], counts: list[str]) -> list[str]:
    return [f"{rises[k]:.2f}" if abs(rises[k]) < 10 else f"{rises[k]:.3g}" for k in counts]


def speed(speeds: dict[str, Any], name: str, count: str) -> list[str]:
    """Of a row, relative to the original, and the weights; of a series that was fitted again, those
    of the series itself."""
    found = speeds.get(f"{name.removesuffix(', fitted in sequence')} {count}")
    if found is None:
        return ["", ""]
    faster = found["tokens a second"] / speeds["none"]["tokens a second"]
    return [f"x {faster:.3f}", f"{found['MB']:.1f}"]


def figure(found: dict[str, Any], path: Path) -> None:
    """Rises by the number of layers."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for key, row in found.items():
        kind, _, name = key.partition(" ")
        if kind not in ("row", "tuned"):
            continue
        style = {"linestyle": "--", "marker": "s"} if kind == "tuned" else {"marker": "o"}
        shown = name + (", trained" if kind == "tuned" else "")
        rises = {int(count): rise for count, rise in row["rises"].items()}
        axes.plot(list(rises), list(rises.values()), label=shown, markersize=4, **style)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_xlabel("MLPs replaced")
    axes.set_ylabel("rise of the perplexity")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    drawn.savefig(path, dpi=130)
    plt.close(drawn)
