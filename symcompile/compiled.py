"""The result of a compile: the hybrid model, its equations, and what can be done with them."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy
import torch
from torch import nn

from symcompile.aten.around import called
from symcompile.errors import ArtifactError, ChoiceError, ExportError, one_line
from symcompile.expressions.equation import Equation
from symcompile.expressions.operators import OperatorSet
from symcompile.fidelity.acceptance import Conditions, Judged, Search, moved, settled, tried
from symcompile.fidelity.aside import Asides
from symcompile.fidelity.measuring import (
    Comparison,
    Neural,
    change_of_whole,
    controls_of,
    does_not_run,
)
from symcompile.fidelity.outcome import (
    EndToEnd,
    Fidelity,
    Outcome,
    Refusal,
    Rewrite,
    check_constants,
)
from symcompile.fidelity.parts import (
    Part,
    as_equation,
    default_choice,
    part_of,
    provenance_of,
    refusal_of,
    restore_constants,
    rewrite_of,
    scored,
    vacant,
)
from symcompile.fidelity.precision import lower_in_range
from symcompile.fidelity.refitting import FittedRegion
from symcompile.lowering import Lowered, lower, read_constants, trainable
from symcompile.modules.absorb import absorb
from symcompile.modules.assemble import copy_block
from symcompile.modules.batches import as_batch
from symcompile.modules.calling import (
    Batch,
    evaluating,
    home,
    run,
    submodule_path,
    without_gradients,
)
from symcompile.modules.region import Region
from symcompile.modules.state import preserving, same_random_state
from symcompile.passes import rewrite
from symcompile.passes.simplify import Adapt, Trial, check, search
from symcompile.pipeline import LogEntry
from symcompile.regression.pareto import ParetoFront
from symcompile.report import Report
from symcompile.storage.files import path_text
from symcompile.storage.reading import reading, wall
from symcompile.storage.recording import Recording

if TYPE_CHECKING:
    from symcompile.storage.artifact import Loaded

_BREAKS_TOGETHER = (
    "Together with the equations of other targets the model's output is not finite on held-out"
    " data, where the original's is. Give a lower tolerance=, or more data, or insist with"
    " compiled.choose({path!r}, complexity=...)."
)


class Compiled:
    """A hybrid model and everything known about it.

    Attributes:
        module: the hybrid: same call signature as the original, differentiable, trainable. It holds
            no parameter of a replaced block. `choose` and `restore` change it in place.
        fronts: for each region path, the Pareto front of each output.
        capture: how the model was captured: "fx", "module boundaries", "whole model" or "artifact".
        example: a batch of the model's inputs, or None.
        log: the passes that made it, with the seconds that each took; empty after loading.
    """

    def __init__(
        self,
        module: nn.Module,
        parts: dict[str, Part],
        refused: Mapping[str, Refusal],
        neural: Neural,
        record: Recording,
    ) -> None:
        self.module = module
        self._parts = parts
        self._refused = dict(refused)
        self._neural = neural
        self._record = record
        self._trainable = False
        self._source: str | None = None  # the file that it was loaded from
        self.log: tuple[LogEntry, ...] = ()

    @classmethod
    def build(
        cls,
        neural: Neural,
        record: Recording,
        fronts: Mapping[str, Mapping[int, ParetoFront]],
        *,
        engines: Mapping[str, Mapping[str, Any]],
        operators: Mapping[str, OperatorSet],
        tolerance: float | None = None,
        beat_linear: bool = False,
        seed: int = 0,
    ) -> Compiled:
        """Choose, lower, verify and install an equation for each output of each region."""
        assert neural.root is not None
        parts = {}
        for path, region in record.regions.items():
            provenance = provenance_of(record, path, engines[path], seed)
            waiting = Refusal(path, "not compiled yet", region, fronts[path])
            parts[path] = Part(region, fronts[path], operators[path], provenance, waiting)
        refused = {path: Refusal(path, reason) for path, reason in record.refused.items()}
        compiled = cls(vacant(neural.root, record), parts, refused, neural, record)
        for path, part in parts.items():
            limit = part.region.target.tolerance or tolerance
            compiled._install_best(path, part, limit, beat_linear)
        compiled._refuse_what_does_not_run()
        compiled._refuse_what_breaks_together()
        return compiled

    # --- what it shows -----------------------------------------------------------------------

    @property
    def fronts(self) -> dict[str, Mapping[int, ParetoFront]]:
        fixed = {path: one.fronts for path, one in self._refused.items() if one.region is not None}
        return {path: part.fronts for path, part in self._parts.items()} | fixed

    @property
    def equations(self) -> dict[str, dict[int, Equation]]:
        """The equations in the hybrid, by region path and output, with constants as trained."""
        return {
            path: self._current(part)
            for path, part in self._parts.items()
            if isinstance(part.outcome, Rewrite)
        }

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Rewrite or refusal of each region; measured again after constants were trained."""
        for path, part in self._parts.items():
            if isinstance(part.outcome, Rewrite) and self._current(part) != part.equations:
                self._measure_again(path, part)
        return {path: part.outcome for path, part in self._parts.items()} | self._refused

    @property
    def report(self) -> Report:
        """What was replaced by what, and how well: prints as a table, HTML in notebooks."""
        outcomes = self.outcomes
        several = sum(isinstance(one, Rewrite) for one in outcomes.values()) > 1
        whole = self.end_to_end() if several else float("nan")
        return Report(outcomes, self.capture, self._record.note, whole)

    @property
    def capture(self) -> str:
        return self._record.capture

    @property
    def example(self) -> Batch | None:
        return self._record.batches[0] if self._record.batches else None

    @property
    def recording(self) -> Recording:
        """What the regions saw and gave, as it was recorded for this compile."""
        return self._record

    def end_to_end(self) -> float:
        """Relative L2 change of the model's output on held-out data, all targets replaced.

        NaN where the compiler never saw data for the model itself.
        """
        change = self._change()
        return float("nan") if change is None else change.equation

    # --- what it does ------------------------------------------------------------------------

    def choose(
        self,
        path: str,
        equation: Equation | sympy.Expr | str | None = None,
        *,
        complexity: int | None = None,
        output: int | None = None,
        rule: str | None = None,
    ) -> None:
        """Put another equation in a region's place, whatever the tolerance says.

        Args:
            path: the region.
            equation: an Equation of the front, or an expression of one's own in the region's
                variables (its features, else its inputs).
            complexity: take the equation of this complexity from the front.
            output: the output meant; None means all of them.
            rule: pick by a rule of ParetoFront.select.

        Raises:
            ChoiceError: unknown path, output or complexity (those there are get listed), or the
                model does not run with the equation in place. Nothing is changed then.
            ExpressionError: an expression uses something that is not a variable of the region.
        """
        part = self._part(path)
        outputs = self._outputs(path, part, output)
        if (equation is None) + (complexity is None) + (rule is None) != 2:
            raise ChoiceError(
                f"choose({path!r}, ...) takes one of an equation, complexity= or rule="
            )
        chosen = dict(self._current(part)) if part.lowered is not None else default_choice(part)
        for one in outputs:
            chosen[one] = self._pick(path, part, one, equation, complexity, rule)
        missing = [one for one in part.region.equation_outputs if one not in chosen]
        if missing:
            raise ChoiceError(
                f"{path!r} has no equation for output {missing[0]}: choose one for it as well"
            )
        before = (part.lowered, part.equations, part.outcome, part.provenance)
        block = self.module.get_submodule(submodule_path(path))
        self._install(path, part, chosen)
        error = self._failure()
        if error is not None:
            self._put(part, block)
            part.lowered, part.equations, part.outcome, part.provenance = before
            raise does_not_run(path, error) from error

    def simplify(
        self, path: str, adapt: Adapt, *, tolerance: float = 0.01, enough: float | None = None
    ) -> tuple[Trial, ...]:
        """Leave out of a region's equations what the rest of the model can make up for.

        Inputs, constants and the terms of sums are left out on trial, and the model is trained
        around what is left; where its own loss does not get worse they stay out. This finds the law
        where a block gives the law and something that the next block takes away again.

        If the equations as they are do not reach what is `enough`, others are tried first: the
        longest of the fronts that are worth their length (the rule "plateau"), and fits that need
        no search. Of those that are within the tolerance of the best, the shortest are what things
        are left out of. In the end outputs take up what the others consist of, as far as samples
        show it: of outputs that mix the same terms none is superfluous. Nothing is added to
        equations that `choose` has put in place.

        A constant that is left out goes into the biases of linear layers behind, where these take
        it up exactly, before the training.

        Args:
            path: the region.
            adapt: trains the module that it is given for a while, in place, and returns a loss on
                held-out data. Called once for the equations as they are and once for each trial,
                every time with a copy of the module as it is now, and the same random numbers.
                Constants train along after `trainable_constants(True)`.
            tolerance: share by which the loss of a shorter form may be above the lowest met.
            enough: a loss that is good enough, on the same data: forms that reach it are taken,
                even if longer ones do better. The neural model's own is a natural choice.

        Returns:
            What was tried, in order. The module then has the equations and the weights of the last
            one kept: it has been trained, even if nothing could be left out.

        Raises:
            ChoiceError: unknown path, the region is neural, a constant is not finite, or `adapt`
                gives no number, or none that is finite for the equations as they are. Nothing is
                changed then, nor by what `adapt` raises.
        """
        check(adapt, tolerance, enough)
        part = self._part(path)
        if part.lowered is None:
            raise ChoiceError(f"{path!r} is neural: choose an equation for it first")
        check_constants({path: self.outcomes[path]}, ChoiceError)

        def build(equations: Mapping[int, Equation]) -> nn.Module:
            module = copy.deepcopy(self.module)
            block = self._lower(part.region, equations).module
            rewrite.install(module, part.region, block)
            trainable(block, self._trainable)
            return module

        def centred(equations: Mapping[int, Equation]) -> nn.Module:
            module = build(equations)
            if self.example is not None:
                absorb(module, build(recorded.centred(equations)), self.example)
            return module

        recorded = FittedRegion.of(self._record, part.region, part.operators, part.fronts)
        best, trials = search(self._current(part), recorded, centred, adapt, tolerance, enough)
        self._install(path, part, {k: self._scored(part, k, e) for k, e in best.equations.items()})
        # A copy of a traced module stores constants of its graph which the module itself does not.
        own = self.module.state_dict()
        self.module.load_state_dict({key: best.state[key] for key in own})
        return trials

    def restore(self, path: str) -> None:
        """Put a copy of the neural block back in a region's place.

        Raises ChoiceError for an unknown path, or where the neural block isn't at hand.
        """
        part = self._part(path)
        self._put(part, self._neural_copy(path))
        part.lowered, part.equations = None, {}
        part.outcome = refusal_of(part, "restored: the neural block was put back by restore()")

    def trainable_constants(self, trainable_: bool = True, /) -> Compiled:
        """Make the constants of all equations nn.Parameters (or fixed buffers again).

        `equations` shows the trained values. Exact numbers such as 2 and pi stay as they are.
        """
        self._trainable = bool(trainable_)
        for part in self._parts.values():
            if part.lowered is not None:
                trainable(part.lowered.module, self._trainable)
        return self

    def save(
        self, path: str | os.PathLike[str], *, example: Any = None, original: bool = True
    ) -> Path:
        """Write a `.symc` artifact: data only, nothing in it can be executed.

        Args:
            example: a batch to trace the model with, where the compiler never saw one.
            original: keep the neural blocks, so that `restore` works after loading.

        Raises ArtifactError if the model's forward can't be stored (the message says what of it),
        or if the file can't be written.
        """
        from symcompile.storage import artifact

        batch = self.example if example is None else as_batch(example, self.module)
        notes = {"trainable": self._trainable, "note": self._record.note}
        return artifact.write(
            path,
            module=self.module,
            root=self._neural.root if original else None,
            outcomes=self.outcomes,
            example=batch,
            capture=self.capture,
            recording=self._record,
            notes=notes,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Compiled:
        """Read what `save` wrote. Nothing of the file is executed.

        Raises ArtifactError if it is missing, damaged, or of a newer version.
        """
        from symcompile.storage import artifact

        with reading(path):
            compiled = cls._put_together(artifact.read(path, device))
        compiled._source = path_text(path)
        return compiled

    @classmethod
    def _put_together(cls, loaded: Loaded) -> Compiled:
        """Raises ArtifactError if the parts do not fit each other."""
        if loaded.recording is None:
            raise ArtifactError("it holds no recording: it was not made by save()")
        exchangeable = called(loaded.module, loaded.outcomes)
        parts, refused = {}, {}
        for name, outcome in loaded.outcomes.items():
            if isinstance(outcome, Refusal) and (
                outcome.region is None or name not in exchangeable
            ):
                refused[name] = outcome
            else:
                parts[name] = part_of(outcome)
        neural = Neural(loaded.root)
        compiled = cls(loaded.module, parts, refused, neural, loaded.recording)
        for name, part in parts.items():
            if isinstance(part.outcome, Rewrite):
                stored = part.outcome.equations.items()
                part.equations = {k: one.with_exact_exponents() for k, one in stored}
                part.lowered = compiled._lower_again(part.outcome, part.equations)
                restore_constants(part.lowered, loaded.blocks[name], name)
                compiled._put(part, part.lowered.module)
        return compiled.trainable_constants(bool(loaded.notes.get("trainable")))

    def export(self, path: str | os.PathLike[str], **options: Any) -> Any:
        """Write an ONNX file or a manifest, as the ending (.onnx, .json) says.

        Options are those of `symcompile.exporters.onnx` and `.manifest`, and so is the result.
        Raises ExportError if the format can't hold the model, or the file does not agree with it.
        """
        from symcompile.exporters import by_ending

        if self._source is None:
            return by_ending.export(self, path, **options)
        with wall("can't export the model of", self._source, kind=ExportError):
            return by_ending.export(self, path, **options)

    def __repr__(self) -> str:
        lines = []
        for path, outcome in self.outcomes.items():
            if isinstance(outcome, Rewrite):
                lines += [
                    f"  {path}[{k}] = {e}" for k, e in self._current(self._parts[path]).items()
                ]
            else:
                lines.append(f"  {path}: neural ({outcome.reason})")
        # Of a loaded model any of it may be what a stranger wrote.
        return "\n".join(map(one_line, [f"Compiled({type(self.module).__name__})", *lines]))

    # --- one region --------------------------------------------------------------------------

    def _install_best(
        self, path: str, part: Part, tolerance: float | None, beat_linear: bool
    ) -> None:
        empty = [output for output in part.region.equation_outputs if not part.fronts[output]]
        if empty:
            why = part.fronts[empty[0]].reason or "the search found no usable equation"
            self._refuse(path, part, f"no equation for output {empty[0]}: {why}")
            return
        comparison = self._comparison(part)
        conditions = Conditions(tolerance, beat_linear)
        search = Search(part.fronts, default_choice(part), comparison.reference, conditions)

        def attempt(equations: dict[int, Equation]) -> Judged:
            return tried(comparison, equations, self._lower(part.region, equations), conditions)

        found, why = settled(search, attempt)
        fidelity = found.complete(comparison)
        if found.refused is not None or fidelity is None:
            self._refuse(path, part, why, fidelity)
            return
        part.provenance = moved(part.provenance, why)
        self._accept(part, found.equations, found.lowered, fidelity)

    def _refuse_what_does_not_run(self) -> None:
        """A model may reach into its blocks, past their forward: such blocks stay neural."""
        for path, part in self._parts.items():
            error = self._failure()
            if error is None:
                return
            if isinstance(part.outcome, Rewrite):
                self._refuse(path, part, str(does_not_run(path, error)), part.outcome.fidelity)

    def _refuse_what_breaks_together(self) -> None:
        """Blocks that do no harm alone may do it together, such as two that each double what a
        third squares."""
        while True:
            replaced = [p for p, one in self._parts.items() if isinstance(one.outcome, Rewrite)]
            if len(replaced) < 2 or self._finite():
                return
            path = self._culprit(replaced)
            fidelity = self._parts[path].outcome.fidelity
            self._refuse(path, self._parts[path], _BREAKS_TOGETHER.format(path=path), fidelity)

    def _culprit(self, replaced: Sequence[str]) -> str:
        """The first without which the model's output is finite, by what each does alone."""

        def alone(path: str) -> float:
            fidelity = self._parts[path].outcome.fidelity
            change = None if fidelity is None else fidelity.end_to_end
            return 0.0 if change is None else -change.equation

        ordered = sorted(replaced, key=alone)
        for path in ordered:
            part = self._parts[path]
            block = self.module.get_submodule(submodule_path(path))
            self._put(part, self._neural_copy(path))
            finite = self._finite()
            self._put(part, block)
            if finite:
                return path
        return ordered[0]

    def _finite(self) -> bool:
        """Whether the hybrid runs, and gives finite numbers wherever the original does."""
        change = self._change()
        unknown = self._neural.root is None or not self._record.batches
        return unknown or (change is not None and change.finite)

    def _change(self) -> EndToEnd | None:
        """What the hybrid gives beside the original; None where that can't be told."""
        root = self._neural.root
        if root is None or not self._record.batches:
            return None
        return Asides().get("", lambda: change_of_whole(root, self.module, self._record))

    def _failure(self) -> Exception | None:
        """What the hybrid raises on the example."""
        if self.example is None:
            return None
        example, module = self.example, self.module
        try:
            with same_random_state(), preserving(module), evaluating(module):
                without_gradients(lambda: run(module, example))
        except Exception as error:  # whatever a user's forward raises
            return error
        return None

    def _refuse(self, path: str, part: Part, reason: str, fidelity: Fidelity | None = None) -> None:
        self._put(part, self._neural_copy(path))
        part.lowered, part.equations = None, {}
        part.outcome = refusal_of(part, reason, fidelity)

    def _install(self, path: str, part: Part, equations: dict[int, Equation]) -> None:
        """Lower, measure, and only then change the hybrid."""
        equations = {k: one.with_exact_exponents() for k, one in sorted(equations.items())}
        lowered = self._lower(part.region, equations)
        fidelity = self._measure(part, equations, lowered)
        part.provenance = moved(part.provenance, "")
        self._accept(part, equations, lowered, fidelity)

    def _accept(
        self, part: Part, equations: dict[int, Equation], lowered: Lowered, fidelity: Fidelity
    ) -> None:
        self._put(part, lowered.module)
        trainable(lowered.module, self._trainable)
        part.lowered, part.equations = lowered, dict(sorted(equations.items()))
        part.outcome = rewrite_of(part, self._record, fidelity)

    def _measure_again(self, path: str, part: Part) -> None:
        assert part.lowered is not None
        part.equations = self._current(part)
        fidelity = self._measure(part, part.equations, part.lowered)
        part.outcome = rewrite_of(part, self._record, fidelity)

    def _measure(self, part: Part, equations: Mapping[int, Equation], lowered: Lowered) -> Fidelity:
        return self._comparison(part).measure(equations, lowered)

    def _comparison(self, part: Part) -> Comparison:
        if part.baseline is None:
            part.baseline = controls_of(self._record, part.region.path)
        return Comparison(self._neural, self._record, part.region, part.baseline)

    def _lower(self, region: Region, equations: Mapping[int, Equation]) -> Lowered:
        """Lower in the narrowest floating type that holds what was recorded."""
        neural, device = self._rest(region, equations), self._device
        samples = self._record.samples[region.path]
        return lower_in_range(region, equations, samples.X, samples.Y, device=device, neural=neural)

    def _lower_again(self, rewrite: Rewrite, equations: Mapping[int, Equation]) -> Lowered:
        """Lower as an artifact says."""
        region = rewrite.region
        return lower(
            region,
            equations,
            dtype=getattr(torch, region.dtype),
            inner=getattr(torch, rewrite.computes_in) if rewrite.computes_in else None,
            device=self._device,
            neural=self._rest(region, equations),
        )

    def _rest(self, region: Region, equations: Mapping[int, Equation]) -> nn.Module | None:
        """The neural block for the outputs that have no equation."""
        complete = set(equations) == set(range(region.n_equations))
        return None if complete else self._neural_copy(region.path)

    @property
    def _device(self) -> torch.device:
        root = self._neural.root
        return home(self.module if root is None else root)[0]

    def _put(self, part: Part, block: nn.Module) -> None:
        rewrite.install(self.module, part.region, block)

    def _neural_copy(self, path: str) -> nn.Module:
        if self._neural.root is None:
            raise ChoiceError(f"the neural block of {path!r} is not at hand: it was not saved")
        return copy_block(self._neural.root, path, self.module)

    def _current(self, part: Part) -> dict[int, Equation]:
        if part.lowered is None:
            return {}
        found = read_constants(part.lowered)
        return {
            output: equation
            if np.array_equal(found[output], equation.constants, equal_nan=True)
            else self._scored(part, output, equation.with_constants(found[output]))
            for output, equation in part.equations.items()
        }

    def _scored(self, part: Part, output: int, equation: Equation) -> Equation:
        return scored(part, self._record, output, equation)

    def _part(self, path: str) -> Part:
        if not isinstance(path, str):
            raise ChoiceError(
                f"a region is named by a {type(path).__name__}: expected its path, such as"
                f" {next(iter(self._parts), '.')!r}"
            )
        if path in self._refused:
            refusal = self._refused[path]
            reason = one_line(refusal.reason)
            if refusal.region is not None:
                raise ChoiceError(
                    f"{path!r} is part of the graph that was loaded, and can't be exchanged there"
                    f" ({reason}): compile the model again to choose an equation for it"
                )
            raise ChoiceError(f"{path!r} can't be an equation: {reason}")
        if path not in self._parts:
            raise ChoiceError(f"no region {path!r}: there are {', '.join(self._parts) or 'none'}")
        return self._parts[path]

    def _outputs(self, path: str, part: Part, output: int | None) -> tuple[int, ...]:
        known = part.region.equation_outputs
        if output is None:
            return known
        if output not in known:
            raise ChoiceError(
                f"{path!r} has no output {output!r}: it has {', '.join(map(str, known))}"
            )
        return (output,)

    def _pick(
        self,
        path: str,
        part: Part,
        output: int,
        equation: Equation | sympy.Expr | str | None,
        complexity: int | None,
        rule: str | None,
    ) -> Equation:
        if equation is not None:
            return self._scored(part, output, as_equation(part, equation))
        front = part.fronts.get(output)
        if front is None:
            raise ChoiceError(f"{path!r}, output {output}: there is no Pareto front to choose from")
        try:
            return front.select(rule) if rule is not None else front.at(complexity or 0)
        except ChoiceError as error:
            raise ChoiceError(f"{path!r}, output {output}: {error}") from None
