"""The `.symc` file: a zip of JSON and safetensors, written whole or not at all, read with distrust.

| member | is |
|---|---|
| manifest.json | format version, SHA-256 of every other member, and what the artifact holds |
| *.json | further documents |
| *.safetensors | tensors, stored uncompressed |

The zip's comment holds the SHA-256 of the manifest. The same content gives the same bytes: members
are sorted and have fixed time stamps. Reading never writes to disk, never unpickles and never takes
more memory than the file's own size and the limits below allow; whatever is wrong is an
ArtifactError of one line.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from symcompile.errors import ArtifactError, first_line
from symcompile.storage.files import opened, path_text, replacing, size
from symcompile.storage.reading import MAX_JSON, at, from_json, to_json, wall
from symcompile.storage.tensors import read_tensors

if TYPE_CHECKING:
    import torch

# Raised when an older reader would misread the newer file, see symcompile.storage.older.
FORMAT = 2
SUFFIX = ".symc"
MANIFEST = "manifest.json"

MAX_ALL_JSON = 256 * 2**20  # bytes of all documents together
MAX_MEMBERS = 10_000
MAX_RATIO = 200  # deflated JSON of a model comes to 10 or 20

_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*\.(json|safetensors)\Z")
_COMMENT = re.compile(rb"symc sha256=([0-9a-f]{64})\Z")
_EPOCH = (1980, 1, 1, 0, 0, 0)

_DIRECTORY = 200 * MAX_MEMBERS  # bytes: of an entry 46, and the name of a member


# --- writing ---------------------------------------------------------------------------------


def write(
    path: str | os.PathLike[str],
    manifest: Mapping[str, Any],
    documents: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
) -> Path:
    """Write an artifact; a file that was there before is replaced in one step.

    `documents` and `tensors` are by member name without its ending. Raises ArtifactError if a value
    can't be stored or the place can't be written.
    """
    members = {f"{name}.json": to_json(documents[name]) for name in sorted(documents)}
    members |= {f"{name}.safetensors": to_safetensors(tensors[name]) for name in sorted(tensors)}
    for name in members:
        if not _NAME.match(name) or name == MANIFEST:
            raise ArtifactError(f"{name!r} can't be a member of a {SUFFIX} file")
    index = {name: _entry(data) for name, data in members.items()}
    head = to_json({**manifest, "format": FORMAT, "members": index}, indent=1)
    with replacing(path) as draft:
        _write_zip(draft, {MANIFEST: head, **members})
    return Path(os.fsdecode(path))


def _write_zip(draft: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(draft, "w") as archive:
        archive.comment = b"symc sha256=" + hashlib.sha256(members[MANIFEST]).hexdigest().encode()
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED if _is_json(name) else zipfile.ZIP_STORED
            archive.writestr(info, data)


def _entry(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _is_json(name: str) -> bool:
    return name.endswith(".json")


def to_safetensors(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Tensors on the CPU as the bytes of a safetensors file."""
    from safetensors.torch import save

    plain = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    try:
        return save(plain)
    except Exception as error:  # safetensors' own error class derives from Exception alone
        raise ArtifactError(f"can't store these tensors: {error}") from error


# --- reading ---------------------------------------------------------------------------------


class _Sparing(io.BufferedReader):
    """An open file that gives no more at once than a directory may be long, until that is read.

    Python's reader makes an object for each entry, some hundred bytes of memory for fifty in the
    file: two million entries take it a minute and a gigabyte.
    """

    most_at_once: int | None = _DIRECTORY

    def read(self, count: int | None = -1, /) -> bytes:
        if self.most_at_once is not None and (count or 0) > self.most_at_once:
            wanted = f"{count} bytes long, at most {self.most_at_once}"
            raise ArtifactError(f"its directory is {wanted}")
        return super().read(count)


