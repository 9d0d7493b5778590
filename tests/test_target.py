"""Targets say what is wrong with their options as soon as they are made."""

from typing import Any

import pytest

from symcompile.errors import EngineError, TargetError
from symcompile.expressions.operator_set import OperatorSet
from symcompile.target import Target, as_targets, is_name


def test_options_are_read_into_one_form() -> None:
    target = Target("edge", domain={"x": (0, 1), "t": [2, 3]}, outputs=[2, 0, 2], reduce=3)
    assert target.names == ("x", "t")
    assert target.domain == {"x": (0.0, 1.0), "t": (2.0, 3.0)}
    assert target.outputs == (0, 2)
    assert target.reduce == (3, None)
    assert Target("a", names="x").names == ("x",)
    assert Target("a", outputs=1).outputs == (1,)
    assert Target("a", reduce=(None, 2)).reduce == (None, 2)
    assert Target("a", features={"r": "sqrt(x0)"}).features == {"r": "sqrt(x0)"}


def test_operators_are_read() -> None:
    assert Target("a", operators=["+", "sin"]).operators == OperatorSet.of("+,sin")
    with pytest.raises(EngineError, match="'sinus'"):
        Target("a", operators=["sinus"])


@pytest.mark.parametrize(
    ("path", "is_range", "is_glob"),
    [
        ("layers.0.mlp", False, False),
        ("layers.*.mlp", False, True),
        ("layers.[01]", False, True),
        ("layers.?", False, True),
        ("add:relu_1", True, False),
        (".", False, False),
    ],
)
def test_kinds_of_paths(path: str, is_range: bool, is_glob: bool) -> None:
    assert (Target(path).is_node_range, Target(path).is_glob) == (is_range, is_glob)


WRONG: list[tuple[str, Any]] = [
    ("names", ("x", "x")),
    ("names", ("\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}")),
    ("names", ("1x",)),
    ("names", ("lambda",)),
    ("names", ()),
    ("names", 3),
    ("domain", {}),
    ("domain", [("x", (0, 1))]),
    ("domain", {"x": (1, 0)}),
    ("domain", {"x": (0, float("inf"))}),
    ("domain", {"x": (0, float("nan"))}),
    ("domain", {"x": (0,)}),
    ("domain", {"x": "ab"}),
    ("domain", {"x y": (0, 1)}),
    ("domain", {0: (0, 1)}),
    ("features", ["x0"]),
    ("features", {}),
    ("features", {"a b": "x0"}),
    ("features", {"a": 3}),
    ("outputs", ()),
    ("outputs", -1),
    ("outputs", (0.5,)),
    ("outputs", 1.5),
    ("outputs", True),
    ("reduce", 0),
    ("reduce", (1, 2, 3)),
    ("reduce", 1.5),
    ("reduce", True),
    ("max_complexity", 0),
    ("max_complexity", 3.5),
    ("max_complexity", True),
    ("tolerance", 0),
    ("tolerance", float("inf")),
    ("tolerance", "0.1"),
]


@pytest.mark.parametrize(("option", "value"), WRONG, ids=repr)
def test_wrong_options_name_target_and_option(option: str, value: Any) -> None:
    with pytest.raises(TargetError, match=rf"target 'edge': {option} is .*expected"):
        Target("edge", **{option: value})


def test_names_and_domain_agree() -> None:
    assert Target("a", names=("t", "x"), domain={"x": (0, 1), "t": (0, 1)}).names == ("t", "x")
    with pytest.raises(TargetError, match="names of domain, x"):
        Target("a", names=("u",), domain={"x": (0, 1)})


@pytest.mark.parametrize("path", ["", None, 3])
def test_path_is_text(path: Any) -> None:
    with pytest.raises(TargetError, match="expected a module path"):
        Target(path)


def test_as_targets() -> None:
    one = Target("b", tolerance=0.1)
    assert as_targets("a") == (Target("a"),)
    assert as_targets(one) == (one,)
    assert as_targets(iter(["a", one])) == (Target("a"), one)
    for wrong in ([], 3, ["a", 3]):
        with pytest.raises(TargetError, match="targets"):
            as_targets(wrong)  # type: ignore[arg-type]


def test_is_name() -> None:
    assert is_name("x0")
    assert is_name("α")
    assert not any(map(is_name, ("", "x y", "if", 3, None)))
