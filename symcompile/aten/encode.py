"""An exported program as a plain JSON graph; `symcompile.aten.graph` describes the format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch._ops import HigherOrderOperator
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from symcompile.aten.operators import is_in_place, stored_name
from symcompile.aten.signature import read_inputs, read_signature, user_inputs
from symcompile.aten.values import DTYPES, encode_value, qualified_name
from symcompile.errors import ArtifactError
from symcompile.modules.calling import Batch, submodule_path
from symcompile.modules.region import Interface, Region
from symcompile.modules.region_call import build_arguments, build_structure

# Checks that torch.export writes into a graph for its own use; they compute nothing.
_CHECKS = {
    "aten._assert_tensor_metadata.default",
    "aten._assert_scalar.default",
    "aten._assert_async.msg",
    "aten.sym_constrain_range.default",
    "aten.sym_constrain_range_for_size.default",
}

Json = dict[str, Any]


def encode_program(
    program: ExportedProgram, example: Batch, module: nn.Module, regions: Iterable[Region]
) -> tuple[Json, dict[str, torch.Tensor]]:
    """The graph of `program` as JSON, and the tensors that it names.

    `module` is what was exported, `example` the batch it was exported with; calls of `regions`
    are opaque nodes. Raises ArtifactError naming what a file can't hold.
    """
    known = {region.path: region for region in regions}
    state, tensors, names = read_state(module, known)
    reader = _Reader(program, known, {name for name, _ in module.named_modules()})
    reader.add_constants(state, tensors, names)
    inputs, constants, containers = read_inputs(program, example, module)
    reader.bind_inputs(inputs)
    reader.read_nodes()
    return {
        "state": state,
        "signature": read_signature(module),
        "inputs": inputs,
        "constants": constants,
        "containers": containers,
        "aliases": block_aliases(module, known),
        "modules": _module_names(module, known),
        "nodes": reader.live_nodes(),
        "output": reader.output,
    }, tensors


# --- parameters and buffers --------------------------------------------------------------------


def read_state(
    module: nn.Module, regions: Mapping[str, Region]
) -> tuple[list[Json], dict[str, torch.Tensor], set[str]]:
    """Every parameter and buffer outside of the regions, by its own name; tied ones share a tensor.

    Order and names are those of the module, so that state dicts fit.
    """
    inside = tuple(f"{home}." for home in _homes(module, regions))
    state: list[Json] = []
    tensors: dict[str, torch.Tensor] = {}
    stored: dict[int, str] = {}
    for name, kind, persistent, tensor in _named_tensors(module):
        if name.startswith(inside):
            continue
        key = stored.setdefault(id(tensor), qualified_name(name))
        if key == name:
            tensors[name] = plain_tensor(name, tensor)
        entry = {"name": name, "kind": kind, "tensor": key, "requires_grad": tensor.requires_grad}
        state.append(entry if kind == "parameter" else {**entry, "persistent": persistent})
    return state, tensors, {entry["name"] for entry in state}


def _module_names(module: nn.Module, regions: Mapping[str, Region]) -> list[str]:
    """Every module outside of the blocks, the blocks themselves included: they fix the order."""
    inside = tuple(f"{home}." for home in _homes(module, regions))
    names = [name for name, _ in module.named_modules(remove_duplicate=False)]
    return [qualified_name(name) for name in names if name and not name.startswith(inside)]


def _homes(module: nn.Module, regions: Mapping[str, Region]) -> list[str]:
    """Every name under which a block is registered."""
    others = [name for names in block_aliases(module, regions).values() for name in names]
    return [*map(submodule_path, regions), *others]


def block_aliases(module: nn.Module, regions: Mapping[str, Region]) -> dict[str, list[str]]:
    """The other names under which the block of a region is registered, where there are any."""
    blocks = {path: module.get_submodule(submodule_path(path)) for path in regions}
    named = list(module.named_modules(remove_duplicate=False)) if blocks else []
    found = {
        path: [name for name, part in named if part is block and name != submodule_path(path)]
        for path, block in blocks.items()
    }
    return {path: names for path, names in found.items() if names}


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, str, bool, torch.Tensor]]:
    for prefix, part in module.named_modules(remove_duplicate=False):
        before = f"{prefix}." if prefix else ""
        for name, parameter in part._parameters.items():
            if parameter is not None:
                yield before + name, "parameter", True, parameter
        for name, buffer in part._buffers.items():
            if buffer is not None:
                persistent = name not in part._non_persistent_buffers_set
                yield before + name, "buffer", persistent, buffer


def plain_tensor(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A contiguous copy on the CPU that shares memory with nothing."""
    if tensor.device.type == "meta":
        raise ArtifactError(f"{name!r} is on the meta device and holds no values to save")
    if tensor.layout is not torch.strided or tensor.dtype not in DTYPES.values():
        raise ArtifactError(
            f"{name!r} is a tensor of {tensor.dtype}, {tensor.layout}: can't save it"
        )
    plain = tensor.detach().resolve_conj().resolve_neg()
    return plain.to("cpu", copy=True).contiguous().as_subclass(torch.Tensor)


