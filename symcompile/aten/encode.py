"""An exported program as a plain JSON graph, see `symcompile.aten.document`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import reduce
from typing import Any

import torch
from torch import fx, nn
from torch._ops import HigherOrderOperator
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from symcompile.aten.operators import is_in_place, stored_name
from symcompile.aten.signature import Json, read_inputs, read_signature, traced_inputs
from symcompile.aten.values import DTYPES, encode_value, qualified_name
from symcompile.errors import ArtifactError
from symcompile.modules.arguments import build_arguments
from symcompile.modules.calling import Batch, submodule_path
from symcompile.modules.region import Key, Region

# Checks that torch.export writes into a graph for its own use; they compute nothing.
_CHECKS = {
    "aten._assert_tensor_metadata.default",
    "aten._assert_scalar.default",
    "aten._assert_async.msg",
    "aten.sym_constrain_range.default",
    "aten.sym_constrain_range_for_size.default",
}
_SET_GRAD = torch.ops.higher_order.wrap_with_set_grad_enabled


def encode_program(
    program: ExportedProgram, example: Batch, module: nn.Module, regions: Iterable[Region]
) -> tuple[Json, dict[str, torch.Tensor]]:
    """The graph of `program` as JSON, and the tensors that it names.

    `module` is what was exported, `example` the batch it was exported with; calls of `regions`
    are opaque nodes. Raises ArtifactError naming what a file can't hold.
    """
    by_path = {region.path: region for region in regions}
    others = _aliases(module, by_path)
    inside = _inside(by_path, others)
    state, tensors = read_state(module, by_path)
    encoder = _GraphEncoder(program, by_path, {name for name, _ in module.named_modules()})
    inputs, constants, containers = read_inputs(program, example, module)
    encoder.bind(state, tensors, {row["name"] for row in inputs})
    output = encoder.read_nodes()
    # The blocks themselves are among the modules: they fix the order.
    names = [name for name, _ in module.named_modules(remove_duplicate=False) if name]
    return {
        "state": state,
        "signature": read_signature(module),
        "inputs": inputs,
        "constants": constants,
        "containers": containers,
        "aliases": others,
        "modules": [qualified_name(name) for name in names if not name.startswith(inside)],
        "nodes": encoder.live_nodes(output),
        "output": output,
    }, tensors


# --- parameters and buffers --------------------------------------------------------------------


def read_state(
    module: nn.Module, regions: Mapping[str, Region]
) -> tuple[list[Json], dict[str, torch.Tensor]]:
    """Every parameter and buffer outside of the regions, by its own name; tied ones share a tensor.

    Order and names are those of the module, so that state dicts fit.
    """
    inside = _inside(regions, _aliases(module, regions))
    state: list[Json] = []
    tensors: dict[str, torch.Tensor] = {}
    stored: dict[int, str] = {}
    for name, persistent, tensor in _named_tensors(module):
        if name.startswith(inside):
            continue
        key = stored.setdefault(id(tensor), qualified_name(name))
        if key == name:
            tensors[name] = plain_tensor(name, tensor)
        kind = "parameter" if persistent is None else "buffer"
        row = {"name": name, "kind": kind, "tensor": key, "requires_grad": tensor.requires_grad}
        state.append(row if persistent is None else {**row, "persistent": persistent})
    return state, tensors


def _aliases(module: nn.Module, regions: Collection[str]) -> dict[str, list[str]]:
    """The other names under which the block of a region is registered, where there are any."""
    named = list(module.named_modules(remove_duplicate=False)) if regions else []
    others = {}
    for path, home in ((path, submodule_path(path)) for path in regions):
        block = module.get_submodule(home)
        others[path] = [name for name, module in named if module is block and name != home]
    return {path: names for path, names in others.items() if names}


def _inside(regions: Iterable[str], others: Mapping[str, list[str]]) -> tuple[str, ...]:
    """What the names of everything inside of a block start with."""
    second = (name for names in others.values() for name in names)
    return tuple(f"{home}." for home in (*map(submodule_path, regions), *second))


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, bool | None, torch.Tensor]]:
    """Name and tensor of each parameter and buffer, and whether a state_dict holds the buffer."""
    for prefix, submodule in module.named_modules(remove_duplicate=False):
        own = {"prefix": prefix, "recurse": False, "remove_duplicate": False}
        for name, parameter in submodule.named_parameters(**own):
            yield name, None, parameter
        hidden = submodule._non_persistent_buffers_set
        for name, buffer in submodule.named_buffers(**own):
            yield name, name.rpartition(".")[2] not in hidden, buffer


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


# --- nodes -------------------------------------------------------------------------------------


class _GraphEncoder:
    """Walks an exported graph and writes one JSON row a node.

    Attributes:
        values: what stands for a node in the rows of those that read it.
        results: the same for each result of a node that gives several.
    """

    def __init__(
        self, program: ExportedProgram, regions: Mapping[str, Region], modules: set[str]
    ) -> None:
        self.program, self.regions, self.modules = program, regions, modules
        self.values: dict[fx.Node, Any] = {}
        self.results: dict[fx.Node, list[Json]] = {}
        self.rows: list[Json] = []
        self.names: set[str] = set()

    def bind(self, state: list[Json], tensors: dict[str, torch.Tensor], inputs: set[str]) -> None:
        """Bind what goes in, and take in the tensors that a forward makes itself."""
        names = {row["name"] for row in state}
        for node, spec in traced_inputs(self.program):
            if spec.kind is InputKind.USER_INPUT:
                if node.name in inputs:
                    self.names.add(node.name)
                    self.values[node] = {"node": node.name}
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

    def read_nodes(self) -> Any:
        """Write the rows; what the model returns."""
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self.values[node] = self.read_call(node, self.program.graph_module)
        specs = self.program.graph_signature.output_specs
        changed = [s.kind.name for s in specs if s.kind is not OutputKind.USER_OUTPUT]
        if changed:
            raise ArtifactError(
                f"the model's graph has outputs of kind {changed[0]}: can't save it"
            )
        leaves = self.program.graph.output_node().args[0]
        return self.encode(pytree.tree_unflatten(leaves, self.program.call_spec.out_spec))

    def read_call(self, node: fx.Node, owner: nn.Module) -> Any:
        if node.target is torch.ops.symcompile.block.default:
            return self.read_region(node)
        if node.target is _SET_GRAD:
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
        stack = [str(entry[0]) for entry in (node.meta.get("nn_module_stack") or {}).values()]
        scope = stack[-1] if stack and stack[-1] in self.modules else ""
        return self.emit(node.name, node.target, args, kwargs, scope)

    def read_region(self, node: fx.Node) -> None:
        """A call of a block with its own arguments; `results` remembers where its tensors are."""
        inputs: Any = node.args[0]
        region = self.regions[str(node.args[1])]
        args, kwargs = build_arguments(region.interface, list(inputs))
        named = {name: self.encode(arg) for name, arg in kwargs.items()}
        call = self.emit(node.name, "region", [self.encode(arg) for arg in args], named)
        self.rows[-1]["path"] = region.path

        def item(value: Json, key: Key) -> Json:
            return self.emit(f"{node.name}_{key}", "getitem", [value, key], {})

        self.results[node] = [reduce(item, keys, call) for keys in region.interface.output_keys]

    def read_grad_mode(self, node: fx.Node, owner: nn.Module) -> None:
        """`torch.no_grad()` inside of a forward: its graph in line, cut off from the gradient.

        With every tensor that enters and leaves detached, nothing inside can ask for a gradient,
        the constants of blocks included; writes in place still reach the tensor that was detached,
        as they do under no_grad.
        """
        enabled, reference, *arguments = node.args
        inner = getattr(owner, str(reference.target))  # type: ignore[union-attr]
        placeholders = [n for n in inner.graph.nodes if n.op == "placeholder"]
        for placeholder, value in zip(placeholders, arguments, strict=True):
            self.values[placeholder] = self.encode(value)
            if not enabled:
                self.values[placeholder] = self.detached(placeholder, node.name)
        for step in inner.graph.nodes:
            if step.op == "call_function":
                if not enabled and step.target is _SET_GRAD:
                    raise ArtifactError(
                        "torch.enable_grad() inside of torch.no_grad() can't be saved"
                    )
                self.values[step] = self.read_call(step, inner)
        (returned,) = inner.graph.output_node().args
        self.results[node] = [
            self.encode(value) if enabled else self.detached(value, node.name)
            for value in (returned if isinstance(returned, (tuple, list)) else [returned])
        ]

    def detached(self, value: Any, name: str) -> Any:
        """A value without its history, where it is a tensor."""
        encoded = self.encode(value)
        if not isinstance(value, fx.Node) or not isinstance(value.meta.get("val"), torch.Tensor):
            return encoded
        return self.emit(f"{name}_{value.name}", "aten.detach.default", [encoded], {})

    def emit(self, name: str, op: Any, args: list[Any], kwargs: Json, scope: str = "") -> Json:
        """Add a row; `op` is a stored name, or a target that gets its name if the row is used."""
        unique, number = name, 1
        while unique in self.names:
            unique, number = f"{name}_{number}", number + 1
        self.names.add(unique)
        row = {"name": unique, "op": op, "args": args, "kwargs": kwargs, "scope": scope}
        self.rows.append(row)
        return {"node": unique}

    def encode(self, value: Any) -> Any:
        return encode_value(value, self.encode_node)

    def encode_node(self, value: Any) -> Any:
        if not isinstance(value, fx.Node):
            return NotImplemented
        if self.values.get(value) is None:
            raise ArtifactError(f"node {value.name!r} of the exported graph has no value to store")
        return self.values[value]

    def live_nodes(self, output: Any) -> list[Json]:
        """The rows in use, with operators' names; the others fed checks of torch.export."""
        needed = _references(output)
        kept = []
        for row in reversed(self.rows):
            target = row["op"]
            if target is torch.ops.aten.add_.Tensor and row["args"][1] is False:
                continue  # a loaded model's counter of batches, which rests in evaluation mode
            if row["name"] in needed or target == "region" or is_in_place(str(target)):
                needed |= _references([row["args"], row["kwargs"]])
                kept.append({**row, "op": target if type(target) is str else stored_name(target)})
        return kept[::-1]


def _references(data: Any) -> set[str]:
    """Names of the nodes in encoded values."""
    leaves = pytree.tree_leaves(data, lambda v: type(v) is dict and type(v.get("node")) is str)
    return {leaf["node"] for leaf in leaves if type(leaf) is dict}
