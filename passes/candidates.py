"""Candidates of a selection: regions with their equations, fitted on the model as it is by then.

With a `run_dir` each is kept once it is fitted, under a name that says all that determines it, and
is not fitted again. What no name can tell, the code of the model and of the objective, is told by
what both give on the first batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from symcompile._version import __version__
from symcompile.assembly import Assembly
from symcompile.fidelity.acceptance import default_choice
from symcompile.lowering.block import Lowered
from symcompile.modules.batches import as_batches
from symcompile.modules.calling import Batch, evaluating, run, without_gradients
from symcompile.modules.objective import loss_of
from symcompile.modules.region import Region
from symcompile.modules.results import floats
from symcompile.modules.samples import Samples
from symcompile.modules.state import digest_tensor, fingerprint, preserving, same_random_state
from symcompile.options import Options
from symcompile.passes.chains import fitting_passes
from symcompile.pipeline import Known, Refined, Request
from symcompile.regression.engines import Engine
from symcompile.storage.fitted import Fitted, FittedRegions
from symcompile.storage.recording import Recording
from symcompile.target import Target

# Raise it when fits change what they give for equal settings.
_FORMAT = 2
_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device)


@dataclass(frozen=True)
class Candidate:
    """A region with equations, fitted on some model.

    Attributes:
        samples: that its equations are judged by.
        known: its equations.
        batches, batches_are: as those of a recording.
    """

    region: Region
    samples: Samples
    known: Known
    engine: Engine
    batches: tuple[Batch, ...]
    batches_are: str

    def lowered(self, root: nn.Module) -> Lowered:
        """What is to stand in the region's place in this model."""
        path = self.region.path
        recording = Recording({path: self.region}, {path: self.samples})
        equations = default_choice(self.region, self.known.fronts)
        equations = {k: equation.with_exact_exponents() for k, equation in equations.items()}
        return Assembly(root, root, recording).lower(self.region, equations)


class Candidates:
    """Fits them, or finds what was fitted before.

    Args:
        request: its data can be gone through more than once.
        kept: samples of each region that are kept.
        kept_batches: batches of the whole model that are kept.

    Attributes:
        refused: reason of each region that can't be replaced, by path.
    """

    def __init__(self, request: Request, options: Options, kept: int, kept_batches: int) -> None:
        self.request, self.options = request, options
        self.kept, self.kept_batches = kept, kept_batches
        self.refused: dict[str, str] = {}
        self._store = FittedRegions(options.run_dir)
        self._data = None if options.run_dir is None else self._digest_of_data()

    def fitted(self, model: nn.Module, places: Mapping[str, Target]) -> dict[str, Candidate]:
        """Those of some regions that could be fitted, as this model has them; errors as of a
        compile."""
        # A place is a target of its own, whatever pattern it was met by.
        targets = {path: replace(target, path=path) for path, target in places.items()}
        names = self._names(model, targets)
        known = {path: self._store.find(name) for path, name in names.items()}
        if missing := [path for path, found in known.items() if found is None]:
            asked = tuple(targets[path] for path in missing)
            request = Request(model, asked, self.request.data)
            state, _ = fitting_passes(self.options).run(request)
            for path in missing:
                known[path] = found = self._found(path, state)
                self._store.keep(names[path], found)
        read = {path: self._candidate(path, found) for path, found in known.items() if found}
        return {path: candidate for path, candidate in read.items() if candidate is not None}

    def _found(self, path: str, state: Refined) -> Fitted:
        recording = state.recording
        if path in recording.refused:
            return Fitted(Recording({}, {}, {path: recording.refused[path]}), {}, {})
        fronts, engine = state.fronts[path], state.engines[path]
        known = state.known.get(path) or Known(fronts, engine.describe())
        alone = Recording(
            {path: recording.regions[path]},
            {path: recording.samples[path].thinned(self.kept)},
            batches=recording.batches[: self.kept_batches],
            batches_are=recording.batches_are,
        )
        return Fitted(alone, known.fronts, known.described)

    def _candidate(self, path: str, found: Fitted) -> Candidate | None:
        if path in found.recording.refused:
            self.refused[path] = found.recording.refused[path]
            return None
        region, fronts = found.recording.regions[path], found.fronts
        if set(default_choice(region, fronts)) != set(region.equation_outputs):
            why = next((front.reason for front in fronts.values() if not front), "")
            self.refused[path] = why or "the search found no usable equation"
            return None
        recording, known = found.recording, Known(fronts, found.described)
        return Candidate(
            region,
            recording.samples[path],
            known,
            self.options.engine_for(region.target),
            recording.batches,
            recording.batches_are,
        )

    # --- names ---------------------------------------------------------------------------------

    def _names(self, model: nn.Module, targets: Mapping[str, Target]) -> dict[str, str | None]:
        """What determines the fit of each place, hashed; None where that can't be told."""
        if self._data is None:
            return dict.fromkeys(targets)
        of_model = [__version__, str(_FORMAT), fingerprint(model), self._data, self._probe(model)]
        return {path: self._name(target, of_model) for path, target in targets.items()}

    def _name(self, target: Target, of_model: list[str]) -> str | None:
        options = self.options
        # A warm start is an object: what it holds can't be told from what it is printed as.
        if options.warm_start is not None or options.guesses_for(target) is not None:
            return None
        settings = [
            repr(target),
            options.engine_for(target).describe(),
            options.rule_for(target),
            repr(options.units_for(target)),
            *(getattr(options, name) for name in ("n_samples", "holdout", "seed", "budget")),
            options.loss,
            options.objective is not None,
            self.kept,
            self.kept_batches,
        ]
        try:
            text = json.dumps([*of_model, settings], sort_keys=True)
        except (TypeError, ValueError):  # an engine that describes itself by objects
            return None
        return hashlib.sha256(text.encode()).hexdigest()

    def _digest_of_data(self) -> str | None:
        """None for data with objects in them that nobody can look into."""
        digest = hashlib.sha256()
        if self.request.data is None:
            return digest.hexdigest()
        if isinstance(self.request.data, Recording):
            return None
        _, batches = as_batches(self.request.data, self.request.model)
        for batch in batches:
            leaves, structure = pytree.tree_flatten(batch)
            digest.update(str(structure).encode())
            for leaf in leaves:
                if isinstance(leaf, torch.Tensor):
                    digest_tensor(digest, "", leaf)
                elif leaf is None or isinstance(leaf, _PLAIN):
                    digest.update(repr(leaf).encode())
                else:
                    return None
        return digest.hexdigest()

    def _probe(self, model: nn.Module) -> str:
        """What the model and the objective give on the first batch."""
        digest = hashlib.sha256()
        if self.request.data is not None:
            first, _ = as_batches(self.request.data, model)
            with evaluating(model), preserving(model), same_random_state():
                result: Any = without_gradients(lambda: run(model, first))
                found = floats(result)
                if self.options.objective is not None:
                    found = [*found, loss_of(self.options.objective, result, first)]
            for tensor in found:
                digest_tensor(digest, "", tensor)
        return digest.hexdigest()
