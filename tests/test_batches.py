"""Data of every form becomes calls of the model."""

from typing import Any

import numpy as np
import pytest
import torch
from models import Block
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from symcompile.errors import DataError
from symcompile.modules.batches import as_batch, as_batches, sampled_batch
from symcompile.modules.calling import Batch
from symcompile.target import Target

ONE = Block(lambda x: x)
TWO = Block(lambda x, y=None, *, scale=1.0: x)


@pytest.mark.parametrize(
    ("data", "args", "kwargs"),
    [
        (torch.ones(3, 2), 1, []),
        (np.ones((3, 2)), 1, []),
        ((torch.ones(3, 2), torch.ones(3)), 2, []),
        ({"x": torch.ones(3, 2), "scale": 2.0}, 0, ["x", "scale"]),
        (Batch((torch.ones(3, 2),), {"scale": 2.0}), 1, ["scale"]),
    ],
    ids=["tensor", "array", "tuple", "dict", "batch"],
)
def test_one_batch(data: Any, args: int, kwargs: list[str]) -> None:
    first, all_of_them = as_batches(data, TWO)
    assert (len(first.args), list(first.kwargs)) == (args, kwargs)
    assert [id(b) for b in all_of_them] == [id(first)]


def test_loaders_lists_and_generators_are_iterated_once_and_late() -> None:
    loader = DataLoader(TensorDataset(torch.arange(10.0)[:, None]), batch_size=4)
    first, batches = as_batches(loader, ONE)
    assert torch.equal(torch.cat([b.args[0] for b in batches])[:, 0], torch.arange(10.0))
    drawn: list[int] = []

    def generate() -> Any:
        for k in range(5):
            drawn.append(k)
            yield {"x": torch.full((2, 1), float(k))}

    first, batches = as_batches(generate(), ONE)
    assert drawn == [0]
    assert float(first.kwargs["x"][0]) == 0.0
    next(batches)
    assert drawn == [0]
    assert [float(b.kwargs["x"][0]) for b in batches] == [1.0, 2.0, 3.0, 4.0]
    assert drawn == [0, 1, 2, 3, 4]
    assert len(list(as_batches([torch.ones(1, 1)] * 3, ONE)[1])) == 3


def test_arrays_take_the_models_dtype_tensors_keep_theirs() -> None:
    model = nn.Linear(2, 1).double()
    assert as_batch(np.ones((3, 2), dtype=np.float32), model).args[0].dtype == torch.float64
    assert as_batch(np.ones((3, 2), dtype=np.int64), model).args[0].dtype == torch.int64
    assert as_batch(torch.ones(3, 2), model).args[0].dtype == torch.float32


def test_tensors_go_to_the_models_device() -> None:
    batch = as_batch({"x": (torch.ones(2), [torch.ones(1)])}, Block(lambda x: x).to("meta"))
    assert batch.kwargs["x"][0].device.type == "cpu"
    model = nn.Linear(2, 1, device="meta")
    nested = as_batch((torch.ones(3, 2),), model)
    assert nested.args[0].device.type == "meta"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (3, "data is a int"),
        (None, "data is a NoneType"),
        ([], "data is empty"),
        (iter(()), "data is empty"),
        (torch.ones(0, 2), r"\[0, 2\] holds no samples"),
        ([3], "a batch is a int"),
        ("text", "data is a str"),
        ([{3: torch.ones(1)}], "a batch is a dict"),
        ((torch.ones(1), torch.ones(1)), r"\[1\], \[1\] does not fit Block.forward"),
        ({"z": torch.ones(1)}, r"z=\[1\] does not fit Block.forward"),
    ],
)
def test_wrong_data_says_what_was_found(data: Any, found: str) -> None:
    with pytest.raises(DataError, match=found):
        as_batches(data, ONE)


def test_a_graph_without_edges_is_a_batch() -> None:
    batch = {"x": torch.ones(3, 2), "y": torch.ones(2, 0)}
    assert as_batch(batch, TWO).kwargs["y"].shape == (2, 0)


DOMAIN = {"x": (0.0, 1.0), "t": (5.0, 6.0)}


@pytest.mark.parametrize(
    ("forward", "args", "kwargs"),
    [
        (lambda inputs: inputs, ["xt"], {}),
        (lambda inputs, flag=None: inputs, ["xt"], {}),
        (lambda x, t: x, ["x", "t"], {}),
        (lambda t, x: x, ["t", "x"], {}),
        (lambda a, b: a, ["x", "t"], {}),
        (lambda t, *, x: x, ["t"], {"x": "x"}),
        (lambda *, x, t: x, [], {"x": "x", "t": "t"}),
        (lambda x=None: x, ["xt"], {}),
    ],
)
def test_sampled_by_signature(forward: Any, args: list[str], kwargs: dict[str, str]) -> None:
    batch = sampled_batch(Target(".", domain=DOMAIN), Block(forward), 100, seed=3)
    columns = torch.from_numpy(np.random.default_rng(3).uniform([0, 5], [1, 6], (100, 2))).float()
    parts = {"xt": columns, "x": columns[:, :1], "t": columns[:, 1:]}
    assert len(batch.args) == len(args)
    assert all(torch.equal(v, parts[name]) for v, name in zip(batch.args, args, strict=True))
    assert batch.kwargs.keys() == kwargs.keys()
    assert all(torch.equal(batch.kwargs[n], parts[p]) for n, p in kwargs.items())


def test_sampled_in_the_models_dtype_and_reproducibly() -> None:
    target = Target(".", domain=DOMAIN)
    model = nn.Linear(2, 1).double()
    first = sampled_batch(target, model, 10, seed=1).args[0]
    assert first.dtype == torch.float64
    assert torch.equal(first, sampled_batch(target, model, 10, seed=1).args[0])
    assert not torch.equal(first, sampled_batch(target, model, 10, seed=2).args[0])


@pytest.mark.parametrize("forward", [lambda a, b, c: a, lambda: 0, lambda *xs: xs])
def test_a_domain_that_does_not_fit_the_forward(forward: Any) -> None:
    with pytest.raises(DataError, match="domain has 2 inputs, but forward takes"):
        sampled_batch(Target(".", domain=DOMAIN), Block(forward), 10, seed=0)
