"""An artifact comes back as it was written; whatever else is found in its place is refused."""

import io
import json
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from symcompile.errors import ArtifactError
from symcompile.storage import container
from symcompile.storage.container import Archive, write
from symcompile.storage.reading import MisfitError, from_json, to_json

MANIFEST = {"name": "heat", "constants": [0.1, 1e-300, -0.0, 3], "unit": "°C"}
DOCUMENTS = {"graph": {"nodes": [{"b": 1, "a": [None, True, "x"]}]}, "neural/0": {}}
TENSORS = {
    "tensors": {
        "weight": torch.arange(6.0).reshape(2, 3).T,
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "model.symc", MANIFEST, DOCUMENTS, TENSORS)


def test_what_was_written_comes_back(path: Path) -> None:
    with Archive(path) as archive:
        assert {key: archive.manifest[key] for key in MANIFEST} == MANIFEST
        assert archive.document("graph") == DOCUMENTS["graph"]
        assert archive.document("neural/0") == {}
        torch.testing.assert_close(archive.tensors("tensors"), TENSORS["tensors"], rtol=0, atol=0)


def test_the_same_content_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    documents = dict(reversed(DOCUMENTS.items()))
    again = write(tmp_path / "again.symc", MANIFEST, documents, TENSORS)
    assert again.read_bytes() == path.read_bytes()


def test_keys_keep_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.symc", {}, {"graph": {"z": 1, "a": {"y": 2, "b": 3}}}, {})
    with Archive(path) as archive:
        assert json.dumps(archive.document("graph")) == '{"z": 1, "a": {"y": 2, "b": 3}}'


def test_views_of_one_storage_are_stored_apart(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    tensors = {"a": whole[:5], "b": whole[2:], "c": whole.expand(3, 10)}
    path = write(tmp_path / "a.symc", {}, {}, {"tensors": tensors})
    with Archive(path) as archive:
        torch.testing.assert_close(archive.tensors("tensors"), tensors, rtol=0, atol=0)


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="can't store this as JSON"):
        write(path, {"x": float("nan")}, {}, {})

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="No space left"):
        write(path, MANIFEST, DOCUMENTS, TENSORS)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("place", ["missing/model.symc", "file/model.symc", "folder"])
def test_an_unwritable_place_is_one_clear_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match="can't write"):
        write(tmp_path / place, {}, {}, {})


@pytest.mark.parametrize("name", ["../up", "/root", "a/../b", "Upper", "a b", "manifest", ""])
def test_member_names_are_checked_when_writing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError):
        write(tmp_path / "a.symc", {}, {name: {}}, {})


# --- damaged and hostile files ---------------------------------------------------------------


