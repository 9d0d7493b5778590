"""What a report says, in its three forms."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
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
)
from symcompile.modules.region import (
    Interface,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
)
from symcompile.regression.pareto import ParetoFront
from symcompile.report import Report
from symcompile.report.metrics import figure, r2
from symcompile.storage.schema import REGION_ROW, region_row
from symcompile.target import Target

PROVENANCE = {
    "engine": {"name": "operon", "version": "0.6.1"},
    "seed": 7,
    "n_fit": 4000,
    "n_holdout": 1000,
}


def equation(text: str, symbols: tuple[str, ...], loss: float = 1e-4) -> Equation:
    return Equation.of(parse(text, symbols), symbols, OperatorSet.of(None), loss, loss)


def row(error: float, linear: float = 0.4, gradient: float = 0.05) -> OutputFidelity:
    return OutputFidelity(
        Agreement(1 - error**2, error, 3 * error),
        Agreement(0.0, 1.0, 2.0),
        Agreement(0.8, linear, 1.2),
        Agreement(0.9, 0.123, 1.0),
        gradient,
    )


def region(
    path: str,
    names: tuple[str, ...],
    outputs: int,
    features: dict[str, str] | None = None,
    projection_in: Projection | None = None,
    projection_out: Projection | None = None,
) -> Region:
    interface = Interface(
        (Parameter("x"),), (TensorInput("x", (), len(names)),), (TensorOutput(outputs),)
    )
    return Region(
        path,
        Target(path, features=features),
        interface,
        names,
        parameters=4352,
        projection_in=projection_in,
        projection_out=projection_out,
    )


def edge(behind: float = 8.0) -> Rewrite:
    of = region("edge", ("x0", "x1", "x2"), 2, {"dx": "x0 - x1", "r": "abs(dx) + 0.01"})
    chosen = {
        0: equation("1.00213*dx*(r - 0.99812)/r", of.variables, 1e-4),
        1: equation("0.5*dx", of.variables, 0.1),
    }
    front = ParetoFront.of([equation("0.25*dx", of.variables, 0.5), chosen[0]], 1.0)
    front = front.described([behind, 0.0])
    measured = Fidelity(
        {0: row(0.0094), 1: row(0.31, linear=0.12)},
        EndToEnd(0.0031, 0.41, 0.12, "held-out batches"),
        4352,
        (DomainIssue(0, "dx/r", "the denominator is zero", {"x0": 0.25}, False),),
        (Latency(1024, 1.4e-3, 4e-4, 1),),
        row(0.011),
    )
    return Rewrite(of, chosen, {0: front}, measured, PROVENANCE)


def refused() -> Refusal:
    of = region("head", ("a", "b"), 1)
    front = ParetoFront.of([equation("a/b", of.variables)], 1.0)
    measured = Fidelity({0: row(0.31, gradient=math.nan)})
    return Refusal("head", "Output 0: relative L2 0.31.", of, {0: front}, measured, PROVENANCE)


def wide() -> Rewrite:
    names = tuple(f"h{k}" for k in range(12))
    of = region("encoder.layers.3.feed_forward.mlp.projection_network", names, 10)
    terms = [f"{1.2345 + k:.4f}*sin({k + 0.1234}*h{k % 12})*h{(k + 3) % 12}" for k in range(40)]
    chosen = {k: equation(" + ".join(terms[: 1 + 4 * k]), names) for k in range(10)}
    rows = {k: row(10.0 ** (k - 7), linear=10.0 ** (6 - 2 * k)) for k in range(10)}
    rows[9] = OutputFidelity(Agreement(-math.inf, math.inf, math.inf), linear=row(0.1).linear)
    change = EndToEnd(0.5, 0.9, 0.2, "recorded batches")
    return Rewrite(of, chosen, {}, Fidelity(rows, change, 99, total=row(0.1)), PROVENANCE)


def projected() -> Rewrite:
    def projection(size: int, count: int) -> Projection:
        return Projection(np.zeros(size), np.eye(size)[:count])

    names = tuple(f"x{k}" for k in range(64))
    of = region("wide", names, 32, None, projection(64, 3), projection(32, 2))
    chosen = {0: equation("sin(z0)", of.variables), 1: equation("z1*z2", of.variables)}
    kept = {"inputs": Projected(0.83456, 0.21), "outputs": Projected(0.99999, 0.0312)}
    fidelity = Fidelity({0: row(1e-6), 1: row(0.5)}, total=row(0.1), projections=kept)
    return Rewrite(of, chosen, {}, fidelity, PROVENANCE)


def everything() -> Report:
    outcomes = {
        "edge": edge(),
        wide().path: wide(),
        "head": refused(),
        "norm": Refusal("norm", "It changes the shape of its samples."),
        "wide": projected(),
    }
    return Report(outcomes, "module boundaries", "an argument is optional", 0.0123)


def test_the_table_says_what_was_measured() -> None:
    text = str(Report({"edge": edge()}, "fx"))
    for part in (
        "1 of 1 target replaced", "4,352 parameters removed", "capture fx", "operon 0.6.1",
        "seed 7", "fitted 4000", "held out 1000", "y[0] = 1.002*dx*(r - 0.9981)/r",
        "dx = x0 - x1", "3 inputs -> 2 outputs", "0.99991", "0.00940", "0.0282", "0.123",
        "0.0500", "0.400", "0.00310", "0.410", "held-out batches",
        "batch 1024: neural 1.4 ms, equations 0.4 ms, 3.5 times as fast (1 thread)",
        "in dx/r the denominator is zero inside the recorded range, near x0 = 0.25",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ((1.4e-3, 4e-4), "3.5 times as fast"),
        ((4e-4, 1.4e-3), "3.5 times as slow"),
        ((1.00e-3, 1.02e-3), "equations 1.02 ms, as fast"),
        ((1.04e-3, 1.0e-3), "equations 1 ms, as fast"),
    ],
)
def test_times_are_compared(times: tuple[float, float], said: str) -> None:
    outcome = edge()
    fidelity = replace(outcome.fidelity, latency=(Latency(32, *times, 1),))
    outcome = replace(outcome, fidelity=fidelity)
    assert f"{said} (1 thread)" in str(Report({"edge": outcome}, "fx"))


def test_rows_stand_in_columns() -> None:
    lines = str(Report({"edge": edge()}, "fx")).splitlines()
    top = next(k for k, line in enumerate(lines) if line.startswith("  output"))
    header, first, second = lines[top], lines[top + 1], lines[top + 2]
    assert header.index("R2") + 2 == first.index("0.99991") + 7
    assert header.index("|error|") + 7 == first.index("0.0282") + 6
    assert len(first) == len(second.removesuffix("  worse than linear"))


def test_an_equation_worse_than_the_linear_map_is_marked() -> None:
    lines = str(Report({"edge": edge()}, "fx")).splitlines()
    marked = [line for line in lines if line.endswith("worse than linear")]
    assert len(marked) == 1
    assert marked[0].startswith("  y[1]")
    assert any("warning" in line and "y[1]" in line for line in lines)


def test_the_overview_marks_them_as_well() -> None:
    good = edge()
    sound = Fidelity({0: row(0.0094)}, total=row(0.0094))
    good = Rewrite(good.region, {0: good.equations[0]}, good.fronts, sound, PROVENANCE)
    lines = str(Report({"bad": edge(), "good": good, "head": refused()})).splitlines()
    overview = {line.split()[0]: line for line in lines[3:9] if line}
    assert "replaced (!)" in overview["bad"]
    assert "(!)" not in overview["good"]
    assert "(!)" not in overview["head"]
    assert overview["(!)"].endswith("a linear map of the same inputs is closer")


def test_projected_outputs_are_held_against_the_map_of_the_block() -> None:
    """A component may lose against that map's own component: what counts are the real outputs."""
    text = " ".join(str(Report({"wide": projected()})).split())
    assert "warning" not in text
    assert "component[1]" in text
    worse = replace(projected().fidelity, total=row(0.1, linear=0.017))
    text = " ".join(str(Report({"wide": replace(projected(), fidelity=worse)})).split())
    assert "warning together: worse than linear" in text


