"""The compiler: from a model, targets and data to a Compiled; and its two halves on their own."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from symcompile.batches import as_batches, sampled_batch
from symcompile.compiled import Compiled, NeuralModel
from symcompile.engines import Engine, create
from symcompile.errors import CaptureError, DataError, EngineError, TargetError
from symcompile.evaluation import Array
from symcompile.operators import OperatorSet
from symcompile.pareto import ParetoFront
from symcompile.passes.capture import BOUNDARIES
from symcompile.passes.distill import Fit
from symcompile.passes.distill import distill as run_fits
from symcompile.passes.record import (
    Captured,
    capture_targets,
    check_outputs,
    observe,
    recording,
    without_model,
)
from symcompile.passes.reduce import reduce
from symcompile.passes.resolve import resolve
from symcompile.progress import ProgressBar
from symcompile.recording import NO_BATCHES, Recording, Samples
from symcompile.region import Region
from symcompile.state import same_random_state
from symcompile.target import Target, as_targets

# Where torch.compile keeps the module that it wraps.
_WRAPPED = "_orig_mod"

Operators = OperatorSet | Iterable[str] | Mapping[str, int] | None


def symcompile(
    model: nn.Module,
    targets: str | Target | Iterable[str | Target],
    data: Any = None,
    *,
    operators: Operators = None,
    max_complexity: int = 30,
    engine: str | Engine = "auto",
    engine_options: Mapping[str, Any] | None = None,
    tolerance: float | None = None,
    beat_linear: bool = False,
    holdout: float = 0.2,
    n_samples: int = 5000,
    seed: int = 0,
    budget: float | None = None,
    executor: Executor | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Compiled:
    """Replace parts of a trained model by closed-form equations.

    Args:
        model: any module on any device, in any floating dtype. It is left untouched.
        targets: what to replace: module paths, globs, node ranges, "." or Target objects.
        data: a batch (tensor, tuple of positional arguments, dict of keyword arguments), an
            iterable of batches, or a Recording. May be left out where every Target has a domain.
        operators: names, or a mapping from name to complexity; see `OperatorSet.of`.
        max_complexity: the most complex equation allowed.
        engine: "auto", "operon", "pysr", or an Engine.
        engine_options: options of the engine named.
        tolerance: refuse an equation whose held-out relative L2 error is above it.
        beat_linear: refuse an equation that a ridge-regressed linear map of the inputs beats.
        holdout: share of the samples that no fit may see.
        n_samples: samples kept of each region.
        seed: same seed, same machine, same equations (as long as no budget ends the search).
        budget: seconds of search for each equation; None for the engine's own amount of work.
        executor: runs the searches; None for threads of this process.
        run_dir: journal of finished searches; a killed compile resumes from it.
        progress: show a progress bar where there is a terminal.

    Returns:
        The compiled model. A target that can't be replaced faithfully stays neural, and
        `compiled.report` says why.

    Raises:
        TargetError: a target matches nothing, overlaps another, or has bad options.
        DataError: data is missing, empty, not finite, constant, or does not fit the model.
        EngineError: the engine is missing, an option is unknown, or a search failed.
    """
    chosen = _checked(model, targets, holdout, n_samples, max_complexity, tolerance)
    model, chosen = _uncompiled(model, chosen)
    _check_search(seed, budget, executor)
    base = create(
        engine, operators=operators, max_complexity=max_complexity, options=_plain(engine_options)
    )
    with same_random_state():
        captured, record_ = _recorded(model, chosen, data, n_samples, holdout, seed)
    regions = {path: reduce(r, record_.samples[path]) for path, r in record_.regions.items()}
    record_ = replace(record_, regions=regions)
    engines = {
        path: _engine_for(r.target, base, engine, engine_options) for path, r in regions.items()
    }
    fits = _fits(record_, engines, seed, budget)
    with ProgressBar(len(fits), enabled=progress) as bar:
        fronts = run_fits(
            list(fits.values()), executor=executor, progress=bar, run_dir=_path(run_dir)
        )
    by_region: dict[str, dict[int, ParetoFront]] = {path: {} for path in regions}
    for (path, output), fit in fits.items():
        by_region[path][output] = fronts[fit.key]
    with same_random_state():
        return Compiled.build(
            NeuralModel(captured.root),
            record_,
            by_region,
            engines={path: one.describe() for path, one in engines.items()},
            operators={path: one.operators for path, one in engines.items()},
            tolerance=tolerance,
            beat_linear=beat_linear,
            seed=seed,
        )


def record(
    model: nn.Module,
    targets: str | Target | Iterable[str | Target],
    data: Any = None,
    *,
    holdout: float = 0.2,
    n_samples: int = 5000,
    seed: int = 0,
) -> Recording:
    """Run the model once and record what the targets receive and give.

    The result can be given to `symcompile` as `data`, any number of times, and be saved. It knows
    the weights it was made with: a model with others is refused. Arguments and errors are those of
    `symcompile`.
    """
    chosen = _checked(model, targets, holdout, n_samples, 1, None)
    _check_search(seed, None, None)
    model, chosen = _uncompiled(model, chosen)
    with same_random_state():
        return _recorded(model, chosen, data, n_samples, holdout, seed)[1]


def distill(
    fn: Callable[[Any], Any] | Any,
    X: Any,
    y: Any = None,
    *,
    names: Sequence[str] | None = None,
    weights: Any = None,
    operators: Operators = None,
    max_complexity: int = 30,
    engine: str | Engine = "auto",
    engine_options: Mapping[str, Any] | None = None,
    holdout: float = 0.2,
    seed: int = 0,
    budget: float | None = None,
    executor: Executor | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> dict[int, ParetoFront]:
    """Distill any callable, or plain arrays: `distill(fn, X)` or `distill(X, Y)`.

    Args:
        fn: maps X [n_samples, n_inputs] to outputs [n_samples] or [n_samples, n_outputs]; it gets
            X as it was given (numpy or torch). Or the array X itself, with the outputs after it.
        X: inputs [n_samples, n_inputs] (1-D counts as one input), or the outputs.
        names: one name for each input; x0, x1, ... when left out.
        weights: weight of each sample's squared error [n_samples].

    Returns:
        The Pareto front of each output, by number.

    Raises:
        DataError: arrays of the wrong shape, too few, not finite.
    """
    _check_search(seed, budget, executor)
    if not _is_number(holdout) or not 0 < holdout < 1:
        raise DataError(f"holdout is {holdout!r}: expected a share between 0 and 1, such as 0.2")
    inputs, outputs = _arrays(fn, X, y)
    symbols = _symbols(names, inputs.shape[1])
    base = create(
        engine, operators=operators, max_complexity=max_complexity, options=_plain(engine_options)
    )
    samples = _split(inputs, outputs, _weights(weights, len(inputs)), holdout, seed)
    fits = {
        output: _fit(
            f"output {output}",
            samples,
            samples.X,
            samples.Y[:, output],
            symbols,
            base,
            seed,
            budget,
        )
        for output in range(outputs.shape[1])
    }
    with ProgressBar(len(fits), enabled=progress) as bar:
        fronts = run_fits(
            list(fits.values()), executor=executor, progress=bar, run_dir=_path(run_dir)
        )
    return {output: fronts[fit.key] for output, fit in fits.items()}


def load(path: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> Compiled:
    """Read a `.symc` artifact that `Compiled.save` wrote. Nothing of the file is executed.

    Raises ArtifactError if it is missing, damaged, or of a newer version.
    """
    return Compiled.load(path, device)


# --- arguments -------------------------------------------------------------------------------


def _checked(
    model: nn.Module,
    targets: str | Target | Iterable[str | Target],
    holdout: float,
    n_samples: int,
    max_complexity: int,
    tolerance: float | None,
) -> tuple[Target, ...]:
    if not isinstance(model, nn.Module):
        raise TargetError(
            f"model is a {type(model).__name__}: expected a torch.nn.Module"
            " (for a plain function use symcompile.distill(fn, X))"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise CaptureError(
            f"model is a {type(model).__name__}, whose parts can't be replaced: give the Python"
            " module that it was scripted or traced from"
        )
    if not _is_number(holdout) or not 0 < holdout < 1:
        raise DataError(f"holdout is {holdout!r}: expected a share between 0 and 1, such as 0.2")
    if type(n_samples) is not int or n_samples < 10:
        raise DataError(f"n_samples is {n_samples!r}: expected a whole number from 10 up")
    if type(max_complexity) is not int or max_complexity < 1:
        raise TargetError(f"max_complexity is {max_complexity!r}: expected a whole number from 1")
    if tolerance is not None and not (_is_number(tolerance) and 0 < tolerance < math.inf):
        raise TargetError(f"tolerance is {tolerance!r}: expected a number above 0, such as 0.05")
    return as_targets(targets)


def _check_search(seed: int, budget: float | None, executor: Executor | None) -> None:
    if type(seed) is not int or seed < 0:
        raise DataError(f"seed is {seed!r}: expected a whole number from 0 up")
    if budget is not None and not (_is_number(budget) and 0 < budget < math.inf):
        raise EngineError(f"budget is {budget!r}: expected seconds for each equation, such as 30")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise EngineError(
            f"executor is a {type(executor).__name__}: expected a concurrent.futures.Executor, such"
            " as ThreadPoolExecutor(4) or a Dask client's get_executor()"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _uncompiled(
    model: nn.Module, targets: tuple[Target, ...]
) -> tuple[nn.Module, tuple[Target, ...]]:
    """The model that torch.compile wrapped: hooks inside would be compiled as well, again and
    again. Targets may be named as in either of the two."""
    inner = model._modules.get(_WRAPPED)
    if inner is None:
        return model, targets
    plain = (one.path.removeprefix(_WRAPPED + ".") for one in targets)
    renamed = tuple(
        replace(one, path="." if path == _WRAPPED else path)
        for one, path in zip(targets, plain, strict=True)
    )
    return _uncompiled(inner, renamed)


def _plain(options: Mapping[str, Any] | None) -> dict[str, Any]:
    if options is not None and not isinstance(options, Mapping):
        raise EngineError(
            f"engine_options is a {type(options).__name__}: expected a dict, such as"
            " {'population': 500}"
        )
    return dict(options or {})


def _path(run_dir: str | os.PathLike[str] | None) -> str | None:
    if run_dir is None:
        return None
    if not isinstance(run_dir, (str, os.PathLike)):
        raise EngineError(f"run_dir is {run_dir!r}: expected the path of a folder")
    return os.fspath(run_dir)


def _engine_for(
    target: Target, base: Engine, engine: str | Engine, options: Mapping[str, Any] | None
) -> Engine:
    """The engine with the operators and complexity that one target asks for."""
    if target.operators is None and target.max_complexity is None:
        return base
    if not isinstance(engine, str):
        raise TargetError(
            f"target {target.path!r}: operators= and max_complexity= of a target need an engine by"
            " name: give them to your Engine, or pass engine='operon'"
        )
    operators = base.operators if target.operators is None else target.operators
    limit = target.max_complexity or base.max_complexity
    return create(engine, operators=operators, max_complexity=limit, options=_plain(options))


# --- recording -------------------------------------------------------------------------------


def _recorded(
    model: nn.Module,
    targets: tuple[Target, ...],
    data: Any,
    n_samples: int,
    holdout: float,
    seed: int,
) -> tuple[Captured, Recording]:
    if isinstance(data, Recording):
        return _reused(model, targets, data)
    if data is None:
        return _sampled(model, targets, n_samples, holdout, seed)
    first, batches = as_batches(data, model)
    captured = capture_targets(model, targets, first)
    seen = observe(captured, batches, n_samples, holdout, seed)
    return captured, recording(model, captured, seen, seed)


def _reused(
    model: nn.Module, targets: tuple[Target, ...], given: Recording
) -> tuple[Captured, Recording]:
    given.check(model)
    example = given.batches[0] if given.batches else None
    captured = capture_targets(model, targets, example)
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
    return captured, replace(given, regions=regions, samples=samples, refused=refused)


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


def _sampled(
    model: nn.Module, targets: tuple[Target, ...], n_samples: int, holdout: float, seed: int
) -> tuple[Captured, Recording]:
    """Draw the inputs of each target from its domain."""
    without = [target.path for target in targets if target.domain is None]
    if without:
        raise DataError(
            f"no data: give data=, or a domain to sample, Target({without[0]!r}, domain="
            "{'x0': (0, 1), ...})"
        )
    captured = capture_targets(model, targets, None)
    found: list[Recording] = []
    for one in resolve(model, targets):
        part = model if one.path == "." else model.get_submodule(one.path)
        batch = sampled_batch(one.target, part, n_samples, seed)
        alone = Captured(part, captured.kind, captured.note, {".": one.target})
        seen = observe(alone, iter([batch]), n_samples, holdout, seed)
        found.append(_renamed(recording(model, alone, seen, seed), one.path))
    merged = found[0] if len(found) == 1 else _merged(found)
    return captured, merged


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
    given: Recording, engines: Mapping[str, Engine], seed: int, budget: float | None
) -> dict[tuple[str, int], Fit]:
    fits = {}
    for path, region in given.regions.items():
        samples = given.samples[path]
        V, Y = region.variable_values(samples.X), region.equation_values(samples.Y)
        _require_finite_features(region, V)
        for output in region.equation_outputs:
            key = f"{path}[{output}]"
            fits[path, output] = _fit(
                key, samples, V, Y[:, output], region.variables, engines[path], seed, budget
            )
    return fits


def _fit(
    key: str,
    samples: Samples,
    variables: Array,
    y: Array,
    names: tuple[str, ...],
    engine: Engine,
    seed: int,
    budget: float | None,
) -> Fit:
    # In random order, so that a search or a fit may look at the first rows alone.
    order = np.random.default_rng(seed).permutation(len(y))
    fit, held = order[~samples.holdout[order]], order[samples.holdout[order]]
    weights = samples.weights
    return Fit(
        key,
        variables[fit],
        y[fit],
        variables[held],
        y[held],
        names,
        engine,
        seed,
        None if weights is None else weights[fit],
        None if weights is None else weights[held],
        budget,
    )


def _require_finite_features(region: Region, V: Array) -> None:
    bad = ~np.isfinite(V).all(axis=0)
    if bad.any():
        name = region.variables[int(bad.argmax())]
        raise DataError(
            f"target {region.path!r}: feature {name!r} is not finite on the recorded inputs:"
            " keep its arguments inside its domain, for example sqrt(abs(...)) or ... + 0.01"
        )


# --- arrays ----------------------------------------------------------------------------------


def _arrays(fn: Any, X: Any, y: Any) -> tuple[Array, Array]:
    if callable(fn) and not isinstance(fn, (torch.Tensor, np.ndarray)):
        if y is not None:
            raise DataError("distill(fn, X) takes no outputs: the callable gives them")
        inputs, outputs = X, _call(fn, X)
    else:
        if y is not None:
            raise DataError("distill takes (fn, X) or (X, Y)")
        inputs, outputs = fn, X
    a, b = _array(inputs, "X"), _array(outputs, "Y")
    if len(a) != len(b):
        raise DataError(f"X has {len(a)} samples and Y {len(b)}: expected as many of both")
    return a, b


def _call(fn: Callable[[Any], Any], X: Any) -> Any:
    if isinstance(X, torch.Tensor):
        with torch.no_grad():
            return fn(X)
    return fn(X)


def _array(values: Any, name: str) -> Array:
    if isinstance(values, torch.Tensor):
        values = values.detach().to("cpu", torch.float64).numpy()
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not numeric: {error}") from None
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"{name} has shape {list(array.shape)}: expected [n_samples, n_features]")
    if not np.isfinite(array).all():
        raise DataError(f"{name} holds NaN or infinity: leave those samples out")
    return array


def _symbols(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    found = tuple(names) if names is not None else tuple(f"x{k}" for k in range(count))
    return Target(".", names=found).names or found if len(found) == count else _wrong(found, count)


def _wrong(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    raise DataError(
        f"{len(names)} names ({', '.join(names)}) for {count} inputs: give one for each"
    )


def _weights(weights: Any, count: int) -> Array | None:
    if weights is None:
        return None
    found = _array(weights, "weights")[:, 0]
    if len(found) != count or (found < 0).any() or not found.any():
        raise DataError(f"weights: expected {count} numbers from 0 up, not all 0")
    return found


def _split(X: Array, Y: Array, weights: Array | None, holdout: float, seed: int) -> Samples:
    if len(X) < 10:
        raise DataError(f"{len(X)} samples: at least 10 are needed (hundreds are better)")
    if not np.ptp(X, axis=0).any():
        raise DataError(
            "the inputs never change, so there is nothing to learn: give data that varies"
        )
    held = np.zeros(len(X), dtype=bool)
    held[np.random.default_rng(seed).permutation(len(X))[: math.ceil(len(X) * holdout)]] = True
    return Samples(X, Y, held, weights)
