"""What `examples/laws.py` asks, and when it counts a law as found."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sympy
import torch

from symcompile import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.structure import Statement
from symcompile.regression.structure.claim import Claim

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def example() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import laws
        import laws_data
        import laws_judge
        import laws_networks
        import laws_operon
        import laws_others
        import laws_run
        import laws_summary
        import laws_table

        yield SimpleNamespace(
            script=laws,
            data=laws_data,
            judge=laws_judge,
            networks=laws_networks,
            operon=laws_operon,
            others=laws_others,
            run=laws_run,
            summary=laws_summary,
            table=laws_table,
        )


def equation(law: Any, text: str | sympy.Expr) -> Equation:
    expr = parse(text, law.names) if isinstance(text, str) else text
    return Equation.of(expr, law.names, OperatorSet.of(law.operators()))


def verdict(example: SimpleNamespace, name: str, text: str, network: float | None = None) -> Any:
    law = example.data.LAWS[name]
    return example.judge.Judge(law, network).verdict(equation(law, text))


def test_every_law_is_defined_inside_and_nearly_everywhere_around(
    example: SimpleNamespace,
) -> None:
    assert len(example.data.LAWS) == 34
    assert len(example.others.EVERY) == 34 + len(example.others.OTHERS) == 107
    for law in example.others.EVERY.values():
        assert np.isfinite(law.samples(1, 2000)[1]).all(), law.name
        X = law.draw_wide(np.random.default_rng(0), 1000)
        assert X.shape == (1000, len(law.names)), law.name
        assert np.isfinite(law.values(X)).all(), law.name
        assert {s.name for s in law.expression.free_symbols} == set(law.names), law.name


def test_laws_are_themselves_and_stay_so_by_a_different_last_digit(
    example: SimpleNamespace,
) -> None:
    """Poles beyond the ranges must not decide on an equation that is right to six digits."""
    for law in example.data.LAWS.values():
        judge = example.judge.Judge(law)
        scaled = law.expression.subs({sympy.Symbol(n): 1.000001 * sympy.Symbol(n) for n in "vwn"})
        for expr in (law.expression, scaled):
            assert judge.verdict(equation(law, expr)).exact, law.name


def test_wider_ranges_are_half_again_as_wide_but_not_below_zero(example: SimpleNamespace) -> None:
    law = example.data.Law("any", "a + b + c", {"a": (1, 5), "b": (0, 4), "c": (-2, 2)})
    X = law.draw_wide(np.random.default_rng(0), 5000)
    assert X.min(axis=0) == pytest.approx([0.0, 0.0, -3.0], abs=0.02)
    assert X.max(axis=0) == pytest.approx([6.0, 5.0, 3.0], abs=0.02)


def test_points_at_a_pole_are_left_out(example: SimpleNamespace) -> None:
    law = example.data.LAWS["bose"]
    X = law.draw_wide(np.random.default_rng(0), 2000)
    assert law.values(X).max() < 10 / np.expm1(1 / 5) < law.values(np.array([[0.01, 5.0]]))


def test_seeds_draw_other_samples_and_noise_is_a_share_of_the_spread(
    example: SimpleNamespace,
) -> None:
    law = example.data.LAWS["hill"]
    X, y = law.samples(0, 4000)
    again, noisy = law.samples(0, 4000, 0.01)
    assert (again == X).all()
    assert (noisy - y).std() == pytest.approx(0.01 * y.std(), rel=0.05)
    assert not (law.samples(1, 4000)[0] == X).any()


def test_the_law_in_another_spelling_is_exact(example: SimpleNamespace) -> None:
    for text in ("V/(1 + K**2/x**2)", "V - V*K**2/(K**2 + x**2)", "1.0*V*x*x/(K*K + x*x)"):
        found = verdict(example, "hill", text)
        assert found.exact, text
        assert found.structure
        assert found.hit("direct")


def test_constants_off_are_forgiven_where_only_the_structure_counts(
    example: SimpleNamespace,
) -> None:
    found = verdict(example, "hill", "1.01*V*x**2/(1.02*K**2 + 0.98*x**2 + 0.01)")
    assert (found.exact, found.structure) == (False, True)
    assert not found.hit("direct")
    assert found.hit("noise")


def test_a_term_too_many_is_right_if_the_fit_does_away_with_it(example: SimpleNamespace) -> None:
    found = verdict(example, "hill", "V*x**2/(K**2 + x**2) + 0.02*V + 0.01*x*K")
    assert (found.exact, found.structure) == (False, True)


@pytest.mark.parametrize(
    "text",
    [
        "1.0*V*x/(1.0*K + 1.0*x)",
        "0.5*V*tanh(1.1*x/K)",
        "-0.0841396*V*x*(-6.72335 + x/K)/K",
        "V*x**2/(K**2 + x**2) + V/100",
        "log(x - 1.0)",
        "1.5",
    ],
)
def test_another_form_is_not_the_law(example: SimpleNamespace, text: str) -> None:
    found = verdict(example, "hill", text)
    assert not found.exact
    assert not found.structure
    assert not found.hit("noise")


def test_a_fit_that_holds_inside_only_is_none(example: SimpleNamespace) -> None:
    """A series is within a few per mille inside, and wrong beyond."""
    law = example.data.LAWS["clausius-mossotti"]
    series = "1 + n*a + n**2*a**2/3 + n**3*a**3/9 + n**4*a**4/27 + 0.025*n**5*a**5"
    found = example.judge.Judge(law).verdict(equation(law, series))
    assert found.inside < example.judge.SAME < found.refitted


def test_nearer_than_the_network_counts_through_networks(example: SimpleNamespace) -> None:
    text = "1.0*V*x/(1.0*K + 1.0*x)"
    inside = verdict(example, "hill", text).inside
    assert verdict(example, "hill", text, 1.01 * inside).hit("network")
    assert not verdict(example, "hill", text, 0.99 * inside).hit("network")


def test_undefined_at_a_few_points_is_forgiven_and_at_many_not(example: SimpleNamespace) -> None:
    truth = np.ones(1000)
    values = truth.copy()
    values[:5] = np.nan
    assert example.judge.relative_l2(values, truth) == 0.0
    values[:6] = np.inf
    assert example.judge.relative_l2(values, truth) == math.inf


def outcome(example: SimpleNamespace, **changes: Any) -> Any:
    law = example.data.LAWS["sound"]
    task = example.run.Task("sound", "direct", 0)
    best = equation(law, "sqrt(g*p/r)")
    judge = example.judge.Judge(law)
    found = example.run.Found(best, (best,))
    return replace(example.run.judged(task, judge, found, 1.0, 2.0), **changes)


def test_front_tells_a_wrong_choice_from_a_failed_search(example: SimpleNamespace) -> None:
    law = example.data.LAWS["sound"]
    task, judge = example.run.Task("sound", "direct", 0), example.judge.Judge(law)
    right, wrong = equation(law, "sqrt(g*p/r)"), equation(law, "1.5*g*p")
    chosen = [
        example.run.judged(task, judge, example.run.Found(best, front), 1.0, 1.0)
        for best, front in ((right, (wrong, right)), (wrong, (wrong, right)), (wrong, (wrong,)))
    ]
    assert [(one.hit, one.front) for one in chosen] == [(True, True), (False, True), (False, False)]
    none = example.run.judged(task, judge, example.run.Found(None, (), "no end"), 1.0, 1.0)
    assert (none.hit, none.equation) == (False, "no end")


def test_findings_are_judged_on_the_law_itself(example: SimpleNamespace) -> None:
    g, p, r = map(sympy.Symbol, ("g", "p", "r"))

    def stated(group: sympy.Expr) -> Statement:
        claim = Claim(("g", "p", "r"), "group", (p, r), sympy.Integer(1), (), (g, group))
        return Statement("", "", 0.1, 0.1, certain=True).about(claim)

    law = example.data.LAWS["sound"]
    task, judge = example.run.Task("sound", "direct", 0), example.judge.Judge(law)
    unknown = replace(stated(p / r), claim=None)
    found = example.run.Found(None, (), "", (stated(p / r), stated(p - r), unknown))
    judged = example.run.judged(task, judge, found, 1.0, 1.0)
    assert judged.findings[0][0] == "p and r matter only through p/r"
    assert judged.claims == [True, False, False]
    assert example.run.from_json(json.loads(json.dumps(example.run.to_json(judged)))) == judged
    assert example.table.totals([judged])["findings right"] == "1 of 3"
    older = {**example.run.to_json(judged)}
    del older["findings"]
    assert example.run.from_json(older).claims == []


def test_a_search_that_never_ends_is_ended(
    example: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr(example.run, "distill", lambda *_, **__: time.sleep(60))
    task = example.run.Task("sound", "direct", 0)
    found = example.run.run(task, example.run.Settings(limit=0.2))
    assert (found.hit, found.equation) == (False, "no end after 0 s")
    assert 0.2 <= found.wall < 2.0


def test_finished_searches_are_not_run_again(
    example: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, asked = example.script, []

    def searched(task: Any, *_: Any) -> Any:
        asked.append(task)
        return outcome(example, **task._asdict())

    monkeypatch.setattr(script, "run", searched)
    options = script.read_options(["--quick", "--output", str(tmp_path)])
    tasks = script.plan(options)
    script.search_all(tasks[:2], example.run.Settings(), options)
    kept = tmp_path / "laws.jsonl"
    with kept.open("a") as file:
        file.write('{"law": "torn')
    options.resume = True
    outcomes = script.search_all(tasks, example.run.Settings(), options)
    assert asked == tasks
    assert {one.task for one in outcomes} == set(tasks)


def test_quick_mode_writes_table_figures_and_picture(
    example: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        example.script, "run", lambda task, *_: outcome(example, law=task.law, mode=task.mode)
    )
    monkeypatch.setattr("sys.argv", ["laws.py", "--quick", "--output", str(tmp_path)])
    example.script.main()
    assert {"laws.json", "laws.jsonl", "laws.md", "laws.png"} <= {
        path.name for path in tmp_path.iterdir()
    }
    stored = json.loads((tmp_path / "laws.json").read_text())
    assert stored["quick"]
    summary = example.summary.table(tmp_path).splitlines()
    assert [cell.strip() for cell in summary[2].split("|")[1:4]] == ["direct", "2 of 2", "2 of 2"]
    kept = (tmp_path / "laws.jsonl").read_text().splitlines()
    assert json.loads(kept[0])["equations"] == ["sqrt(g*p/r)"]


def test_table_counts_hits_by_law_and_mode(example: SimpleNamespace) -> None:
    outcomes = [
        outcome(example, seed=0, cpu=1.0),
        outcome(example, seed=1, cpu=5.0, hit=False),
        outcome(example, law="hill", mode="noise", cpu=2.0, hit=False, front=False),
    ]
    rows = example.table.table(outcomes, ["sound", "hill"]).splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert cells[0] == ["law", "direct", "noise"]
    assert cells[2:] == [
        ["sound", "1 of 2, 3.0 s", "-"],
        ["hill", "-", "0 of 1, 2.0 s"],
        ["right", "1 of 2", "0 of 1"],
        ["on the front", "2 of 2", "0 of 1"],
        ["right structure", "2 of 2", "1 of 1"],
        ["findings right", "-", "-"],
        ["median CPU s", "3.0", "2.0"],
        ["worst CPU s", "5.0", "2.0"],
    ]


def test_networks_are_trained_once_to_one_percent_and_kept(
    example: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, law = example.networks, example.data.LAWS["sound"]
    model, error = networks.trained(law, 1, tmp_path)
    X = law.draw(np.random.default_rng(7), 1000)
    assert error < 0.01
    values = networks.outputs(model, X)
    assert example.judge.relative_l2(values, law.values(X)) == pytest.approx(error, rel=0.2)

    train = networks.train
    monkeypatch.setattr(networks, "train", lambda *_: pytest.fail("trained again"))
    again, known = networks.trained(law, 1, tmp_path)
    assert known == error
    assert (networks.outputs(again, X) == values).all()

    monkeypatch.setattr(networks, "train", train)
    monkeypatch.setattr(networks, "BATCH", 500)
    assert networks.trained(law, 1, tmp_path)[1] != error


def test_even_seeds_are_tanh_and_odd_ones_silu_in_the_law_s_own_units(
    example: SimpleNamespace,
) -> None:
    law = example.data.LAWS["oscillator energy"]
    for seed, activation in ((0, "Tanh"), (1, "SiLU"), (2, "Tanh")):
        model = example.networks.network(law, seed)
        kinds = [type(part).__name__ for part in model]
        assert kinds == ["Affine", *["Linear", activation] * 3, "Linear", "Affine"]
        X, y = law.samples(seed, 5000)
        inside = model[0](torch.as_tensor(X, dtype=torch.float32)).numpy()
        assert inside.mean(axis=0) == pytest.approx(0.0, abs=1e-5)
        assert inside.std(axis=0) == pytest.approx(1.0, abs=1e-5)
        assert float(model[-1](torch.ones(1, 1))) == pytest.approx(y.mean() + y.std(), rel=1e-5)


def test_networks_are_compiled_and_their_own_error_is_the_measure(
    example: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    law, asked = example.data.LAWS["sound"], []
    right = equation(law, "1.001*sqrt(g*p/r)")

    def compiled(model: Any, target: Any, data: Any, **options: Any) -> Any:
        asked.append((target.path, target.names, tuple(data.shape), options["seed"]))
        return SimpleNamespace(
            equations={".": {0: right}}, fronts={".": {0: ParetoFront((right,), 1.0)}}
        )

    monkeypatch.setattr(example.run, "symcompile", compiled)
    task, settings = example.run.Task("sound", "network", 1), example.run.Settings(60.0, tmp_path)
    found = example.run.run(task, settings)
    assert asked == [(".", ("g", "p", "r"), (5000, 3), 1)]
    assert found.hit
    assert found.inside == pytest.approx(0.001)
    assert found.network == pytest.approx(0.0096, abs=0.002)


def test_pyoperon_s_trees_are_read_with_its_own_choice(example: SimpleNamespace) -> None:
    law = example.data.Law("any", "2*a/b", {"a": (1, 5), "b": (1, 5)})
    X, y = law.samples(0, 500)
    options = {"noise": 0.0, "seed": 0, "budget": 0.1}
    best, front = example.operon.bred(law.names, ("+", "*", "/"), X, y, **options)
    assert example.judge.Judge(law).verdict(best).exact
    assert best in front
    for one in front:
        assert np.mean((one.predict(X) - y) ** 2) == pytest.approx(one.loss, rel=1e-3, abs=1e-9)


def test_pyoperon_gets_the_time_that_was_spent_before_it(
    example: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def searched(task: Any, _: Any, budget: float) -> Any:
        asked[task.law, task.by] = budget
        return outcome(example, **task._asdict(), cpu=3.0)

    monkeypatch.setattr(example.script, "run", searched)
    options = example.script.read_options(["--quick", "--operon", "--output", str(tmp_path)])
    tasks = example.script.plan(options)[:1]
    outcomes = example.script.search_all(tasks, example.run.Settings(), options)
    assert asked == {("sound", "symcompile"): 0.0, ("sound", "operon"): 3.0}
    assert [one.by for one in outcomes] == ["symcompile", "operon"]
    assert "pyoperon, direct" in example.table.table(outcomes, ["sound"])
