"""The compiler's passes in their order, as `symcompile.pipeline` runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from symcompile.compiled import Compiled
from symcompile.errors import DataError, TargetError
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.measuring import Neural
from symcompile.modules.arrays import input_names, is_frame, real_numbers
from symcompile.modules.batches import as_batches, columns_in_order, sampled_batch
from symcompile.modules.calling import home
from symcompile.modules.recording import NO_BATCHES, Samples
from symcompile.modules.region import Region
from symcompile.modules.resolve import resolve
from symcompile.modules.state import put_back, same_random_state
from symcompile.options import Options
from symcompile.passes.capture import BOUNDARIES
from symcompile.passes.distill import distill
from symcompile.passes.record import (
    Captured,
    Columns,
    capture_targets,
    check_outputs,
    observe,
    recording,
    require_weights,
    without_model,
)
from symcompile.passes.reduce import reduce as reduce_region
from symcompile.pipeline import Compilation, Pass
from symcompile.regression.distillation import Fit
from symcompile.regression.engines import Engine
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.progress import ProgressBar
from symcompile.storage.recording import Recording
from symcompile.target import Target


def recording_passes(options: Options, *, sharing: bool = True) -> tuple[Pass, ...]:
    """From a model to a recording of its targets.

    With `sharing` a model that can't be copied is recorded all the same, by a copy that shares with
    it what there is one of; a hybrid can't be made of it.
    """
    return (
        Pass("capture", (), ("captured",), partial(_capture, sharing)),
        Pass("instrument", ("captured",), ("recording",), partial(_instrument, options)),
    )


def compiling_passes(options: Options) -> tuple[Pass, ...]:
    """From a model to a Compiled."""
    return (
        *recording_passes(options, sharing=False),
        Pass("reduce", ("recording",), ("recording",), _reduce),
        Pass("distill", ("recording",), ("fronts",), partial(_distill, options)),
        Pass("rewrite", ("captured", "fronts"), ("compiled",), partial(_rewrite, options)),
    )


def _capture(sharing: bool, state: Compilation) -> Compilation:
    """Copy, capture and partition; `data` becomes an iterator of batches, unless it is a Recording.

    What runs is the copy: the user's model is only ever read.
    """
    require_weights(state.model)
    with same_random_state():
        data, example, known, columns = state.data, None, "", None
        if data is None:
            _require_domains(state.targets)
        elif isinstance(data, Recording):
            data.check(state.model)
            example = data.batches[0] if data.batches else None
            known = data.fingerprint
        else:
            columns = _columns(data, state.model)
            example, data = as_batches(data, state.model)
        captured = capture_targets(
            state.model, state.targets, example, known=known, sharing=sharing
        )
        return state.with_(captured=replace(captured, columns=columns), data=data)


def _columns(data: Any, model: nn.Module) -> Columns | None:
    """What a target may be named after, where the data is a data frame with names that can be."""
    if isinstance(data, Mapping) or not is_frame(data):
        return None
    try:
        names = input_names(data)
    except DataError:  # the inputs are x0, x1, ... then, in the order of the columns
        return None
    if names is None:
        return None
    order = columns_in_order(data, model) or names
    places = [names.index(name) for name in order]
    rows = torch.from_numpy(real_numbers(data, "data")[:, places]).to(home(model)[1])
    return Columns(tuple(order), rows.double().numpy())


def _instrument(options: Options, state: Compilation) -> Compilation:
    captured: Captured = state.captured
    with same_random_state():
        if isinstance(state.data, Recording):
            return state.with_(recording=_reused(captured, state.data))
        if state.data is None:
            found = _sampled(options, captured, state.targets)
        else:
            seen = observe(captured, state.data, options.n_samples, options.holdout, options.seed)
            found = recording(captured, seen, options.seed)
        put_back(captured.root, state.model)
    return state.with_(recording=found, data=None)


def _reduce(state: Compilation) -> Compilation:
    given = state.recording
    assert given is not None
    if not any(region.target.reduce for region in given.regions.values()):
        return state
    regions = {path: reduce_region(r, given.samples[path]) for path, r in given.regions.items()}
    return state.with_(recording=replace(given, regions=regions))


def _distill(options: Options, state: Compilation) -> Compilation:
    given = state.recording
    assert given is not None
    engines = _engines(options, given)
    fits = _fits(given, engines, options)
    found = run_fits(list(fits.values()), options)
    fronts: dict[str, dict[int, ParetoFront]] = {path: {} for path in given.regions}
    for (path, output), fit in fits.items():
        fronts[path][output] = found[fit.key]
    return state.with_(fronts=fronts)


def _engines(options: Options, given: Recording) -> dict[str, Engine]:
    return {path: options.engine_for(r.target) for path, r in given.regions.items()}


def run_fits(fits: Sequence[Fit], options: Options) -> dict[str, ParetoFront]:
    """The front of each fit by its key, behind a progress bar."""
    run_dir = None if options.run_dir is None else Path(options.run_dir)
    with ProgressBar(len(fits), enabled=options.progress) as bar:
        return distill(fits, executor=options.executor, progress=bar, run_dir=run_dir)


def _rewrite(options: Options, state: Compilation) -> Compilation:
    """Choose, lower, install and verify: `Compiled` keeps what it needs to do so again."""
    given = state.recording
    assert given is not None
    assert state.fronts is not None
    engines = _engines(options, given)
    with same_random_state():
        compiled = Compiled.build(
            Neural(state.captured.root),
            given,
            state.fronts,
            engines={path: one.describe() for path, one in engines.items()},
            operators={path: one.operators for path, one in engines.items()},
            tolerance=options.tolerance,
            beat_linear=options.beat_linear,
            seed=options.seed,
        )
    return state.with_(compiled=compiled)


# --- recording -------------------------------------------------------------------------------


def _require_domains(targets: Sequence[Target]) -> None:
    without = [target.path for target in targets if target.domain is None]
    if without:
        raise DataError(
            f"no data: give data=, or a domain to sample, Target({without[0]!r}, domain="
            "{'x0': (0, 1), ...})"
        )


def _reused(captured: Captured, given: Recording) -> Recording:
    """A recording under the targets and options of now."""
    missing = [p for p in captured.targets if p not in given.regions and p not in given.refused]
    if missing:
        known = ", ".join([*given.regions, *given.refused])
        raise DataError(f"the recording has {known}, not {', '.join(missing)}: record those too")
    regions = {
        path: _retargeted(given.regions[path], target)
        for path, target in captured.targets.items()
        if path in given.regions
    }
    samples = {path: given.samples[path] for path in regions}
    refused = {path: r for path, r in given.refused.items() if path in captured.targets}
    return replace(given, regions=regions, samples=samples, refused=refused)


def _retargeted(region: Region, target: Target) -> Region:
    """A recorded region under the options that the target has now."""
    names = target.names or tuple(f"x{k}" for k in range(region.interface.n_inputs))
    if len(names) != region.interface.n_inputs:
        raise TargetError(
            f"target {target.path!r}: {len(names)} names ({', '.join(names)}) for"
            f" {region.interface.n_inputs} input features: give one name for each"
        )
    found = replace(region, target=target, names=names, projection_in=None, projection_out=None)
    check_outputs(found)
    return found


def _sampled(options: Options, captured: Captured, targets: Sequence[Target]) -> Recording:
    """Draw the inputs of each target from its domain."""
    model, seed = captured.model, options.seed
    found: list[Recording] = []
    for one in resolve(model, targets):
        part = model if one.path == "." else model.get_submodule(one.path)
        batch = sampled_batch(one.target, part, options.n_samples, seed)
        alone = replace(captured, root=part, targets={".": one.target})
        seen = observe(alone, iter([batch]), options.n_samples, options.holdout, seed)
        found.append(_renamed(recording(alone, seen, seed), one.path))
    return found[0] if len(found) == 1 else _merged(found)


def _renamed(part: Recording, path: str) -> Recording:
    """A recording of one module on its own, as a recording of the model's region at `path`."""
    if path == ".":
        return part
    return replace(
        without_model(part),
        regions={path: replace(part.regions["."], path=path)} if part.regions else {},
        samples={path: part.samples["."]} if part.samples else {},
        refused={path: part.refused["."]} if part.refused else {},
        capture=BOUNDARIES,
    )


