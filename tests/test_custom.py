"""Operators of a user's own: searched for as one node, written out wherever they end up."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from test_pysr_engine import data, fit, real_pysr, search
from torch import nn

from symcompile import Compiled, Target, diff, distill, load, symcompile
from symcompile.errors import EngineError
from symcompile.expressions.canonical import canonical
from symcompile.expressions.complexity import complexity, spellable
from symcompile.expressions.custom import Custom, CustomOperator, written_out
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.expressions.recognition import recognized
from symcompile.expressions.slots import slot
from symcompile.expressions.units import Units
from symcompile.regression.engines.julia_text import definition
from symcompile.regression.engines.operon import OperonEngine
from symcompile.regression.engines.pysr import PySREngine, read_equation
from symcompile.regression.pareto import ParetoFront

__all__ = ["real_pysr", "search"]

OWN = {"lorentz": ("1/sqrt(1 - a**2)", 4), "spread": "exp(-a**2/b)"}
OPERATORS = OperatorSet.of({"+": 1, "*": 1, "/": 1, "sqrt": 1, "square": 1, "exp": 3, **OWN})
LORENTZ, SPREAD = (operator.head for operator in OPERATORS.custom)
m, v, c = sympy.symbols("m v c")


def test_what_is_read() -> None:
    assert OPERATORS.to_dict()["lorentz"] == ["1/sqrt(1 - a**2)", 4]
    assert OperatorSet.of(OPERATORS.to_dict()) == OPERATORS
    a = sympy.Symbol("a")
    from_sympy = OperatorSet.of({"+": 1, "lorentz": (1 / sympy.sqrt(1 - a**2), 4)})
    assert from_sympy.custom == (OPERATORS.custom[0],)
    assert [operator.arity for operator in OPERATORS.custom] == [1, 2]
    assert OPERATORS.cost("lorentz") == 4
    assert OPERATORS.cost("spread") == 3
    assert "lorentz" in OPERATORS
    # What knows nothing of them meets those of the vocabulary only.
    assert "lorentz" not in list(OPERATORS)
    limited = OperatorSet.of(
        OPERATORS, constraints={"lorentz": 3}, nested_constraints={"spread": {"lorentz": 0}}
    )
    assert not spellable(LORENTZ(v / c + 1), limited)
    assert spellable(LORENTZ(v / c), limited)
    assert not spellable(SPREAD(LORENTZ(v), c), limited)
    assert spellable(SPREAD(LORENTZ(v), c), OPERATORS)
    assert not spellable(LORENTZ(v), OperatorSet.of(None))


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ({"sin": "a**2"}, "complexity of operator 'sin' is 'a\\*\\*2': expected a whole number"),
        ({"+": 1, "l": "1/sqrt(1 - x**2)"}, "operator 'l': .* unknown name 'x'.*known are a, b"),
        ({"+": 1, "l": "2*b"}, r"operator 'l' is 2\*b: expected an expression of a, such as"),
        ({"+": 1, "l": ("a", 0)}, "complexity of operator 'l' is 0: expected 1 or more"),
        ({"+": 1, "l": ("a",)}, r"operator 'l' is \('a',\): expected a definition in a, or in a"),
        ({"+": 1, "l": (3, 1)}, "operator 'l' is 3: expected a text or a sympy expression of a"),
        ({"+": 1, "l": "__import__('os')"}, "calls unknown function '__import__'"),
        ({"+": 1, "Max": "a**2"}, "operator 'Max' has a definition: its name must be"),
        ({"+": 1, "x y": "a**2"}, "operator 'x y' has a definition: its name must be"),
        ({"l": "a**2"}, "operators is empty"),
        ({"+": 1, "l": "+".join(f"sin({k}*a)" for k in range(400))}, "'l': .*is too large"),
        ({"+": 1} | {f"l{k}": f"a + {k}" for k in range(33)}, "has 33 definitions: at most 32"),
        (["+", "lorentz"], "unknown operator 'lorentz': .*or define one of your own"),
    ],
)
def test_what_makes_no_sense(operators: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        OperatorSet.of(operators)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m/sqrt(1 - v**2/c**2)", m * LORENTZ(v / c)),
        ("1/sqrt(1 - (v + c)**2)", LORENTZ(v + c)),
        ("1/sqrt(1 - v**4)", LORENTZ(v**2)),
        ("exp(-v**2/c)*m", m * SPREAD(v, c)),
        ("exp(-(v + m)**2/(3*c))", SPREAD(v + m, 3 * c)),
        ("1/sqrt(1 - 1/(1 - v**2))", LORENTZ(LORENTZ(v))),
        ("1/sqrt(1 - v)", LORENTZ(sympy.sqrt(v))),
        ("1/sqrt(1 + v**2)", None),
        ("sqrt(1 - v**2)", None),
        ("exp(v**2/c)", None),
    ],
)
def test_recognition(text: str, expected: sympy.Expr | None) -> None:
    expr = parse(text, ["m", "v", "c"])
    found = recognized(expr, OPERATORS)
    assert found == (expr if expected is None else expected)
    assert written_out(found) == expr
    counted = Equation.of(expr, ["m", "v", "c"], OPERATORS).complexity
    assert counted == complexity(found, OPERATORS)


def test_recognition_of_a_part_asks_nothing_of_the_whole() -> None:
    """A part is of another dimension than the whole, and may break what the whole does not."""
    dimensions, (output,) = Units({"m": "kg", "v": "m", "c": "m"}, "kg").of_inputs(
        ["m", "v", "c"], 1
    )
    operators = OperatorSet.of(OPERATORS, constraints={"*": (5, -1)})
    operators = replace(operators, dimensions=dimensions.for_output(output))
    form, _ = canonical(m / sympy.sqrt(1 - v**2 / c**2), (), operators)
    assert form == m * LORENTZ(v / c)
    assert spellable(form, operators)


def test_a_root_of_a_constant_is_taken_where_it_is_real() -> None:
    expr = 1 / sympy.sqrt(1 + slot(0) * v**2)
    assert recognized(expr, OPERATORS, (-0.25,)) == LORENTZ(sympy.sqrt(-slot(0)) * v)
    assert recognized(expr, OPERATORS, (0.25,)) == expr
    form, constants = canonical(expr, (-0.25,), OPERATORS)
    assert form == LORENTZ(slot(0) * v)
    assert constants == (0.5,)


def test_algebra_leaves_a_use_whole() -> None:
    form, constants = canonical(2.0 * LORENTZ(v / c) * 3.0 + 1.5 * LORENTZ(v / c), (), OPERATORS)
    assert form == slot(0) * LORENTZ(v / c)
    assert constants == (7.5,)


def test_values_slopes_and_texts() -> None:
    equation = Equation(slot(0) * LORENTZ(v / c), ("v", "c"), (2.0,), 9)
    X = np.array([[0.5, 1.0], [0.3, 2.0]])
    np.testing.assert_allclose(equation.predict(X), 2 / np.sqrt(1 - (X[:, 0] / X[:, 1]) ** 2))
    assert equation.text() == "2/sqrt(1 - v**2/c**2)"
    assert "lorentz" not in equation.latex() + equation.to_python() + equation.form_text
    again = Equation.from_json(json.loads(json.dumps(equation.to_json())))
    assert again == equation.written_out()
    assert again.complexity == 9
    slope = LORENTZ(v**2).diff(v)
    expected = written_out(LORENTZ(v**2)).diff(v)
    assert sympy.simplify(written_out(slope) - expected) == 0
    assert float(LORENTZ(sympy.Float(0.6)).evalf()) == pytest.approx(1.25)


def test_another_process_reads_them() -> None:
    """It has never met the definition; and two definitions of one name are two operators."""
    pickled = pickle.dumps([LORENTZ(v / c), OPERATORS])
    code = (
        "import pickle, sys\n"
        "expr, operators = pickle.loads(sys.stdin.buffer.read())\n"
        "assert expr.func is operators.custom[0].head\n"
        "print(expr.definition)"
    )
    answer = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True)
    assert answer.stdout.decode().split() == ["1/sqrt(1", "-", "v**2/c**2)"], answer.stderr
    other = CustomOperator("lorentz", "1/sqrt(1 + a**2)").head
    assert other(v) != LORENTZ(v)
    assert pickle.loads(pickle.dumps(other(v))) == other(v)


# --- engines -------------------------------------------------------------------------------------


def test_pysr_searches_for_them(search: Any) -> None:
    search.rows = [(1, 0.5, "1.5"), (7, 0.1, "own_lorentz(x0 / 4.0) * 1.5")]
    operators = OperatorSet.of(OPERATORS, constraints={"lorentz": 5, "spread": (3, 1)})
    front = fit(PySREngine(operators), *data(), names=["v", "w"])
    settings = PySREngine(operators).settings(*data())
    assert definition(OPERATORS.custom[0]) in settings["unary_operators"]
    assert definition(OPERATORS.custom[1]) in settings["binary_operators"]
    assert settings["constraints"] == {"own_lorentz": 5, "own_spread": (3, 1)}
    assert settings["extra_sympy_mappings"]["own_lorentz"] is LORENTZ
    assert "(own_lorentz) => 4, " in search.options.complexity_of_operators
    assert front.complexities == (1, 9)
    assert front[1].form == slot(0) * LORENTZ(v / slot(1))
    assert front[1].constants == (1.5, 4.0)


def test_pysr_reads_two_arguments() -> None:
    equation = read_equation("own_spread(x0 + 1.5, x1)", ["v", "c"], OPERATORS)
    assert equation.form == SPREAD(v + slot(0), c)
    with pytest.raises(EngineError, match="gives own_spread 1 arguments, expected 2"):
        read_equation("own_spread(x0)", ["v", "c"], OPERATORS)


@pytest.mark.parametrize(
    ("text", "julia"),
    [
        ("1/(1 + a**2)", "own_f(a) = inv(((1) + (a ^ 2)))"),
        ("0.5*sqrt(a)", "(v -> v < 0 ? oftype(v, NaN) : sqrt(v))(a)"),
        ("sigmoid(a)", "(a < (0) ? "),
        ("a**(2/3)", "v ^ (2 // 3))(a)"),
        ("a**3/4", "((1 // 4) * (a ^ 3))"),
        ("atan2(a, b)", "own_f(a, b) = atan(a, b)"),
    ],
)
def test_definitions_in_julia(text: str, julia: str) -> None:
    assert julia in definition(CustomOperator("f", text))


def test_what_julia_lacks_is_refused() -> None:
    with pytest.raises(EngineError, match="can't search for operator 'f': Julia has no erf"):
        PySREngine(OperatorSet.of({"+": 1, "f": "erf(a)"})).settings(*data())


def test_operon_says_that_it_cant() -> None:
    with pytest.warns(UserWarning, match="can't search for operator 'lorentz'"):
        OperonEngine.create(OperatorSet.of({"+": 1, "*": 1, **{"lorentz": OWN["lorentz"]}}), 20, {})


# --- all the way ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Knowing:
    """An engine that finds one law."""

    operators: OperatorSet = OPERATORS
    max_complexity: int = 12
    restarts: int = 1
    name: str = "knowing"

    def fit(self, X: Any, y: Any, *, names: Sequence[str], **_: Any) -> ParetoFront:
        symbols = list(map(sympy.Symbol, names))
        form = slot(0) * symbols[0] * LORENTZ(symbols[1] / symbols[2])
        return ParetoFront.of([Equation(form, tuple(names), (1.1,), 11, 0.1)], 1.0)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "operators": self.operators.to_dict()}


class Mass(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * x[:, :1] / torch.sqrt(1 - (x[:, 1:2] / x[:, 2:]) ** 2)


LOW, HIGH = np.array([1.0, 1.0, 3.0]), np.array([5.0, 2.0, 10.0])
X = LOW + (HIGH - LOW) * np.random.default_rng(0).random((300, 3))


def found(front: ParetoFront) -> Equation:
    (equation,) = [equation for equation in front if equation.complexity == 11]
    return equation


def test_distill(tmp_path: Path) -> None:
    y = 2.0 * X[:, 0] / np.sqrt(1 - (X[:, 1] / X[:, 2]) ** 2)
    options: dict[str, Any] = {"engine": Knowing(), "names": ["m", "v", "c"], "progress": False}
    front = distill(X, y, **options, run_dir=tmp_path)[0]
    law = found(front)
    assert not law.form.has(Custom)
    assert law.loss < 1e-20
    assert law.text() == "2*m/sqrt(1 - v**2/c**2)"
    # Without the operator that is too long.
    plain = complexity(law.form, OperatorSet.of(list(OPERATORS)))
    assert plain > 12
    again = distill(X, y, **options, run_dir=tmp_path)[0]
    assert [e.text(9) for e in again] == [e.text(9) for e in front]
    assert again.complexities == front.complexities
    for file in (tmp_path / "fronts").iterdir():
        file.unlink()
    refined = distill(X, y, **options, run_dir=tmp_path)[0]
    assert refined.complexities == front.complexities


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    model = nn.Sequential(Mass())
    batch = torch.tensor(X, dtype=torch.float32)
    target = Target("0", names=("m", "v", "c"))
    return symcompile(model, target, batch, engine=Knowing(), progress=False)


def test_a_compiled_model(compiled: Compiled, tmp_path: Path) -> None:
    assert "lorentz(a) = 1/sqrt(1 - a**2), of complexity 4" in str(compiled.report)
    compiled.choose("0", complexity=11)
    batch = torch.tensor(X, dtype=torch.float32)
    expected = compiled.module(batch)
    torch.testing.assert_close(expected, Mass()(batch), rtol=1e-4, atol=1e-4)
    for name in ("model.symc", "model.json", "model.onnx"):
        path = tmp_path / name
        (compiled.save if name.endswith("symc") else compiled.export)(path)
        assert diff(path, compiled).same
    loaded = load(tmp_path / "model.symc")
    torch.testing.assert_close(loaded.module(batch), expected)
    assert loaded._blocks["0"].operators.custom == OPERATORS.custom
    assert loaded.equations["0"][0].complexity == 11
    loaded.choose("0", "3*m/sqrt(1 - v**2/c**2)")
    assert loaded.equations["0"][0].complexity == 11


def test_a_target_keeps_them() -> None:
    target = Target("0", operators={"+": 1, "*": 1, **OWN})
    again = replace(target)
    assert again.operators == target.operators
    with pytest.raises(EngineError, match="unknown name 'q'"):
        Target("0", operators={"+": 1, "l": "q"})
