"""ONNX files as snapshots: ours with and without functions, foreign ones, and those that lie."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import pytest
import torch
from hybrids import Fake, FakeHybrid, equations_of, hybrid_of, region_of, rewrite_of
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from symcompile import exporters
from symcompile.diff.readers import read
from symcompile.diff.snapshot import Snapshot
from symcompile.errors import ArtifactError
from symcompile.expressions.evaluation import evaluate
from symcompile.expressions.operators import VOCABULARY
from symcompile.fidelity.outcome import Refusal
from symcompile.lowering.block import lower
from symcompile.modules.calling import Batch
from symcompile.modules.region import (
    Interface,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
)
from symcompile.storage import artifact
from symcompile.storage.schema import Tensor
from symcompile.target import Target

FLOAT = TensorProto.FLOAT


class Network(nn.Module):
    """A block called at two ranks, one over features, one between projections, a neural one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 2)
        self.law, self.wave, self.wide = nn.Identity(), nn.Identity(), nn.Identity()
        self.rest = nn.Linear(4, 2)
        self.gain = nn.Parameter(torch.tensor(1.75))

    def forward(self, signal: torch.Tensor) -> Any:
        hidden = self.law(self.law(self.first(signal)))
        flat = self.law(hidden.mean(dim=1))
        return self.rest(self.wide(self.wave(flat))) * self.gain, hidden


def samples(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) + 0.25


def projected(module: nn.Module) -> Any:
    """The outcome of a block of 2 inputs and 4 outputs with projections on both sides."""
    rng = np.random.default_rng(0)

    def projection(count: int, width: int) -> Projection:
        turned = np.linalg.qr(rng.normal(size=(width, width)))[0]
        return Projection(rng.normal(size=width), turned[:count])

    region = Region(
        "wide",
        Target("wide", reduce=(2, 3)),
        Interface((Parameter("x"),), (TensorInput("x", (), 2),), (TensorOutput(4),)),
        ("x0", "x1"),
        projection_in=projection(2, 2),
        projection_out=projection(3, 4),
    )
    fake = Fake(["z0*z1 + 0.5", "sin(2.5*z0)", "z1 - 0.25*z0"], 2)
    equations = equations_of(region, fake)
    module.set_submodule("wide", lower(region, equations, dtype=torch.float32).module)
    return rewrite_of(region, equations, fake)


def network() -> FakeHybrid:
    fakes = {
        "law": Fake(["sin(2.5*x0) + 0.5*x1", "x0*x1 - 0.75"], 2),
        "wave": Fake(["1.5*r", "r**2 - d"], 2, features={"r": "sqrt(x0**2 + 1)", "d": "x1 - x0"}),
    }
    hybrid = hybrid_of(Network(), fakes, Batch((samples(6, 4, 3),), {}))
    outcomes = {**hybrid.outcomes, "wide": projected(hybrid.module)}
    probes = tuple(tuple(map(float, row)) for row in samples(5, 2, seed=1))
    provenance = {"engine": {"name": "operon", "version": "1"}, "seed": 3, "n_fit": 80}
    outcomes = {
        path: replace(one, probes=probes, provenance=provenance)  # type: ignore[type-var]
        for path, one in outcomes.items()
    }
    region = replace(
        outcomes["law"].region,
        path="rest",
        names=tuple("abcd"),
        interface=Interface(
            (Parameter("input"),), (TensorInput("input", (), 4),), (TensorOutput(2),)
        ),
    )
    outcomes["rest"] = Refusal("rest", "no equation beats a linear map", region)
    return FakeHybrid(hybrid.module.eval(), outcomes, hybrid.example)


@pytest.fixture(scope="module")
def hybrid() -> FakeHybrid:
    return network()


