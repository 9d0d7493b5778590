"""Results that are dataclasses, mappings, or hold objects such as caches."""

from collections import OrderedDict
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from searches import QUICK
from torch import nn
from torch.utils import _pytree as pytree

from symcompile import Compiled, diff, exporters, load, symcompile
from symcompile.modules.calling import Left, left_out, opaque_objects, plain, storable

X = torch.randn(40, 3, 2, generator=torch.Generator().manual_seed(0))


class Cache:
    """Like DynamicCache: neither a tensor nor a container."""

    def __init__(self) -> None:
        self.keys: list[torch.Tensor] = []

    def update(self, keys: torch.Tensor) -> torch.Tensor:
        self.keys.append(keys)
        return torch.cat(self.keys, dim=1)


class ModelOutput(OrderedDict):
    """As in transformers: a mapping of what is not None, and attributes."""

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            if value is not None:
                self[one.name] = value


@dataclass
class Unregistered(ModelOutput):
    logits: torch.Tensor | None = None
    past: Cache | None = None
    hidden: tuple[torch.Tensor, ...] | None = None


@dataclass
class Registered(ModelOutput):
    logits: torch.Tensor | None = None
    past: Cache | None = None
    hidden: tuple[torch.Tensor, ...] | None = None


pytree.register_pytree_node(
    Registered,
    lambda value: (list(value.values()), list(value)),
    lambda values, names: Registered(**dict(zip(names, values, strict=True))),
    flatten_with_keys_fn=lambda value: (
        [(pytree.MappingKey(name), one) for name, one in value.items()],
        list(value),
    ),
    serialized_type_name="tests.Registered",
)


@dataclass
class Plain:
    """A dataclass that is no mapping, with another one inside."""

    logits: torch.Tensor
    inner: Any = None


class Language(nn.Module):
    """A small language model's way of answering."""

    def __init__(self, kind: Any, use_cache: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.mlp, self.head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 5)
        self.kind, self.use_cache = kind, use_cache

    def forward(self, x: torch.Tensor, past: Cache | None = None) -> Any:
        hidden = self.embed(x)
        cache = (past or Cache()) if self.use_cache else None
        seen = hidden if cache is None else cache.update(hidden)
        hidden = hidden + seen.mean(1, keepdim=True)
        logits = self.head(torch.tanh(self.mlp(hidden)))
        return self.kind(logits, cache, (hidden,))


def as_plain(logits: torch.Tensor, cache: Cache | None, hidden: Any) -> Any:
    return Plain(logits, {"cache": cache, "more": Plain(hidden[0])})


KINDS = [Unregistered, Registered, as_plain]


def compiled(kind: Any, use_cache: bool = True) -> Compiled:
    found = symcompile(Language(kind, use_cache).eval(), "mlp", X, **QUICK)
    found.choose("mlp", "x0*x1")
    return found


def logits_of(result: Any) -> torch.Tensor:
    return pytree.tree_leaves(plain(result))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_results_with_caches_are_measured_saved_and_exported(kind: Any, tmp_path: Path) -> None:
    one = compiled(kind)
    assert "an object that the model returns" in one.recording.note or "Error" in one.recording.note
    fidelity = one.outcomes["mlp"].fidelity
    assert fidelity is not None
    assert fidelity.end_to_end is not None
    assert 0.0 < fidelity.end_to_end.equation < 2.0
    assert type(one.module(X)) is type(Language(kind)(X))
    with pytest.warns(UserWarning, match=r"returns None for .*\(Cache\).*use_cache = False"):
        path = one.save(tmp_path / "m.symc")
    loaded = load(path)
    torch.testing.assert_close(logits_of(loaded.module(X)), logits_of(one.module(X)))
    assert diff(one, loaded).same
    file = one.export(tmp_path / "m.onnx")
    assert file.agreement is not None
    assert "(Cache)" in file.note
    graph = exporters.graph_module(one)
    torch.testing.assert_close(logits_of(graph(X)), logits_of(one.module(X)))


def test_without_a_cache_nothing_is_left_out(tmp_path: Path) -> None:
    one = compiled(Registered, use_cache=False)
    assert isinstance(exporters.graph_module(one)(X), Registered)
    loaded = load(one.save(tmp_path / "m.symc"))  # warnings are errors
    found, expected = loaded.module(X), one.module(X)
    assert list(found) == ["logits", "hidden"]
    torch.testing.assert_close(found["hidden"], expected.hidden)


def test_containers_are_looked_into_and_kept_where_torch_knows_them() -> None:
    class Pair(NamedTuple):
        first: Any
        second: Any

    t = torch.ones(2)
    value = {"a": Pair(t, [t, None]), "b": (1, 2.5, "text", t.shape, t.dtype)}
    assert plain(value) is value
    found = plain({"a": Pair(t, Cache()), "b": Unregistered(t), "c": Plain(t, 1j)})
    assert found == {
        "a": Pair(t, Left("Cache")),
        "b": {"logits": t},
        "c": {"logits": t, "inner": 1j},
    }
    assert opaque_objects(found) == ["['a'].second (Cache)"]
    assert left_out(found) == ["['a'].second (Cache)", "['c']['inner'] (complex)"]
    assert storable(found)["c"] == {"logits": t, "inner": None}
    assert plain(Registered(t, Cache())) == Registered(t, Left("Cache"))


def test_results_that_hold_numbers_beside_tensors_are_stored(tmp_path: Path) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = nn.Linear(2, 1)

        def forward(self, x: torch.Tensor) -> Any:
            return {"y": self.mlp(x), "dtype": x.dtype, "unit": 1j, "n": 3, "none": None}

    one = symcompile(Mixed(), "mlp", X[:, 0], **QUICK)
    with pytest.warns(UserWarning, match=r"\['dtype'\] \(dtype\), \['unit'\] \(complex\)"):
        loaded = load(one.save(tmp_path / "m.symc"))
    found = loaded.module(X[:, 0])
    assert (found["n"], found["none"], found["dtype"]) == (3, None, None)
