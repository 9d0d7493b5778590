"""Measure one region's equations: everything that the report says about them, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from symcompile.calling import evaluating, home, run, without_gradients
from symcompile.end_to_end import end_to_end
from symcompile.equation import Equation
from symcompile.errors import ChoiceError, SymCompileError
from symcompile.fidelity import Controls, controls
from symcompile.hybrid import Batch
from symcompile.latency import latency
from symcompile.passes import verify
from symcompile.recording import Recording, Samples
from symcompile.region import Region
from symcompile.region_call import Rows, in_place_of, on_rows, replaced
from symcompile.rewrite import EndToEnd, Fidelity, Latency
from symcompile.state import same_random_state

LATENCY_BATCHES = (1, 1024)
N_PROBES = 16


@dataclass(frozen=True)
class Neural:
    """The neural model as the measurements need it.

    Attributes:
        root: the captured original; None where it isn't at hand.
    """

    root: nn.Module | None

    def block(self, path: str) -> nn.Module | None:
        if self.root is None:
            return None
        return self.root if path == "." else self.root.get_submodule(path)


def measure(
    neural: Neural,
    record: Recording,
    region: Region,
    equations: Mapping[int, Equation],
    block: nn.Module,
    baseline: Controls,
) -> Fidelity:
    """Fidelity of `equations`, lowered to `block`, against the neural block of a region.

    `baseline` holds the controls of the region, see `controls_of`.
    Raises ChoiceError if the model does not run with the block in place.
    """
    samples = record.samples[region.path]
    original = neural.block(region.path)
    rows = None if original is None else _autograd(neural, region, original)
    fidelity = verify.measure(
        region,
        equations,
        verify.Samples(samples.X_fit, samples.Y_fit),
        verify.Samples(samples.X_holdout, samples.Y_holdout),
        neural=None if rows is None else rows[0],
        neural_gradient=None if rows is None else rows[1],
        baseline=baseline,
        seed=record.seed,
    )
    if neural.root is None or original is None:
        return fidelity
    with same_random_state(), evaluating(neural.root, block):
        try:
            change = _end_to_end(neural.root, record, region, block, baseline)
        except SymCompileError:
            raise
        except Exception as error:  # whatever a user's forward raises
            raise does_not_run(region.path, error) from error
        return replace(
            fidelity,
            end_to_end=change,
            latency=_latency(neural.root, region, original, block, samples),
        )


def does_not_run(path: str, error: Exception) -> ChoiceError:
    """What to say where the rest of the model can't do with an equation at `path`."""
    lines = str(error).strip().splitlines()
    described = f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"
    why = ""
    if isinstance(error, AttributeError):
        why = "; it reads attributes of the block, past its forward"
    elif "does not require grad" in described:
        why = "; it differentiates the block, and the equation is constant"
    return ChoiceError(
        f"the model does not run with an equation in the place of {path!r} ({described}){why}"
    )


def controls_of(record: Recording, path: str) -> Controls:
    """The mean output and the linear map that the equations of a region have to beat."""
    samples = record.samples[path]
    return controls(samples.X_fit, samples.Y_fit, samples.weights_fit)


def change_of_whole(original: nn.Module, hybrid: nn.Module, record: Recording) -> float:
    """Relative L2 change of the model's output with all targets replaced; NaN without batches."""
    with same_random_state(), evaluating(original, hybrid):
        return end_to_end(
            partial(_call, original),
            {"equation": partial(_call, hybrid)},
            record.batches,
            record.batches_are,
        ).equation


def _autograd(
    neural: Neural, region: Region, original: nn.Module
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    assert neural.root is not None
    device, _ = home(neural.root)
    call = on_rows(region, original)

    def in_evaluation(rows: torch.Tensor) -> torch.Tensor:
        with evaluating(original):
            return call(rows)

    return verify.autograd(in_evaluation, getattr(torch, region.dtype), device)


def _end_to_end(
    root: nn.Module, record: Recording, region: Region, block: nn.Module, baseline: Controls
) -> EndToEnd | None:
    if not record.batches:
        return None
    maps: dict[str, Rows] = {
        "mean": _linear(baseline.mean),
        "linear": _linear(baseline.linear),
    }
    stand_ins: dict[str, Callable[..., Any]] = {"equation": block}
    stand_ins |= {name: in_place_of(region, rows) for name, rows in maps.items()}
    runs = {name: partial(_replaced, root, region, f) for name, f in stand_ins.items()}
    return end_to_end(partial(_call, root), runs, record.batches, record.batches_are)


def _call(module: nn.Module, batch: Batch) -> Any:
    return without_gradients(lambda: run(module, batch))


def _replaced(root: nn.Module, region: Region, function: Callable[..., Any], batch: Batch) -> Any:
    if region.path == ".":
        return without_gradients(lambda: function(*batch.args, **batch.kwargs))
    return without_gradients(
        lambda: replaced(root, {region.path: function}, lambda: run(root, batch))
    )


def _linear(control: Any) -> Rows:
    def call(rows: torch.Tensor) -> torch.Tensor:
        weight, bias = (
            torch.from_numpy(np.array(a)).to(rows.device) for a in (control.weight, control.bias)
        )
        return torch.nn.functional.linear(rows.to(torch.float64), weight, bias)

    return call


def _latency(
    root: nn.Module, region: Region, original: nn.Module, block: nn.Module, samples: Samples
) -> tuple[Latency, ...]:
    device, _ = home(root)
    dtype = getattr(torch, region.dtype)

    def rows(batch: int) -> tuple[torch.Tensor]:
        X = np.resize(samples.X_holdout, (batch, samples.X.shape[1]))
        return (torch.from_numpy(np.ascontiguousarray(X)).to(device, dtype),)

    return latency(
        on_rows(region, original), on_rows(region, block), rows, LATENCY_BATCHES, seconds=0.1
    )
