"""What a pruning refuses, and that nothing is half-changed then."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import state_of
from pruned import WIDTH, Net, cut, data
from torch import nn

from symcompile import SymCompileError
from symcompile.errors import PruningError, TargetError
from symcompile.passes.prune import Pruning
from symcompile.pruning.shrink import Shrunk


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "keep is 0: expected a whole number from 1 to 8"),
        ({"keep": 9}, "keep is 9: expected a whole number from 1 to 8"),
        ({"keep": 2.0}, "keep is 2.0: expected a whole number"),
        ({"keep": True}, "keep is True: expected a whole number"),
        ({"steps": 0}, "steps is 0: expected a whole number from 1"),
        ({"steps": 10.5}, "steps is 10.5: expected a whole number from 1"),
        ({"until": 0}, "until is 0: expected a share of the steps"),
        ({"until": 1.01}, "until is 1.01: expected a share of the steps"),
        ({"until": float("nan")}, "until is nan: expected a share of the steps"),
        ({"schedule": "cosin"}, "schedule is 'cosin': expected 'exponential', 'linear', 'cosine'"),
        ({"importance": "var"}, "importance is 'var': expected 'std' or 'kl'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    model = Net()
    before = state_of(model)
    with pytest.raises(PruningError, match=re.escape(message)):
        Pruning(model, "edge", **({"keep": 2, "steps": 10} | options))
    assert state_of(model) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("egde", "'egde' matches no submodule: did you mean 'edge'"),
        ("*", "'*' names 2 blocks, such as 'edge': expected one"),
        (".", "'.' is no submodule: expected one that can be replaced"),
        ("a:b", "'a:b' is no submodule"),
    ],
)
def test_paths_that_name_no_block(path: str, message: str) -> None:
    with pytest.raises(TargetError, match=re.escape(message)):
        Pruning(Net(), path, keep=2, steps=10)


def test_a_block_that_cannot_shrink_is_refused_before_any_training() -> None:
    model = Net()
    model.edge.append(nn.LayerNorm(WIDTH).double())
    before = state_of(model)
    with pytest.raises(PruningError, match=r"'edge' can't be made smaller: .* LayerNorm"):
        Pruning(model, "edge", keep=2, steps=10)
    assert state_of(model) == before


def test_pairs_need_an_even_number_of_outputs() -> None:
    with pytest.raises(PruningError, match="'edge' has 7 outputs: importance 'kl' expects an even"):
        Pruning(Net(7), "edge", keep=2, steps=10, importance="kl")


def test_one_pruning_at_a_time() -> None:
    model = Net()
    first = Pruning(model, "edge", keep=2, steps=10)
    with pytest.raises(PruningError, match="'edge' is being pruned already"):
        Pruning(model, "edge", keep=1, steps=10)
    first.remove()
    assert Pruning(model, "edge", keep=1, steps=10).live == list(range(WIDTH))


@pytest.mark.parametrize("verb", ["step", "finish", "remove"])
def test_nothing_goes_on_after_the_end(verb: str) -> None:
    pruning = cut(Net(), keep=2)
    pruning.finish()
    with pytest.raises(PruningError, match=rf"{verb}\(\) came after the pruning of block 'edge'"):
        getattr(pruning, verb)()


def test_a_block_that_was_never_called() -> None:
    pruning = Pruning(Net(), "edge", keep=2, steps=10, schedule="linear", until=0.1)
    with pytest.raises(PruningError, match=r"'edge' gave nothing since .* step 1 .* before step"):
        pruning.step()
    assert (pruning.done, len(pruning.live)) == (0, WIDTH)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda output: (output,), "gave tuple: expected one floating tensor [..., 8]"),
        (lambda output: output.long(), "of torch.int64: expected one floating tensor"),
        (lambda output: output[..., :3], "gave a tensor [5, 3, 3] of torch.float64"),
    ],
)
def test_outputs_that_cannot_be_masked(change: Callable[[torch.Tensor], Any], found: str) -> None:
    model = Net()
    model.edge.register_forward_hook(lambda block, args, output: change(output))
    Pruning(model, "edge", keep=2, steps=10)
    with pytest.raises(PruningError, match=re.escape(found)):
        model(data(5, 3, 2))


def test_a_diverged_training() -> None:
    model = Net()
    with torch.no_grad():
        model.edge[2].bias[4] = float("nan")
    with pytest.raises(PruningError, match="dimension 4 of block 'edge' has importance NaN"):
        cut(model, keep=2)


def test_importance_of_the_wrong_shape() -> None:
    with pytest.raises(PruningError, match=r"importance has shape \[\]: expected one value"):
        cut(Net(), keep=2, importance=torch.mean)


def test_what_finish_refuses_can_be_mended() -> None:
    model, x = Net(), data(5, 3, 2)
    pruning = cut(model, keep=2)
    hook = model.edge[2].register_forward_hook(lambda part, args, output: output.flip(-1))
    model(x)
    before = state_of(model)
    with pytest.raises(SymCompileError, match="it would give other values"):
        pruning.finish()
    assert state_of(model) == before
    assert not model.edge(x)[..., 2:].any()
    hook.remove()
    model(x)
    assert pruning.finish() == [0, 1]
    assert isinstance(model.edge, Shrunk)
