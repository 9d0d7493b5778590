"""Regions and outcomes come back from JSON as they were; nothing else is accepted."""

import base64
import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import sympy

from symcompile.errors import ArtifactError, ExpressionError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.program import Program
from symcompile.expressions.size_limits import check_equation, check_program
from symcompile.fidelity.outcome import (
    Agreement,
    DomainIssue,
    EndToEnd,
    Fidelity,
    Latency,
    OutputFidelity,
    Projected,
    Refusal,
    Rewrite,
    Shortfall,
    StandIn,
)
from symcompile.modules.region import (
    Interface,
    LowRankMap,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
)
from symcompile.regression.losses import SQUARED, Loss
from symcompile.regression.pareto import ParetoFront
from symcompile.storage import outcomes
from symcompile.storage.codecs import without_nan
from symcompile.storage.outcomes import (
    outcome_from_json,
    outcome_to_json,
    region_from_json,
    region_to_json,
)
from symcompile.target import PCA, Products, ReducedRank, Target

x, t = sympy.symbols("x t")
OPERATORS = OperatorSet.of({"+": 1, "*": 2, "exp": 5})


def equation(expr: Any, loss: float = 0.25, holdout: float = 0.5) -> Equation:
    return Equation.of(sympy.sympify(expr), ("x", "t"), OPERATORS, loss, holdout)


SIMPLE = equation(2.5 * x)
LAW = equation(sympy.exp(-1.97 * t) * sympy.sin(sympy.pi * x) + sympy.Rational(1, 3), 1e-9, 2e-9)
FRONT = ParetoFront(
    (dataclasses.replace(SIMPLE, holdout_mse=0.6), LAW),
    0.75,
    (math.inf, 0.0),
    loss=Loss("cauchy", 0.5),
    constant_loss=0.7,
    left_out=12,
)

REGION = Region(
    "layers.0.mlp",
    Target(
        "layers.*.mlp",
        names=("b", "a"),
        domain={"b": (0, 1), "a": (-1.5, 2)},
        features={"x": "a + b", "t": "sqrt(x**2 + 1)"},
        reduce=(None, 2),
        outputs=(0, 1),
        operators=OPERATORS,
        max_complexity=20,
        tolerance=0.05,
    ),
    Interface(
        (
            Parameter("x"),
            Parameter("mask", True, None),
            Parameter("*rest"),
            Parameter("g", True, 0.5),
        ),
        (TensorInput("x", ("k", 0), 1), TensorInput("*rest", (0,), 1, True)),
        (TensorOutput(2), TensorOutput(1, True)),
        {"out": (0, [1, None])},
    ),
    ("b", "a"),
    "float64",
    parameters=321,
    calls=2,
    settings={"mask": None, "mode": "same", "size": (2, 3)},
    projection_out=Projection(
        np.array([0.1, 1 / 3, 2.0]), np.array([[1.0, 0.0, 0.5], [0.0, -1e-17, 0.25]])
    ),
)

OUTPUT = OutputFidelity(
    Agreement(0.99, 0.1 + 0.2, 3e-5), Agreement(), Agreement(0.5, math.inf, 1.0), gradient=0.125
)
FIDELITY = Fidelity(
    {0: OUTPUT, 1: OUTPUT},
    EndToEnd(0.01, 1.0, 0.5, "held-out rows"),
    1234,
    (DomainIssue(1, "log(x)", "x changes sign", {"x": 0.0}, True),),
    (Latency(1, 1e-5, 2e-6), Latency(1024, 1e-3, 1e-4, 2)),
    OUTPUT,
    unmeasured={"latency": "ValueError: one row is too few"},
    projections={"inputs": Projected(0.9), "outputs": Projected(0.99, 0.1)},
    shortfalls=(Shortfall(1, "overflows", "float32 (float64 inside)", 3, 40, 1e-3),),
    stand_ins={"zero output": StandIn(1.25, 0.5), "linear map of rank 3": StandIn(0.1 + 0.2)},
)
PROVENANCE = {
    "engine": {"name": "operon", "options": {"pool": 1000, "rates": (0.1, 0.2)}},
    "seed": 0,
}
REWRITE = Rewrite(
    REGION, {0: LAW, 1: SIMPLE}, {0: FRONT, 1: FRONT}, FIDELITY, PROVENANCE,
    ((0.0, 1.0), (-1.5, 2.0)), ((0.25, 0.5), (0.75, -1.0)),
)  # fmt: skip
REFUSAL = Refusal(
    "layers.0.mlp", "the linear map does better", REGION, {0: FRONT}, FIDELITY, PROVENANCE
)


