"""What one call of a block tells about its inputs, outputs and samples."""

from typing import Any

import pytest
import torch
from models import Block, Law
from torch import nn

from symcompile.modules.arguments import UnsupportedError, bind, parameters
from symcompile.modules.interface import Call, matrix_in, matrix_out, read_interface
from symcompile.modules.region import Interface

torch.manual_seed(0)
A = torch.randn(6, 3)
B = torch.randn(6, 2)
S = torch.randn(6)


def call_of(block: nn.Module, *args: Any, **kwargs: Any) -> Call:
    return Call(bind(parameters(block), args, kwargs), block(*args, **kwargs))


def face_of(block: nn.Module, *args: Any, **kwargs: Any) -> Interface:
    return read_interface(block, call_of(block, *args, **kwargs))


def shape(face: Interface) -> tuple[Any, ...]:
    """Inputs and outputs as (where, features), features of scalars as None."""
    ins = [
        ((one.parameter, *one.keys), None if one.scalar else one.features) for one in face.inputs
    ]
    return ins, [None if one.scalar else one.features for one in face.outputs], face.structure


READ: dict[str, tuple[nn.Module, tuple[Any, ...], dict[str, Any], Any]] = {
    "one tensor": (nn.Linear(3, 2), (A,), {}, ([(("input",), 3)], [2], 0)),
    "by keyword": (nn.Linear(3, 2), (), {"input": A}, ([(("input",), 3)], [2], 0)),
    "rank 4": (
        nn.Linear(3, 2),
        (torch.randn(2, 1, 5, 3),),
        {},
        ([(("input",), 3)], [2], 0),
    ),
    "one value a sample": (Block(lambda x: x.sum(-1)), (A,), {}, ([(("x",), 3)], [None], 0)),
    "several": (
        Block(lambda x, y, t: (x.sum(-1, keepdim=True) * y, t)),
        (A, B, S),
        {},
        ([(("x",), 3), (("y",), 2), (("t",), None)], [2, None], (0, 1)),
    ),
    "keyword-only": (
        Block(lambda *, y, x: x[..., :2] + y),
        (),
        {"x": A, "y": B},
        ([(("y",), 2), (("x",), 3)], [2], 0),
    ),
    "broadcast over tokens": (
        Block(lambda x, y: x[..., :2] * y),
        (torch.randn(4, 5, 3), torch.randn(4, 1, 2)),
        {},
        ([(("x",), 3), (("y",), 2)], [2], 0),
    ),
    "0-D beside": (
        Block(lambda x, t: x * t),
        (A, torch.tensor(2.0)),
        {},
        ([(("x",), 3), (("t",), None)], [3], 0),
    ),
    "only 0-D": (
        Block(lambda t: t * 2),
        (torch.tensor(2.0),),
        {},
        ([(("t",), None)], [None], 0),
    ),
    "nested": (
        Block(lambda pair: {"a": (pair[0] * 2, None), "b": [pair[1]["z"].sum(-1)]}),
        ((A, {"z": B}),),
        {},
        (
            [(("pair", 0), 3), (("pair", 1, "z"), 2)],
            [3, None],
            {"a": (0, None), "b": [1]},
        ),
    ),
    "starred": (
        Block(lambda *xs: xs[0][..., :2] + xs[1]),
        (A, B),
        {},
        ([(("*xs", 0), 3), (("*xs", 1), 2)], [2], 0),
    ),
    "starred keywords": (
        Block(lambda **named: named["b"] + named["a"][..., :2]),
        (),
        {"a": A, "b": B},
        ([(("**named", "a"), 3), (("**named", "b"), 2)], [2], 0),
    ),
    "1-D pointwise": (
        Block(lambda x, scale=1.0: x.sin() * scale),
        (S,),
        {"scale": 2.0},
        ([(("x",), None)], [None], 0),
    ),
    "1-D pointwise pair": (
        Block(lambda x, t: torch.stack([x * t, x], -1)),
        (S, torch.randn(6)),
        {},
        ([(("x",), None), (("t",), None)], [2], 0),
    ),
    "1-D pointwise of one": (
        Block(lambda x: x.sin()),
        (torch.randn(1),),
        {},
        ([(("x",), None)], [None], 0),
    ),
    "1-D features": (nn.Linear(6, 6), (S,), {}, ([(("input",), 6)], [6], 0)),
    "1-D features of one": (
        nn.Linear(1, 1),
        (torch.randn(1),),
        {},
        ([(("input",), 1)], [1], 0),
    ),
    "1-D features, same length": (
        Block(lambda x: torch.softmax(x, -1)),
        (S,),
        {},
        ([(("x",), 6)], [6], 0),
    ),
    "1-D cumulative": (
        Block(lambda x: torch.cumsum(x, -1)),
        (S,),
        {},
        ([(("x",), 6)], [6], 0),
    ),
    "half precision": (
        nn.Linear(3, 2).bfloat16(),
        (A.bfloat16(),),
        {},
        ([(("input",), 3)], [2], 0),
    ),
    "in place": (nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 1)), (A.clone(),), {}, None),
    "no samples yet": (nn.Linear(3, 2), (torch.empty(0, 3),), {}, ([(("input",), 3)], [2], 0)),
}


@pytest.mark.parametrize("name", READ)
def test_reads(name: str) -> None:
    block, args, kwargs, expected = READ[name]
    values = bind(parameters(block), *_copies((args, kwargs)))
    call = Call(values, block(*_copies((args, kwargs))[0], **kwargs))
    before = [t.clone() for t in _flat(call.arguments)]
    face = read_interface(block, call)
    if expected is not None:
        assert shape(face) == expected
    X = matrix_in(face, call.arguments)
    Y = matrix_out(face, call.output, len(X))
    assert X.shape == (len(Y), face.n_inputs)
    assert Y.shape == (len(X), face.n_outputs)
    assert X.dtype == Y.dtype == torch.float64
    assert all(map(torch.equal, before, _flat(call.arguments)))  # probing left them alone