def test_what_projections_keep_and_lose_is_said() -> None:
    report = Report({"wide": projected()})
    text = " ".join(str(report).split())
    assert "components hold 83.45 % of the variance of the inputs; on inputs rebuilt" in text
    assert "the neural block itself is off by 0.210" in text
    assert "components hold 99.99 % of the variance of the outputs" in text
    assert "off by 0.0312 (relative L2), and no equations of them can be closer" in text
    assert "that of the block itself" in text
    assert "99.99 %" in report._repr_html_()
    stored = report.to_dict()["targets"][0]["projections"]
    assert stored == {
        "inputs": {"variance": 0.83456, "relative_l2": 0.21},
        "outputs": {"variance": 0.99999, "relative_l2": 0.0312},
    }


def test_a_constant_in_place_of_a_block_is_pointed_out() -> None:
    symbols = edge().region.variables
    whole = replace(edge(), equations={0: equation("0.25", symbols), 1: equation("2*pi", symbols)})
    text = " ".join(str(Report({"edge": whole})).split())
    assert "y[0], y[1]: a constant stands in place of the block of 4,352 parameters" in text
    one = replace(edge(), equations={**edge().equations, 0: equation("0.25", symbols)})
    text = " ".join(str(Report({"edge": one})).split())
    assert "y[0]: a constant stands in place of the block, which no input moves" in text
    assert "a constant stands" not in str(Report({"edge": edge()}))


