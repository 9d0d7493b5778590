"""Pruning a block while its model trains: schedules, masks, cuts, resuming, the smaller block."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from models import state_of
from pruned import WIDTH, Net, cut, data, optimizer_of, train
from torch import nn
from torch.utils.hooks import RemovableHandle

from symcompile import Target, load, symcompile
from symcompile.errors import PruningError
from symcompile.passes.prune import SCHEDULES, Pruning, live_dimensions

# --- schedules -----------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize(("start", "keep"), [(100, 2), (7, 7), (3, 1), (1, 1)])
@pytest.mark.parametrize(("steps", "until"), [(1000, 0.65), (97, 1.0), (3, 0.1)])
def test_schedules_fall_from_all_to_keep(
    schedule: str, start: int, keep: int, steps: int, until: float
) -> None:
    found = [live_dimensions(schedule, s, steps, start, keep, until) for s in range(steps + 5)]
    assert found[0] == start
    assert found == sorted(found, reverse=True)
    reached = [s for s, live in enumerate(found) if s >= until * steps]
    assert {found[s] for s in reached} == {keep}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [100, 76, 51, 27, 2]),  # 75.5 and 26.5 are rounded up
        ("cosine", [100, 86, 51, 16, 2]),  # 51 + 49 cos(pi/4) = 85.6
        ("exponential", [100, 38, 14, 5, 2]),  # 100 (1/50)^(1/4) = 37.6
    ],
)
def test_schedules_at_their_quarters(schedule: str, expected: list[int]) -> None:
    assert [live_dimensions(schedule, s, 8, 100, 2, 0.5) for s in range(5)] == expected


# --- while training ------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_dead_dimensions_stay_dead_and_the_block_shrinks(schedule: str) -> None:
    model = Net()
    optimizer = optimizer_of(model)
    pruning = Pruning(model, "edge", keep=2, steps=40, schedule=schedule, until=0.65)
    alive: list[list[int]] = []

    def watch() -> None:
        alive.append(pruning.live)
        outputs = model.edge(data(5, 2))
        dead = [k for k in range(WIDTH) if k not in pruning.live]
        assert not outputs[:, dead].any()
        assert outputs[:, pruning.live].any(dim=0).all()

    train(model, optimizer, pruning, range(40), watch)
    counts = [live_dimensions(schedule, s, 40, WIDTH, 2, 0.65) for s in range(1, 41)]
    assert [len(one) for one in alive] == counts
    assert all(set(later) <= set(earlier) for earlier, later in pairwise(alive))
    x = data(7, 3, 2, seed=99)
    expected = model(x)
    assert pruning.finish() == alive[-1]
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)
    assert model.get_submodule("edge.live")(x).shape == (7, 3, 2)
    assert model.get_submodule("edge.live.2").out_features == 2
    assert not model.edge.live._forward_hooks


def test_the_largest_deviations_survive() -> None:
    assert cut(Net(), keep=3).finish() == [0, 1, 2]


def test_no_gradient_flows_into_dead_dimensions() -> None:
    model = Net()
    pruning = cut(model, keep=2)
    model(data(4, 3, 2)).square().sum().backward()
    gradient = model.edge[2].weight.grad
    assert not gradient[2:].any()
    assert gradient[pruning.live].any(dim=1).all()


def test_momentum_does_not_revive_the_dead() -> None:
    model = Net()
    optimizer = optimizer_of(model)
    pruning = Pruning(model, "edge", keep=1, steps=20, until=0.5)
    train(model, optimizer, pruning, range(10))
    before = model.edge[2].weight.detach().clone()
    train(model, optimizer, pruning, range(10, 20))
    dead = [k for k in range(WIDTH) if k not in pruning.live]
    assert (model.edge[2].weight[dead] != before[dead]).any()  # momentum and decay go on
    assert not model.edge(data(5, 2))[:, dead].any()


def test_not_even_overflow_comes_through() -> None:
    model = Net()
    cut(model, keep=1)
    with torch.no_grad():
        model.edge[2].bias[3:] = torch.tensor([float("inf"), float("nan"), 1, 1, 1])
    assert not model.edge(data(5, 2))[:, 1:].any()


@pytest.mark.parametrize("training", [True, False])
def test_masks_hold_in_both_modes(training: bool) -> None:
    model = Net()
    cut(model, keep=1)
    assert not model.train(training).edge(data(5, 2))[:, 1:].any()


def test_statistics_are_those_since_the_last_cut() -> None:
    model = Net()
    pruning = Pruning(model, "edge", keep=1, steps=2, schedule="linear", until=1)
    model(data(16, 3, 2))
    assert pruning.step() == 5  # 4.5, rounded up
    with torch.no_grad():
        model.edge[2].weight[:3] = 0  # by far the largest before
        model.edge[2].weight[7] *= 1e12  # dead already
    model(data(16, 3, 2))
    pruning.step()
    assert pruning.finish() == [3]


def test_statistics_are_over_several_passes() -> None:
    model = Net()
    pruning = Pruning(model, "edge", keep=1, steps=1, until=1)
    with torch.no_grad():
        model.edge[2].weight.zero_()
        for value in (-5.0, 5.0):  # constant in each pass, far apart together
            model.edge[2].bias.copy_(value * torch.eye(WIDTH, dtype=torch.float64)[6])
            model(data(16, 3, 2))
    pruning.step()
    assert pruning.finish() == [6]


def test_given_outputs_decide_alone() -> None:
    model = Net()
    pruning = Pruning(model, "edge", keep=2, steps=2, schedule="linear", until=1)
    model(data(16, 3, 2))
    assert pruning.step(torch.eye(WIDTH) * torch.arange(1, WIDTH + 1)) == 5
    assert pruning.live == [3, 4, 5, 6, 7]
    assert pruning.step(torch.eye(WIDTH) * torch.tensor([9, 8, 7, 1, 2, 5, 3, 4])) == 2
    assert pruning.finish() == [5, 7]


def test_importance_by_a_function() -> None:
    pruning = cut(Net(), keep=2, importance=lambda rows: torch.arange(rows.shape[1]))
    assert pruning.finish() == [WIDTH - 2, WIDTH - 1]


def test_gaussian_messages_are_cut_in_pairs() -> None:
    model = Net()
    with torch.no_grad():
        model.edge[2].weight.zero_()
        # Dimension 2 of 4 is far from the prior by its mean, 1 by its variance.
        model.edge[2].bias.copy_(torch.tensor([0.1, 0.2, 3, 0.1, 0.1, -2, 0.2, 0.1]))
    pruning = cut(model, keep=2, importance="kl")
    assert (pruning.dimensions, pruning.live) == (4, [1, 2])
    x = data(6, 3, 2)
    expected = model(x)
    outputs = model.edge(x)
    assert outputs[0, 0].tolist() == pytest.approx([0, 0.2, 3, 0, 0, -2, 0.2, 0])
    assert pruning.finish() == [1, 2]
    torch.testing.assert_close(model.edge.live(x), outputs[..., [1, 2, 5, 6]])
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)


def test_nothing_to_prune() -> None:
    model = Net()
    x = data(5, 3, 2)
    expected = model(x)
    pruning = Pruning(model, "edge", keep=WIDTH, steps=3)
    assert pruning.step() == WIDTH
    assert pruning.finish() == list(range(WIDTH))
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)


def test_removed_without_a_trace() -> None:
    model = Net()
    before, expected = state_of(model), model(data(5, 3, 2))
    cut(model, keep=1).remove()
    assert state_of(model) == before
    assert torch.equal(model(data(5, 3, 2)), expected)


def test_finished_early_on_request() -> None:
    model = Net()
    pruning = Pruning(model, "edge", keep=1, steps=10, schedule="linear", until=1)
    model(data(16, 3, 2))
    pruning.step()
    with pytest.raises(PruningError, match=r"7 live .* step 1 of 10, 1 were .* step 10, or finish"):
        pruning.finish()
    assert pruning.finish(early=True) == list(range(7))
    assert model.edge.live(data(5, 2)).shape == (5, 7)


# --- copies, files, resuming -----------------------------------------------------------------


def stored(thing: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return file


def loaded(model: nn.Module) -> nn.Module:
    return torch.load(stored(model), weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, loaded])
def test_copies_go_on_masking_alone(duplicate: Callable[[nn.Module], nn.Module]) -> None:
    model, x = Net(), data(5, 3, 2)
    pruning = cut(model, keep=2, importance=lambda rows: rows.std(dim=0))  # can't be pickled
    other = duplicate(model)
    assert torch.equal(other(x), model(x))
    assert list(other.state_dict()) == list(model.state_dict()) == list(Net().state_dict())
    again = Pruning(other, "edge", keep=1, steps=1, until=1)
    assert again.live == pruning.live
    assert len(other.edge._forward_hooks) == len(other.edge._forward_hooks_with_kwargs) == 1
    other(x)
    again.step()
    assert (again.finish(), pruning.live) == ([0], [0, 1])


def test_a_loaded_mask_is_not_replaced_by_the_next_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Net(), data(5, 2)
    cut(model, keep=2)
    file = stored(model)
    monkeypatch.setattr(RemovableHandle, "next_id", 0)  # as in another process
    other = torch.load(file, weights_only=False)
    for _ in range(min(model.edge._forward_hooks) + 1):
        other.edge.register_forward_hook(lambda block, args, output: None)
    assert torch.equal(other.edge(x), model.edge(x))


def test_a_killed_training_resumes_where_it_was() -> None:
    options: dict[str, Any] = {"keep": 2, "steps": 40, "schedule": "linear"}
    model = Net()
    optimizer, pruning = optimizer_of(model), Pruning(model, "edge", **options)
    train(model, optimizer, pruning, range(12))
    checkpoint = stored([one.state_dict() for one in (model, optimizer, pruning)])
    train(model, optimizer, pruning, range(12, 40))

    resumed = Net()
    parts = (resumed, optimizer_of(resumed), Pruning(resumed, "edge", **options))
    for part, state in zip(parts, torch.load(checkpoint, weights_only=True), strict=True):
        part.load_state_dict(state)
    train(*parts, range(12, 40))
    assert parts[2].finish() == pruning.finish()
    for name, value in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)


def test_statistics_are_resumed() -> None:
    options: dict[str, Any] = {"keep": 1, "steps": 1, "until": 1}
    pruning = Pruning(model := Net(), "edge", **options)
    model(data(16, 3, 2))
    resumed = Pruning(Net(), "edge", **options)
    resumed.load_state_dict(pruning.state_dict())
    resumed.step()  # would have nothing to rank by
    assert resumed.finish() == [0]


def test_a_state_of_another_block_is_refused() -> None:
    state = Pruning(Net(), "edge", keep=1, steps=5).state_dict()
    pruning = Pruning(Net(4), "edge", keep=1, steps=5)
    with pytest.raises(PruningError, match="a block of 8 dimensions, block 'edge' has 4"):
        pruning.load_state_dict(state)
    with pytest.raises(PruningError, match=r"the state holds step: expected what state_dict"):
        pruning.load_state_dict({"step": 3})


# --- the compiler takes it from here -----------------------------------------------------------


def test_the_live_part_is_a_target(tmp_path: Any) -> None:
    model, x = Net(), data(300, 3, 2)
    pruning = cut(model, keep=2)
    pruning.finish()
    compiled = symcompile(
        model,
        Target("edge.live", operators=["+", "*"], max_complexity=8),
        x,
        engine="operon",
        engine_options={"restarts": 1, "population": 100, "generations": 5},
        n_samples=300,
        progress=False,
    )
    assert sorted(compiled.fronts["edge.live"]) == [0, 1]
    assert compiled.module.edge.live(x).shape == (300, 3, 2)
    assert compiled.capture == "fx"
    compiled.save(tmp_path / "pruned.symc")
    again = load(tmp_path / "pruned.symc").module
    torch.testing.assert_close(again(x), compiled.module(x), rtol=0, atol=1e-12)


def test_another_part_is_traced_while_the_block_is_pruned() -> None:
    from symcompile.modules.calling import Batch
    from symcompile.passes.capture import FX, capture

    model, x = Net(), data(5, 3, 2)
    cut(model, keep=2)
    found = capture(model, ["node"], Batch((x,), {}))
    assert (found.kind, found.note) == (FX, "")
