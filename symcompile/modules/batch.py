"""A batch: the arguments of one call of a model; and where a region sits in a hybrid."""

from __future__ import annotations

from typing import Any, NamedTuple

# Where a region for the whole model (".") sits in the hybrid.
WHOLE = "body"


class Batch(NamedTuple):
    """Arguments of one call of a model."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def submodule_path(path: str) -> str:
    """Where the block of a region sits in the hybrid module."""
    return WHOLE if path == "." else path