def test_end_to_end_is_held_against_the_linear_map_too() -> None:
    text = " ".join(str(Report({"wide": wide()}, "fx")).split())
    assert "moves by 0.500 (mean instead: 0.900, linear map: 0.200)" in text
    assert "on recorded batches; worse than linear" in text
    assert not EndToEnd(0.5, 0.9, 0.2, "held-out rows").beats_linear
    assert EndToEnd(2.8e-8, 0.9, 2.0e-8, "held-out rows").beats_linear  # rounding


def test_refusals_come_with_their_reason_and_figures() -> None:
    text = str(everything())
    assert "3 of 5 targets replaced" in text
    assert "head: stays neural" in text
    assert "Output 0: relative L2 0.31." in text
    assert "y[0] ~ a/b" in text
    assert "norm: stays neural" in text
    assert "It changes the shape of its samples." in text
    assert "not traced by torch.fx: an argument is optional" in text
    assert "all of it in place, the model's output moves by 0.0123" in text


def test_nothing_is_wider_than_a_hundred_columns_and_all_is_ascii() -> None:
    lines = str(everything()).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)
    assert "\n".join(lines).isascii()


def test_long_equations_are_cut_and_say_so() -> None:
    text = str(Report({"wide": wide()}, "fx"))
    full = wide().equations[9].text()
    shown = next(line for line in text.splitlines() if "more characters" in line)
    assert full not in text
    assert "compiled.equations['wide']" in text
    assert shown.endswith("more characters)")
    start = text.index("y[9] = ") + 7
    cut = text[start : text.index(" ... (", start)]
    left = int(text[text.index(" ... (", start) + 6 :].split()[0])
    cut = " ".join(cut.split())
    assert full.startswith(cut)
    assert len(cut) + left == len(full)
    assert cut.endswith((")", "+", "-")) or cut[-1].isdigit()  # between two terms


def test_projected_outputs_show_components_and_all_together() -> None:
    text = str(Report({"wide": projected()}, "fx"))
    assert "component[1] = z1*z2" in text
    assert "3 principal components of the 64 inputs" in text
    assert "\n  together" in text
    assert everything().to_dict()["targets"][4]["total"]["equation_agreement"]["relative_l2"] == 0.1


def test_an_equation_chosen_by_hand_shows_the_automatic_one() -> None:
    rewrite = edge()
    shown = " ".join(str(Report({"edge": rewrite}, "fx")).split())
    assert "runner-up y[0] = 0.25*dx (complexity 3, R2 0.50000; 8 nats behind" in shown
    simple = rewrite.fronts[0][0]
    by_hand = Rewrite(rewrite.region, {0: simple}, rewrite.fronts, rewrite.fidelity, PROVENANCE)
    text = " ".join(str(Report({"edge": by_hand}, "fx")).split())
    assert "runner-up y[0] = 1.002*dx*(r - 0.9981)/r" in text
    assert "the automatic choice" in text


