"""Arguments of a call, by parameter and together again."""

import enum

import pytest
import torch
from models import Block
from torch import nn

from symcompile.modules.arguments import UnsupportedError, bind, parameters, unbind
from symcompile.modules.region import Parameter


def test_no_signature() -> None:
    class Silent(nn.Module):
        forward = torch._C._nn.gelu  # type: ignore[assignment]

    with pytest.raises(UnsupportedError, match="signature of its forward can't be read"):
        parameters(Silent())


def test_unbind_is_the_inverse_of_bind() -> None:
    block = Block(lambda a, b=2, *rest, c, d=4, **more: a)
    args, kwargs = (1, 2, 3, 4), {"c": 5, "z": 6}
    assert unbind(parameters(block), bind(parameters(block), args, kwargs)) == (args, kwargs)


def test_defaults_that_source_code_can_name_alone_are_kept() -> None:
    class Mode(enum.StrEnum):
        FAST = "fast"

    read = parameters(Block(lambda x, power=2, mode=Mode.FAST: x**power))
    assert read == (Parameter("x"), Parameter("power", True, 2), Parameter("mode", True, None))
