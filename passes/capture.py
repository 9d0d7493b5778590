"""Capture: trace the model with torch.fx, targets kept whole, and prove the trace right.

A trace can be wrong without any error, so each one is compared with the model at once, see
`symcompile.modules.agreement`. A model that can't be traced, or whose trace disagrees, is captured
at module boundaries instead: its own class stays the root.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, NamedTuple

from torch import fx, nn
from torch.nn.parameter import is_lazy

from symcompile.errors import CaptureError, DataError, described, first_line
from symcompile.modules.agreement import TRAINS_OTHERWISE, Tracer, attempt, disagreement
from symcompile.modules.batches import as_batches, columns_of
from symcompile.modules.calling import Batch, evaluating, opaque_objects
from symcompile.modules.resolve import resolve
from symcompile.modules.state import (
    fingerprint,
    match_persistence,
    preserving,
    put_back,
    same_random_state,
)
from symcompile.modules.surgery import private_copy
from symcompile.pipeline import Captured, Request
from symcompile.storage.recording import Recording

FX = "fx"
BOUNDARIES = "module boundaries"
WHOLE_MODEL = "whole model"
_USUAL_CAUSE = (
    "torch.fx loses torch.no_grad and its like inside of a forward, and backwards of one's own"
)


class Capture(NamedTuple):
    """What a model was captured as.

    Attributes:
        root: an fx.GraphModule, or the model itself. Shares parameters with the model.
        kind: "fx" or "module boundaries".
        note: why fx was not used; empty where it was.
    """

    root: nn.Module
    kind: str
    note: str = ""


@dataclass(frozen=True)
class CapturePass:
    """Copy the model, resolve its targets and capture the copy; read the data as batches.

    Attributes:
        sharing: record a model that can't be copied all the same, by a copy that shares with it
            what there is one of. A hybrid can't be made of that.
    """

    sharing: bool = False
    name: ClassVar[str] = "capture"

    def run(self, state: Request) -> Captured:
        original = state.model
        _require_weights(original)
        with same_random_state():
            example, source = _read(state)
            columns = columns_of(state.data, original)
            places = resolve(original, state.targets)
            copy = private_copy(original, sharing=self.sharing)
            if "." in places:
                captured = Capture(copy, WHOLE_MODEL)
            else:
                paths = [path for path, target in places.items() if not target.is_node_range]
                captured = capture(copy, paths, example)
            if example is not None:
                with evaluating(captured.root):
                    attempt(captured.root, example)  # at least once, to see what it writes into
            for module in (copy, captured.root):
                put_back(module, original)
        recorded = source.fingerprint if isinstance(source, Recording) else ""
        return Captured(
            **vars(state),
            **captured._asdict(),
            copy=copy,
            places=places,
            fingerprint=recorded or fingerprint(original),
            source=source,
            columns=columns,
        )


def _read(state: Request) -> tuple[Batch | None, Recording | Iterator[Batch] | None]:
    """The first batch, and what there is to record: all batches, a recording, or nothing, where
    every target has a domain."""
    if isinstance(state.data, Recording):
        state.data.check(state.model)
        return next(iter(state.data.batches), None), state.data
    if state.data is not None:
        return as_batches(state.data, state.model)
    without = [target.path for target in state.targets if target.domain is None]
    if without:
        raise DataError(
            f"no data: give data=, or a domain to sample, Target({without[0]!r}, domain="
            "{'x0': (0, 1), ...})"
        )
    return None, None


def capture(model: nn.Module, paths: Collection[str], example: Batch | None) -> Capture:
    """Capture a model so that every submodule in `paths` is called as one piece.

    `example` is what the trace is compared on; without it there is no proof, hence no trace.
    """
    if example is None:
        return Capture(model, BOUNDARIES, "no sample data to compare a trace with")
    reasons = []
    for enter_all in (True, False):
        try:
            traced = _trace(model, paths, enter_all)
            problem = _disagreement(model, traced, example)
        except Exception as error:  # any failure of a user's forward under tracing is an answer
            reasons.append(described(error))
            continue
        if problem is None:
            return Capture(traced, FX)
        reasons.append(problem)
    return Capture(model, BOUNDARIES, reasons[0])


def _require_weights(model: nn.Module) -> None:
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise DataError(f"{name!r} has no shape yet: run the model on a batch once")
        if tensor.is_inference():
            raise DataError(
                f"{name!r} is an inference tensor (the model was made under torch.inference_mode),"
                " which can't be differentiated: copy the model outside of that mode first,"
                " model = copy.deepcopy(model)"
            )
        if tensor.is_meta:
            raise DataError(
                f"{name!r} is on the meta device, so the model has no weights: load them first"
                " (model.to_empty(device='cpu'), then load_state_dict)"
            )


# --- tracing ---------------------------------------------------------------------------------


def _trace(model: nn.Module, paths: Collection[str], enter_all: bool) -> fx.GraphModule:
    targets = {path: model.get_submodule(path) for path in paths}
    # A trace may warn of what is compared below anyway, and it sets tensor constants on the model.
    with preserving(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = Tracer(targets.values(), enter_all).trace(model)
        for node in graph.nodes:
            if isinstance(node.type, str):
                node.type = None  # a GraphModule with a postponed annotation can't be pickled
        graph._tracer_cls = None  # or a pickled hybrid would need that class to be loaded again
        traced = fx.GraphModule(model, graph, type(model).__name__)
    nodes = (node for node in graph.nodes if node.op == "call_module")
    called = {id(model.get_submodule(str(node.target))) for node in nodes}
    missing = sorted(path for path, target in targets.items() if id(target) not in called)
    if missing:
        raise CaptureError(f"{', '.join(missing)} is not called as a module")
    _carry_over(model, traced)
    return traced


def _carry_over(model: nn.Module, traced: nn.Module) -> None:
    """Modes, and what the graph does not use: state_dict keeps the model's keys."""
    places = dict(traced.named_modules(remove_duplicate=False))
    for path, module in model.named_modules(remove_duplicate=False):
        parent, _, name = path.rpartition(".")
        if path not in places:
            if parent in places and not hasattr(places[parent], name):
                places[parent].add_module(name, module)
            continue
        place = places[path]
        place.training = module.training
        for key, parameter in module._parameters.items():
            if not hasattr(place, key):
                place.register_parameter(key, parameter)
        for key, buffer in module._buffers.items():
            if not hasattr(place, key):
                place.register_buffer(key, buffer)
    match_persistence(traced, model)
    # Constants of the trace are no part of the model's state.
    traced._non_persistent_buffers_set |= set(traced._buffers) - set(model._buffers)


def _disagreement(model: nn.Module, traced: fx.GraphModule, example: Batch) -> str | None:
    """Why a trace can't stand for the model, or None."""
    with evaluating(model):
        result = attempt(model, example)
    if isinstance(result, Exception):
        said = first_line(result, "no message")
        return f"the model raises {type(result).__name__} on the data: {said}"
    objects = opaque_objects(result)
    if objects:
        return f"the traced graph has an object that the model returns baked in: {objects[0]}"
    problem = disagreement(model, traced, example)
    if problem is None:
        return None
    usual = f": {_USUAL_CAUSE}" if problem == TRAINS_OTHERWISE else ""
    return f"the traced graph {problem}{usual}"
