"""Blocks are put into a region's place and taken out again."""

import copy
import pickle

import pytest
import sympy
import torch
from torch import fx, nn

from symcompile.errors import TargetError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.lowering.block import lower
from symcompile.modules.calling import WHOLE
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.modules.surgery import install
from symcompile.target import Target

X0, X1 = sympy.symbols("x0 x1")


def region_at(path: str, n_outputs: int = 2) -> Region:
    interface = Interface(
        (Parameter("input"),), (TensorInput("input", (), 2),), (TensorOutput(n_outputs),)
    )
    return Region(path, Target(path), interface, ("x0", "x1"))


def block_for(region: Region, neural=None, outputs=(0, 1)):
    exprs = (1.5 * X0 + sympy.sin(X1), 0.5 * X0 * X1)
    equations = {k: Equation.of(exprs[k], region.names, OperatorSet.of(None)) for k in outputs}
    return lower(region, equations, dtype=torch.float32, neural=neural).module


def equations_by_hand(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([1.5 * x[..., 0] + torch.sin(x[..., 1]), 0.5 * x[..., 0] * x[..., 1]], -1)


def still_reachable(root: nn.Module, replaced: nn.Module) -> tuple[str, ...]:
    """Names under which `root` still holds parameters or buffers of a replaced block."""
    gone = {id(t) for t in (*replaced.parameters(), *replaced.buffers())}
    named = (
        *root.named_parameters(remove_duplicate=False),
        *root.named_buffers(remove_duplicate=False),
    )
    return tuple(name for name, tensor in named if id(tensor) in gone)


def parameters_removed(root: nn.Module, replaced: nn.Module) -> int:
    """How many scalars of the replaced block's parameters `root` no longer holds."""
    kept = {id(p) for p in root.parameters()}
    return sum(p.numel() for p in replaced.parameters() if id(p) not in kept)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(2, 2)
        self.layers = nn.ModuleList(nn.ModuleDict({"mlp": nn.Linear(2, 2)}) for _ in range(2))

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer["mlp"](x)
        return x


def roots() -> dict[str, nn.Module]:
    return {"class": Model(), "fx": fx.symbolic_trace(Model())}


@pytest.mark.parametrize("kind", ["class", "fx"])
def test_installed_block_computes_and_old_parameters_are_gone(kind):
    root = roots()[kind]
    original = copy.deepcopy(root)
    replaced = root.get_submodule("layers.1.mlp")
    region = region_at("layers.1.mlp")
    install(root, region, block_for(region))
    x = torch.randn(5, 2)
    wanted = equations_by_hand(root.get_submodule("layers.0.mlp")(root.stem(x)))
    torch.testing.assert_close(root(x), wanted)
    assert still_reachable(root, replaced) == ()
    assert parameters_removed(root, replaced) == 6
    assert not any("layers.1.mlp" in name for name, _ in root.named_parameters())
    for other in (copy.deepcopy(root), pickle.loads(pickle.dumps(root))):
        torch.testing.assert_close(other(x), wanted)
        other.load_state_dict(root.state_dict(), strict=True)
    install(root, region, replaced)
    torch.testing.assert_close(root(x), original(x), rtol=0, atol=0)
    assert root.get_submodule("layers.1.mlp") is replaced


def test_nodes_of_a_traced_root_stay_calls_of_the_submodule():
    root = roots()["fx"]
    code = root.code
    region = region_at("layers.0.mlp")
    install(root, region, block_for(region))
    assert root.code == code
    root.graph.lint()


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_is_kept(training):
    root = Model()
    root.layers[0]["mlp"].train(training)
    region = region_at("layers.0.mlp")
    install(root, region, block_for(region).train(not training))
    assert root.layers[0]["mlp"].training is training
    install(root, region, nn.Linear(2, 2).train(not training))
    assert root.layers[0]["mlp"].training is training


def test_hooks_of_the_replaced_block_do_not_move():
    root, seen = Model(), []
    root.layers[0]["mlp"].register_forward_hook(lambda *_: seen.append(1))
    region = region_at("layers.0.mlp")
    install(root, region, block_for(region))
    root(torch.randn(3, 2))
    assert not seen


def test_a_module_under_two_names_is_replaced_under_both():
    root = Model()
    root.again = root.layers[0]["mlp"]
    replaced = root.again
    region = region_at("layers.0.mlp")
    block = block_for(region)
    install(root, region, block)
    assert root.again is root.layers[0]["mlp"] is block
    assert still_reachable(root, replaced) == ()


def test_weights_shared_with_another_part_stay_there():
    root = Model()
    root.stem.weight = root.layers[0]["mlp"].weight
    replaced = root.layers[0]["mlp"]
    region = region_at("layers.0.mlp")
    install(root, region, block_for(region))
    assert still_reachable(root, replaced) == ("stem.weight",)
    assert parameters_removed(root, replaced) == 2


def test_a_partly_neural_block_keeps_the_old_one_inside():
    root = Model()
    replaced = root.layers[0]["mlp"]
    region = region_at("layers.0.mlp")
    install(root, region, block_for(region, neural=replaced, outputs=(1,)))
    assert set(still_reachable(root, replaced)) == {
        "layers.0.mlp.neural.weight",
        "layers.0.mlp.neural.bias",
    }
    assert parameters_removed(root, replaced) == 0
    x = torch.randn(4, 2)
    y = root.layers[0]["mlp"](x)
    torch.testing.assert_close(y[:, 0], replaced(x)[:, 0])
    torch.testing.assert_close(y[:, 1], equations_by_hand(x)[:, 1])
    install(root, region, replaced)
    assert root.layers[0]["mlp"] is replaced


def test_the_whole_model_sits_at_body():
    root = nn.Module()
    root.add_module(WHOLE, nn.Linear(2, 2))
    region = region_at(".")
    block = block_for(region)
    install(root, region, block)
    assert root.get_submodule(WHOLE) is block


def test_a_path_without_module_is_refused():
    region = region_at("layers.7.mlp")
    with pytest.raises(TargetError, match=r"'layers\.7\.mlp'.*Model has no submodule"):
        install(Model(), region, block_for(region))
