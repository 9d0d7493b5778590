"""Table and picture of transformer_mlps.py."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

from study import markdown
from transformer_bench import BESIDE_RECIPE, IN_SEQUENCE, OURS, THEMSELVES
from transformer_blocks import LINEAR


def table(model: str, seed: str, found: dict[str, Any]) -> str:
    """All that was measured on one split."""
    title = f"{model}, split {seed}: the perplexity of {found['base']:.4g} rises by"
    parts = "".join(part(found) for part in (ratios, took, paces, swept))
    return f"{title}\n\n{rises(found)}{parts}"


def rises(found: dict[str, Any]) -> str:
    """Rises of the perplexity by the number of layers; at the most layers, what the model then
    weighs and how fast it is beside the original."""
    rows = {key.removeprefix("row "): row for key, row in found.items() if key.startswith("row ")}
    tuned = {key.removeprefix("tuned "): v for key, v in found.items() if key.startswith("tuned ")}
    counts = list(next(iter(rows.values()))["rises"])
    heads = ["parameters of a layer"]
    if "speed" in found:
        heads += [f"tokens a second at {counts[-1]}", f"MB of weights at {counts[-1]}"]
    lines = []
    for name in dict.fromkeys([*rows, *tuned]):
        cost, then = [""] * len(heads), ""
        if name in rows:
            cost = [f"{rows[name]['parameters']:,}", *speed(found, name, counts[-1])]
            lines.append([name, *cells(rows[name]["rises"], counts), *cost])
            then = "then "
        if name in tuned:
            shown = f"{name}, {then}trained at {tuned[name]['rate']:g}"
            lines.append([shown, *cells(tuned[name]["rises"], counts), *cost])
    return markdown(["replaced by", *counts, *heads], lines)


def ratios(found: dict[str, Any]) -> str:
    """Shares, by the way of fitting and training."""
    of_ways = shares(found)
    if not of_ways:
        return ""
    lines = [[way, *of_way.values()] for way, of_way in of_ways.items()]
    counts = next(iter(of_ways.values()))
    title = f"Rises with {OURS}, by those with full linear maps"
    return f"\n\n{title}\n\n{markdown(['', *counts], lines)}"


def shares(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What the rises of symbolic blocks are of those of full linear maps that were fitted and
    trained in the same way, where both were measured. Training on such text lowers the perplexity
    whatever is trained: so rises are taken from the trained MLPs on, too."""
    ways: list[tuple[str, str, dict[str, float]]] = [
        ("row ", "", {}),
        ("tuned ", ", then trained", {}),
    ]
    if kept := found.get(f"tuned {THEMSELVES}"):
        ways.append(("tuned ", f", then trained, above {THEMSELVES}", kept["rises"]))
    of_ways = {}
    for (kind, then, base), suffix in itertools.product(ways, ("", IN_SEQUENCE)):
        ours, maps = (found.get(f"{kind}{name}{suffix}") for name in (OURS, LINEAR))
        if ours and maps:
            way = f"{suffix or ', fitted alone'}{then}".removeprefix(", ")
            of_ways[way] = share(ours["rises"], maps["rises"], base)
    return of_ways


def share(ours: dict[str, float], maps: dict[str, float], base: dict[str, float]) -> dict[str, str]:
    """What rises are of others, both from a base on; nothing of what did not rise."""
    found = {}
    for count in ours:
        mine, theirs = (rises[count] - base.get(count, 0.0) for rises in (ours, maps))
        found[count] = f"{mine / theirs:.2f}" if theirs > 0 else "-"
    return found


def took(found: dict[str, Any]) -> str:
    """How long it took to fit all layers, to rank and to replace them."""
    lines = [
        f"\n{key.removeprefix('seconds ')}: {of['layers']} layers fitted, ranked, and the best of"
        f" them replaced in {of['seconds'] / 60:.1f} minutes."
        for key, of in found.items()
        if key.startswith("seconds ")
    ]
    return "".join(["\n", *lines]) if lines else ""


def paces(found: dict[str, Any]) -> str:
    """Speed and size by the number of layers, as far as they were measured."""
    if "speed" not in found:
        return ""
    names = [key.removeprefix("speed ") for key in found if key.startswith("speed ")]
    counts = list(found[f"speed {names[0]}"])
    lines = [[name, *(", ".join(speed(found, name, k)) for k in counts)] for name in names]
    original = found["speed"]
    title = (
        f"Tokens a second of one chunk, by the {original['tokens a second']:.0f} of the original,"
        f" and MB of weights, of which it has {original['MB']:.1f}"
    )
    beside = [f"x {ratio:.3f}" for ratio in found[BESIDE_RECIPE].values()]
    lines.append([f"{OURS}, by the tokens a second of the recipe", *beside])
    return f"\n\n{title}\n\n{markdown(['replaced by', *counts], lines)}"


