"""An artifact gives back the model, its original and its equations, and executes nothing."""

import builtins
import copy
import dataclasses
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hybrids import Fake, FakeHybrid, hybrid_of
from torch import nn

from symcompile.errors import ArtifactError
from symcompile.fidelity.outcome import Refusal, Rewrite
from symcompile.modules.calling import Batch
from symcompile.storage import artifact, container
from symcompile.storage.outcomes import outcome_to_json


class Block(nn.Module):
    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(n_inputs, 4), nn.Linear(4, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x).tanh())


class Net(nn.Module):
    """A block that becomes equations, one that stays neural, and layers around them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 2)
        self.law = Block(2, 2)
        self.drop = nn.Dropout(0.25)
        self.head = Block(2, 1)

    def forward(self, x: torch.Tensor, gain: float = 2.0) -> dict[str, torch.Tensor]:
        hidden = self.drop(self.law(self.encoder(x)))
        return {"y": self.head(hidden) * gain, "hidden": hidden}


EXAMPLE = Batch((torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3),), {})


def compiled() -> tuple[FakeHybrid, nn.Module]:
    """A hybrid that was trained on since it was compiled, and its original."""
    torch.manual_seed(0)
    root = Net().double()
    module = copy.deepcopy(root)
    fakes = {"law": Fake(["1.5*sin(x0)*x1", "x0 - 0.25*x1"], 2), "head": Fake(["x0 + x1"], 2)}
    hybrid = hybrid_of(module, fakes, EXAMPLE, dtype=torch.float64)
    head = hybrid.outcomes["head"]
    assert isinstance(head, Rewrite)
    outcomes = dict(hybrid.outcomes)
    outcomes["head"] = Refusal("head", "the linear map does better", head.region, head.fronts)
    module.head = copy.deepcopy(root.head)
    with torch.no_grad():
        module.head.first.weight.mul_(1.5)
        module.encoder.bias.add_(0.5)
    return dataclasses.replace(hybrid, outcomes=outcomes), root


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FakeHybrid, nn.Module]:
    hybrid, root = compiled()
    return write(tmp_path_factory.mktemp("saved") / "net.symc", hybrid, root), hybrid, root


def write(path: Path, hybrid: FakeHybrid, root: nn.Module | None, **options: Any) -> Path:
    return artifact.write(path, hybrid, root, notes={"seed": 3, "note": "°"}, **options)


def fill(loaded: artifact.Loaded, hybrid: FakeHybrid) -> nn.Module:
    """The loaded module with the blocks that lowering would make."""
    for path, state in loaded.blocks.items():
        block = copy.deepcopy(hybrid.module.get_submodule(path))
        block.load_state_dict(dict(state), strict=True)
        loaded.module.set_submodule(path, block)
    return loaded.module


def agree(found: nn.Module, expected: nn.Module, rows: int) -> None:
    x = torch.randn(rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    results = []
    for one in (found, expected):
        torch.manual_seed(5)
        result = one(x.clone())
        wanted = [p for p in one.parameters() if p.requires_grad]
        slopes = torch.autograd.grad(result["y"].sum(), wanted, allow_unused=True)
        results.append((result, [s for s in slopes if s is not None]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


def test_the_hybrid_comes_back(saved: Any) -> None:
    path, hybrid, _ = saved
    loaded = artifact.read(path)
    assert isinstance(loaded.module.get_submodule("law"), artifact.Empty)
    with pytest.raises(ArtifactError, match="before it was put in its place"):
        loaded.module.law(1)
    module = fill(loaded, hybrid)
    assert list(module.state_dict()) == list(hybrid.module.state_dict())
    for rows in (1, 5, 12):
        agree(module.eval(), hybrid.module.eval(), rows)
    agree(module.train(), hybrid.module.train(), 6)
    hybrid.module.eval()


def test_the_original_comes_back(saved: Any) -> None:
    path, _, root = saved
    loaded = artifact.read(path)
    assert loaded.root is not None
    torch.testing.assert_close(dict(loaded.root.state_dict()), dict(root.state_dict()))
    agree(loaded.root.eval(), copy.deepcopy(root).eval(), 7)
    agree(loaded.root.train(), copy.deepcopy(root).train(), 7)
    mine, theirs = loaded.root.get_submodule("law"), root.law
    x = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(mine(x), theirs(x))


def test_hybrid_and_original_share_nothing(saved: Any) -> None:
    loaded = artifact.read(saved[0])
    assert loaded.root is not None
    ours = {p.data_ptr() for p in loaded.module.parameters()}
    assert not ours & {p.data_ptr() for p in loaded.root.parameters()}


def test_everything_else_comes_back(saved: Any) -> None:
    path, hybrid, _ = saved
    loaded = artifact.read(path)
    assert list(loaded.outcomes) == ["law", "head"]
    for name, outcome in hybrid.outcomes.items():
        assert outcome_to_json(loaded.outcomes[name]) == outcome_to_json(outcome)
    assert (loaded.capture, loaded.notes) == ("fx", {"seed": 3, "note": "°"})
    assert loaded.differences == ()
    assert loaded.recording is None
    torch.testing.assert_close(tuple(loaded.example), tuple(EXAMPLE))
    assert artifact.outcomes(path)[0].keys() == loaded.outcomes.keys()


def test_without_the_original_neural_regions_are_kept(tmp_path: Path) -> None:
    hybrid, _ = compiled()
    loaded = artifact.read(write(tmp_path / "net.symc", hybrid, None))
    assert loaded.root is None
    agree(fill(loaded, hybrid).eval(), hybrid.module, 4)


def test_saving_twice_gives_the_same_bytes(saved: Any, tmp_path: Path) -> None:
    path, hybrid, root = saved
    assert write(tmp_path / "again.symc", hybrid, root).read_bytes() == path.read_bytes()


def test_the_whole_model_needs_no_example(tmp_path: Path) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    hybrid = hybrid_of(Whole(), {".": Fake(["2.5*x0*x1"], 2)}, None)
    root = Block(2, 1)
    loaded = artifact.read(write(tmp_path / "whole.symc", hybrid, root))
    assert loaded.root is not None
    x = torch.rand(4, 2)
    torch.testing.assert_close(loaded.root(x), root(x))


# --- what can't be saved ---------------------------------------------------------------------


def refused(
    tmp_path: Path, module: nn.Module, message: str, example: Batch | None = EXAMPLE
) -> None:
    with pytest.raises(ArtifactError, match=message):
        write(tmp_path / "no.symc", FakeHybrid(module, {}, example), None)
    assert os.listdir(tmp_path) == []


def test_a_model_without_data_asks_for_some(tmp_path: Path) -> None:
    refused(tmp_path, nn.Linear(3, 1), r"save\(path, example=batch\)", None)


def test_a_graph_that_computes_something_else_is_not_kept(tmp_path: Path) -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return x * self.calls

    refused(tmp_path, Counting(), "Counting can't be saved: its graph computes something else")


class Sampling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * self.rate
        return y + torch.randn_like(y) if self.training else y


class Straight(torch.autograd.Function):
    """Rounds, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        return slope


