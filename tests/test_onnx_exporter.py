"""ONNX files in ONNX Runtime against torch and mpmath, and what the files tell."""

import copy
import json
import math
import os
import re
from pathlib import Path

import mpmath
import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import pytest
import sympy
import torch
from children import Child
from hybrids import Fake, FakeHybrid, hybrid_of
from operator_cases import CASES, OperatorCase
from torch import nn

from symcompile import exporters
from symcompile.diff.readers import read
from symcompile.errors import ExportError
from symcompile.exporters.onnx_check import relative_difference
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import OPERATORS, VOCABULARY
from symcompile.fidelity.outcome import Refusal
from symcompile.modules.calling import Batch
from symcompile.modules.region import Interface, Parameter, TensorInput, TensorOutput

X0 = sympy.Symbol("x0")


class Whole(nn.Module):
    """What a hybrid is whose region is the whole model."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()

    def forward(self, x):
        return self.body(x)


class Network(nn.Module):
    """A block called with tensors of rank 3 and of rank 2, a keyword, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.block = nn.Sequential(nn.Linear(2, 611), nn.Tanh(), nn.Linear(611, 2))
        self.last = nn.Linear(2, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, signal, *, scale=None):
        hidden = self.block(self.block(self.first(signal)))
        out = self.last(self.drop(hidden)) * scale
        return out, self.block(hidden.mean(dim=1))


def samples(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def session_of(path: os.PathLike) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])


def network(dtype=torch.float32) -> FakeHybrid:
    torch.manual_seed(0)
    example = Batch((samples(4, 7, 3, dtype=dtype),), {"scale": samples(4, 7, 1, dtype=dtype)})
    block = Fake(["sin(2.5*x0) + 0.1234567890123456789*x1", "x0*x1 - 0.75"], 2)
    return hybrid_of(Network().to(dtype), {"block": block}, example, dtype=dtype)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    hybrid = network()
    hybrid.outcomes = {**hybrid.outcomes, "other": Refusal("other", "its output never varies")}
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    return hybrid, exporters.onnx(hybrid, path)


# --- every operator --------------------------------------------------------------------------


# What the kernels that are composed of others have to bear, beyond the shared cases.
ENDS = [
    OperatorCase("asin", sympy.asin(X0), ((1 - 1e-15,), (1e-12,), (-1 + 1e-12,))),
    OperatorCase("acos", sympy.acos(X0), ((1 - 1e-15,), (1e-12,), (-1 + 1e-12,))),
    OperatorCase("atan", sympy.atan(X0), ((1e300,), (-1e-300,)), poles={(math.inf,): math.pi / 2}),
    OperatorCase("sinh", sympy.sinh(X0), ((1e-12,), (710.4,), (-710.4,))),
    OperatorCase("cosh", sympy.cosh(X0), ((1e-12,), (710.4,), (-710.4,))),
    OperatorCase("tan", sympy.tan(X0), ((4.71238898038469,), (1000.0,), (-1e5,), (1e-300,))),
]


def points_of(case: OperatorCase) -> list[tuple[float, ...]]:
    return [*case.points, *case.kinks, *case.steep, *case.poles]


def together(cases: list[OperatorCase], dtype: torch.dtype) -> tuple[FakeHybrid, torch.Tensor]:
    """One block with all cases side by side, each over two inputs of its own."""
    rows = max(len(points_of(case)) for case in cases)
    X = torch.zeros(rows, 2 * len(cases), dtype=torch.float64)
    exprs = []
    for k, case in enumerate(cases):
        points = points_of(case)
        for row in range(rows):
            point = points[min(row, len(points) - 1)]
            X[row, 2 * k : 2 * k + len(point)] = torch.tensor(point, dtype=torch.float64)
        own = sympy.symbols(f"x{2 * k} x{2 * k + 1}")
        exprs.append(
            case.expr.subs(dict(zip(sympy.symbols("x0 x1"), own, strict=True)), simultaneous=True)
        )
    X = X.to(dtype)
    fake = Fake(exprs, 2 * len(cases))
    return hybrid_of(Whole(), {".": fake}, Batch((X,), {}), dtype=dtype), X