def through(data: Any) -> Any:
    """As a file would hold it."""
    return json.loads(json.dumps(data, allow_nan=False, sort_keys=True))


def assert_equal(found: Any, expected: Any) -> None:
    """Equality of dataclasses where NaN equals NaN, arrays are compared, and tuples may be lists
    in plain data."""
    if dataclasses.is_dataclass(expected):
        assert type(found) is type(expected)
        for field in dataclasses.fields(expected):
            assert_equal(getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == expected or (found != found and expected != expected)


BROKEN = dataclasses.replace(
    REFUSAL,
    fidelity=dataclasses.replace(
        FIDELITY, end_to_end=EndToEnd(math.inf, 1.0, 0.5, "recorded batches", finite=False)
    ),
)


@pytest.mark.parametrize("outcome", [REWRITE, REFUSAL, BROKEN, Refusal("a", "never seen")])
def test_outcomes_come_back(outcome: Any) -> None:
    assert_equal(outcome_from_json(through(outcome_to_json(outcome))), outcome)


def test_regions_come_back() -> None:
    found = region_from_json(through(region_to_json(REGION)))
    assert_equal(found, REGION)
    assert found.variables == ("x", "t")
    assert list(found.target.features or ()) == ["x", "t"]
    assert list(found.target.domain or ()) == ["b", "a"]
    plain = Region("a", Target("a"), Interface((), (), (), None), ())
    assert_equal(region_from_json(through(region_to_json(plain))), plain)


def test_json_is_the_same_every_time() -> None:
    twin = dataclasses.replace(FIDELITY, outputs={1: OUTPUT, 0: OUTPUT})
    other = dataclasses.replace(REWRITE, fidelity=twin)
    assert json.dumps(outcome_to_json(other)) == json.dumps(outcome_to_json(REWRITE))


@pytest.mark.parametrize(
    "kind",
    [
        *(Target, Region, Interface, Parameter, TensorInput, TensorOutput, Projection),
        *(ParetoFront, Agreement, DomainIssue, Latency, Fidelity),
        *(Projected, Shortfall),
        *(Rewrite, Refusal),
    ],
)
def test_every_field_is_stored(kind: type) -> None:
    """A field that is added to a type must be added to its codec."""
    wanted = {field.name for field in dataclasses.fields(kind)}
    stored = [set(row) for row in objects(outcome_to_json(REWRITE), outcome_to_json(REFUSAL))]
    assert any(wanted == row - {"status"} for row in stored)


def objects(*values: Any) -> Any:
    for value in values:
        if isinstance(value, dict):
            yield value
            yield from objects(*value.values())
        elif isinstance(value, list):
            yield from objects(*value)


def changed(place: str, value: Any) -> Any:
    data = through(outcome_to_json(REWRITE))
    *keys, last = (
        int(key) if key.isdigit() and place[0] != "." else key for key in place.split("/")
    )
    parent = data
    for key in keys:
        parent = parent[str(key) if isinstance(parent, dict) else key]
    parent[str(last) if isinstance(parent, dict) else last] = value
    return data


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("status", "magic", "status symbolic or neural"),
        ("region/names", ["x", "__import__('os')"], "an identifier"),
        ("region/names", ["x"], "1 names for 2 inputs"),
        ("region/target/features", [["x", "__import__('os').system('x')"], ["t", "a"]], "not a"),
        ("region/target/outputs", [-1], "outputs"),
        ("region/target/operators", {"nonsense": 1}, "nonsense"),
        ("region/parameters", "many", "parameters is 'many', expected a whole number"),
        ("region/projection_out/components/shape", [9, 9], "shape"),
        ("region/interface/structure", {"pickle": 1}, "structure"),
        ("region/extra", 1, "expected an object with"),
        ("equations/0/variables", ["x", "os.system('x')"], "identifiers"),
        ("equations/0/variables", ["x", "y"], "its program computes .*y"),
        ("fronts/0/equations/0/variables", ["x", "y"], "is one of x, y, expected x, t"),
        ("equations/0/constants", {}, "constants"),
        ("equations/0/constants", [], "constants is a list of 0, expected an object"),
        ("equations/0/equation", "x**2", "was edited: its text says"),
        ("equations/0/program/code", [["eval", []]], "eval"),
        ("equations/0/program/outputs", [10**9], "outputs"),
        ("fronts/0/equations", {}, "fronts: 0: equations is an object of 0, expected a list"),
        ("fronts/0/behind", [0.0], "behind: is .*, of 2 equations"),
        ("fronts/0/behind", [1.0, 2.0], "and 0 for one"),
        ("fronts/0/behind", ["1", 0.0], r"behind\[0\] is '1', expected a number from 0"),
        ("fronts/0/left_out", -1, "left_out is -1, expected a whole number"),
        ("fronts/0/choice", 1, "expected an object with"),
        ("fidelity/outputs", {"x": {}}, "whole numbers as keys"),
        ("fidelity/end_to_end/relative_l2", "high", "a number"),
        ("ranges", [[1]], "a pair"),
    ],
)
def test_damage_is_named(place: str, value: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        outcome_from_json(changed(place, value))


@pytest.mark.parametrize("value", [None, 3, [], "x", {}])
def test_what_is_no_outcome_is_refused(value: Any) -> None:
    with pytest.raises(ArtifactError):
        outcome_from_json(value)
    with pytest.raises(ArtifactError):
        region_from_json(value)


def test_values_without_a_json_form_are_refused() -> None:
    with pytest.raises(ArtifactError, match="can't store"):
        outcome_to_json(dataclasses.replace(REWRITE, provenance={"engine": object()}))


# --- equations that would be out of all proportion -------------------------------------------


def program(*code: Any, n_inputs: int = 1) -> dict[str, Any]:
    return {"code": list(code), "outputs": [len(code) - 1], "n_inputs": n_inputs, "n_slots": 0}


TOWER = [["number", [], 2], *([["power", [k], 64] for k in range(6)])]
DOUBLING = [["input", [], 0], *(["mul", [k, k]] for k in range(40))]
DEEP = [["input", [], 0], *(["sin", [k]] for k in range(10_000))]
RECIPROCALS = [
    ["input", [], 0],
    *([("tanh", [2 * k]), ("div", [0, 2 * k + 1])][part] for k in range(4) for part in (0, 1)),
]
ROOTS = [["input", [], 0]]
for k in range(4):  # of powers, of which sympy writes the real part out
    ROOTS += [["sin", [3 * k]], ["power", [3 * k + 1], 2], ["sqrt", [3 * k + 2]]]
CONSTANTS = [["slot", [], 0]]
for k in range(20):
    CONSTANTS += [["neg", [2 * k]], ["exp", [2 * k + 1]]]
MANY = [
    ["input", [], 0],
    *([("number", [], k), ("mul", [0, 2 * k + 1])][part] for k in range(200) for part in (0, 1)),
    ["max", [2 * k + 2 for k in range(200)]],
]


def nested(*ops: str) -> list[Any]:
    """Functions in each other: sympy takes several times as long for each one more."""
    return [["input", [], 0], *([op, [k]] for k, op in enumerate(ops))]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (TOWER, "a constant beyond"),
        (DOUBLING, "more than 50000 nodes"),
        (DEEP, "nested more than 150 deep"),
        (MANY, "built in more than 20000 steps"),
        (nested(*["tanh"] * 6), "too many functions nested"),
        (RECIPROCALS, "too many functions nested"),
        (ROOTS, "too many functions nested"),
        (nested("sin", "exp", "sin", "exp", "sin", "erf"), "too many functions nested"),
        (nested(*["sin", "atan"] * 9), "too many functions nested"),
        (nested(*["sqrt", "tan"] * 11), "too many functions nested"),
        ([["number", [], 10**70]], "digits"),
        ([["number", [], [1, 10**70]]], "digits"),
        ([["number", [], 50.0], ["exp", [0]], ["exp", [1]]], "a constant beyond"),
        ([["number", [], 1e300], ["floor", [0]]], "a constant beyond"),
        ([["number", [], 0], ["log", [0]]], "a constant beyond"),
        ([["number", [], 1], ["number", [], 0], ["div", [0, 1]]], "a constant beyond"),
    ],
)
def test_expressions_out_of_proportion_are_never_built(code: Any, message: str) -> None:
    data = {**SIMPLE.to_json(), "symbols": ["x"], "constants": [], "program": program(*code)}
    with pytest.raises(ExpressionError, match=message):
        check_equation(data)
    row = {**through(outcome_to_json(REWRITE))["equations"]["1"], "constants": {}}
    with pytest.raises(ArtifactError, match=message):
        outcomes.EQUATION.read({**row, "variables": ["x"], "program": program(*code)})


