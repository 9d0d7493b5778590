"""A language model from end to end: few numbers in, a large vocabulary out."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from children import Child
from searches import QUICK
from torch import nn

from symcompile import Target, load, symcompile
from symcompile.exporters import onnx_check

VOCABULARY, WIDTH, LENGTH = 20_000, 16, 48
EXAMPLES = Path(__file__).parents[1] / "examples"


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(WIDTH, 48, bias=False), nn.Linear(WIDTH, 48, bias=False)
        self.down = nn.Linear(48, WIDTH, bias=False)

    def forward(self, x):
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = Mlp()

    def forward(self, x, mask):
        heads = (x.shape[0], x.shape[1], 2, WIDTH // 2)
        q, k, v = (t.reshape(heads).transpose(1, 2) for t in self.qkv(self.before(x)).chunk(3, -1))
        seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(seen.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.after(x))


class LanguageModel(nn.Module):
    """Tied embeddings, causal attention, a mask for padding, and a dict of results."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList([Layer(), Layer()])
        self.norm = nn.RMSNorm(WIDTH)

    def forward(self, input_ids, attention_mask=None):
        hidden = self.embedding(input_ids)
        places = torch.arange(input_ids.shape[1])
        mask = (places <= places[:, None])[None, None]
        if attention_mask is not None:
            mask = mask & attention_mask.bool()[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return {"logits": self.norm(hidden) @ self.embedding.weight.T, "hidden": hidden}


def batch(sequences: int, length: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCABULARY, (sequences, length), generator=generator)
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


@pytest.fixture(scope="module")
def compiled():
    torch.manual_seed(0)
    model = LanguageModel().eval()
    return symcompile(
        model,
        Target("layers.1.mlp", reduce=(4, 2)),
        [batch(4, LENGTH, seed) for seed in range(4)],
        **QUICK,
    )


def results(module, given) -> list[np.ndarray]:
    with torch.no_grad():
        return [one.numpy() for one in module(**given).values()]


def test_saved_and_loaded_it_gives_the_same(compiled, tmp_path) -> None:
    compiled.save(tmp_path / "a.symc")
    loaded = load(tmp_path / "a.symc").module
    for given in (batch(1, 3), batch(3, LENGTH + 1)):
        for ours, theirs in zip(
            results(compiled.module, given), results(loaded, given), strict=True
        ):
            np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)


def test_the_check_of_its_onnx_file_asks_for_a_bounded_number_of_bytes(
    compiled, tmp_path, monkeypatch
) -> None:
    given, original = [], onnx_check.run_session

    def seen(session, one):
        found = original(session, one)
        given.append(sum(array.nbytes for array in found))
        return found

    monkeypatch.setattr(onnx_check, "run_session", seen)
    file = compiled.export(tmp_path / "a.onnx")
    # A sequence comes out as 3.8 MB; a thousand of them would be.
    assert file.agreement.batch_sizes[1:3] == (1, 7)
    assert 7 < max(file.agreement.batch_sizes) < 35
    assert 2**26 < max(given) < 2**27
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for asked in (batch(1, 3), batch(3, LENGTH + 1), batch(40, 7)):
        found = session.run(None, {name: t.numpy() for name, t in asked.items()})
        for ours, theirs in zip(results(compiled.module, asked), found, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("script", ["smollm2.py", "transformer_mlps.py"])
def test_the_examples_say_what_they_need(script, tmp_path) -> None:
    """Their model is no dependency of the tests: where transformers is missing they say so."""
    code = (
        f"import sys; sys.modules['transformers'] = None; sys.argv = [{script!r}, '--quick'];"
        f"sys.path.insert(0, {str(EXAMPLES)!r});"
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'transformers' else find(name, *a);"
        f"import runpy; runpy.run_path({str(EXAMPLES / script)!r}, run_name='__main__')"
    )
    with Child(code, folder=tmp_path) as child:
        done = child.finished()
    assert (done.returncode, done.stderr) == (0, "")
    assert "pip install '.[language]'" in done.stdout
    assert list(tmp_path.iterdir()) == []
