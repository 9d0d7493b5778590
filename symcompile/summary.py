"""What a file says about its equations, as text: an artifact, a manifest, or our ONNX file.

Of a manifest and an ONNX file only their JSON is read, no model is built and nothing is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from symcompile.errors import ArtifactError
from symcompile.storage.schemas import MANIFEST

_METADATA = "symcompile."
_MAX_TEXT = 200


@dataclass(frozen=True)
class Row:
    """One equation, or one region that stayed neural.

    Attributes:
        target: path of the region, with the number of the output for an equation.
        equation: its text; for a neural region the reason why.
        complexity: None for a neural region.
        r2, relative_l2: on held-out samples, None where they were not measured.
    """

    target: str
    equation: str
    complexity: int | None = None
    r2: float | None = None
    relative_l2: float | None = None


def summary(path: str | os.PathLike[str]) -> str:
    """The equations in a file. ArtifactError if it is missing, damaged, or of another kind."""
    head = _head(path)
    if head.startswith(b"PK"):
        return _of_artifact(path)
    if head.lstrip()[:1] == b"{":
        return _of_manifest(path)
    return _of_onnx(path)


def _head(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(64)
    except FileNotFoundError:
        raise ArtifactError(f"there is no file {os.fspath(path)!r}") from None
    except OSError as error:
        raise ArtifactError(f"can't read {os.fspath(path)!r}: {error.strerror or error}") from error


def _of_artifact(path: str | os.PathLike[str]) -> str:
    from symcompile import artifact
    from symcompile.report import Report

    outcomes, manifest = artifact.outcomes(path)
    return str(Report(outcomes, capture=str(manifest.get("capture", ""))))


def _of_manifest(path: str | os.PathLike[str]) -> str:
    data = read_manifest(path)
    model = data.get("model")
    known = model if type(model) is dict else {}
    about = [f"{key} {_text(known[key])}" for key in ("class", "capture") if known.get(key)]
    regions = data["regions"].items()
    rows = [row for name, region in regions for row in _region_rows(name, region)]
    return _table(", ".join(["symcompile manifest", *about]), rows)


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a manifest file, its regions checked to be objects."""
    from symcompile.storage.container import MAX_JSON

    name = os.fspath(path)
    if os.path.getsize(path) > MAX_JSON:
        raise ArtifactError(f"can't read {name!r}: a manifest is at most {MAX_JSON} bytes long")
    with open(path, "rb") as file:
        data = _json(name, file.read())
    version = data.get("manifest") if type(data) is dict else None
    if type(version) is not int:
        raise ArtifactError(f"can't read {name!r}: it is JSON, but no manifest of symcompile")
    if version > MANIFEST:
        raise ArtifactError(
            f"{name!r} was written by a newer symcompile (manifest {version}, this one reads up to"
            f" {MANIFEST}): upgrade symcompile to read it"
        )
    regions = data.get("regions")
    if type(regions) is not dict or not all(type(one) is dict for one in regions.values()):
        raise ArtifactError(f"can't read {name!r}: it lists no regions")
    return data  # type: ignore[no-any-return]


def _region_rows(name: str, region: Mapping[str, Any]) -> Iterable[Row]:
    equations = region.get("equations")
    if region.get("status") != "symbolic" or type(equations) is not dict:
        yield Row(name, f"neural: {_text(region.get('reason', ''))}")
        return
    for output, one in equations.items():
        if type(one) is not dict:
            raise ArtifactError(f"manifest: region {name!r}, output {output!r} is no equation")
        fidelity = one.get("fidelity")
        found = fidelity if type(fidelity) is dict else {}
        yield _equation_row(f"{name}[{output}]", one.get("equation"), one, found)


def _of_onnx(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    rows: list[Row] = []
    for key, value in _onnx_metadata(name).items():
        if key.startswith(_METADATA) and key != f"{_METADATA}version":
            rows += _metadata_rows(name, _json(name, value.encode()))
    if not rows:
        raise _foreign(name)
    return _table("symcompile ONNX file", rows)


def _onnx_metadata(name: str) -> dict[str, str]:
    import onnx

    try:
        # Weights in other files are of no interest here, and a path in a file is not to be trusted.
        model = onnx.load(name, load_external_data=False)
    except Exception as error:  # protobuf's own error class derives from Exception alone
        raise _foreign(name) from error
    return {entry.key: entry.value for entry in model.metadata_props}


def _foreign(name: str) -> ArtifactError:
    return ArtifactError(f"can't read {name!r}: no artifact, manifest or ONNX file of symcompile")


def _metadata_rows(name: str, data: Any) -> Iterable[Row]:
    if type(data) is not dict or type(data.get("path")) is not str:
        raise ArtifactError(f"can't read {name!r}: its metadata is not what symcompile writes")
    if type(data.get("equations")) is not list:
        yield Row(data["path"], f"neural: {_text(data.get('neural', ''))}")
        return
    for one in data["equations"]:
        if type(one) is not dict:
            raise ArtifactError(f"can't read {name!r}: {data['path']!r} lists what is no equation")
        yield _equation_row(
            f"{data['path']}[{_text(one.get('output'))}]", one.get("text"), one, one
        )


def _equation_row(
    target: str, equation: Any, data: Mapping[str, Any], fidelity: Mapping[str, Any]
) -> Row:
    complexity = data.get("complexity")
    return Row(
        target,
        _text(equation),
        complexity if type(complexity) is int else None,
        _number(fidelity.get("r2")),
        _number(fidelity.get("relative_l2")),
    )


def _json(name: str, data: bytes) -> Any:
    from symcompile.storage.container import NotJsonError, from_json

    try:
        return from_json(data)
    except NotJsonError as error:
        raise ArtifactError(f"can't read {name!r}: it {error}") from error


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None


def _text(value: Any) -> str:
    """A value of a file for a terminal: one line, without control characters."""
    shown = value if type(value) is str else repr(value)
    plain = "".join(c if c.isprintable() else "?" for c in shown)
    return plain if len(plain) <= _MAX_TEXT else plain[: _MAX_TEXT - 3] + "..."


def _table(title: str, rows: Iterable[Row]) -> str:
    cells = [("target", "complexity", "R2", "rel. L2", "equation")]
    for row in rows:
        figures = (_figure(row.complexity), _figure(row.r2), _figure(row.relative_l2))
        cells.append((_text(row.target), *figures, row.equation))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [
        "  ".join(
            [line[0].ljust(widths[0])] + [line[k].rjust(widths[k]) for k in (1, 2, 3)] + [line[4]]
        ).rstrip()
        for line in cells
    ]
    return "\n".join([title, "", *lines])


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if type(value) is int else f"{value:.6g}"
