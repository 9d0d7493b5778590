"""A comparison as workflow commands, which GitHub shows as annotations.

An error for each violation, a notice for each difference that the rules allow, a warning for what
could not be compared.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from symcompile.diff.formats.equation_lines import sides
from symcompile.diff.formats.figures import block_name, label, name, plain
from symcompile.diff.formats.words import (
    class_title,
    gravest_first,
    largest_change,
    model_differs,
    model_remarks,
    node_counts,
    notes,
    parted,
    quiet,
    summary,
    untouched,
    verdict,
)
from symcompile.diff.result import BlockDiff, EquationDiff, GraphDiff
from symcompile.errors import ArtifactError
from symcompile.report.notes import cut
from symcompile.storage.files import content

_FILES = ("artifact", "manifest", "ONNX")
_TITLE, _MESSAGE = 120, 400
_MAX_MANIFEST = 64 * 2**20
_KEY = re.compile(r'( *)("(?:[^"\\]|\\.)*"): ')

# Number of the line on which a manifest has the equation of (block, output).
Places = Mapping[tuple[str, str], int]


class _Annotation(NamedTuple):
    title: str
    message: str
    line: int | None = None


def to_annotations(diff: GraphDiff, *, file: str | None = None, limit: int = 10) -> str:
    """One workflow command a line.

    Args:
        file: which file they speak of, as the repository has it; the new side's by default. In a
            manifest that is there they point at the lines of the equations.
        limit: at most so many of each kind, since GitHub shows no more of a step; the last says how
            many there are beyond it.
    """
    source = file or (diff.new.source if diff.new.kind in _FILES else None)
    places = _places(source)
    kinds = {
        "error": list(_violations(diff, places)),
        "warning": [
            _Annotation("Not everything compared", cut(note, _MESSAGE)) for note in notes(diff)
        ],
        "notice": list(_allowed(diff, places)),
    }
    if not (kinds["error"] or kinds["notice"]):
        kinds["notice"] = [_Annotation(verdict(diff), summary(diff))]
    return "\n".join(
        _command(kind, one, source)
        for kind, found in kinds.items()
        for one in _limited(found, max(limit, 1))
    )


# --- what is said --------------------------------------------------------------------------------


def _violations(diff: GraphDiff, places: Places) -> Iterator[_Annotation]:
    blocks = {block.path: block for block in diff.blocks}
    equations = {one.place: one for one in diff.equations}
    for one in diff.violations:
        title = f"{plain(one.rule)}: {name(one.where)}"
        if one.where in equations:
            yield _of_equation(title, one.message, equations[one.where], places)
        elif one.where in blocks:
            line = _first_line(blocks[one.where], places)
            yield _Annotation(title, cut(plain(one.message), _MESSAGE), line)
        else:
            yield _Annotation(title, cut(plain(one.message), _MESSAGE))


def _of_equation(title: str, message: str, one: EquationDiff, places: Places) -> _Annotation:
    # Both equations are shown on lines of their own.
    repeats = one.old and one.new and one.old.text in message and one.new.text in message
    said = "another form" if repeats else plain(message)
    return _Annotation(title, _with_texts(said, one), _line(one, places))


def _with_texts(said: str, one: EquationDiff) -> str:
    signs = {" ": "-"}
    lines = [
        f"{signs.get(sign, sign)} {cut(plain(text), _MESSAGE)}" for sign, text, _ in sides(one)
    ]
    return "\n".join([cut(said, _MESSAGE), *lines])


def _allowed(diff: GraphDiff, places: Places) -> Iterator[_Annotation]:
    """Differences that no rule forbids, the gravest first."""
    told = {one.where for one in diff.violations}
    for block in gravest_first(diff):
        names = {block.path, *(one.place for one in block.equations)}
        if not (quiet(block) or names & told):
            yield _of_block(block, places)
    if not diff.nodes.same and "graph" not in told:
        yield _Annotation("graph around the equations", node_counts(diff.nodes))
    if model_differs(diff.model) and "model" not in told:
        remarks = [f"{first}: {text}" for first, text in model_remarks(diff.model)]
        yield _Annotation("model", "\n".join(cut(one, _MESSAGE) for one in remarks))


def _of_block(block: BlockDiff, places: Places) -> _Annotation:
    title = f"{block_name(block.path)}: {class_title(block.change)}"
    loud, _ = parted(block)
    if not loud:
        sentences = block.signature or block.notes or (block.change,)
        return _Annotation(title, cut(plain("; ".join(sentences)), _MESSAGE))
    change = largest_change(block)
    said = f"{label(loud[0].output)}: {class_title(loud[0].change)}"
    said += f", by up to {change}" if change else ""
    said += f"; and {len(loud) - 1:,} more outputs" if len(loud) > 1 else ""
    return _Annotation(title, _with_texts(said, loud[0]), _line(loud[0], places))


def _limited(found: Sequence[_Annotation], limit: int) -> list[_Annotation]:
    if len(found) <= limit:
        return list(found)
    more = len(found) - limit + 1
    message = f"{more:,} more like these: see the whole comparison in the log or the job summary"
    return [*found[: limit - 1], _Annotation(f"{more:,} more", message)]


# --- where ---------------------------------------------------------------------------------------


def _line(one: EquationDiff, places: Places) -> int | None:
    return places.get((one.path, str(one.output)))


def _first_line(block: BlockDiff, places: Places) -> int | None:
    """That of its gravest equation, else of the first one that the file has."""
    ordered = sorted(block.equations, key=untouched)
    return next((line for one in ordered if (line := _line(one, places))), None)


def _places(path: str | None) -> Places:
    """Lines of the equations, of a manifest with each key on a line of its own; else nothing."""
    try:
        text = "" if path is None else content(path, _MAX_MANIFEST).decode(errors="replace")
        return dict(_equation_lines(iter(text.split("\n")))) if text[:1] == "{" else {}
    except (OSError, ValueError, ArtifactError):  # it is gone, too long, or no JSON
        return {}


def _equation_lines(lines: Iterator[str]) -> Iterator[tuple[tuple[str, str], int]]:
    above: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        match = _KEY.match(line)
        if match is None:
            continue
        depth = len(match[1])
        while above and above[-1][0] >= depth:
            above.pop()
        above.append((depth, match[2]))
        if len(above) == 5 and above[4][1] == '"equation"' and above[0][1] == '"regions"':
            region, output = (json.loads(above[k][1], strict=False) for k in (1, 3))
            yield (region, output), number


# --- workflow commands ---------------------------------------------------------------------------


def _command(kind: str, one: _Annotation, source: str | None) -> str:
    properties = {} if source is None else {"file": _relative(source)}
    if source is not None and one.line is not None:
        properties["line"] = str(one.line)
    properties["title"] = cut(one.title, _TITLE)
    shown = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{kind} {shown}::{_data(one.message)}"


def _relative(path: str) -> str:
    """As the repository has it, if that is where we stand."""
    here = os.getcwd() + os.sep
    inside = path[len(here) :] if path.startswith(here) else path
    return plain(inside).replace(os.sep, "/")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
