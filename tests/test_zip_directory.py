"""The directory of a zip file is read only where it is short, in both forms of the file's end."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from symcompile.errors import ArtifactError
from symcompile.storage.container import MAX_MEMBERS, Archive

_ENTRY = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *[0] * 7, 8, *[0] * 6)


def zip_with(entries: int, path: Path, *, large: bool, told: int | None = None) -> Path:
    """A zip with so many entries of one member each, which says that it has `told` of them."""
    told = entries if told is None else told
    directory = b"".join(_ENTRY + b"%08d" % k for k in range(entries))
    ends = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, told, told, len(directory), 0, 0)
    if large:
        ends = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, told, told, len(directory), 0)
        ends += struct.pack("<4sLQL", b"PK\6\7", 0, len(directory), 1)
        ends += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2**16 - 1, 2**16 - 1, *[2**32 - 1] * 2, 0)
    path.write_bytes(directory + ends)
    return path


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("told", [None, 1])
def test_many_entries_are_refused_unread(large: bool, told: int | None, tmp_path: Path) -> None:
    path = zip_with(60_000, tmp_path / "many.symc", large=large, told=told)
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match=r"many.symc.*(members|its directory is)"):
            Archive(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("comment", [b"", b"symc", b"x" * 65_535])
@pytest.mark.parametrize("count", [0, 3, MAX_MEMBERS + 1])
def test_ordinary_zips_may_be_read(comment: bytes, count: int, tmp_path: Path) -> None:
    path = tmp_path / "one.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = comment
        for k in range(count):
            archive.writestr(f"{k}.json", b"{}")
    expected = "no manifest.json" if count <= MAX_MEMBERS else f"has {count} members, at most"
    with pytest.raises(ArtifactError, match=expected):
        Archive(path)


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\5\6", b"x" * 100_000])
def test_what_is_no_zip_is_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(data)
    with pytest.raises(ArtifactError, match="it is not a zip archive, or only the beginning"):
        Archive(tmp_path / "no.zip")


def test_a_record_that_names_its_place_wrongly_is_seen(tmp_path: Path) -> None:
    """Readers differ in whether they look where the locator says or right before it."""
    for place in (0, 10**6):
        data = bytearray(zip_with(60_000, tmp_path / "a", large=True).read_bytes())
        struct.pack_into("<Q", data, data.rindex(b"PK\6\7") + 8, place)
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(ArtifactError, match=r"its directory is|not a zip archive"):
            Archive(tmp_path / "a")
