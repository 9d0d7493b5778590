"""Write a program as fx nodes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import torch
from torch import fx

from symcompile.expressions.evaluation import bounds, known_value
from symcompile.expressions.fold import Instruction, number_value
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.program import Program
from symcompile.lowering import torch_rules
from symcompile.lowering.affine import Term
from symcompile.lowering.joint import owners

# A tensor in the graph, or a number known now.
Value = fx.Node | float | bool
# What is above this for certain is above 0 in float32 as well.
_TINY = 1e-30
_SQUARE = ("power", 2)


class GraphWriter:
    """Adds nodes that know which region and equation they come from."""

    def __init__(self, path: str, texts: Mapping[int, str]) -> None:
        self.graph = fx.Graph()
        self.path, self.texts = path, texts
        self.equations: tuple[int, ...] = ()

    def call(self, function: Callable[..., Any], *args: Any, guard: int | None = None) -> fx.Node:
        node = self.graph.call_function(function, args)
        return self._mark(node, {} if guard is None else {"guard": guard})

    def module(self, name: str, *args: Any) -> fx.Node:
        return self._mark(self.graph.call_module(name, args), {})

    def attribute(self, name: str) -> fx.Node:
        return self._mark(self.graph.get_attr(name), {})

    def _mark(self, node: fx.Node, extra: Mapping[str, Any]) -> fx.Node:
        only = self.equations[0] if len(self.equations) == 1 else None
        node.meta["symcompile"] = {
            "region": self.path,
            "pass": "rewrite",
            "output": only,
            "outputs": self.equations,
            "equation": "; ".join(self.texts[k] for k in self.equations),
            **extra,
        }
        return node


class Emitter:
    """Emits the instructions of a program, each when it is first needed.

    Args:
        numbers: of the equations that each output of the program is.
        leaf: node for an `input` or `slot` instruction.
        rows: for a sum, the nodes that hold its gathered parts.
        rest: for a sum, the terms that are left.
        anchor: node of the shape of the samples.
    """

    def __init__(
        self,
        writer: GraphWriter,
        program: Program,
        numbers: Sequence[tuple[int, ...]],
        *,
        leaf: Callable[[Instruction], fx.Node],
        rows: Callable[[int], list[fx.Node]],
        rest: Mapping[int, Sequence[Term]],
        anchor: Callable[[], fx.Node],
    ) -> None:
        self.writer, self.code = writer, program.instructions
        self.leaf, self.rows, self.rest, self.anchor = leaf, rows, rest, anchor
        self.owners = [
            tuple(sorted(number for k in outputs for number in numbers[k]))
            for outputs in owners(program)
        ]
        # Whether it depends on an input; where its value or slope can overflow or be undefined, by
        # which argument, and a safe one; and whether that is so of it or of what it is made of.
        self.varies: list[bool] = []
        self.exposed: list[tuple[int, float] | None] = []
        self.risky: list[bool] = []
        for op, args, value in self.code:
            self.varies.append(op == "input" or any(self.varies[a] for a in args))
            guard = OPERATORS[op].harmless if args and (op, value) != _SQUARE else None
            self.exposed.append(guard if guard and self.varies[args[guard[0]]] else None)
            self.risky.append(self.exposed[-1] is not None or any(self.risky[a] for a in args))
        self.positive = [low > _TINY for low, _ in bounds(program)]
        self.values: dict[tuple[int, fx.Node | None], Value] = {}
        self.masks: dict[tuple[Any, ...], fx.Node] = {}

    def value(self, index: int, mask: fx.Node | None = None) -> Value:
        """The value of an instruction. Where `mask` is false the value does not matter, but it and
        its gradient are finite there."""
        if not self.risky[index]:
            mask = None
        key = (index, mask)
        if key not in self.values:
            self.values[key] = self._emit(index, mask)
        return self.values[key]

    def _emit(self, index: int, mask: fx.Node | None) -> Value:
        op, args, value = self.code[index]
        if op == "number":
            return number_value(value)
        if op == "where":
            return self._where(index, mask)
        if index in self.rest:
            return self._sum(index, mask)
        operands = [self.value(a, mask) for a in args]
        self.writer.equations = self.owners[index]
        if op in ("input", "slot"):
            return self.leaf(self.code[index])
        numbers = [v for v in operands if not isinstance(v, fx.Node)]
        if len(numbers) == len(operands):
            number = known_value(op, numbers, value)
            return bool(number) if OPERATORS[op].truth else number
        if mask is not None and (exposed := self.exposed[index]):
            place, harmless = exposed
            operands[place] = self.writer.call(
                torch.where, mask, operands[place], harmless, guard=1
            )
        if op == "mul":
            return self._product(args, operands)
        if op == "power":
            return self._power(args[0], operands[0], value, mask)
        if op == "pow":
            base, exponent = operands
            return torch_rules.power(self.writer.call, base, exponent, self.positive[args[0]])
        if op in ("min", "max"):
            return self._extremum(op, operands)
        return self._plain(index, op, operands)

    def _plain(self, index: int, op: str, operands: list[Value]) -> Value:
        row = OPERATORS[op]
        if row.arity == 2 and not row.nary and row.torch.startswith("torch."):
            operands = self._tensors(operands)
        if op in torch_rules.SPELLED:
            return torch_rules.SPELLED[op](self.writer.call, *operands)
        if row.edge and not (row.edge.at == 0.0 and self.positive[self.code[index].args[0]]):
            return torch_rules.guarded(self.writer.call, op, *operands)
        if len(operands) == 1:
            return self.writer.call(torch_rules.FUNCTIONS[op], *operands)
        return reduce(lambda a, b: self._binary(op, a, b), operands)

    def _tensors(self, operands: list[Value]) -> list[Value]:
        """With numbers as tensors like the others, of which there is one."""
        like = next(v for v in operands if isinstance(v, fx.Node))
        full = lambda v: self.writer.call(torch.full_like, like, v)  # noqa: E731
        return [v if isinstance(v, fx.Node) else full(v) for v in operands]

    def _binary(self, op: str, a: Value, b: Value) -> Value:
        if isinstance(a, bool) or isinstance(b, bool):
            truth, other = (a, b) if isinstance(a, bool) else (b, a)
            return other if truth == (op == "and") else truth
        if op == "eq" and not isinstance(a, fx.Node):
            a, b = b, a
        return self.writer.call(torch_rules.FUNCTIONS[op], a, b)

    def _where(self, index: int, mask: fx.Node | None) -> Value:
        test, yes, no = self.code[index].args
        condition = self.value(test, mask)
        if not isinstance(condition, fx.Node):
            return self.value(yes if condition else no, mask)
        first = self.value(yes, self._mask(mask, condition, True) if self.risky[yes] else None)
        second = self.value(no, self._mask(mask, condition, False) if self.risky[no] else None)
        self.writer.equations = self.owners[index]
        if not isinstance(first, fx.Node) and not isinstance(second, fx.Node):
            # Of two numbers torch.where would make the default dtype.
            first = self.writer.call(torch.full_like, self.anchor(), first)
        return self.writer.call(torch.where, condition, first, second)

    def _mask(self, outer: fx.Node | None, condition: fx.Node, taken: bool) -> fx.Node:
        key = (outer, condition, taken)
        if key not in self.masks:
            inner = condition if taken else self.writer.call(torch.logical_not, condition)
            both = outer is not None
            self.masks[key] = self.writer.call(torch.logical_and, outer, inner) if both else inner
        return self.masks[key]

    def _sum(self, index: int, mask: fx.Node | None) -> Value:
        terms = [(term.scale, self.value(term.node, mask)) for term in self.rest[index]]
        rows = self.rows(index)
        self.writer.equations = self.owners[index]
        constant = sum(scale * v for scale, v in terms if not isinstance(v, fx.Node))
        plus = rows + [v for scale, v in terms if isinstance(v, fx.Node) and scale > 0]
        minus = [v for scale, v in terms if isinstance(v, fx.Node) and scale < 0]
        add, sub = (
            partial(self.writer.call, function) for function in (operator.add, operator.sub)
        )
        if not plus:
            return sub(constant, reduce(add, minus)) if minus else constant
        total = reduce(sub, minus, reduce(add, plus))
        return add(total, constant) if constant != 0 else total

    def _product(self, args: Sequence[int], operands: Sequence[Value]) -> Value:
        """Numbers, then 0-dim constants, then full tensors: the cheap products first."""
        multiply = partial(self.writer.call, operator.mul)
        number = math.prod(v for v in operands if not isinstance(v, fx.Node))
        nodes = [(self.varies[a], v) for a, v in zip(args, operands, strict=True)
                 if isinstance(v, fx.Node)]  # fmt: skip
        moving: list[Value] = [v for varies, v in nodes if varies]
        fixed: list[Value] = [v for varies, v in nodes if not varies]
        negative = number == -1 and not fixed
        if number != 1 and not negative:
            fixed.append(number)
        product = reduce(multiply, [reduce(multiply, group) for group in (moving, fixed) if group])
        return self.writer.call(operator.neg, product) if negative else product

    def _power(self, base: int, u: Value, exponent: int, mask: fx.Node | None) -> Value:
        """By repeated squaring; the powers on the way are shared."""
        if exponent == 1:
            return u
        key = ("power", base, exponent, mask)
        if key not in self.masks:
            half = self._power(base, u, exponent // 2 if exponent % 2 == 0 else exponent - 1, mask)
            other = half if exponent % 2 == 0 else u
            self.masks[key] = self.writer.call(operator.mul, half, other)
        return self.masks[key]

    def _extremum(self, op: str, operands: Sequence[Value]) -> Value:
        numbers = [v for v in operands if not isinstance(v, fx.Node)]
        nodes = [v for v in operands if isinstance(v, fx.Node)]
        value = reduce(partial(self.writer.call, torch_rules.FUNCTIONS[op]), nodes)
        if not numbers:
            return value
        limits = (None, min(numbers)) if op == "min" else (max(numbers),)
        return self.writer.call(torch.clamp, value, *limits)
