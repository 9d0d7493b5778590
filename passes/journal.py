"""The journal of a distillation: finished fronts on disk, found again after a crash."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symcompile._version import __version__
from symcompile.errors import ArtifactError, SymCompileError
from symcompile.evaluation import Array
from symcompile.pareto import ParetoFront

if TYPE_CHECKING:
    from symcompile.passes.distill import Fit

# Raise it when the search or refine changes what a seed gives.
_FORMAT = 4


class Journal:
    """One JSON file for each finished fit in `directory/fronts`."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory) / "fronts"
        with _writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)

    def find(self, fit: Fit) -> ParetoFront | None:
        """The front of an equal fit; a damaged file counts as none."""
        path = self.directory / f"{fingerprint(fit)}.json"
        try:
            return ParetoFront.from_json(json.loads(path.read_text(encoding="utf-8"))["front"])
        except (OSError, ValueError, KeyError, TypeError, SymCompileError):
            return None

    def keep(self, fit: Fit, front: ParetoFront) -> None:
        """Write a front so that a reader sees all of it or nothing."""
        text = json.dumps({"key": fit.key, "front": front.to_json()}, indent=1)
        with _writing(self.directory):
            handle, name = tempfile.mkstemp(dir=self.directory, suffix=".part")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                os.replace(name, self.directory / f"{fingerprint(fit)}.json")
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"can't write to run_dir ({directory}): {error.strerror or error}: give a folder that"
            " can be written to, or leave run_dir out"
        ) from error


def fingerprint(fit: Fit) -> str:
    """SHA-256 over everything that determines a front: data, options, engine, seed, version."""
    digest = hashlib.sha256()
    settings = {
        "format": _FORMAT,
        "version": __version__,
        "key": fit.key,
        "names": list(fit.names),
        "engine": fit.engine.describe(),
        "seed": fit.seed,
        "budget": fit.budget,
        "refine": asdict(fit.refine),
        "loss": fit.loss,
    }
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    arrays: list[Array | None] = [fit.X_fit, fit.y_fit, fit.weights]
    for array in [*arrays, fit.X_holdout, fit.y_holdout, fit.holdout_weights]:
        _update(digest, array)
    return digest.hexdigest()


def _update(digest: Any, array: Array | None) -> None:
    if array is None:
        digest.update(b"none")
        return
    array = np.ascontiguousarray(array)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.tobytes())
