"""Files that were written before `.symc` and ONNX metadata took the form of manifests.

Those in data/format1 are what tests/fuzz_bases.py made then; expected.json holds what was read from
them: the equations of every file with their figures, and the reports of the artifacts.
"""

from __future__ import annotations

import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import onnx
import pytest

import symcompile
from symcompile import diff, exporters
from symcompile.diff.readers import read
from symcompile.errors import ArtifactError
from symcompile.storage.container import Archive

FOLDER = Path(__file__).parent / "data" / "format1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
ARTIFACTS = ("law.symc", "gated.symc")


def number(value: float) -> float | None:
    return None if math.isnan(value) else value


@pytest.mark.parametrize("name", EXPECTED["equations"])
def test_equations_and_figures_are_what_they_were(name: str) -> None:
    found = {}
    for path, block in read(FOLDER / name).blocks.items():
        found[path] = [
            [
                *(output, one.equation.text(15), one.equation.complexity),
                *(number(one.equation.loss), number(one.equation.holdout_loss), one.operators),
                *(one.accuracy.r2, one.accuracy.relative_l2, one.accuracy.max_error),
                *(one.accuracy.extrapolation, one.accuracy.linear),
            ]
            for output, one in block.outputs.items()
        ]
    assert found == EXPECTED["equations"][name]


def same_but_for_rounding(found: Any, before: Any) -> bool:
    """What is measured when a file is loaded, in float32, has other last digits on another
    processor."""
    if isinstance(found, dict) and isinstance(before, dict):
        keys = list(found) == list(before)
        return keys and all(same_but_for_rounding(found[key], before[key]) for key in found)
    if isinstance(found, list) and isinstance(before, list):
        pairs = zip(found, before, strict=False)
        return len(found) == len(before) and all(same_but_for_rounding(*pair) for pair in pairs)
    if isinstance(found, float) and isinstance(before, float):
        return math.isclose(found, before, rel_tol=1e-5)
    return type(found) is type(before) and bool(found == before)


def runners_up(report: Any) -> list[Any]:
    """Take them, and what is undecided, out of a report."""
    outputs = [row for target in report["targets"] for row in target["outputs"]]
    assert not any(row.pop("undecided", []) for row in outputs)
    return [row.pop("runner_up") for row in outputs]


@pytest.mark.parametrize("name", ARTIFACTS)
def test_artifacts_are_loaded_and_saved_anew(name: str, tmp_path: Path) -> None:
    compiled = symcompile.load(FOLDER / name)
    report = json.loads(json.dumps(compiled.report.to_dict()))
    expected = deepcopy(EXPECTED["reports"][name])
    # By how much equations lost was not stored: what is left is what a user has overruled.
    named, before = runners_up(report), runners_up(expected)
    assert all(text in (None, said) for text, said in zip(named, before, strict=True))
    # What else could be in a block's place was not measured.
    assert not any(target.pop("stand_ins") for target in report["targets"])
    assert same_but_for_rounding(report, expected)
    again = symcompile.load(compiled.save(tmp_path / name))
    assert again.report.to_dict() == compiled.report.to_dict()
    assert again.fronts.keys() == compiled.fronts.keys()
    for path, fronts in compiled.fronts.items():
        assert {k: repr(front) for k, front in fronts.items()} == {
            k: repr(front) for k, front in again.fronts[path].items()
        }
    with Archive(FOLDER / name) as old, Archive(tmp_path / name) as new:
        assert (old.manifest["format"], new.manifest["format"]) == (1, 2)


@pytest.mark.parametrize("stem", ["law", "gated"])
def test_they_are_the_same_as_new_files(stem: str, tmp_path: Path) -> None:
    compiled = symcompile.load(FOLDER / f"{stem}.symc")
    exporters.manifest(compiled, tmp_path / "new.json")
    exporters.onnx(compiled, tmp_path / "new.onnx")
    for ending in ("json", "onnx"):
        found = diff(FOLDER / f"{stem}.{ending}", tmp_path / f"new.{ending}")
        assert found.same, found
    assert diff(FOLDER / f"{stem}.symc", FOLDER / f"{stem}.json").same


def test_a_manifest_has_the_lines_that_it_had(tmp_path: Path) -> None:
    compiled = symcompile.load(FOLDER / "gated.symc")
    exporters.manifest(compiled, tmp_path / "new.json")
    new, old = (
        (path / name).read_text() for path, name in ((tmp_path, "new.json"), (FOLDER, "gated.json"))
    )
    assert same_but_for_rounding(json.loads(new), json.loads(old))
    layout = [line.split(":")[0].rstrip("0123456789.,e-") for line in new.splitlines()]
    assert layout == [line.split(":")[0].rstrip("0123456789.,e-") for line in old.splitlines()]


def test_a_recording_is_read() -> None:
    assert set(symcompile.Recording.load(FOLDER / "law.safetensors").regions) == {"law", "other"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("text", "a", "its text is 'a' and"),
        ("complexity", 99, "its complexity is 99 and"),
        ("r2", 0.5, "fidelity says two things"),
        ("output", 1, "has output 1 twice"),
        ("output", "x", "expected a whole number"),
        ("equation", 3, "expected an object"),
    ],
)
def test_edited_metadata_of_that_form_is_refused(
    key: str, value: Any, message: str, tmp_path: Path
) -> None:
    model = onnx.load(FOLDER / "law.onnx")
    (entry,) = [one for one in model.metadata_props if one.key == "symcompile.law"]
    data = json.loads(entry.value)
    data["equations"][0][key] = value
    entry.value = json.dumps(data)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=message):
        read(tmp_path / "a.onnx")
