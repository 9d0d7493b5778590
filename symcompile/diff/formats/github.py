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

from symcompile.diff.formats import figures, words
from symcompile.diff.formats.equation_lines import sides
from symcompile.diff.formats.figures import plain
from symcompile.diff.result import BlockDiff, EquationDiff, GraphDiff
from symcompile.errors import ArtifactError
from symcompile.report.plain_text import cut
from symcompile.storage.files import content

_FILES = ("artifact", "manifest", "ONNX")
_TITLE, _MESSAGE = 120, 400
_MAX_MANIFEST = 64 * 2**20
_KEY = re.compile(r'( *)("(?:[^"\\]|\\.)*"): ')

# Number of the line on which a manifest has the equation of (block, output).
Lines = Mapping[tuple[str, str], int]


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
    lines = _lines(source)
    notes = words.notes(diff)
    kinds = {
        "error": list(_violations(diff, lines)),
        "warning": [_Annotation("Not everything compared", cut(note, _MESSAGE)) for note in notes],
        "notice": list(_allowed(diff, lines)),
    }
    if not (kinds["error"] or kinds["notice"]):
        kinds["notice"] = [_Annotation(words.verdict(diff), words.summary(diff))]
    return "\n".join(
        _command(kind, annotation, source)
        for kind, annotations in kinds.items()
        for annotation in _limited(annotations, max(limit, 1))
    )


# --- what is said --------------------------------------------------------------------------------


def _violations(diff: GraphDiff, lines: Lines) -> Iterator[_Annotation]:
    blocks = {block.path: block for block in diff.blocks}
    equations = {equation.place: equation for equation in diff.equations}
    for violation in diff.violations:
        title = f"{plain(violation.rule)}: {figures.name(violation.where)}"
        said = plain(violation.message)
        equation = equations.get(violation.where)
        if equation is None:
            # That of its gravest equation, else of the first one that the file has.
            block = blocks.get(violation.where)
            ordered = sorted(block.equations, key=words.untouched) if block else []
            numbers = (number for shown in ordered if (number := _line(shown, lines)))
            yield _Annotation(title, cut(said, _MESSAGE), next(numbers, None))
            continue
        texts = [text for text in equation.both("text") if text is not None]
        if len(texts) == 2 and all(text in violation.message for text in texts):
            said = "another form"  # both equations are shown on lines of their own
        yield _with_texts(title, said, equation, lines)


def _with_texts(title: str, said: str, equation: EquationDiff, lines: Lines) -> _Annotation:
    texts = [f"{sign.replace(' ', '-')} {cut(plain(text), _MESSAGE)}"
             for sign, text, _ in sides(equation)]  # fmt: skip
    message = "\n".join([cut(said, _MESSAGE), *texts])
    return _Annotation(title, message, _line(equation, lines))


def _allowed(diff: GraphDiff, lines: Lines) -> Iterator[_Annotation]:
    """Differences that no rule forbids, the gravest first."""
    forbidden = {violation.where for violation in diff.violations}
    for block in words.gravest_first(diff):
        names = {block.path, *(equation.place for equation in block.equations)}
        if not (words.quiet(block) or names & forbidden):
            yield _of_block(block, lines)
    if not diff.nodes.same and "graph" not in forbidden:
        yield _Annotation("graph around the equations", words.node_counts(diff.nodes))
    if words.model_differs(diff.model) and "model" not in forbidden:
        remarks = [f"{first}: {text}" for first, text in words.model_remarks(diff.model)]
        yield _Annotation("model", "\n".join(cut(remark, _MESSAGE) for remark in remarks))


def _of_block(block: BlockDiff, lines: Lines) -> _Annotation:
    title = f"{figures.block_name(block.path)}: {words.class_title(block.change)}"
    loud, _ = words.parted(block)
    if not loud:
        sentences = block.signature or block.notes or (block.change,)
        return _Annotation(title, cut(plain("; ".join(sentences)), _MESSAGE))
    change = words.largest_change(block)
    said = f"{figures.label(loud[0].output)}: {words.class_title(loud[0].change)}"
    said += f", by up to {change}" if change else ""
    said += f"; and {len(loud) - 1:,} more outputs" if len(loud) > 1 else ""
    return _with_texts(title, said, loud[0], lines)


def _limited(annotations: Sequence[_Annotation], limit: int) -> list[_Annotation]:
    if len(annotations) <= limit:
        return list(annotations)
    more = len(annotations) - limit + 1
    message = f"{more:,} more like these: see the whole comparison in the log or the job summary"
    return [*annotations[: limit - 1], _Annotation(f"{more:,} more", message)]


# --- where ---------------------------------------------------------------------------------------


def _line(equation: EquationDiff, lines: Lines) -> int | None:
    return lines.get((equation.path, str(equation.output)))


def _lines(path: str | None) -> Lines:
    """Lines of the equations, of a manifest with each key on a line of its own; else nothing."""
    try:
        text = "" if path is None else content(path, _MAX_MANIFEST).decode(errors="replace")
        return dict(_equation_lines(text.split("\n"))) if text[:1] == "{" else {}
    except (OSError, ValueError, ArtifactError):  # it is gone, too long, or no JSON
        return {}


def _equation_lines(lines: Sequence[str]) -> Iterator[tuple[tuple[str, str], int]]:
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


def _command(kind: str, annotation: _Annotation, source: str | None) -> str:
    properties = {} if source is None else {"file": _relative(source)}
    if source is not None and annotation.line is not None:
        properties["line"] = str(annotation.line)
    properties["title"] = cut(annotation.title, _TITLE)
    escaped = {
        key: _data(value).replace(":", "%3A").replace(",", "%2C")
        for key, value in properties.items()
    }
    shown = ",".join(f"{key}={value}" for key, value in escaped.items())
    return f"::{kind} {shown}::{_data(annotation.message)}"


def _relative(path: str) -> str:
    """As the repository has it, if that is where we stand."""
    return plain(path.removeprefix(os.getcwd() + os.sep)).replace(os.sep, "/")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