def _copies(value: Any) -> Any:
    return torch.utils._pytree.tree_map(
        lambda v: v.clone() if isinstance(v, torch.Tensor) else v, value
    )


def _flat(value: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(dict(value))
    return [v for v in leaves if isinstance(v, torch.Tensor)]


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


class Positional(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.arange(x.shape[-2], dtype=x.dtype).unsqueeze(-1)


REFUSED: dict[str, tuple[nn.Module, tuple[Any, ...], str]] = {
    "integers": (Block(lambda x: x * 2.0), (torch.arange(6),), "dtype torch.int64"),
    "truth values": (
        Block(lambda x, m: x * m),
        (A, A > 0),
        "'m' has dtype torch.bool",
    ),
    "no tensor": (Block(lambda n: torch.ones(3, n)), (2,), "receives no floating-point tensor"),
    "integers out": (Block(lambda x: x.argmax(-1)), (A,), "returns a tensor of dtype torch.int64"),
    "object out": (Block(lambda x: "text"), (A,), "returns a str"),
    "nothing out": (Block(lambda x: None), (A,), "returns no tensor"),
    "pooled": (Block(lambda x: x.mean(0)), (A,), r"returns shape \[3\] for samples of shape \[6\]"),
    "pooled to the same shape": (
        Block(lambda x: x.mean(1)),
        (torch.randn(4, 3, 3),),
        "single samples",
    ),
    "other samples": (
        Block(lambda x, y: x.sum() + y),
        (A, torch.randn(4, 2)),
        "do not share their sample dimensions",
    ),
    "attention": (Attending(), (torch.randn(3, 5, 4),), "gives other values"),
    "convolution": (nn.Conv1d(3, 3, 3, padding=1), (torch.randn(2, 3, 8),), "single samples"),
    "position": (Positional(), (torch.randn(2, 5, 3),), "gives other values"),
    "mean over samples": (Block(lambda x: x - x.mean(0)), (A,), "gives other values"),
    "first sample as origin": (Block(lambda x: x - x[:1]), (A,), "gives other values"),
    "chance": (nn.Dropout(0.5), (torch.ones(50, 3),), "gives other values"),
    "fixed size": (Block(lambda x: x.view(3, 2, 3).view(6, 3)), (A,), "can't be run on single"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_the_reason(name: str) -> None:
    block, args, found = REFUSED[name]
    with pytest.raises(UnsupportedError, match=found):
        face_of(block, *args)


def test_blocks_that_insist_on_their_rank() -> None:
    class Unpacks(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, tokens, width = x.shape
            return x.reshape(batch * tokens, width).sin().reshape(batch, tokens, width)

    face = face_of(Unpacks(), torch.randn(2, 5, 3))
    assert (face.sample_dims, face.one_by_one) == (2, False)
    dot = face_of(Block(lambda x: torch.dot(x, x).reshape(1)), torch.randn(4))
    assert (dot.sample_dims, dot.one_by_one) == (0, True)


LATER: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "more features": ((torch.ones(2, 4), torch.ones(2, 2)), {}, "3 features in one call and 4"),
    "missing": ((torch.ones(2, 3),), {}, "other tensors"),
    "another": ((torch.ones(2, 3), torch.ones(2, 2), torch.ones(2, 1)), {}, "other tensors"),
    "integers": ((torch.ones(2, 3), torch.ones(2, 2).long()), {}, "torch.int64"),
    "samples differ": ((torch.ones(2, 3), torch.ones(5, 2)), {}, "samples of different shapes"),
}


@pytest.mark.parametrize("name", LATER)
def test_later_calls_have_to_agree(name: str) -> None:
    args, kwargs, found = LATER[name]
    block = Block(lambda x, y=None, z=None: x.sum(-1, keepdim=True))
    face = face_of(block, A, B)
    with pytest.raises(UnsupportedError, match=found):
        matrix_in(face, bind(parameters(block), args, kwargs))


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ((A, B), "another structure"),
        ([A], "another structure"),
        (torch.ones(6, 4), "number of its output features changes"),
        (torch.ones(5, 3), "returns 5 samples for 6"),
    ],
)
def test_later_outputs_have_to_agree(output: Any, found: str) -> None:
    block = Block(lambda x: x * 2)
    face = face_of(block, A)
    with pytest.raises(UnsupportedError, match=found):
        matrix_out(face, output, 6)


def test_columns_stand_side_by_side() -> None:
    block = Block(lambda x, y, t: (x * 2, t))
    call = call_of(block, torch.randn(4, 5, 3), torch.randn(4, 1, 2), torch.randn(4, 5))
    face = read_interface(block, call)
    x, y, t = call.arguments.values()
    expected = torch.cat([x, y.expand(4, 5, 2), t.unsqueeze(-1)], -1).reshape(20, 6).double()
    assert torch.equal(matrix_in(face, call.arguments), expected)
    assert torch.equal(
        matrix_out(face, call.output, 20),
        torch.cat([2 * x, t.unsqueeze(-1)], -1).reshape(20, 4).double(),
    )


def test_law_of_any_rank_has_one_interface() -> None:
    law = Law()
    faces = [face_of(law, torch.randn(*size, 2)) for size in ((7,), (7, 3), (2, 3, 4))]
    assert [face.sample_dims for face in faces] == [1, 2, 3]
    assert len({(face.inputs, face.outputs) for face in faces}) == 1
