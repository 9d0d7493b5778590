"""Mutants of valid files: changed where a stranger would change them, checksums made anew.

A mutant follows from its kind and its seed alone, so that a failure can be told in one line.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import onnx
from forging import artifact_of, members_of

KINDS = ("symc", "manifest", "onnx", "recording", "journal")
# Numbers as JSON spells them, also those that no float64 holds.
NUMBERS = (
    *("0", "-1", "1", "2", "7.5", "-0.0", "1e-320", "1e308", "-1e308", "1e999", "-1e999", "NaN"),
    *(
        "Infinity",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
    ),
    *("1" + "0" * 30, "1" + "0" * 400, "1" * 5000, "1e1000000", "1000000000"),
)
TEXTS = (
    *(
        "",
        "x",
        "x0",
        "law",
        "self",
        "lambda",
        "__import__('os').system('touch executed')",
        "../../x",
    ),
    *("a\x1b[2J\x07\r\n", "\x1b]8;;http://x\x1b\\y", "\u202eabc", "\ud800", "\x00", "é" * 300),
    *("tanh(" * 30 + "x0" + ")" * 30, "(" * 500, "9**9**9**9", "x0" + "+x0" * 3000, "inf", "nan"),
    *(
        "Max(" + ",".join(f"sin({k}*x0)" for k in range(60)) + ")",
        "c[0]",
        "c[99999999]",
        "**x",
        "*",
    ),
    *("y" * 100_000, "::", "%", "@", "##[error]x", "::error::x", "<script>", "|`*_"),
)


class Raw(str):
    """A number as it is to stand in the JSON text."""


def text_of(data: Any) -> bytes:
    """JSON of a document that holds Raw numbers."""
    found: list[str] = []

    def keep(value: Any) -> Any:
        if isinstance(value, Raw):
            found.append(str(value))
            return f"@@{len(found) - 1}@@"
        if isinstance(value, dict):
            return {key: keep(item) for key, item in value.items()}
        return [keep(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(keep(data))
    for number, raw in enumerate(found):
        text = text.replace(f'"@@{number}@@"', raw, 1)
    return text.encode("utf-8", "surrogatepass")


class Mutator:
    """Makes changes by chance; the same seed makes the same ones."""

    def __init__(self, kind: str, seed: int) -> None:
        self.random = random.Random(f"{kind} {seed}")

    def one_of(self, choices: Any) -> Any:
        return self.random.choice(list(choices))

    def value(self) -> Any:
        """Something that is not expected."""
        number = Raw(self.one_of(NUMBERS))
        deep: Any = number
        for _ in range(self.one_of((3, 40, 200))):
            deep = [deep] if self.random.random() < 0.5 else {"a": deep}
        plain = [None, True, False, [], {}, number, self.one_of(TEXTS), number, self.one_of(TEXTS)]
        return self.one_of([*plain, deep, [number] * 50, {"x": number}, ["x0"] * 1000])

    # --- documents ---

    def document(self, data: Any, changes: int | None = None) -> bytes:
        """A document after some changes, as text."""
        for _ in range(changes or self.one_of((1, 1, 1, 2, 3))):
            data = self.changed(data)
        text = text_of(data)
        return self.bytes(text) if self.random.random() < 0.05 else text

    def changed(self, data: Any) -> Any:
        holder: list[Any] = [data]
        parent, key = self.place(holder)
        self.one_of(
            [self.replace, self.replace, self.nudge, self.nudge, self.drop, self.grow, self.swap,
             self.rename, self.copy]
        )(parent, key, holder)  # fmt: skip
        return holder[0]

    def place(self, holder: list[Any]) -> tuple[Any, Any]:
        """Some place in a document: a container and a key, each level as likely as the next."""
        parent, key = holder, 0
        while isinstance(parent[key], (dict, list)) and parent[key] and self.random.random() < 0.85:
            inner = parent[key]
            parent, key = (
                inner,
                self.one_of(inner if isinstance(inner, dict) else range(len(inner))),
            )
        return parent, key

    def replace(self, parent: Any, key: Any, holder: list[Any]) -> None:
        parent[key] = self.value()

    def nudge(self, parent: Any, key: Any, holder: list[Any]) -> None:
        """Another value of the same type."""
        value = parent[key]
        if isinstance(value, bool):
            parent[key] = not value
        elif isinstance(value, int):
            parent[key] = self.one_of([value + 1, value - 1, -value, value * 1000, value + 10**9])
        elif isinstance(value, float):
            parent[key] = self.one_of([-value, value * 1e300, value + 1, value / 1e300, 0.0])
        elif isinstance(value, str):
            parent[key] = self.one_of([value + "x", value[:-1], value + "\x1b[31m", value * 2, "a"])
        else:
            parent[key] = self.value()

    def drop(self, parent: Any, key: Any, holder: list[Any]) -> None:
        del parent[key]
        if not holder:
            holder.append(None)

    def grow(self, parent: Any, key: Any, holder: list[Any]) -> None:
        """A list with an item many times, or an object with more fields."""
        if isinstance(parent, list):
            parent[key:key] = [parent[key]] * self.one_of((1, 2, 10, 3000))
        else:
            parent.update({f"{key}{k}": parent[key] for k in range(self.one_of((1, 5, 300)))})

    def swap(self, parent: Any, key: Any, holder: list[Any]) -> None:
        other, place = self.place(holder)
        parent[key], other[place] = other[place], parent[key]
        if self.cyclic(holder):
            holder[0] = None

    def copy(self, parent: Any, key: Any, holder: list[Any]) -> None:
        other, place = self.place(holder)
        parent[key] = json.loads(json.dumps(other[place]))

    def rename(self, parent: Any, key: Any, holder: list[Any]) -> None:
        if isinstance(parent, dict):
            parent[self.one_of([*TEXTS[:20], *parent])] = parent.pop(key)
        else:
            self.random.shuffle(parent)

    def cyclic(self, data: Any) -> bool:
        try:
            json.dumps(data)
        except (ValueError, RecursionError):
            return True
        return False

    # --- bytes ---

    def bytes(self, data: bytes) -> bytes:
        """Flipped, cut out, put in twice, or cut off."""
        found = bytearray(data)
        for _ in range(self.one_of((1, 1, 2, 8))):
            at = self.random.randrange(len(found) + 1)
            length = self.one_of((1, 2, 4, 8, 64))
            how = self.random.randrange(5)
            if how == 0 and at < len(found):
                found[at] ^= 1 << self.random.randrange(8)
            elif how == 1:
                found[at : at + length] = self.random.randbytes(length)
            elif how == 2:
                del found[at : at + length]
            elif how == 3:
                found[at:at] = found[at : at + length]
            elif self.random.random() < 0.2:
                del found[at:]
        return bytes(found)

    # --- artifacts ---

    def artifact(self, members: Mapping[str, bytes], target: Path) -> None:
        found = dict(members)
        for _ in range(self.one_of((1, 1, 2))):
            name = self.one_of(_weighted(found))
            if name.endswith(".json"):
                found[name] = self.document(json.loads(members[name]))
            else:
                found[name] = self.tensors(members[name])
        if self.random.random() < 0.05:
            self.rename(found, self.one_of(found), [found])
            found = {_member_name(name): data for name, data in found.items()}
            found.setdefault("manifest.json", members["manifest.json"])
        try:
            artifact_of(found, target)
        except (
            ValueError,
            TypeError,
            AttributeError,
            zipfile.error,
        ):  # the manifest itself is none
            zip_of(found, target)
        if self.random.random() < 0.1:
            target.write_bytes(self.zip(target.read_bytes()))

    def zip(self, data: bytes) -> bytes:
        """Sizes, counts, checksums and names in the directory at the end."""
        found = bytearray(data)
        for _ in range(self.one_of((1, 1, 3))):
            signature = self.one_of((b"PK\1\2", b"PK\5\6", b"PK\3\4"))
            places = [k for k in range(len(found)) if found[k : k + 4] == signature]
            if not places:
                break
            at = self.one_of(places) + self.random.randrange(4, 46)
            value = self.one_of((0, 1, 2**16 - 1, 2**32 - 1, 2**31, 20))
            struct.pack_into(self.one_of(("<H", "<B")), found, min(at, len(found) - 2), value & 255)
            if self.random.random() < 0.5 and at + 4 < len(found):
                struct.pack_into("<I", found, at, value)
        return self.bytes(bytes(found)) if self.random.random() < 0.2 else bytes(found)

    # --- tensors ---

    def tensors(self, data: bytes) -> bytes:
        """A safetensors file with another header, or other bytes."""
        (length,) = struct.unpack("<Q", data[:8])
        header, rest = data[8 : 8 + length], data[8 + length :]
        how = self.random.random()
        if how < 0.15:
            return self.bytes(data)
        if how < 0.4 and rest:
            return data[: 8 + length] + self.bytes(rest)[: len(rest)].ljust(len(rest), b"\0")
        text = self.document(json.loads(header))
        size = len(text) if self.random.random() < 0.95 else self.one_of((0, 1, 2**40, 2**63))
        return struct.pack("<Q", size) + text + rest

    def recording(self, data: bytes) -> bytes:
        """A recording; mostly what its metadata tells is changed."""
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        if self.random.random() < 0.3:
            return self.tensors(data)
        told = json.loads(header["__metadata__"]["symcompile.recording"])
        text = self.document(told).decode("utf-8", "replace")
        header["__metadata__"]["symcompile.recording"] = text
        written = json.dumps(header).encode()
        return struct.pack("<Q", len(written)) + written + data[8 + length :]

    def journal(self, data: bytes) -> bytes:
        """A sealed line of JSON, sealed anew."""
        body = self.document(json.loads(data.partition(b"\n")[2]))
        if self.random.random() < 0.1:
            return self.bytes(data)
        return hashlib.sha256(body).hexdigest().encode() + b"\n" + body

    # --- ONNX ---

    def onnx(self, model: onnx.ModelProto) -> bytes:
        found = onnx.ModelProto()
        found.CopyFrom(model)
        for _ in range(self.one_of((1, 1, 2, 3))):
            ours = [one for one in found.metadata_props if one.key.startswith("symcompile.")]
            if ours and self.random.random() < 0.4:
                entry = self.one_of(ours)
                try:
                    entry.value = self.document(json.loads(entry.value)).decode("utf-8", "replace")
                except ValueError:
                    entry.value = self.one_of(TEXTS[:8])
            else:
                self.message(found)
        data = found.SerializePartialToString()
        return self.bytes(data) if self.random.random() < 0.1 else data

    def message(self, message: Any) -> None:
        """A field of some message inside of a message."""
        while True:
            inner = [
                one
                for field, value in message.ListFields()
                if field.type == field.TYPE_MESSAGE
                for one in (value if _many(field) else [value])
            ]
            if not inner or self.random.random() < 0.2:
                break
            message = self.one_of(inner)
        field = self.one_of(message.DESCRIPTOR.fields)
        try:
            self.field(message, field)
        except (TypeError, ValueError, AttributeError, OverflowError):
            message.ClearField(field.name)

    def field(self, message: Any, field: Any) -> None:
        many = _many(field)
        how = self.random.random()
        if how < 0.2:
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            self.inner(message, field, many)
        elif many:
            values = list(getattr(message, field.name))
            values += [self.scalar(field)] * self.one_of((1, 1, 3, 500))
            self.random.shuffle(values)
            message.ClearField(field.name)
            getattr(message, field.name).extend(values[: self.one_of((0, 1, len(values)))])
        else:
            setattr(message, field.name, self.scalar(field))

    def inner(self, message: Any, field: Any, many: bool) -> None:
        if not many:
            getattr(message, field.name).SetInParent()
            return
        values = getattr(message, field.name)
        if len(values) and self.random.random() < 0.6:
            for _ in range(self.one_of((1, 2, 300))):
                values.add().CopyFrom(values[self.random.randrange(len(values))])
        elif len(values):
            del values[self.random.randrange(len(values))]
        else:
            values.add()

    def scalar(self, field: Any) -> Any:
        if field.type == field.TYPE_STRING:
            return self.one_of(TEXTS).encode("utf-8", "replace").decode()
        if field.type == field.TYPE_BYTES:
            return self.random.randbytes(self.one_of((0, 1, 4, 100)))
        if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
            return self.one_of((0.0, -1.0, 1e38, float("nan"), float("inf"), 1e-40))
        return self.one_of((0, 1, 2, 3, 7, 16, 99, -1, 1000, 2**31 - 1, -(2**31), 2**63 - 1))


def _many(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if repeated is None else repeated)


def _member_name(name: str) -> str:
    """One that a zip can hold, whatever it says."""
    return name.encode("utf-8", "replace").decode()[:1000] or "x"


def _weighted(members: Mapping[str, bytes]) -> list[str]:
    """Names of members, those more often in which there is more to read."""
    names = [*members]
    for name, times in (("outcomes.json", 14), ("graph.json", 5), ("recording.json", 4)):
        names += [name] * times * (name in members)
    return names


def zip_of(members: Mapping[str, bytes], target: Path) -> None:
    """With the checksum of the manifest alone."""
    data = BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        stamp = hashlib.sha256(members["manifest.json"]).hexdigest()
        archive.comment = f"symc sha256={stamp}".encode()
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    target.write_bytes(data.getvalue())


def mutant(kind: str, seed: int, bases: list[Path], target: Path) -> Path:
    """Write the mutant of a kind with a seed; one of the valid files is what it starts from."""
    change = Mutator(kind, seed)
    base = change.one_of(bases)
    if kind == "symc":
        change.artifact(members_of(base), target)
    elif kind == "manifest":
        target.write_bytes(change.document(json.loads(base.read_bytes())))
    elif kind == "onnx":
        target.write_bytes(change.onnx(onnx.load(base)))
    else:
        changed: Callable[[bytes], bytes] = getattr(change, kind)
        target.write_bytes(changed(base.read_bytes()))
    return target