def test_what_samples_do_not_decide_stands_under_the_equation() -> None:
    rewrite = edge(behind=math.log(3))
    said = "the samples can't decide between y[0] and: 0.25*dx (odds 3 to 1)"
    report = Report({"edge": rewrite}, "fx")
    lines = [line.strip() for line in str(report).splitlines()]
    assert lines[lines.index(said) - 1].startswith("y[1] = ")
    assert "runner-up" not in str(report)
    assert said.replace("'", "&#39;") in report._repr_html_()
    first, second = report.to_dict()["targets"][0]["outputs"]
    (rival,) = first["undecided"]
    assert rival == {"equation": "0.25*dx", "odds": pytest.approx(3.0)}
    assert second["undecided"] == []
    stored = region_row(rewrite)["equations"]
    assert stored["0"]["undecided"] == [rival]
    assert "undecided" not in stored["1"]
    read = REGION_ROW.read(json.loads(json.dumps(region_row(rewrite))))
    assert [one.equation for one in read.equations[0].undecided] == ["0.25*dx"]
    by_hand = replace(rewrite, equations={0: rewrite.fronts[0][0]})
    for other in (edge(behind=8.0), by_hand):
        assert "can't decide" not in str(Report({"edge": other}, "fx"))


def test_the_engine_is_named() -> None:
    refusal = Refusal("a", "reason", provenance={"engine": {"name": "pysr", "version": "1.5"}})
    assert "engine pysr 1.5" in str(Report({"a": refusal}))


def test_an_empty_report_can_be_shown() -> None:
    assert "0 of 0 targets" in str(Report({}))
    assert "0 of 0 targets" in Report({})._repr_html_()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0094, "0.00940"), (0.31, "0.310"), (1.0, "1.00"), (123.4, "123"), (12345.6, "12346"),
        (9.4e-5, "9.4e-05"), (-0.5, "-0.500"), (1e7, "1.0e+07"), (0.0, "0"), (math.nan, "-"),
        (math.inf, "inf"),
    ],
)  # fmt: skip
def test_figures_keep_three_digits(value: float, shown: str) -> None:
    assert figure(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.999999, "0.99999"), (1.0, "1"), (0.5, "0.50000"), (-123.4, "-123"), (math.nan, "-")],
)
def test_r2_is_never_rounded_up(value: float, shown: str) -> None:
    assert r2(value) == shown


def test_plain_data_follows_its_schema() -> None:
    data = everything().to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert set(data) == {"capture", "note", "parameters_removed", "end_to_end", "targets"}
    first, large, head, norm, _ = data["targets"]
    assert (first["path"], first["replaced"], first["reason"]) == ("edge", True, None)
    assert first["inputs"] == ["x0", "x1", "x2"]
    assert first["features"] == {"dx": "x0 - x1", "r": "abs(dx) + 0.01"}
    assert first["end_to_end"]["linear"] == 0.12
    assert first["latency"] == [{"batch": 1024, "neural": 1.4e-3, "equation": 4e-4, "threads": 1}]
    assert first["domain"][0]["where"] == {"x0": 0.25}
    output = first["outputs"][0]
    assert output["constants"] == list(edge().equations[0].constants)
    assert output["complexity"] == edge().equations[0].complexity
    assert output["constant"] is False
    assert output["equation_agreement"]["relative_l2"] == 0.0094
    assert [one["worse_than_linear"] for one in first["outputs"]] == [False, True]
    assert large["outputs"][9]["equation_agreement"]["r2"] == "-inf"
    assert large["outputs"][9]["gradient"] is None
    assert (head["replaced"], head["reason"]) == (False, "Output 0: relative L2 0.31.")
    assert norm["outputs"] == []


class _Tags(HTMLParser):
    """Checks that tags nest, and collects them with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_nests_and_needs_nothing_from_outside() -> None:
    html = everything()._repr_html_()
    tags = _Tags()
    tags.feed(html)
    assert tags.open == []
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags.seen}
    assert not any({"src", "href", "onclick"} & set(attrs) for _, attrs in tags.seen)
    assert "url(" not in html
    assert "@import" not in html
    assert html.count('<td class="mark">worse than linear</td>') >= 2
    assert wide().equations[9].text()[-30:] in html  # folded, but all there


def test_html_escapes_what_users_and_models_name() -> None:
    nasty = "<script>alert('x')</script>"
    report = Report({nasty: Refusal(nasty, f"reason {nasty}")}, nasty, nasty)
    assert "<script" not in report._repr_html_()
    assert "&lt;script&gt;" in report._repr_html_()
