"""Build a torch.fx.GraphModule from a stored graph, see `symcompile.aten.document`.

The document comes from a file that anyone may have written. Everything is checked before torch
sees it: types, names, references only to what stands before, and every operator against the
whitelist. torch.fx turns a graph into Python source, so no text of the file may reach that source
but as a checked identifier or as a quoted string.
"""

from __future__ import annotations

import cmath
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from symcompile.aten.operators import resolve
from symcompile.aten.signature import Json, check_signature, rows_under
from symcompile.aten.values import decode_value, identifier, make_named, no_leaf, qualified_name
from symcompile.errors import ArtifactError
from symcompile.modules.calling import submodule_path

MAX_MODULES = 200_000  # counted with those that they lie in, once for each

# What fx keeps in an instance and makes anew with a graph.
_OF_FX = ("_graph", "_code", "_lineno_map", "_prologue_start", "_replace_hooks")


@dataclass(frozen=True)
class StoredGraph:
    """A graph document and the tensors that it names."""

    document: Json
    tensors: dict[str, torch.Tensor]


class StoredModel(fx.GraphModule):
    """A model that was read from a file.

    It keeps parameters that its graph does not use, and what in its graph depends on the mode, when
    it is copied or pickled; its base class keeps neither.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> StoredModel:
        other = _empty_model(type(self).__name__)
        memo[id(self)] = other
        other.__dict__.update(copy.deepcopy(self._own_state(), memo))
        other.graph = copy.deepcopy(self.graph)
        return other

    def __reduce__(self) -> Any:
        source = self.__dict__.get("_origin")
        if source is None or self.code != source.code:  # someone has edited the graph since
            return super().__reduce__()
        return _rebuilt, (type(self).__name__, source, self._own_state())

    def _own_state(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in _OF_FX}


@dataclass(frozen=True)
class _Provenance:
    """What a graph was built from, and the code that it had then."""

    document: Json
    paths: frozenset[str]
    device: torch.device
    code: str

    def __deepcopy__(self, memo: dict[int, Any]) -> _Provenance:
        return self  # nobody changes it, and the document is as large as the graph


def decode(
    stored: StoredGraph,
    blocks: Mapping[str, nn.Module] | None = None,
    *,
    device: torch.device | str = "cpu",
    name: str = "StoredModel",
) -> StoredModel:
    """The model of a stored graph, with `blocks` in the places of its regions, by region path.

    Every device in the graph becomes `device`. Raises ArtifactError naming the part of the document
    that is not what a writer produces; nothing of it is run.
    """
    document, blocks, device = stored.document, blocks or {}, torch.device(device)
    shapes = document.get("shapes") if type(document) is dict else None
    if type(shapes) is not dict or not {"dynamic", "note"} <= set(shapes):
        raise ArtifactError("graph: it is not the JSON object of a graph")
    model = _empty_model(identifier(name))
    decoder = _GraphDecoder(document, frozenset(blocks), device)
    graph = decoder.build()
    rows = rows_under(document, "state")
    # Empty modules in the order of the original's, so that state dicts have the same order.
    for path in _module_names(document, rows, decoder.modes):
        _container(model, path)
    _install_state(model, rows, stored.tensors, device)
    for path in decoder.modes:
        _container(model, path)
    model.graph = graph
    model.__dict__["_origin"] = _Provenance(document, decoder.paths, device, model.code)
    # Before the blocks come in: they have modes of their own.
    _set_modes(model, document.get("training"))
    _place_blocks(model, document, blocks)
    return model


def origin_of(module: nn.Module, paths: set[str]) -> Json | None:
    """The document that a model was built from; None if it was edited or has other regions."""
    source = module.__dict__.get("_origin")
    if not isinstance(module, StoredModel) or not isinstance(source, _Provenance):
        return None
    return source.document if source.paths == paths and source.code == module.code else None


def _rebuilt(name: str, source: _Provenance, state: dict[str, Any]) -> StoredModel:
    """Unpickle a StoredModel."""
    model = _empty_model(name)
    model.__dict__.update(state)
    model.graph = _GraphDecoder(source.document, source.paths, source.device).build()
    return model


def _empty_model(name: str) -> StoredModel:
    return StoredModel(nn.Module(), fx.Graph(), name)


# --- parameters, buffers and blocks ------------------------------------------------------------


def _module_names(document: Json, state: list[Json], modes: set[str]) -> list[str]:
    """The names of modules; ArtifactError before more of them are made than a model has."""
    names = document.get("modules")
    if type(names) is not list:
        raise ArtifactError("graph: 'modules' is not a list of names")
    owners = (str(row.get("name")).rpartition(".")[0] for row in state)
    count = 0
    for name in {*map(qualified_name, names), *owners, *modes}:
        count += 1 + name.count(".")
        if count > MAX_MODULES:
            raise ArtifactError(f"graph: its names stand for more than {MAX_MODULES} modules")
    return names


def _install_state(
    model: nn.Module, rows: list[Json], tensors: Mapping[str, torch.Tensor], device: torch.device
) -> None:
    shared: dict[str, Any] = {}
    for row in rows:
        name, key, kind = qualified_name(row.get("name")), row.get("tensor"), row.get("kind")
        if type(key) is not str or key not in tensors:
            raise ArtifactError(
                f"graph: {name!r} names tensor {key!r}, which the file does not hold"
            )
        if kind not in ("parameter", "buffer", "constant"):
            raise ArtifactError(f"graph: {name!r} is of kind {kind!r}")
        if key not in shared:
            tensor, requires_grad = tensors[key].to(device), row.get("requires_grad") is True
            if requires_grad and not (tensor.is_floating_point() or tensor.is_complex()):
                raise ArtifactError(f"graph: {name!r} of {tensor.dtype} can't require a gradient")
            shared[key] = tensor.requires_grad_(requires_grad)
            if kind == "parameter":
                shared[key] = nn.Parameter(tensor, requires_grad)
        parent, _, leaf = name.rpartition(".")
        owner = _container(model, parent)
        try:
            if kind == "parameter":
                owner.register_parameter(leaf, shared[key])
            else:
                persistent = row.get("persistent") is True
                owner.register_buffer(leaf, shared[key], persistent=persistent)
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"graph: {name!r} can't be a {kind}: {error}") from error


def _container(model: nn.Module, path: str) -> nn.Module:
    """The submodule at a path, made where there is none."""
    for name in filter(None, path.split(".")):
        if name not in model._modules:
            try:
                model.add_module(name, nn.Module())
            except KeyError as error:
                raise ArtifactError(f"graph: {path!r} can't be a module: {error}") from error
        child = model._modules[name]
        assert child is not None
        model = child
    return model


def _place_blocks(model: nn.Module, document: Json, blocks: Mapping[str, nn.Module]) -> None:
    """Put the block of each region under every name that it had."""
    aliases = document.get("aliases")
    if type(aliases) is not dict:
        raise ArtifactError("graph: 'aliases' is not an object")
    for path, block in blocks.items():
        others = aliases.get(path, [])
        if type(others) is not list:
            raise ArtifactError("graph: 'aliases' does not hold lists of names")
        for name in (submodule_path(path), *others):
            parent, _, leaf = qualified_name(name).rpartition(".")
            _container(model, parent)._modules[leaf] = block


def _set_modes(model: nn.Module, data: Any) -> None:
    if type(data) is not dict or type(data.get("model")) is not bool:
        raise ArtifactError("graph: 'training' does not say in which mode the model was")
    others = data.get("others")
    if type(others) is not list or not all(type(name) is str for name in others):
        raise ArtifactError("graph: 'training' does not list modules")
    model.train(data["model"])
    for name, module in model.named_modules():
        if name in others:
            module.training = not data["model"]


# --- the graph ---------------------------------------------------------------------------------


class _GraphDecoder:
    """Turns the rows of a document into fx nodes, checking each on the way."""

    def __init__(self, document: Json, paths: frozenset[str], device: torch.device) -> None:
        self.document, self.paths, self.device = document, paths, device
        self.graph = fx.Graph()
        self.nodes: dict[str, fx.Node] = {}
        self.parameters: dict[str, fx.Node] = {}
        self.attributes: dict[str, fx.Node] = {}
        self.modes: set[str] = set()
        self.state = {row.get("name") for row in rows_under(document, "state")}

    def build(self) -> fx.Graph:
        check_signature(self.document)
        for row in rows_under(self.document, "signature"):
            self.add_parameter(row)
        for row in rows_under(self.document, "containers"):
            if type(row.get("length")) is not int:
                raise ArtifactError(f"graph: length {row.get('length')!r} is not a whole number")
            self.expect(expect_length, row, row["length"])
        for row in rows_under(self.document, "constants"):
            self.expect(expect_value, row, self.value(row.get("value")))
        for row in rows_under(self.document, "inputs"):
            self.define(row, self.pick(row))
        for row in rows_under(self.document, "nodes"):
            self.define(row, self.call(row))
        if "output" not in self.document:
            raise ArtifactError("graph: it has no output")
        self.graph.output(self.returned(self.document["output"]))
        return self.graph

    def add_parameter(self, row: Json) -> None:
        target = str(row["name"])
        name = identifier(target.lstrip("*"))
        default = (self.value(row["default"]),) if "default" in row else ()
        if default and not (default[0] is None or type(default[0]) in (bool, int, float, str)):
            raise ArtifactError(f"graph: default of {name!r} is not a plain value")
        self.parameters[name] = self.graph.create_node("placeholder", target, default, {}, name)

    def pick(self, row: Json) -> fx.Node:
        """The node of a value inside the arguments."""
        target, keys = row.get("parameter"), row.get("keys")
        node = self.parameters.get(target.lstrip("*")) if type(target) is str else None
        if node is None or type(keys) is not list or {*map(type, keys)} - {int, str}:
            raise ArtifactError(f"graph: an input is taken from {target!r}, {keys!r}")
        for key in keys:
            node = self.graph.call_function(resolve("getitem"), (node, key))
        return node

    def expect(self, function: Callable[..., None], row: Json, expected: Any) -> None:
        """Have a value inside the arguments, opts['a'] in messages, checked at every call."""
        node, keys = self.pick(row), "".join(f"[{key!r}]" for key in row["keys"])
        self.graph.call_function(function, (node, expected, f"{row['parameter']}{keys}"))

    def define(self, row: Json, node: fx.Node) -> None:
        name = identifier(row.get("name"))
        if name in self.nodes:
            raise ArtifactError(f"graph: two nodes are called {name!r}")
        self.nodes[name] = node

    def call(self, row: Json) -> fx.Node:
        name, op, args, kwargs = (row.get(key) for key in ("name", "op", "args", "kwargs"))
        if type(args) is not list or type(kwargs) is not dict or type(op) is not str:
            raise ArtifactError(f"graph: node {name!r} has no operator with arguments")
        values = tuple(self.value(arg) for arg in args)
        named = {identifier(key): self.value(arg) for key, arg in kwargs.items()}
        name = identifier(name)
        if op != "region":
            return self.graph.create_node("call_function", resolve(op), values, named, name)
        path = row.get("path")
        if path not in self.paths:
            raise ArtifactError(f"graph: node {name!r} calls region {path!r}, which is not listed")
        target = submodule_path(qualified_name(path) if path != "." else path)
        return self.graph.create_node("call_module", target, values, named, name)

    def value(self, data: Any) -> Any:
        return decode_value(data, self.reference, self.device)

    def reference(self, data: Json) -> Any:
        if set(data) == {"node"}:
            if type(data["node"]) is not str or data["node"] not in self.nodes:
                raise ArtifactError(f"graph: it reads node {data['node']!r} before there is one")
            return self.nodes[data["node"]]
        if set(data) == {"state"}:
            if type(data["state"]) is not str or data["state"] not in self.state:
                raise ArtifactError(f"graph: it reads {data['state']!r}, which it does not hold")
            return self.attribute(qualified_name(data["state"]))
        if "training" in data and set(data) <= {"training", "times"}:
            return self.mode(data["training"], data.get("times"))
        if set(data) == {"complex"}:
            number = decode_value(data, no_leaf, self.device)
            if not cmath.isfinite(number):  # in source it would read (inf+nanj)
                return self.graph.call_function(complex, (number.real, number.imag))
            return number
        return NotImplemented

    def mode(self, name: Any, rate: Any) -> fx.Node:
        """Whether a module is in training mode, or a rate that is zero where it is not."""
        path = qualified_name(name) if name != "" else ""
        self.modes.add(path)
        flag = self.attribute(f"{path}.training".lstrip("."))
        if rate is None:
            return flag
        if type(rate) is not float:
            raise ArtifactError(f"graph: rate {rate!r} is not a number")
        return self.graph.call_function(resolve("mul"), (flag, rate))

    def attribute(self, target: str) -> fx.Node:
        if target not in self.attributes:
            self.attributes[target] = self.graph.create_node("get_attr", target)
        return self.attributes[target]

    def returned(self, data: Any) -> Any:
        """The returned structure; a named tuple, which may hold nodes, is made by a call."""

        def made_by_a_call(*parts: Any) -> fx.Node:
            return self.graph.call_function(make_named, parts)

        return decode_value(data, self.reference, self.device, made_by_a_call)


# --- what a stored graph calls besides operators -----------------------------------------------


def expect_value(value: Any, expected: Any, name: str) -> None:
    """Refuse a call whose constant argument is not the one that the graph was saved with."""
    if isinstance(value, fx.Proxy) or value is expected:
        return
    alike = type(value) is type(expected) and not isinstance(value, torch.Tensor)
    both_nan = alike and value != value and expected != expected  # NaN is unequal to itself
    if not both_nan and not (alike and value == expected):
        text = "a tensor" if isinstance(value, torch.Tensor) else repr(value)
        raise ArtifactError(
            f"argument {name} is {text}: this model was saved for {expected!r} only;"
            " save it with an example that has the other value"
        )


def expect_length(value: Any, expected: int, name: str) -> None:
    """Refuse a call with more or fewer items in a tuple, list or dict."""
    if not isinstance(value, fx.Proxy) and len(value) != expected:
        raise ArtifactError(
            f"argument {name} has {len(value)} items: this model was saved for {expected}"
        )
