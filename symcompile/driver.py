"""The compiler: from a model, targets and data to a Compiled; and its two halves on their own.

What they take to run loads with the first call. A process that a pool starts imports the script
that started it, and these names with it: its tasks need no torch, which takes twice their memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from symcompile.errors import CaptureError, TargetError
from symcompile.expressions.dimensions import Vector
from symcompile.options import Constraints, NestedConstraints, Operators, Options
from symcompile.regression.distillation import Searches
from symcompile.regression.engines import Engine
from symcompile.regression.engines.engine import with_dimensions
from symcompile.regression.guesses import Guesses
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.progress import ProgressBar
from symcompile.storage.journal import Journal
from symcompile.target import Target, as_targets

if TYPE_CHECKING:
    import torch
    from torch import nn

    from symcompile.compiled import Compiled
    from symcompile.passes.select import Selection
    from symcompile.storage.recording import Recording

# Where torch.compile keeps the module that it wraps.
_WRAPPED = "_orig_mod"


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
    loss: str = "auto",
    rule: str | None = None,
    prefer: str | None = None,
    constraints: Constraints | None = None,
    nested_constraints: NestedConstraints | None = None,
    complexity_of_variables: int | Mapping[str, int] | None = None,
    complexity_of_constants: int | None = None,
    units: Mapping[str, str] | Iterable[str] | None = None,
    output_units: str | Mapping[int, str] | Iterable[str] | None = None,
    dimensionless_constants: bool = False,
    guesses: Guesses | None = None,
    warm_start: Any = None,
    objective: Callable[..., torch.Tensor] | None = None,
    select: Selection | None = None,
) -> Compiled:
    """Replace parts of a trained model by closed-form equations.

    Args:
        model: any module on any device, in any floating dtype. It is left untouched.
        targets: what to replace: module paths, globs, node ranges, "." or Target objects.
        data: a batch (tensor, array, data frame, tuple of positional arguments, dict of keyword
            arguments), an iterable of batches, or a Recording. May be left out where every Target
            has a domain. A target that receives the columns of a data frame has them as names.
        operators: names, or a mapping from name to complexity; see `OperatorSet.of`. A new name
            is an operator of one's own, with its definition in `a`, or in `a` and `b` (a text or a
            sympy expression), or that and its complexity: `{"lorentz": ("1/sqrt(1 - a**2)", 4)}`.
        max_complexity: the most complex equation allowed.
        engine: "auto", "operon", "pysr", or an Engine.
        engine_options: options of the engine named.
        tolerance: take no equation whose held-out relative L2 error is above it, or by which the
            model's output moves by more than that (relative L2, end to end): where the default
            choice is such, take the simplest one of the front that passes; if none does, refuse.
        beat_linear: in the same way take no equation that the best linear map of the block's inputs
            beats.
        holdout: share of the samples that no fit may see. Of fewer than 100 none are held out: they
            are all fitted to, and equations are ranked and reported by leave-one-out. 0 does the
            same for more samples, by ten folds: no sample is lost to the fit, and in return no
            figure tells what was chosen with the judging samples in sight.
        n_samples: samples kept of each region.
        seed: same seed, same machine, same equations (as long as no budget ends the search).
        budget: seconds for each equation; None for the engine's own amount of work. A search that
            has not ended after twice that and ten seconds more is given up, and its output refused.
        executor: runs the searches; None for threads of this process. An interrupt (Ctrl-C) ends
            these within seconds, whatever an engine does. A worker that dies gets a second chance:
            where the whole process pool broke, in a process like those of the pool.
        run_dir: journal of finished searches and fronts, and of regions that a selection has
            fitted; a killed compile resumes from it. Several processes may share it.
        progress: show a progress bar where there is a terminal.
        loss: what equations are fitted and ranked by: "squared"; "absolute" or "cauchy", for which
            a few outliers count little; "auto" is "cauchy" for outputs with heavy tails and
            "squared" for all others. Fidelity is reported in squared errors whatever it is.
        prefer: what equations are for. "law", the default: the form that explains the outputs, see
            `ParetoFront.law`. "accuracy": the simplest one whose held-out loss is within 5 % of
            the lowest, for equations that go on in a model and that nobody has to read.
        rule: or the name of the rule that chooses from a front, see `ParetoFront.select`.
        constraints: how complex the arguments of an operator may be, -1 for any:
            `{"pow": (-1, 1), "sin": 5, "*": (5, 5)}`, as PySR has them. No equation breaks them,
            whatever found it. Forms count as their complexity does: where "square" is an operator,
            `x**2` is one, and which of several factors is on the left is free.
        nested_constraints: how often operators may be met inside of another, on any way down:
            `{"sin": {"sin": 0, "cos": 0}}`.
        complexity_of_variables: complexity of an input, or of some by their name: `{"x": 2}`.
        complexity_of_constants: complexity of a constant.
        units: the unit of each input, `{"x": "m", "t": "s"}` (or in the order of the inputs), "1"
            for a pure number. No front then holds an equation whose dimensions do not go together:
            sums are of one dimension, functions of pure numbers; fitted constants may have any.
        output_units: the unit of the output, or of several, by number or in their order.
        dimensionless_constants: fitted constants are pure numbers, too.
        guesses: equations of one's own to start from, texts in the names of the inputs, sympy
            expressions or Equations, for all outputs or by output, `{0: ["2.5*sin(x)"]}`. Numbers
            with a point in them are constants, which are fitted again.
        warm_start: an earlier Compiled, or fronts by target and output: their equations are guesses
            for the same outputs, in the same inputs.
        objective: what the model is to minimise, as a function of its results and of what it was
            called with: `lambda logits, tokens: ...`, the mean over a batch. Targets that are
            reduced in a supervised way (`ReducedRank`, `Products`, `affine=`) then count errors
            by what the model loses by them, as far as gradients on the recorded data tell.
        select: which of the targets to replace, by what the whole model loses: see
            `symcompile.Selection`. `compiled.selection` then has how they were ranked.

    Returns:
        The compiled model. A target that can't be replaced faithfully stays neural, and
        `compiled.report` says why.

    Raises:
        TargetError: a target matches nothing, overlaps another, or has bad options.
        DataError: data is missing, empty, not finite, constant, or does not fit the model.
        ExpressionError: a unit or a guess can't be read, or does not go with the inputs.
        ChoiceError: there is no such rule or preference, or both are given.
        EngineError: the engine is missing, an option is unknown, all searches failed, or the
            executor takes no more of them. Where some fail, their targets stay neural.
        ArtifactError: `run_dir` can't be written to.
    """
    options = Options(
        operators,
        max_complexity,
        engine,
        engine_options,
        tolerance,
        beat_linear,
        holdout,
        n_samples,
        seed,
        budget,
        executor,
        run_dir,
        progress,
        loss,
        rule,
        prefer,
        constraints,
        nested_constraints,
        complexity_of_variables,
        complexity_of_constants,
        units,
        output_units,
        dimensionless_constants,
        guesses,
        warm_start,
        objective,
    )
    from symcompile.compiled import Compiled
    from symcompile.fidelity.outcome import Refusal
    from symcompile.passes import compiling_passes
    from symcompile.passes.select import Selection, selected
    from symcompile.pipeline import Request

    request, ranking = Request(*_checked(model, targets), data), None
    if select is None:
        state, log = compiling_passes(options).run(request)
    elif isinstance(select, Selection):
        state, log, ranking = selected(request, options, select)
    else:
        raise TargetError(f"select is a {type(select).__name__}: expected a symcompile.Selection")
    refused = {path: Refusal(path, reason) for path, reason in state.recording.refused.items()}
    compiled = Compiled(state.assembly, state.blocks, refused, log)
    compiled.selection = ranking
    return compiled


def record(
    model: nn.Module,
    targets: str | Target | Iterable[str | Target],
    data: Any = None,
    *,
    holdout: float = 0.2,
    n_samples: int = 5000,
    seed: int = 0,
    objective: Callable[..., torch.Tensor] | None = None,
) -> Recording:
    """Run the model once and record what the targets receive and give.

    The result can be given to `symcompile` as `data`, any number of times, and be saved. It knows
    the weights it was made with: a model with others is refused. Arguments and errors are those of
    `symcompile`.
    """
    options = Options(holdout=holdout, n_samples=n_samples, seed=seed, objective=objective)
    from symcompile.passes import recording_passes
    from symcompile.pipeline import Request

    state, _ = recording_passes(options, sharing=True).run(Request(*_checked(model, targets), data))
    return state.recording


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
    loss: str = "auto",
    rule: str | None = None,
    prefer: str | None = None,
    constraints: Constraints | None = None,
    nested_constraints: NestedConstraints | None = None,
    complexity_of_variables: int | Mapping[str, int] | None = None,
    complexity_of_constants: int | None = None,
    units: Mapping[str, str] | Iterable[str] | None = None,
    output_units: str | Mapping[int, str] | Iterable[str] | None = None,
    dimensionless_constants: bool = False,
    guesses: Guesses | None = None,
    warm_start: Any = None,
) -> dict[int, ParetoFront]:
    """Distill any callable, or plain arrays: `distill(fn, X)` or `distill(X, Y)`.

    Args:
        fn: maps X [n_samples, n_inputs] to outputs [n_samples] or [n_samples, n_outputs]; it gets
            X as it was given (numpy or torch). Or the array X itself, with the outputs after it.
        X: inputs [n_samples, n_inputs] (1-D counts as one input), or the outputs.
        names: one name for each input; when left out, those of a data frame's columns, else x0,
            x1, ...
        weights: weight of each sample's loss [n_samples].
        holdout: as for `symcompile`: from 4 rows on, and of fewer than 100 none are held out.
        loss, rule, prefer, constraints, nested_constraints, complexity_of_variables,
            complexity_of_constants, units, output_units, dimensionless_constants, guesses: as for
            `symcompile`.
        warm_start: an earlier front, or fronts by output.

    Returns:
        The Pareto front of each output, by number. Where the search of one failed its front is
        empty, and `front.reason` says why; to choose from it raises ChoiceError with that reason.

    Raises:
        DataError: arrays of the wrong shape, too few, not finite.
        EngineError: as for `symcompile`.
    """
    options = Options(
        operators,
        max_complexity,
        engine,
        engine_options,
        holdout=holdout,
        seed=seed,
        budget=budget,
        executor=executor,
        run_dir=run_dir,
        progress=progress,
        loss=loss,
        rule=rule,
        prefer=prefer,
        constraints=constraints,
        nested_constraints=nested_constraints,
        complexity_of_variables=complexity_of_variables,
        complexity_of_constants=complexity_of_constants,
        units=units,
        output_units=output_units,
        dimensionless_constants=dimensionless_constants,
        guesses=guesses,
        warm_start=warm_start,
    )
    from symcompile.fidelity.reference import OptionalMeasurements
    from symcompile.fidelity.structure import with_answers
    from symcompile.modules.arrays import as_function, read_arrays, read_names, read_weights, split
    from symcompile.passes.distill import Asked, fits_of

    inputs, outputs = read_arrays(fn, X, y)
    symbols = read_names(names, inputs.shape[1], X if callable(fn) else fn)
    samples = split(inputs, outputs, read_weights(weights, len(inputs)), holdout, seed)
    numbers = range(outputs.shape[1])
    engine, results = options.search, list[Vector | None]()
    if (given := options.units_for()) is not None:
        dimensions, results = given.of_inputs(symbols, len(numbers))
        engine = with_dimensions(engine, dimensions)
    asked = Asked(engine, options.rule_for(), results, options.guesses, options.warm_start)
    fits = fits_of("output", numbers, samples, symbols, asked, options)
    searches = Searches(fits, Journal(options.run_dir), options.executor)
    with ProgressBar(len(fits), enabled=options.progress) as bar:
        fronts = dict(enumerate(searches.refined(bar).values()))
    function = as_function(fn, X)
    if function is None:
        return fronts
    ask = partial(with_answers, fronts, inputs, outputs, function)
    return OptionalMeasurements().get("findings", ask) or fronts


def load(path: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> Compiled:
    """Read a `.symc` artifact that `Compiled.save` wrote. Nothing of the file is executed.

    Raises ArtifactError if it is missing, damaged, or of a newer version.
    """
    from symcompile.compiled import Compiled

    return Compiled.load(path, device)


def _checked(
    model: nn.Module, targets: str | Target | Iterable[str | Target]
) -> tuple[nn.Module, tuple[Target, ...]]:
    import torch

    if not isinstance(model, torch.nn.Module):
        raise TargetError(
            f"model is a {type(model).__name__}: expected a torch.nn.Module"
            " (for a plain function use symcompile.distill(fn, X))"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise CaptureError(
            f"model is a {type(model).__name__}, whose parts can't be replaced: give the Python"
            " module that it was scripted or traced from"
        )
    chosen = as_targets(targets)
    # Hooks inside of what torch.compile wraps would be compiled as well, again and again. Targets
    # may be named as in the wrapped model or as in the model itself.
    while (inner := model._modules.get(_WRAPPED)) is not None:
        model, chosen = inner, tuple(map(_unwrapped, chosen))
    return model, chosen


def _unwrapped(target: Target) -> Target:
    path = target.path.removeprefix(_WRAPPED + ".")
    return replace(target, path="." if path == _WRAPPED else path)
