"""The journal of a distillation: what is finished is on disk, and found again after a crash.

One file for each search, for each front, and for each front that took up the forms of others, named
by all that determines it. The first line is the SHA-256 of the rest, so a file that was damaged, in
whatever way, counts as none. Several processes may share a folder: a file appears as a whole, and
who writes the same name writes the same content.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from symcompile._version import __version__
from symcompile.errors import ArtifactError, EngineError, SymCompileError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.size_limits import check_equation
from symcompile.regression.fit import Fit
from symcompile.regression.pareto import ParetoFront, check_front
from symcompile.storage.files import PART, content, drafted, remove_draft
from symcompile.storage.reading import from_json, or_none, reading

# Raise it when the search or refine changes what a seed gives.
_FORMAT = 8
# Bytes of a file, and steps of work that its equations take to build, beyond which it is none.
_LARGEST, _MOST_WORK = 1 << 26, 200_000
# Seconds after which what a killed process was writing is removed.
_STALE = 3600.0


class Journal:
    """The files of one `run_dir`; without one it knows nothing and keeps nothing."""

    def __init__(self, run_dir: str | os.PathLike[str] | None) -> None:
        """Raises ArtifactError if the folder can't be made."""
        self.run_dir = None if run_dir is None else Path(run_dir)
        if self.run_dir is not None:
            for kind in ("searches", "fronts", "shared"):
                prepare(self.run_dir / kind)

    def check_writable(self) -> None:
        """Raises ArtifactError before anything is searched that could not be kept."""
        if self.run_dir is not None:
            with _writing(self.run_dir), tempfile.TemporaryFile(dir=self.run_dir):
                pass

    def find_search(self, fit: Fit, restart: int) -> list[Equation] | None:
        """What an equal search found."""
        front = self._find("searches", fit, lambda: search_fingerprint(fit, restart))
        return None if front is None else list(front)

    def keep_search(self, fit: Fit, restart: int, equations: Sequence[Equation]) -> None:
        front = ParetoFront(tuple(equations), 0.0)
        self._keep("searches", front, lambda: search_fingerprint(fit, restart))

    def find_front(self, fit: Fit) -> ParetoFront | None:
        """The front of an equal fit."""
        return self._find("fronts", fit, lambda: fingerprint(fit))

    def keep_front(self, fit: Fit, front: ParetoFront) -> None:
        self._keep("fronts", front, lambda: fingerprint(fit))

    def find_shared(
        self, fit: Fit, front: ParetoFront, others: Sequence[Equation]
    ) -> ParetoFront | None:
        """What an equal front became by the forms of equal others."""
        return self._find("shared", fit, lambda: shared_fingerprint(fit, front, others))

    def keep_shared(
        self, fit: Fit, front: ParetoFront, others: Sequence[Equation], shared: ParetoFront
    ) -> None:
        self._keep("shared", shared, lambda: shared_fingerprint(fit, front, others))

    def _find(self, kind: str, fit: Fit, name: Callable[[], str]) -> ParetoFront | None:
        """None where there is no file, and where it does not hold what was once written."""
        if self.run_dir is None:
            return None
        path = self.run_dir / kind / f"{name()}.json"
        front = or_none(lambda: _read(path, ascending=kind != "searches"))
        if front is None or any(equation.symbols != fit.names for equation in front):
            return None
        return front

    def _keep(self, kind: str, front: ParetoFront, name: Callable[[], str]) -> None:
        """What could not be read back is not kept: it is searched for again."""
        if self.run_dir is None:
            return
        try:
            body = json.dumps(front.to_json(text=False), allow_nan=False)
            _check(json.loads(body))
        except (ValueError, SymCompileError):  # the former for a constant that is no number
            return
        text = f"{_sha256(body)}\n{body}"
        path = self.run_dir / kind / f"{name()}.json"
        put(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path, *, ascending: bool = True) -> ParetoFront:
    """What a file holds; what one search found may stand in any order."""
    with reading(path):
        seal, _, body = content(path, _LARGEST).decode().partition("\n")
        if seal != _sha256(body):
            raise ArtifactError("it was damaged")
        return read_front(from_json(body.encode()), ascending=ascending)