class Rounding(Sampling):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Straight.apply(x * self.rate * 9)


@pytest.mark.parametrize(("kind", "message"), [(Sampling, "acts as eval"), (Rounding, "gradients")])
def test_a_difference_in_training_is_told(tmp_path: Path, kind: Any, message: str) -> None:
    module = kind().train()
    with pytest.warns(UserWarning, match=message):
        path = write(tmp_path / "net.symc", FakeHybrid(module, {}, EXAMPLE), None)
    loaded = artifact.read(path)
    assert [message in difference for difference in loaded.differences] == [True]
    x = EXAMPLE.args[0]
    torch.testing.assert_close(loaded.module.eval()(x), module.eval()(x))


def test_a_foreign_operator_is_named(tmp_path: Path) -> None:
    class Fancy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fake_quantize_per_tensor_affine(x.float(), 0.1, 0, 0, 255)

    refused(tmp_path, Fancy(), r"aten\.fake_quantize_per_tensor_affine")


def test_a_foreign_mode_is_named(tmp_path: Path) -> None:
    class Mixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return x.float() @ x.float().T

    refused(tmp_path, Mixed(), "wrap_with_autocast")


def test_a_region_that_is_not_called_is_named(tmp_path: Path) -> None:
    hybrid, root = compiled()
    root.forward = lambda x: root.head(root.encoder(x))  # type: ignore[method-assign]
    with pytest.raises(ArtifactError, match="does not call 'law'"):
        write(tmp_path / "no.symc", hybrid, root)


