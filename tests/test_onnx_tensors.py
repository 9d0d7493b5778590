"""Tensors of ONNX files: what they hold, and the files beside the model that they may name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from symcompile.diff.onnx.tensors import Tensors, dtype_of, small_array
from symcompile.errors import ArtifactError

VALUES = np.array([[0.5, -1.25, 3.0], [2.0, 0.0, 1.0]])
NUMPY = ("float32", "float64", "float16", "int8", "uint8", "int16", "uint16", "int32", "int64",
         "uint32", "uint64", "bool", "complex64", "complex128")  # fmt: skip


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def test_every_type_of_onnx_is_known() -> None:
    known = set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
    names = {dtype_of(number) for number in known}
    assert len(names) == len(known)
    assert not any(name.startswith("type ") for name in names)
    assert (dtype_of(0), dtype_of(999)) == ("type 0", "type 999")


@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("raw", [True, False])
def test_digests_are_those_of_the_raw_bytes(dtype: str, raw: bool) -> None:
    values = np.abs(VALUES).astype(dtype)
    if raw:
        tensor = numpy_helper.from_array(values, "w")
    else:
        number = helper.np_dtype_to_tensor_dtype(values.dtype)
        tensor = helper.make_tensor("w", number, values.shape, values.reshape(-1).tolist())
        assert not tensor.raw_data
    found = Tensors("").describe(tensor)
    assert (found.dtype, found.shape) == (dtype, (2, 3))
    assert found.digest == digest(values.tobytes())
    if not dtype.startswith("complex"):
        np.testing.assert_array_equal(small_array(tensor, 6), values)
        assert small_array(tensor, 5) is None


@pytest.mark.parametrize(
    ("name", "stored", "raw"),
    [
        ("BFLOAT16", [0x3F80, 0x4000, 0xC040], b"\x80\x3f\x00\x40\x40\xc0"),
        ("FLOAT8E4M3FN", [1, 2, 255], b"\x01\x02\xff"),
        ("INT4", [0x21, 0x0F], b"\x21\x0f"),
        ("UINT2", [0b00100111], b"\x27"),
        ("FLOAT6E2M3", [1, 2, 3], b"\x81\x30\x00"),
    ],
)
def test_types_without_numpy_have_one_digest_however_they_are_stored(
    name: str, stored: list[int], raw: bytes
) -> None:
    number = getattr(TensorProto, name)
    one = TensorProto(name="w", data_type=number, dims=[3], raw_data=raw)
    other = TensorProto(name="w", data_type=number, dims=[3], int32_data=stored)
    found = Tensors("")
    assert found.describe(one) == found.describe(other)
    assert found.describe(one).digest == digest(raw)
    assert found.describe(one).dtype == dtype_of(number)
    with pytest.raises(ArtifactError, match="expected"):
        found.describe(TensorProto(data_type=number, dims=[30], int32_data=stored))


def test_bfloat16_has_values() -> None:
    tensor = TensorProto(data_type=TensorProto.BFLOAT16, dims=[2], raw_data=b"\x80\x3f\x40\xc0")
    assert small_array(tensor, 2).tolist() == [1.0, -3.0]


def test_texts_and_sparse_tensors() -> None:
    texts = helper.make_tensor("w", TensorProto.STRING, [2], [b"a", b"bc"])
    others = helper.make_tensor("w", TensorProto.STRING, [2], [b"ab", b"c"])
    found = Tensors("")
    assert found.describe(texts).digest != found.describe(others).digest
    assert small_array(texts, 10) is None

    def sparse(place: int) -> Any:
        values = helper.make_tensor("w", TensorProto.FLOAT, [1], [2.5])
        indices = helper.make_tensor("i", TensorProto.INT64, [1], [place])
        return helper.make_sparse_tensor(values, indices, [3, 3])

    one, other = (found.describe_sparse(sparse(place)) for place in (0, 4))
    assert (one.dtype, one.shape) == ("float32", (3, 3))
    assert one.digest != other.digest


# --- shapes that the data does not have ----------------------------------------------------------


def wrong(**fields: Any) -> TensorProto:
    tensor = TensorProto(name="w\x1b[2J", data_type=TensorProto.FLOAT)
    for name, value in fields.items():
        if name == "dims":
            tensor.dims.extend(value)
        elif name.endswith("_data") and name != "raw_data":
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return tensor


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (wrong(dims=[3], raw_data=bytes(8)), r"has the shape \[3\] and 8 bytes, expected 12"),
        (wrong(dims=[3], float_data=[1.0, 2.0]), "and 2 values, expected 3"),
        (wrong(dims=[2]), "and 0 values, expected 2"),
        (wrong(dims=[1], double_data=[1.0]), "is no float32"),
        (wrong(dims=[1], int64_data=[1]), "is no float32"),
        (wrong(dims=[-1, 4]), r"has the shape \[-1, 4\]"),
        (wrong(dims=[2**62, 2**62]), "which no file holds"),
        (wrong(dims=[10**12], raw_data=bytes(4)), "4 bytes, expected 4000000000000"),
        (wrong(dims=[1] * 65), "has the shape"),
    ],
)
def test_shapes_that_do_not_fit_the_data(tensor: TensorProto, says: str) -> None:
    with pytest.raises(ArtifactError, match=says) as caught:
        Tensors("").describe(tensor)
    assert str(caught.value).isprintable()


# --- data in other files -------------------------------------------------------------------------


def external(location: str, **entries: Any) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 3])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "weights").mkdir(parents=True)
    data = VALUES.astype("<f4").tobytes()
    (model / "weights" / "w.bin").write_bytes(bytes(8) + data + bytes(8))
    (model / "plain.bin").write_bytes(data)
    (tmp_path / "secret").write_bytes(data)
    (model / "link").symlink_to(tmp_path / "secret")
    (model / "inside").symlink_to(model / "plain.bin")
    (model / "away").symlink_to(tmp_path)
    os.mkfifo(model / "pipe")
    return model


@pytest.mark.parametrize(
    "tensor",
    [
        external("weights/w.bin", offset=8, length=24),
        external("weights/w.bin", offset=8),
        external("plain.bin"),
        external("inside"),
        external("./weights/../plain.bin".replace("weights/../", "")),
    ],
)
def test_files_beside_the_model_are_read(folder: Path, tensor: TensorProto) -> None:
    found = Tensors(str(folder / "a.onnx")).describe(tensor)
    assert found.digest == digest(VALUES.astype("<f4").tobytes())
    assert (found.dtype, found.shape) == ("float32", (2, 3))
    assert small_array(tensor, 100) is None


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (external("/etc/passwd"), "'/etc/passwd', outside of the model's folder"),
        (external("../secret"), "'../secret', outside of the model's folder"),
        (external("weights/../../secret"), "outside of the model's folder"),
        (external(""), "outside of the model's folder"),
        (external("plain\0.bin"), "outside of the model's folder"),
        (external("link"), "'link', a link that leaves the folder"),
        (external("away/secret"), "a link that leaves the folder"),
        (external("C:\\secret"), "no plain relative path"),
        (external("missing.bin"), "'missing.bin': No such file"),
        (external("weights"), "'weights'"),
        (external("pipe"), "no plain file"),
        (external("x" * 5000), "File name too long"),
        (external("plain.bin", offset=4), "up to byte 28, the file has 24"),
        (external("plain.bin", offset=10**17), "the file has 24"),
        (external("plain.bin", offset=-4), "'-4' as a place in a file"),
        (external("plain.bin", offset="9" * 99), "as a place in a file"),
        (external("plain.bin", offset="\u0661"), "as a place in a file"),
        (external("plain.bin", length=20), "and 20 bytes of data"),
        (external("plain.bin", length="all"), "'all' as a place in a file"),
    ],
)
def test_files_elsewhere_are_not_opened(folder: Path, tensor: TensorProto, says: str) -> None:
    with pytest.raises(ArtifactError, match="tensor 'w'") as caught:
        Tensors(str(folder / "a.onnx")).describe(tensor)
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_one_piece_of_a_file_is_not_read_a_thousand_times(folder: Path) -> None:
    tensors = Tensors(str(folder / "a.onnx"))
    same = [tensors.describe(external("plain.bin", length=24)) for _ in range(3)]
    assert len(set(same)) == 1
    small = external("weights/w.bin", offset=0)
    tensors.describe(small)
    with pytest.raises(ArtifactError, match="overlaps others"):
        tensors.describe(external("weights/w.bin", offset=4))


def test_a_place_that_is_told_twice(folder: Path) -> None:
    tensor = external("plain.bin")
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(ArtifactError, match="twice"):
        Tensors(str(folder / "a.onnx")).describe(tensor)


def test_texts_in_other_files(folder: Path) -> None:
    tensor = external("plain.bin")
    tensor.data_type = onnx.TensorProto.STRING
    with pytest.raises(ArtifactError, match="string and lies in another file"):
        Tensors(str(folder / "a.onnx")).describe(tensor)
