"""Models with several inputs in ONNX Runtime, at other sizes than those of the trace."""

import re

import numpy as np
import onnxruntime
import pytest
import torch
from hybrids import Fake, hybrid_of
from torch import nn

from symcompile import exporters
from symcompile.aten.export import export_program
from symcompile.errors import ExportError
from symcompile.exporters.onnx_batches import batch_size, of_size, resized, shorter
from symcompile.modules.calling import Batch, tensors


def samples(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Model(nn.Module):
    """A block, and what is done with it and the other arguments."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.body = nn.Identity()
        self.rest = forward

    def forward(self, x, *args, **kwargs):
        return self.rest(self.body(x), *args, **kwargs)


class Optional(Model):
    def forward(self, x, mask=None, *, scale=None):
        out = self.body(x)
        out = out if mask is None else out * mask[torch.arange(x.shape[0])]
        return out if scale is None else out + scale


def picked(out, mask):
    """The mask's rows are tied to the batch by values only."""
    return out * mask[torch.arange(out.shape[0])]


def attended(out, mask):
    scores = (out @ out.transpose(-1, -2)).masked_fill(~mask[:, None, :], -1e9)
    return scores.softmax(-1) @ out


def gathered(out, places):
    """For each sequence a list of places in it: indices that depend on its length."""
    return out.gather(1, places[..., None].expand(-1, -1, out.shape[-1]))


def all_pairs(out, square):
    """Both dimensions of the square are tied to the batch by values only."""
    rows = torch.arange(out.shape[0])
    return square[rows][:, rows] @ out


def graph_layer(out, edges):
    """Messages from node to node; the number of edges is free, and not the batch's."""
    return out.index_add(0, edges[1], out[edges[0]])


def tokens(rows: int, length: int, most: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(most, (rows, length), generator=torch.Generator().manual_seed(seed))


CASES = {
    "two": (picked, lambda n: (samples(n, 3), samples(n, 1))),
    "two more that are not batched, one as long as the batch was": (
        lambda out, mask, table, scale: picked(out, mask) @ table * scale,
        lambda n: (samples(n, 3), samples(n, 1), samples(3, 40), torch.tensor(0.5)),
    ),
    "twice as many rows": (
        lambda out, pairs: out + pairs[1::2] - pairs[::2],
        lambda n: (samples(n, 3), samples(2 * n, 3)),
    ),
    "square": (
        all_pairs,
        lambda n: (samples(n, 3), samples(n, n)),
    ),
    "flat beside of it": (
        lambda out, flat: out + flat.reshape(out.shape),
        lambda n: (samples(n, 3), samples(3 * n)),
    ),
    "nested": (
        lambda out, extra: picked(out, extra["mask"]) + extra["more"][0] * extra["more"][1],
        lambda n: (samples(n, 3), {"mask": samples(n, 1), "more": (samples(n, 3), samples(n, 1))}),
    ),
    "sequences with a mask": (
        attended,
        lambda n: (samples(n, 6, 3), torch.arange(6) < torch.randint(1, 7, (n, 1))),
    ),
    "places in sequences": (gathered, lambda n: (samples(n, 6, 3), tokens(n, 4, 6))),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_several_inputs_at_any_number_of_rows(tmp_path, case) -> None:
    rest, arguments = CASES[case]
    body = {"body": Fake(["x0*x1", "sin(x2)", "x1 - x2"], 3)}
    hybrid = hybrid_of(Model(rest), body, Batch(arguments(40), {}))
    file = exporters.onnx(hybrid, tmp_path / "a.onnx")
    assert file.agreement.batch_sizes == (40, 1, 7, 1000)
    for rows in (1, 7, 77):
        compare(hybrid.module, file, *arguments(rows))


def compare(module, file, *args, **kwargs) -> None:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    feed = dict(zip(names, (t.numpy() for t in tensors((args, kwargs))), strict=True))
    (found,) = session.run(None, feed)
    expected = module(*args, **kwargs).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_optional_and_keyword_inputs(tmp_path) -> None:
    def arguments(rows: int) -> Batch:
        return Batch((samples(rows, 2),), {"scale": samples(rows, 2), "mask": samples(rows, 1)})

    hybrid = hybrid_of(Optional(None), {"body": Fake(["x0*x1", "sin(x1)"], 2)}, arguments(40))
    file = exporters.onnx(hybrid, tmp_path / "a.onnx")
    assert file.agreement.batch_sizes == (40, 1, 7, 1000)
    for rows in (1, 7, 77):
        one = arguments(rows)
        compare(hybrid.module, file, *one.args, **one.kwargs)


def test_a_size_that_is_not_the_batchs_stays_where_it_has_to(tmp_path) -> None:
    """40 nodes and 40 edges: with fewer nodes the edges lead nowhere, so torch has no answer."""
    edges = tokens(2, 40, 40)
    body = {"body": Fake(["x0*x1", "sin(x1)"], 2)}
    hybrid = hybrid_of(Model(graph_layer), body, Batch((samples(40, 2), edges), {}))
    file = exporters.onnx(hybrid, tmp_path / "a.onnx")
    assert file.agreement.batch_sizes == (40, 1000)
    compare(hybrid.module, file, samples(7, 2), tokens(2, 5, 7))


def test_rows_that_only_the_graph_fixes_are_refused(tmp_path) -> None:
    def counted(out, mask):
        return out * mask[torch.arange(len(out))]  # torch.export takes len for a constant

    body = {"body": Fake(["x0*x1", "sin(x1)"], 2)}
    hybrid = hybrid_of(Model(counted), body, Batch((samples(9, 2), samples(9, 1)), {}))
    with pytest.raises(ExportError, match=r"fixes the 9 rows of an input; len\(x\).*x\.shape\[0\]"):
        exporters.onnx(hybrid, tmp_path / "a.onnx")
    file = exporters.onnx(hybrid, tmp_path / "a.onnx", dynamic_batch=False)
    compare(hybrid.module, file, samples(9, 2), samples(9, 1))


def test_rows_that_the_model_fixes_are_no_batch(tmp_path) -> None:
    """Four rows of four: the loop over a table is as long as the table, whatever the batch."""

    def summed(out, table):
        return sum(out * row for row in table)

    body = {"body": Fake(["x0*x1", "sin(x1)"], 2)}
    hybrid = hybrid_of(Model(summed), body, Batch((samples(4, 2), samples(4, 2)), {}))
    file = exporters.onnx(hybrid, tmp_path / "a.onnx")
    assert file.agreement.batch_sizes == (4, 1, 7, 1000)
    compare(hybrid.module, file, samples(9, 2), samples(4, 2))


class Baked(nn.Module):
    """It does something else at one length, by a comparison that no trace sees."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()

    def forward(self, x):
        return self.body(x) * (2.0 if str(x.shape[1]) == "4" else 1.0)


def test_other_free_sizes_are_compared_and_fixed_where_the_file_is_wrong(tmp_path) -> None:
    hybrid = hybrid_of(Baked(), {"body": Fake(["x0*x1"], 2)}, Batch((samples(6, 8, 2),), {}))
    file = exporters.onnx(hybrid, tmp_path / "a.onnx")
    assert re.match(r"only the batch size is free: with other sizes freed, .*differs by", file.note)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 8, 2]
    compare(hybrid.module, file, samples(3, 8, 2))
    assert [one.name for one in tmp_path.iterdir()] == ["a.onnx"]


class Language(nn.Module):
    """Few bytes in, many out: 20,000 numbers for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20_000, 8)
        self.body = nn.Identity()

    def forward(self, tokens):
        return self.body(self.embedding(tokens)) @ self.embedding.weight.T


def test_batches_are_as_large_as_what_comes_out_allows(tmp_path) -> None:
    body = {"body": Fake([f"sin(x{k})" for k in range(8)], 8)}
    example = Batch((tokens(50, 64, 20_000),), {})
    file = exporters.onnx(hybrid_of(Language(), body, example), tmp_path / "a.onnx")
    # 5.1 MB of results for each sequence, of which 26 stay below 128 MiB: neither 50 nor 1000.
    assert file.agreement.batch_sizes == (26, 1, 7)


# --- the batches themselves --------------------------------------------------------------------


def sizes_of(*args):
    return export_program(Model(attended), Batch(args, {})).sizes


def test_batches_stay_within_the_recorded_range() -> None:
    x, index, other = samples(6, 3), torch.arange(6), samples(6)
    batch = resized(Batch((x, other), {"index": index}), [(50, 3), (6,), (50,)])
    assert batch.args[1] is other
    grown = batch.args[0]
    assert grown.shape == (50, 3)
    assert torch.equal(grown[:6], x)
    assert (grown.amin(0) >= x.amin(0)).all()
    assert (grown.amax(0) <= x.amax(0)).all()
    assert len(grown.unique(dim=0)) == 50
    assert set(batch.kwargs["index"].tolist()) <= set(range(6))


def test_other_dimensions_are_repeated_and_cut() -> None:
    x = samples(2, 3)
    (grown,), _ = resized(Batch((x,), {}), [(2, 7)])
    assert torch.equal(grown, x[:, [0, 1, 2, 0, 1, 2, 0]])
    (cut,), _ = resized(Batch((x,), {}), [(None, 1)])
    assert torch.equal(cut, x[:, :1])


def test_sizes_that_are_one_stay_one() -> None:
    example = Batch((samples(5, 6, 3), torch.ones(5, 6, dtype=torch.bool)), {})
    sizes = sizes_of(*example.args)
    (short,) = shorter(example, sizes)
    assert [tuple(t.shape) for t in short.args] == [(5, 3, 2), (5, 3)]
    large = next(of_size(example, sizes, 8))
    assert [tuple(t.shape) for t in large.args] == [(8, 6, 3), (8, 6)]
    assert batch_size(large, sizes) == 8
    assert batch_size(example, sizes) == 5
