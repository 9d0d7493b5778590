"""Files changed by hand whose checksums are right: what stands behind them is reached."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Edit = Callable[[Any], Any]


def members_of(path: Path) -> dict[str, bytes]:
    """The members of an artifact by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def artifact_of(members: Mapping[str, bytes], target: Path) -> Path:
    """An artifact with these members; its manifest gets their checksums, the zip that of it."""
    manifest = json.loads(members["manifest.json"])
    manifest["members"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in members.items()
        if name != "manifest.json"
    }
    written = {**members, "manifest.json": json.dumps(manifest).encode()}
    with zipfile.ZipFile(target, "w") as archive:
        stamp = hashlib.sha256(written["manifest.json"]).hexdigest()
        archive.comment = f"symc sha256={stamp}".encode()
        for name, data in written.items():
            kind = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    return target


def forged(path: Path, target: Path, edits: Mapping[str, Edit]) -> Path:
    """An artifact whose documents were changed: each edit gets a document and changes it in place,
    or gives its text."""
    members = members_of(path)
    for name, edit in edits.items():
        data = json.loads(members[name])
        text = edit(data)
        members[name] = text if isinstance(text, bytes) else json.dumps(data).encode()
    return artifact_of(members, target)


def set_at(*way: Any, to: Any) -> Edit:
    """An edit that puts a value at a place."""

    def edit(data: Any) -> None:
        for key in way[:-1]:
            data = data[key]
        data[way[-1]] = to

    return edit


def recording_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def recording_from(header: Any, data: bytes, target: Path) -> Path:
    text = json.dumps(header).encode()
    target.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return target
