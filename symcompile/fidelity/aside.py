"""Side measurements: those that a compile can do without.

They run a user's modules in ways in which nobody has run them before: on inputs beyond the recorded
ones, backwards, with a linear map in the place of a block. A module may have its reasons not to
allow that. Then the figure is missing, the report says why, and nothing else happens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from symcompile.errors import described

T = TypeVar("T")


class Asides:
    """Makes side measurements.

    Attributes:
        unmeasured: why there is no figure, by what could not be measured.
    """

    def __init__(self, unmeasured: Mapping[str, str] | None = None) -> None:
        self.unmeasured = dict(unmeasured or {})

    def get(self, what: str, measure: Callable[[], T]) -> T | None:
        """The measurement, or None where it can't be made."""
        try:
            return measure()
        except Exception as error:  # whatever a user's forward raises
            self.unmeasured.setdefault(what, described(error))
            return None