def truth(case: OperatorCase) -> list[float]:
    """At each of its points."""
    points = points_of(case)
    function = sympy.lambdify(sympy.symbols("x0 x1")[: len(points[0])], case.expr, "mpmath")
    with mpmath.workdps(40):
        return [
            case.poles[point] if point in case.poles else float(function(*map(mpmath.mpf, point)))
            for point in points
        ]


def test_every_operator_in_float64(tmp_path) -> None:
    cases = [case for case in (*CASES, *ENDS) if case.name != "erf"]
    hybrid, X = together(cases, torch.float64)
    model = onnx.load(exporters.onnx(hybrid, tmp_path / "all.onnx"))
    flat = onnx.inliner.inline_local_functions(model)
    expected = [truth(case) for case in cases]
    for one in (model, flat):
        session = onnxruntime.InferenceSession(one.SerializeToString())
        (found,) = session.run(None, {"x": X.numpy()})
        for k, case in enumerate(cases):
            for row, point in enumerate(points_of(case)):
                message = f"{case.name} at {point}"
                value = expected[k][row]
                np.testing.assert_allclose(found[row, k], value, 2e-13, 1e-15, err_msg=message)


SIZES = [5e-324, 1e-310, *(10.0 ** np.arange(-300, 301, 20)), *np.arange(0.25, 30, 0.75)]
SIZES += [1.0, 35.0, 80.0, 88.0, 103.0, 500.0, 700.0, 710.4, 745.0, 3e7, math.inf, 0.0]
LINE = [sign * size for size in sorted(SIZES) for sign in (1.0, -1.0)] + [math.nan]
ENDS_OF_ANGLES = [0.0, -0.0, 1.0, -1.0, 1e-300, -1e-300, 1e300, -1e300]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_operators_over_the_whole_line(tmp_path, dtype) -> None:
    """In the tails, outside of domains and at zeros of both signs: with no runtime losing digits,
    signs or NaN that another has."""
    single, x, y = dtype == torch.float32, *sympy.symbols("x0 x1")
    names = [n for n in VOCABULARY if n in OPERATORS and (single or n != "erf") and n != "pow"]
    rows = {name: OPERATORS[name] for name in names if OPERATORS[name].arity == 1}
    exprs = [row.build(x) for row in rows.values()]
    exprs += [sympy.atan2(x, y), sympy.atan2(-x, y), sympy.log(OPERATORS["sigmoid"].build(x))]
    X = torch.tensor([(v, v) for v in LINE], dtype=torch.float64)
    pairs = torch.cartesian_prod(*[torch.tensor(ENDS_OF_ANGLES, dtype=torch.float64)] * 2)
    X = torch.cat([X, pairs]).to(dtype)
    fake = Fake(exprs, 2)
    hybrid = hybrid_of(Whole(), {".": fake}, Batch((X,), {}), dtype=dtype)
    session = session_of(exporters.onnx(hybrid, tmp_path / "line.onnx", check=False))
    (found,) = session.run(None, {"x": X.numpy()})
    info = torch.finfo(dtype)
    for k, expr in enumerate(exprs):
        with np.errstate(all="ignore"):
            expected = Equation.of(expr, ("x0", "x1"), OperatorSet.of(None)).predict(X.numpy())
            expected = expected.astype(found.dtype)
        inside = np.isfinite(X.numpy()).all(axis=1) | (k < len(rows))
        if k == len(exprs) - 1:  # of a sigmoid that is neither 0 nor 1 to the last digit
            inside &= (X[:, 0].numpy() > math.log(info.tiny)) & (X[:, 0].numpy() < 0)
        given, expected = found[inside, k], expected[inside]
        # What is 0 in one of two runtimes may be the smallest numbers in the other.
        np.testing.assert_allclose(
            given, expected, rtol=60 * info.eps, atol=2 * info.tiny, err_msg=str(expr)
        )
        zero = given == 0
        wrong = zero & (np.signbit(given) != np.signbit(expected))
        assert not wrong.any(), (expr, X.numpy()[inside][wrong])


