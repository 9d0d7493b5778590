"""Which sizes of a traced model are free, and which move with the batch size."""

import pytest
import torch
from torch import nn

from symcompile.aten.export import export_program
from symcompile.modules.calling import Batch


def sizes_of(forward, *args, **kwargs):
    model = nn.Module()
    model.forward = forward
    return export_program(model, Batch(args, kwargs)).sizes


def moved(sizes, rows, which=0):
    """Shapes with another batch size, by one of the ways to move it."""
    values = {**sizes.traced}
    values |= {symbol: times * rows for symbol, times in sizes.companions()[which].items()}
    return [tuple(shape) for shape in sizes.shapes_at(values)]


def test_sizes_that_a_graph_ties_have_one_symbol() -> None:
    sizes = sizes_of(lambda x, y: x * y, torch.ones(40, 3), torch.ones(40, 3))
    assert len(sizes.traced) == 2
    assert sizes.traced[sizes.batch] == 40
    assert moved(sizes, 7) == [(7, 3), (7, 3)]


@pytest.mark.parametrize(
    ("forward", "rows", "expected"),
    [
        (lambda x, y: x.repeat(2, 1) + y, 80, [(7, 3), (14, 3)]),
        (lambda x, y: x + y[:-1], 41, [(7, 3), (8, 3)]),
    ],
)
def test_sizes_that_follow_from_the_batch_size(forward, rows, expected) -> None:
    sizes = sizes_of(forward, torch.ones(40, 3), torch.ones(rows, 3))
    assert moved(sizes, 7) == expected
    assert moved(sizes, 7, -1) == expected  # tied, whatever moves along


def test_what_only_values_tie_moves_along_first() -> None:
    def forward(x, mask, table):
        return x * mask[torch.arange(x.shape[0])] + table.sum()

    sizes = sizes_of(forward, torch.ones(40, 3), torch.ones(40, 1), torch.ones(5, 2))
    assert moved(sizes, 7) == [(7, 3), (7, 1), (5, 2)]
    assert moved(sizes, 7, -1) == [(7, 3), (40, 1), (5, 2)]


def test_multiples_and_other_dimensions_come_later() -> None:
    def forward(x, twice, square):
        rows = torch.arange(x.shape[0])
        return x * twice[rows] + square[rows][:, rows].sum()

    sizes = sizes_of(forward, torch.ones(9, 3), torch.ones(18, 1), torch.ones(9, 9))
    found = [moved(sizes, 7, which) for which in range(len(sizes.companions()))]
    assert found == [
        [(7, 3), (18, 1), (7, 9)],
        [(7, 3), (14, 1), (7, 9)],
        [(7, 3), (18, 1), (7, 7)],
        [(7, 3), (18, 1), (9, 9)],
    ]


def test_a_size_inside_of_an_expression_is_solved_for() -> None:
    # The flat tensor comes first: its size is the product of those of the other.
    sizes = sizes_of(lambda flat, x: flat.reshape(x.shape) + x, torch.ones(120), torch.ones(40, 3))
    assert sizes.values_in([(21,), (7, 3)])[sizes.batch] in (7, 3)
    assert set(sizes.traced.values()) == {40, 3}


def test_nothing_moves_where_nothing_is_free() -> None:
    sizes = sizes_of(lambda x: x * torch.ones(4, 1), torch.ones(4, 3))
    assert sizes.batch is None
    assert sizes.companions() == []


def test_the_smallest_size_that_a_graph_is_right_for() -> None:
    sizes = sizes_of(lambda x: x.sum() if x.shape[0] > 5 else x.mean(), torch.ones(40, 3))
    assert sizes.least[sizes.batch] == 6
