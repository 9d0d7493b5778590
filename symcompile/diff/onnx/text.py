"""Constants, attributes and graphs inside of nodes as text, in which names of values mean nothing.

Long text is cut and has a digest of all of it.
"""

from __future__ import annotations

import hashlib
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

import numpy as np

from symcompile.diff.onnx.calls import Calls, Step, call_of, graphs_of, steps
from symcompile.diff.onnx.tensors import Tensors, is_external, small_array
from symcompile.diff.snapshot import Tensor
from symcompile.errors import ArtifactError, shown
from symcompile.storage.codecs import printable

MOST_SHOWN = 16  # values of a constant that is no weight
_LONGEST = 400  # characters of one attribute
_STANDARD = ("", "ai.onnx")
_DEEPEST = 50  # calls of local functions inside of each other


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
        text = f"{text[:80]}... ({len(text)} characters, {_digest(text)})"
    return printable(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


# --- constants -----------------------------------------------------------------------------------


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


def _tensor(tensor: Any, tensors: Tensors) -> str:
    described = tensors.describe(tensor)
    text = constant_text(tensor, described, rank=1)
    return text or f"{described.dtype}{list(described.shape)} {described.digest}"


# --- attributes ----------------------------------------------------------------------------------


def settings(node: Any, graph_text: Callable[[Any], str], tensors: Tensors) -> str:
    """The attributes of a node, by name in the order of the alphabet."""
    found = sorted(node.attribute, key=lambda one: one.name)
    return ", ".join(
        f"{plain_text(one.name)}={attribute_text(one, graph_text, tensors)}" for one in found
    )


def attribute_text(one: Any, graph_text: Callable[[Any], str], tensors: Tensors) -> str:
    """The value of an onnx.AttributeProto."""
    if one.ref_attr_name:
        return f"attribute {plain_text(one.ref_attr_name)}"
    if graphs := graphs_of(one):
        return bounded(" ".join(map(graph_text, graphs)))
    if one.HasField("t") or one.tensors:
        return ", ".join(
            _tensor(t, tensors) for t in ([one.t] if one.HasField("t") else one.tensors)
        )
    if one.HasField("f"):
        return str(np.float32(one.f))
    if one.HasField("i"):
        return str(one.i)
    if one.HasField("s"):
        return plain_text(one.s)
    if one.floats:
        return bounded("[" + ", ".join(str(np.float32(value)) for value in one.floats) + "]")
    if one.strings:
        return bounded("[" + ", ".join(map(plain_text, one.strings)) + "]")
    return bounded(str(list(one.ints)))


# --- graphs inside of nodes, and bodies of functions ---------------------------------------------


class Inner:
    """Writes the graphs of one node, their values numbered in order.

    Attributes:
        captured: number of each value from around the node, by name.
        unclear: names of calls of blocks that can't be told exactly.
    """

    def __init__(
        self,
        around: Callable[[str], str | None],
        tensors: Tensors,
        calls: Calls,
        functions: Mapping[str, str],
    ) -> None:
        """`around` gives the text of a constant from around the node, None for other values."""
        self.around, self.tensors, self.calls = around, tensors, calls
        self.functions = functions
        self.captured: dict[str, int] = {}
        self.unclear: list[str] = []
        self.count = 0

    def __call__(self, graph: Any) -> str:
        return self._graph(graph, {})

    def body(self, function: Any) -> str:
        """The body of an onnx.FunctionProto."""
        names: dict[str, str] = {}
        self._number(function.input, names)
        return self._nodes(function.node, function.output, names)

    def _graph(self, graph: Any, around: MutableMapping[str, str]) -> str:
        names: MutableMapping[str, str] = ChainMap({}, around)
        for tensor in graph.initializer:
            names[tensor.name] = _tensor(tensor, self.tensors)
        self._number([v.name for v in graph.input if v.name not in names], names)
        return self._nodes(graph.node, [value.name for value in graph.output], names)

    def _nodes(
        self, nodes: Iterable[Any], returned: Iterable[str], names: MutableMapping[str, str]
    ) -> str:
        plain, returned = [], list(returned)
        for node in nodes:
            single = len(node.output) == 1 and call_of(node) not in self.calls.flat
            if is_constant(node) and single:
                names[node.output[0]] = f"({settings(node, self._no_graph, self.tensors)})"
            else:
                plain.append(node)
        found, unclear = steps(plain, returned, self.calls)
        self.unclear += unclear
        lines = [self._step(step, names) for step in found]
        results = ", ".join(self._value(name, names) for name in returned)
        return "{" + "; ".join([*lines, f"return {results}"]) + "}"

    def _step(self, step: Step, names: MutableMapping[str, str]) -> str:
        args = ", ".join(self._value(name, names) if name else "none" for name in step.inputs)
        if step.region is not None:
            text = f"region:{plain_text(step.region)}({args})"
        else:
            (node,) = step.nodes
            inner = settings(node, lambda graph: self._graph(graph, names), self.tensors)
            body = self.functions.get(f"{node.domain}::{node.op_type}", "")
            text = f"{operator_name(node)}({args})[{inner}]{body}"
        self._number([name for name in step.outputs if name], names)
        return text

    def _number(self, made: Iterable[str], names: MutableMapping[str, str]) -> None:
        for name in made:
            names[name] = f"#{self.count}"
            self.count += 1

    def _value(self, name: str, names: Mapping[str, str]) -> str:
        if name in names:
            return names[name]
        text = self.around(name)
        if text is not None:
            return text
        return f"${self.captured.setdefault(name, len(self.captured))}"

    def _no_graph(self, graph: Any) -> str:
        raise ArtifactError("a constant of its graph is a graph")


def function_digests(functions: Iterable[Any], tensors: Tensors) -> dict[str, str]:
    """Digest of the body of each onnx.FunctionProto, those that it calls included, by
    "domain::name".

    Raises ArtifactError where functions call themselves or each other very deeply.
    """
    bodies = {f"{one.domain}::{one.name}": one for one in functions}
    found: dict[str, str] = {}

    def visit(key: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise ArtifactError(
                f"its function {shown(key)} is called inside of itself, or too deep"
            )
        for node in bodies[key].node:
            called = f"{node.domain}::{node.op_type}"
            if called in bodies and called not in found:
                visit(called, depth + 1)
        inner = Inner(_nothing_around, tensors, Calls(), found)
        found[key] = _digest(inner.body(bodies[key]))

    for key in bodies:
        if key not in found:
            visit(key, 0)
    return found


def _nothing_around(name: str) -> str | None:
    raise ArtifactError(f"a function of its reads {shown(name)}, which nobody makes")