def test_towers_of_functions_of_constants_are_never_built() -> None:
    """sympy asks for the sign of exp(-exp(-exp(-1))), twice as long for each one more."""
    data = {**SIMPLE.to_json(), "symbols": ["x"], "constants": [1.0]}
    with pytest.raises(ExpressionError, match="too many functions nested"):
        check_equation({**data, "program": {**program(*CONSTANTS), "n_slots": 1}})
    code = {**program(*CONSTANTS[:21]), "n_slots": 1}
    assert check_equation({**data, "program": code}) > 0


@pytest.mark.parametrize("constant", [999.0, 1 / 3])
def test_towers_of_whole_constants_are_never_built(constant: float) -> None:
    """sympy would work out ((999**999)**999)**999, a number of ten billion bits."""
    code = [["slot", [], 0], ["pow", [0, 0]], ["div", [0, 1]], ["pow", [1, 2]], ["pow", [3, 3]]]
    code = code if constant > 1 else [["slot", [], 0], ["number", [], -999], ["pow", [0, 1]]]
    data = {**SIMPLE.to_json(), "symbols": ["x"], "constants": [constant]}
    with pytest.raises(ExpressionError, match="a constant beyond"):
        check_equation({**data, "program": {**program(*code), "n_slots": 1}})


@pytest.mark.parametrize(
    "expr",
    [
        sympy.sin(sympy.sqrt(2) * x) ** 3 / (1 + sympy.pi**2),
        sympy.Piecewise((x, x < t), (t**2.5, True)),
        sympy.Max(x, sympy.Rational(1, 7)) + sympy.exp(sympy.exp(2)),
        2.0 ** (3.0 * x) * 7.0**2.5 + 1e-200 * x,
        sum((0.5 + k) * sympy.sin(k * x) for k in range(60)),
        sympy.tanh(2 * sympy.tanh(3 * sympy.tanh(sympy.sin(x)) + 1)) ** 2,
        sympy.Max(*(sympy.sin(k * x) for k in range(12))),
    ],
)
def test_ordinary_equations_pass(expr: Any) -> None:
    one = equation(expr)
    check_program(one.program)
    found = outcomes.EQUATION.read(through(without_nan(outcomes.EQUATION.write(one))))
    assert found.form == one.form
    assert found.constants == one.constants
    assert Program.from_json(through(one.program.to_json())) == one.program