def _merged(parts: Sequence[Recording]) -> Recording:
    first = replace(parts[0], batches=(), batches_are=NO_BATCHES)
    return replace(
        first,
        regions={p: r for part in parts for p, r in part.regions.items()},
        samples={p: s for part in parts for p, s in part.samples.items()},
        refused={p: r for part in parts for p, r in part.refused.items()},
    )


# --- fits ------------------------------------------------------------------------------------


def _fits(
    given: Recording, engines: Mapping[str, Engine], options: Options
) -> dict[tuple[str, int], Fit]:
    fits = {}
    for path, region in given.regions.items():
        samples = given.samples[path]
        V, Y = region.variable_values(samples.X), region.equation_values(samples.Y)
        _require_finite_features(region, V)
        for output in region.equation_outputs:
            fits[path, output] = fit_of(
                path, output, samples, V, Y[:, output], region.variables, engines[path], options
            )
    return fits


def fit_of(
    block: str,
    output: int,
    samples: Samples,
    variables: Array,
    y: Array,
    names: tuple[str, ...],
    engine: Engine,
    options: Options,
) -> Fit:
    """The fit of one output y [n_samples] in `variables` [n_samples, n_variables]."""
    # In random order, so that a search or a fit may look at the first rows alone.
    order = np.random.default_rng(options.seed).permutation(len(y))
    fit, held = order[~samples.holdout[order]], order[samples.judged[order]]
    weights, folds = samples.weights, samples.folds
    return Fit(
        f"{block}[{output}]",
        variables[fit],
        y[fit],
        variables[held],
        y[held],
        names,
        engine,
        options.seed,
        None if weights is None else weights[fit],
        None if weights is None else weights[held],
        options.budget,
        loss=options.loss,
        block=block,
        folds=None if folds is None else folds[held],
    )


def _require_finite_features(region: Region, V: Array) -> None:
    bad = ~np.isfinite(V).all(axis=0)
    if bad.any():
        name = region.variables[int(bad.argmax())]
        raise DataError(
            f"target {region.path!r}: feature {name!r} is not finite on the recorded inputs:"
            " keep its arguments inside its domain, for example sqrt(abs(...)) or ... + 0.01"
        )