class Unchanged(nn.Module):
    """Beside its block it does what changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()

    def forward(self, x):
        return self.body(x * 1.0) + 0.0


def test_coefficients_next_to_one_and_zero_stay(tmp_path) -> None:
    X = samples(6, 2, dtype=torch.float64)
    fake = Fake(["1.000005*sin(x0)", "x1 + 4e-9", "x0/1.000002 - 3e-9"], 2)
    hybrid = hybrid_of(Unchanged(), {"body": fake}, Batch((X,), {}), dtype=torch.float64)
    file = exporters.onnx(hybrid, tmp_path / "a.onnx")
    (found,) = session_of(file).run(None, {"x": X.numpy()})
    np.testing.assert_allclose(found, hybrid.module(X).numpy(), rtol=1e-14)
    assert read(file).notes == ()
    # What changes nothing at all is dropped.
    assert [node.op_type for node in onnx.load(file).graph.node] == ["body"]


def test_operators_in_float32(tmp_path) -> None:
    cases = [case for case in CASES if " " not in case.name]
    hybrid, X = together(cases, torch.float32)
    # Other numbers are infinite, or one of the two flushes them to zero.
    X = torch.where((X.abs() < 1e4) & (X.abs() > 1e-6), X, torch.zeros(()))
    hybrid.example = Batch((X,), {})
    (found,) = session_of(exporters.onnx(hybrid, tmp_path / "all.onnx")).run(None, {"x": X.numpy()})
    expected = hybrid.module(X).numpy()
    for k, case in enumerate(cases):
        near_pole = np.abs(expected[:, k]) > 1e5 if case.name == "tan" else False
        pair = np.where(near_pole, 0, found[:, k]), np.where(near_pole, 0, expected[:, k])
        np.testing.assert_allclose(*pair, rtol=2e-6, atol=1e-6, err_msg=case.name)


def test_an_operator_without_a_kernel_is_refused_by_name(tmp_path) -> None:
    model = nn.Sequential()
    model.add_module("gate", nn.Identity())
    X = samples(6, 2, dtype=torch.float64)
    hybrid = hybrid_of(
        model, {"gate": Fake(["erf(x0) + x1"], 2)}, Batch((X,), {}), dtype=torch.float64
    )
    with pytest.raises(
        ExportError, match=r"no Erf for float64, which target 'gate' needs.*float32"
    ):
        exporters.onnx(hybrid, tmp_path / "erf.onnx")
    assert list(tmp_path.iterdir()) == []
    file = exporters.onnx(hybrid, tmp_path / "erf.onnx", dtype="float32")
    (found,) = session_of(file).run(None, {"input": X.float().numpy()})
    np.testing.assert_allclose(found, hybrid.module(X).numpy(), rtol=1e-5, atol=1e-6)
    assert X.dtype == hybrid.module(X).dtype == torch.float64


# --- what the file holds ---------------------------------------------------------------------


def test_values_at_any_batch_size(written) -> None:
    hybrid, file = written
    session = session_of(file)
    assert file.inputs == ("signal", "scale")
    assert file.outputs == ("output_0", "output_1")
    for rows, length in ((1, 7), (7, 7), (1000, 7), (3, 12)):
        x, scale = samples(rows, length, 3, seed=rows), samples(rows, length, 1, seed=9)
        found = session.run(None, {"signal": x.numpy(), "scale": scale.numpy()})
        expected = hybrid.module(x, scale=scale)
        for ours, theirs in zip(expected, found, strict=True):
            np.testing.assert_allclose(theirs, ours.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert [d.shape for d in session.get_inputs()] == [
        ["batch", "signal_1", 3],
        ["batch", "signal_1", 1],
    ]


def test_the_agreement_is_reported(written) -> None:
    _, file = written
    assert file.agreement.batch_sizes == (4, 1, 7, 1000)
    assert 0 < file.agreement.largest < 1e-5 < file.agreement.tolerance
    assert os.fspath(file) == str(file) == str(file.path)


def test_blocks_are_functions_and_their_calls_share_them(written) -> None:
    model = onnx.load(written[1])
    onnx.checker.check_model(model, full_check=True)
    calls = [node.op_type for node in model.graph.node if node.domain == "symcompile"]
    # One body for rank 3, called twice, and one for rank 2.
    assert sorted(calls) == ["block", "block", "block_2"]
    assert {f.name for f in model.functions} == {"block", "block_2"}
    for function in model.functions:
        assert function.domain == "symcompile"
        assert list(function.input) == ["x"]
        assert {"Sin", "Mul", "Add"} <= {node.op_type for node in function.node}
    assert written[1].functions == {"block": "block", "block_2": "block"}


def test_functions_carry_equation_latex_fidelity_and_range(written) -> None:
    function = onnx.load(written[1]).functions[0]
    notes = {one.key: one.value for one in function.metadata_props}
    assert function.doc_string == notes["text"]
    assert notes["text"].splitlines()[1] == "y1 = x0*x1 - 0.75"
    assert r"\sin{\left(2.5 x_{0} \right)}" in notes["latex"]
    assert json.loads(notes["r2"]) == {"y0": 0.99, "y1": 0.99}
    assert json.loads(notes["relative_l2"]) == {"y0": 0.01, "y1": 0.02}
    assert json.loads(notes["end_to_end"])["relative_l2"] == 0.02
    assert json.loads(notes["inputs"]) == {"x0": [-1.0, 2.0], "x1": [-1.0, 2.0]}


def test_runtime_sees_the_equations(written) -> None:
    from symcompile.storage.equations import EQUATION_ROW

    hybrid, file = written
    notes = session_of(file).get_modelmeta().custom_metadata_map
    assert notes["symcompile.version"]
    assert json.loads(notes["symcompile.other"])["reason"] == "its output never varies"
    row = json.loads(notes["symcompile.block"])
    assert row["calls"] == 3
    assert row["functions"] == ["block", "block_2"]
    assert row["equations"]["0"]["latex"]
    stored = EQUATION_ROW.read(row["equations"]["0"]).checked()
    assert stored == hybrid.outcomes["block"].equations[0]


def test_metadata_holds_what_a_manifest_does(written) -> None:
    hybrid, file = written
    notes = {one.key: one.value for one in onnx.load(file).metadata_props}
    row = json.loads(notes["symcompile.block"])
    expected = exporters.manifest(hybrid)["regions"]["block"]
    of_its_own = {"equations", "calls"}
    assert set(expected) <= set(row)
    assert {k: row[k] for k in expected.keys() - of_its_own} == {
        k: v for k, v in expected.items() if k not in of_its_own
    }
    for output, known in expected["equations"].items():
        found = row["equations"][output]
        assert {k: v for k, v in found.items() if k != "latex"} == known
    assert row["tensors"] == {"inputs": [2], "outputs": [2]}
    assert row["signatures"] == {"block": [["float32", 3]], "block_2": [["float32", 2]]}


def test_metadata_tells_of_the_model(written) -> None:
    hybrid, file = written
    notes = {one.key: one.value for one in onnx.load(file).metadata_props}
    row = json.loads(notes["symcompile.model"])
    expected = exporters.manifest(hybrid)["model"]
    for key in ("class", "capture", "parameters", "results", "probes"):
        assert row[key] == expected[key]
    assert row["targets"] == ["block", "other"]
    assert row["scalars"] == []


class Named(nn.Module):
    """Blocks whose names are those of other metadata."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.model_, self.version = (nn.Identity() for _ in range(3))

    def forward(self, x):
        return self.model(x) + self.model_(x) + self.version(x)