def test_an_equation_that_could_not_be_read_back_is_not_written() -> None:
    nested: Any = x
    for _ in range(7):
        nested = sympy.tanh(nested)
    deep = equation(nested)
    front = outcome_to_json(dataclasses.replace(REWRITE, fronts={0: ParetoFront((deep, LAW), 1.0)}))
    assert len(front["fronts"]["0"]["equations"]) == 1
    with pytest.raises(ArtifactError, match=r"could not be read back: .*too many functions"):
        outcome_to_json(dataclasses.replace(REWRITE, equations={0: deep}))


def test_a_choice_keeps_its_place_where_an_equation_is_left_out() -> None:
    nested: Any = x
    for _ in range(7):
        nested = sympy.tanh(nested)
    front = ParetoFront((equation(nested), SIMPLE, LAW), 1.0, (5.0, 2.0, 0.0))
    stored = outcome_to_json(dataclasses.replace(REWRITE, fronts={0: front}))
    found = outcome_from_json(through(stored)).fronts[0]
    assert found.equations == (SIMPLE, LAW)
    assert found.best == LAW
    assert found.behind == (2.0, 0.0)


def test_fronts_of_before_choose_as_they_did() -> None:
    stored = through(outcome_to_json(REWRITE))
    front = stored["fronts"]["0"]
    del front["behind"], front["left_out"]
    found = outcome_from_json(stored).fronts[0]
    assert (found.behind, found.left_out) == ((), 0)
    assert found.best == LAW  # the knee
    front |= {"choice": 0, "few": {"rows": 12, "price": 1.5}}
    found = outcome_from_json(stored).fronts[0]
    assert (found.behind, found.left_out) == ((0.0, math.inf), 12)
    front["choice"] = None
    found = outcome_from_json(stored).fronts[0]
    shares = ((11, SIMPLE.loss * 12 / 11), (11, LAW.loss * 12 / 11))
    nats = [0.5 * free * math.log(share / 0.7) for free, share in shares]
    forms = 1.5 * (LAW.complexity - SIMPLE.complexity)
    assert found.behind == (pytest.approx(nats[0] - nats[1] - forms), 0.0)
    assert found.left_out == 12
    for key, wrong in (("choice", 2), ("few", {"rows": 0, "price": 1.5}), ("few", 3)):
        with pytest.raises(ArtifactError, match=key):
            outcome_from_json(stored | {"fronts": {"0": front | {key: wrong}}})


