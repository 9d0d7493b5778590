"""Constants and attributes of ONNX nodes as text; long text is cut, with a digest of all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from symcompile.diff.onnx.calls import graphs_of
from symcompile.diff.onnx.tensors import Tensors, is_external, small_array
from symcompile.storage.codecs import printable
from symcompile.storage.schema import Tensor

MOST_SHOWN = 16  # values of a constant that is no weight
_LONGEST = 400  # characters of one attribute
_STANDARD = ("", "ai.onnx")


def operator_name(node: Any) -> str:
    """With its domain where it is not the standard one."""
    overload = f":{node.overload}" if node.overload else ""
    name = node.op_type + overload
    return printable(name if node.domain in _STANDARD else f"{node.domain}::{name}", 200)


def is_constant(node: Any) -> bool:
    return node.op_type == "Constant" and node.domain in _STANDARD


def plain_text(value: str | bytes) -> str:
    """Text of a file, quoted where it is no plain word, in which % and @ mean nothing."""
    plain = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    quoted = plain if plain.isidentifier() else repr(plain)
    return bounded(quoted.replace("%", "\\x25").replace("@", "\\x40"))


def bounded(text: str) -> str:
    """Long text as its beginning and a digest of all of it."""
    if len(text) > _LONGEST:
        text = f"{text[:80]}... ({len(text)} characters, {digest(text)})"
    return printable(text)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def constant_text(tensor: Any, described: Tensor, rank: int = 0) -> str | None:
    """Values of a tensor that is no weight; None for a weight.

    That is whatever is long, and floating-point numbers of more dimensions than `rank`.
    """
    floating = described.dtype.startswith(("float", "bfloat", "complex"))
    if is_external(tensor) or (floating and len(tensor.dims) > rank):
        return None
    values = small_array(tensor, MOST_SHOWN)
    if values is None:
        return None
    return _numbers(values) if values.dtype.kind == "f" else str(values.tolist())


def _numbers(values: Any) -> str:
    """As few digits as tell a number from its neighbours of the same type."""
    texts = np.array([str(value) for value in values.reshape(-1)], dtype=object)
    return str(texts.reshape(values.shape).tolist()).replace("'", "")


def tensor_text(tensor: Any, tensors: Tensors) -> str:
    described = tensors.describe(tensor)
    text = constant_text(tensor, described, rank=1)
    return text or f"{described.dtype}{list(described.shape)} {described.digest}"


def settings(node: Any, graph_text: Callable[[Any], str], tensors: Tensors) -> str:
    """The attributes of a node, by name in the order of the alphabet."""
    texts = sorted((a.name, attribute_text(a, graph_text, tensors)) for a in node.attribute)
    return ", ".join(f"{plain_text(name)}={text}" for name, text in texts)


def attribute_text(attribute: Any, graph_text: Callable[[Any], str], tensors: Tensors) -> str:
    """The value of an onnx.AttributeProto."""
    if attribute.ref_attr_name:
        return f"attribute {plain_text(attribute.ref_attr_name)}"
    if graphs := graphs_of(attribute):
        return bounded(" ".join(map(graph_text, graphs)))
    if attribute.HasField("t") or attribute.tensors:
        parts = [attribute.t] if attribute.HasField("t") else attribute.tensors
        return ", ".join(tensor_text(part, tensors) for part in parts)
    if attribute.HasField("f"):
        return str(np.float32(attribute.f))
    if attribute.HasField("i"):
        return str(attribute.i)
    if attribute.HasField("s"):
        return plain_text(attribute.s)
    if attribute.floats:
        return bounded("[" + ", ".join(str(np.float32(value)) for value in attribute.floats) + "]")
    if attribute.strings:
        return bounded("[" + ", ".join(map(plain_text, attribute.strings)) + "]")
    return bounded(str(list(attribute.ints)))