def test_targets_with_the_names_of_other_metadata(tmp_path) -> None:
    names = ("version", "model", "model_")
    fakes = {name: Fake([f"x0*x1 + {k}", "x0"], 2) for k, name in enumerate(names)}
    hybrid = hybrid_of(Named(), fakes, Batch((samples(5, 2),), {}))
    notes = {
        one.key: one.value
        for one in onnx.load(exporters.onnx(hybrid, tmp_path / "a.onnx")).metadata_props
    }
    assert len(notes) == 5
    rows = [json.loads(text) for key, text in notes.items() if key != "symcompile.version"]
    assert sorted(row["path"] for row in rows if "path" in row) == sorted(names)
    assert json.loads(notes["symcompile.model"])["class"] == "Named"


def test_nothing_of_the_replaced_block_is_left(written) -> None:
    model = onnx.load(written[1])
    floats = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    shapes = [list(one.dims) for one in floats]
    assert sum(math.prod(shape) for shape in shapes) == 3 * 2 + 2 + 2 * 3 + 3
    assert not any(611 in shape for shape in shapes)
    assert Path(written[1]).stat().st_size < 20_000


def test_the_same_model_gives_the_same_file_without_paths(written, tmp_path) -> None:
    again = exporters.onnx(written[0], tmp_path / "again.onnx")
    data = Path(again).read_bytes()
    assert data == Path(written[1]).read_bytes()
    assert b".py" not in data