def refused(path: Path, message: str | None = None) -> None:
    """Opening the file and reading all of it ends in one line of our own family."""
    with pytest.raises(ArtifactError, match=message) as caught:
        read_all(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def read_all(path: Path) -> None:
    with Archive(path) as archive:
        for name in archive.names:
            stem, ending = name.rsplit(".", 1)
            archive.document(stem) if ending == "json" else archive.tensors(stem)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.symc", r"there is no file '.*nowhere\.symc'")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "can't read")


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip" * 100, b"\x80\x04\x95pickle"])
def test_what_is_not_a_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.symc").write_bytes(content)
    refused(tmp_path / "a.symc", "not a zip archive")


def test_every_truncation_is_refused(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    for length in range(0, len(content), 61):
        (tmp_path / "cut.symc").write_bytes(content[:length])
        refused(tmp_path / "cut.symc")


def test_every_changed_byte_is_noticed_or_harmless(path: Path, tmp_path: Path) -> None:
    content, target = path.read_bytes(), tmp_path / "changed.symc"
    for place in range(0, len(content), 17):
        target.write_bytes(content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :])
        try:
            with Archive(target) as archive:
                assert archive.manifest["name"] == "heat"
                assert archive.document("graph") == DOCUMENTS["graph"]
                torch.testing.assert_close(archive.tensors("tensors"), TENSORS["tensors"])
        except ArtifactError:
            continue


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], **options: Any) -> Path:
    """The artifact with other members; checksums are as they were."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    change(members)
    target = path.with_name("rewritten.symc")
    with zipfile.ZipFile(target, "w", **options) as archive:
        archive.comment = comment
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = options.get("compression", zipfile.ZIP_STORED)
            archive.writestr(info, data)
    return target


def forged(path: Path, members: Mapping[str, bytes], **manifest: Any) -> Path:
    """An artifact whose checksums are all right, as an attacker would write it."""
    index = {name: container._entry(data) for name, data in members.items()}
    head = to_json({"format": 1, "members": index, **manifest})
    target = path.with_name("forged.symc")
    with open(target, "wb") as file:
        container._write_zip(file, {"manifest.json": head, **members})
    return target


def test_a_tampered_member_is_refused(path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        members["graph.json"] = members["graph.json"].replace(b"true", b"null")

    refused(rewritten(path, change), r"'graph\.json' does not have the checksum")


def test_a_tampered_manifest_is_refused(path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        members["manifest.json"] = members["manifest.json"].replace(b"heat", b"cold")

    refused(rewritten(path, change), r"manifest\.json does not have the checksum")


@pytest.mark.parametrize("name", ["graph.json", "tensors.safetensors", "manifest.json"])
def test_a_missing_member_is_named(path: Path, name: str) -> None:
    refused(rewritten(path, lambda members: members.pop(name) and None), name.split(".")[0])


@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/passwd", "a\\b.json", "graph.json/", "extra.pkl", "x" * 300]
)
def test_foreign_member_names_are_refused(path: Path, name: str) -> None:
    refused(rewritten(path, lambda members: members.update({name: b"{}"})), "has a name that")


def test_an_unlisted_member_is_refused(path: Path) -> None:
    target = rewritten(path, lambda members: members.update({"extra.json": b"{}"}))
    refused(target, "not listed in its manifest")


@pytest.mark.parametrize(
    ("version", "message"),
    [(3, "written by a newer symcompile .format 3.*upgrade"), (0, "no format"), ("1", "no format")],
)
def test_other_versions_are_refused(path: Path, version: Any, message: str) -> None:
    refused(forged(path, {}, format=version), message)


@pytest.mark.parametrize(
    "text",
    [b"[NaN]", b"[Infinity]", b"{", b"\xff\xfe", b"[" * 100_000, b"", b"1" + b"0" * 5000],
)
def test_bad_json_is_refused(path: Path, text: bytes) -> None:
    refused(forged(path, {"graph.json": text}), r"graph\.json is")


def test_a_manifest_that_is_no_object_is_refused(path: Path) -> None:
    for text in (b"[]", b"null", b'{"format": 1}', b'{"format": 1, "members": {"a": 3}}'):
        target = path.with_name("odd.symc")
        with open(target, "wb") as file:
            container._write_zip(file, {"manifest.json": text})
        refused(target, r"manifest\.json")


def test_bad_tensors_are_refused(path: Path) -> None:
    huge = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    for data in (
        b"",
        b"\xff" * 64,
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", len(huge)) + huge.encode(),
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.",
    ):
        refused(forged(path, {"tensors.safetensors": data}), r"tensors\.safetensors")


def peak(action: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_zip_bomb_is_refused_without_expanding_it(path: Path) -> None:
    bomb = rewritten(
        path,
        lambda members: members.update({"graph.json": b" " * 40_000_000}),
        compression=zipfile.ZIP_DEFLATED,
    )
    assert bomb.stat().st_size < 100_000
    assert peak(lambda: refused(bomb)) < 5_000_000


def test_a_member_that_lies_about_its_size_is_refused(path: Path) -> None:
    content = bytearray(forged(path, {"graph.json": b" " * 9000 + b"{}"}).read_bytes())
    # The central directory's record of graph.json: the size after expansion is at offset 24.
    record = content.rindex(b"PK\x01\x02")
    assert struct.unpack_from("<I", content, record + 24)[0] == 9002
    for lie in (8, 90_000, 2**31):
        struct.pack_into("<I", content, record + 24, lie)
        path.write_bytes(content)
        refused(path, "graph")


def test_overlapping_members_are_refused(path: Path, tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("manifest.json", b"{}" * 5000)
        first = archive.infolist()[0]
        for number in range(50):
            twin = zipfile.ZipInfo(f"twin{number}.json")
            for field in ("file_size", "compress_size", "CRC", "header_offset"):
                setattr(twin, field, getattr(first, field))
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    (tmp_path / "overlap.symc").write_bytes(data.getvalue())
    refused(tmp_path / "overlap.symc", "overlap")


def test_an_encrypted_member_is_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    record = content.index(b"PK\x01\x02")
    struct.pack_into("<H", content, record + 8, 1)
    path.write_bytes(content)
    refused(path, "encrypted")


def test_json_with_too_many_values_is_refused_before_parsing() -> None:
    text = b"[" + b"[]," * 5_000_000 + b"0]"
    with pytest.raises(Exception, match="more than 4000000 values"):
        from_json(text)
    with pytest.raises(Exception, match="is 70000000 bytes long"):
        from_json(b" " * 70_000_000)


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(MisfitError, match="'law' stands twice"):
        from_json(b'{"regions": {"law": 1, "law": 2}}')


def test_a_document_of_too_many_values_is_refused() -> None:
    assert from_json(b"[1, 2, 3]", 3) == [1, 2, 3]
    with pytest.raises(MisfitError, match="more than 2 values"):
        from_json(b"[1, 2, 3]", 2)