@pytest.fixture(scope="module")
def ours(hybrid: FakeHybrid, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    for name, functions in (("functions", True), ("flat", False)):
        exporters.onnx(hybrid, folder / f"{name}.onnx", functions=functions, check=False)
    return {name: folder / f"{name}.onnx" for name in ("functions", "flat")}


def nameless(found: Snapshot) -> list[tuple[Any, ...]]:
    """Nodes that read each other by number."""
    number = {node.name: k for k, node in enumerate(found.nodes)}
    return [
        (n.operator, [number[name] for name in n.inputs], n.weights, n.attributes)
        for n in found.nodes
    ]


def same(a: Any, b: Any) -> bool:
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


# --- ours ----------------------------------------------------------------------------------------


def test_what_a_file_of_ours_tells(ours: dict[str, Path]) -> None:
    found = read(ours["functions"])
    assert (found.kind, found.family, found.level) == ("ONNX", "onnx", "onnx")
    assert found.equations_known
    assert found.notes == ()
    assert (found.model, found.parameters) == ("Network", 19)
    assert found.opsets == {"ai.onnx": 18}
    assert found.inputs == {"signal": Tensor("float32", ("batch", "signal_1", 3))}
    assert found.outputs["output_0"] == Tensor("float32", ("batch", 2))
    assert sorted(found.blocks) == ["law", "rest", "wave", "wide"]
    assert [one.operator for one in found.nodes if one.operator.startswith("region:")] == [
        "region:law",
        "region:law",
        "region:law",
        "region:wave",
        "region:wide",
    ]
    # A parameter of a single number is a weight, an axis is no weight.
    assert found.weights["gain"] == Tensor("float32", (), found.weights["gain"].digest)
    (mean,) = [one for one in found.nodes if one.operator == "ReduceMean"]
    assert mean.attributes.startswith("%, [1]; keepdims=0")
    assert {one.dtype for one in found.weights.values()} == {"float32"}


def test_both_modes_give_the_same_snapshot_up_to_names(ours: dict[str, Path]) -> None:
    functions, flat = read(ours["functions"]), read(ours["flat"])
    assert nameless(functions) == nameless(flat)
    for one in fields(Snapshot):
        if one.name not in ("source", "nodes", "blocks"):
            assert getattr(functions, one.name) == getattr(flat, one.name), one.name
    assert_same_blocks(functions, flat)


def assert_same_blocks(a: Snapshot, b: Snapshot) -> None:
    assert list(a.blocks) == list(b.blocks)
    for path, block in a.blocks.items():
        for one in fields(block):
            values = getattr(block, one.name), getattr(b.blocks[path], one.name)
            assert same(*values), (path, one.name, *values)


def test_blocks_are_those_of_a_manifest_an_artifact_and_the_model(
    hybrid: FakeHybrid, ours: dict[str, Path], tmp_path: Path
) -> None:
    exporters.manifest(hybrid, tmp_path / "a.json")
    artifact.write(tmp_path / "a.symc", hybrid)
    found = read(ours["functions"])
    for other in (read(tmp_path / "a.json"), read(tmp_path / "a.symc"), read(hybrid)):
        assert_same_blocks(found, other)
        assert found.probes is not None
        assert found.probes == other.probes
        assert (found.model, found.parameters) == (other.model, other.parameters)
    wave = found.blocks["wave"]
    assert wave.probes.shape == (5, 2)
    assert list(wave.features) == ["r", "d"]
    assert found.blocks["rest"].digest
    assert found.blocks["rest"].reason == "no equation beats a linear map"


class Alone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.law = nn.Identity()

    def forward(self, signal: torch.Tensor) -> Any:
        return self.law(signal)


def spelled(row: Any) -> str:
    """An operator of x0 and x1 where it has values."""
    args = ["x0/4 + 0.1", "x0 + 1.5"] if row.arity == 1 else ["x0, x1 + 0.5"]
    for one in args:
        text = f"{row.name}({one})" if row.name.isidentifier() else f"x0 {row.name} x1"
        found = equations_of(region_of("law", fake := Fake([text], 2)), fake)[0]
        if np.isfinite(evaluate(found.program, samples(50, 2).numpy(), found.constants)).all():
            return text
    raise AssertionError(row)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_of_every_operator_are_checked_against_their_nodes(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    lacking = str(dtype).removeprefix("torch.")
    rows = [row for row in VOCABULARY.values() if lacking not in row.onnx_lacks or row.onnx_spelled]
    fakes = {"law": Fake([spelled(row) for row in rows], 2, ranges=[(0.25, 1.25)] * 2)}
    hybrid = hybrid_of(Alone(), fakes, Batch((samples(6, 2).to(dtype),), {}), dtype=dtype)
    exporters.onnx(hybrid, tmp_path / "a.onnx", check=False)
    assert read(tmp_path / "a.onnx").notes == ()


# --- flat files that tools have changed ----------------------------------------------------------


def changed(source: Path, target: Path, change: Callable[[Any], None]) -> Path:
    model = onnx.load(source)
    change(model)
    target.write_bytes(model.SerializeToString())
    return target


def drop_a_constant(model: Any) -> None:
    """As tools do that make initializers of constants."""
    place, node = next(
        (k, n) for k, n in enumerate(model.graph.node) if n.name.startswith("wave/")
        and n.op_type == "Constant"
    )  # fmt: skip
    tensor = node.attribute[0].t
    tensor.name = node.output[0]
    model.graph.initializer.append(tensor)
    del model.graph.node[place]


def read_inside(model: Any) -> None:
    """Something else reads a value from inside of a call."""
    inner = next(n for n in model.graph.node if n.name.startswith("wave/") and "Sqrt" in n.name)
    model.graph.output.add(name=inner.output[0])


@pytest.mark.parametrize("change", [drop_a_constant, read_inside])
def test_a_call_that_can_not_be_told_exactly_is_left_as_it_is(
    change: Callable[[Any], None], ours: dict[str, Path], tmp_path: Path
) -> None:
    found = read(changed(ours["flat"], tmp_path / "a.onnx", change))
    regions = [one.operator for one in found.nodes if one.operator.startswith("region:")]
    assert regions == ["region:law"] * 3 + ["region:wide"]
    assert "Sqrt" in {one.operator for one in found.nodes}
    (note,) = found.notes
    assert note.startswith("call 'wave/")
    assert "block 'wave' was changed by a tool" in note
    assert "wave" in found.blocks


def test_other_names_of_nodes_mean_other_nodes_only(ours: dict[str, Path], tmp_path: Path) -> None:
    def rename(model: Any) -> None:
        for k, node in enumerate(model.graph.node):
            node.name = f"n{k}"

    found = read(changed(ours["flat"], tmp_path / "a.onnx", rename))
    assert not any(one.operator.startswith("region:") for one in found.nodes)
    assert len(found.blocks) == 4


def test_functions_that_a_tool_has_inlined(ours: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    inlined = onnx.inliner.inline_local_functions(onnx.load(ours["functions"]))
    path.write_bytes(inlined.SerializeToString())
    found = read(path)
    assert not any(one.operator.startswith("region:") for one in found.nodes)
    assert [note.split(" of ")[1][:10] for note in found.notes] == [
        "block 'law",
        "block 'wav",
        "block 'wid",
    ]
    assert_same_blocks(found, read(ours["functions"]))


OLD = ("path", "equations", "end_to_end", "inputs", "features", "parameters_removed", "probes",
       "functions", "calls", "neural")  # fmt: skip


def test_files_of_before_are_read(ours: dict[str, Path], tmp_path: Path) -> None:
    """Of the same network without the model, the interface and the variables' values, as the first
    files were."""

    def older(model: Any) -> None:
        for entry in list(model.metadata_props):
            data = json.loads(entry.value) if entry.key != "symcompile.version" else {}
            if entry.key in ("symcompile.model", "symcompile.wide"):
                model.metadata_props.remove(entry)
            elif data:
                entry.value = json.dumps({key: data[key] for key in OLD if key in data})
        del model.graph.node[[n.op_type for n in model.graph.node].index("wide")]
        model.graph.node[-2].input[0] = model.graph.input[0].name

    before = Path(__file__).parent / "data" / "format1" / "network.onnx"
    found = read(changed(before, tmp_path / "a.onnx", older))
    assert sorted(found.blocks) == ["law", "rest", "wave"]
    assert (found.model, found.parameters, found.probes) == (None, None, None)
    assert {note.partition(":")[0] for note in found.notes} == {"block 'law'", "block 'wave'"}
    new = read(ours["functions"])
    for path, block in found.blocks.items():
        assert block.outputs == new.blocks[path].outputs
        assert block.features == new.blocks[path].features


# --- files that say one thing and do another -----------------------------------------------------


def function_constant(model: Any, name: str = "law") -> Any:
    bodies = [one.node for one in model.functions if one.name == name] or [
        [one for one in model.graph.node if one.name.startswith(f"{name}/")]
    ]
    for node in bodies[0]:
        if node.op_type == "Constant" and node.attribute[0].t.data_type == FLOAT:
            return node.attribute[0].t
    raise AssertionError(name)


def scaled_constant(name: str, factor: float) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        tensor = function_constant(model, name)
        values = numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(values.astype("f4"), tensor.name))

    return change


def another_operator(model: Any) -> None:
    (function,) = [one for one in model.functions if one.name == "law"]
    next(one for one in function.node if one.op_type == "Sin").op_type = "Cos"


def swapped_outputs(model: Any) -> None:
    (function,) = [one for one in model.functions if one.name == "law"]
    concat = next(one for one in function.node if one.op_type == "Concat")
    concat.input[0], concat.input[1] = concat.input[1], concat.input[0]


def metadata(key: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        (entry,) = [one for one in model.metadata_props if one.key == f"symcompile.{key}"]
        data = json.loads(entry.value)
        change(data)
        entry.value = json.dumps(data)

    return edit


def put(*path: Any) -> Callable[[Any], None]:
    *way, last, value = path

    def change(data: Any) -> None:
        for key in way:
            data = data[key]
        data[last] = value

    return change


def other_equation(data: Any) -> None:
    """Another constant, told in all places: only the function has still the old one."""
    data["equations"]["1"] |= {"constants": {"c[0]": -0.5}, "equation": "x0*x1 - 0.5"}
    outputs = data["probes"]["outputs"]
    outputs["1"] = [value + 0.25 for value in outputs["1"]]


def twice(model: Any) -> None:
    model.metadata_props.append(model.metadata_props[0])


def without_functions(model: Any) -> None:
    del model.functions[:]


def without_metadata(model: Any) -> None:
    del model.metadata_props[:]


def without_target(model: Any) -> None:
    del model.metadata_props[[one.key for one in model.metadata_props].index("symcompile.wave")]


def foreign_call(model: Any) -> None:
    next(one for one in model.graph.node if one.domain == "symcompile").op_type = "other"


EDITS = {
    "a constant": (scaled_constant("law", 1.001), "function 'law' does not compute its equation"),
    "a constant of another rank": (scaled_constant("law_2", 1.001), "function 'law_2' does not"),
    "a constant behind features": (scaled_constant("wave", 1.001), "function 'wave' does not"),
    "a constant between projections": (scaled_constant("wide", 1.001), "function 'wide' does not"),
    "an operator": (another_operator, "of output 0: it gives"),
    "swapped outputs": (swapped_outputs, "of output 0: it gives"),
    "an equation": (metadata("law", other_equation), "of output 1: it gives"),
    "a text": (metadata("law", put("equations", "0", "equation", "x0")), "its text says x0, its"),
    "a fidelity": (metadata("law", put("equations", "0", "fidelity", [])), "expected an object"),
    "operators": (metadata("law", put("equations", "0", "operators", 1)), "its operators are 1"),
    "a reconstruction": (metadata("wide", put("reconstruction", "mean", 0, 9.0)), "the digest"),
    "probes": (metadata("wave", put("probes", "outputs", "0", 0, 9.0)), "probes"),
    "an output of no number": (metadata("law", put("equations", "x", {})), "whole numbers as keys"),
    "no equations": (metadata("law", put("equations", {"0": 1})), "expected an object"),
    "rank of a text": (metadata("law", put("signatures", "law", [["float32", "2"]])), "signatures"),
    "a path": (metadata("law", put("path", "")), "expected a name"),
    "the path of another": (metadata("law", put("path", "wave")), "tells of one target twice"),
    "a target that is not named": (metadata("model", put("targets", ["law"])), "does not name"),
    "a target that is missing": (without_target, "lacks target 'wave'"),
    "a function of two": (metadata("law", put("functions", ["law", "wave"])), "of two targets"),
    "functions that are missing": (without_functions, "calls function 'law', which is missing"),
    "a call of nothing": (foreign_call, "symcompile::other', of which its metadata tells nothing"),
    "metadata twice": (twice, "twice"),
    "metadata that is gone": (without_metadata, "what it told of its equations is gone"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edited_files_are_refused(name: str, ours: dict[str, Path], tmp_path: Path) -> None:
    change, says = EDITS[name]
    refused(changed(ours["functions"], tmp_path / "edited.onnx", change), says)


@pytest.mark.parametrize("name", ["law", "wave", "wide"])
def test_edited_flat_files_are_refused(name: str, ours: dict[str, Path], tmp_path: Path) -> None:
    path = changed(ours["flat"], tmp_path / "edited.onnx", scaled_constant(name, 1.001))
    refused(path, f"call '{name}/")


def refused(path: Path, says: str = "can't read") -> str:
    with pytest.raises(ArtifactError, match=re.escape(says)) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"can't read {str(path)!r}: ")
    assert message.isprintable()
    assert len(message) < 2_000
    return message


def test_what_rounding_explains_is_no_edit(ours: dict[str, Path], tmp_path: Path) -> None:
    path = changed(ours["functions"], tmp_path / "a.onnx", scaled_constant("law", 1 + 1e-7))
    assert read(path).notes == ()


def test_an_operator_that_is_not_known_is_noted(ours: dict[str, Path], tmp_path: Path) -> None:
    def change(model: Any) -> None:
        for function in model.functions:
            for node in function.node:
                node.op_type = {"Sin": "Gelu"}.get(node.op_type, node.op_type)

    found = read(changed(ours["functions"], tmp_path / "a.onnx", change))
    assert len(found.notes) == 3
    assert found.notes[0] == (
        "block 'law': function 'law' not checked: operator Gelu is not known here"
    )


def test_a_body_of_huge_sizes_is_not_computed(ours: dict[str, Path], tmp_path: Path) -> None:
    def change(model: Any) -> None:
        (body,) = [one for one in model.functions if one.name == "wave"]
        for name, value in (("size", [10**6, 10**6]), ("one", 1)):
            tensor = numpy_helper.from_array(np.array(value))
            body.node.insert(0, helper.make_node("Constant", [], [name], value=tensor))
        body.node.insert(2, helper.make_node("Expand", ["one", "size"], ["huge"]))

    found = read(changed(ours["functions"], tmp_path / "a.onnx", change))
    assert "a value of 1000000000000 elements is too large" in found.notes[0]


# --- files that are damaged or hostile -----------------------------------------------------------


@pytest.mark.parametrize("mode", ["functions", "flat"])
def test_truncated_files_are_refused(mode: str, ours: dict[str, Path], tmp_path: Path) -> None:
    data = ours[mode].read_bytes()
    for k in range(50):
        path = tmp_path / "cut.onnx"
        path.write_bytes(data[: len(data) * k // 50])
        refused(path)


def read_or_message(path: Path) -> Snapshot | str:
    try:
        return read(path)
    except ArtifactError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits_never_crash(seed: int, ours: dict[str, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    for source in ours.values():
        data = source.read_bytes()
        for _ in range(30):
            bad = bytearray(data)
            for place in rng.integers(len(bad), size=2):
                bad[place] ^= 1 << int(rng.integers(8))
            path = tmp_path / "bits.onnx"
            path.write_bytes(bad)
            found = read_or_message(path)
            assert found.isprintable() if isinstance(found, str) else found.equations_known


def test_nothing_beside_the_file_is_opened(ours: dict[str, Path], tmp_path: Path) -> None:
    def outside(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../functions.onnx")

    path = changed(ours["functions"], tmp_path / "a.onnx", outside)
    assert "outside of the model's folder" in refused(path, "tensor '")


def test_weights_beside_the_file_have_the_same_digest(
    ours: dict[str, Path], tmp_path: Path
) -> None:
    model = onnx.load(ours["functions"])
    onnx.save_model(
        model,
        tmp_path / "a.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    assert (tmp_path / "weights.bin").stat().st_size > 0
    found, plain = read(tmp_path / "a.onnx"), read(ours["functions"])
    # A constant that has to be read from elsewhere counts as a weight.
    assert {name: found.weights[name] for name in plain.weights} == plain.weights
    (tmp_path / "weights.bin").unlink()
    assert "No such file" in refused(tmp_path / "a.onnx", "'weights.bin'")