def test_another_process_gives_the_same_file(written, tmp_path) -> None:
    code = (
        "import sys; from test_onnx_exporter import *;"
        "hybrid = network();"
        "other = Refusal('other', 'its output never varies');"
        "hybrid.outcomes = {'other': other, **hybrid.outcomes};"
        "exporters.onnx(hybrid, sys.argv[1], check=False)"
    )
    again = tmp_path / "again.onnx"
    with Child(code, str(again)) as child:
        done = child.finished(timeout=600)
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == Path(written[1]).read_bytes()


def test_another_opset_quietly_and_the_hybrid_is_left_as_it_was(tmp_path, capfd) -> None:
    hybrid = network()
    hybrid.module.train()
    before = copy.deepcopy(hybrid.module.state_dict())
    blocks = dict(hybrid.module.named_modules())
    # Dropout is on: only evaluation mode can agree.
    file = exporters.onnx(hybrid, tmp_path / "a.onnx", opset=21)
    assert {one.domain: one.version for one in onnx.load(file).opset_import}[""] == 21
    assert all(part.training for part in hybrid.module.modules())
    assert dict(hybrid.module.named_modules()) == blocks
    assert all(torch.equal(v, before[k]) for k, v in hybrid.module.state_dict().items())
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_flat_mode_has_no_functions(tmp_path) -> None:
    hybrid = network()
    file = exporters.onnx(hybrid, tmp_path / "flat.onnx", functions=False)
    model = onnx.load(file)
    assert not model.functions
    assert [one.domain for one in model.opset_import] == [""]
    assert file.functions == {}
    notes = session_of(file).get_modelmeta().custom_metadata_map
    row = json.loads(notes["symcompile.block"])
    assert row["equations"]["1"]["equation"] == "x0*x1 - 0.75"
    assert row["functions"] == []
    assert [one["function"] for one in row["flat"]] == ["block", "block", "block_2"]