def test_files_from_before_a_front_named_its_loss_are_read() -> None:
    squared = dataclasses.replace(FRONT, loss=SQUARED, constant_loss=None, left_out=0)
    data = outcome_to_json(dataclasses.replace(REWRITE, fronts={0: squared}))
    stored = data["fronts"]["0"]
    del stored["loss"], stored["constant_loss"], stored["left_out"]
    for row in stored["equations"]:
        del row["holdout_mse"]
    found = outcome_from_json(data).fronts[0]
    assert found == dataclasses.replace(squared, equations=(SIMPLE, LAW))
    stored["loss"] = {"name": "squared", "scale": "1"}
    with pytest.raises(ArtifactError, match=r"loss: .*no loss"):
        outcome_from_json(data)


# --- arrays, and what belongs to reduced regions -------------------------------------------------


def wide(n: int = 40) -> Region:
    """A region of many inputs and outputs, with everything that a reduction brings."""
    rng = np.random.default_rng(0)
    face = Interface((Parameter("x"),), (TensorInput("x", (), n),), (TensorOutput(n),))
    into, out = rng.normal(size=(6, n)), rng.normal(size=(3, n))
    return Region(
        "mlp",
        Target("mlp", reduce=Products(3, "silu"), affine=30),
        face,
        tuple(f"x{k}" for k in range(n)),
        projection_in=Projection(rng.normal(size=n), into, into + 1.0, rng.normal(size=6)),
        projection_out=Projection(np.zeros(n), out, out - 1.0),
        affine=LowRankMap(rng.normal(size=(30, n)), rng.normal(size=(n, 30)), rng.normal(size=n)),
    )


def test_large_arrays_come_back_to_the_bit() -> None:
    region = wide()
    data = json.loads(json.dumps(region_to_json(region)))
    assert "float64" in data["affine"]["down"]
    assert "values" in data["affine"]["bias"]  # small ones can be read
    again = region_from_json(data)
    assert again.target == region.target
    for part in ("projection_in", "projection_out", "affine"):
        for field in dataclasses.fields(getattr(region, part)):
            ours, theirs = (getattr(getattr(one, part), field.name) for one in (region, again))
            assert (ours is None) == (theirs is None)
            if ours is not None:
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("packed", "found"),
    [
        ("not base64!", "numbers in base64"),
        (5, "numbers in base64"),
        ("AAAA", "numbers in base64"),
        ("AAAAAAAAAAA=", "expected that of 1 values"),
        (base64.b64encode(np.full(1200, np.nan).tobytes()).decode(), "not finite"),
    ],
)
def test_damaged_arrays(packed: Any, found: str) -> None:
    data = json.loads(json.dumps(region_to_json(wide())))
    data["affine"]["down"]["float64"] = packed
    with pytest.raises(ArtifactError, match=found):
        region_from_json(data)


@pytest.mark.parametrize(
    ("part", "name", "shape", "found"),
    [
        ("affine", "up", [2, 2], "affine map have shapes"),
        ("projection_in", "basis", [2, 2], "basis of the projection of its inputs"),
        ("projection_in", "offset", [4], "offset of the projection of its inputs"),
        ("projection_out", "components", [4, 1], "projection of its outputs have shapes"),
    ],
)
def test_arrays_that_do_not_fit(part: str, name: str, shape: list[int], found: str) -> None:
    data = json.loads(json.dumps(region_to_json(wide())))
    data[part][name] = {"shape": shape, "values": [1.0] * 4}
    with pytest.raises(ArtifactError, match=found):
        region_from_json(data)


@pytest.mark.parametrize("reduce", [PCA(3), ReducedRank(3, 2), Products(3), None, (None, 2)])
def test_reductions_come_back(reduce: Any) -> None:
    region = dataclasses.replace(wide(), target=Target("mlp", reduce=reduce))
    again = region_from_json(json.loads(json.dumps(region_to_json(region))))
    assert again.target == region.target


@pytest.mark.parametrize("data", [{"other": {}}, {}, {"products": {"terms": 2, "gate": "tanh"}}])
def test_unknown_reductions(data: Any) -> None:
    stored = json.loads(json.dumps(region_to_json(wide())))
    stored["target"]["reduce"] = data
    with pytest.raises(ArtifactError, match="reduce"):
        region_from_json(stored)