# --- nodes ---------------------------------------------------------------------------------------


class _Reader:
    """Walks an exported graph and writes one JSON row a node."""

    def __init__(
        self, program: ExportedProgram, regions: Mapping[str, Region], modules: set[str]
    ) -> None:
        self.program, self.regions, self.modules = program, regions, modules
        self.values: dict[fx.Node, Any] = {}
        self.nodes: list[Json] = []
        self.names: set[str] = set()
        self.results: dict[fx.Node, list[Json]] = {}
        self.output: Any = None

    def add_constants(
        self, state: list[Json], tensors: dict[str, torch.Tensor], names: set[str]
    ) -> None:
        """Bind parameters and buffers, and take in the tensors that a forward makes itself."""
        placeholders = [node for node in self.program.graph.nodes if node.op == "placeholder"]
        for node, spec in zip(placeholders, self.program.graph_signature.input_specs, strict=True):
            if spec.kind is InputKind.USER_INPUT:
                continue
            if spec.kind in (InputKind.CUSTOM_OBJ, InputKind.TOKEN) or spec.target is None:
                raise ArtifactError(
                    f"the model uses {spec.kind.name.lower()} {spec.target!r}: can't save"
                )
            self.values[node] = {"state": spec.target}
            if spec.target not in names:
                constant = self.program.constants[spec.target]
                names.add(spec.target)
                tensors[spec.target] = plain_tensor(qualified_name(spec.target), constant)
                state.append({"name": spec.target, "kind": "constant", "tensor": spec.target})

    def bind_inputs(self, inputs: list[Json]) -> None:
        used = {row["name"] for row in inputs}
        for node in user_inputs(self.program):
            if node.name in used:
                self.names.add(node.name)
                self.values[node] = {"node": node.name}

    def read_nodes(self) -> None:
        for node in self.program.graph.nodes:
            if node.op == "output":
                self.output = self.read_output(node)
            elif node.op == "call_function":
                self.values[node] = self.read_call(node, self.program.graph_module)

    def read_call(self, node: fx.Node, owner: nn.Module) -> Any:
        if node.target is torch.ops.symcompile.block.default:
            return self.read_region(node)
        if node.target is torch.ops.higher_order.wrap_with_set_grad_enabled:
            return self.read_grad_mode(node, owner)
        if isinstance(node.target, HigherOrderOperator):
            stored_name(node.target)  # says that it can't be stored
        if str(node.target) in _CHECKS:
            return None
        source = node.args[0] if node.args else None
        if source in self.results and isinstance(source, fx.Node):
            return self.results[source][node.args[1]]  # type: ignore[index, call-overload]
        args = [self.encode(arg) for arg in node.args]
        kwargs = {name: self.encode(arg) for name, arg in node.kwargs.items()}
        return self.emit(node.name, node.target, args, kwargs, self.scope(node))

    def read_region(self, node: fx.Node) -> None:
        """A call of a block with its own arguments; `results` remembers where its tensors are."""
        inputs, path = node.args[0], node.args[1]
        region = self.regions[str(path)]
        args, kwargs = build_arguments(region.interface, list(inputs))  # type: ignore[arg-type]
        encoded = {name: self.encode(arg) for name, arg in kwargs.items()}
        call = self.emit(node.name, "region", [self.encode(arg) for arg in args], encoded)
        self.nodes[-1]["path"] = region.path
        self.results[node] = [
            self.read_items(call, keys, node.name) for keys in _output_keys(region.interface)
        ]

    def read_items(self, value: Json, keys: Iterable[int | str], name: str) -> Json:
        for key in keys:
            value = self.emit(f"{name}_{key}", "getitem", [value, key], {})
        return value

    def read_grad_mode(self, node: fx.Node, owner: nn.Module) -> None:
        """`torch.no_grad()` inside of a forward: its graph in line, cut off from the gradient.

        With every tensor that enters and leaves detached, nothing inside can ask for a gradient,
        the constants of blocks included; writes in place still reach the tensor that was detached,
        as they do under no_grad.
        """
        enabled, reference, *given = node.args
        inner = getattr(owner, str(reference.target))  # type: ignore[union-attr]
        placeholders = [n for n in inner.graph.nodes if n.op == "placeholder"]
        for placeholder, value in zip(placeholders, given, strict=True):
            self.values[placeholder] = self.encode(value)
            if not enabled:
                self.values[placeholder] = self.detached(placeholder, node.name)
        for one in inner.graph.nodes:
            if one.op == "call_function":
                if not enabled and one.target is torch.ops.higher_order.wrap_with_set_grad_enabled:
                    raise ArtifactError(
                        "torch.enable_grad() inside of torch.no_grad() can't be saved"
                    )
                self.values[one] = self.read_call(one, inner)
            elif one.op == "output":
                outputs = one.args[0] if isinstance(one.args[0], (tuple, list)) else [one.args[0]]
                self.results[node] = [
                    self.encode(value) if enabled else self.detached(value, node.name)
                    for value in outputs
                ]

    def detached(self, value: Any, name: str) -> Any:
        """A value without its history, where it is a tensor."""
        if not isinstance(value, fx.Node) or not isinstance(value.meta.get("val"), torch.Tensor):
            return self.encode(value)
        found = self.encode(value)
        return self.emit(f"{name}_{value.name}", "aten.detach.default", [found], {})

    def read_output(self, node: fx.Node) -> Any:
        """The structure that the model returns, node by node."""
        specs = self.program.graph_signature.output_specs
        changed = [s.kind.name for s in specs if s.kind is not OutputKind.USER_OUTPUT]
        if changed:
            raise ArtifactError(
                f"the model's graph has outputs of kind {changed[0]}: can't save it"
            )
        leaves = [_Leaf(self.encode(value)) for value in node.args[0]]  # type: ignore[union-attr]
        structure = pytree.tree_unflatten(leaves, self.program.call_spec.out_spec)
        return encode_value(
            structure, lambda v: v.value if isinstance(v, _Leaf) else NotImplemented
        )

    def emit(self, name: str, op: Any, args: list[Any], kwargs: Json, scope: str = "") -> Json:
        """Add a row; `op` is a stored name, or a target that gets its name if the row is used."""
        unique, number = name, 1
        while unique in self.names:
            unique, number = f"{name}_{number}", number + 1
        self.names.add(unique)
        self.nodes.append(
            {"name": unique, "op": op, "args": args, "kwargs": kwargs, "scope": scope}
        )
        return {"node": unique}

    def encode(self, value: Any) -> Any:
        return encode_value(value, self.encode_node)

    def encode_node(self, value: Any) -> Any:
        if not isinstance(value, fx.Node):
            return NotImplemented
        if self.values.get(value) is None:
            raise ArtifactError(f"node {value.name!r} of the exported graph has no value to store")
        return self.values[value]

    def scope(self, node: fx.Node) -> str:
        """Qualified name of the module whose forward made the node."""
        stack = [str(entry[0]) for entry in (node.meta.get("nn_module_stack") or {}).values()]
        return stack[-1] if stack and stack[-1] in self.modules else ""

    def live_nodes(self) -> list[Json]:
        """The rows in use, with operators' names; the others fed checks of torch.export."""
        needed = set(_references(self.output))
        kept = []
        for row in reversed(self.nodes):
            target = row["op"]
            if target is torch.ops.aten.add_.Tensor and row["args"][1] is False:
                continue  # a loaded model's counter of batches, which rests in evaluation mode
            if row["name"] in needed or target == "region" or is_in_place(str(target)):
                needed.update(_references([row["args"], row["kwargs"]]))
                kept.append({**row, "op": target if type(target) is str else stored_name(target)})
        return kept[::-1]


class _Leaf:
    """An encoded output, so that it passes through a user's containers untouched."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _references(data: Any) -> Iterator[str]:
    """Names of the nodes in encoded values."""
    if isinstance(data, dict):
        if "node" in data and isinstance(data["node"], str):
            yield data["node"]
        for value in data.values():
            yield from _references(value)
    elif isinstance(data, list):
        for value in data:
            yield from _references(value)


def _output_keys(interface: Interface) -> list[list[int | str]]:
    """The way to each output tensor inside what the region returns."""
    built = build_structure(interface.structure, [_Leaf(n) for n in range(len(interface.outputs))])  # type: ignore[misc]
    keys: dict[int, list[int | str]] = {}
    for path, leaf in _leaves_of(built, []):
        keys[leaf.value] = path
    return [keys[n] for n in range(len(interface.outputs))]


def _leaves_of(value: Any, path: list[int | str]) -> Iterator[tuple[list[int | str], _Leaf]]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, _Leaf):
        yield path, value
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (tuple, list)):
        items = enumerate(value)
    for key, item in items:
        yield from _leaves_of(item, [*path, key])