def test_calls_can_be_told_in_flat_mode(tmp_path) -> None:
    model = onnx.load(exporters.onnx(network(), tmp_path / "a.onnx", functions=False, check=False))
    (text,) = [one.value for one in model.metadata_props if one.key == "symcompile.block"]
    made = {name: node for node in model.graph.node for name in node.output}
    for call in json.loads(text)["flat"]:
        nodes = [one for one in model.graph.node if one.name.rpartition("/")[0] == call["call"]]
        assert len(nodes) == call["nodes"] > 10
        own = {name for node in nodes for name in node.output}
        assert {n for node in nodes for n in node.input} - own == set(call["inputs"])
        assert {made[name].name.rpartition("/")[0] for name in call["outputs"]} == {call["call"]}
        assert {re.sub(r"_\d+$", "", n.name.rpartition("/")[2]) for n in nodes} == {
            n.op_type for n in nodes
        }


class Deciding(nn.Module):
    """Calls its block inside of a branch too."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Identity()

    def forward(self, x):
        y = self.block(x)
        return torch.cond(y.sum() > 0, lambda v: self.block(v) * 2, lambda v: v.clone(), (y,))


def test_calls_inside_of_branches_can_be_told_in_flat_mode(tmp_path) -> None:
    fake = Fake(["x0*x1 + 0.5", "x0"], 2)
    hybrid = hybrid_of(Deciding(), {"block": fake}, Batch((samples(5, 2),), {}))
    file = exporters.onnx(hybrid, tmp_path / "a.onnx", functions=False)
    model = onnx.load(file)
    (text,) = [one.value for one in model.metadata_props if one.key == "symcompile.block"]
    first, second = json.loads(text)["flat"]
    (branch,) = [one for one in model.graph.node if one.op_type == "If"]
    names = [n.name for a in branch.attribute for n in a.g.node if a.name == "then_branch"]
    inner = [name for name in names if name.rpartition("/")[0] == second["call"]]
    assert len(inner) == second["nodes"] == first["nodes"] == len(names) - 1
    assert first["call"] != second["call"]
    whole = read(exporters.onnx(hybrid, tmp_path / "b.onnx", check=False))
    flat = read(file)
    assert flat.notes == whole.notes == ()
    (shown,) = {
        one.attributes for side in (whole, flat) for one in side.nodes if "If" in one.operator
    }
    assert "region:block($0)" in shown


# --- shapes of models ------------------------------------------------------------------------


class Structures(nn.Module):
    """Integers in, a tuple of a dict and a passed-through input out, one output twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 2)
        self.pair = nn.Identity()

    def forward(self, index, x):
        a, b = self.pair(self.table(index), (x[:, 0], x))
        return {"a": a, "b": b}, x, a


def test_several_inputs_structured_outputs_and_integers(tmp_path) -> None:
    interface = Interface(
        (Parameter("first"), Parameter("rest")),
        (
            TensorInput("first", (), 2),
            TensorInput("rest", (0,), 1, scalar=True),
            TensorInput("rest", (1,), 2),
        ),
        (TensorOutput(2), TensorOutput(1, scalar=True)),
        (0, 1),
    )
    fake = Fake(["x0 + x2*x3", "x1", "exp(-x4)*x2"], 5, interface)
    example = Batch((torch.tensor([0, 1, 2, 3, 4, 2]), samples(6, 2)), {})
    hybrid = hybrid_of(Structures(), {"pair": fake}, example)
    file = exporters.onnx(hybrid, tmp_path / "a.onnx")
    index, x = torch.tensor([4, 0, 1]), samples(3, 2, seed=4)
    found = session_of(file).run(None, {"index": index.numpy(), "x": x.numpy()})
    named, same, a = hybrid.module(index, x)
    for ours, theirs in zip((named["a"], named["b"], same, a), found, strict=True):
        np.testing.assert_allclose(theirs, ours.detach().numpy(), rtol=1e-6, atol=1e-6)
    assert list(onnx.load(file).functions[0].input) == ["first", "rest_0", "rest_1"]


