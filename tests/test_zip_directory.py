"""The end of a zip file is read before its directory, in both of its forms."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from symcompile.errors import ArtifactError
from symcompile.storage.container import MAX_MEMBERS, Archive, directory_problem

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
@pytest.mark.parametrize("count", [0, 3])
def test_ordinary_zips_may_be_read(comment: bytes, count: int) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.comment = comment
        for k in range(count):
            archive.writestr(f"{k}.json", b"{}")
    assert _problem(data.getvalue()) is None
    assert "at most 2" in str(_problem(data.getvalue(), 2)) or count < 3


def test_what_is_no_zip_is_none() -> None:
    for data in (b"", b"PK", b"PK\5\6", b"x" * 100_000):
        assert "not a zip archive" in str(_problem(data))


def test_a_record_that_names_its_place_wrongly_is_seen(tmp_path: Path) -> None:
    """Readers differ in whether they look where the locator says or right before it."""
    for place in (0, 10**6):
        data = bytearray(zip_with(60_000, tmp_path / "a", large=True).read_bytes())
        struct.pack_into("<Q", data, data.rindex(b"PK\6\7") + 8, place)
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(ArtifactError, match="members"):
            Archive(tmp_path / "a")


def _problem(data: bytes, most: int = MAX_MEMBERS) -> str | None:
    path = Path("one.zip")
    path.write_bytes(data)
    with open(path, "rb") as file:
        return directory_problem(file, most)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