def read_front(data: Any, *, ascending: bool = True) -> ParetoFront:
    """What `ParetoFront.to_json` gave; an error of whatever kind if it can't be that."""
    _check(data)
    front = ParetoFront.from_json(data)
    if ascending:
        check_front(front)
    return front


def _check(data: Any) -> None:
    if sum(check_equation(row) for row in data["equations"]) > _MOST_WORK:
        raise ArtifactError("the equations of a journal take too long to build")


def put(path: Path, write: Callable[[Path], object]) -> None:
    """A file of a `run_dir`, which `write` makes at the path that it is given, in the place of what
    is there; unless another process reads that (Windows), or owns it: then it says the same; or it
    is a folder, which says nothing and is left alone."""
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with drafted(path) as draft:
                write(draft)
        except (PermissionError, IsADirectoryError):
            if not path.exists():
                raise


def prepare(folder: Path) -> None:
    """Make a folder of a `run_dir`, if need be, and remove from it what nobody writes any more."""
    with _writing(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)


def _remove_stale(folder: Path) -> None:
    with suppress(OSError):  # another process may be about the same
        for draft in folder.glob(f"*{PART}"):
            if time.time() - draft.lstat().st_mtime > _STALE:
                remove_draft(draft)


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # the latter for a name with a null character
        problem = getattr(error, "strerror", None) or error
        raise ArtifactError(
            f"can't write to run_dir ({str(directory)!r}): {problem}: give a folder that"
            " can be written to, or leave run_dir out"
        ) from error


def search_fingerprint(fit: Fit, restart: int) -> str:
    """SHA-256 over everything that determines what one search finds."""
    arrays = fit.data.X, fit.data.y, fit.data.weights
    return _digest({**_search_settings(fit), "restart": restart}, arrays)


def fingerprint(fit: Fit) -> str:
    """SHA-256 over everything that determines a front: data, options, engine, seed, version."""
    settings = {**_search_settings(fit), "refine": asdict(fit.refine)}
    fitted, held = ((data.X, data.y, data.weights) for data in (fit.data, fit.holdout))
    return _digest(settings, (*fitted, *held, fit.holdout.folds))


def shared_fingerprint(fit: Fit, front: ParetoFront, others: Sequence[Equation]) -> str:
    """SHA-256 over what a front is that takes up forms, and these."""
    fronts = front, ParetoFront(tuple(others), 0.0)
    stored = [json.dumps(front.to_json(text=False)) for front in fronts]
    return _sha256("\n".join([fingerprint(fit), *stored]))


def _search_settings(fit: Fit) -> dict[str, Any]:
    guesses = [guess.to_json(text=False) for guess in fit.guesses]
    return {
        **({"guesses": guesses} if guesses else {}),
        "format": _FORMAT,
        "version": __version__,
        "key": fit.key,
        "names": list(fit.names),
        "engine": fit.engine.describe(),
        "seed": fit.seed,
        "budget": fit.budget,
        "compute": fit.compute,
        **({} if fit.monomials else {"monomials": False}),
        "loss": fit.loss,
    }


def _digest(settings: dict[str, Any], arrays: Sequence[Array | None]) -> str:
    try:
        text = json.dumps(settings, sort_keys=True, default=str)
    except (TypeError, ValueError) as error:  # keys of two types, or a circle
        raise EngineError(f"describe() of the engine gives no plain data: {error}") from error
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        if array is None:
            digest.update(b"none")
        else:
            plain = np.ascontiguousarray(array)
            digest.update(f"{plain.dtype.str}{plain.shape}".encode())
            digest.update(plain.tobytes())
    return digest.hexdigest()
