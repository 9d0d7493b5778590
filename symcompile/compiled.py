"""The result of a compile: the hybrid model, its equations, and what can be done with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import sympy
import torch

from symcompile.assembly import Assembly, InstalledBlock, as_equation, reassembled
from symcompile.errors import ChoiceError, ExportError, one_line
from symcompile.expressions.equation import Equation
from symcompile.fidelity.acceptance import default_choice
from symcompile.fidelity.measuring import does_not_run
from symcompile.fidelity.outcome import OVERRULED, RULE, Outcome, Refusal, Rewrite, check_constants
from symcompile.lowering.block import own_parameters, trainable
from symcompile.modules.batches import as_batch
from symcompile.modules.calling import Batch
from symcompile.modules.objective import Objective
from symcompile.passes.finetune import finetune
from symcompile.passes.select import Ranking
from symcompile.passes.simplify import Adapt, Trial, check, simplified
from symcompile.pipeline import LogEntry
from symcompile.regression.pareto import ParetoFront
from symcompile.report import Report
from symcompile.storage import artifact
from symcompile.storage.files import path_text
from symcompile.storage.reading import reading, wall
from symcompile.storage.recording import Recording
from symcompile.target import is_count, is_positive


class Compiled:
    """A hybrid model and everything known about it.

    Attributes:
        module: the hybrid: same call signature as the original, differentiable, trainable. It holds
            no parameter of a replaced block. `choose` and `restore` change it in place.
        fronts: for each region path, the Pareto front of each output.
        capture: how the model was captured: "fx", "module boundaries", "whole model" or "artifact".
        example: a batch of the model's inputs, or None.
        log: the passes that made it, with the seconds that each took; empty after loading.
        selection: how targets were ranked by `select=`; None without, and after loading.
    """

    def __init__(
        self,
        assembly: Assembly,
        blocks: Mapping[str, InstalledBlock],
        refused: Mapping[str, Refusal],
        log: tuple[LogEntry, ...] = (),
    ) -> None:
        self.module = assembly.module
        self.log = log
        self._assembly = assembly
        self._blocks = dict(blocks)
        self._refused = dict(refused)
        self.selection: Ranking | None = None
        self._trainable = False
        self._source: str | None = None  # the file that it was loaded from

    # --- what it shows -----------------------------------------------------------------------

    @property
    def fronts(self) -> dict[str, Mapping[int, ParetoFront]]:
        outcomes = {path: block.outcome for path, block in self._blocks.items()} | self._refused
        return {p: outcome.fronts for p, outcome in outcomes.items() if outcome.region is not None}

    @property
    def equations(self) -> dict[str, dict[int, Equation]]:
        """The equations in the hybrid, by region path and output, with constants as trained."""
        return {
            path: self._assembly.equations(block)
            for path, block in self._blocks.items()
            if block.lowered is not None
        }

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Rewrite or refusal of each region; measured again after constants were trained."""
        for path, block in self._blocks.items():
            self._blocks[path] = self._assembly.measured_again(block)
        return {path: block.outcome for path, block in self._blocks.items()} | self._refused

    @property
    def report(self) -> Report:
        """What was replaced by what, and how well: prints as a table, HTML in notebooks."""
        outcomes = self.outcomes
        several = sum(isinstance(outcome, Rewrite) for outcome in outcomes.values()) > 1
        change = self.end_to_end() if several else float("nan")
        return Report(outcomes, self.capture, self.recording.note, change)

    @property
    def capture(self) -> str:
        return self.recording.capture

    @property
    def example(self) -> Batch | None:
        return next(iter(self.recording.batches), None)

    @property
    def recording(self) -> Recording:
        """What the regions saw and gave, as it was recorded for this compile."""
        return self._assembly.recording

    def end_to_end(self) -> float:
        """Relative L2 change of the model's output on held-out data, all targets replaced.

        NaN where the compiler never saw data for the model itself.
        """
        change = self._assembly.change()
        return float("nan") if change is None else change.equation

    def __repr__(self) -> str:
        lines = []
        for path, outcome in self.outcomes.items():
            if isinstance(outcome, Rewrite):
                lines += [f"  {path}[{k}] = {e}" for k, e in outcome.equations.items()]
            else:
                lines.append(f"  {path}: neural ({outcome.reason})")
        # Of a loaded model any of it may be what a stranger wrote.
        return "\n".join(map(one_line, [f"Compiled({type(self.module).__name__})", *lines]))

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
            equation: an Equation of the front, or an expression of one's own in the region's
                variables (its features, else its inputs).
            complexity, rule: or take that of this complexity from the front, or that which a rule
                of ParetoFront.select picks.
            output: the output meant; None means all of them.

        Raises ChoiceError for an unknown path, output or complexity (those there are get listed),
        or if the model does not run with the equation in place, and ExpressionError for an
        expression in something else than the region's variables. Nothing is changed then.
        """
        block = self._block(path)
        outputs = _outputs(block, output)
        if (equation is None) + (complexity is None) + (rule is None) != 2:
            raise ChoiceError(
                f"choose({path!r}, ...) takes one of an equation, complexity= or rule="
            )
        if equation is None:
            chosen = {number: _from_front(block, number, complexity, rule) for number in outputs}
        else:
            own = as_equation(block, equation)
            chosen = self._assembly.scored(block, dict.fromkeys(outputs, own))
        before = self._assembly.installed(block.region)
        self._install(path, self._completed(block, chosen))
        error = self._assembly.failure()
        if error is not None:
            self._assembly.put(block.region, before)
            self._blocks[path] = block
            raise does_not_run(path, error) from error

    def simplify(
        self, path: str, adapt: Adapt, *, tolerance: float = 0.01, enough: float | None = None
    ) -> tuple[Trial, ...]:
        """Leave out of a region's equations what the rest of the model can make up for.

        Inputs, constants and terms of sums are left out on trial, and the model is trained around
        what is left; where its own loss does not get worse they stay out. This finds the law where
        a block gives the law and something that the next block takes away again. A constant first
        goes into the biases of linear layers behind, where these take it up exactly. Equations that
        are not `enough` give way to those of the rule "plateau", or to fits that need no search; in
        the end outputs take up what others consist of, as far as samples show it. Nothing is added
        to what `choose` has put in place.

        Args:
            adapt: trains the module that it is given for a while, in place, and returns a loss on
                held-out data. Called for the equations as they are and for each trial, every time
                with a copy of the module as it is now, and the same random numbers. Constants train
                along after `trainable_constants(True)`.
            tolerance: share by which the loss of a shorter form may be above the lowest met.
            enough: a loss that is good enough, on the same data: forms that reach it are taken,
                even if longer ones do better. The neural model's own is a natural choice.

        Returns what was tried, in order. The module then has the equations and the weights of the
        last one kept: it has been trained, even if nothing could be left out.

        Raises ChoiceError if the path is unknown, the region neural or a constant not finite, or if
        `adapt` gives no number, or none that is finite for the equations as they are. Nothing is
        changed then, nor by what `adapt` raises.
        """
        check(adapt, tolerance, enough)
        block = self._block(path)
        if block.lowered is None:
            raise ChoiceError(f"{path!r} is neural: choose an equation for it first")
        check_constants({path: self.outcomes[path]}, ChoiceError)
        trains = self._trainable
        best, trials = simplified(self._assembly, block, adapt, tolerance, enough, trains=trains)
        self._install(path, best.equations)
        # A copy of a traced module stores constants of its graph which the module itself does not.
        self.module.load_state_dict({key: best.state[key] for key in self.module.state_dict()})
        return trials

    def finetune(
        self,
        data: Any,
        objective: Objective,
        *,
        steps: int = 100,
        learning_rate: float = 2e-4,
        lora: Any = None,
    ) -> tuple[float, ...]:
        """Train all that stands in the regions' places together: projections, affine maps and
        constants, and nothing else of the model.

        Args:
            data: batches as for `symcompile`, one for each step, gone through again where they are
                fewer.
            objective: what the model is to minimise, as for `symcompile`.
            steps: of Adam, with one cycle of step sizes up to `learning_rate`.
            lora: a `peft.LoraConfig`: low-rank updates of the layers that it names are trained
                along, and merged into the hybrid.

        Returns the loss of each step, before it was made.

        Raises ChoiceError if no target is replaced, an option makes no sense, or a loss is not
        finite (equations and layers are then as they were), DataError for no data or an objective
        that gives no number of what is trained, EngineError if peft is missing.
        """
        if not is_count(steps) or not is_positive(learning_rate):
            raise ChoiceError(
                f"finetune with steps={steps!r} and learning_rate={learning_rate!r}: expected a"
                " whole number from 1 and a number above 0"
            )
        trains = self._trainable
        self.trainable_constants(True)
        try:
            blocks = [one.lowered.module for one in self._blocks.values() if one.lowered]
            own = [parameter for block in blocks for parameter in own_parameters(block)]
            options = {"steps": steps, "learning_rate": learning_rate, "lora": lora}
            return finetune(self.module, own, data, objective, **options)
        finally:
            self.trainable_constants(trains)

    def restore(self, path: str) -> None:
        """Put a copy of the neural block back in a region's place.

        Raises ChoiceError for an unknown path, or where the neural block isn't at hand.
        """
        reason = "restored: the neural block was put back by restore()"
        self._blocks[path] = self._assembly.restore(self._block(path), reason)

    def trainable_constants(self, trainable_: bool = True, /) -> Compiled:
        """Make the constants of all equations nn.Parameters (or fixed buffers again).

        `equations` shows the trained values. Exact numbers such as 2 and pi stay as they are.
        """
        self._trainable = bool(trainable_)
        for block in self._blocks.values():
            if block.lowered is not None:
                trainable(block.lowered.module, self._trainable)
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
        return artifact.write(
            path,
            self,
            self._assembly.root if original else None,
            example=None if example is None else as_batch(example, self.module),
            recording=self.recording,
            notes={"trainable": self._trainable, "note": self.recording.note},
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Compiled:
        """Read what `save` wrote. Nothing of the file is executed.

        Raises ArtifactError if it is missing, damaged, or of a newer version.
        """
        with reading(path):
            loaded = artifact.read(path, device)
            compiled = cls(*reassembled(loaded))
            compiled.trainable_constants(bool(loaded.notes.get("trainable")))
        compiled._source = path_text(path)
        return compiled

    def export(self, path: str | os.PathLike[str], **options: Any) -> Any:
        """Write an ONNX file or a manifest, as the ending (.onnx, .json) says.

        Options are those of `symcompile.exporters.onnx` and `.manifest`, and so is the result.
        Raises ExportError if the format can't hold the model, or the file does not agree with it.
        """
        from symcompile.exporters import export

        if self._source is None:
            return export(self, path, **options)
        with wall("can't export the model of", self._source, kind=ExportError):
            return export(self, path, **options)

    # --- one region --------------------------------------------------------------------------

    def _completed(
        self, block: InstalledBlock, chosen: Mapping[int, Equation]
    ) -> dict[int, Equation]:
        """Other outputs keep their equations, or get the default ones where they are neural."""
        others = self._assembly.equations(block)
        if block.lowered is None:
            others = default_choice(block.region, block.outcome.fronts)
        for number in block.region.equation_outputs:
            if number not in {**others, **chosen}:
                raise ChoiceError(
                    f"{block.region.path!r} has no equation for output {number}: choose one for it"
                    " as well"
                )
        return {**others, **chosen}

    def _install(self, path: str, equations: Mapping[int, Equation]) -> None:
        """Lower, measure, and only then change the hybrid."""
        block = self._assembly.as_trained(self._blocks[path])
        equations = {k: equation.with_exact_exponents() for k, equation in equations.items()}
        lowered = self._assembly.lower(block.region, equations)
        before = block.outcome
        comparison = self._assembly.comparison(block.region, before.fidelity)
        fidelity = comparison.measure(equations, lowered)
        self._assembly.put(block.region, lowered.module)
        # How the compiler came to its choice has nothing to do with the user's.
        provenance = {k: v for k, v in before.provenance.items() if k not in (OVERRULED, RULE)}
        outcome = self._assembly.rewrite(block.region, lowered, fidelity, before.fronts, provenance)
        self._blocks[path] = replace(block, outcome=outcome, lowered=lowered)
        trainable(lowered.module, self._trainable)

    def _block(self, path: str) -> InstalledBlock:
        if not isinstance(path, str):
            raise ChoiceError(
                f"a region is named by a {type(path).__name__}: expected its path, such as"
                f" {next(iter(self._blocks), '.')!r}"
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
        if path not in self._blocks:
            raise ChoiceError(f"no region {path!r}: there are {', '.join(self._blocks) or 'none'}")
        return self._blocks[path]


def _outputs(block: InstalledBlock, output: int | None) -> tuple[int, ...]:
    outputs = block.region.equation_outputs
    if output is None:
        return outputs
    if output not in outputs:
        raise ChoiceError(
            f"{block.region.path!r} has no output {output!r}: it has {', '.join(map(str, outputs))}"
        )
    return (output,)


def _from_front(
    block: InstalledBlock, output: int, complexity: int | None, rule: str | None
) -> Equation:
    where = f"{block.region.path!r}, output {output}"
    front = block.outcome.fronts.get(output)
    if front is None:
        raise ChoiceError(f"{where}: there is no Pareto front to choose from")
    try:
        return front.select(rule) if rule is not None else front.at(complexity or 0)
    except ChoiceError as error:
        raise ChoiceError(f"{where}: {error}") from None
