"""The call signature of a region in an fx graph: placeholders, tensors inside of arguments, and the
structure of what it returns."""

from __future__ import annotations

import inspect
import operator
from functools import partial, reduce
from typing import Any

from torch import fx, nn

from symcompile.lowering.emission import GraphWriter
from symcompile.modules.region import Interface, Key, TensorInput

_BY_NAME = inspect.Parameter.KEYWORD_ONLY


class Arguments:
    """Placeholders for the parameters of a region's forward."""

    def __init__(self, writer: GraphWriter, interface: Interface) -> None:
        self.writer, self.interface = writer, interface
        self.placeholders: dict[str, fx.Node] = {}
        self.found: dict[tuple[str, tuple[Key, ...]], fx.Node] = {}
        optional = False
        for parameter in interface.parameters:
            # Python allows no required parameter after an optional one.
            optional = (optional or parameter.has_default) and not parameter.name.startswith("*")
            default = (parameter.default,) if optional else ()
            node = writer.graph.placeholder(parameter.name, None, *default)
            self.placeholders[parameter.name.lstrip("*")] = node

    def tensor(self, tensor_input: TensorInput) -> fx.Node:
        """The node of one input tensor."""
        return self._at(tensor_input.parameter.lstrip("*"), tensor_input.keys)

    def _at(self, name: str, keys: tuple[Key, ...]) -> fx.Node:
        if not keys:
            return self.placeholders[name]
        if (name, keys) not in self.found:
            container = self._at(name, keys[:-1])
            self.found[name, keys] = self.writer.call(operator.getitem, container, keys[-1])
        return self.found[name, keys]

    def call_module(self, name: str, module: nn.Module) -> fx.Node:
        """Call a submodule with the region's own arguments.

        fx can't pass on `*args` whole: the positions and keywords that hold tensors are passed.
        """
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        kinds = inspect.signature(module.forward).parameters
        by_name = False
        for parameter in self.interface.parameters:
            plain = parameter.name.lstrip("*")
            keys = [i.keys[0] for i in self.interface.inputs
                    if i.parameter.lstrip("*") == plain and i.keys]  # fmt: skip
            if parameter.name.startswith("**"):
                kwargs |= {str(key): self._at(plain, (key,)) for key in keys}
            elif parameter.name.startswith("*"):
                last = max((key for key in keys if isinstance(key, int)), default=-1)
                args += [self._at(plain, (k,)) for k in range(last + 1)]
                by_name = True
            elif by_name or (plain in kinds and kinds[plain].kind is _BY_NAME):
                kwargs[plain] = self.placeholders[plain]
            else:
                args.append(self.placeholders[plain])
        return self.writer.graph.call_module(name, tuple(args), kwargs)

    def outputs(self, returned: fx.Node) -> list[fx.Node]:
        """The output tensors inside of what a call returned, by their number."""
        item = partial(self.writer.call, operator.getitem)
        return [reduce(item, keys, returned) for keys in self.interface.output_keys]