def swept(found: dict[str, Any]) -> str:
    """Rises by the number of components."""
    if "sweep" not in found:
        return ""
    outputs = list(next(iter(found["sweep"].values())))
    lines = [[inputs, *cells(rises, outputs)] for inputs, rises in found["sweep"].items()]
    heads = ["components of the inputs", *(f"{n} of the outputs" for n in outputs)]
    return f"\n\nLinear maps between principal components\n\n{markdown(heads, lines)}"


def cells(rises: dict[str, float], counts: list[str]) -> list[str]:
    return [digits(rises[count]) for count in counts]


def digits(value: float) -> str:
    """At least three."""
    size = abs(value)
    return f"{value:.{2 if size < 10 else 1 if size < 100 else 0}f}"


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    """What an earlier run left there, by split."""
    text = (folder / "transformer_mlps.json").read_text(encoding="utf-8")
    results: dict[str, dict[str, Any]] = json.loads(text)["results"]
    return results


def speed(found: dict[str, Any], name: str, count: str) -> list[str]:
    """Of a row, relative to the original, and the weights; of a series that was fitted again, those
    of the series itself. Nothing where it was not measured."""
    if "speed" not in found:
        return []
    of_series = found.get(f"speed {name.removesuffix(IN_SEQUENCE)}")
    if of_series is None:
        return ["", ""]
    return [f"x {of_series[count]['faster']:.3f}", f"{of_series[count]['MB']:.1f}"]


# What a line looks like, by how its name begins: constants in grey, the paper's in orange, linear
# maps in blue, ours in red.
STYLES = {
    "zero output": ("0.75", "o"),
    "input passed through": ("0.75", "x"),
    "mean output": ("0.55", "o"),
    "PCA": ("tab:orange", "o"),
    "linear map": ("tab:cyan", "o"),
    LINEAR: ("tab:blue", "o"),
    OURS: ("tab:red", "o"),
    THEMSELVES: ("tab:green", "o"),
}
# Among lines of one colour, by the order in which they come.
MARKERS = "osv^D"


def figure(found: dict[str, Any], path: Path) -> None:
    """Rises by the number of layers, speed by the same, and rises by the number of components."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn, panels = plt.subplots(
        1, 3, figsize=(16, 6.5), layout="constrained", width_ratios=(1.5, 1, 1)
    )
    for axes, draw in zip(panels, (draw_rises, draw_speeds, draw_sweep), strict=True):
        draw(axes, found)
        axes.grid(alpha=0.3)
        axes.legend(
            fontsize=7, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1)
        )
    drawn.savefig(path, dpi=110)
    plt.close(drawn)


def draw_rises(axes: Any, found: dict[str, Any]) -> None:
    """Of every row, before and after training."""
    seen: dict[str, int] = {}
    counts: list[int] = []
    for key, row in found.items():
        kind, _, name = key.partition(" ")
        if kind not in ("row", "tuned"):
            continue
        color, marker = style(name)
        if kind == "row" and marker == "o":
            marker = MARKERS[seen.get(color, 0) % len(MARKERS)]
            seen[color] = seen.get(color, 0) + 1
        given = {"linestyle": "--", "marker": "*"} if kind == "tuned" else {"marker": marker}
        shown = name + (", trained" if kind == "tuned" else "")
        counts = [int(count) for count in row["rises"]]
        axes.plot(counts, row["rises"].values(), label=shown, color=color, markersize=5, **given)
    axes.set(yscale="symlog", xticks=counts, xlabel="MLPs replaced", ylabel="rise of perplexity")


def draw_speeds(axes: Any, found: dict[str, Any]) -> None:
    """Of what is compared in the end."""
    for name in (LINEAR, OURS, recipe(found)):
        of_series = found[f"speed {name}"]
        counts = [int(count) for count in of_series]
        of_original = [one["faster"] for one in of_series.values()]
        axes.plot(counts, of_original, label=name, color=style(name)[0], marker="o", markersize=5)
    axes.set(xticks=counts, xlabel="MLPs replaced", ylabel="tokens a second, original: 1")


def draw_sweep(axes: Any, found: dict[str, Any]) -> None:
    for inputs, row in found["sweep"].items():
        outputs = [int(k) for k in row]
        label = f"{inputs} of the inputs" if inputs.isdecimal() else inputs
        axes.plot(outputs, row.values(), label=label, marker="o", markersize=5)
    axes.set(xscale="log", xlabel="components of the outputs", ylabel="rise of perplexity")
    axes.set_xticks(outputs, row, minor=False)
    axes.minorticks_off()
    axes.set_title("linear maps between principal components", fontsize=9)


def style(name: str) -> tuple[str, str]:
    """Colour and marker."""
    return next(given for start, given in STYLES.items() if name.startswith(start))


def recipe(found: dict[str, Any]) -> str:
    """The name of the paper's."""
    rows = (key.removeprefix("row ") for key in found if key.startswith("row PCA"))
    return next(name for name in rows if name.endswith("equations"))