class Archive:
    """An open artifact whose directory and manifest have been checked.

    Attributes:
        manifest: the content of manifest.json.
        names: the other members.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path_text(path)
        self._read_json = 0
        self._file = _Sparing(opened(path).detach())
        try:
            with wall("can't read", path):
                self._zip = self._opened_zip()
                self._members = self._directory()
                self.manifest = self._manifest()
                self._index = self._checked_index()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()
        self._file.close()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._index)

    def document(self, name: str) -> Any:
        """The content of `name`.json; ArtifactError if it is missing or damaged."""
        data = self._checked(f"{name}.json")
        with at(f"{name}.json"):
            return from_json(data)

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of `name`.safetensors; ArtifactError if it is missing or damaged."""
        data = self._checked(f"{name}.safetensors")
        with at(f"{name}.safetensors"):
            return read_tensors(io.BytesIO(data), len(data))[0]

    def _opened_zip(self) -> zipfile.ZipFile:
        try:
            if not zipfile.is_zipfile(self._file):
                raise ArtifactError("it is not a zip archive, or only the beginning of one")
            archive = zipfile.ZipFile(self._file)
        except ArtifactError:
            raise
        except Exception as error:  # whatever a damaged directory makes the reader raise
            raise ArtifactError(f"it is not a zip archive ({first_line(error)})") from error
        self._file.most_at_once = None
        return archive

    def _directory(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        if len(infos) > MAX_MEMBERS:
            raise ArtifactError(f"it has {len(infos)} members, at most {MAX_MEMBERS}")
        members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            problem = _member_problem(info, members)
            if problem:
                raise ArtifactError(f"member {info.filename[:80]!r} {problem}")
            members[info.filename] = info
        if sum(info.compress_size for info in infos) > size(self._file):
            raise ArtifactError("its members overlap")
        return members

    def _manifest(self) -> dict[str, Any]:
        if MANIFEST not in self._members:
            raise ArtifactError(f"it has no {MANIFEST}: it is not an artifact of symcompile")
        data = self._bytes(MANIFEST)
        with at(MANIFEST):
            manifest = from_json(data)
        version = manifest.get("format") if type(manifest) is dict else None
        if type(version) is not int or version < 1:
            raise ArtifactError(f"{MANIFEST} names no format version")
        if version > FORMAT:
            raise ArtifactError(
                f"{self.path!r} was written by a newer symcompile (format {version}, this one reads"
                f" up to {FORMAT}): upgrade symcompile to open it"
            )
        stamp = _COMMENT.match(self._zip.comment)
        if stamp is None or stamp.group(1).decode() != hashlib.sha256(data).hexdigest():
            raise ArtifactError(f"{MANIFEST} does not have the checksum it was written with")
        return manifest  # type: ignore[no-any-return]

    def _checked_index(self) -> dict[str, dict[str, Any]]:
        index = self.manifest.get("members")
        if type(index) is not dict or not all(type(entry) is dict for entry in index.values()):
            raise ArtifactError(f"{MANIFEST} lists no members")
        listed, present = set(index), set(self._members) - {MANIFEST}
        if listed != present:
            name = sorted(listed ^ present)[0]
            state = "is missing" if name in listed else "is not listed in its manifest"
            raise ArtifactError(f"member {name[:80]!r} {state}")
        return index

    def _checked(self, name: str) -> bytes:
        if name not in self._index:
            raise ArtifactError(f"member {name!r} is missing")
        data = self._bytes(name)
        if self._index[name] != _entry(data):
            raise ArtifactError(f"member {name!r} does not have the checksum it was written with")
        return data

    def _bytes(self, name: str) -> bytes:
        info = self._members[name]
        if _is_json(name):
            self._read_json += info.file_size
            if self._read_json > MAX_ALL_JSON:
                raise ArtifactError(f"its documents take more than {MAX_ALL_JSON // 2**20} MiB")
        try:
            with self._zip.open(info) as file:
                data = file.read(info.file_size + 1)
        except Exception as error:  # zlib's, struct's, zipfile's, those of the system
            raise ArtifactError(f"member {name!r}: {first_line(error)}") from error
        if len(data) != info.file_size:
            raise ArtifactError(f"member {name!r} is longer or shorter than declared")
        return data


def _member_problem(info: zipfile.ZipInfo, before: Iterable[str]) -> str | None:
    name = info.filename
    if not _NAME.match(name) or info.is_dir():
        return "has a name that no artifact has"
    if name in before:
        return "is there twice"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type == zipfile.ZIP_STORED:
        return None if info.file_size == info.compress_size else "has two different sizes"
    if not _is_json(name) or info.compress_type != zipfile.ZIP_DEFLATED:
        return "is compressed in a way that no artifact uses"
    if info.file_size > MAX_JSON:
        return f"is {info.file_size} bytes long, at most {MAX_JSON}"
    if info.file_size > MAX_RATIO * max(info.compress_size, 1024):
        return f"expands {info.file_size // max(info.compress_size, 1)} times"
    return None
