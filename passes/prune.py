"""Prune: take output dimensions of a block away while a model trains, the least important first.

    pruning = Pruning(model, "edge", keep=2, steps=1000)
    for batch in batches:
        train(model, batch)
        pruning.step()
    survivors = pruning.finish()  # the compiler's target is "edge.live" now, with two outputs

A dimension that was cut is exactly zero from then on, with no gradient, whatever its statistics or
the optimizer's momentum do to the weights behind it. A network that starts wide and ends narrow
trains more reliably than one that is narrow from the start, and its messages end in few dimensions
that equations can be searched for (Tan, Soubki and Cranmer, arXiv 2602.21307).

This acts on a model that its user trains, before any compilation: it is no step of the pipeline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.utils.hooks import RemovableHandle

from symcompile.errors import PruningError, TargetError
from symcompile.modules.calling import Batch, map_tensors
from symcompile.modules.resolve import resolve
from symcompile.pruning.importance import Measure, kl_divergence, measure_of, stream
from symcompile.pruning.shrink import last_affine, shrink
from symcompile.target import Target

# Live dimensions at a share p of the way (0 to 1), from `start` to `keep`.
SCHEDULES: dict[str, Callable[[float, int, int], float]] = {
    "exponential": lambda p, start, keep: start * (keep / start) ** p,
    "linear": lambda p, start, keep: start + (keep - start) * p,
    "cosine": lambda p, start, keep: keep + (start - keep) * (1 + math.cos(math.pi * p)) / 2,
}


def live_dimensions(
    schedule: str, step: int, steps: int, start: int, keep: int, until: float
) -> int:
    """How many dimensions are alive after `step` of `steps` steps.

    All `start` of them at step 0, `keep` from the share `until` of the steps on; in between along a
    geometric sequence ("exponential"), a line ("linear") or half a cosine ("cosine"), rounded to
    the nearest whole number, halves up. Never rises with `step`.

    Raises PruningError for an unknown schedule, or numbers that make no sense.
    """
    _check_schedule(schedule, steps, start, keep, until)
    share = min(step / (until * steps), 1.0)
    due = math.floor(SCHEDULES[schedule](share, start, keep) + 0.5)
    return min(max(due, keep), start)


def _check_schedule(schedule: str, steps: int, start: int, keep: int, until: float) -> None:
    def from_one(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1

    if schedule not in SCHEDULES:
        raise PruningError(f"schedule is {schedule!r}: expected {', '.join(map(repr, SCHEDULES))}")
    if not from_one(steps):
        raise PruningError(f"steps is {steps!r}: expected a whole number from 1")
    if not from_one(keep) or keep > start:
        raise PruningError(
            f"keep is {keep!r}: expected a whole number from 1 to {start}, the number of dimensions"
        )
    if not 0 < until <= 1:
        raise PruningError(f"until is {until!r}: expected a share of the steps, above 0, at most 1")


class Mask:
    """Forward hook that makes dead columns zero.

    Copies and pickles of a model hold one of their own: they mask the same columns for ever, and
    report to nobody.

    Attributes:
        path: the block, for errors.
        dead: which columns are [n_columns], bool.
        report: called with the block's arguments and its masked outputs, or None.
        handle: what takes the hook away; None where it is not attached. Being pickled with the
            model, it keeps torch from giving the number of this hook to another one after a load.
    """

    def __init__(self, path: str, dead: torch.Tensor) -> None:
        self.path = path
        self.dead = dead
        self.report: Callable[[Batch, torch.Tensor], None] | None = None
        self.handle: RemovableHandle | None = None

    def attach(self, block: nn.Module, report: Callable[[Batch, torch.Tensor], None]) -> None:
        self.report = report
        self.handle = block.register_forward_hook(self, with_kwargs=True)

    def detach(self) -> None:
        assert self.handle is not None
        self.handle.remove()
        self.handle = None

    def __call__(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any
    ) -> Any:
        if isinstance(outputs, fx.Proxy):  # the model is being traced
            return outputs.masked_fill(self.dead, 0)
        if not isinstance(outputs, torch.Tensor):
            raise self._refused(type(outputs).__name__)
        if not outputs.is_floating_point() or outputs.shape[-1:] != self.dead.shape:
            raise self._refused(f"a tensor {list(outputs.shape)} of {outputs.dtype}")
        if self.dead.device != outputs.device:
            self.dead = self.dead.to(outputs.device)
        # Not a product: what has grown to infinity or NaN must become zero, too.
        masked = outputs.masked_fill(self.dead, 0)
        if self.report is not None:
            self.report(Batch(args, kwargs), masked)
        return masked

    def _refused(self, kind: str) -> PruningError:
        expected = f"one floating tensor [..., {len(self.dead)}]"
        return PruningError(f"block {self.path!r} gave {kind}: expected {expected}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "report": None}


class Pruning:
    """Takes the output dimensions of one block from all down to `keep` over a training.

    Call `step()` after each training step and `finish()` at the end. In between the outputs keep
    their shape, with zeros in dead dimensions, and the model can be copied, saved and loaded.

    A dimension is as important as `importance` finds it in what the block gave since the last cut,
    over all forward passes (validation included), accumulated in float64. "std" is the standard
    deviation over samples. "kl" is for blocks that give Gaussian messages as [..., 2 d], d means
    and then d log-variances: the mean divergence from N(0, 1). Such pairs are counted, kept and cut
    together, and a dead pair is zero, which says N(0, 1): what samples it must expect that noise. A
    function is given outputs [n, d] in float64 and returns importances [d]; its values for single
    passes are averaged.

    A model that was copied or loaded in the middle of a pruning goes on masking. A Pruning of it
    takes over those dead dimensions; `load_state_dict` brings the rest back.

    Args:
        model: changed in place, through a hook until `finish`.
        path: the block. Its last layer must be an nn.Linear with at most elementwise functions
            after it (see `last_affine`), so that it can be made smaller.
        keep: dimensions that are left.
        steps: how often `step` will be called.
        schedule: "exponential", "linear" or "cosine", see `live_dimensions`.
        until: share of the steps at which `keep` is reached; the rest trains the small block.
        importance: "std", "kl", or a function.

    Raises TargetError for an unknown path, PruningError for a block that can't be made smaller and
    for options that make no sense; the model is then as it was.
    """

    def __init__(
        self,
        model: nn.Module,
        path: str,
        *,
        keep: int,
        steps: int,
        schedule: str = "cosine",
        until: float = 0.65,
        importance: str | Measure = "std",
    ) -> None:
        self.model, self.path = model, _one_block(model, path)
        self.keep, self.steps, self.schedule, self.until = keep, steps, schedule, until
        self._measure = measure_of(importance)
        self._columns_each = 2 if self._measure is kl_divergence else 1
        columns = last_affine(model, self.path).out_features
        if columns % self._columns_each:
            raise PruningError(
                f"block {self.path!r} has {columns} outputs: importance 'kl' expects an even"
                " number, d means and then d log-variances"
            )
        self.dimensions = columns // self._columns_each
        _check_schedule(schedule, steps, self.dimensions, keep, until)
        self.done = 0
        self._stream = stream(self._measure)
        self._example: Batch | None = None
        self._block = model.get_submodule(self.path)
        self._mask = Mask(self.path, torch.zeros(0))
        self._keep_only(self._taken_over())
        self._mask.attach(self._block, self._observe)

    @property
    def live(self) -> list[int]:
        """Indices of the dimensions that are alive, rising."""
        return list(self._live)

    def step(self, outputs: torch.Tensor | None = None) -> int:
        """Count one training step, cut if the schedule asks for it, and return how many live.

        Args:
            outputs: what the block gave [..., d]; a cut at this step ranks by these alone.

        Raises PruningError if a cut is due and the block gave nothing since the last one, if an
        importance is NaN, or if the pruning is over.
        """
        self._require_running("step")
        alive = len(self._live)
        due = live_dimensions(
            self.schedule, self.done + 1, self.steps, self.dimensions, self.keep, self.until
        )
        if due < alive:
            self._cut(due, self._importance(outputs))
        self.done += 1
        return min(due, alive)

    def finish(self, *, early: bool = False) -> list[int]:
        """Make the block really smaller, in place, and return the dimensions that survived.

        The block's last layer loses the rows of the dead. The model gives what it gave before:
        `path` is now a `Shrunk`, with the smaller block as `path.live` and a scatter of its outputs
        among zeros after it. Proven by a trace of the block, and by comparing both on the block's
        latest inputs. The last layer's parameters are new tensors, which no optimizer knows: build
        a new one to train on.

        Args:
            early: finish though more than `keep` dimensions are alive; these all stay.

        Raises PruningError, with the pruning still under way, if more are alive and `early` was not
        asked for, or if the block can't be made smaller after all.
        """
        self._require_running("finish")
        live = self.live
        if len(live) > self.keep and not early:
            raise PruningError(
                f"block {self.path!r} has {len(live)} live dimensions after step {self.done} of"
                f" {self.steps}, {self.keep} were asked for: go on to step"
                f" {math.ceil(self.until * self.steps)}, or finish(early=True) to keep them all"
            )
        columns = [k + first * self.dimensions for first in range(self._columns_each) for k in live]
        self.remove()
        try:
            shrink(self.model, self.path, columns, example=self._example)
        except PruningError:
            self._mask.attach(self._block, self._observe)
            raise
        self._example = None
        return live

    def remove(self) -> None:
        """Give the block back as it is, unmasked and of full size, and end the pruning."""
        self._require_running("remove")
        self._mask.detach()

    def state_dict(self) -> dict[str, Any]:
        """Step, live dimensions and statistics, as plain data and tensors, to resume from."""
        return {
            "step": self.done,
            "dimensions": self.dimensions,
            "live": self.live,
            "statistics": self._stream.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where `state_dict` was taken; the model's own state is the user's to load.

        Raises PruningError if it is no such state, or that of a block of another size.
        """
        if not {"step", "dimensions", "live", "statistics"} <= state.keys():
            raise PruningError(
                f"the state holds {', '.join(state) or 'nothing'}: expected what state_dict() of a"
                " Pruning gave"
            )
        if state["dimensions"] != self.dimensions:
            raise PruningError(
                f"the state is of a block of {state['dimensions']} dimensions,"
                f" block {self.path!r} has {self.dimensions}"
            )
        self.done = state["step"]
        self._keep_only(state["live"])
        self._stream.load_state_dict(state["statistics"])

    # --- cutting -----------------------------------------------------------------------------

    def _importance(self, outputs: torch.Tensor | None) -> torch.Tensor:
        if outputs is not None:
            alone = stream(self._measure)
            alone.add(outputs)
            return alone.importance()
        if not self._stream.count:
            raise PruningError(
                f"block {self.path!r} gave nothing since the last cut, and step {self.done + 1} is"
                " to cut: run the model before step(), or give step() outputs of the block"
            )
        return self._stream.importance()

    def _cut(self, due: int, importance: torch.Tensor) -> None:
        if importance.shape != (self.dimensions,):
            raise PruningError(
                f"importance has shape {list(importance.shape)}: expected one value for each of"
                f" the {self.dimensions} dimensions of block {self.path!r}"
            )
        alive = importance[self._live]
        if alive.isnan().any():
            first = self._live[int(alive.isnan().nonzero()[0])]
            raise PruningError(
                f"dimension {first} of block {self.path!r} has importance NaN: its outputs are not"
                " finite, the training has diverged"
            )
        order = alive.argsort(descending=True, stable=True)
        self._keep_only(self._live[k] for k in order[:due].tolist())
        self._stream = stream(self._measure)

    def _keep_only(self, live: Iterable[int]) -> None:
        self._live = sorted(live)
        dead = torch.ones(self.dimensions, dtype=torch.bool)
        dead[self._live] = False
        self._mask.dead = dead.repeat(self._columns_each)

    def _observe(self, batch: Batch, outputs: torch.Tensor) -> None:
        self._example = map_tensors(torch.Tensor.detach, batch)
        if outputs.numel() and len(self._live) > self.keep:
            self._stream.add(outputs)

    # --- the block ---------------------------------------------------------------------------

    def _taken_over(self) -> list[int]:
        """Live dimensions: all, or those of a copy of a model that was being pruned."""
        dead = torch.zeros(self._columns_each, self.dimensions, dtype=torch.bool)
        hooks = list(self._block._forward_hooks.values())
        for mask in (hook for hook in hooks if isinstance(hook, Mask)):
            if mask.report is not None:
                raise PruningError(
                    f"block {self.path!r} is being pruned already: finish() or remove() that"
                    " Pruning first"
                )
            dead |= mask.dead.cpu().reshape(dead.shape)
            mask.detach()
        return torch.nonzero(~dead.any(dim=0)).flatten().tolist()

    def _require_running(self, verb: str) -> None:
        if self._mask.handle is None:
            raise PruningError(
                f"{verb}() came after the pruning of block {self.path!r} was over:"
                " make another Pruning to go on"
            )


def _one_block(model: nn.Module, path: str) -> str:
    """The path of a block that can be replaced in its parent."""
    target = Target(path)
    place, *others = resolve(model, [target])
    if others:
        raise TargetError(
            f"target {path!r} names {1 + len(others)} blocks, such as {place!r}: expected one,"
            " make a Pruning for each"
        )
    if place == "." or target.is_node_range:
        raise TargetError(
            f"target {path!r} is no submodule: expected one that can be replaced in the model, such"
            " as 'edge'; to prune all of a model, put it into another one"
        )
    return place
