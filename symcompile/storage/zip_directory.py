"""What the end of a zip file says of its directory, before anything reads that directory.

Python's reader makes an object for each entry, some hundred bytes of memory for fifty in the file:
two million entries take it a minute and a gigabyte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from symcompile.storage.files import size

# End record: signature, four counts, size and place of the directory, length of the comment.
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
# Of files with more or longer members than the end record has room for.
_END_64 = struct.Struct("<4sQ2H2L4Q")
_SIGNATURE, _LOCATOR_SIGNATURE, _SIGNATURE_64 = b"PK\5\6", b"PK\6\7", b"PK\6\6"
_LONGEST_COMMENT = 2**16 - 1
_BYTES = 200  # of an entry with its name: 46 and the name


def directory_problem(file: BinaryIO, most: int) -> str | None:
    """Why the directory of an open zip file is not read, None where it may be.

    `most` is the number of members that the file may have.
    """
    found = list(_ends(file))
    if not found:
        return "it is not a zip archive, or only the beginning of one"
    # A larger record may say more than the smaller one has room for, never less.
    count, length = (max(values) for values in zip(*found, strict=True))
    if count > most:
        return f"it has {count} members, at most {most}"
    if length > most * _BYTES:
        return f"its directory is {length} bytes long, at most {most * _BYTES}"
    return None


def _ends(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Number of entries and bytes of the directory, by each record that a reader may go by."""
    total = size(file)
    start = max(total - _END.size - _LONGEST_COMMENT, 0)
    tail = _read(file, start, total - start)
    last = len(tail) - _END.size
    for at in {tail.rfind(_SIGNATURE), tail.find(_SIGNATURE, max(last, 0))}:
        if 0 <= at <= last:
            _, _, _, here, count, length, _, _ = _END.unpack_from(tail, at)
            yield max(here, count), length
            yield from _ends_64(file, start + at)


def _ends_64(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """The same from the larger records that may stand before an end record."""
    at = end - _LOCATOR.size
    data = _read(file, at, _LOCATOR.size) if at >= 0 else b""
    if data[:4] != _LOCATOR_SIGNATURE:
        return
    named = _LOCATOR.unpack(data)[2]
    for place in {named, at - _END_64.size}:
        data = _read(file, place, _END_64.size) if 0 <= place < end else b""
        if len(data) == _END_64.size and data[:4] == _SIGNATURE_64:
            _, _, _, _, _, _, here, count, length, _ = _END_64.unpack(data)
            yield max(here, count), length


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
