"""One dispatch by the file's ending, which `Compiled.export` and the command line share."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hybrids import Fake, hybrid_of
from torch import nn

from symcompile.errors import ExportError
from symcompile.exporters import export, manifest
from symcompile.modules.calling import Batch


def hybrid() -> Any:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    return hybrid_of(model, {"0": Fake(["x0*x1", "x0"], 2)}, Batch((torch.rand(5, 2),), {}))


@pytest.mark.parametrize("name", ["m.manifest.json", "m.json", "M.JSON"])
def test_json_is_the_manifest(name: str, tmp_path: Path) -> None:
    one = hybrid()
    data = export(one, tmp_path / name)
    assert data == json.loads((tmp_path / name).read_text()) == manifest(one)


def test_onnx_takes_its_options(tmp_path: Path) -> None:
    file = export(hybrid(), tmp_path / "m.onnx", opset=20, functions=False, check=False)
    assert file.opset == 20
    assert not file.functions


@pytest.mark.parametrize("path", ["m.bin", "m", "m.onnx.gz", ".onnx/", b"m.symc", 3, None])
def test_other_endings_are_refused(path: Any) -> None:
    with pytest.raises(ExportError, match=r"end it in \.onnx, or \.json|expected the path"):
        export(hybrid(), path)


def test_an_option_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no option 'opset': it has none"):
        export(hybrid(), tmp_path / "m.json", opset=18)
    with pytest.raises(ExportError, match="no option 'ops': it has opset, dtype, functions"):
        export(hybrid(), tmp_path / "m.onnx", ops=18)
    assert list(tmp_path.iterdir()) == []
