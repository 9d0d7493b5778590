"""What a pull request that retrains a model shows. Run: python examples/review.py [--output FOLDER]

A network learns the heat equation from ten points, is compiled, and its manifest goes under version
control. Then it is trained again, from other random weights: the comparison tells that the law is
the same, and by how much its coefficients moved. The last comparison is with a model that was
trained on a wave instead, as a mistake in the data would have it: another law.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from symcompile import Compiled, Target, diff, exporters, symcompile
from symcompile.pinns import PROBLEMS, train_pinn

# Another network has other weights; what matters is what its equations say.
RULES = {
    "fail_on": ("structure", "coefficient", "fidelity", "signature"),
    "rtol": 0.02,
    "max_fidelity_drop": 0.001,
}


def compiled(problem: str, seed: int, quick: bool) -> Compiled:
    """A network of the demo, compiled."""
    torch.manual_seed(0)
    model = train_pinn(PROBLEMS[problem], seed=seed)
    options = {"restarts": 1, "population": 250} if quick else {}
    data = torch.rand(5000, 2)
    target = Target("net", names=("x", "t"))
    return symcompile(model, target, data, engine_options=options, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare models that were trained twice.")
    parser.add_argument("--output", default="review", type=Path, help="where its files go")
    parser.add_argument("--quick", action="store_true", help="a shorter search, and no wave")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    manifests = {}
    models = [("old", "heat", 290402), ("new", "heat", 1), ("wave", "wave", 1)]
    for name, problem, seed in models[: 2 if options.quick else 3]:
        manifests[name] = options.output / f"{name}.manifest.json"
        exporters.manifest(compiled(problem, seed, options.quick), manifests[name])
    for name in list(manifests)[1:]:
        found = diff(manifests["old"], manifests[name], **RULES)
        (options.output / f"{name}.html").write_text(found.render("html"), encoding="utf-8")
        print(found, end="\n\n")


if __name__ == "__main__":
    main()
