"""Particles in a plane that push and pull each other: the data of the graph-network experiments.

A state is [x, y, vx, vy, q, m] for each of four particles. Everything is drawn from N(0, 1) at the
start, but masses, exp(N(0, 1)), and the charges of the charge law, -1 or 1; elsewhere q plays no
part. Step sizes are those of Tan, Soubki and Cranmer, arXiv 2602.21307; of 500 steps every fifth is
kept. Steps are velocity Verlet, each in four parts, since particles come close.
"""

from __future__ import annotations

import torch
from force_laws import SOFTENING, Law
from torch import Tensor

PARTICLES, STEPS, EVERY, PARTS = 4, 500, 5, 4
STEP_SIZES = {"r^-1": 5e-3, "r^-2": 1e-3, "spring": 1e-2, "charge": 1e-3}
# Every ordered pair: the particle that receives, and the one that sends.
RECEIVERS = torch.tensor([i for i in range(PARTICLES) for j in range(PARTICLES) if i != j])
SENDERS = torch.tensor([j for i in range(PARTICLES) for j in range(PARTICLES) if i != j])


def simulate(law: Law, n: int, seed: int) -> Tensor:
    """States of n simulations [n, 100, 4, 6], float64."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(n, PARTICLES, 6, generator=generator, dtype=torch.float64)
    states[..., 5] = states[..., 5].exp()
    if law.name == "charge":
        states[..., 4] = states[..., 4].sign()
    step = STEP_SIZES[law.name] / PARTS
    kept = []
    pull = accelerations(law, states)
    for number in range(STEPS * PARTS):
        if number % (EVERY * PARTS) == 0:
            kept.append(states.clone())
        states[..., 2:4] += step / 2 * pull
        states[..., :2] += step * states[..., 2:4]
        pull = accelerations(law, states)
        states[..., 2:4] += step / 2 * pull
    return torch.stack(kept, dim=1)


def accelerations(law: Law, states: Tensor) -> Tensor:
    """Acceleration of each particle [..., 4, 2] in states [..., 4, 6]."""
    pairs = forces(law, states).unflatten(-2, (PARTICLES, PARTICLES - 1))
    return pairs.sum(dim=-2) / states[..., 5:6]


def forces(law: Law, states: Tensor) -> Tensor:
    """Force on the receiver of each ordered pair [..., 12, 2] in states [..., 4, 6]."""
    receiver, sender = states[..., RECEIVERS, :], states[..., SENDERS, :]
    dx, dy = (receiver - sender)[..., :2].unbind(-1)
    d = torch.hypot(dx, dy) + SOFTENING
    (q1, m1), (q2, m2) = receiver[..., 4:].unbind(-1), sender[..., 4:].unbind(-1)
    return torch.stack(law.force(dx, dy, d, m1, m2, q1, q2), dim=-1)


def pairs(states: Tensor) -> Tensor:
    """What an edge sees, receiver and sender: [..., 12, 12] from states [..., 4, 6]."""
    return torch.cat([states[..., RECEIVERS, :], states[..., SENDERS, :]], dim=-1)
