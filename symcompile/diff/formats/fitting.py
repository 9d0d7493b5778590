"""Leave parts of a page out until it fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """A piece of a page that is shown as a whole or not at all.

    Attributes:
        rank: those of the highest rank go first, among them the last; 0 stays.
        what: what is missing without it, to be counted: "row", "list of nodes".
        glue: what stands between it and the part before.
    """

    text: str
    rank: int
    what: str = ""
    glue: str = "\n\n"


def fitted(parts: Sequence[Part], limit: int) -> str:
    """The parts on one page of at most `limit` characters, and a line on what was left out."""
    order = sorted(range(len(parts)), key=lambda k: (parts[k].rank, k))
    size = sum(len(part.text) + len(part.glue) for part in parts)
    missing: Counter[str] = Counter()
    while order and parts[order[-1]].rank and size + len(left_out(missing)) > limit:
        part = parts[order.pop()]
        size -= len(part.text) + len(part.glue)
        missing[part.what] += 1
    page = ""
    for part in (parts[k] for k in sorted(order)):
        page += (part.glue if page else "") + part.text
    return page + left_out(missing)


def left_out(missing: Counter[str]) -> str:
    if not missing:
        return ""
    words = [f"{what} ({n:,})" if n > 1 else what for what, n in sorted(missing.items())]
    return f"\n\n_Left out for want of room: {', '.join(words)}._"
