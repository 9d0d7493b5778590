"""Fitted regions of a `run_dir`: a selection that was ended goes on from those that it has.

One file for each, named by all that determines it: a safetensors file with the samples that its
equations are judged by, which tells region and equations in its header. The header holds the
SHA-256 of all of it, so a file that was damaged, in whatever way, counts as none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from symcompile.errors import ArtifactError
from symcompile.modules.state import digest_tensor
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.codecs import Codec, by_number
from symcompile.storage.files import opened, size
from symcompile.storage.journal import prepare, put, read_front
from symcompile.storage.outcomes import PROVENANCE
from symcompile.storage.reading import from_json, or_none, reading
from symcompile.storage.recording import Recording
from symcompile.storage.tensors import read_tensors

_KEY, _SEAL = "symcompile.fitted", "sha256"
# Whole, as in the journal: an outcome's leaves out what its findings ask the block.
_FRONTS = by_number(Codec(lambda front: front.to_json(text=False), read_front))


@dataclass(frozen=True)
class Fitted:
    """A region, if it could be fitted, and what was found for it.

    Attributes:
        recording: of one region, or of why it was refused.
        fronts: by output; none of a region that was refused.
        described: what made them, as an engine describes itself.
    """

    recording: Recording
    fronts: Mapping[int, ParetoFront]
    described: Mapping[str, Any]


class FittedRegions:
    """Those of one `run_dir`; without one it knows nothing and keeps nothing."""

    def __init__(self, run_dir: str | os.PathLike[str] | None) -> None:
        """Raises ArtifactError if the folder can't be made."""
        self.folder = None if run_dir is None else Path(run_dir) / "regions"
        if self.folder is not None:
            prepare(self.folder)

    def find(self, key: str | None) -> Fitted | None:
        """What was kept under a key; None for no key, and where there is no sound file."""
        if self.folder is None or key is None:
            return None
        path = self.folder / f"{key}.safetensors"
        return or_none(lambda: _read(path))

    def keep(self, key: str | None, fitted: Fitted) -> None:
        """What can't be stored, such as a batch of objects or a front that stayed empty, is not: it
        is fitted again.

        Raises ArtifactError if the folder can't be written to.
        """
        if self.folder is None or key is None:
            return
        try:
            text, tensors = _packed(fitted)
        except (ArtifactError, ValueError):
            return
        from safetensors.torch import save_file

        metadata = {_KEY: text, _SEAL: _seal(text, tensors)}
        path = self.folder / f"{key}.safetensors"
        put(path, lambda draft: save_file(tensors, draft, metadata=metadata))


def _packed(fitted: Fitted) -> tuple[str, dict[str, torch.Tensor]]:
    header, tensors = fitted.recording.pack()
    found = {
        "recording": header,
        "fronts": _FRONTS.write(fitted.fronts),
        "described": PROVENANCE.write(fitted.described),
    }
    return json.dumps(found, allow_nan=False), tensors


def _read(path: Path) -> Fitted:
    with reading(path), opened(path) as file:
        tensors, metadata = read_tensors(file, size(file))
        text = metadata[_KEY]
        if metadata[_SEAL] != _seal(text, tensors):
            raise ArtifactError("it was damaged")
        found = from_json(text.encode())
        return Fitted(
            Recording.unpack(found["recording"], tensors),
            _FRONTS.read(found["fronts"]),
            PROVENANCE.read(found["described"]),
        )


def _seal(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest_tensor(digest, name, tensors[name])
    return digest.hexdigest()