# --- hostile files ---------------------------------------------------------------------------


class Exploit:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/symcompile-was-executed",)


def test_loading_never_unpickles(saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("something was unpickled or executed")

    class Forbidden:
        __init__ = forbidden

    for module, name in (
        (pickle, "load"),
        (pickle, "loads"),
        (torch, "load"),
        (torch.export, "load"),
    ):
        monkeypatch.setattr(module, name, forbidden)
    for name in ("Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, Forbidden)
    for function in (os.system, os.popen):
        monkeypatch.setattr(os, function.__name__, forbidden)
    monkeypatch.setattr(builtins, "eval", forbidden)
    assert artifact.read(saved[0]).root is not None


@pytest.mark.parametrize("form", ["pickle", "torch zip", "torch legacy", "exported program"])
def test_a_pickle_under_our_name_is_refused(tmp_path: Path, form: str) -> None:
    path, data = tmp_path / "evil.symc", io.BytesIO()
    if form == "pickle":
        data.write(pickle.dumps(Exploit()))
    elif form == "exported program":
        program = torch.export.export(nn.Linear(3, 1), (torch.ones(2, 3),))
        torch.export.save(program, data)
    else:
        torch.save(Exploit(), data, _use_new_zipfile_serialization=form == "torch zip")
    path.write_bytes(data.getvalue())
    with pytest.raises(ArtifactError, match="can't read"):
        artifact.read(path)
    assert not Path("/tmp/symcompile-was-executed").exists()


def forge(
    path: Path, target: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]
) -> Path:
    """The artifact with changed documents and right checksums, as an attacker would write it."""
    with container.Archive(path) as archive:
        stems = [name.rsplit(".", 1) for name in archive.names]
        documents = {stem: archive.document(stem) for stem, kind in stems if kind == "json"}
        tensors = {stem: archive.tensors(stem) for stem, kind in stems if kind != "json"}
        manifest = {k: v for k, v in archive.manifest.items() if k not in ("format", "members")}
    documents["manifest"] = manifest
    change(documents, tensors)
    return container.write(target, documents.pop("manifest"), documents, tensors)


FORGERIES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "a model name that is code": lambda d, t: d["manifest"].update(model="x): import os; ("),
    "no model name": lambda d, t: d["manifest"].pop("model"),
    "a neural block too few": lambda d, t: d["manifest"].update(neural=[]),
    "neural blocks that are no list": lambda d, t: d["manifest"].update(neural=3),
    "notes that are no object": lambda d, t: d["manifest"].update(notes=7),
    "outcomes that are no object": lambda d, t: d.update(outcomes=[1]),
    "an outcome without region": lambda d, t: d["outcomes"]["law"].update(region=None),
    "an equation of code": lambda d, t: d["outcomes"]["law"]["equations"]["0"].update(
        variables=["__import__('os').system('x')", "x1"]
    ),
    "blocks that are no object": lambda d, t: d.update(blocks=None),
    "a block without tensors": lambda d, t: t.update(blocks={}),
    "a block of another shape": lambda d, t: t.update(
        blocks={key: torch.zeros(7, 7) for key in t["blocks"]}
    ),
    "a graph that is no object": lambda d, t: d.update(graph=[]),
    "a graph with a foreign operator": lambda d, t: d["graph"]["nodes"][0].update(op="os.system"),
    "a graph without its tensors": lambda d, t: t.update(tensors={}),
    "a neural graph with a foreign operator": lambda d, t: d["neural/1"]["nodes"][0].update(
        op="aten.from_file.default"
    ),
    "an example of code": lambda d, t: d.update(example=[{"tuple": [{"eval": "1"}]}, {"dict": []}]),
    "an example without tensors": lambda d, t: t.update(example={}),
    "a recording of nothing": lambda d, t: (d.update(recording={}), t.update(recording={})),
    "a member too few": lambda d, t: d.pop("example"),
}


@pytest.mark.parametrize("name", list(FORGERIES))
def test_a_forged_artifact_is_refused_in_one_line(saved: Any, tmp_path: Path, name: str) -> None:
    assert artifact.read(forge(saved[0], tmp_path / "same.symc", lambda d, t: None))
    path = forge(saved[0], tmp_path / "forged.symc", FORGERIES[name])
    with pytest.raises(ArtifactError) as caught:
        artifact.read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
