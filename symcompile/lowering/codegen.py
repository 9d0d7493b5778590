"""Generate the fx graph of a region's equations: inputs, constants, affine sums, outputs."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from functools import cached_property, partial, reduce
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from symcompile.expressions.equation import Equation
from symcompile.expressions.fold import Instruction
from symcompile.lowering import joint
from symcompile.lowering.affine import Entries, Gather, plan
from symcompile.lowering.bundles import Bundle, bundles_of
from symcompile.lowering.emission import Emitter, GraphWriter, Value
from symcompile.lowering.layers import (
    AFFINE_DOWN,
    AFFINE_UP,
    PROJECT_IN,
    PROJECT_OUT,
    layers_of,
    linear_layer,
    of_input,
)
from symcompile.lowering.upcast import Upcast
from symcompile.modules.arguments import call_like, placeholders
from symcompile.modules.region import Key, Region
from symcompile.modules.region_call import build_structure

NEURAL = "neural"


class Place(NamedTuple):
    """Where a constant sits: a tensor of the module, and the position in it when flattened."""

    tensor: str
    position: int


def name_of(equation: int, slot: int) -> str:
    """What a constant is called in the module."""
    return f"y{equation}_c{slot}"


class Generator:
    """One run of `lower`; `dtype` is that of the constants, `places` afterwards where they sit.

    Args:
        dtype: that the block is called in.
        inner: that it computes in.
    """

    def __init__(
        self,
        region: Region,
        equations: Mapping[int, Equation],
        dtype: torch.dtype,
        inner: torch.dtype,
        device: torch.device,
        neural: nn.Module | None,
    ) -> None:
        self.region, self.device = region, device
        self.layers = layers_of(region)
        self.equations = {k: equations[k] for k in sorted(equations)}
        self.bundles = bundles_of(region, self.equations)
        bundled = {number for bundle in self.bundles for number in bundle.numbers}
        alone = {k: equation for k, equation in self.equations.items() if k not in bundled}
        self.joint = joint.combine(region, alone)
        self.upcast = inner != dtype
        self.dtype = inner
        self.complete = len(self.equations) == region.n_equations
        self.root = nn.Module()
        if not self.complete:
            self.root.add_module(NEURAL, neural)
        texts = {k: equation.text(6) for k, equation in self.equations.items()}
        self.writer = GraphWriter(region.path, texts)
        self.places: dict[tuple[int, int], Place] = {}
        self.nodes: dict[Any, Any] = {}

    def run(self) -> fx.GraphModule:
        interface = self.region.interface
        self.placeholders = placeholders(self.writer.graph, interface.parameters)
        self.raw = [self._argument(spec.parameter, spec.keys) for spec in interface.inputs]
        self.inputs = [self._raised(node) for node in self.raw]
        self.sources, self.columns, widths = self._sources()
        program = self.joint.program
        self.plan = plan(program, self.columns, widths)
        self._place_gathered()
        emitter = Emitter(
            self.writer,
            program,
            [(number,) for number in self.joint.outputs],
            leaf=self._leaf,
            rows=self._rows,
            rest=self.plan.rest,
            anchor=self._anchor,
        )
        self._output(self._equations(emitter))
        graph = self.writer.graph
        # A call_module is judged by its module, which a graph without owner does not know.
        graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "call_module", "output"))
        graph.lint()
        if self.upcast:
            return Upcast(self.root, graph, class_name="Equations", inner=self.dtype)
        return fx.GraphModule(self.root, graph, class_name="Equations")

    # Inputs

    def _argument(self, parameter: str, keys: tuple[Key, ...]) -> fx.Node:
        """What lies inside of an argument; the node stands once."""
        if not keys:
            return self.placeholders[parameter]
        if (parameter, keys) not in self.nodes:
            container = self._argument(parameter, keys[:-1])
            item = self.writer.call(operator.getitem, container, keys[-1])
            self.nodes[parameter, keys] = item
        return self.nodes[parameter, keys]

    def _raised(self, node: fx.Node) -> fx.Node:
        if not self.upcast:
            return node
        return self.writer.call(torch.ops.aten.to.dtype, node, self.dtype)

    def _sources(self) -> tuple[list[tuple[fx.Node, bool]], list[tuple[int, int]], list[int]]:
        """Tensors that the columns of the program come from (with whether they are scalar), tensor
        and feature of each column, and features of each tensor."""
        inputs, projection = self.region.interface.inputs, self.region.projection_in
        if projection is None:
            tensors = [
                (node, tensor.scalar) for node, tensor in zip(self.inputs, inputs, strict=True)
            ]
            columns = list(self.region.interface.input_columns)
            return tensors, columns, [tensor.features for tensor in inputs]
        width = len(projection.components)
        return [(self._of_inputs(PROJECT_IN), False)], [(0, k) for k in range(width)], [width]

    # Layers

    def _of_inputs(self, name: str) -> fx.Node:
        """What the layers of this name make of the inputs together."""
        parts = []
        for k, tensor in enumerate(self.region.interface.inputs):
            node = self._featured(self.inputs[k], tensor.scalar)
            parts.append(self._layer(of_input(name, k), node))
        return reduce(partial(self.writer.call, operator.add), parts)

    def _layer(self, name: str, node: fx.Node) -> fx.Node:
        self.root.add_module(name, linear_layer(self.layers[name], self.dtype, self.device))
        if self.upcast:  # .double() reaches the layer, but not what is made of the inputs
            like = self.writer.attribute(f"{name}.weight")
            node = self.writer.call(torch.ops.aten.type_as.default, node, like)
        return self.writer.module(name, node)

    @cached_property
    def _affine(self) -> fx.Node | None:
        """What the equations are added to."""
        if self.region.affine is None:
            return None
        self.writer.equations = ()
        return self._layer(AFFINE_UP, self._of_inputs(AFFINE_DOWN))

    def _featured(self, node: fx.Node, scalar: bool) -> fx.Node:
        return self.writer.call(torch.unsqueeze, node, -1) if scalar else node

    def _linear(self, node: fx.Node, weight: fx.Node, bias: fx.Node | None) -> fx.Node:
        if self.upcast:  # .double() reaches the constants, but not what is made of the inputs
            weight = self.writer.call(torch.ops.aten.type_as.default, weight, node)
            if bias is not None:
                bias = self.writer.call(torch.ops.aten.type_as.default, bias, node)
        return self.writer.call(F.linear, node, weight, bias)

    def _select(self, node: fx.Node, scalar: bool, feature: int) -> fx.Node:
        """One feature of a tensor; the node stands once."""
        key = (node, feature)
        if not scalar and key not in self.nodes:
            self.nodes[key] = self.writer.call(operator.getitem, node, (Ellipsis, feature))
        return node if scalar else self.nodes[key]

    def _anchor(self) -> fx.Node:
        """A tensor of the shape of the samples."""
        if "anchor" not in self.nodes:
            pairs = zip(self.inputs, self.region.interface.inputs, strict=True)
            firsts = [self._select(node, tensor.scalar, 0) for node, tensor in pairs]
            if len(firsts) > 1:
                wide = self.writer.call(torch.broadcast_tensors, *firsts)
                firsts = [self.writer.call(operator.getitem, wide, 0)]
            self.nodes["anchor"] = self.writer.call(torch.zeros_like, firsts[0])
        return self.nodes["anchor"]

    # Constants

    def _buffer(self, name: str, values: Any) -> fx.Node:
        if name not in self.nodes:
            wide = torch.tensor(np.asarray(values, dtype=np.float64))
            self.root.register_buffer(name, wide.to(self.device, self.dtype))
            self.nodes[name] = self.writer.attribute(name)
        return self.nodes[name]

    def _value_of(self, slot: int) -> float:
        number, index = self.joint.slots[slot]
        return self.equations[number].constants[index]

    def _leaf(self, instruction: Instruction) -> fx.Node:
        if instruction.op == "input":
            source, feature = self.columns[instruction.value]
            tensor, scalar = self.sources[source]
            return self._select(tensor, scalar, feature)
        number, index = self.joint.slots[instruction.value]
        name = name_of(number, index)
        self.places[number, index] = Place(name, 0)
        return self._buffer(name, self._value_of(instruction.value))

    def _place_gathered(self) -> None:
        for gather in self.plan.gathers:
            for kind, entries in (("weight", gather.weight), ("bias", gather.bias)):
                for slot, position in entries.slots.items():
                    name = f"affine{gather.source}_{kind}"
                    self.places[self.joint.slots[slot]] = Place(name, position)

    # Affine sums

    def _rows(self, root: int) -> list[fx.Node]:
        rows = []
        for gather in self.plan.gathers:
            if root in gather.rows:
                index = (Ellipsis, gather.rows.index(root))
                rows.append(self.writer.call(operator.getitem, self._product(gather), index))
        return rows

    def _product(self, gather: Gather) -> fx.Node:
        name = f"affine{gather.source}"
        if name not in self.nodes:
            numbers = sorted({self.joint.slots[s][0] for s in gather.weight.slots})
            self.writer.equations = tuple(numbers)
            weight = self._entries(f"{name}_weight", gather.weight)
            bias = None if gather.bias.empty else self._entries(f"{name}_bias", gather.bias)
            node = self._featured(*self.sources[gather.source])
            self.nodes[name] = self._linear(node, weight, bias)
        return self.nodes[name]

    def _entries(self, name: str, entries: Entries) -> fx.Node:
        if not entries.slots:
            return self._buffer(f"{name}_fixed", entries.fixed)
        values = np.zeros(entries.scale.size)
        for slot, position in entries.slots.items():
            values[position] = self._value_of(slot)
        node = self._buffer(name, values.reshape(entries.scale.shape))
        if (entries.scale != 1).any():
            scale = self._buffer(f"{name}_scale", entries.scale)
            node = self.writer.call(operator.mul, node, scale)
        if entries.fixed.any():
            fixed = self._buffer(f"{name}_fixed", entries.fixed)
            node = self.writer.call(operator.add, node, fixed)
        return node

    # Outputs

    def _equations(self, emitter: Emitter) -> dict[int, fx.Node]:
        """One node of the shape of the samples for each equation."""
        reach = self._reach()
        nodes = {}
        for number, index in zip(self.joint.outputs, self.joint.program.outputs, strict=True):
            value = emitter.value(index)
            self.writer.equations = (number,)
            nodes[number] = self._spread(value, reach[index])
        return nodes

    def _spread(self, value: Value, reached: frozenset[int]) -> fx.Node:
        """Broadcast to the samples what depends on none or only some of the input tensors."""
        if not isinstance(value, fx.Node):
            return self.writer.call(torch.full_like, self._anchor(), value)
        if len(reached) == len(self.sources):
            return value
        return self.writer.call(operator.add, self._anchor(), value)

    def _reach(self) -> list[frozenset[int]]:
        """The source tensors that each instruction depends on."""
        reach: list[frozenset[int]] = []
        for op, args, value in self.joint.program.instructions:
            own = {self.columns[value][0]} if op == "input" else set()
            reach.append(frozenset(own.union(*(reach[a] for a in args))))
        return reach

    def _output(self, equations: dict[int, fx.Node]) -> None:
        self.writer.equations = ()
        neural = [] if self.complete else [self._raised(node) for node in self._neural()]
        if self.region.projection_out is not None:
            outputs = self._divided(self._reconstructed(equations, neural))
        elif self.region.affine is not None:
            stacked = self.writer.call(torch.stack, [equations[k] for k in sorted(equations)], -1)
            outputs = self._divided(stacked)
        else:
            outputs = self._stacked(equations, neural)
        if self.upcast:
            back = torch.ops.aten.type_as.default
            outputs = [self.writer.call(back, node, self.raw[0]) for node in outputs]
        structure = self.region.interface.structure
        self.writer.graph.output(build_structure(structure, outputs))

    def _neural(self) -> list[fx.Node]:
        """What the neural block gives for the region's own arguments.

        fx can't pass on `*args` whole: the positions and keywords that hold tensors are passed.
        """
        interface, values = self.region.interface, dict[str, Any](self.placeholders)
        for starred in (parameter for parameter in values if parameter.startswith("*")):
            parts = [spec for spec in interface.inputs if spec.parameter == starred]
            keys = [spec.keys[0] for spec in parts if spec.keys]
            if starred.startswith("**"):
                values[starred] = {key: self._argument(starred, (key,)) for key in keys}
            else:
                count = 1 + max((key for key in keys if isinstance(key, int)), default=-1)
                values[starred] = tuple(self._argument(starred, (k,)) for k in range(count))
        neural = self.root.get_submodule(NEURAL)
        returned = call_like(self.writer.graph, NEURAL, neural, values)
        item = partial(self.writer.call, operator.getitem)
        return [reduce(item, keys, returned) for keys in interface.output_keys]

    def _stacked(self, equations: Mapping[int, fx.Node], neural: list[fx.Node]) -> list[fx.Node]:
        """Outputs of their equations side by side, what has none from the neural outputs."""
        call, interface = self.writer.call, self.region.interface
        outputs = []
        for output, columns in enumerate(interface.output_slices):
            tensor, numbers = interface.outputs[output], range(columns.start, columns.stop)
            if equations.keys().isdisjoint(numbers):
                outputs.append(neural[output])
                continue
            nodes = [
                equations[number]
                if number in equations
                else self._select(neural[output], tensor.scalar, feature)
                for feature, number in enumerate(numbers)
            ]
            if tensor.scalar:
                outputs.append(nodes[0])
            elif len(nodes) == 1:
                outputs.append(call(torch.unsqueeze, nodes[0], -1))
            else:
                outputs.append(call(torch.stack, nodes, -1))
        return outputs

    def _reconstructed(self, equations: Mapping[int, fx.Node], neural: list[fx.Node]) -> fx.Node:
        """Outputs from their coordinates: equations, else those of the neural outputs."""
        projection, interface = self.region.projection_out, self.region.interface
        assert projection is not None
        call = self.writer.call
        coordinates = dict(equations)
        if neural:
            pairs = zip(neural, interface.outputs, strict=True)
            parts = [self._featured(node, output.scalar) for node, output in pairs]
            joined = call(torch.cat, parts, -1) if len(parts) > 1 else parts[0]
            components, mean = projection.components, projection.mean
            weight = self._buffer("projection_neural_weight", components)
            bias = self._buffer("projection_neural_bias", -components @ mean)
            projected = self._linear(joined, weight, bias)
            for k in range(self.region.n_equations):
                if k not in coordinates:
                    coordinates[k] = call(operator.getitem, projected, (Ellipsis, k))
        return self._layer(PROJECT_OUT, self._side_by_side(coordinates))

    def _side_by_side(self, coordinates: Mapping[int, fx.Node]) -> fx.Node:
        """Components in their order: those of a bundle are so already."""
        call, bundles = self.writer.call, {b.numbers[0]: b for b in self.bundles}
        parts, alone = list[fx.Node](), list[fx.Node]()
        for k in sorted({*coordinates, *bundles}):
            if k in bundles:
                parts += [call(torch.stack, alone, -1)] if alone else []
                parts, alone = [*parts, self._bundle(bundles[k])], []
            else:
                alone.append(coordinates[k])
        parts += [call(torch.stack, alone, -1)] if alone else []
        return call(torch.cat, parts, -1) if len(parts) > 1 else parts[0]

    def _bundle(self, bundle: Bundle) -> fx.Node:
        """The equations of a bundle side by side."""
        ((coordinates, _),) = self.sources
        self.writer.equations = bundle.numbers
        lanes = [
            self._columns(coordinates, columns, f"y{bundle.numbers[0]}_columns{k}")
            for k, columns in enumerate(bundle.columns)
        ]
        count = len(lanes)
        emitter = Emitter(
            self.writer,
            bundle.program,
            (bundle.numbers,),
            leaf=lambda instruction: lanes[instruction.value],
            rows=lambda root: [],
            rest=plan(bundle.program, [(k, 0) for k in range(count)], [1] * count).rest,
            anchor=lambda: self.writer.call(torch.zeros_like, lanes[0]),
        )
        value = emitter.value(bundle.program.outputs[0])
        self.writer.equations = bundle.numbers
        assert isinstance(value, fx.Node)  # it is of at least one column
        return value

    def _columns(self, node: fx.Node, columns: Sequence[int], name: str) -> fx.Node:
        """Some features of a tensor: a view of it where they follow each other."""
        first = columns[0]
        if tuple(columns) == tuple(range(first, first + len(columns))):
            place = (Ellipsis, slice(first, first + len(columns)))
            return self.writer.call(operator.getitem, node, place)
        # No file needs to hold them: they are those of the equations.
        index = torch.tensor(columns, device=self.device)
        self.root.register_buffer(name, index, persistent=False)
        return self.writer.call(torch.index_select, node, -1, self.writer.attribute(name))

    def _divided(self, features: fx.Node) -> list[fx.Node]:
        """Each output of all that stand side by side, the affine map added."""
        call, interface, outputs = self.writer.call, self.region.interface, []
        if self._affine is not None:
            features = call(operator.add, self._affine, features)
        for tensor, columns in zip(interface.outputs, interface.output_slices, strict=True):
            place = columns.start if tensor.scalar else columns
            only = tensor.features == interface.n_outputs and not tensor.scalar
            outputs.append(features if only else call(operator.getitem, features, (..., place)))
        return outputs
