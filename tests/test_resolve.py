"""What users name becomes paths; what can't be meant is refused with a suggestion."""

import pytest
from models import Net, Stack
from torch import nn

from symcompile.errors import TargetError
from symcompile.modules.resolve import aliases, resolve
from symcompile.target import as_targets


def paths(model: nn.Module, *targets: str) -> list[str]:
    return list(resolve(model, as_targets(targets)))


class Shared(nn.Module):
    """One block under two names, once within another module."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = self.first
        self.outer = nn.Sequential(self.first, nn.Tanh())


def test_paths_globs_and_others() -> None:
    model = Stack()
    assert paths(model, "layers.1.mlp") == ["layers.1.mlp"]
    assert paths(model, "layers.*.mlp") == [f"layers.{k}.mlp" for k in range(3)]
    assert paths(model, "layers.[02].mlp", "head") == ["layers.0.mlp", "layers.2.mlp", "head"]
    assert paths(model, "layers.?") == ["layers.0", "layers.1", "layers.2"]
    assert paths(model, ".") == ["."]
    assert paths(model, "layers_0_norm:add") == ["layers_0_norm:add"]
    assert [target.path for target in resolve(model, as_targets("layers.*")).values()] == [
        "layers.*"
    ] * 3


def test_a_star_stays_within_one_level() -> None:
    assert paths(Stack(), "layers.*.mlp.*")[:2] == ["layers.0.mlp.0", "layers.0.mlp.1"]
    assert paths(Stack(), "*") == ["head"]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("blok", "did you mean 'block'"),
        ("Block", "did you mean 'block'"),
        ("zzz", "the model has before, block, after"),
        ("nothing.*", "the model has before"),
    ],
)
def test_no_match_suggests(path: str, hint: str) -> None:
    with pytest.raises(TargetError, match=f"matches no submodule: {hint}"):
        paths(Net(), path)


def test_no_match_in_depth_and_without_submodules() -> None:
    with pytest.raises(TargetError, match=r"'layers\.0\.mlp'"):
        paths(Stack(), "mlp")
    with pytest.raises(TargetError, match=r"no submodules: use '\.'"):
        paths(nn.Linear(1, 1), "weight")


@pytest.mark.parametrize("path", ["layers", "lay*"])
def test_containers_are_never_called(path: str) -> None:
    with pytest.raises(TargetError, match=r"'layers' is a ModuleList.*'layers\.\*'"):
        paths(Stack(), path)


@pytest.mark.parametrize(
    "targets",
    [
        ("layers.0", "layers.0.mlp"),
        ("layers.0.mlp", "layers.0"),
        ("layers.*.mlp", "layers.1"),
        (".", "head"),
        ("head", "."),
        (".", "layers_0_norm:add"),
    ],
)
def test_overlap_is_refused(targets: tuple[str, ...]) -> None:
    with pytest.raises(TargetError, match="overlap"):
        paths(Stack(), *targets)


def test_a_common_prefix_is_no_overlap() -> None:
    model = nn.ModuleDict({"edge": nn.Linear(1, 1), "edge2": nn.Linear(1, 1)})
    assert paths(model, "edge", "edge2") == ["edge", "edge2"]


def test_named_twice() -> None:
    with pytest.raises(TargetError, match="'head' is named twice"):
        paths(Stack(), "head", "head")


def test_modules_under_two_names() -> None:
    model = Shared()
    assert paths(model, "second") == ["second"]
    for pair in (("first", "second"), ("outer", "second")):
        with pytest.raises(TargetError, match="overlap"):
            paths(model, *pair)
    assert aliases(model, "second") == ("second", "first", "outer.0")
    twins = nn.ModuleDict({"a": model.first, "b": model.first, "c": nn.Linear(1, 1)})
    assert paths(twins, "?") == ["a", "c"]
