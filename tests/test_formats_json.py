"""A comparison as JSON, and the table that documents it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import diffs
import pytest

from symcompile._version import __version__
from symcompile.diff.formats import json as json_format
from symcompile.diff.formats.json import SCHEMA, to_dict, to_json


@pytest.mark.parametrize("name", diffs.COMPARISONS)
@pytest.mark.parametrize("pairs", [False, True])
def test_text_and_data_are_the_same(name: str, pairs: bool) -> None:
    diff = diffs.COMPARISONS[name]()
    assert json.loads(to_json(diff, pairs=pairs)) == to_dict(diff, pairs=pairs)
    assert to_json(diff, pairs=pairs).isascii()


def test_head() -> None:
    found = to_dict(diffs.everything())
    assert (found["diff"], found["symcompile"]) == (SCHEMA, __version__)
    assert found["same"] is False
    assert found["new"] == {
        "source": "model.onnx",
        "kind": "ONNX",
        "notes": ["function call 2 was inlined by another tool"],
    }
    assert found["rules"] == {
        "fail_on": ["structure", "coefficient", "fidelity", "signature", "weights"],
        "rtol": 1e-4,
        "atol": 0.0,
        "max_fidelity_drop": 0.0,
    }
    assert found["violations"][2] == {
        "rule": "coefficient",
        "where": "edge[0]",
        "message": "2.5 -> 2.6, and 1 more",
    }
    assert next(iter(found["counts"])) == "signature changed"
    assert to_dict(diffs.same())["same"] is True


def test_a_block_has_both_sides() -> None:
    blocks = {block["path"]: block for block in to_dict(diffs.everything())["blocks"]}
    (one,) = blocks["edge"]["equations"]
    assert one["old"]["equation"] == "2.5*x0*(x1 + 1.5) + 0.3"
    assert one["old"]["marks"] == [[0, 3], [20, 23]]
    assert one["new"]["accuracy"]["r2"] == 0.99953
    assert one["coefficients"][0] == {
        "old": 2.5,
        "new": 2.6,
        "place": "#*x0*(x1 + 1.5)",
        "relative": pytest.approx(0.04),
    }
    assert blocks["new_block"]["old"] is None
    assert blocks["new_block"]["equations"][0]["old"] is None
    assert blocks["restored"]["new"]["status"] == "neural"
    assert blocks["head"]["renamed_from"] == "old_head"


def test_nodes_come_without_pairs_unless_they_are_wanted() -> None:
    found = to_dict(diffs.everything())["nodes"]
    assert "pairs" not in found
    assert (found["old"], found["new"], found["matched"], found["renamed"]) == (5, 5, 4, 1)
    assert found["changed"][0]["what"] == "operator aten.relu -> aten.tanh"
    assert to_dict(diffs.everything(), pairs=True)["nodes"]["pairs"][2] == ["relu", "tanh"]


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null(figure: float) -> None:
    found = to_dict(diffs.with_figures(diffs.everything(), figure))
    assert found["model"]["output_difference"] is None
    assert found["blocks"][1]["equations"][0]["coefficients"][0]["old"] is None
    json.dumps(found, allow_nan=False)


def test_a_change_from_zero_has_no_relative_size() -> None:
    diff = diffs.with_figures(diffs.everything(), 0.0)
    assert to_dict(diff)["blocks"][1]["equations"][0]["coefficients"][0]["relative"] == 0.0


# --- the table in the docstring ------------------------------------------------------------------


def documented() -> set[str]:
    rows = re.findall(r"^\| (.+?) \|", json_format.__doc__ or "", re.MULTILINE)
    return {key for row in rows[1:] for key in row.split(", ")}


def occurring(value: Any, path: str = "") -> Iterator[str]:
    """The path of every key, as the table writes it."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield from occurring(item, f"{path}[]")
        return
    if not isinstance(value, dict) or path == "counts":
        return
    for key, item in value.items():
        full = f"{path}.{key}" if path else key
        yield full
        yield from occurring(item, full)


def shortened(path: str) -> str:
    """What the table says once: of the old side, of an accuracy, and of a node."""
    path = re.sub(r"^new\.|(?<=\.)new\.", "old.", path)
    path = re.sub(r"^.*\.accuracy\.", "accuracy.", path)
    return re.sub(
        r"^nodes\.((added|removed)\[\]|changed\[\]\.old)\.(?=name|op|in|we|at)", "node.", path
    )


def test_every_key_is_documented_and_every_documented_key_occurs() -> None:
    found = {shortened(path) for path in occurring(to_dict(diffs.everything(), pairs=True))}
    assert found - {"model"} == documented()


@pytest.mark.parametrize("name", diffs.COMPARISONS)
def test_keys_do_not_depend_on_what_was_found(name: str) -> None:
    found = {shortened(path) for path in occurring(to_dict(diffs.COMPARISONS[name]()))}
    assert found - {"model"} <= documented()
    assert list(to_dict(diffs.COMPARISONS[name]())) == list(to_dict(diffs.everything()))
