"""Networks that have learned the laws: trained once, then kept in a folder.

Three hidden layers of 64, tanh for even seeds and SiLU for odd ones, on 5,000 exact samples.
Training ends as soon as the relative L2 error on other samples is below 1 %: networks of users are
no better than they have to be.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import torch
from laws_data import Array, Law
from laws_judge import relative_l2
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SAMPLES, HELD_OUT = 5000, 2000
# What some seeds need before they have seen every corner.
MOST_SAMPLES = 80_000
HIDDEN = (64, 64, 64)
ENOUGH = 0.01
EPOCHS, BATCH, RATE = 1000, 250, 3e-3
# The rate of learning falls from RATE by so much over all epochs; checks every so many.
DECAY, CHECK = 0.01, 5


class Affine(nn.Module):
    """Fixed: each feature times its scale, plus its shift."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def network(law: Law, seed: int) -> nn.Sequential:
    """An untrained network that takes and gives the law's own units: it standardises inputs and
    output by its training samples. float32."""
    X, y = law.samples(seed, SAMPLES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = (len(law.names), *HIDDEN)
        activation = nn.SiLU if seed % 2 else nn.Tanh
        hidden = [(nn.Linear(*pair), activation()) for pair in pairwise(widths)]
        last = nn.Linear(widths[-1], 1)
    mean, std = map(_tensor, (X.mean(axis=0), X.std(axis=0)))
    inside = Affine(1.0 / std, -mean / std)
    outside = Affine(_tensor([y.std()]), _tensor([y.mean()]))
    return nn.Sequential(inside, *chain(*hidden), last, outside)


def _tensor(values: object) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)


def train(law: Law, seed: int) -> tuple[nn.Sequential, float]:
    """A trained network and its relative L2 error on samples that training has not seen.

    Where 5,000 samples leave a corner of the law empty, no training gets there: then it is trained
    anew on four times as many.
    """
    n = SAMPLES
    model, error = _trained_on(law, seed, n)
    while error >= ENOUGH and n < MOST_SAMPLES:
        n *= 4
        model, error = _trained_on(law, seed, n)
    return model, error


def _trained_on(law: Law, seed: int, n: int) -> tuple[nn.Sequential, float]:
    """By Adam on n samples, until the error is low enough or for all epochs."""
    model = network(law, seed)
    X, y = law.samples(seed, n)
    other = law.draw(law.generator(seed, "held out"), HELD_OUT)
    truth = law.values(other)
    spread, points = float(y.std()), _tensor(X)
    values = _tensor(y)[:, None]
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, DECAY ** (1 / EPOCHS))
    for epoch, order in enumerate(_orders(seed, n), 1):
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            ((model(points[rows]) - values[rows]) / spread).square().mean().backward()
            optimizer.step()
        schedule.step()
        if epoch % CHECK == 0:
            error = relative_l2(outputs(model, other), truth)
            if error < ENOUGH:
                break
    return model, error


def _orders(seed: int, n: int) -> Iterator[Tensor]:
    """The order of the samples in each epoch."""
    rng = np.random.default_rng(seed)
    return (torch.from_numpy(rng.permutation(n)) for _ in range(EPOCHS))


def outputs(model: nn.Module, X: Array) -> Array:
    """What a model gives [n] for X [n, n_inputs]."""
    with torch.no_grad():
        return np.asarray(model(_tensor(X))[:, 0].double().numpy())


def trained(law: Law, seed: int, folder: Path) -> tuple[nn.Sequential, float]:
    """From the folder, if this law was trained for it in this way, and well enough; else trained
    and kept."""
    path = folder / f"{law.name.replace(' ', '-')}-{seed}.safetensors"
    recipe = _recipe(law, seed)
    if path.exists():
        with safe_open(path, "pt") as file:
            known = file.metadata() or {}
        if known.get("recipe") == recipe and float(known["error"]) < ENOUGH:
            model = network(law, seed)
            model.load_state_dict(load_file(path))
            return model, float(known["error"])
    model, error = train(law, seed)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    facts = {"recipe": recipe, "error": repr(error)}
    save_file(model.state_dict(), unfinished, metadata=facts)
    unfinished.replace(path)
    return model, error


def _recipe(law: Law, seed: int) -> str:
    """Tells networks apart that were not trained for the same, or not in the same way."""
    sizes = (SAMPLES, HELD_OUT, HIDDEN, ENOUGH, EPOCHS, BATCH, RATE, DECAY, CHECK)
    text = repr((law.text, law.ranges, seed, *sizes))
    return hashlib.sha256(text.encode()).hexdigest()


def cache() -> Path:
    """Where networks are kept if nothing else is said: with what else users' programs keep."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "symcompile" / "laws"
