"""Calls, modes, comparisons; and what a forward leaves behind."""

from typing import Any

import numpy as np
import pytest
import torch
from models import Derivative, Leftovers, Net, state_of
from torch import fx, nn

from symcompile.modules.calling import (
    Batch,
    equal,
    evaluating,
    grad_mode,
    home,
    map_tensors,
    rows,
    run,
    same,
    take,
    tensors,
    without_gradients,
)
from symcompile.modules.state import match_persistence, preserving


def batch(*args: Any, **kwargs: Any) -> Batch:
    return Batch(args, kwargs)


def test_modes_come_back_after_an_exception() -> None:
    model = Net()
    model.train()
    model.block.eval()
    before = state_of(model)
    with pytest.raises(KeyError), evaluating(model, model.block):  # noqa: PT012
        assert not any(part.training for part in model.modules())
        raise KeyError
    assert state_of(model) == before


def test_what_a_forward_leaves_behind_is_undone() -> None:
    model = Leftovers()
    before = state_of(model)
    x = torch.ones(3, 2)
    with pytest.raises(KeyError), preserving(model):  # noqa: PT012
        model(x)
        model.hidden = torch.zeros(2)
        model.extra = 3
        assert state_of(model) != before
        raise KeyError
    assert state_of(model) == before
    assert torch.equal(model.hidden, torch.ones(2))
    assert not hasattr(model, "extra")


def test_run_leaves_the_batch_alone() -> None:
    x = torch.tensor([-1.0, 2.0])
    found = run(nn.ReLU(inplace=True), batch(x))
    assert found.tolist() == [0.0, 2.0]
    assert x.tolist() == [-1.0, 2.0]


def test_a_traced_error_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    traced = fx.symbolic_trace(Net())
    seen: list[Any] = []
    traced.register_forward_hook(lambda *_: seen.append(1))
    with pytest.raises(RuntimeError):
        run(traced, batch(torch.ones(3, 5)))
    run(traced, batch(torch.ones(3, 2)))
    assert seen == [1]
    assert capfd.readouterr() == ("", "")


def test_without_gradients_unless_the_forward_differentiates() -> None:
    x = torch.ones(3, 2)
    assert not without_gradients(lambda: Net()(x)).requires_grad
    with torch.no_grad():
        assert without_gradients(lambda: Derivative()(x)).shape == (3, 2)
    with pytest.raises(RuntimeError, match="shapes"):
        without_gradients(lambda: Net()(torch.ones(3, 5)))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (torch.ones(3), torch.ones(3) + 1e-6, True),
        (torch.ones(3), torch.ones(3) + 1e-2, False),
        (torch.tensor([1e6, 1.0]), torch.tensor([1e6, 1.5]), True),
        (torch.ones(3).double(), torch.ones(3).double() + 1e-6, False),
        (torch.ones(3).bfloat16(), torch.ones(3).bfloat16() + 0.01, True),
        (torch.ones(3), torch.ones(3).double(), False),
        (torch.ones(3), torch.ones(3, 1), False),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), True),
        (torch.tensor([float("inf")]), torch.tensor([float("inf")]), True),
        (torch.tensor([float("inf")]), torch.tensor([1.0]), False),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
        (torch.tensor([1j]), torch.tensor([1j]), True),
        (torch.ones(0), torch.ones(0), True),
        ((torch.ones(1), None), (torch.ones(1), None), True),
        ((torch.ones(1), None), (torch.ones(1), 3), False),
        ((torch.ones(1),), [torch.ones(1)], False),
        ((torch.ones(1),), (torch.ones(1), torch.ones(1)), False),
        ({"a": torch.ones(1)}, {"a": torch.ones(1)}, True),
        (torch.ones(1), 1.0, False),
        ("text", "text", True),
        (np.ones(2), np.ones(2), False),
    ],
    ids=repr,
)
def test_same(a: Any, b: Any, expected: bool) -> None:
    assert same(a, b) is expected
    assert same(b, a) is expected


def test_equal_survives_values_that_do_not_compare() -> None:
    array = np.ones(2)
    assert equal(array, array)
    assert not equal(array, np.ones(2))
    assert equal(1, 1.0)


def test_rows_and_take() -> None:
    nested = batch(
        torch.arange(4.0), {"a": torch.arange(8.0).reshape(4, 2)}, torch.tensor(7.0), n=3
    )
    assert rows(nested) == 4
    some = take(nested, torch.tensor([2, 0]))
    assert some.args[0].tolist() == [2.0, 0.0]
    assert some.args[1]["a"].tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert (float(some.args[2]), some.kwargs) == (7.0, {"n": 3})
    for other in (batch(torch.ones(4), torch.ones(3)), batch(torch.tensor(1.0)), batch(3), batch()):
        assert rows(other) is None


def test_nested_values() -> None:
    value = {"a": (torch.ones(1), [3, torch.zeros(1)]), "b": None}
    assert [float(t) for t in tensors(value)] == [1.0, 0.0]
    doubled = map_tensors(lambda t: t + t, value)
    assert (float(doubled["a"][0]), doubled["a"][1][0], doubled["b"]) == (2.0, 3, None)


def test_home() -> None:
    assert home(nn.Linear(1, 1).double()) == (torch.device("cpu"), torch.float64)
    assert home(nn.BatchNorm1d(2, affine=False).half()) == (torch.device("cpu"), torch.float16)
    assert home(nn.ReLU()) == (torch.device("cpu"), torch.float32)


def test_buffers_stay_out_of_the_state_dict() -> None:
    model = Leftovers()
    traced = Leftovers()
    traced.register_buffer("hidden", torch.ones(2))
    assert "hidden" in traced.state_dict()
    match_persistence(traced, model)
    assert traced.state_dict().keys() == model.state_dict().keys()


def test_the_mode_without_gradients_is_known() -> None:
    weight = torch.ones(2, requires_grad=True)

    def differentiates() -> torch.Tensor:
        return torch.autograd.grad((weight**2).sum(), weight)[0]

    assert grad_mode(lambda: weight * 2) is torch.no_grad
    assert grad_mode(differentiates) is torch.enable_grad
    with pytest.raises(RuntimeError, match="of its own"):
        grad_mode(lambda: fail("of its own"))


def fail(text: str) -> None:
    raise RuntimeError(text)