class Keywords(nn.Module):
    """Keywords that no parameter names, one of which has no batch dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()

    def forward(self, *xs, **named):
        return self.body(xs[0] + named["shift"]) + xs[1]


def test_arguments_without_names(tmp_path) -> None:
    example = Batch((samples(5, 2), torch.tensor(0.5)), {"shift": samples(1, 2)})
    hybrid = hybrid_of(Keywords(), {"body": Fake(["x0*x1", "sin(x0)"], 2)}, example)
    file = exporters.onnx(hybrid, tmp_path / "a.onnx")
    assert file.inputs == ("xs_0", "xs_1", "shift")
    assert file.agreement.batch_sizes == (5, 1, 7, 1000)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, x, mask=None):
        if mask is not None:  # what torch.fx can't follow
            x = x * mask
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.mlp(self.norm(x))


class Transformer(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(width), Block(width)])

    def forward(self, tokens, *, mask=None):
        for layer in self.layers:
            tokens = layer(tokens, mask)
        return tokens


def transformer() -> FakeHybrid:
    torch.manual_seed(0)
    fakes = {
        f"layers.{k}.mlp": Fake([f"x0*x1 + {k}", "sin(x2)", "x3", "tanh(x0) - x2"], 4)
        for k in range(2)
    }
    batch = Batch((samples(5, 6, 4),), {})
    return hybrid_of(Transformer(), fakes, batch, capture="module boundaries")


def test_a_class_of_the_users_own_with_two_blocks(tmp_path) -> None:
    hybrid = transformer()
    file = exporters.onnx(hybrid, tmp_path / "t.onnx")
    assert file.functions == {"layers_0_mlp": "layers.0.mlp", "layers_1_mlp": "layers.1.mlp"}
    x = samples(2, 6, 4, seed=3)
    (found,) = session_of(file).run(None, {"tokens": x.numpy()})
    np.testing.assert_allclose(found, hybrid.module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_names_that_become_the_same_stay_apart_and_neural_outputs_stay(tmp_path) -> None:
    model = nn.Sequential()
    model.add_module("a", nn.Sequential())
    model.a.add_module("b", nn.Identity())
    model.add_module("a_b", nn.Identity())
    torch.manual_seed(0)
    partly = Fake(["x0*x1"], 2, outputs=(1,), neural=nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    partly.interface = Interface((Parameter("x"),), (TensorInput("x", (), 2),), (TensorOutput(2),))
    hybrid = hybrid_of(
        model, {"a.b": Fake(["x1", "x0"], 2), "a_b": partly}, Batch((samples(1, 2),), {})
    )
    file = exporters.onnx(hybrid, tmp_path / "a.onnx")
    assert file.functions == {"a_b": "a.b", "a_b_2": "a_b"}
    assert file.agreement.batch_sizes == (1, 7, 1000)
    x = samples(9, 2, seed=5)
    (found,) = session_of(file).run(None, {"input": x.numpy()})
    np.testing.assert_allclose(found, hybrid.module(x).detach().numpy(), rtol=1e-5, atol=1e-6)


# --- what is refused -------------------------------------------------------------------------


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()

    def forward(self, x):
        return self.body(x.reshape(2, 3, 2)).reshape(6, 1)


def test_a_fixed_batch_size_has_to_be_asked_for(tmp_path) -> None:
    hybrid = hybrid_of(Fixed(), {"body": Fake(["x0*x1"], 2)}, Batch((samples(6, 2),), {}))
    with pytest.raises(ExportError, match=r"batch size can't vary.*dynamic_batch=False"):
        exporters.onnx(hybrid, tmp_path / "a.onnx")
    file = exporters.onnx(hybrid, tmp_path / "a.onnx", dynamic_batch=False)
    assert session_of(file).get_inputs()[0].shape == [6, 2]
    assert file.agreement.batch_sizes == ()  # compared on the example only
    assert file.agreement.largest < 1e-6


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()

    def forward(self, x):
        return self.body(x) + torch.rand_like(x[:, :1])


def test_a_file_that_disagrees_is_not_written(tmp_path) -> None:
    hybrid = hybrid_of(Random(), {"body": Fake(["x0*x1"], 2)}, Batch((samples(6, 2),), {}))
    path = tmp_path / "a.onnx"
    path.write_bytes(b"the file of before")
    with pytest.raises(ExportError, match=r"'output' at batch size 6 differs by [0-9.]+"):
        exporters.onnx(hybrid, path)
    assert path.read_bytes() == b"the file of before"
    assert list(tmp_path.iterdir()) == [path]
    assert exporters.onnx(hybrid, path, check=False).agreement is None
    assert onnx.load(path).functions


@pytest.mark.parametrize("opset", [17, 99, "18", True])
def test_opsets_out_of_reach_are_refused(tmp_path, opset) -> None:
    with pytest.raises(ExportError, match="expected a number from 18 to"):
        exporters.onnx(network(), tmp_path / "a.onnx", opset=opset)


def test_paths_that_can_not_be_written(tmp_path) -> None:
    hybrid = network()
    with pytest.raises(ExportError, match="no directory"):
        exporters.onnx(hybrid, tmp_path / "missing" / "a.onnx")
    with pytest.raises(ExportError, match="is a directory"):
        exporters.onnx(hybrid, tmp_path)
    with pytest.raises(ExportError, match="can't write"):
        exporters.onnx(hybrid, tmp_path / ("x" * 300), check=False)
    assert list(tmp_path.iterdir()) == []


def test_half_precision(tmp_path) -> None:
    def hybrid(dtype):
        fake = Fake(["x0*x1 + 0.5", "sin(x0)"], 2)
        batch = Batch((samples(5, 2, dtype=torch.float32).to(dtype),), {})
        return hybrid_of(nn.Sequential(nn.Identity()), {"0": fake}, batch, dtype=dtype)

    file = exporters.onnx(hybrid(torch.float16), tmp_path / "half.onnx")
    assert session_of(file).get_inputs()[0].type == "tensor(float16)"
    with pytest.raises(ExportError, match=r"bfloat16: export with dtype='float32'"):
        exporters.onnx(hybrid(torch.bfloat16), tmp_path / "brain.onnx")


def test_options_that_make_no_sense(tmp_path) -> None:
    with pytest.raises(ExportError, match="expected 'float32', 'float64', or None"):
        exporters.onnx(network(), tmp_path / "a.onnx", dtype="int8")
    hybrid = network()
    hybrid.example = None
    with pytest.raises(ExportError, match="no example batch"):
        exporters.onnx(hybrid, tmp_path / "a.onnx")


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()

    def forward(self, x):
        return self.body(x) if x.sum() > 0 else x[:, :1]


def test_what_torch_export_can_not_follow_is_explained(tmp_path) -> None:
    hybrid = hybrid_of(Branching(), {"body": Fake(["x0*x1"], 2)}, Batch((samples(6, 2),), {}))
    with pytest.raises(ExportError, match=r"forward of Branching .*torch\.where"):
        exporters.onnx(hybrid, tmp_path / "a.onnx")


# --- the rest --------------------------------------------------------------------------------


def test_exporters_are_named_before_they_are_loaded() -> None:
    assert exporters.onnx.__name__ == "onnx"
    assert {"graph_module", "manifest", "onnx"} <= set(dir(exporters))
    with pytest.raises(AttributeError, match="no attribute 'tflite'"):
        exporters.tflite  # noqa: B018


def test_relative_difference_looks_at_each_feature_and_at_infinities() -> None:
    a = np.array([[1e6, 1.0], [2e6, 2.0]])
    assert relative_difference(a, np.array([[1e6, 1.0], [2e6, 2.2]])) == pytest.approx(0.1)
    holes = np.array([np.nan, np.inf, 1.0])
    assert relative_difference(holes, holes) == 0.0
    assert relative_difference(holes, np.array([np.inf, np.inf, 1.0])) == np.inf
